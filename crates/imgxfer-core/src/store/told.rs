//! What the index knows and no note tells any more, because the note is damaged or what stands before it is: the
//! loss of the index would take it along. It is found, and told anew.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::note::{committed, published, removed};
use super::trailer::finish;
use super::{
    Arrival, Index, InstancesOf, Note, Order, PackWriter, Provenance, Publication, RecordStore, Removal, Scope,
    StoreError, StoredInstance, recipe,
};
use crate::clock::UnixSeconds;
use crate::ids::{InstanceHash, ManifestRoot, PeerId, StudyUid};
use crate::units::{to_u64, to_usize};

/// Instances fetched from the index at a time.
const PAGE: usize = 256;
/// Studies fetched from the index at a time.
const STUDIES: usize = 256;
/// Instances that are told anew at a time: some 5 MB of notes.
const INSTANCES_AT_ONCE: usize = 4096;

/// Something that the index alone knows.
#[derive(Debug)]
pub(super) enum Untold {
    /// An instance, or where its chunks stand now, or by which ways it came.
    Committed {
        instance: Box<StoredInstance>,
        /// Whether a note tells it as it stands.
        is_told: bool,
        /// The ways that no note tells.
        arrivals: Vec<Arrival>,
    },
    /// The newest version of a study, with the contents that manifests state.
    Published(Box<Publication>),
    /// A removal.
    Removed(Box<Removal>),
}

/// What [`retell`] wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetellReport {
    /// Instances that no readable note told as they stand.
    pub instances: u64,
    /// Ways by which instances came that no readable note told.
    pub arrivals: u64,
    /// Studies whose newest version no readable note told.
    pub versions: u64,
    /// Removals that no readable note told.
    pub removals: u64,
}

impl RetellReport {
    /// Whether readable notes told everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn count(&mut self, untold: &Untold) {
        match untold {
            Untold::Committed { is_told, arrivals, .. } => {
                self.instances += u64::from(!is_told);
                self.arrivals += to_u64(arrivals.len());
            }
            Untold::Published(_) => self.versions += 1,
            Untold::Removed(_) => self.removals += 1,
        }
    }
}

/// Half a hash tells apart what a store can hold.
type Digest = [u8; 16];

fn digest(kind: u8, owner: PeerId, parts: &[&[u8]]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[kind]).update(owner.as_bytes());
    for part in parts {
        hasher.update(part);
    }
    let mut half = Digest::default();
    half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    half
}

/// Of what it is and where it stands. What was read from its header is not part of it: it is read again where it is of
/// another catalogue.
fn of_instance(instance: &StoredInstance) -> Digest {
    digest(1, instance.owner, &[&recipe::encode_places(instance)])
}

fn of_version(owner: PeerId, study: &StudyUid, root: &ManifestRoot) -> Digest {
    digest(2, owner, &[root.as_bytes(), study.as_str().as_bytes()])
}

fn of_removal(removal: &Removal) -> Digest {
    digest(3, removal.owner, &[&removal.order.0.to_le_bytes(), removal.study.as_str().as_bytes()])
}

fn of_statement(owner: PeerId, study: &StudyUid, order: Order, hash: &InstanceHash) -> Digest {
    digest(4, owner, &[&order.0.to_le_bytes(), hash.as_bytes(), study.as_str().as_bytes()])
}

fn of_arrival(instance: &StoredInstance, provenance: &Provenance, at: UnixSeconds) -> Digest {
    let entry = &instance.entry;
    let uids = format!("{} {} {} ", entry.study, entry.series, entry.sop_instance);
    let parts = [uids.as_bytes(), entry.hash.as_bytes(), &at.0.to_le_bytes(), &provenance.encode()];
    digest(5, instance.owner, &parts)
}

