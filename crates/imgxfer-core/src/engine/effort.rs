//! How hard to compress: as hard as the line leaves time for.
//!
//! A record that is ready and must wait for the line says that the line is the bottleneck: more effort
//! costs nothing. A line that waits for records says the opposite. Steps are taken only after a run of
//! records that agree, so that a short hiccup changes nothing.

use std::time::Duration;

use crate::codec::Effort;

/// Agreeing records in a row before a step is taken.
const RUN: i32 = 12;

/// Chooses the effort from how long records take to make and how long they wait for the line.
#[derive(Debug, Clone)]
pub(super) struct EffortControl {
    /// 0 is no compression at all; n is `Effort` n - 1.
    step: u8,
    fixed: bool,
    run: i32,
}

impl EffortControl {
    /// Starts at the default effort; stays at `fixed` where one is given.
    pub(super) fn new(fixed: Option<Effort>) -> Self {
        let start = fixed.unwrap_or(Effort::DEFAULT);
        Self { step: start.get() + 1, fixed: fixed.is_some(), run: 0 }
    }

    /// What to use for the next record; `None` for no compression.
    pub(super) fn effort(&self) -> Option<Effort> {
        self.step.checked_sub(1).map(Effort::new)
    }

    /// A record took `encoding` on one of `workers` threads, then waited `waiting` for the line.
    pub(super) fn record_sent(&mut self, encoding: Duration, waiting: Duration, workers: u32) {
        if self.fixed {
            return;
        }
        // With all workers busy, a record comes out every `encoding / workers`.
        let pace = encoding / workers.max(1);
        let line_bound = waiting > pace;
        let cpu_bound = waiting < pace / 4;
        self.run = match (line_bound, cpu_bound) {
            (true, _) => self.run.max(0) + 1,
            (_, true) => self.run.min(0) - 1,
            (false, false) => 0,
        };
        if self.run >= RUN {
            self.step = (self.step + 1).min(Effort::SMALLEST.get() + 1);
            self.run = 0;
        } else if self.run <= -RUN {
            self.step = self.step.saturating_sub(1);
            self.run = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_slow_line_raises_and_a_fast_one_lowers_the_effort() {
        let mut control = EffortControl::new(None);
        for _ in 0..100 {
            control.record_sent(2 * MS, 100 * MS, 2);
        }
        assert_eq!(control.effort(), Some(Effort::SMALLEST));
        for _ in 0..200 {
            control.record_sent(20 * MS, Duration::ZERO, 2);
        }
        assert_eq!(control.effort(), None, "no compression when it only costs time");
    }

    #[test]
    fn a_hiccup_or_a_fixed_effort_changes_nothing() {
        let mut control = EffortControl::new(None);
        for n in 0..1000 {
            let waiting = if n % 10 == 0 { Duration::ZERO } else { 100 * MS };
            let before = control.effort();
            control.record_sent(2 * MS, waiting, 2);
            assert_eq!(control.effort(), before);
        }
        let mut fixed = EffortControl::new(Some(Effort::FASTEST));
        (0..100).for_each(|_| fixed.record_sent(MS, 100 * MS, 2));
        assert_eq!(fixed.effort(), Some(Effort::FASTEST));
    }
}
