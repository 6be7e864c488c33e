//! How hard to compress: whatever moves the most original bytes in a second, found by trying.
//!
//! A record that is ready and must wait for the line says that a higher level may pay; a line that waits
//! for records says that less may. Either is tried for a while and kept only if original bytes then
//! move no slower. So it does not matter what limits the pace: the line, this machine, or the other end.

use std::time::Duration;

use tokio::time::Instant;

use crate::codec::{Level, LevelChoice};
use crate::units::to_f64;

/// A setting is judged over at least this time ...
const WINDOW: Duration = Duration::from_millis(80);
/// ... and so many records.
const WINDOW_RECORDS: u32 = 8;
/// Records made with the setting before, which are still on their way after a change.
const LAG_RECORDS: u32 = 8;
/// Windows until a direction that did not pay is tried again; doubles each time up to the maximum.
const HOLD_MIN: u32 = 8;
const HOLD_MAX: u32 = 256;
/// No compression is tried only where the line seems to carry this many times what moves now.
const STORE_MARGIN: f64 = 1.5;
/// Steps: one for each level.
const STEPS: usize = Level::COUNT;

/// What became of one record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// When it was done.
    pub(super) at: Instant,
    /// Original bytes in it.
    pub(super) raw_bytes: u64,
    /// Time it took to make, on one of the workers.
    pub(super) encoding: Duration,
    /// Time it then waited for the line.
    pub(super) waiting: Duration,
    /// Bytes a second that the line seems to carry: congestion window by round trip.
    pub(super) line_rate: f64,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    begun: Instant,
    skip: u32,
    records: u32,
    raw_bytes: u64,
    encoding: Duration,
    waiting: Duration,
    line_rate: f64,
}

impl Window {
    const fn starting(at: Instant, skip: u32) -> Self {
        Self {
            begun: at,
            skip,
            records: 0,
            raw_bytes: 0,
            encoding: Duration::ZERO,
            waiting: Duration::ZERO,
            line_rate: 0.0,
        }
    }
}

/// Whether a direction may be tried.
#[derive(Debug, Clone, Copy)]
struct Hold {
    windows_left: u32,
    next: u32,
}

impl Hold {
    const NONE: Self = Self { windows_left: 0, next: HOLD_MIN };
}

/// Chooses the level.
#[derive(Debug, Clone)]
pub(super) struct LevelControl {
    /// The level's number.
    step: usize,
    fixed: bool,
    workers: u32,
    window: Window,
    /// Original bytes a second, by step, as last measured.
    rates: [f64; STEPS],
    /// The step before the one on trial.
    trial_from: Option<usize>,
    down: Hold,
    up: Hold,
}

impl LevelControl {
    /// Starts with the fastest level, unless one is fixed.
    pub(super) fn new(choice: LevelChoice, workers: u32, now: Instant) -> Self {
        let start = choice.fixed().unwrap_or(Level::FAST);
        Self {
            step: usize::from(start.get()),
            fixed: choice != LevelChoice::Auto,
            workers: workers.max(1),
            window: Window::starting(now, 0),
            rates: [0.0; STEPS],
            trial_from: None,
            down: Hold::NONE,
            up: Hold::NONE,
        }
    }

    /// What to use for the next record.
    pub(super) fn level(&self) -> Level {
        u8::try_from(self.step).map_or(Level::COPPER, Level::new)
    }

    /// Takes note of a record.
    pub(super) fn record_sent(&mut self, sent: Sent) {
        if self.fixed {
            return;
        }
        if self.window.skip > 0 {
            self.window = Window::starting(sent.at, self.window.skip - 1);
            return;
        }
        let window = &mut self.window;
        window.records += 1;
        window.raw_bytes += sent.raw_bytes;
        window.encoding += sent.encoding;
        window.waiting += sent.waiting;
        window.line_rate = sent.line_rate;
        if window.records >= WINDOW_RECORDS && sent.at.duration_since(window.begun) >= WINDOW {
            let window = *window;
            self.judge(window, sent.at);
        }
    }

