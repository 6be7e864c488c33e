//! Processor time of this thread: what else the machine does, and waiting for a disk, do not count.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Runs `work`; the processor time that it took.
pub(crate) fn time<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = now();
    let result = work();
    (result, now().saturating_sub(start))
}

fn now() -> Duration {
    // Never negative, and so never the default.
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
