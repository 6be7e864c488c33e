//! The rate at which records get across, by the receiver's word.
//!
//! The transport takes over a megabyte and more ahead of the line, and more as its window grows. That it takes
//! records at once says little of the line; what the receiver reports to have verified says it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::RecordSize;
use crate::units::to_f64;

/// A rate is taken over at least this time ...
const WINDOW: Duration = Duration::from_millis(45);
/// ... and so many records, twice as many as travel side by side, since those end together; or this long.
const WINDOW_RECORDS: u32 = 8;
const WINDOW_MAX: Duration = Duration::from_secs(1);
/// A measure that took this long counts for about two thirds; a shorter one for less.
const MEMORY_SECONDS: f64 = 0.2;
/// What the receiver takes to verify and to say so, above the round trip.
const REPORT_SECONDS: f64 = 0.06;
/// How far the receiver may be behind with decoding, at most: this much is not counted on.
const BEHIND_SECONDS: f64 = 0.15;
/// When nothing is reported for this long, what is missing was lost or is not wanted.
const LOST_AFTER: Duration = Duration::from_secs(20);

/// A record that finds nothing before it proves the line faster than was thought, by this much ...
const GROWTH: f64 = 1.5;
/// ... up to this many times what it has carried lately, or what the transport holds for its rate. A line that
/// is thought much too fast gets records without compression, and is blocked with them for long.
const GROWTH_MAX: f64 = 2.0;

/// The records that are made and not yet verified at the other end, and how fast they get there.
///
/// While some wait here, the pace is the line's, whatever limits that: its rate, its loss, its other users, or
/// the receiver. While none wait, it is only known that the line could take more.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    rate: Option<f64>,
    /// What the transport holds for the rate: a start, until there is a measure.
    guess: f64,
    rtt: f64,
    /// Original and record bytes of what is on its way.
    on_way: VecDeque<RecordSize>,
    on_way_bytes: u64,
    newest_bytes: u64,
    /// Bytes of records that the transport has not taken over.
    untaken_bytes: u64,
    received: u64,
    reported: Option<Instant>,
    window: Option<Window>,
    /// What got across lately, in bytes a second.
    carried: f64,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    begun: Instant,
    bytes: u64,
    records: u32,
    /// Whether nothing was left to send at some time in it.
    ran_dry: bool,
}

impl Window {
    const fn starting(begun: Instant) -> Self {
        Self { begun, bytes: 0, records: 0, ran_dry: false }
    }
}

/// What a line carries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LineRate {
    pub(super) bytes_a_second: f64,
    /// Whether that was measured, and not guessed.
    pub(super) is_measured: bool,
}

impl Line {
    /// What it carries; `None` while there is not even a guess.
    pub(super) fn rate(&self) -> Option<LineRate> {
        let measured = self.rate.map(|rate| LineRate { bytes_a_second: rate, is_measured: true });
        let guess = LineRate { bytes_a_second: self.guess, is_measured: false };
        measured.or_else(|| (self.guess > 0.0).then_some(guess))
    }

    /// What the transport says: its congestion window by the round trip, and the latter.
    pub(super) fn transport(&mut self, rate: f64, rtt: Duration) {
        self.guess = rate;
        self.rtt = rtt.as_secs_f64();
    }

    /// Bytes of records that wait behind those that are crossing.
    pub(super) fn waiting_bytes(&self, now: Instant) -> f64 {
        let rate = self.rate().map_or(0.0, |rate| rate.bytes_a_second);
        let crossing = rate * (self.since_report(now) + self.rtt + BEHIND_SECONDS);
        (to_f64(self.on_way_bytes) - crossing).max(to_f64(self.untaken_bytes))
    }

