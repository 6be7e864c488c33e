//! Checking a whole store against its index: `imgxfer verify --store`.

use std::collections::HashMap;
use std::sync::Arc;

use super::{
    Index, InstanceError, Note, RecordAt, RecordCache, RecordStore, Scope, StoreError, StoredInstance, StoredReader,
};
use crate::codec::Registry;
use crate::ids::{InstanceHash, PackId, PeerId, SopInstanceUid, StudyUid};
use crate::units::{to_u32, to_u64};

/// How thorough [`check`] is.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// Whether every record is read and compared with its check, and every committed instance decoded
    /// and hashed, chunk by chunk and as a whole. Reads each used pack twice. Without it only headers
    /// are read, which finds what is missing or cut short.
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
        matches!(self, Self::Tail { .. })
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

/// Instances fetched from the index at a time.
const PAGE: usize = 256;

/// Walks over all packs and all committed instances. `progress` is called after every pack and every
/// 256 instances; it may look at the report so far, and stops the check by returning `false`.
///
/// Memory: about 24 bytes for each pack, and one page of instances.
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
    let mut checker = Checker { records, options, cache, report: CheckReport::default(), ends: HashMap::new() };
    for pack in records.packs()? {
        // Asked for first: a daemon may be writing, and what it acknowledges now is in the pack by then.
        let durable = index.pack_extent(pack.id)?.unwrap_or(0);
        checker.pack(pack.id, pack.len, durable);
        if !progress(&checker.report) {
            return Ok(checker.report);
        }
    }
    let mut after = None;
    loop {
        let keys = index.study_keys(after.as_ref(), PAGE)?;
        for key in &keys {
            if !checker.study(index, key, progress)? {
                return Ok(checker.report);
            }
        }
        if keys.is_empty() {
            return Ok(checker.report);
        }
        after = keys.into_iter().next_back();
    }
}

struct Checker<'a> {
    records: &'a Arc<dyn RecordStore>,
    options: &'a CheckOptions,
    cache: RecordCache,
    report: CheckReport,
    /// End of the whole part of each pack that could be walked.
    ends: HashMap<PackId, u64>,
}

impl Checker<'_> {
    /// Walks over a pack of `len` bytes, in which something acknowledged stands up to `durable`.
    fn pack(&mut self, pack: PackId, len: u64, durable: u64) {
        self.report.packs += 1;
        let mut places = Vec::new();
        let mut end = match self.records.scan(pack, false, &mut |at, _| places.push(at)) {
            Ok(end) => end,
            Err(e) => return self.found(Finding::Pack { pack, what: e.to_string() }),
        };
        self.ends.insert(pack, end);
        self.report.records += to_u64(places.len());
        self.report.record_bytes += places.iter().map(|at| u64::from(at.len)).sum::<u64>();
        if end < durable {
            let at = RecordAt { pack, offset: end, len: u32::try_from(durable - end).unwrap_or(u32::MAX) };
            let what = "cut off or damaged, and something acknowledged stood behind".to_owned();
            self.found(Finding::Record { at, what });
        }
        let mut damaged = if self.options.read_data { self.damaged_records(&places) } else { Vec::new() };
        // Of the last that was written, the beginning may have arrived and the rest not.
        while let Some((at, _)) = damaged.last().filter(|(at, _)| at.offset >= durable && ends_at(at, end)) {
            end = at.offset;
            damaged.pop();
        }
        damaged.into_iter().for_each(|(at, what)| self.found(Finding::Record { at, what }));
        if (durable..len).contains(&end) {
            self.found(Finding::Tail { pack, offset: end, len: len - end });
        }
        if self.options.read_data {
            let mut damaged = Vec::new();
            let mut look = |end: u64, bytes: &[u8]| {
                if let Err(e) = Note::decode(bytes) {
                    let len = to_u32(bytes.len());
                    damaged.push((RecordAt { pack, offset: end - u64::from(len), len }, e.to_string()));
                }
                Ok(())
            };
            if let Err(e) = self.records.notes(pack, 0, &mut look) {
                self.found(Finding::Pack { pack, what: e.to_string() });
            }
            damaged.into_iter().for_each(|(at, what)| self.found(Finding::Record { at, what }));
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
        let scope = Scope::Owners(vec![*owner]);
        let mut last: Option<StoredInstance> = None;
        loop {
            let mut page = index.instances(&scope, study, last.as_ref(), PAGE)?;
            for instance in &page {
                self.instance(index, instance)?;
            }
            if !progress(&self.report) {
                return Ok(false);
            }
            last = page.pop();
            if last.is_none() {
                return Ok(true);
            }
        }
    }

    fn instance(&mut self, index: &dyn Index, instance: &StoredInstance) -> Result<(), StoreError> {
        self.report.instances += 1;
        self.report.instance_bytes += instance.entry.len;
        let what = if self.options.read_data { self.content(instance) } else { self.places(instance) };
        if let Some(what) = what {
            if self.options.note_damage {
                let reader =
                    StoredReader::of(Arc::clone(self.records), self.options.registry.clone(), instance.clone());
                let damaged = reader.map(|reader| reader.damaged()).unwrap_or_default();
                let records: Vec<_> = damaged.into_iter().map(|n| instance.chunks[n].record).collect();
                index.note_damage(&instance.entry.study, &records)?;
            }
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

    /// Decodes and hashes the instance.
    fn content(&self, instance: &StoredInstance) -> Option<String> {
        let reader = StoredReader::of(Arc::clone(self.records), self.options.registry.clone(), instance.clone());
        reader.and_then(|r| r.with_cache(self.cache.clone()).verify()).err().map(|e| describe(&e))
    }

    /// Sees whether the packs reach as far as the index says.
    fn places(&self, instance: &StoredInstance) -> Option<String> {
        let missing = instance
            .chunks
            .iter()
            .map(|chunk| chunk.record)
            .find(|at| self.ends.get(&at.pack).is_none_or(|end| at.offset + u64::from(at.len) > *end))?;
        Some(if self.ends.contains_key(&missing.pack) {
            format!("pack {} is cut short or damaged before offset {}", missing.pack, missing.offset)
        } else {
            format!("pack {} is missing or unreadable", missing.pack)
        })
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
