//! What is tidied up from time to time.

use std::sync::Arc;
use std::time::Duration;

use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::work::{WorkError, blocking};

use crate::app::Shared;
use crate::open;

/// How often the remains of interrupted transfers are looked for.
const COLLECT_EVERY: Duration = Duration::from_hours(1);

/// How often the index is looked at.
const MEND_EVERY: Duration = Duration::from_secs(2);

/// Jobs that are done are remembered for so long, and longer while their files lie in an inbox.
const DONE_JOBS_KEPT: Duration = Duration::from_hours(14 * 24);

/// Removes what is left of transfers that nobody resumed, and forgets jobs that are long done.
pub(crate) async fn keep_house(shared: Arc<Shared>) {
    let mut timer = tokio::time::interval(COLLECT_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let shared = Arc::clone(&shared);
        let work = blocking("tidy up", move || {
            let now = UnixSeconds::now().0;
            let before =
                |age: Duration| UnixSeconds(now.saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX)));
            let depot = &shared.depot;
            let older_than = before(shared.config.spool_ttl);
            match depot.collect(older_than) {
                Ok(report) => {
                    shared.metrics.collected(report.bytes_removed);
                    if report.packs_removed > 0 {
                        tracing::info!(
                            packs = report.packs_removed,
                            bytes = report.bytes_removed,
                            "removed what was left of interrupted transfers"
                        );
                    }
                }
                Err(error) => tracing::error!(%error, "the store could not be tidied up"),
            }
            if let Err(error) = shared.queue.prune(before(DONE_JOBS_KEPT)) {
                tracing::error!(%error, "the queue could not be tidied up");
            }
        });
        match work.await {
            Ok(()) => {}
            Err(WorkError::Stopping) => return,
            Err(error) => tracing::error!(%error, "the tidying up was cut short; it is done again at the next hour"),
        }
    }
}

/// Looks every few seconds whether the disk is full, or failed under the index, and opens it anew as soon as that works. Until
/// then nothing is acknowledged, and `/readyz` says so.
pub(crate) async fn mend_index(shared: Arc<Shared>) {
    let mut timer = tokio::time::interval(MEND_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = false;
    loop {
        timer.tick().await;
        let now = Arc::clone(&shared);
        let mending = move || {
            open::tend_spare(&now.config);
            now.depot.mend()
        };
        match blocking("open the index anew", mending).await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => {
                told = false;
                tracing::warn!(
                    "the disk failed under the index; it was read back, and all that was acknowledged is there"
                );
            }
            Ok(Err(error)) if !told => {
                told = true;
                tracing::error!(%error, "the disk failed under the index, and it cannot be opened anew: nothing is acknowledged until it can; check the disk");
            }
            Ok(Err(_)) => {}
            Err(WorkError::Stopping) => return,
            Err(error) => tracing::error!(%error, "the index could not be opened anew; it is tried again"),
        }
    }
}
