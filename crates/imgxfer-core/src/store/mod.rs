//! Where records and what is known of them are kept.
//!
//! Two traits: a [`RecordStore`] holds packs of records (a folder on disk, memory, later an object
//! store); an [`Index`] knows which instances are committed, where their chunks are, and which study
//! they belong to (SQLite, memory, later PostgreSQL). An instance exists when the index says so, and
//! the index says so only after the records were made durable. Everything in a pack that no index row
//! names is spool: it may serve to resume a transfer, and is collected in time.
//!
//! Both traits are blocking; callers run them off the network's threads.

mod cache;
mod check;
mod collect;
mod error;
#[cfg(feature = "fs")]
mod folder;
#[cfg(feature = "fs")]
pub mod fs;
mod instance;
mod mem;
pub mod note;
pub mod recipe;
mod recover;
mod scrub;
mod spool;
#[cfg(feature = "fs")]
mod sqlite;
mod tally;
mod told;
mod walk;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::UnixSeconds;
use crate::dicom::Attributes;
use crate::ids::{InstanceHash, ManifestRoot, PackId, PageHash, PeerId, StoreId, StudyUid};
use crate::manifest::InstanceEntry;
use crate::wire::record::{Record, RecordHeader};

pub use cache::RecordCache;
pub use check::{CheckOptions, CheckReport, Finding, check};
pub use collect::{CollectReport, collect};
pub use error::StoreError;
#[cfg(feature = "fs")]
pub use folder::{FolderError, FolderOptions, FolderSink};
#[cfg(feature = "fs")]
pub use fs::{FileBytes, FsOptions, FsRecords, OpenError};
#[cfg(all(feature = "fs", feature = "quic"))]
pub(crate) use fs::{FileIdentity, FileState};
pub use instance::{InstanceError, StoredReader};
pub use mem::{MemIndex, MemRecords};
pub use note::{Note, NoteError};
pub use recover::{RecoverReport, recover};
pub use scrub::{Scrub, ScrubPosition, ScrubStep};
pub use spool::{SpoolLimits, spool_chunks};
#[cfg(feature = "fs")]
pub use sqlite::SqliteIndex;
pub use told::{RetellReport, retell};

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordAt {
    /// The pack.
    pub pack: PackId,
    /// Offset of the record's first byte in it.
    pub offset: u64,
    /// Length of the whole record in bytes.
    pub len: u32,
}

/// Where a chunk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkAt {
    /// The record that holds it.
    pub record: RecordAt,
    /// Its place in the record's chunk list.
    pub slot: u16,
}

/// A pack as the store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackInfo {
    /// Its name.
    pub id: PackId,
    /// The peer whose transfer filled it.
    pub owner: PeerId,
    /// Length in bytes.
    pub len: u64,
    /// When it was created.
    pub created: UnixSeconds,
    /// Its place in the order in which the store made its packs.
    pub sequence: u64,
}

/// What [`RecordStore::notes`] calls with the offset behind each note, and its bytes.
pub type VisitNote<'a> = dyn FnMut(u64, &[u8]) -> Result<(), StoreError> + 'a;

/// How often what a transfer has brought is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitPace {
    /// A verified instance waits for others at most so long. Default 100 ms.
    pub interval: Duration,
    /// So many bytes of records do not wait. Default 64 MiB.
    pub bytes: u64,
}

impl Default for CommitPace {
    /// For a disk, where a commit costs some milliseconds.
    fn default() -> Self {
        Self { interval: Duration::from_millis(100), bytes: 64 << 20 }
    }
}

impl CommitPace {
    /// For a store where each commit costs more, and bytes less, or the other way round.
    #[must_use]
    pub const fn new(interval: Duration, bytes: u64) -> Self {
        Self { interval, bytes }
    }
}

/// Holds packs of records.
///
/// Durability: the store knows up to which byte each pack is durable, which is to survive loss of power, and
/// [`make_durable`](Self::make_durable) moves that on, whoever wrote the pack: the transfer that asks, another that
/// is still writing it, or a process that is gone. Who commits names every record that the commit builds on.
/// What is not durable may be lost, wholly or in part, but a torn record is never read as a whole one. Bytes that
/// a failed sync covered are never offered nor made durable again: they must be fetched anew, into another pack.
/// Records are never changed. Any number of threads may read; each pack has one writer.
///
/// An object store keeps the same contract with packs that are full after a sync: what is sealed is durable, and
/// what is staged is not.
pub trait RecordStore: Send + Sync + fmt::Debug {
    /// Starts a pack for records from `owner`.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Io`].
    fn create_pack(&self, owner: PeerId) -> Result<Box<dyn PackWriter>, StoreError>;

