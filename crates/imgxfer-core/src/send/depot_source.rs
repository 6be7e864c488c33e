//! Gives what stands in a site's store to a sender.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::sync::Arc;

use super::source::{Content, Source, SourceInstance, SourceItem, Totals};
use crate::chunk;
use crate::codec::PixelShape;
use crate::depot::{Depot, HeldPack};
use crate::dicom::{self, Level, tags};
use crate::ids::{InstanceHash, PeerId, SeriesUid, SopInstanceUid, StudyUid};
use crate::store::search::{FoundStudy, Search};
use crate::store::{
    ChunkAt, InstancesOf, RecordAt, RecordCache, Scope, StoreError, StoredInstance, StoredReader, Versions,
};
use crate::wire::record::Record;

/// Instances read from the index at once.
const INSTANCES_AT_ONCE: usize = 256;

/// In which order instances are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum FetchOrder {
    /// As they are kept: series by series.
    #[default]
    AsKept,
    /// One of the middle of each series first: what somebody wants to see first.
    MiddlesFirst,
}

impl FetchOrder {
    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::AsKept => 0,
            Self::MiddlesFirst => 1,
        }
    }

    /// The order with that number; as they are kept for one that this program does not know.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::MiddlesFirst,
            _ => Self::AsKept,
        }
    }
}

/// What of a store is given.
#[derive(Debug, Clone)]
pub struct Selection {
    /// What is asked for.
    pub what: Search,
    /// Which of the contents of an instance.
    pub versions: Versions,
    /// In which order.
    pub order: FetchOrder,
}

impl Selection {
    /// The current contents of a study, as they are kept.
    #[must_use]
    pub fn study(study: StudyUid) -> Self {
        let what = Search { level: Level::Instance, ..Search::study(study) };
        Self { what, versions: Versions::Current, order: FetchOrder::AsKept }
    }
}

/// An instance, and what keeps it where it stands.
type Ready = (StoredInstance, Arc<Vec<HeldPack>>);

/// Gives stored studies to a sender.
#[derive(Debug)]
pub struct DepotSource {
    depot: Depot,
    scope: Scope,
    wanted: Selection,
    studies: std::vec::IntoIter<StudyUid>,
    /// The study being read, and the last instance of it that was read.
    current: Option<(StudyUid, Option<StoredInstance>)>,
    ready: std::vec::IntoIter<Ready>,
    /// Instances that were given out of turn, or before this source was.
    given: HashSet<InstanceHash>,
    /// Whether all that is given is remembered.
    remembers: bool,
    /// Instances that were met, given before or not.
    met: u64,
    /// Whose studies have instances among these that no version of theirs states.
    unstated: BTreeSet<(StudyUid, PeerId)>,
    totals: Totals,
    others: u64,
    cache: RecordCache,
}

impl Source for DepotSource {
    fn totals(&self) -> Totals {
        self.totals
    }

    fn others(&self) -> u64 {
        self.others
    }

    fn next_item(&mut self) -> io::Result<Option<SourceItem>> {
        loop {
            if let Some(instance) = self.ready.next() {
                if self.remembers {
                    self.given.insert(instance.0.entry.hash);
                }
                return self.item(instance).map(Some);
            }
            let (study, after) = match self.current.take() {
                Some(current) => current,
                None => match self.studies.next() {
                    Some(study) => (study, None),
                    None => return Ok(None),
                },
            };
            let of = self.of(&study);
            let index = &self.depot.index;
            let read = || index.instances(&self.scope, &of, after.as_ref(), INSTANCES_AT_ONCE);
            let (mut read, held) = self.depot.held(&read).map_err(io::Error::other)?;
            let Some(last) = read.last() else { continue };
            // Several owners may hold the same content; it is given once.
            let same = |a: &StoredInstance, b: &StoredInstance| {
                a.entry.hash == b.entry.hash && a.entry.sop_instance == b.entry.sop_instance
            };
            self.current = Some((study, Some(last.clone())));
            let mut before = after;
            read.retain(|next| {
                let new = !before.as_ref().is_some_and(|before| same(before, next));
                before = Some(next.clone());
                let is_met = new && is_wanted(&self.wanted, next);
                self.met += u64::from(is_met);
                if is_met && next.stated.is_none() {
                    self.unstated.insert((next.entry.study.clone(), next.owner));
                }
                is_met && !self.given.contains(&next.entry.hash)
            });
            let held = Arc::new(held);
            let ready: Vec<Ready> = read.into_iter().map(|instance| (instance, Arc::clone(&held))).collect();
            self.ready = ready.into_iter();
        }
    }
}

