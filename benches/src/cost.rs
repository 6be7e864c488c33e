//! What a run costs: time, processor time, memory. Of this process, so of both ends of a transfer together, and of
//! the bench beside them.

use std::time::Duration;

use imgxfer_core::units::to_f64;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// What moving so many bytes took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Original bytes.
    pub bytes: u64,
    /// On the wall.
    pub seconds: f64,
    /// Processor time of both ends, all threads, kernel included.
    pub cpu_seconds: f64,
    /// Most memory that the process held meanwhile (`VmHWM`), both ends, source and bench included; 0 where the
    /// system does not tell.
    pub peak_bytes: u64,
}

impl Sample {
    /// Gigabits a second.
    #[must_use]
    pub fn gbit_a_second(&self) -> f64 {
        to_f64(self.bytes) * 8e-9 / self.seconds
    }

    /// Processor seconds for a gigabyte (10^9).
    #[must_use]
    pub fn cpu_seconds_a_gb(&self) -> f64 {
        self.cpu_seconds * 1e9 / to_f64(self.bytes)
    }
}

/// Measures one run.
#[derive(Debug)]
pub struct Meter {
    wall: Duration,
    cpu: Duration,
}

impl Meter {
    /// Begins; the memory that the process holds now is the least of its peak.
    #[must_use]
    pub fn start() -> Self {
        // Linux since 4.0 sets the high-water mark to what is held (proc(5)); elsewhere it stays the process's.
        let _reset = std::fs::write("/proc/self/clear_refs", "5");
        Self { wall: now(ClockId::Monotonic), cpu: now(ClockId::ProcessCPUTime) }
    }

    /// Ends.
    #[must_use]
    pub fn stop(&self, bytes: u64) -> Sample {
        Sample {
            bytes,
            seconds: now(ClockId::Monotonic).saturating_sub(self.wall).as_secs_f64(),
            cpu_seconds: now(ClockId::ProcessCPUTime).saturating_sub(self.cpu).as_secs_f64(),
            peak_bytes: peak_bytes(),
        }
    }
}

fn now(clock: ClockId) -> Duration {
    // Never negative, and so never the default.
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) << 10
}

/// The middle of some values, the mean of two for an even number; 0 of none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle() {
        assert_eq!(median(&[]).to_bits(), 0.0_f64.to_bits());
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }

    #[test]
    fn a_run_is_measured() {
        let meter = Meter::start();
        let sample = meter.stop(1_000);
        assert!(sample.seconds >= 0.0 && sample.cpu_seconds >= 0.0, "{sample:?}");
        if cfg!(target_os = "linux") {
            assert!(sample.peak_bytes > 0, "{sample:?}");
        }
    }
}
