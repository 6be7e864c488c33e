//! Times by how often they occurred, in little and bounded memory.

use crate::units::{to_f64, to_u64, to_usize};
use std::time::Duration;

/// Steps from one power of two to the next: a percentile is at most an eighth too large.
const STEPS: u64 = 8;
/// Powers of two of microseconds that are told apart: up to half an hour.
const OCTAVES: usize = 31;
const BUCKETS: usize = OCTAVES * 8;

/// How often which time occurred. Times are known to an eighth of themselves, or to a microsecond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, longest: Duration::ZERO }
    }
}

impl Histogram {
    /// Times that were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The longest time, exactly.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// The time that a `share` of all (0 to 1) did not exceed, rounded up by an eighth at most.
    #[must_use]
    pub fn percentile(&self, share: f64) -> Duration {
        let wanted = share.clamp(0.0, 1.0) * to_f64(self.total);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && to_f64(seen) >= wanted {
                return Duration::from_micros(upper(to_u64(bucket))).min(self.longest);
            }
        }
        self.longest
    }

    pub(super) fn add(&mut self, time: Duration) {
        self.add_times(time, 1);
    }

    pub(super) fn add_times(&mut self, time: Duration, times: u64) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(micros).min(BUCKETS - 1)] += times;
        self.total += times;
        self.longest = self.longest.max(time);
    }
}

/// Below `STEPS` a bucket is one microsecond wide; from there each octave has `STEPS` buckets.
fn bucket(micros: u64) -> usize {
    let octave = u64::from(micros.max(STEPS).ilog2() - STEPS.ilog2());
    to_usize(octave * STEPS + (micros >> octave))
}

/// The longest time of a bucket, in microseconds.
fn upper(bucket: u64) -> u64 {
    if bucket < 2 * STEPS {
        return bucket;
    }
    let octave = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS + 1) << octave) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_within_its_bucket() {
        for micros in (0..5_000).chain([60_000, 1_000_000, 100_000_000]) {
            let bucket = to_u64(bucket(micros));
            assert!(upper(bucket) >= micros && upper(bucket) <= micros + micros / 8, "{micros}");
            assert!(bucket == 0 || upper(bucket - 1) < micros, "{micros}");
        }
    }

    #[test]
    fn percentiles() {
        let mut times = Histogram::default();
        assert_eq!(times.percentile(0.5), Duration::ZERO);
        (1..=100).for_each(|ms| times.add(Duration::from_millis(ms)));
        for (share, ms) in [(0.0, 1), (0.5, 50), (0.95, 95), (1.0, 100)] {
            let exact = Duration::from_millis(ms);
            let found = times.percentile(share);
            assert!(found >= exact && found <= exact * 9 / 8, "{share}: {found:?}");
        }
        assert_eq!((times.longest(), times.total()), (Duration::from_millis(100), 100));
        times.add_times(Duration::ZERO, 10_000);
        assert_eq!(times.percentile(0.95), Duration::ZERO);
        times.add(Duration::MAX);
        assert_eq!(times.percentile(1.0), Duration::from_micros(upper(to_u64(BUCKETS) - 1)));
    }
}