    /// Reads a record and compares its check.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it is not whole, [`StoreError::NoSuchPack`], [`StoreError::Io`].
    fn read(&self, at: RecordAt) -> Result<Record, StoreError>;

    /// Reads a record for a caller who proves what it holds by hashing it: its check may be left out.
    ///
    /// # Errors
    /// As [`RecordStore::read`].
    fn read_to_prove(&self, at: RecordAt) -> Result<Record, StoreError> {
        self.read(at)
    }

    /// How often commits are worth their cost here.
    fn commit_pace(&self) -> CommitPace {
        CommitPace::default()
    }

    /// Makes the first bytes of packs durable, each up to the given length, and the packs' names with them.
    /// What is so already costs nothing. Appending to them goes on meanwhile.
    ///
    /// # Errors
    /// [`StoreError`]: nothing that was not durable before may be taken as durable then, or ever.
    fn make_durable(&self, ends: &[(PackId, u64)]) -> Result<(), StoreError>;

    /// Prepares a pack for somebody who wants to build on records that a transfer left in it: what a former
    /// process wrote is made durable, and read from the medium from now on. Returns the length up to which its
    /// records may be offered; they must still be read and hashed before they are used.
    ///
    /// # Errors
    /// [`StoreError`]: nothing in it may be offered.
    fn adopt(&self, pack: PackId) -> Result<u64, StoreError>;

    /// Makes durable what a writer that is gone has left, and gives up what was held open for that.
    ///
    /// # Errors
    /// As [`RecordStore::make_durable`].
    fn park(&self, pack: PackId) -> Result<(), StoreError>;

    /// All packs, in no order, also those of transfers that did not finish.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn packs(&self) -> Result<Vec<PackInfo>, StoreError>;

    /// Visits the records of a pack in order, up to the first that is not whole (a torn tail is no
    /// error), reading headers and, with `check`, payloads too. Returns the length of the whole part.
    ///
    /// # Errors
    /// [`StoreError::NoSuchPack`], [`StoreError::Io`]; with `check`, [`StoreError::Damaged`] when a
    /// whole-looking record that is not the last fails its check.
    fn scan(
        &self,
        pack: PackId,
        check: bool,
        visit: &mut dyn FnMut(RecordAt, &RecordHeader),
    ) -> Result<u64, StoreError>;

    /// Visits the notes ([`Note`]) of a pack in order that stand at `from` or behind: 0, or an offset behind an
    /// earlier note. Goes up to the first thing that is not whole; a note in front of others may be damaged, which
    /// decoding shows. Returns the length of the whole part.
    ///
    /// # Errors
    /// [`StoreError::NoSuchPack`], [`StoreError::Io`], and what `visit` returns.
    fn notes(&self, pack: PackId, from: u64, visit: &mut VisitNote<'_>) -> Result<u64, StoreError>;

    /// The id of the store, which its index carries, too.
    fn store_id(&self) -> StoreId;

    /// Removes a pack. Removing one that is not there is no error.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn delete(&self, pack: PackId) -> Result<(), StoreError>;

    /// Bytes that may still be written, less the reserve that is kept back; `None` when unknown.
    fn space_left(&self) -> Option<u64>;
}

/// Appends records to one pack.
pub trait PackWriter: Send + fmt::Debug {
    /// The pack's name.
    fn id(&self) -> PackId;

