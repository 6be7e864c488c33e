//! What a level costs and gives, for one kind of content: measured where it was used, guessed where not.

use std::time::Duration;

use crate::codec::Level;
use crate::units::to_f64;

/// What is expected of levels that have not been used yet: size of the result and pace, each as a multiple
/// of [`Level::FAST`]'s. They only decide what is tried first; one record at a level puts its own figures
/// in their place. From real images of eight modalities; prediction from the frame before gains far more
/// on time series.
const GAIN_GUESS: [f64; Level::COUNT] = [1.0, 1.0, 1.06, 1.08, 1.13];
const PACE_GUESS: [f64; Level::COUNT] = [6.0, 1.0, 0.5, 0.33, 0.005];

/// How much one record of this many bytes moves an estimate; smaller ones move it less.
const WEIGHT: f64 = 0.25;
const WEIGHT_BYTES: u64 = 256 << 10;

/// A level that is not in use is looked at again after this many records of its kind ...
const RETRY_MIN: u64 = 16;
/// ... and twice as many each time that it does not pay.
const RETRY_MAX: u64 = 128;

#[derive(Debug, Clone, Copy)]
struct Figures {
    /// Ratio and pace as multiples of the content's.
    gain: f64,
    pace: f64,
    /// Records of this kind made when the level was last used.
    used: Option<u64>,
    retry: u64,
}

/// Ratio and pace of each level.
///
/// A level's figures are kept as multiples of what the content gives at all, and each record moves both:
/// so when the content changes, what is known of one level says something of the others.
#[derive(Debug, Clone)]
pub(super) struct Costs {
    ratio: f64,
    bytes_a_second: f64,
    levels: [Figures; Level::COUNT],
    records: u64,
}

impl Default for Costs {
    fn default() -> Self {
        let figures =
            |level: usize| Figures { gain: GAIN_GUESS[level], pace: PACE_GUESS[level], used: None, retry: RETRY_MIN };
        Self { ratio: 1.0, bytes_a_second: 0.0, levels: [0, 1, 2, 3, 4].map(figures), records: 0 }
    }
}

fn at(level: Level) -> usize {
    usize::from(level.get())
}

impl Costs {
    /// Whether anything was compressed yet.
    pub(super) fn is_measured(&self) -> bool {
        self.bytes_a_second > 0.0
    }

    pub(super) fn is_tried(&self, level: Level) -> bool {
        level == Level::STORE || self.levels[at(level)].used.is_some()
    }

    /// Original bytes for each byte of a record.
    pub(super) fn ratio(&self, level: Level) -> f64 {
        if level == Level::STORE { 1.0 } else { (self.ratio * self.levels[at(level)].gain).max(1.0) }
    }

    /// Original bytes a second, of one worker.
    pub(super) fn pace(&self, level: Level) -> f64 {
        self.bytes_a_second * self.levels[at(level)].pace
    }

    pub(super) fn time(&self, level: Level, raw_bytes: u64) -> f64 {
        to_f64(raw_bytes) / self.pace(level).max(1.0)
    }

    /// Whether the level should be looked at again.
    pub(super) fn is_due(&self, level: Level) -> bool {
        let figures = &self.levels[at(level)];
        figures.used.is_none_or(|used| self.records.saturating_sub(used) >= figures.retry)
    }

    /// The level was tried and does not pay: it is left alone for longer.
    pub(super) fn postpone(&mut self, level: Level) {
        let figures = &mut self.levels[at(level)];
        figures.retry = (figures.retry * 2).min(RETRY_MAX);
    }

    /// The level pays.
    pub(super) fn keep(&mut self, level: Level) {
        self.levels[at(level)].retry = RETRY_MIN;
    }