/// What readable notes tell. A pack that cannot be read, or not to its end, tells what was read of it.
fn told(records: &dyn RecordStore) -> Result<HashSet<Digest>, StoreError> {
    let mut told = HashSet::new();
    for pack in records.packs()? {
        let read = records.list_notes(pack.id, 0, &mut |_, bytes| {
            match Note::decode(bytes) {
                Ok(Note::Committed { instances, provenance, at }) => {
                    told.extend(instances.iter().map(of_instance));
                    let by = provenance.as_ref();
                    told.extend(by.into_iter().flat_map(|by| instances.iter().map(move |i| of_arrival(i, by, at))));
                }
                Ok(Note::Published(publication)) => {
                    let Publication { owner, studies, root, order, stated, .. } = &publication;
                    told.extend(studies.iter().map(|study| of_version(*owner, study, root)));
                    told.extend(stated.iter().filter_map(|(study, hash)| {
                        Some(of_statement(*owner, studies.get(to_usize(u64::from(*study)))?, *order, hash))
                    }));
                }
                Ok(Note::Removed(removal)) => drop(told.insert(of_removal(&removal))),
                Err(_) => {}
            }
            Ok(())
        });
        // What is not read counts as not told.
        drop(read);
    }
    Ok(told)
}

/// Calls `visit` with everything that the index knows and no readable note tells.
///
/// Cost: the header of each record and the content of each note; 30 bytes of memory for each instance, and for each way
/// by which it came.
pub(super) fn untold(
    records: &dyn RecordStore,
    index: &dyn Index,
    visit: &mut dyn FnMut(Untold) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let told = told(records)?;
    let mut after = None;
    loop {
        let keys = index.study_keys(after.as_ref(), STUDIES)?;
        for (owner, study) in &keys {
            untold_of_study(&told, index, *owner, study, visit)?;
        }
        after = keys.into_iter().next_back();
        if after.is_none() {
            break;
        }
    }
    let mut order = 0;
    loop {
        let removals = index.removals(order, STUDIES)?;
        let Some(last) = removals.last() else { return Ok(()) };
        order = last.order.0;
        for removal in removals.into_iter().filter(|removal| !told.contains(&of_removal(removal))) {
            visit(Untold::Removed(Box::new(removal)))?;
        }
    }
}

fn untold_of_study(
    told: &HashSet<Digest>,
    index: &dyn Index,
    owner: PeerId,
    study: &StudyUid,
    visit: &mut dyn FnMut(Untold) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let scope = Scope::owner(owner);
    let of = InstancesOf::all_versions(study.clone());
    let mut last: Option<StoredInstance> = None;
    let mut stated: BTreeMap<Order, Vec<(u32, InstanceHash)>> = BTreeMap::new();
    loop {
        let page = index.instances(&scope, &of, last.as_ref(), PAGE)?;
        for instance in &page {
            let is_told = told.contains(&of_instance(instance));
            let mut arrivals = index.arrivals(instance)?;
            arrivals.retain(|came| !told.contains(&of_arrival(instance, &came.provenance, came.at)));
            if !is_told || !arrivals.is_empty() {
                visit(Untold::Committed { instance: Box::new(instance.clone()), is_told, arrivals })?;
            }
            if let Some(order) = instance.stated
                && !told.contains(&of_statement(owner, study, order, &instance.entry.hash))
            {
                stated.entry(order).or_default().push((0, instance.entry.hash));
            }
        }
        last = page.into_iter().next_back();
        if last.is_none() {
            break;
        }
    }
    let Some(row) = index.study(&scope, study)?.into_iter().next() else { return Ok(()) };
    let Some(root) = row.root else { return Ok(()) };
    let studies = vec![study.clone()];
    let published = |order, stated| {
        let studies = studies.clone();
        Untold::Published(Box::new(Publication { owner, studies, root, at: row.updated, order, stated }))
    };
    if !told.contains(&of_version(owner, study, &root)) {
        stated.entry(row.published).or_default();
    }
    stated.into_iter().try_for_each(|(order, stated)| visit(published(order, stated)))
}

