//! Gives the room of what was removed back, slowly: packs that much was removed from are rewritten.

use std::sync::Arc;
use std::time::Duration;

use imgxfer_core::clock::Stopwatch;
use imgxfer_core::depot::Compacted;
use imgxfer_core::store::{PackInfo, StoreError};
use imgxfer_core::work::{WorkError, blocking};
use tokio::sync::watch;

use crate::app::Shared;
use crate::scrub::{pace, sleep_unless};

/// How often it is looked for packs to rewrite.
const LOOK_EVERY: Duration = Duration::from_mins(5);
/// How long it may take to notice that the daemon stops.
const LOOK_FOR_THE_END: Duration = Duration::from_millis(100);
/// A pack is rewritten when one byte of so many is needed by nobody.
const SHARE: u64 = 4;

/// Rewrites packs at the configured rate until the daemon stops; does nothing when it is set never to.
pub(crate) async fn give_room_back(shared: Arc<Shared>) {
    let Some(rate) = shared.config.compact_bytes_a_second else { return };
    let mut stopping = shared.stopping.subscribe();
    loop {
        match compact(&shared, rate, &stopping).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "room could not be given back; it is tried again in some minutes");
            }
            Err(error @ WorkError::Panicked(_)) => tracing::error!(%error, "giving room back was cut short"),
            Err(_) => return,
        }
        tokio::select! {
            stopped = sleep_unless(&mut stopping, LOOK_EVERY) => if stopped { return },
            () = shared.room_wanted.notified() => {}
        }
        if *stopping.borrow() {
            return;
        }
    }
}

/// Rewrites every pack that is worth it.
async fn compact(
    shared: &Arc<Shared>,
    rate: u64,
    stopping: &watch::Receiver<bool>,
) -> Result<Result<(), StoreError>, WorkError> {
    let (shared, stopping) = (Arc::clone(shared), stopping.clone());
    blocking("give room back", move || {
        for (pack, _) in shared.depot.wasteful(SHARE)? {
            if *stopping.borrow() {
                break;
            }
            compact_one(&shared, &pack, rate, &stopping)?;
        }
        Ok(())
    })
    .await
}

fn compact_one(
    shared: &Shared,
    pack: &PackInfo,
    rate: u64,
    stopping: &watch::Receiver<bool>,
) -> Result<(), StoreError> {
    let mut since = Stopwatch::start();
    let mut copied = |bytes: u64| {
        let long = pace(bytes, rate, shared.live.count() != (0, 0));
        while !*stopping.borrow() && since.elapsed() < long {
            std::thread::sleep(long.saturating_sub(since.elapsed()).min(LOOK_FOR_THE_END));
        }
        since = Stopwatch::start();
        !*stopping.borrow()
    };
    match shared.depot.compact(pack.id, &mut copied)? {
        Compacted::Gone { bytes, moved } => {
            let given_back = bytes.saturating_sub(moved);
            shared.metrics.compacted(given_back);
            tracing::info!(pack = ?pack.id, bytes = given_back, moved, "room was given back");
        }
        Compacted::NoRoom { needed } => {
            tracing::warn!(pack = ?pack.id, needed, "a pack cannot be rewritten: there is no room for what is needed of it; make room on the disk");
        }
        Compacted::Damaged => {
            tracing::warn!(pack = ?pack.id, "a pack is not rewritten, since something in it is damaged: stop the daemon and run `imgxfer repair`");
        }
        _ => {}
    }
    Ok(())
}
