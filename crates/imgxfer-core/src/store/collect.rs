//! Collecting packs that nothing stands in any more.

use super::{Index, RecordStore, StoreError};
use crate::clock::UnixSeconds;
use crate::ids::PackId;

/// What [`collect`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectReport {
    /// Packs that were removed.
    pub packs_removed: u64,
    /// Bytes in them.
    pub bytes_removed: u64,
    /// Packs that stay because committed instances stand in them, or notes.
    pub packs_in_use: u64,
    /// Packs that stay because a transfer uses them or they are too young.
    pub packs_spared: u64,
}

/// Removes the packs that no committed instance stands in, that are not `held`, and that were created before
/// `older_than`.
///
/// `held` tells whether a running transfer fills a pack or found spool in it: what it is about to commit is not in
/// the index yet. Whoever begins to use a pack holds it first and asks [`Index::is_doomed`] then; here a pack is
/// doomed first, in one transaction that succeeds only while nothing stands in it, and whether it is held is asked
/// once more. So one of the two sees the other, however slowly either goes, and a commit into a doomed pack fails.
/// Safe to run beside transfers, and safe to cut short anywhere.
///
/// # Errors
/// [`StoreError`]; what was removed before stays removed.
pub fn collect(
    records: &dyn RecordStore,
    index: &dyn Index,
    held: &dyn Fn(&PackId) -> bool,
    older_than: UnixSeconds,
) -> Result<CollectReport, StoreError> {
    let mut report = CollectReport::default();
    for pack in records.packs()? {
        if held(&pack.id) {
            report.packs_spared += 1;
            continue;
        }
        if pack.created >= older_than {
            // Nobody writes to it: what an interrupted transfer left need not wait for the next one to be durable.
            // That it cannot be made so is told to whoever wants to build on it.
            drop(records.park(pack.id));
            report.packs_spared += 1;
            continue;
        }
        let noted = index.noted(pack.id)?.unwrap_or(0);
        if noted > 0 || tells_anything(records, pack.id)? || !index.doom(pack.id)? {
            report.packs_in_use += 1;
            continue;
        }
        if held(&pack.id) {
            index.spare(pack.id)?;
            report.packs_spared += 1;
            continue;
        }
        records.delete(pack.id)?;
        index.forget(pack.id)?;
        report.packs_removed += 1;
        report.bytes_removed += pack.len;
    }
    Ok(report)
}

/// Whether a pack tells anything: it is not for the index to say then that nobody needs it.
fn tells_anything(records: &dyn RecordStore, pack: PackId) -> Result<bool, StoreError> {
    let mut more = false;
    let mut look = |_: u64, _: &[u8]| {
        more = true;
        Ok(())
    };
    match records.notes(pack, 0, &mut look) {
        Ok(_) | Err(StoreError::NoSuchPack(_) | StoreError::Damaged { .. }) => Ok(more),
        Err(e) => Err(e),
    }
}
