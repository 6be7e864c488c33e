//! One owner's study in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::clock::UnixSeconds;
use crate::dicom::CATALOGUE_VERSION;
use crate::ids::{InstanceHash, ManifestRoot, PeerId, SeriesUid, SopInstanceUid, StudyUid};
use crate::store::summary::{self, headers_of};
use crate::store::versions::{Claim, current, is_conflict};
use crate::store::{Arrival, Order, Provenance, RecordAt, Refill, Removal, Removed, StoredInstance, StudyRow};
use crate::units::to_u64;

/// The order in which instances of a study are handed out.
pub(super) type Place = (SeriesUid, SopInstanceUid, InstanceHash);

pub(super) fn place_of(instance: &StoredInstance) -> Place {
    (instance.entry.series.clone(), instance.entry.sop_instance.clone(), instance.entry.hash)
}

#[derive(Clone, Default)]
pub(super) struct Study {
    pub(super) instances: BTreeMap<Place, StoredInstance>,
    /// Places of each SOP Instance UID's contents.
    contents: HashMap<SopInstanceUid, BTreeSet<Place>>,
    pub(super) damaged: BTreeSet<Place>,
    /// Those whose headers could not be read again.
    unreadable: BTreeSet<Place>,
    arrivals: BTreeMap<Place, BTreeMap<Provenance, UnixSeconds>>,
    /// When the first that was told of it came.
    first: Option<Order>,
    pub(super) version: u64,
    /// How many transfers run that add to it.
    pub(super) arriving: u64,
    pub(super) root: Option<ManifestRoot>,
    /// When that was told.
    pub(super) published: Order,
    pub(super) updated: UnixSeconds,
}

impl Study {
    /// Returns whether it stands where `instance` says: it is new, or healed, or newer.
    pub(super) fn add(&mut self, instance: &StoredInstance, newest: bool, proven: bool) -> bool {
        let place = place_of(instance);
        if let Some(known) = self.instances.get(&place) {
            if instance.catalogue == CATALOGUE_VERSION && known.catalogue != CATALOGUE_VERSION {
                self.refill(&Refill::Read(instance.clone()));
            }
            let Some(known) = self.instances.get_mut(&place) else { return false };
            let moved = known.chunks != instance.chunks;
            let stands = ((moved || proven) && self.damaged.remove(&place)) || newest;
            if stands {
                known.chunks.clone_from(&instance.chunks);
                known.slow = instance.slow;
            }
            return stands;
        }
        self.begin(instance.order);
        self.contents.entry(instance.entry.sop_instance.clone()).or_default().insert(place.clone());
        self.instances.insert(place, StoredInstance { stated: None, ..instance.clone() });
        self.choose(&instance.entry.sop_instance);
        true
    }

    /// Whether the header of what stands at a place is to be read again.
    fn is_stale(&self, place: &Place, instance: &StoredInstance) -> bool {
        instance.catalogue != CATALOGUE_VERSION && !self.unreadable.contains(place)
    }

    pub(super) fn stale(&self) -> impl Iterator<Item = &StoredInstance> {
        self.instances.iter().filter(|(place, instance)| self.is_stale(place, instance)).map(|(_, instance)| instance)
    }

    pub(super) fn unreadable(&self) -> usize {
        self.unreadable.len()
    }

    /// Takes over what was read again of a header.
    pub(super) fn refill(&mut self, refill: &Refill) {
        let (Refill::Read(read) | Refill::Unreadable(read)) = refill;
        let place = place_of(read);
        let Some(known) = self.instances.get_mut(&place) else { return };
        match refill {
            Refill::Read(_) => {
                known.attributes.clone_from(&read.attributes);
                known.catalogue = read.catalogue;
                known.frames = known.frames.take().or_else(|| read.frames.clone());
                self.unreadable.remove(&place);
            }
            Refill::Unreadable(_) if known.chunks == read.chunks => drop(self.unreadable.insert(place)),
            Refill::Unreadable(_) => {}
        }
    }

    /// Notes by which way an instance came that is there.
    pub(super) fn arrive(&mut self, instance: &StoredInstance, provenance: &Provenance, at: UnixSeconds) {
        // As long as it can be kept.
        let kept = Provenance::decode(&provenance.encode()).unwrap_or_else(|_| provenance.clone());
        let first = self.arrivals.entry(place_of(instance)).or_default().entry(kept).or_insert(at);
        *first = at.min(*first);
    }

    pub(super) fn arrivals(&self, instance: &StoredInstance) -> Vec<Arrival> {
        let arrivals = self.arrivals.get(&place_of(instance)).into_iter().flatten();
        let mut arrivals: Vec<_> =
            arrivals.map(|(provenance, at)| Arrival { at: *at, provenance: provenance.clone() }).collect();
        arrivals.sort_unstable();
        arrivals
    }

