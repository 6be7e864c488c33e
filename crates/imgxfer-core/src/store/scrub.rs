//! Reading a store little by little, so that rot is found while somebody still has the originals.

use std::collections::{HashSet, VecDeque};

use super::{Index, InstancesOf, RecordAt, RecordStore, Scope, StoreError, StoredInstance};
use crate::ids::{PeerId, StudyUid};

/// Instances fetched from the index at a time.
const PAGE: usize = 256;
/// So many records one after the other that the medium does not give are not damage of theirs: the medium fails.
const UNREADABLE_MAX: u32 = 16;
/// `EIO`: what a disk says of a sector that it cannot read.
const EIO: i32 = 5;

/// A study of an owner: where a pass stands.
pub type ScrubPosition = (PeerId, StudyUid);

/// What one [`Scrub::step`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScrubStep {
    /// A record of so many bytes was read, and is whole.
    Whole {
        /// Length of the record.
        bytes: u64,
    },
    /// A record is damaged; that is noted in the index.
    Damaged {
        /// Where it stands.
        at: RecordAt,
        /// The study that it belongs to.
        study: StudyUid,
        /// How many committed instances are newly damaged by that.
        instances: u64,
    },
    /// All of a study was read: a pass may be taken up behind it.
    Study(ScrubPosition),
    /// Everything was read.
    Pass,
}

/// One pass over all records that committed instances stand in, study by study, in small steps. Each record is read
/// and compared with its check; what a study shares between its owners is read once for each. Records that are known
/// to be damaged are passed over.
///
/// It may run beside everything else. Memory: 32 bytes for each record of one study.
#[derive(Debug)]
pub struct Scrub {
    after: Option<ScrubPosition>,
    current: Option<Current>,
    /// Records one after the other that the medium did not give.
    unreadable: u32,
}

#[derive(Debug)]
struct Current {
    key: ScrubPosition,
    records: VecDeque<RecordAt>,
}

impl Scrub {
    /// A pass from the beginning, or behind a study that an earlier one came to.
    #[must_use]
    pub const fn new(after: Option<ScrubPosition>) -> Self {
        Self { after, current: None, unreadable: 0 }
    }

    /// The study that is being read.
    #[must_use]
    pub fn current(&self) -> Option<&ScrubPosition> {
        self.current.as_ref().map(|current| &current.key)
    }

    /// Reads the next record, of up to 2 MiB. Blocks. The next call behind [`ScrubStep::Pass`] begins a new pass.
    ///
    /// # Errors
    /// [`StoreError`]: the index or the medium fails. Another call tries again.
    pub fn step(&mut self, records: &dyn RecordStore, index: &dyn Index) -> Result<ScrubStep, StoreError> {
        let mut current = match self.current.take() {
            Some(current) => current,
            None => match index.study_keys(self.after.as_ref(), 1)?.pop() {
                Some(key) => Current { records: records_of(index, &key)?, key },
                None => {
                    self.after = None;
                    return Ok(ScrubStep::Pass);
                }
            },
        };
        let Some(at) = current.records.pop_front() else {
            self.after = Some(current.key.clone());
            return Ok(ScrubStep::Study(current.key));
        };
        let study = current.key.1.clone();
        let step = self.read(records, index, at, study);
        if step.is_err() {
            current.records.push_front(at);
        }
        self.current = Some(current);
        step
    }

    fn read(
        &mut self,
        records: &dyn RecordStore,
        index: &dyn Index,
        at: RecordAt,
        study: StudyUid,
    ) -> Result<ScrubStep, StoreError> {
        let bytes = u64::from(at.len);
        match records.read(at) {
            Ok(_) => {
                self.unreadable = 0;
                return Ok(ScrubStep::Whole { bytes });
            }
            Err(StoreError::Damaged { .. } | StoreError::NoSuchPack(_)) => {}
            // A sector that has gone, unless it is the whole disk.
            Err(StoreError::Io { source, .. })
                if source.raw_os_error() == Some(EIO) && self.unreadable < UNREADABLE_MAX =>
            {
                self.unreadable += 1;
            }
            Err(error) => return Err(error),
        }
        // Nothing is noted of a record that nothing committed stands in any more.
        let instances = index.note_damage(&study, &[at])?;
        Ok(if instances == 0 { ScrubStep::Whole { bytes } } else { ScrubStep::Damaged { at, study, instances } })
    }
}

/// The records of a study of one owner in the order in which they stand, but for those that are known to be damaged.
fn records_of(index: &dyn Index, (owner, study): &ScrubPosition) -> Result<VecDeque<RecordAt>, StoreError> {
    let damaged = index.damage(study)?;
    let scope = Scope::owner(*owner);
    let of = InstancesOf::all_versions(study.clone());
    let mut records = HashSet::new();
    let mut last: Option<StoredInstance> = None;
    loop {
        let page = index.instances(&scope, &of, last.as_ref(), PAGE)?;
        records.extend(page.iter().flat_map(|instance| &instance.chunks).map(|chunk| chunk.record));
        last = page.into_iter().next_back();
        if last.is_none() {
            break;
        }
    }
    let mut records: Vec<RecordAt> = records.into_iter().filter(|at| !damaged.contains(at)).collect();
    records.sort_unstable();
    Ok(records.into())
}
