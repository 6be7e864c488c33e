//! Moving what is needed out of records: so that a pack can go, and so that nothing of what was removed stands beside
//! what stays.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Depot, HeldPack};
use crate::clock::UnixSeconds;
use crate::codec::{PixelShape, Registry};
use crate::ids::{InstanceHash, PackId, PeerId, StudyUid};
use crate::store::{
    Arrival, ChunkAt, CommitBatch, InstanceError, InstancesOf, PackWriter, Provenance, RecordAt, RecordCache, Scope,
    StoreError, StoredInstance, StoredReader, note, recode, repack, trailer::finish,
};
use crate::wire::record::Record;

/// Instances read from the index at once, and told again together.
pub(super) const INSTANCES_AT_ONCE: usize = 256;

/// A study of an owner.
pub(super) type OwnedStudy = (PeerId, StudyUid);

/// Which places of each record committed instances stand in.
pub(super) type Needed = BTreeMap<RecordAt, BTreeSet<u16>>;

/// Where the chunks of a record stand now, by the places that they had.
type Moved = BTreeMap<RecordAt, BTreeMap<u16, ChunkAt>>;

/// By which way instances came, and when.
type Way = (Option<Provenance>, UnixSeconds);

/// A pack that takes in what is needed of others.
pub(super) struct Moving<'a> {
    depot: &'a Depot,
    writer: Box<dyn PackWriter>,
    moved: Moved,
    /// Instances that are told again wherever they stand.
    told: HashSet<(PeerId, InstanceHash)>,
    /// Where what takes long to read is coded anew: the shapes of pixels, by the records that they stand in.
    fast: Option<HashMap<RecordAt, PixelShape>>,
    _held: HeldPack,
}

/// Whether a record takes long to decode.
pub(super) fn is_slow(registry: &Registry, record: &Record) -> bool {
    let header = record.header();
    registry.is_slow(header.codec, record.payload(), header.raw_len())
}

impl Depot {
    /// Visits every content of a study of one owner.
    pub(super) fn each_of(
        &self,
        (owner, study): &OwnedStudy,
        visit: &mut dyn FnMut(&StoredInstance) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (mine, of) = (Scope::owner(*owner), InstancesOf::all_versions(study.clone()));
        let mut last: Option<StoredInstance> = None;
        loop {
            let page = self.index.instances(&mine, &of, last.as_ref(), INSTANCES_AT_ONCE)?;
            page.iter().try_for_each(&mut *visit)?;
            if page.len() < INSTANCES_AT_ONCE {
                return Ok(());
            }
            last = page.into_iter().next_back();
        }
    }

    /// Which places in the records of these packs that `asked` names are needed, and by instances of which studies.
    pub(super) fn needed(
        &self,
        packs: &BTreeSet<PackId>,
        asked: &dyn Fn(&RecordAt) -> bool,
    ) -> Result<(Needed, BTreeSet<OwnedStudy>), StoreError> {
        let (mut needed, mut studies) = (Needed::new(), BTreeSet::new());
        for pack in packs {
            self.index.visit_pack(*pack, &mut |instance| {
                let mut is_asked = false;
                for chunk in instance.chunks.iter().filter(|chunk| chunk.record.pack == *pack && asked(&chunk.record)) {
                    needed.entry(chunk.record).or_default().insert(chunk.slot);
                    is_asked = true;
                }
                if is_asked {
                    studies.insert((instance.owner, instance.entry.study.clone()));
                }
            })?;
        }
        Ok((needed, studies))
    }
}

impl<'a> Moving<'a> {
    /// Begins the pack, in place of `stands_for` where one is to go.
    pub(super) fn new(depot: &'a Depot, owner: PeerId, stands_for: Option<PackId>) -> Result<Self, StoreError> {
        let writer = depot.records.create_pack_to_make_room(owner, stands_for)?;
        Ok(Self::into(depot, writer))
    }

    /// The same for a pack in place of which what takes long to read is coded anew, by these shapes of pixels.
    pub(super) fn recoding(
        depot: &'a Depot,
        owner: PeerId,
        pack: PackId,
        shapes: HashMap<RecordAt, PixelShape>,
    ) -> Result<Self, StoreError> {
        let writer = depot.records.create_pack_in_place_of(owner, pack)?;
        Ok(Self { fast: Some(shapes), ..Self::into(depot, writer) })
    }

    fn into(depot: &'a Depot, writer: Box<dyn PackWriter>) -> Self {
        let _held = depot.hold(writer.id());
        Self { depot, writer, moved: Moved::new(), told: HashSet::new(), fast: None, _held }
    }

    /// Has these instances told again wherever they stand.
    pub(super) fn telling(mut self, told: HashSet<(PeerId, InstanceHash)>) -> Self {
        self.told = told;
        self
    }

    /// Removes the pack, of which nobody knows yet.
    pub(super) fn give_up(self) -> Result<(), StoreError> {
        let pack = self.writer.id();
        drop(self.writer);
        self.depot.records.delete(pack)
    }

    /// Takes over notes as they are.
    pub(super) fn notes(&mut self, notes: &[Vec<u8>]) -> Result<(), StoreError> {
        notes.iter().try_for_each(|note| self.writer.note(note).map(drop))
    }

