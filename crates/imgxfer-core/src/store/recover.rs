//! Bringing an index up to what the packs tell.

use std::collections::HashMap;

use super::{CommitBatch, Index, Note, Publication, RecordStore, Scope, StoreError, StoredInstance};
use crate::ids::PackId;
use crate::units::to_u64;

/// What [`recover`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoverReport {
    /// Notes that the index did not have.
    pub notes: u64,
    /// Instances in them.
    pub instances: u64,
    /// Of those, how many stand in packs that are not there, or not to that length: they are lost here.
    pub instances_missing: u64,
    /// Notes that are damaged. Their packs are kept.
    pub notes_damaged: u64,
}

/// Gives the index what notes in packs tell and it does not know: after loss of power the last commits, after the
/// loss of the index all of them. Must run before anything is collected and before anything is served.
///
/// An index that is behind, one that was restored from an older copy, and an empty one are all the same to it: for
/// each pack the index knows up to where it has the notes, and what comes behind is applied, in the order in which
/// the packs were begun. Applying twice changes nothing.
///
/// Cost: nothing for packs that end with a note that the index has, which is most; for others, the headers of what
/// comes behind.
///
/// # Errors
/// [`StoreError`]; what was applied stays so.
pub fn recover(records: &dyn RecordStore, index: &dyn Index) -> Result<RecoverReport, StoreError> {
    index.forget_running()?;
    let mut packs = records.packs()?;
    packs.sort_by_key(|pack| (pack.sequence, pack.id));
    let lens: HashMap<PackId, u64> = packs.iter().map(|pack| (pack.id, pack.len)).collect();
    let is_there = |instance: &StoredInstance| {
        let reaches = |end: u64, pack: &PackId| lens.get(pack).is_some_and(|len| *len >= end);
        instance.chunks.iter().all(|c| reaches(c.record.offset.saturating_add(u64::from(c.record.len)), &c.record.pack))
    };
    let mut report = RecoverReport::default();
    let mut stated = Vec::new();
    for pack in &packs {
        let from = index.noted(pack.id)?.unwrap_or(0);
        if from >= pack.len {
            continue;
        }
        let mut apply = |end: u64, bytes: &[u8]| {
            report.notes += 1;
            match Note::decode(bytes) {
                Ok(Note::Committed { at, provenance, mut instances }) => {
                    let all = instances.len();
                    instances.retain(is_there);
                    report.instances += to_u64(all);
                    report.instances_missing += to_u64(all - instances.len());
                    let note = Some((pack.id, end));
                    let batch = CommitBatch { instances, provenance, at, note, newest: true, ..CommitBatch::default() };
                    index.commit(&batch).map(drop)
                }
                Ok(Note::Published(publication)) => {
                    index.publish(&publication)?;
                    if !publication.stated.is_empty() {
                        stated.push(publication);
                    }
                    index.note(pack.id, end)
                }
                Ok(Note::Removed(removal)) => {
                    index.remove(&removal)?;
                    index.note(pack.id, end)
                }
                Err(_) => {
                    report.notes_damaged += 1;
                    // Known to be there, so that the pack is never taken for what nobody needs.
                    index.note(pack.id, end)
                }
            }
        };
        match records.notes(pack.id, from, &mut apply) {
            Ok(_) | Err(StoreError::NoSuchPack(_) | StoreError::Damaged { .. }) => {}
            Err(e) => return Err(e),
        }
    }
    stated.iter().try_for_each(|publication| state(index, publication))?;
    Ok(report)
}

/// States contents again, for those that stand in packs that were begun later than the one that states them: of two
/// transfers that ran at the same time.
fn state(index: &dyn Index, publication: &Publication) -> Result<(), StoreError> {
    let owner = Scope::Owners(vec![publication.owner]);
    for (place, study) in (0u32..).zip(&publication.studies) {
        let named = publication.stated.iter().filter(|(of, _)| *of == place);
        let stated: Vec<_> = named.map(|(_, hash)| (0, *hash)).collect();
        if stated.is_empty() {
            continue;
        }
        let root = index.study(&owner, study)?.into_iter().find_map(|row| row.root);
        let root = root.unwrap_or(publication.root);
        index.publish(&Publication { studies: vec![study.clone()], root, stated, ..publication.clone() })?;
    }
    Ok(())
}
