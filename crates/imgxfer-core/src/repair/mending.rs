//! Taking in what is damaged and nothing else: the receiving end of a repair.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use crate::depot::Depot;
use crate::ids::{InstanceHash, ManifestRoot, PageHash, PeerId, SeriesUid, SopInstanceUid, StudyUid};
use crate::manifest::{InstanceEntry, Page};
use crate::proto::{Lookup, Unproven, VerifyJob};
use crate::receive::{DepotIntake, Intake, Staged};
use crate::store::search::Search;
use crate::store::{RecordAt, Scope, StoreError, StoredInstance};
use crate::sync::lock;
use crate::wire::record::Record;

/// What tells one row of an owner's study from the others.
pub(super) type Row = (SeriesUid, SopInstanceUid, InstanceHash);

/// The row of an entry.
pub(super) fn row_of(entry: &InstanceEntry) -> Row {
    (entry.series.clone(), entry.sop_instance.clone(), entry.hash)
}

/// What the peer offered of what is damaged here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Offered {
    /// The same SOP Instance UID with another content.
    pub(super) other_content: bool,
    /// Exactly what is damaged here.
    pub(super) same: bool,
}

/// Damaged instances of one study of one owner, and what a peer offered of them over all connections.
#[derive(Debug)]
pub(super) struct Wounded {
    pub(super) owner: PeerId,
    pub(super) study: StudyUid,
    rows: HashMap<Row, StoredInstance>,
    offered: Mutex<HashMap<Row, Offered>>,
}

impl Wounded {
    pub(super) fn new(owner: PeerId, study: StudyUid, instances: Vec<StoredInstance>) -> Self {
        let rows = instances.into_iter().map(|instance| (row_of(&instance.entry), instance)).collect();
        Self { owner, study, rows, offered: Mutex::default() }
    }

    /// The instances, each with what the peer offered of it.
    pub(super) fn offers(&self) -> impl Iterator<Item = (&StoredInstance, Offered)> {
        let offered = self.offered().clone();
        self.rows.iter().map(move |(row, instance)| (instance, offered.get(row).copied().unwrap_or_default()))
    }

    fn offered(&self) -> MutexGuard<'_, HashMap<Row, Offered>> {
        lock(&self.offered)
    }

    /// Whether the entry is one of these, in every word that its owner's manifest has of it. What comes in other cuts
    /// is still the same.
    fn is_wanted(&self, entry: &InstanceEntry) -> bool {
        entry.study == self.study && self.rows.get(&row_of(entry)).is_some_and(|known| known.entry.len == entry.len)
    }

    fn look_at(&self, entry: &InstanceEntry) {
        let same_uid = |row: &&Row| row.1 == entry.sop_instance;
        for row in self.rows.keys().filter(same_uid) {
            let mut offered = self.offered();
            let offered = offered.entry(row.clone()).or_default();
            if *row == row_of(entry) {
                offered.same = true;
            } else {
                offered.other_content = true;
            }
        }
    }

    /// The instance as its owner's row has it, where its chunks stand now.
    fn mended(&self, new: StoredInstance) -> Option<StoredInstance> {
        let known = self.rows.get(&row_of(&new.entry)).filter(|_| new.entry.study == self.study)?;
        let mut mended = known.clone();
        (mended.entry.chunks, mended.chunks) = (new.entry.chunks, new.chunks);
        Some(mended)
    }
}

/// Takes damaged instances into a [`Depot`], for the owner whose rows they are. Everything else that the peer offers
/// is refused. Publishes nothing, and makes no row.
#[derive(Debug)]
pub(super) struct MendingIntake {
    inner: DepotIntake,
    wounded: Arc<Wounded>,
}

impl MendingIntake {
    /// # Errors
    /// As [`DepotIntake::new`].
    pub(super) fn new(depot: &Depot, wounded: Arc<Wounded>) -> Result<Self, StoreError> {
        // Whole copies of the same chunks serve, whoever owns them.
        Ok(Self { inner: DepotIntake::new(depot, wounded.owner, Scope::All)?, wounded })
    }
}

impl Intake for MendingIntake {
    /// Pages are no secret of the owner's, but one that is known need not be the peer's.
    fn find_page(&self, _: &PageHash) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }

    fn look_up(&self, page: &Page) -> Result<Lookup, StoreError> {
        let mut lookup = self.inner.look_up(page)?;
        page.instances.iter().for_each(|entry| self.wounded.look_at(entry));
        lookup.unwanted = page.instances.iter().map(|entry| !self.wounded.is_wanted(entry)).collect();
        Ok(lookup)
    }

    fn keep(&self, record: &Record) -> Result<RecordAt, StoreError> {
        self.inner.keep(record)
    }

    fn check(&self, job: &VerifyJob, asked: &Search) -> Result<Result<Staged, Unproven>, StoreError> {
        self.inner.check(job, asked)
    }

    fn commit(&self, staged: Vec<Staged>, _: Vec<(PageHash, Bytes)>) -> Result<(), StoreError> {
        let mended = staged.into_iter().filter_map(|staged| {
            let instance = self.wounded.mended(staged.instance)?;
            Some(Staged { at: staged.at, instance })
        });
        self.inner.record_as_ordered(mended.collect(), Vec::new()).map(drop)
    }

    fn uncommitted_bytes(&self) -> u64 {
        self.inner.uncommitted_bytes()
    }

    fn settle(&self, _: &[StudyUid], _: ManifestRoot, _: bool) -> Result<(), StoreError> {
        Ok(())
    }
}