/// Writes notes of everything that the index knows and no readable note tells, so that the index may be lost again.
/// Durable when it returns. Of versions only the newest of each study is told.
///
/// Cost: reads the header of each record and the content of each note; 30 bytes of memory for each instance, and for each
/// way by which it came. Blocks.
///
/// # Errors
/// [`StoreError`]; what was written before stays so.
pub fn retell(records: &dyn RecordStore, index: &dyn Index) -> Result<RetellReport, StoreError> {
    let mut retelling = Retelling { records, index, writers: HashMap::new(), waiting: HashMap::new() };
    let mut report = RetellReport::default();
    untold(records, index, &mut |untold| {
        report.count(&untold);
        match untold {
            Untold::Committed { instance, arrivals, .. } => retelling.take(&instance, arrivals)?,
            Untold::Published(publication) => {
                // Instances before the version that they belong to.
                retelling.tell(publication.owner)?;
                retelling.write(publication.owner, &[published(&publication)])?;
            }
            Untold::Removed(removal) => retelling.write(removal.owner, &[removed(&removal)])?,
        }
        Ok(())
    })?;
    let owners: Vec<PeerId> = retelling.waiting.keys().copied().collect();
    owners.into_iter().try_for_each(|owner| retelling.tell(owner))?;
    retelling.finish()?;
    Ok(report)
}

struct Retelling<'a> {
    records: &'a dyn RecordStore,
    index: &'a dyn Index,
    /// The pack of each owner, and whether it is full is asked before each note.
    writers: HashMap<PeerId, Box<dyn PackWriter>>,
    waiting: HashMap<PeerId, Waiting>,
}

/// Instances of one owner that are told together.
#[derive(Debug, Default)]
struct Waiting {
    count: usize,
    /// By the way by which they came, and when.
    instances: BTreeMap<Option<Arrival>, Vec<StoredInstance>>,
}

impl Retelling<'_> {
    fn take(&mut self, instance: &StoredInstance, arrivals: Vec<Arrival>) -> Result<(), StoreError> {
        let owner = instance.owner;
        let waiting = self.waiting.entry(owner).or_default();
        waiting.count += arrivals.len().max(1);
        // What came by no way is told without one.
        let none = arrivals.is_empty().then_some(None);
        for came in arrivals.into_iter().map(Some).chain(none) {
            waiting.instances.entry(came).or_default().push(instance.clone());
        }
        if waiting.count >= INSTANCES_AT_ONCE { self.tell(owner) } else { Ok(()) }
    }

    fn tell(&mut self, owner: PeerId) -> Result<(), StoreError> {
        let waiting = self.waiting.remove(&owner).unwrap_or_default();
        for (came, mut instances) in waiting.instances {
            // Neighbours in the order of things share a note.
            instances.sort_by_key(|instance| instance.order);
            let at = came.as_ref().map_or_else(UnixSeconds::now, |came| came.at);
            self.write(owner, &committed(owner, at, came.as_ref().map(|came| &came.provenance), &instances))?;
        }
        Ok(())
    }

    fn write(&mut self, owner: PeerId, notes: &[Vec<u8>]) -> Result<(), StoreError> {
        for note in notes {
            if self.writers.get(&owner).is_some_and(|writer| writer.is_full())
                && let Some(full) = self.writers.remove(&owner)
            {
                self.close(full)?;
            }
            let writer = match self.writers.remove(&owner) {
                Some(writer) => writer,
                None => self.records.create_pack(owner)?,
            };
            self.writers.entry(owner).or_insert(writer).note(note)?;
        }
        Ok(())
    }

    /// Durable first, and then in use.
    fn close(&self, mut writer: Box<dyn PackWriter>) -> Result<(), StoreError> {
        writer.sync()?;
        self.index.note(writer.id(), writer.len())?;
        finish(writer);
        Ok(())
    }

    fn finish(mut self) -> Result<(), StoreError> {
        let writers: Vec<_> = self.writers.drain().collect();
        writers.into_iter().try_for_each(|(_, writer)| self.close(writer))
    }
}

/// How much the index alone knows.
pub(super) fn count_untold(records: &dyn RecordStore, index: &dyn Index) -> Result<RetellReport, StoreError> {
    let mut report = RetellReport::default();
    untold(records, index, &mut |untold| {
        report.count(&untold);
        Ok(())
    })?;
    Ok(report)
}
