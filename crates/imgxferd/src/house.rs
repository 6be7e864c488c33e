//! What is tidied up from time to time.

use std::sync::Arc;
use std::time::Duration;

use imgxfer_core::clock::UnixSeconds;

use crate::app::Shared;

/// How often the remains of interrupted transfers are looked for.
const COLLECT_EVERY: Duration = Duration::from_hours(1);

/// Jobs that are done are remembered for so long, and longer while their files lie in an inbox.
const DONE_JOBS_KEPT: Duration = Duration::from_hours(14 * 24);

/// Removes what is left of transfers that nobody resumed, and forgets jobs that are long done.
pub(crate) async fn keep_house(shared: Arc<Shared>) {
    let mut timer = tokio::time::interval(COLLECT_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let shared = Arc::clone(&shared);
        let work = tokio::task::spawn_blocking(move || {
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
        if work.await.is_err() {
            return;
        }
    }
}
