//! The index in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::clock::UnixSeconds;
use crate::dicom::{Attributes, tags};
use crate::ids::{InstanceHash, ManifestRoot, PackId, PageHash, PeerId, SeriesUid, SopInstanceUid, StudyUid};
use crate::limits::QUERY_ROWS_MAX;
use crate::store::{CommitBatch, Index, RecordAt, Scope, StoreError, StoredInstance, StudyQuery, StudyRow};
use crate::units::{to_u64, to_usize};

/// An [`Index`] in memory. Nothing survives the process.
#[derive(Default)]
pub struct MemIndex {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    studies: BTreeMap<(PeerId, StudyUid), Study>,
    pages: HashMap<(PeerId, PageHash), Bytes>,
    extents: HashMap<PackId, u64>,
    noted: HashMap<PackId, u64>,
    doomed: HashSet<PackId>,
    damage: HashMap<StudyUid, HashSet<RecordAt>>,
}

/// The order in which instances of a study are handed out.
type Place = (SeriesUid, SopInstanceUid, InstanceHash);

#[derive(Default)]
struct Study {
    instances: BTreeMap<Place, StoredInstance>,
    hashes: HashSet<InstanceHash>,
    damaged: BTreeSet<Place>,
    contents: HashMap<SopInstanceUid, BTreeSet<InstanceHash>>,
    modalities: BTreeSet<String>,
    attributes: Attributes,
    bytes: u64,
    version: u64,
    /// How many transfers run that add to it.
    arriving: u64,
    root: Option<ManifestRoot>,
    updated: UnixSeconds,
}

impl Study {
    fn add(&mut self, instance: &StoredInstance, newest: bool, proven: bool) -> bool {
        let entry = &instance.entry;
        let place = place_of(instance);
        let moved = self.instances.get(&place).is_some_and(|known| known != instance);
        if ((moved || proven) && self.damaged.remove(&place)) || (newest && self.instances.contains_key(&place)) {
            self.instances.insert(place, instance.clone());
            return true;
        }
        if self.instances.contains_key(&place) {
            return false;
        }
        if self.instances.is_empty() {
            self.attributes = instance.attributes.clone();
        }
        if !instance.attributes.get(tags::MODALITY).is_empty() {
            self.modalities.insert(instance.attributes.get(tags::MODALITY).to_owned());
        }
        self.bytes += entry.len;
        self.hashes.insert(entry.hash);
        self.contents.entry(entry.sop_instance.clone()).or_default().insert(entry.hash);
        self.instances.insert(place, instance.clone());
        true
    }

    fn row(&self, owner: PeerId, study: &StudyUid) -> StudyRow {
        let series: BTreeSet<_> = self.instances.keys().map(|(series, _, _)| series).collect();
        let modalities: Vec<_> = self.modalities.iter().map(String::as_str).collect();
        StudyRow {
            study: study.clone(),
            owner,
            attributes: self.attributes.clone(),
            modalities: modalities.join("\\"),
            series: to_u64(series.len()),
            instances: to_u64(self.instances.len()),
            conflicts: to_u64(self.contents.values().filter(|hashes| hashes.len() > 1).count()),
            bytes: self.bytes,
            version: self.version,
            arriving: self.arriving > 0,
            root: self.root,
            updated: self.updated,
        }
    }

    fn matches(&self, study: &StudyUid, query: &StudyQuery) -> bool {
        fn equals(wanted: Option<&String>, value: &str) -> bool {
            wanted.is_none_or(|w| w == value)
        }
        let date = self.attributes.get(tags::STUDY_DATE);
        query.study.as_ref().is_none_or(|s| s == study)
            && equals(query.patient_id.as_ref(), self.attributes.get(tags::PATIENT_ID))
            && equals(query.accession_number.as_ref(), self.attributes.get(tags::ACCESSION_NUMBER))
            && query.modality.as_ref().is_none_or(|m| self.modalities.contains(m))
            && query.date_from.as_ref().is_none_or(|from| date >= from.as_str())
            && query.date_to.as_ref().is_none_or(|to| !date.is_empty() && date <= to.as_str())
    }
}