    /// Learns from a record.
    pub(super) fn note(&mut self, level: Level, raw_bytes: u64, record_bytes: u64, time: Duration) {
        if raw_bytes == 0 || record_bytes == 0 {
            return;
        }
        self.records += 1;
        let ratio = (to_f64(raw_bytes) / to_f64(record_bytes)).max(1.0);
        let pace = to_f64(raw_bytes) / time.as_secs_f64().max(1e-6);
        let weight = WEIGHT * (to_f64(raw_bytes) / to_f64(WEIGHT_BYTES)).min(1.0);
        let first = !self.is_measured();
        let figures = &mut self.levels[at(level)];
        let untried = figures.used.replace(self.records).is_none();
        if first {
            (self.ratio, self.bytes_a_second) = (ratio / figures.gain, pace / figures.pace);
            return;
        }
        let (ratio_off, pace_off) = (ratio / (self.ratio * figures.gain), pace / (self.bytes_a_second * figures.pace));
        let own = if untried { 1.0 } else { weight };
        // `FAST` is the measure of the others, and moves only with the content.
        if level != Level::FAST {
            figures.pace *= pace_off.powf(own);
            if level != Level::STORE {
                figures.gain *= ratio_off.powf(own);
            }
        }
        let common = if untried { 0.0 } else { weight };
        if level != Level::STORE {
            self.ratio = (self.ratio * ratio_off.powf(common)).max(1.0);
            self.bytes_a_second *= pace_off.powf(common);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(costs: &mut Costs, level: Level, ratio: f64, mb_a_second: f64) {
        let raw = 1_000_000;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
        let record = (1e6 / ratio) as u64;
        costs.note(level, raw, record, Duration::from_secs_f64(1.0 / mb_a_second));
    }

    #[test]
    fn what_was_measured_counts_more_than_the_guess() {
        let mut costs = Costs::default();
        assert!(!costs.is_measured());
        note(&mut costs, Level::FAST, 4.0, 500.0);
        assert!((costs.ratio(Level::FAST) - 4.0).abs() < 0.01 && (costs.pace(Level::FAST) / 5e8 - 1.0).abs() < 0.01);
        assert!((costs.ratio(Level::STRONG) - 4.24).abs() < 0.01, "a guess");
        note(&mut costs, Level::SERIES, 6.0, 100.0);
        assert!(
            (costs.ratio(Level::SERIES) - 6.0).abs() < 0.01 && (costs.pace(Level::SERIES) / 1e8 - 1.0).abs() < 0.01
        );
        assert!((costs.ratio(Level::FAST) - 4.0).abs() < 0.01, "one trial says nothing of the others");
    }

    #[test]
    fn other_content_changes_the_figures_of_all_levels() {
        let mut costs = Costs::default();
        note(&mut costs, Level::FAST, 2.0, 500.0);
        note(&mut costs, Level::COPPER, 3.0, 2.0);
        for _ in 0..40 {
            note(&mut costs, Level::FAST, 8.0, 250.0);
        }
        assert!((costs.ratio(Level::COPPER) - 12.0).abs() < 0.5, "{}", costs.ratio(Level::COPPER));
        assert!((costs.pace(Level::COPPER) / 1e6 - 1.0).abs() < 0.1, "{}", costs.pace(Level::COPPER));
    }

    #[test]
    fn what_does_not_shrink_has_ratio_one() {
        let mut costs = Costs::default();
        costs.note(Level::FAST, 1000, 1060, Duration::from_micros(10));
        assert!((costs.ratio(Level::FAST) - 1.0).abs() < 1e-9);
        costs.note(Level::FAST, 0, 0, Duration::ZERO);
        assert_eq!(costs.records, 1);
    }

    #[test]
    fn a_level_that_does_not_pay_is_tried_less_and_less() {
        let mut costs = Costs::default();
        note(&mut costs, Level::FAST, 2.0, 500.0);
        assert!(costs.is_due(Level::STRONG));
        let mut trials = 0;
        for _ in 0..2000 {
            if costs.is_due(Level::STRONG) {
                note(&mut costs, Level::STRONG, 2.0, 250.0);
                costs.postpone(Level::STRONG);
                trials += 1;
            } else {
                note(&mut costs, Level::FAST, 2.0, 500.0);
            }
        }
        assert!((12..=24).contains(&trials), "{trials}");
    }
}
