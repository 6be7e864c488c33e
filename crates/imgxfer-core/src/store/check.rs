//! Checking a whole store against its index: `imgxfer verify --store`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::tally::Tally;
use super::told::count_untold;
use super::{
    Index, InstanceError, InstancesOf, Note, NoteError, RecordAt, RecordCache, RecordStore, RetellReport, Scope,
    StoreError, StoredInstance, StoredReader, StudyRow, VERSIONS_MAX,
};
use crate::codec::Registry;
use crate::ids::{InstanceHash, PackId, PeerId, SopInstanceUid, StudyUid};
use crate::units::{to_u32, to_u64};

/// How thorough [`check`] is.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// Whether every record is read and compared with its check, and every committed instance decoded
    /// and hashed, chunk by chunk and as a whole. Reads each used pack twice. Without it only headers
    /// are read, or the trailers that repeat them, and instances behind what is damaged: that finds what is missing
    /// or cut short.
    pub read_data: bool,
    /// Codecs to decode with.
    pub registry: Registry,
    /// Most findings to list; further ones are counted.
    pub findings_max: usize,
    /// Whether damage that is found is noted in the index, so that whoever sends the instance again heals it.
    pub note_damage: bool,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { read_data: false, registry: Registry::default(), findings_max: 10_000, note_damage: true }
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// A pack that cannot be read at all, for example because its header is damaged.
    Pack {
        /// The pack.
        pack: PackId,
        /// What is wrong.
        what: String,
    },
    /// A record whose content is damaged.
    Record {
        /// Where it stands.
        at: RecordAt,
        /// What is wrong.
        what: String,
    },
    /// Bytes behind the last whole record of a pack, and behind everything that was acknowledged: what a crash
    /// leaves of what was being written. Harmless.
    Tail {
        /// The pack.
        pack: PackId,
        /// Where they begin.
        offset: u64,
        /// How many they are.
        len: u64,
    },
    /// A damaged record or note that nothing needs any more: what stood in it was healed or sent again, or was never
    /// committed, and what it told is told elsewhere. Or a damaged trailer, which only repeats. Harmless.
    Remains {
        /// Where it stands; to the end of the pack's durable part where its length is not known.
        at: RecordAt,
        /// What is wrong.
        what: String,
    },
    /// What the index knows and no readable note in a pack tells: the loss of the index would take it along. Nothing
    /// is lost while the index is there; [`retell`](super::retell) mends it.
    Untold(RetellReport),
    /// The index says something else of a study than its instances do: a row was damaged. No image is affected, but what
    /// is shown of the study is. An index that is made anew from the packs is right again.
    Row {
        /// The peer that sent it.
        owner: PeerId,
        /// The study.
        study: StudyUid,
        /// What is wrong.
        what: &'static str,
    },
    /// A committed instance that cannot be given back as it was sent. It must be sent again.
    Instance {
        /// The peer that sent it.
        owner: PeerId,
        /// Its study.
        study: StudyUid,
        /// Its SOP Instance UID.
        sop_instance: SopInstanceUid,
        /// Its content.
        hash: InstanceHash,
        /// What is wrong.
        what: String,
    },
}

impl Finding {
    /// Whether something that was acknowledged is affected.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        matches!(self, Self::Instance { .. })
    }

    /// Whether nothing has to be done about it.
    #[must_use]
    pub const fn is_harmless(&self) -> bool {
        matches!(self, Self::Tail { .. } | Self::Remains { .. })
    }
}

/// What [`check`] looked at and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Packs.
    pub packs: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of records.
    pub record_bytes: u64,
    /// Studies.
    pub studies: u64,
    /// Committed instances.
    pub instances: u64,
    /// Original bytes of them.
    pub instance_bytes: u64,
    /// What is not as it should be, up to [`CheckOptions::findings_max`].
    pub findings: Vec<Finding>,
    /// Findings beyond that number.
    pub findings_left_out: u64,
}

impl CheckReport {
    /// Whether nothing was found.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether everything that was found is harmless. Findings that are not listed count as harm.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings_left_out == 0 && self.findings.iter().all(Finding::is_harmless)
    }
}

/// Packs that are asked for at once.
const SLOW_PACKS_MAX: usize = 1 << 20;
/// Instances fetched from the index at a time.
const PAGE: usize = 256;