    /// Appends a record; it can be read at once, and is durable after the next [`PackWriter::sync`].
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Io`]. The pack takes no more records then.
    fn append(&mut self, record: &Record) -> Result<RecordAt, StoreError>;

    /// Appends an encoded note ([`note`]), and returns where it ends. Durable as records are.
    ///
    /// # Errors
    /// As [`PackWriter::append`].
    fn note(&mut self, note: &[u8]) -> Result<u64, StoreError>;

    /// Makes all appended records durable: [`RecordStore::make_durable`] for the whole pack.
    ///
    /// # Errors
    /// As there.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// Length of the pack in bytes.
    fn len(&self) -> u64;

    /// Whether it holds no record.
    fn is_empty(&self) -> bool;

    /// Whether another pack should be begun for what comes next: this one is as long as packs of this store are
    /// to be, or its medium seals what is synced.
    fn is_full(&self) -> bool;
}

/// An instance and where its chunks are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredInstance {
    /// The peer that sent it.
    pub owner: PeerId,
    /// Its manifest entry.
    pub entry: InstanceEntry,
    /// Where each chunk of the entry stands, in the same order.
    pub chunks: Vec<ChunkAt>,
    /// What people search for.
    pub attributes: Attributes,
}

/// What one call to [`Index::commit`] makes visible.
#[derive(Debug, Clone, Default)]
pub struct CommitBatch {
    /// Instances whose records are durable.
    pub instances: Vec<StoredInstance>,
    /// Manifest pages all of whose instances are committed (in this batch or before): hash, owner and encoding.
    pub pages: Vec<(PageHash, PeerId, Bytes)>,
    /// Wall clock, for people.
    pub at: UnixSeconds,
    /// The pack in which a note says the same, and where that note ends.
    pub note: Option<(PackId, u64)>,
    /// Whether what is recorded of an instance already is older than this batch, and gives way.
    pub newest: bool,
    /// Whether the instances were read back just now, where the batch says they stand. One that is not so and stands
    /// where it stood before stays damaged ([`Index::note_damage`]). Default `false`.
    pub proven: bool,
}

/// Whose instances a question is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// Everything in the store.
    All,
    /// What these peers sent.
    Owners(Vec<PeerId>),
}

impl Scope {
    /// Whether something sent by `owner` is within it.
    #[must_use]
    pub fn admits(&self, owner: &PeerId) -> bool {
        match self {
            Self::All => true,
            Self::Owners(owners) => owners.contains(owner),
        }
    }
}

/// A question about studies. Empty fields do not narrow it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StudyQuery {
    /// Exactly this study.
    pub study: Option<StudyUid>,
    /// Patient ID, exactly.
    pub patient_id: Option<String>,
    /// Accession number, exactly.
    pub accession_number: Option<String>,
    /// Modality of any series, exactly (`CT`).
    pub modality: Option<String>,
    /// First study date, `YYYYMMDD`, inclusive.
    pub date_from: Option<String>,
    /// Last study date, `YYYYMMDD`, inclusive.
    pub date_to: Option<String>,
    /// Most rows to return.
    pub limit: Option<u32>,
}

impl fmt::Debug for StudyQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StudyQuery").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// One study of one owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudyRow {
    /// Study Instance UID.
    pub study: StudyUid,
    /// The peer that sent it.
    pub owner: PeerId,
    /// Attributes of the instance that came first.
    pub attributes: Attributes,
    /// Modalities of its series, sorted, joined by `\` as in DICOM.
    pub modalities: String,
    /// Number of series.
    pub series: u64,
    /// Number of instances (of contents: two with one SOP Instance UID count twice).
    pub instances: u64,
    /// SOP Instance UIDs that occur with more than one content.
    pub conflicts: u64,
    /// Original bytes.
    pub bytes: u64,
    /// Version: how often a manifest for it was completed. 0 while the first is arriving.
    pub version: u64,
    /// Whether a transfer runs that has added to it.
    pub arriving: bool,
    /// Root of the manifest of the newest version.
    pub root: Option<ManifestRoot>,
    /// When it last changed.
    pub updated: UnixSeconds,
}

/// Knows which instances are committed.
///
/// Atomicity: each call is one transaction. Readers see all of a transaction or none of it. Durability: after loss of
/// power what earlier calls wrote is there, up to some call and none behind it. What `commit` and `publish` wrote is
/// told by notes in packs as well, which are made durable first, and [`recover`] brings what the index has lost. So
/// an index need not wait for its own log; one that shares its rows with other machines does.
pub trait Index: Send + Sync + fmt::Debug {
    /// Records instances and pages. An instance that is there already (same owner, same SOP Instance
    /// UID, same hash) stays as it is, unless it is damaged ([`Index::note_damage`]): then it stands where the batch
    /// says, and is whole again. One with the same SOP Instance UID and another hash is kept beside it.
    ///
    /// # Errors
    /// [`StoreError`], among them [`StoreError::NoSuchPack`] for a pack that is doomed; nothing is recorded then.
    fn commit(&self, batch: &CommitBatch) -> Result<(), StoreError>;

    /// Notes that a transfer runs that adds to `studies` of `owner`, which are there.
    ///
    /// # Errors
    /// [`StoreError`].
    fn begin(&self, owner: PeerId, studies: &[StudyUid], at: UnixSeconds) -> Result<(), StoreError>;

    /// Notes that a transfer has ended that [`Index::begin`] was called for, however it ended.
    ///
    /// # Errors
    /// [`StoreError`].
    fn end(&self, owner: PeerId, studies: &[StudyUid]) -> Result<(), StoreError>;

    /// Forgets all transfers: none runs at the start.
    ///
    /// # Errors
    /// [`StoreError`].
    fn clear_arrivals(&self) -> Result<(), StoreError>;

    /// Up to where the notes of a pack are recorded; `None` when none is.
    ///
    /// # Errors
    /// [`StoreError`].
    fn noted(&self, pack: PackId) -> Result<Option<u64>, StoreError>;

    /// Notes of `pack` are recorded up to `end`: it is in use.
    ///
    /// # Errors
    /// [`StoreError`].
    fn note(&self, pack: PackId, end: u64) -> Result<(), StoreError>;

    /// Publishes a version of each of `studies` of `owner`: the manifest `root` is committed in whole.
    /// Publishing the same root again changes nothing. Returns the version of each.
    ///
    /// # Errors
    /// [`StoreError`].
    fn publish(
        &self,
        owner: PeerId,
        studies: &[StudyUid],
        root: ManifestRoot,
        at: UnixSeconds,
    ) -> Result<Vec<u64>, StoreError>;

    /// Up to `limit` instances of a study within `scope`, ordered by series, SOP Instance UID and hash:
    /// the first ones, or those behind `after`. Callers page through, so that a study of any size fits.
    ///
    /// # Errors
    /// [`StoreError`].
    fn instances(
        &self,
        scope: &Scope,
        study: &StudyUid,
        after: Option<&StoredInstance>,
        limit: usize,
    ) -> Result<Vec<StoredInstance>, StoreError>;

    /// Which of these contents of a study are committed within `scope`, and not damaged: one answer for each hash.
    ///
    /// # Errors
    /// [`StoreError`].
    fn has(&self, scope: &Scope, study: &StudyUid, hashes: &[InstanceHash]) -> Result<Vec<bool>, StoreError>;

    /// A committed manifest page of `owner`, encoded.
    ///
    /// # Errors
    /// [`StoreError`].
    fn page(&self, owner: PeerId, page: &PageHash) -> Result<Option<Bytes>, StoreError>;

    /// Studies within `scope` that match, newest study date first, then by UID.
    ///
    /// # Errors
    /// [`StoreError`].
    fn studies(&self, scope: &Scope, query: &StudyQuery) -> Result<Vec<StudyRow>, StoreError>;

    /// Packs that committed instances stand in.
    ///
    /// # Errors
    /// [`StoreError`].
    fn packs_in_use(&self) -> Result<std::collections::HashSet<PackId>, StoreError>;

    /// End of the last record of `pack` that a committed instance stands in; `None` when none does.
    /// A pack that is used to its very end holds no spool worth looking for.
    ///
    /// # Errors
    /// [`StoreError`].
    fn pack_extent(&self, pack: PackId) -> Result<Option<u64>, StoreError>;

    /// Marks a pack as about to be removed, unless a committed instance stands in it. Returns whether it is marked.
    /// From then on a commit that names it fails.
    ///
    /// # Errors
    /// [`StoreError`].
    fn doom(&self, pack: PackId) -> Result<bool, StoreError>;

    /// Whether a pack is marked by [`Index::doom`].
    ///
    /// # Errors
    /// [`StoreError`].
    fn is_doomed(&self, pack: PackId) -> Result<bool, StoreError>;

    /// Takes the mark of [`Index::doom`] back: the pack stays after all, or it is gone.
    ///
    /// # Errors
    /// [`StoreError`].
    fn spare(&self, pack: PackId) -> Result<(), StoreError>;

    /// Notes that these records are damaged. Committed instances of `study` that stand in them, whoever owns them,
    /// are *damaged* from then on: [`Index::has`] does not count them, and committing one again gives it the places
    /// that it has then. Records that no committed instance stands in are not noted. Returns how many instances are
    /// newly damaged.
    ///
    /// # Errors
    /// [`StoreError`].
    fn note_damage(&self, study: &StudyUid, records: &[RecordAt]) -> Result<u64, StoreError>;

    /// The damaged records of a study.
    ///
    /// # Errors
    /// [`StoreError`].
    fn damage(&self, study: &StudyUid) -> Result<std::collections::HashSet<RecordAt>, StoreError>;

    /// Up to `limit` damaged instances that have not been healed, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn damaged(&self, limit: usize) -> Result<Vec<StoredInstance>, StoreError>;

    /// Whether the medium failed under a write, so that nothing is written until [`Index::reopen`].
    fn has_failed(&self) -> bool {
        false
    }

    /// Reads back from the medium what is there, after a failure. The index may be behind the packs then:
    /// [`recover`] must follow. Does nothing when nothing failed.
    ///
    /// # Errors
    /// [`StoreError`]: it has still failed.
    fn reopen(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Up to `limit` studies with their owners, in a fixed order: the first ones, or those behind
    /// `after`. For walking over the whole store in bounded memory.
    ///
    /// # Errors
    /// [`StoreError`].
    fn study_keys(
        &self,
        after: Option<&(PeerId, StudyUid)>,
        limit: usize,
    ) -> Result<Vec<(PeerId, StudyUid)>, StoreError>;
}