    fn since_report(&self, now: Instant) -> f64 {
        self.reported.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64())
    }

    /// Whether nothing waits: the transport takes records at once, and there is no more on its way than must be
    /// at the pace of late. On a slow line the second tells, while the transport still fills its window; on a
    /// fast one the first, since much crosses between two reports.
    fn is_idle(&self, now: Instant) -> bool {
        if self.untaken_bytes > 0 {
            return false;
        }
        let pace = if self.carried > 0.0 { self.carried } else { self.guess };
        let crossing = pace * (self.since_report(now) + self.rtt + REPORT_SECONDS);
        to_f64(self.on_way_bytes) <= crossing + to_f64(self.newest_bytes)
    }

    /// A record was made; `more` were there to be made. Where there were not, an idle line says nothing: it is
    /// the source that is slow.
    pub(super) fn made(&mut self, size: RecordSize, more: bool, now: Instant) {
        let first = self.reported.is_none();
        self.reported.get_or_insert(now);
        let idle = self.is_idle(now);
        if idle && !first {
            if more {
                self.rate = self.rate.map(|rate| self.grown(rate));
            }
            self.window.get_or_insert_with(|| Window::starting(now)).ran_dry = true;
        }
        self.window.get_or_insert_with(|| Window::starting(now));
        self.on_way.push_back(size);
        self.on_way_bytes += size.bytes;
        self.newest_bytes = size.bytes;
        self.untaken_bytes += size.bytes;
    }

    /// The transport has taken a record over.
    pub(super) fn taken(&mut self, bytes: u64) {
        self.untaken_bytes = self.untaken_bytes.saturating_sub(bytes);
    }

    fn grown(&self, rate: f64) -> f64 {
        let most = GROWTH_MAX * self.carried.max(self.guess);
        (rate * GROWTH).min(most).max(rate)
    }

    /// The receiver has verified `total` original bytes since the start.
    pub(super) fn received(&mut self, total: u64, now: Instant) {
        let mut left = total.saturating_sub(self.received);
        self.received = self.received.max(total);
        let mut window = self.window.unwrap_or_else(|| Window::starting(now));
        if left == 0 && self.reported.is_some_and(|at| now.saturating_duration_since(at) > LOST_AFTER) {
            self.on_way.clear();
            self.on_way_bytes = 0;
        }
        while left > 0
            && let Some(RecordSize { raw_bytes: raw, bytes }) = self.on_way.pop_front()
        {
            let part = left.min(raw);
            let across = if part == raw { bytes } else { bytes.saturating_mul(part) / raw.max(1) };
            left -= part;
            window.bytes += across;
            window.records += 1;
            self.on_way_bytes = self.on_way_bytes.saturating_sub(across);
            if part < raw {
                self.on_way.push_front(RecordSize { raw_bytes: raw - part, bytes: bytes - across });
            }
            self.reported = Some(now);
        }
        window.ran_dry |= self.is_idle(now);
        self.window = Some(self.measure(window, now));
    }

    /// Sent bytes that were damaged on the way, and are sent again.
    pub(super) fn again(&mut self, raw_bytes: u64, now: Instant) {
        self.received(self.received + raw_bytes, now);
        self.received -= raw_bytes;
    }

    /// Takes the window for a measure once it is one; returns the one that goes on.
    fn measure(&mut self, window: Window, now: Instant) -> Window {
        let time = now.saturating_duration_since(window.begun);
        if !(time >= WINDOW && window.records >= WINDOW_RECORDS || time >= WINDOW_MAX) {
            return window;
        }
        let seconds = time.as_secs_f64();
        let rate = to_f64(window.bytes) / seconds;
        self.carried = rate;
        if window.ran_dry {
            // It is as fast as this at least.
            let least = self.rate.map_or(rate, |old| old.max(rate));
            self.rate = Some(least).filter(|rate| *rate > 0.0);
        } else {
            let keep = (-seconds / MEMORY_SECONDS).exp();
            self.rate = Some(self.rate.map_or(rate, |old| old * keep + rate * (1.0 - keep)).max(1.0));
        }
        Window::starting(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that carries `rate` bytes a second and reports every 50 ms, while records are made at `made`.
    fn run(line: &mut Line, now: &mut Instant, (rate, made): (f64, f64), seconds: f64) {
        const RECORD: f64 = 10_000.0;
        let (mut queue, mut total, mut owed) = (to_f64(line.on_way_bytes), to_f64(line.received), 0.0);
        for _ in 0..(Duration::from_secs_f64(seconds).as_millis() / 5) {
            *now += Duration::from_millis(5);
            owed += made * 0.005;
            while owed >= RECORD {
                owed -= RECORD;
                queue += RECORD;
                line.made(RecordSize { raw_bytes: 20_000, bytes: 10_000 }, true, *now);
                line.taken(10_000);
            }
            let across = f64::min(queue, rate * 0.005);
            queue -= across;
            total += across * 2.0;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
            line.received(total as u64, *now);
        }
    }

    #[test]
    fn a_queue_tells_the_rate_and_an_empty_line_only_its_least() {
        let mut now = Instant::now();
        let mut line = Line::default();
        assert_eq!(line.rate(), None);
        line.transport(1e6, Duration::from_millis(20));
        assert_eq!(line.rate(), Some(LineRate { bytes_a_second: 1e6, is_measured: false }));
        run(&mut line, &mut now, (2e6, 6e6), 1.0);
        let LineRate { bytes_a_second: rate, is_measured: measured } = line.rate().unwrap();
        assert!(measured && (rate / 2e6 - 1.0).abs() < 0.1, "{rate}");
        assert!((line.waiting_bytes(now) / 4e6 - 1.0).abs() < 0.1, "{}", line.waiting_bytes(now));
        run(&mut line, &mut now, (2e6, 0.0), 3.0);
        assert!(line.waiting_bytes(now) < 20_000.0, "{}", line.waiting_bytes(now));
        run(&mut line, &mut now, (9e6, 2e6), 1.0);
        assert!(line.rate().unwrap().bytes_a_second > rate * 1.4, "it may be faster");
    }

    #[test]
    fn a_line_that_changes_is_followed() {
        let mut now = Instant::now();
        let mut line = Line::default();
        for rate in [10e6, 1e6, 5e6] {
            run(&mut line, &mut now, (rate, 12e6), 2.0);
            assert!((line.rate().unwrap().bytes_a_second / rate - 1.0).abs() < 0.1, "{:?}", line.rate());
        }
    }

    #[test]
    fn an_idle_line_is_thought_twice_as_fast_as_it_proved_or_as_the_transport_says() {
        let mut now = Instant::now();
        let mut line = Line::default();
        line.transport(4e6, Duration::from_millis(20));
        run(&mut line, &mut now, (3e6, 9e6), 1.0);
        run(&mut line, &mut now, (3e6, 2e6), 10.0);
        assert!(line.rate().unwrap().bytes_a_second <= 8e6 * 1.01, "{:?}", line.rate());
        line.transport(40e6, Duration::from_millis(20));
        run(&mut line, &mut now, (30e6, 20e6), 10.0);
        assert!(line.rate().unwrap().bytes_a_second > 20e6, "{:?}", line.rate());
    }

    #[test]
    fn what_is_sent_again_is_not_waited_for_twice() {
        let now = Instant::now();
        let mut line = Line::default();
        let size = |bytes| RecordSize { raw_bytes: 1000, bytes };
        line.made(size(500), true, now);
        line.made(size(400), true, now);
        line.received(1000, now);
        line.again(1000, now);
        line.made(size(1060), true, now);
        assert_eq!(line.on_way_bytes, 1060);
        line.received(2000, now);
        assert_eq!(line.on_way_bytes, 0);
    }
}