/// Walks over all packs and all committed instances. `progress` is called after every pack and every
/// 256 instances; it may look at the report so far, and stops the check by returning `false`.
///
/// Memory: about 24 bytes for each pack, 30 for each damaged record, and one page of instances; where a note is
/// damaged, 30 for each instance of the store and for each way by which it came.
///
/// # Errors
/// [`StoreError`] when the index or the list of packs cannot be read; damage is a finding, not an error.
pub fn check(
    records: &Arc<dyn RecordStore>,
    index: &dyn Index,
    options: &CheckOptions,
    progress: &mut dyn FnMut(&CheckReport) -> bool,
) -> Result<CheckReport, StoreError> {
    let cache = RecordCache::new(RecordCache::BYTES_SHARED);
    let report = CheckReport::default();
    let (ends, suspects, hurt) = (HashMap::new(), Vec::new(), HashSet::new());
    let (unwalked, slow) = (HashMap::new(), HashSet::new());
    let mut checker = Checker { records, options, cache, report, ends, suspects, hurt, unwalked, slow };
    let finished = checker.walk(index, progress)?;
    checker.conclude(index, finished)?;
    Ok(checker.report)
}

/// Damage in a pack, of which it is not known yet whether anything needs what stood there.
#[derive(Debug)]
struct Suspect {
    kind: SuspectKind,
    at: RecordAt,
    what: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SuspectKind {
    Record,
    Note,
    /// Nothing behind it can be walked over.
    Cut,
}

struct Checker<'a> {
    records: &'a Arc<dyn RecordStore>,
    options: &'a CheckOptions,
    cache: RecordCache,
    report: CheckReport,
    /// End of the whole part of each pack that could be walked.
    ends: HashMap<PackId, u64>,
    suspects: Vec<Suspect>,
    /// Damaged records that committed instances stand in.
    hurt: HashSet<RecordAt>,
    /// Packs that cannot be walked over, with the reason, and whether committed instances stand in them. Records in
    /// them can be read where the index knows their places, and would be lost with it.
    unwalked: HashMap<PackId, (String, bool)>,
    /// Packs of what takes long to read, as the index had them last.
    slow: HashSet<PackId>,
}

