//! What the index knows and no note tells any more, because the note is damaged or what stands before it is: the
//! loss of the index would take it along. It is found, and told anew.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::note::{committed, published, removed};
use super::{
    Index, InstancesOf, Note, Order, PackWriter, Publication, RecordStore, Removal, Scope, StoreError, StoredInstance,
    recipe,
};
use crate::clock::UnixSeconds;
use crate::ids::{InstanceHash, ManifestRoot, PeerId, StudyUid};
use crate::units::to_usize;

/// Instances fetched from the index at a time.
const PAGE: usize = 256;
/// Studies fetched from the index at a time.
const STUDIES: usize = 256;
/// Instances that are told anew at a time: some 5 MB of notes.
const INSTANCES_AT_ONCE: usize = 4096;

/// Something that the index alone knows.
#[derive(Debug)]
pub(super) enum Untold {
    /// An instance, or where its chunks stand now.
    Committed(Box<StoredInstance>),
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
    /// Studies whose newest version no readable note told.
    pub versions: u64,
    /// Removals that no readable note told.
    pub removals: u64,
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

fn of_instance(instance: &StoredInstance) -> Digest {
    digest(1, instance.owner, &[&recipe::encode(instance)])
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

/// What readable notes tell. A pack that cannot be read, or not to its end, tells what was read of it.
fn told(records: &dyn RecordStore) -> Result<HashSet<Digest>, StoreError> {
    let mut told = HashSet::new();
    for pack in records.packs()? {
        let read = records.notes(pack.id, 0, &mut |_, bytes| {
            match Note::decode(bytes) {
                Ok(Note::Committed { instances, .. }) => told.extend(instances.iter().map(of_instance)),
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
/// Cost: the header of each record and the content of each note; 30 bytes of memory for each instance.
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
    let scope = Scope::Owners(vec![owner]);
    let of = InstancesOf::all_versions(study.clone());
    let mut last: Option<StoredInstance> = None;
    let mut stated: BTreeMap<Order, Vec<(u32, InstanceHash)>> = BTreeMap::new();
    loop {
        let page = index.instances(&scope, &of, last.as_ref(), PAGE)?;
        for instance in &page {
            if !told.contains(&of_instance(instance)) {
                visit(Untold::Committed(Box::new(instance.clone())))?;
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
    let is_untold = !told.contains(&of_version(owner, study, &root));
    if stated.is_empty() && is_untold {
        return visit(published(row.first, Vec::new()));
    }
    stated.into_iter().try_for_each(|(order, stated)| visit(published(order, stated)))
}

/// Writes notes of everything that the index knows and no readable note tells, so that the index may be lost again.
/// Durable when it returns. Of versions only the newest of each study is told.
///
/// Cost: reads the header of each record and the content of each note; 30 bytes of memory for each instance. Blocks.
///
/// # Errors
/// [`StoreError`]; what was written before stays so.
pub fn retell(records: &dyn RecordStore, index: &dyn Index) -> Result<RetellReport, StoreError> {
    let mut retelling = Retelling { records, index, writers: HashMap::new(), waiting: HashMap::new() };
    let mut report = RetellReport::default();
    untold(records, index, &mut |untold| {
        match untold {
            Untold::Committed(instance) => {
                report.instances += 1;
                let owner = instance.owner;
                let waiting = retelling.waiting.entry(owner).or_default();
                waiting.push(*instance);
                if waiting.len() >= INSTANCES_AT_ONCE {
                    retelling.tell(owner)?;
                }
            }
            Untold::Published(publication) => {
                report.versions += 1;
                // Instances before the version that they belong to.
                retelling.tell(publication.owner)?;
                retelling.write(publication.owner, &[published(&publication)])?;
            }
            Untold::Removed(removal) => {
                report.removals += 1;
                retelling.write(removal.owner, &[removed(&removal)])?;
            }
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
    waiting: HashMap<PeerId, Vec<StoredInstance>>,
}

impl Retelling<'_> {
    fn tell(&mut self, owner: PeerId) -> Result<(), StoreError> {
        let instances = self.waiting.remove(&owner).unwrap_or_default();
        let notes = committed(owner, UnixSeconds::now(), None, &instances);
        self.write(owner, &notes)
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
        self.index.note(writer.id(), writer.len())
    }

    fn finish(mut self) -> Result<(), StoreError> {
        let writers: Vec<_> = self.writers.drain().collect();
        writers.into_iter().try_for_each(|(_, writer)| self.close(writer))
    }
}

/// How many instances and versions the index alone knows.
pub(super) fn count_untold(records: &dyn RecordStore, index: &dyn Index) -> Result<RetellReport, StoreError> {
    let mut report = RetellReport::default();
    untold(records, index, &mut |untold| {
        match untold {
            Untold::Committed(_) => report.instances += 1,
            Untold::Published(_) => report.versions += 1,
            Untold::Removed(_) => report.removals += 1,
        }
        Ok(())
    })?;
    Ok(report)
}
