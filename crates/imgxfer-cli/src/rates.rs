//! How fast it goes just now.

use std::collections::VecDeque;
use std::time::Duration;

use imgxfer_core::progress::Progress;
use imgxfer_core::units::to_f64;

/// What is averaged over.
const WINDOW: Duration = Duration::from_secs(5);

/// A few seconds of progress.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    points: VecDeque<(Duration, u64, u64)>,
}

/// Original and line bits a second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Rate {
    /// Of original bytes.
    pub(crate) effective_bps: f64,
    /// Of bytes on the line.
    pub(crate) line_bps: f64,
}

impl Rates {
    /// Takes note of how far it is at `now`, and tells the rate.
    pub(crate) fn note(&mut self, now: Duration, progress: &Progress) -> Rate {
        // What the receiver had before has not been moved.
        let moved = progress.bytes_arrived.saturating_sub(progress.bytes_present);
        self.points.push_back((now, moved, progress.line_bytes));
        while self.points.len() > 2 && self.points.get(1).is_some_and(|(at, _, _)| now.saturating_sub(*at) >= WINDOW) {
            self.points.pop_front();
        }
        let Some((then, moved_then, line_then)) = self.points.front().copied() else { return Rate::default() };
        let seconds = now.saturating_sub(then).as_secs_f64();
        if seconds < 0.1 {
            return Rate::default();
        }
        let rate = |now: u64, then: u64| to_f64(now.saturating_sub(then)) * 8.0 / seconds;
        Rate { effective_bps: rate(moved, moved_then), line_bps: rate(progress.line_bytes, line_then) }
    }
}

/// Time for the rest at this rate; `None` when it cannot be told.
pub(crate) fn time_left(progress: &Progress, rate: Rate) -> Option<Duration> {
    let left = progress.bytes_expected.checked_sub(progress.bytes_arrived)?;
    if rate.effective_bps < 1.0 {
        return None;
    }
    Duration::try_from_secs_f64(to_f64(left) * 8.0 / rate.effective_bps).ok()
}

/// Bits a second for people.
pub(crate) fn human_rate(bps: f64) -> String {
    let (value, unit) = match bps {
        b if b >= 1e9 => (b / 1e9, "Gbit/s"),
        b if b >= 1e6 => (b / 1e6, "Mbit/s"),
        b => (b / 1e3, "kbit/s"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

/// A time for people: `45 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn human_time(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, bytes: u64) -> (Duration, Progress) {
        let mut progress = Progress { bytes_expected: 10_000_000, bytes_arrived: bytes + 500, ..Progress::default() };
        (progress.bytes_present, progress.line_bytes) = (500, bytes / 2);
        (Duration::from_secs(seconds), progress)
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut rates = Rates::default();
        let mut rate = Rate::default();
        for second in 0..20 {
            let bytes = if second < 10 { second * 1_000 } else { 10_000 + (second - 10) * 100_000 };
            let (now, progress) = at(second, bytes);
            rate = rates.note(now, &progress);
        }
        assert!((rate.effective_bps - 800_000.0).abs() < 1.0, "{rate:?}");
        assert!((rate.line_bps - 400_000.0).abs() < 1.0, "{rate:?}");
        let (_, progress) = at(0, 910_000);
        assert_eq!(time_left(&progress, rate).unwrap().as_secs(), 90);
        assert_eq!(time_left(&progress, Rate::default()), None);
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(human_rate(800_000.0), "800 kbit/s");
        assert_eq!(human_rate(8_230_000.0), "8.23 Mbit/s");
        assert_eq!(human_rate(1.5e9), "1.50 Gbit/s");
        assert_eq!(human_time(Duration::from_millis(1_250)), "1.2 s");
        assert_eq!(human_time(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(human_time(Duration::from_secs(7_500)), "2 h 5 min");
    }
}
