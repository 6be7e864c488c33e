//! Collecting packs that nothing stands in any more.

use std::collections::HashSet;

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
    /// Packs that stay because committed instances stand in them.
    pub packs_in_use: u64,
    /// Packs that stay because a transfer uses them or they are too young.
    pub packs_spared: u64,
}

/// Removes the packs that no committed instance stands in, that are not `active`, and that were
/// created before `older_than`.
///
/// `active` must name every pack that a running transfer fills or found spool in: what it is about to
/// commit is not in the index yet. Safe to run beside transfers then, and safe to cut short anywhere.
///
/// # Errors
/// [`StoreError`]; what was removed before stays removed.
pub fn collect(
    records: &dyn RecordStore,
    index: &dyn Index,
    active: &HashSet<PackId>,
    older_than: UnixSeconds,
) -> Result<CollectReport, StoreError> {
    let mut report = CollectReport::default();
    for pack in records.packs()? {
        if active.contains(&pack.id) || pack.created >= older_than {
            report.packs_spared += 1;
            continue;
        }
        // Asked last, right before the removal.
        if index.pack_extent(pack.id)?.is_some() {
            report.packs_in_use += 1;
            continue;
        }
        records.delete(pack.id)?;
        report.packs_removed += 1;
        report.bytes_removed += pack.len;
    }
    Ok(report)
}