    fn judge(&mut self, window: Window, now: Instant) {
        let rate = to_f64(window.raw_bytes) / now.duration_since(window.begun).as_secs_f64();
        let before = self.step;
        match self.trial_from.take() {
            Some(from) if rate < self.rates[from] => {
                let hold = if self.step > from { &mut self.up } else { &mut self.down };
                *hold = Hold { windows_left: hold.next, next: (hold.next * 2).min(HOLD_MAX) };
                self.step = from;
            }
            Some(from) => {
                let paid = if self.step > from { &mut self.up } else { &mut self.down };
                *paid = Hold::NONE;
                self.rates[self.step] = rate;
            }
            None => {
                let old = self.rates[self.step];
                self.rates[self.step] = if old == 0.0 { rate } else { (old + rate) / 2.0 };
                self.try_next(window);
            }
        }
        let lag = if self.step == before { 0 } else { LAG_RECORDS };
        self.window = Window::starting(now, lag);
    }

    fn try_next(&mut self, window: Window) {
        // With all workers busy, a record comes out every `encoding / workers`.
        let pace = window.encoding / self.workers;
        let (hold, next) = if window.waiting > pace {
            (&mut self.up, (self.step + 1).min(STEPS - 1))
        } else if window.waiting < pace / 4 {
            (&mut self.down, self.step.saturating_sub(1))
        } else {
            return;
        };
        if hold.windows_left > 0 {
            hold.windows_left -= 1;
        } else if next == 0 && STORE_MARGIN * self.rates[self.step] > window.line_rate {
            // Uncompressed, the line would hardly carry what moves now.
        } else if next != self.step {
            self.trial_from = Some(self.step);
            self.step = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Speed of one worker in MB/s, and ratio, by step: about what zstd does on CT.
    const SPEED: [f64; STEPS] = [5000.0, 300.0, 150.0, 40.0, 4.0];
    const RATIO: [f64; STEPS] = [1.0, 2.0, 2.2, 2.3, 2.4];

    /// Runs a model of sending over a line of `line` MB/s for a while; returns the steps of the last records.
    fn run(line: f64) -> Vec<usize> {
        let mut now = Instant::now();
        let mut control = LevelControl::new(LevelChoice::Auto, 2, now);
        let mut last = Vec::new();
        for _ in 0..5000 {
            let step = control.step;
            let encoding = Duration::from_secs_f64(0.5 / SPEED[step]);
            let on_line = Duration::from_secs_f64(0.5 / RATIO[step] / line);
            now += on_line.max(encoding / 2);
            let waiting = on_line.saturating_sub(encoding / 2) * 8;
            control.record_sent(Sent { at: now, raw_bytes: 500_000, encoding, waiting, line_rate: line * 1e6 });
            last.push(step);
        }
        last.split_off(4000)
    }

    fn share(steps: &[usize], wanted: impl Fn(usize) -> bool) -> f64 {
        to_f64(crate::units::to_u64(steps.iter().filter(|s| wanted(**s)).count()))
            / to_f64(crate::units::to_u64(steps.len()))
    }

    #[test]
    fn a_slow_line_is_worth_the_highest_level() {
        assert!(share(&run(1.0), |step| step == 4) > 0.9);
    }

    #[test]
    fn a_fast_line_is_worth_as_much_as_keeps_up_with_it() {
        // 125 MB/s: level 1 fills it at twice its rate; no compression at its rate; level 4 not at all.
        assert!(share(&run(125.0), |step| (1..=3).contains(&step)) > 0.8);
    }

    #[test]
    fn a_line_faster_than_any_codec_is_worth_none() {
        assert!(share(&run(5000.0), |step| step == 0) > 0.8);
    }

    #[test]
    fn a_fixed_level_stays() {
        let now = Instant::now();
        let mut fixed = LevelControl::new(LevelChoice::Fixed(Level::STRONG), 2, now);
        for n in 0..1000 {
            let at = now + Duration::from_millis(n);
            fixed.record_sent(Sent { at, raw_bytes: 1, encoding: WINDOW, waiting: Duration::ZERO, line_rate: 1e9 });
        }
        assert_eq!(fixed.level(), Level::STRONG);
    }
}
