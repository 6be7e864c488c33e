//! The rate at which the line takes records, seen from this side of it.

use std::time::Duration;

use tokio::time::Instant;

use crate::units::to_f64;

/// A rate is taken over at least this time ...
const WINDOW: Duration = Duration::from_millis(20);
/// ... and so many records, twice as many as travel side by side, since those end together; or this long.
const WINDOW_RECORDS: u32 = 8;
const WINDOW_MAX: Duration = Duration::from_secs(1);
/// A measure that took this long counts for about two thirds; a shorter one for less.
const MEMORY_SECONDS: f64 = 0.2;
/// A record that found nothing before it proves the line faster than was thought, by this much ...
const GROWTH: f64 = 1.5;
/// ... up to this many times what it has carried lately.
const GROWTH_MAX: f64 = 2.0;
/// No line is faster, in bytes a second.
const RATE_MAX: f64 = 100e9;
/// Now and then the rate may grow without bound, so that the lowest level is tried, and the line filled and
/// measured. After one that was in vain the next waits this long, and twice as long each time.
const PROBE_PAUSE_MIN: Duration = Duration::from_secs(1);
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(64);

/// The records that are made and not yet taken over by the transport, and how fast it takes them.
///
/// While some wait, the pace is the line's, whatever limits that: its rate, its loss, its other users, or
/// the receiver's credit. While none wait, it is only known that the line could take more.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    rate: Option<f64>,
    ready_bytes: u64,
    /// Since when there was always something waiting; `None` while nothing waits.
    full: Option<Window>,
    /// What was sent lately, waiting or not.
    lately: Option<Window>,
    carried: f64,
    /// Whether nothing was left to send at some time in that.
    ran_dry: bool,
    probe: Probe,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    begun: Instant,
    bytes: u64,
    records: u32,
}

impl Window {
    const fn starting(begun: Instant) -> Self {
        Self { begun, bytes: 0, records: 0 }
    }

    /// Adds a record; the rate once it is a measure.
    fn add(&mut self, bytes: u64, now: Instant) -> Option<(f64, f64)> {
        self.bytes += bytes;
        self.records += 1;
        let time = now.saturating_duration_since(self.begun);
        let seconds = time.as_secs_f64();
        let enough = (time >= WINDOW && self.records >= WINDOW_RECORDS) || time >= WINDOW_MAX;
        enough.then(|| (to_f64(self.bytes) / seconds, (-seconds / MEMORY_SECONDS).exp()))
    }
}

/// When the rate may grow without bound.
#[derive(Debug, Clone, Copy, Default)]
struct Probe {
    not_before: Option<Instant>,
    pause: Duration,
    /// The rate from which it grew, while it does.
    from: Option<f64>,
}

impl Line {
    /// Bytes a second; `None` until it was measured.
    pub(super) const fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// Bytes of records that wait.
    pub(super) const fn ready_bytes(&self) -> u64 {
        self.ready_bytes
    }

    /// A record was made.
    pub(super) fn made(&mut self, bytes: u64, now: Instant) {
        if self.lately.is_none() {
            self.lately = Some(Window::starting(now));
        } else if self.ready_bytes == 0 {
            self.ran_dry = true;
        }
        if self.ready_bytes == 0 {
            self.rate = self.rate.map(|rate| self.grown(rate, now));
            self.full = Some(Window::starting(now));
        }
        self.ready_bytes += bytes;
    }

    fn grown(&mut self, rate: f64, now: Instant) -> f64 {
        let grown = (rate * GROWTH).min(RATE_MAX);
        if grown <= GROWTH_MAX * self.carried {
            return grown;
        }
        if self.probe.not_before.is_none_or(|at| now >= at) {
            self.probe.from.get_or_insert(self.carried);
            return grown;
        }
        rate
    }

    /// A record was taken over.
    pub(super) fn sent(&mut self, bytes: u64, now: Instant) {
        self.ready_bytes = self.ready_bytes.saturating_sub(bytes);
        if let Some((rate, _)) = self.lately.as_mut().and_then(|window| window.add(bytes, now)) {
            self.lately = Some(Window::starting(now));
            self.carried = rate;
            if std::mem::take(&mut self.ran_dry) {
                // It is as fast as this at least.
                self.rate.get_or_insert(rate);
            }
        }
        if let Some((rate, keep)) = self.full.as_mut().and_then(|window| window.add(bytes, now)) {
            self.full = Some(Window::starting(now));
            self.measured(rate, keep, now);
        }
        if self.ready_bytes == 0 {
            self.full = None;
        }
    }

    fn measured(&mut self, rate: f64, keep: f64, now: Instant) {
        if let Some(from) = self.probe.from.take() {
            // Twice as fast as was known was worth it.
            let pause = if rate > GROWTH_MAX * from { Duration::ZERO } else { self.probe.pause * 2 };
            self.probe.pause = pause.clamp(PROBE_PAUSE_MIN, PROBE_PAUSE_MAX);
            self.probe.not_before = Some(now + self.probe.pause);
            // What it grew to was no measure.
            self.rate = Some(rate);
            return;
        }
        self.rate = Some(self.rate.map_or(rate, |old| old * keep + rate * (1.0 - keep)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_tells_the_rate_and_an_empty_line_only_its_least() {
        let mut now = Instant::now();
        let mut line = Line::default();
        line.made(1000, now);
        line.sent(1000, now);
        assert_eq!(line.rate(), None, "nothing waited");
        line.made(100_000, now);
        for _ in 0..40 {
            line.made(100_000, now);
            now += Duration::from_millis(50);
            line.sent(100_000, now);
        }
        let rate = line.rate().unwrap();
        assert!((rate / 2e6 - 1.0).abs() < 0.1, "{rate}");
        line.sent(100_000, now);
        assert_eq!(line.ready_bytes(), 0);
        line.made(10, now);
        assert!(line.rate().unwrap() > rate * 1.4, "it may be faster");
    }

    #[test]
    fn a_line_that_changes_is_followed() {
        let mut now = Instant::now();
        let mut line = Line::default();
        line.made(100_000, now);
        for step in [10, 100] {
            for _ in 0..50 {
                line.made(100_000, now);
                now += Duration::from_millis(step);
                line.sent(100_000, now);
            }
            let want = 1e8 / f64::from(u32::try_from(step).unwrap());
            assert!((line.rate().unwrap() / want - 1.0).abs() < 0.1, "{:?}", line.rate());
        }
    }

    #[test]
    fn an_idle_line_is_probed_less_and_less() {
        let mut now = Instant::now();
        let mut line = Line::default();
        let mut probes = 0;
        for _ in 0..20_000 {
            line.made(10_000, now);
            now += Duration::from_millis(5);
            line.sent(10_000, now);
            if line.rate().is_some_and(|rate| rate > 20e6) {
                // Levels fall, and the line fills: it has 3 MB/s.
                probes += 1;
                line.made(15_000, now);
                for _ in 0..20 {
                    line.made(15_000, now);
                    line.made(15_000, now);
                    now += Duration::from_millis(10);
                    line.sent(30_000, now);
                }
                line.sent(line.ready_bytes(), now);
            }
        }
        assert!((4..=9).contains(&probes), "{probes} in 100 s");
    }
}