impl State {
    fn note(&mut self, pack: PackId, end: u64) {
        for ends in [&mut self.noted, &mut self.extents] {
            let known = ends.entry(pack).or_default();
            *known = (*known).max(end);
        }
    }
}

fn place_of(instance: &StoredInstance) -> Place {
    (instance.entry.series.clone(), instance.entry.sop_instance.clone(), instance.entry.hash)
}

impl MemIndex {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemIndex").field("studies", &self.lock().studies.len()).finish_non_exhaustive()
    }
}

impl Index for MemIndex {
    fn commit(&self, batch: &CommitBatch) -> Result<(), StoreError> {
        let mut state = self.lock();
        let packs = batch.instances.iter().flat_map(|i| &i.chunks).map(|chunk| chunk.record.pack);
        if let Some(doomed) = packs.into_iter().find(|pack| state.doomed.contains(pack)) {
            return Err(StoreError::NoSuchPack(doomed));
        }
        for instance in &batch.instances {
            let study = state.studies.entry((instance.owner, instance.entry.study.clone())).or_default();
            if !study.add(instance, batch.newest, batch.proven) {
                continue;
            }
            study.updated = batch.at;
            for chunk in &instance.chunks {
                let extent = state.extents.entry(chunk.record.pack).or_default();
                *extent = (*extent).max(chunk.record.offset + u64::from(chunk.record.len));
            }
        }
        if let Some((pack, end)) = batch.note {
            state.note(pack, end);
        }
        for (page, owner, bytes) in &batch.pages {
            state.pages.insert((*owner, *page), bytes.clone());
        }
        Ok(())
    }

    fn begin(&self, owner: PeerId, studies: &[StudyUid], at: UnixSeconds) -> Result<(), StoreError> {
        let mut state = self.lock();
        for study in studies {
            if let Some(study) = state.studies.get_mut(&(owner, study.clone())) {
                study.arriving += 1;
                study.updated = at;
            }
        }
        Ok(())
    }

    fn end(&self, owner: PeerId, studies: &[StudyUid]) -> Result<(), StoreError> {
        let mut state = self.lock();
        for study in studies {
            if let Some(study) = state.studies.get_mut(&(owner, study.clone())) {
                study.arriving = study.arriving.saturating_sub(1);
            }
        }
        Ok(())
    }

    fn clear_arrivals(&self) -> Result<(), StoreError> {
        self.lock().studies.values_mut().for_each(|study| study.arriving = 0);
        Ok(())
    }

    fn noted(&self, pack: PackId) -> Result<Option<u64>, StoreError> {
        Ok(self.lock().noted.get(&pack).copied())
    }

    fn note(&self, pack: PackId, end: u64) -> Result<(), StoreError> {
        self.lock().note(pack, end);
        Ok(())
    }

    fn publish(
        &self,
        owner: PeerId,
        studies: &[StudyUid],
        root: ManifestRoot,
        at: UnixSeconds,
    ) -> Result<Vec<u64>, StoreError> {
        let mut state = self.lock();
        let mut publish = |study: &StudyUid| {
            let study = state.studies.entry((owner, study.clone())).or_default();
            if study.root != Some(root) {
                study.root = Some(root);
                study.version += 1;
                study.updated = at;
            }
            study.version
        };
        Ok(studies.iter().map(&mut publish).collect())
    }

    fn instances(
        &self,
        scope: &Scope,
        study: &StudyUid,
        after: Option<&StoredInstance>,
        limit: usize,
    ) -> Result<Vec<StoredInstance>, StoreError> {
        let state = self.lock();
        let mut found = Vec::new();
        for ((owner, uid), content) in &state.studies {
            if uid != study || !scope.admits(owner) {
                continue;
            }
            let from = match after {
                None => Bound::Unbounded,
                // Several owners may hold the same instance: they stand in the order of their ids.
                Some(last) if last.owner < *owner => Bound::Included(place_of(last)),
                Some(last) => Bound::Excluded(place_of(last)),
            };
            found.extend(content.instances.range((from, Bound::Unbounded)).take(limit).map(|(_, i)| i.clone()));
        }
        found.sort_by_cached_key(|i| (place_of(i), i.owner));
        found.truncate(limit);
        Ok(found)
    }