    /// Takes over the chunks of a record that stand in the `kept` places. Returns how many bytes were read.
    pub(super) fn record(&mut self, at: RecordAt, kept: &BTreeSet<u16>) -> Result<u64, StoreError> {
        let record = self.depot.records.read(at)?;
        let kept: Vec<u16> = kept.iter().copied().collect();
        if let Some(shapes) = &self.fast
            && is_slow(&self.depot.registry, &record)
        {
            let slots = self.moved.entry(at).or_default();
            for (record, places) in recode(&self.depot.registry, &record, at, &kept, shapes.get(&at))? {
                let record = self.writer.append(&record)?;
                slots.extend(places.into_iter().zip((0u16..).map(|slot| ChunkAt { record, slot })));
            }
            return Ok(u64::from(at.len));
        }
        let all = kept.len() >= record.header().chunks.len();
        let now = match all {
            true => self.writer.append(&record)?,
            false => self.writer.append(&repack(&self.depot.registry, &record, at, &kept)?)?,
        };
        // Places that a record does not have are the index's mistake: they stay where they are, and so does the pack.
        let slots = kept.into_iter().zip(0u16..).map(|(old, new)| {
            let slot = if all { old } else { new };
            (old, ChunkAt { record: now, slot })
        });
        self.moved.insert(at, slots.collect());
        Ok(u64::from(at.len))
    }

    /// Tells where instances of these studies stand now: durable before the index knows it. Returns how many.
    pub(super) fn tell(mut self, studies: &BTreeSet<OwnedStudy>) -> Result<u64, StoreError> {
        let mut instances = 0;
        for study in studies {
            let mut waiting = Vec::new();
            let depot = self.depot;
            depot.each_of(study, &mut |instance| {
                waiting.extend(self.now(instance));
                if waiting.len() >= INSTANCES_AT_ONCE {
                    instances += self.commit(std::mem::take(&mut waiting))?;
                }
                Ok(())
            })?;
            instances += self.commit(waiting)?;
        }
        let (pack, end) = (self.writer.id(), self.writer.len());
        self.depot.records.make_durable(&[(pack, end)])?;
        self.depot.index.note(pack, end)?;
        finish(self.writer);
        Ok(instances)
    }

    /// The instance as it stands now, if it is to be told again.
    fn now(&self, instance: &StoredInstance) -> Option<StoredInstance> {
        let mut now = instance.clone();
        let mut is_moved = false;
        for chunk in &mut now.chunks {
            if let Some(slots) = self.moved.get(&chunk.record) {
                // One that came here after the record was taken over stays, and so does its pack.
                *chunk = *slots.get(&chunk.slot)?;
                is_moved = true;
            }
        }
        (is_moved || self.told.contains(&(instance.owner, instance.entry.hash))).then_some(now)
    }

    /// Reads back what stands in records that were made just now, chunk by chunk and as a whole.
    fn prove(&self, instances: &mut [StoredInstance]) -> Result<(), StoreError> {
        let pack = self.writer.id();
        let cache = RecordCache::new(RecordCache::BYTES_SHARED);
        let stands = |instance: &StoredInstance| instance.chunks.iter().any(|chunk| chunk.record.pack == pack);
        for instance in instances.iter_mut().filter(|instance| stands(instance)) {
            let what = "what was coded anew, which does not read back";
            let wrong = |error| match error {
                InstanceError::Store(error) => error,
                _ => StoreError::Damaged { what, pack, offset: 0 },
            };
            let (records, registry) = (Arc::clone(&self.depot.records), self.depot.registry.clone());
            let reader = StoredReader::of(records, registry, instance.clone()).map_err(wrong)?;
            let reader = reader.with_cache(cache.clone());
            if let Err(error) = reader.verify() {
                let damaged: Vec<RecordAt> = reader.damaged().into_iter().map(|n| instance.chunks[n].record).collect();
                if damaged.is_empty() || damaged.iter().any(|at| at.pack == pack) {
                    return Err(wrong(error));
                }
                // What stands elsewhere is no fault of what was made.
                self.depot.index.note_damage(&instance.entry.study, &damaged)?;
                continue;
            }
            instance.slow = reader.met_slow();
        }
        Ok(())
    }

    fn commit(&mut self, mut instances: Vec<StoredInstance>) -> Result<u64, StoreError> {
        if self.fast.is_some() {
            self.prove(&mut instances)?;
        }
        let count = crate::units::to_u64(instances.len());
        let mut ways: BTreeMap<Way, Vec<StoredInstance>> = BTreeMap::new();
        for instance in instances {
            let mut arrivals = self.depot.index.arrivals(&instance)?;
            if let Some(Arrival { provenance, at }) = arrivals.pop() {
                for Arrival { provenance, at } in arrivals {
                    ways.entry((Some(provenance), at)).or_default().push(instance.clone());
                }
                ways.entry((Some(provenance), at)).or_default().push(instance);
            } else {
                ways.entry((None, UnixSeconds::default())).or_default().push(instance);
            }
        }
        for ((provenance, at), mut instances) in ways {
            instances.sort_unstable_by_key(|instance| instance.order);
            let Some(owner) = instances.first().map(|instance| instance.owner) else { continue };
            let at = if provenance.is_some() { at } else { UnixSeconds::now() };
            let mut end = self.writer.len();
            for note in note::committed(owner, at, provenance.as_ref(), &instances) {
                end = self.writer.note(&note)?;
            }
            let note = (self.writer.id(), end);
            self.depot.records.make_durable(&[note])?;
            let batch =
                CommitBatch { instances, provenance, at, note: Some(note), newest: true, ..CommitBatch::default() };
            self.depot.index.commit(&batch)?;
        }
        Ok(count)
    }
}