impl Checker<'_> {
    /// Returns whether it went to the end.
    fn walk(&mut self, index: &dyn Index, progress: &mut dyn FnMut(&CheckReport) -> bool) -> Result<bool, StoreError> {
        for pack in self.records.packs()? {
            // Asked for first: a daemon may be writing, and what it acknowledges now is in the pack by then.
            let durable = index.pack_extent(pack.id)?.unwrap_or(0);
            self.pack(pack.id, pack.len, durable);
            if !progress(&self.report) {
                return Ok(false);
            }
        }
        let mut after = None;
        loop {
            let keys = index.study_keys(after.as_ref(), PAGE)?;
            for key in &keys {
                if !self.study(index, key, progress)? {
                    return Ok(false);
                }
            }
            after = keys.into_iter().next_back();
            if after.is_none() {
                return Ok(true);
            }
        }
    }

    /// Tells damage that something needs from what merely remains of it.
    fn conclude(&mut self, index: &dyn Index, finished: bool) -> Result<(), StoreError> {
        let suspects = std::mem::take(&mut self.suspects);
        let mut untold = RetellReport::default();
        let unwalked = std::mem::take(&mut self.unwalked);
        if finished && (!unwalked.is_empty() || suspects.iter().any(|s| s.kind != SuspectKind::Record)) {
            untold = count_untold(self.records.as_ref(), index)?;
        }
        for Suspect { kind, at, what } in suspects {
            let end = at.offset + u64::from(at.len);
            let behind = |hurt: &RecordAt| {
                hurt.pack == at.pack && hurt.offset < end && at.offset < hurt.offset + u64::from(hurt.len)
            };
            let needed = match kind {
                SuspectKind::Record => self.hurt.contains(&at),
                SuspectKind::Note => !untold.is_empty(),
                SuspectKind::Cut => !untold.is_empty() || self.hurt.iter().any(behind),
            };
            self.found(if needed || !finished { Finding::Record { at, what } } else { Finding::Remains { at, what } });
        }
        for (pack, (what, needed)) in unwalked {
            let at = RecordAt { pack, offset: 0, len: 0 };
            self.found(if needed || !finished { Finding::Pack { pack, what } } else { Finding::Remains { at, what } });
        }
        if !untold.is_empty() {
            self.found(Finding::Untold(untold));
        }
        Ok(())
    }

    fn suspect(&mut self, kind: SuspectKind, at: RecordAt, what: String) {
        self.suspects.push(Suspect { kind, at, what });
    }

    /// Walks over a pack of `len` bytes, in which something acknowledged stands up to `durable`.
    fn pack(&mut self, pack: PackId, len: u64, durable: u64) {
        self.report.packs += 1;
        let mut places = Vec::new();
        let mut end = match self.records.scan(pack, false, &mut |at, _| places.push(at)) {
            Ok(end) => end,
            Err(e @ StoreError::Damaged { .. }) => {
                self.unwalked.insert(pack, (e.to_string(), false));
                return;
            }
            // It went meanwhile; what stood in it is looked at where it stands now.
            Err(StoreError::NoSuchPack(_)) => return,
            Err(e) => return self.found(Finding::Pack { pack, what: e.to_string() }),
        };
        self.ends.insert(pack, end);
        self.report.records += to_u64(places.len());
        self.report.record_bytes += places.iter().map(|at| u64::from(at.len)).sum::<u64>();
        if end < durable {
            let at = RecordAt { pack, offset: end, len: u32::try_from(durable - end).unwrap_or(u32::MAX) };
            let what = "cut off or damaged, and something acknowledged stood behind".to_owned();
            self.suspect(SuspectKind::Cut, at, what);
        }
        let mut damaged = if self.options.read_data { self.damaged_records(&places) } else { Vec::new() };
        // Of the last that was written, the beginning may have arrived and the rest not.
        while let Some((at, _)) = damaged.last().filter(|(at, _)| at.offset >= durable && ends_at(at, end)) {
            end = at.offset;
            damaged.pop();
        }
        damaged.into_iter().for_each(|(at, what)| self.suspect(SuspectKind::Record, at, what));
        if (durable..len).contains(&end) {
            self.found(Finding::Tail { pack, offset: end, len: len - end });
        }
        if self.options.read_data {
            if let Ok(Some(what)) = self.records.doubt(pack) {
                let len = u32::try_from(len.saturating_sub(end)).unwrap_or(u32::MAX);
                self.found(Finding::Remains { at: RecordAt { pack, offset: end, len }, what: what.to_owned() });
            }
            let mut damaged = Vec::new();
            let mut look = |end: u64, bytes: &[u8]| {
                if let Err(e) = Note::decode(bytes) {
                    let len = to_u32(bytes.len());
                    damaged.push((RecordAt { pack, offset: end - u64::from(len), len }, e.to_string()));
                }
                Ok(())
            };
            match self.records.list_notes(pack, 0, &mut look) {
                // The last thing in the pack, which is not torn but damaged when somebody was told of it.
                Ok(noted) if noted < end.min(durable) => {
                    let at = RecordAt { pack, offset: noted, len: u32::try_from(end - noted).unwrap_or(u32::MAX) };
                    damaged.push((at, NoteError::Check.to_string()));
                }
                Ok(_) => {}
                Err(e) => self.found(Finding::Pack { pack, what: e.to_string() }),
            }
            damaged.into_iter().for_each(|(at, what)| self.suspect(SuspectKind::Note, at, what));
        }
    }

    /// The records that cannot be read, in order, each with the reason.
    fn damaged_records(&self, places: &[RecordAt]) -> Vec<(RecordAt, String)> {
        places.iter().filter_map(|at| Some((*at, self.records.read(*at).err()?.to_string()))).collect()
    }

    /// Returns whether to go on.
    fn study(
        &mut self,
        index: &dyn Index,
        (owner, study): &(PeerId, StudyUid),
        progress: &mut dyn FnMut(&CheckReport) -> bool,
    ) -> Result<bool, StoreError> {
        self.report.studies += 1;
        let scope = Scope::owner(*owner);
        let row = || -> Result<Option<StudyRow>, StoreError> { Ok(index.study(&scope, study)?.into_iter().next()) };
        let of = InstancesOf::all_versions(study.clone());
        let mut tally = row()?.map(Tally::new);
        let mut last: Option<StoredInstance> = None;
        loop {
            let mut page = index.instances(&scope, &of, last.as_ref(), PAGE)?;
            for instance in &page {
                self.instance(index, instance, tally.as_mut())?;
            }
            if !progress(&self.report) {
                return Ok(false);
            }
            last = page.pop();
            if last.is_none() {
                break;
            }
        }
        let mut wrong = index.contradictions(*owner, study)?;
        if let Some(tally) = tally
            && let Some(what) = tally.wrong(row()?.as_ref())
            && !wrong.contains(&what)
        {
            wrong.push(what);
        }
        for what in wrong {
            self.found(Finding::Row { owner: *owner, study: study.clone(), what });
        }
        Ok(true)
    }

    fn instance(
        &mut self,
        index: &dyn Index,
        instance: &StoredInstance,
        tally: Option<&mut Tally>,
    ) -> Result<(), StoreError> {
        self.report.instances += 1;
        self.report.instance_bytes += instance.entry.len;
        self.instance_in_unwalked(index, instance)?;
        // Behind what can be walked over an instance may stand whole.
        let read = self.options.read_data || !self.is_within_walks(instance);
        let (mut wrong, met_slow) = if read { self.content(instance) } else { (None, false) };
        let unlisted = instance.slow && !self.is_listed_slow(index, instance)?;
        if (wrong.is_none() && met_slow && !instance.slow) || unlisted {
            let (owner, study) = (instance.owner, instance.entry.study.clone());
            self.found(Finding::Row { owner, study, what: "what takes long to read" });
        }
        if wrong.is_some() && self.has_left(index, instance)? {
            wrong = None;
        }
        if let Some(tally) = tally {
            tally.add(instance);
            if wrong.is_none()
                && self.options.read_data
                && let Ok(reader) = self.reader(instance)
            {
                tally.add_header(instance, reader, &self.cache);
            }
        }
        if let Some(what) = wrong {
            let damaged = self.reader(instance).map(|reader| reader.damaged()).unwrap_or_default();
            let records: Vec<_> = damaged.into_iter().map(|n| instance.chunks[n].record).collect();
            if self.options.note_damage {
                index.note_damage(&instance.entry.study, &records)?;
            }
            self.hurt.extend(records);
            let entry = &instance.entry;
            self.found(Finding::Instance {
                owner: instance.owner,
                study: entry.study.clone(),
                sop_instance: entry.sop_instance.clone(),
                hash: entry.hash,
                what,
            });
        }
        Ok(())
    }

    /// Whether an instance has been removed since it was read from the index, or stands elsewhere now, and whole: a
    /// daemon that runs beside a check gives room back.
    fn has_left(&self, index: &dyn Index, instance: &StoredInstance) -> Result<bool, StoreError> {
        let entry = &instance.entry;
        let mine = Scope::owner(instance.owner);
        let found = index.instances(&mine, &InstancesOf::contents(entry), None, VERSIONS_MAX)?;
        let all = found.len() < VERSIONS_MAX;
        let now = found.into_iter().find(|found| found.entry.hash == entry.hash);
        Ok(now.map_or(all, |now| now.chunks != instance.chunks && self.content(&now).0.is_none()))
    }

    /// Whether the index knows a pack of what takes long to read.
    fn is_listed_slow(&mut self, index: &dyn Index, instance: &StoredInstance) -> Result<bool, StoreError> {
        let is_listed = |slow: &HashSet<PackId>| instance.chunks.iter().any(|chunk| slow.contains(&chunk.record.pack));
        if !is_listed(&self.slow) {
            self.slow = index.slow(SLOW_PACKS_MAX)?.into_iter().map(|(pack, _)| pack).collect();
        }
        Ok(is_listed(&self.slow) || self.slow.len() >= SLOW_PACKS_MAX || self.has_left(index, instance)?)
    }

    /// Has what stands in a pack that cannot be walked over sent again, though it can be read.
    fn instance_in_unwalked(&mut self, index: &dyn Index, instance: &StoredInstance) -> Result<(), StoreError> {
        let mut records = Vec::new();
        for record in instance.chunks.iter().map(|chunk| chunk.record) {
            if let Some((_, needed)) = self.unwalked.get_mut(&record.pack) {
                *needed = true;
                records.push(record);
            }
        }
        if self.options.note_damage && !records.is_empty() {
            index.note_damage(&instance.entry.study, &records)?;
        }
        Ok(())
    }

    /// Decodes and hashes the instance: what is wrong with it, and whether it takes long.
    fn content(&self, instance: &StoredInstance) -> (Option<String>, bool) {
        let reader = match self.reader(instance) {
            Ok(reader) => reader.with_cache(self.cache.clone()),
            Err(error) => return (Some(describe(&error)), false),
        };
        (reader.verify().err().map(|e| describe(&e)), reader.met_slow())
    }

    fn reader(&self, instance: &StoredInstance) -> Result<StoredReader, InstanceError> {
        StoredReader::of(Arc::clone(self.records), self.options.registry.clone(), instance.clone())
    }

    /// Whether it stands in what could be walked over.
    fn is_within_walks(&self, instance: &StoredInstance) -> bool {
        let within = |at: RecordAt| self.ends.get(&at.pack).is_some_and(|end| at.offset + u64::from(at.len) <= *end);
        instance.chunks.iter().all(|chunk| within(chunk.record))
    }

    fn found(&mut self, finding: Finding) {
        if self.report.findings.len() < self.options.findings_max {
            self.report.findings.push(finding);
        } else {
            self.report.findings_left_out += 1;
        }
    }
}

fn ends_at(at: &RecordAt, end: u64) -> bool {
    at.offset + u64::from(at.len) == end
}

/// The error with its cause.
fn describe(error: &InstanceError) -> String {
    use std::error::Error;
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