    fn has(&self, scope: &Scope, study: &StudyUid, hashes: &[InstanceHash]) -> Result<Vec<bool>, StoreError> {
        let state = self.lock();
        let studies: Vec<_> =
            state.studies.iter().filter(|((owner, uid), _)| uid == study && scope.admits(owner)).collect();
        let is_whole = |study: &Study, hash: &InstanceHash| {
            study.hashes.contains(hash) && !study.damaged.iter().any(|(_, _, damaged)| damaged == hash)
        };
        Ok(hashes.iter().map(|hash| studies.iter().any(|(_, s)| is_whole(s, hash))).collect())
    }

    fn page(&self, owner: PeerId, page: &PageHash) -> Result<Option<Bytes>, StoreError> {
        Ok(self.lock().pages.get(&(owner, *page)).cloned())
    }

    fn studies(&self, scope: &Scope, query: &StudyQuery) -> Result<Vec<StudyRow>, StoreError> {
        let state = self.lock();
        let mut rows: Vec<_> = state
            .studies
            .iter()
            .filter(|((owner, uid), study)| scope.admits(owner) && study.matches(uid, query))
            .map(|((owner, uid), study)| study.row(*owner, uid))
            .collect();
        rows.sort_by(|a, b| {
            let newest_first = b.attributes.get(tags::STUDY_DATE).cmp(a.attributes.get(tags::STUDY_DATE));
            newest_first.then_with(|| a.study.cmp(&b.study)).then_with(|| a.owner.cmp(&b.owner))
        });
        rows.truncate(to_usize(u64::from(query.limit.unwrap_or(QUERY_ROWS_MAX))));
        Ok(rows)
    }

    fn packs_in_use(&self) -> Result<HashSet<PackId>, StoreError> {
        Ok(self.lock().extents.keys().copied().collect())
    }

    fn pack_extent(&self, pack: PackId) -> Result<Option<u64>, StoreError> {
        Ok(self.lock().extents.get(&pack).copied())
    }

    fn doom(&self, pack: PackId) -> Result<bool, StoreError> {
        let mut state = self.lock();
        let unused = !state.extents.contains_key(&pack);
        if unused {
            state.doomed.insert(pack);
        }
        Ok(unused)
    }

    fn is_doomed(&self, pack: PackId) -> Result<bool, StoreError> {
        Ok(self.lock().doomed.contains(&pack))
    }

    fn spare(&self, pack: PackId) -> Result<(), StoreError> {
        self.lock().doomed.remove(&pack);
        Ok(())
    }

    fn note_damage(&self, study: &StudyUid, records: &[RecordAt]) -> Result<u64, StoreError> {
        let mut state = self.lock();
        let State { studies, damage, .. } = &mut *state;
        let mut newly = 0;
        for (_, content) in studies.iter_mut().filter(|((_, uid), _)| uid == study) {
            for (place, instance) in &content.instances {
                let hit: Vec<_> = instance.chunks.iter().map(|c| c.record).filter(|at| records.contains(at)).collect();
                if !hit.is_empty() {
                    damage.entry(study.clone()).or_default().extend(hit);
                    newly += u64::from(content.damaged.insert(place.clone()));
                }
            }
        }
        Ok(newly)
    }

    fn damage(&self, study: &StudyUid) -> Result<HashSet<RecordAt>, StoreError> {
        Ok(self.lock().damage.get(study).cloned().unwrap_or_default())
    }

    fn damaged(&self, limit: usize) -> Result<Vec<StoredInstance>, StoreError> {
        let state = self.lock();
        let of =
            |study: &Study| study.damaged.iter().filter_map(|p| study.instances.get(p).cloned()).collect::<Vec<_>>();
        Ok(state.studies.values().flat_map(of).take(limit).collect())
    }

    fn study_keys(
        &self,
        after: Option<&(PeerId, StudyUid)>,
        limit: usize,
    ) -> Result<Vec<(PeerId, StudyUid)>, StoreError> {
        let from = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.clone()));
        Ok(self.lock().studies.range((from, Bound::Unbounded)).map(|(key, _)| key.clone()).take(limit).collect())
    }
}