fn is_wanted(wanted: &Selection, instance: &StoredInstance) -> bool {
    wanted.what.admits(&instance.entry.series, &instance.entry.sop_instance, &instance.attributes)
}

impl DepotSource {
    /// Gives what is `wanted` and within `scope`; `None` when there is nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn new(depot: &Depot, scope: Scope, wanted: Selection) -> Result<Option<Self>, StoreError> {
        let (mut totals, mut left_out) = (Totals::default(), 0);
        let mut studies = Vec::new();
        let mut search = Search { level: Level::Study, ..wanted.what.clone() };
        loop {
            let answer = depot.index.find(&scope, &search)?;
            for found in &answer.rows {
                let FoundStudy { study, patients, instances, contents, bytes, .. } = found.study.as_ref();
                studies.push(study.clone());
                totals.instances += if wanted.versions == Versions::All { *contents } else { *instances };
                totals.bytes += bytes;
                let others = patients.iter().filter(|patient| !wanted.what.admits_patient(&patient.attributes));
                left_out += others.map(|patient| patient.instances).sum::<u64>();
            }
            search.after = answer.rows.last().map(crate::store::search::Found::cursor);
            if !answer.more {
                break;
            }
        }
        if studies.is_empty() {
            return Ok(None);
        }
        let mut source = Self {
            depot: depot.clone(),
            scope,
            wanted,
            studies: Vec::new().into_iter(),
            current: None,
            ready: Vec::new().into_iter(),
            given: HashSet::new(),
            remembers: false,
            met: 0,
            unstated: BTreeSet::new(),
            totals,
            others: left_out,
            cache: RecordCache::new(RecordCache::BYTES_SHARED),
        };
        if !source.wanted.what.asks_of_studies_alone() || left_out > 0 {
            source.count(&mut studies)?;
            if source.totals.instances == 0 {
                return Ok(None);
            }
        }
        if source.wanted.order == FetchOrder::MiddlesFirst {
            source.give_middles(&studies)?;
        }
        source.studies = studies.into_iter();
        Ok(Some(source))
    }

    /// Passes over what was given before, and remembers what it gives itself.
    pub(super) fn besides(mut self, given: HashSet<InstanceHash>) -> Self {
        self.given.extend(given);
        self.remembers = true;
        self
    }

    /// What was given before, and by this; and whose studies have instances among what was met that no version states.
    pub(super) fn into_given(self) -> (HashSet<InstanceHash>, BTreeSet<(StudyUid, PeerId)>) {
        (self.given, self.unstated)
    }

    /// Whether it has met fewer instances than it had counted. At its end.
    pub(super) const fn has_met_fewer(&self) -> bool {
        self.met < self.totals.instances
    }

    /// The studies of which something is wanted and has not been given.
    pub(crate) fn studies(&self) -> &[StudyUid] {
        self.studies.as_slice()
    }

    fn of(&self, study: &StudyUid) -> InstancesOf {
        let what = &self.wanted.what;
        let series = if let [series] = what.series.as_slice() { Some(series.clone()) } else { None };
        let sop_instance = if let [instance] = what.instances.as_slice() { Some(instance.clone()) } else { None };
        InstancesOf { study: study.clone(), series, sop_instance, versions: self.wanted.versions }
    }

    /// Counts what is wanted of studies that are not wanted as a whole, and passes over those of which nothing is.
    fn count(&mut self, studies: &mut Vec<StudyUid>) -> Result<(), StoreError> {
        let (mut instances, mut bytes) = (0, 0);
        for study in std::mem::take(studies) {
            let before = instances;
            self.walk(&study, &mut |instance| {
                instances += 1;
                bytes += instance.entry.len;
            })?;
            if instances > before {
                studies.push(study);
            }
        }
        (self.totals.instances, self.totals.bytes) = (instances, bytes);
        Ok(())
    }

    /// Visits what is wanted of a study.
    fn walk(&self, study: &StudyUid, visit: &mut dyn FnMut(&StoredInstance)) -> Result<(), StoreError> {
        let of = self.of(study);
        let mut last: Option<StoredInstance> = None;
        loop {
            let page = self.depot.index.instances(&self.scope, &of, last.as_ref(), INSTANCES_AT_ONCE)?;
            page.iter().filter(|instance| is_wanted(&self.wanted, instance)).for_each(&mut *visit);
            last = page.into_iter().next_back();
            if last.is_none() {
                return Ok(());
            }
        }
    }

    /// Puts one of the middle of each series in front.
    fn give_middles(&mut self, studies: &[StudyUid]) -> Result<(), StoreError> {
        let mut middles = Vec::new();
        for study in studies {
            // Of each series: number and UID of each instance, which take up little beside the instances.
            let mut series: BTreeMap<SeriesUid, Vec<(i64, SopInstanceUid)>> = BTreeMap::new();
            self.walk(study, &mut |instance| {
                let number = instance.attributes.get(tags::INSTANCE_NUMBER).parse().unwrap_or(i64::MAX);
                let place = (number, instance.entry.sop_instance.clone());
                series.entry(instance.entry.series.clone()).or_default().push(place);
            })?;
            for (series, mut places) in series {
                places.sort_unstable();
                let Some((_, middle)) = places.get(places.len() / 2) else { continue };
                let of = InstancesOf { series: Some(series), sop_instance: Some(middle.clone()), ..self.of(study) };
                let (found, held) = self.depot.held(&|| self.depot.index.instances(&self.scope, &of, None, 1))?;
                self.given.extend(found.iter().map(|instance| instance.entry.hash));
                let held = Arc::new(held);
                middles.extend(found.into_iter().map(|instance| (instance, Arc::clone(&held))));
            }
        }
        self.ready = middles.into_iter();
        Ok(())
    }

    fn item(&self, (instance, held): Ready) -> io::Result<SourceItem> {
        let entry = instance.entry.clone();
        let chunks = instance.chunks.clone();
        let records = Arc::clone(&self.depot.records);
        let reader = StoredReader::of(records, self.depot.registry.clone(), instance);
        let reader = reader.map_err(io::Error::other)?.with_cache(self.cache.clone());
        Ok(SourceItem::Instance(Box::new(SourceInstance {
            label: format!("{:?}", entry.sop_instance),
            entry,
            shape: None,
            position: None,
            truncated: false,
            content: Arc::new(StoredContent { reader, chunks, depot: self.depot.clone(), _held: held }),
        })))
    }
}

