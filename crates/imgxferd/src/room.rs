//! Gives the room of what was removed back, slowly: packs that much was removed from are rewritten. While no transfer
//! runs, so are those that were made as small as could be for a slow line, so that they are read fast.

use std::sync::Arc;
use std::time::Duration;

use imgxfer_core::clock::{Stopwatch, UnixSeconds};
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

/// Rewrites every pack that is worth it, and then, while there is nothing else to do, those that take long to read.
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
        if !shared.config.recode {
            return Ok(());
        }
        for (pack, _) in shared.depot.slow()? {
            // What is being transferred meanwhile is looked at next time, with what it has brought.
            if *stopping.borrow() || !is_idle(&shared) {
                break;
            }
            recode_one(&shared, &pack, rate, &stopping)?;
        }
        Ok(())
    })
    .await
}

/// Whether no transfer runs.
fn is_idle(shared: &Shared) -> bool {
    shared.live.count() == (0, 0)
}

/// Waits until `long` has passed since the last time, and `is_due` is so. Returns whether the daemon goes on.
fn wait(since: &mut Stopwatch, long: Duration, is_due: &dyn Fn() -> bool, stopping: &watch::Receiver<bool>) -> bool {
    while !*stopping.borrow() && (since.elapsed() < long || !is_due()) {
        let left = long.saturating_sub(since.elapsed());
        std::thread::sleep(if left.is_zero() { LOOK_FOR_THE_END } else { left.min(LOOK_FOR_THE_END) });
    }
    *since = Stopwatch::start();
    !*stopping.borrow()
}

fn compact_one(
    shared: &Shared,
    pack: &PackInfo,
    rate: u64,
    stopping: &watch::Receiver<bool>,
) -> Result<(), StoreError> {
    let mut since = Stopwatch::start();
    let mut copied = |bytes: u64| wait(&mut since, pace(bytes, rate, !is_idle(shared)), &|| true, stopping);
    match shared.depot.compact(pack.id, &mut copied)? {
        Compacted::Gone { bytes, moved } => {
            let given_back = bytes.saturating_sub(moved);
            shared.metrics.compacted(given_back);
            tracing::info!(pack = ?pack.id, bytes = given_back, moved, "room was given back");
        }
        Compacted::NoRoom { needed } => {
            tracing::warn!(pack = ?pack.id, needed, "a pack cannot be rewritten: there is no room for what is needed of it; make room on the disk");
        }
        done => tell(pack, done),
    }
    Ok(())
}

/// Codes a pack anew. It stands still while a transfer runs.
fn recode_one(shared: &Shared, pack: &PackInfo, rate: u64, stopping: &watch::Receiver<bool>) -> Result<(), StoreError> {
    let mut since = Stopwatch::start();
    let mut copied = |bytes: u64| wait(&mut since, pace(bytes, rate, false), &|| is_idle(shared), stopping);
    let ttl = i64::try_from(shared.config.spool_ttl.as_secs()).unwrap_or(i64::MAX);
    let left_before = UnixSeconds(UnixSeconds::now().0.saturating_sub(ttl));
    match shared.depot.recode(pack.id, left_before, &mut copied)? {
        Compacted::Gone { bytes, moved } => {
            shared.metrics.recoded(bytes);
            tracing::info!(pack = ?pack.id, moved, "a pack was coded anew, and is read faster");
        }
        Compacted::NoRoom { needed } => {
            tracing::info!(pack = ?pack.id, needed, "a pack stays slow to read: there is no room to code it anew");
        }
        done => tell(pack, done),
    }
    Ok(())
}

fn tell(pack: &PackInfo, done: Compacted) {
    if done == Compacted::Damaged {
        tracing::warn!(pack = ?pack.id, "a pack is not rewritten, since something in it is damaged: stop the daemon and run `imgxfer repair`");
    }
}
