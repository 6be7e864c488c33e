//! Bringing an index up to what the packs tell.

use std::collections::{HashMap, HashSet};

use super::{
    CommitBatch, Held, Index, Note, Order, Publication, RecordStore, Removal, Scope, StoreError, StoredInstance,
};
use crate::ids::{InstanceHash, PackId, PeerId, StudyUid};
use crate::units::to_u64;

/// Removals read from the index at once.
const REMOVALS_AT_ONCE: usize = 256;

/// What [`recover`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoverReport {
    /// Notes that the index did not have.
    pub notes: u64,
    /// Instances in them.
    pub instances: u64,
    /// Of those, how many stand in packs that are not there, or not to that length, and stand nowhere else: they are
    /// lost here.
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
/// Cost: nothing for packs that end with a note that the index has, which is most; of others the trailer and the notes
/// behind that, or where there is no trailer the headers of what comes behind.
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
    let mut elsewhere = Vec::new();
    for pack in &packs {
        let from = index.noted(pack.id)?.unwrap_or(0);
        if from >= pack.len {
            continue;
        }
        let mut apply = |end: u64, bytes: &[u8]| {
            report.notes += 1;
            match Note::decode(bytes) {
                Ok(Note::Committed { at, provenance, mut instances }) => {
                    report.instances += to_u64(instances.len());
                    elsewhere.extend(instances.extract_if(.., |instance| !is_there(instance)).map(|i| Missing::of(&i)));
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
        match records.list_notes(pack.id, from, &mut apply) {
            Ok(_) | Err(StoreError::NoSuchPack(_) | StoreError::Damaged { .. }) => {}
            Err(e) => return Err(e),
        }
    }
    stated.iter().try_for_each(|publication| state(index, publication))?;
    report.instances_missing = count_missing(index, &elsewhere)?;
    Ok(report)
}

/// An instance that a note tells of and that does not stand where the note says.
struct Missing {
    owner: PeerId,
    study: StudyUid,
    hash: InstanceHash,
    order: Order,
}

impl Missing {
    fn of(instance: &StoredInstance) -> Self {
        let StoredInstance { owner, entry, order, .. } = instance;
        Self { owner: *owner, study: entry.study.clone(), hash: entry.hash, order: *order }
    }
}

/// How many of these are lost: neither moved nor removed since the note was written.
fn count_missing(index: &dyn Index, elsewhere: &[Missing]) -> Result<u64, StoreError> {
    let mut lost = Vec::new();
    for run in elsewhere.chunk_by(|a, b| (a.owner, &a.study) == (b.owner, &b.study)) {
        let hashes: Vec<InstanceHash> = run.iter().map(|missing| missing.hash).collect();
        let held = index.has(&Scope::owner(run[0].owner), &run[0].study, &hashes)?;
        lost.extend(run.iter().zip(held).filter(|(_, held)| *held == Held::Absent).map(|(missing, _)| missing));
    }
    let mut order = 0;
    while !lost.is_empty() {
        let removals = index.removals(order, REMOVALS_AT_ONCE)?;
        let Some(last) = removals.last() else { break };
        order = last.order.0;
        let removed = |missing: &Missing| removals.iter().any(|removal| names(removal, missing));
        lost.retain(|missing| !removed(missing));
    }
    // What several notes tell of is one instance.
    let lost: HashSet<(PeerId, InstanceHash)> = lost.into_iter().map(|missing| (missing.owner, missing.hash)).collect();
    Ok(to_u64(lost.len()))
}

fn names(removal: &Removal, missing: &Missing) -> bool {
    let named = removal.what.names(&missing.hash);
    named && removal.owner == missing.owner && removal.study == missing.study && removal.order > missing.order
}

/// States contents again, for those that stand in packs that were begun later than the one that states them: of two
/// transfers that ran at the same time.
fn state(index: &dyn Index, publication: &Publication) -> Result<(), StoreError> {
    let owner = Scope::owner(publication.owner);
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