#[derive(Debug)]
struct StoredContent {
    reader: StoredReader,
    chunks: Vec<ChunkAt>,
    depot: Depot,
    /// Nothing of it moves while it is sent.
    _held: Arc<Vec<HeldPack>>,
}

impl StoredContent {
    /// Remembers that a record could not be read, so that look-ups take what stands in it as missing and it is
    /// healed by whoever sends it again.
    fn note_damage(&self, at: RecordAt) {
        let study = &self.reader.entry().study;
        match self.depot.index.note_damage(study, &[at]) {
            Ok(instances) => {
                tracing::error!(study = ?study, pack = %at.pack, offset = at.offset, instances, "a record is damaged: send the study again, and it is healed");
            }
            Err(error) => {
                tracing::error!(pack = %at.pack, offset = at.offset, %error, "a record is damaged, and that could not be noted")
            }
        }
    }
}

impl Content for StoredContent {
    fn read_chunk(&self, index: usize, out: &mut [u8]) -> io::Result<()> {
        let chunk = self.reader.chunk(index).map_err(|error| {
            if let Some(at) = self.chunks.get(index) {
                self.note_damage(at.record);
            }
            io::Error::other(error)
        })?;
        if chunk.len() != out.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        out.copy_from_slice(&chunk);
        Ok(())
    }

    fn stored(&self, index: usize) -> Option<ChunkAt> {
        self.chunks.get(index).copied()
    }

    fn shape(&self) -> Option<PixelShape> {
        dicom::scan(&self.reader).ok().as_ref().and_then(chunk::pixel_shape)
    }

    fn read_record(&self, at: &ChunkAt) -> io::Result<Record> {
        self.depot.records.read(at.record).map_err(|error| {
            self.note_damage(at.record);
            io::Error::other(error)
        })
    }
}