    /// What of it came by one of these sources, as if there were nothing else; `None` where nothing did.
    pub(super) fn that_came_by(&self, sources: &[String]) -> Option<Self> {
        let came = |place: &Place| {
            let ways = self.arrivals.get(place).into_iter().flatten();
            ways.filter(|(provenance, _)| sources.contains(&provenance.source)).map(|(_, at)| *at).max()
        };
        let seen: BTreeMap<&Place, UnixSeconds> =
            self.instances.keys().filter_map(|place| Some((place, came(place)?))).collect();
        let updated = *seen.values().max()?;
        if seen.len() == self.instances.len() {
            return Some(Self { updated, ..self.clone() });
        }
        let is_seen = |place: &&Place| seen.contains_key(*place);
        let mut part =
            Self { damaged: self.damaged.iter().filter(is_seen).cloned().collect(), updated, ..Self::default() };
        for (place, instance) in self.instances.iter().filter(|(place, _)| is_seen(place)) {
            part.first = Some(part.first.map_or(instance.order, |first| first.min(instance.order)));
            part.contents.entry(instance.entry.sop_instance.clone()).or_default().insert(place.clone());
            part.instances.insert(place.clone(), instance.clone());
        }
        let sops: Vec<_> = part.contents.keys().cloned().collect();
        sops.iter().for_each(|sop| part.choose(sop));
        Some(part)
    }

    /// Something of it is told.
    pub(super) fn begin(&mut self, order: Order) {
        self.first.get_or_insert(order);
    }

    /// Marks the current one of a SOP Instance UID's contents.
    fn choose(&mut self, sop: &SopInstanceUid) {
        let Some(places) = self.contents.get(sop) else { return };
        let claim = |place: &Place| {
            let instance = &self.instances[place];
            let hash = instance.entry.hash;
            Claim { cut: instance.cut, stated: instance.stated, order: instance.order, hash }
        };
        let claims: Vec<Claim> = places.iter().map(claim).collect();
        let chosen = current(&claims);
        for (at, place) in places.iter().enumerate() {
            if let Some(instance) = self.instances.get_mut(place) {
                instance.current = Some(at) == chosen;
            }
        }
    }

    pub(super) fn state(&mut self, hashes: impl Iterator<Item = InstanceHash>, order: Order) {
        let hashes: BTreeSet<_> = hashes.collect();
        if hashes.is_empty() {
            return;
        }
        let mut changed = BTreeSet::new();
        for instance in self.instances.values_mut().filter(|i| hashes.contains(&i.entry.hash)) {
            instance.stated = instance.stated.max(Some(order));
            changed.insert(instance.entry.sop_instance.clone());
        }
        changed.iter().for_each(|sop| self.choose(sop));
    }

    pub(super) fn remove(&mut self, removal: &Removal) -> Removed {
        let is_named = |instance: &StoredInstance| {
            let named = removal.what.names(&instance.entry.hash);
            named && instance.order < removal.order
        };
        let gone: Vec<_> = self.instances.iter().filter(|(_, i)| is_named(i)).map(|(place, _)| place.clone()).collect();
        let mut removed = Removed::default();
        let mut records: BTreeSet<RecordAt> = BTreeSet::new();
        for place in gone {
            let Some(instance) = self.instances.remove(&place) else { continue };
            self.damaged.remove(&place);
            self.arrivals.remove(&place);
            self.unreadable.remove(&place);
            removed.instances += 1;
            removed.bytes += instance.entry.len;
            records.extend(instance.chunks.iter().map(|chunk| chunk.record));
            let sop = &instance.entry.sop_instance;
            if let Some(places) = self.contents.get_mut(sop) {
                places.remove(&place);
                if places.is_empty() {
                    self.contents.remove(sop);
                }
            }
            self.choose(sop);
        }
        removed.records = records.into_iter().collect();
        removed
    }

    /// When the owner had the first content of a SOP Instance UID.
    pub(super) fn first(&self, sop: &SopInstanceUid) -> Option<Order> {
        self.contents.get(sop)?.iter().map(|place| self.instances[place].order).min()
    }

    pub(super) fn contents_of(&self, sop: &SopInstanceUid) -> usize {
        self.contents.get(sop).map_or(0, BTreeSet::len)
    }

    /// The instances with this hash that are not damaged.
    pub(super) fn whole(&self, hash: &InstanceHash) -> impl Iterator<Item = &StoredInstance> {
        let of_hash = self.instances.iter().filter(move |((_, _, known), _)| known == hash);
        of_hash.filter(|(place, _)| !self.damaged.contains(*place)).map(|(_, instance)| instance)
    }

    pub(super) fn row(&self, owner: PeerId, study: &StudyUid) -> StudyRow {
        let current = || self.instances.values().filter(|instance| instance.current);
        let series: BTreeSet<_> = current().map(|instance| &instance.entry.series).collect();
        let summary = summary::of_study(headers_of(self.instances.values()));
        let conflicts = self.contents.values().filter(|places| {
            let contents = places.iter().map(|place| &self.instances[place].entry);
            is_conflict(&contents.map(|e| (e.content_id(), e.transfer_syntax.as_ref())).collect::<Vec<_>>())
        });
        StudyRow {
            study: study.clone(),
            owner,
            first: self.first.unwrap_or_default(),
            attributes: summary.attributes,
            patients: summary.patients,
            modalities: summary.modalities,
            sop_classes: summary.sop_classes,
            series: to_u64(series.len()),
            instances: to_u64(self.contents.len()),
            contents: to_u64(self.instances.len()),
            conflicts: to_u64(conflicts.count()),
            bytes: current().map(|instance| instance.entry.len).sum(),
            version: self.version,
            arriving: self.arriving > 0,
            root: self.root,
            published: self.published,
            updated: self.updated,
        }
    }
}
