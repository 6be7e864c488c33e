//! Where records and what is known of them are kept.
//!
//! Two traits: a [`RecordStore`] holds packs of records (a folder on disk, memory, later an object
//! store); an [`Index`] knows which instances are committed, where their chunks are, and which study
//! they belong to (SQLite, memory, later PostgreSQL). An instance exists when the index says so, and
//! the index says so only after the records were made durable. Everything in a pack that no index row
//! names is spool: it may serve to resume a transfer, and is collected in time.
//!
//! Both traits are blocking; callers run them off the network's threads.

mod batch;
mod cache;
mod check;
mod collect;
mod error;
#[cfg(feature = "fs")]
mod folder;
#[cfg(feature = "fs")]
pub mod fs;
mod index;
mod instance;
mod mem;
pub mod note;
pub mod recipe;
mod recover;
mod repack;
mod scope;
mod scrub;
pub mod search;
mod spool;
#[cfg(feature = "fs")]
mod sqlite;
mod summary;
mod tally;
mod told;
pub mod trailer;
mod versions;
mod walk;

use std::fmt;
use std::time::Duration;

use crate::clock::UnixSeconds;
use crate::dicom::{Attributes, CATALOGUE_VERSION, FrameTable};
use crate::ids::{ManifestRoot, PackId, PeerId, StoreId, StudyUid};
use crate::manifest::InstanceEntry;
use crate::wire::record::{Record, RecordHeader};

pub use crate::places::{ChunkAt, RecordAt};
pub use batch::{
    Arrival, CommitBatch, Held, IndexTotals, Order, Orders, Provenance, Publication, Refill, Removal, Removed, Stale,
    Versions, What,
};

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
pub(crate) use index::VERSIONS_MAX;
pub use index::{Index, InstancesOf};
pub use instance::{InstanceError, StoredReader};
pub use mem::{MemIndex, MemRecords};
pub use note::{Note, NoteError};
pub use recover::{RecoverReport, recover};
pub use repack::{recode, repack};
pub use scope::Scope;
pub use scrub::{Scrub, ScrubPosition, ScrubStep};
pub use spool::{SpoolLimits, spool_chunks};
#[cfg(feature = "fs")]
pub use sqlite::SqliteIndex;
pub use summary::StudyPatient;
pub use told::{RetellReport, retell};

/// A pack as the store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackInfo {
    /// Its name.
    pub id: PackId,
    /// The peer whose transfer filled it.
    pub owner: PeerId,
    /// Length in bytes of all that was appended to it: without its trailer.
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

    /// Starts a pack for what makes room: what is moved out of a pack, which it stands in for then, and notes of
    /// removals. It takes the place of `stands_for` among the packs in the order in which they were made, so that what
    /// they tell is told in the same order; the last place without one. Such a pack may use half of what is kept back
    /// of the medium ([`RecordStore::space_left`]), so that room can be made where there is none.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Io`]; [`StoreError::NoSuchPack`].
    fn create_pack_to_make_room(
        &self,
        owner: PeerId,
        stands_for: Option<PackId>,
    ) -> Result<Box<dyn PackWriter>, StoreError>;

    /// Starts a pack that stands in for another in the order in which packs were made, as
    /// [`RecordStore::create_pack_to_make_room`] does, and may use no more of the medium than others.
    ///
    /// # Errors
    /// As there.
    fn create_pack_in_place_of(&self, owner: PeerId, pack: PackId) -> Result<Box<dyn PackWriter>, StoreError>;

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
    /// error), and returns the length of the whole part. Without `check` what the pack's [`trailer`] lists is taken as
    /// whole, where it has one, which is one read; else headers are read. With `check` payloads are read too, and no
    /// trailer is asked what there is.
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
    /// decoding shows. Returns the length of the whole part. Goes from head to head, whatever the pack's trailer says:
    /// for who decides by it what may be removed.
    ///
    /// # Errors
    /// [`StoreError::NoSuchPack`], [`StoreError::Io`], and what `visit` returns.
    fn notes(&self, pack: PackId, from: u64, visit: &mut VisitNote<'_>) -> Result<u64, StoreError>;

    /// The same where the pack's [`trailer`] says that notes stand, if it has one: nothing else is read, and notes behind
    /// something damaged are visited, too.
    ///
    /// # Errors
    /// As [`RecordStore::notes`].
    fn list_notes(&self, pack: PackId, from: u64, visit: &mut VisitNote<'_>) -> Result<u64, StoreError> {
        self.notes(pack, from, visit)
    }

    /// Why a pack's [`trailer`] is not believed, where it has one that is not. Nothing is lost by that.
    ///
    /// # Errors
    /// [`StoreError::NoSuchPack`], [`StoreError::Io`].
    fn doubt(&self, pack: PackId) -> Result<Option<&'static str>, StoreError> {
        let _: PackId = pack;
        Ok(None)
    }

    /// The id of the store, which its index carries, too.
    fn store_id(&self) -> StoreId;

    /// Removes a pack, for good: it does not come back after loss of power. Removing one that is not there is no error.
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

    /// Ends the pack: makes all that was appended durable, and writes its [`trailer`] behind it. That is not made durable,
    /// and nothing depends on it: a pack that is not ended in this way is read head by head.
    ///
    /// # Errors
    /// As [`PackWriter::sync`] and [`PackWriter::append`]. What was durable before stays so.
    fn finish(self: Box<Self>) -> Result<(), StoreError>;

    /// Length of the pack in bytes.
    fn len(&self) -> u64;

    /// Whether it holds no record.
    fn is_empty(&self) -> bool;

    /// Whether another pack should be begun for what comes next: this one is as long as packs of this store are
    /// to be, or would have a long trailer, or its medium seals what is synced.
    fn is_full(&self) -> bool;
}

/// An instance and where its chunks are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredInstance {
    /// The peer that sent it; [`PeerId::SELF`] for what arrived here otherwise.
    pub owner: PeerId,
    /// Its manifest entry.
    pub entry: InstanceEntry,
    /// Where each chunk of the entry stands, in the same order.
    pub chunks: Vec<ChunkAt>,
    /// What people search for.
    pub attributes: Attributes,
    /// Version of the catalogue that the attributes were read with; where it is not [`CATALOGUE_VERSION`], they are stale.
    pub catalogue: u16,
    /// Where its frames are, where that is known.
    pub frames: Option<FrameTable>,
    /// Whether the file ends before its data set does.
    pub cut: bool,
    /// Whether it stands in records that take long to decode ([`Registry::is_slow`](crate::codec::Registry::is_slow)).
    pub slow: bool,
    /// When it was committed, among all that the store was told.
    pub order: Order,
    /// When a published manifest stated it last. Only what an index gives has it.
    pub stated: Option<Order>,
    /// Whether it is what its SOP Instance UID stands for. Only what an index gives has it.
    pub current: bool,
}

impl StoredInstance {
    /// One that is committed as the first of all, whole and without known frames; its attributes were read just now.
    #[must_use]
    pub const fn new(owner: PeerId, entry: InstanceEntry, chunks: Vec<ChunkAt>, attributes: Attributes) -> Self {
        let (catalogue, order) = (CATALOGUE_VERSION, Order(0));
        Self {
            owner,
            entry,
            chunks,
            attributes,
            catalogue,
            frames: None,
            cut: false,
            slow: false,
            order,
            stated: None,
            current: true,
        }
    }
}

/// One study of one owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudyRow {
    /// Study Instance UID.
    pub study: StudyUid,
    /// The peer that sent it.
    pub owner: PeerId,
    /// When the first of it was committed.
    pub first: Order,
    /// Attributes of the study.
    pub attributes: Attributes,
    /// Its patients: one, if all is well.
    pub patients: Vec<StudyPatient>,
    /// Modalities of its series, each once, sorted.
    pub modalities: Vec<String>,
    /// SOP classes of its instances, each once, sorted.
    pub sop_classes: Vec<String>,
    /// Number of series.
    pub series: u64,
    /// Number of instances: of SOP Instance UIDs.
    pub instances: u64,
    /// Number of contents: an instance may have several.
    pub contents: u64,
    /// SOP Instance UIDs with contents that are at odds: neither the same under another file meta group nor another
    /// encoding.
    pub conflicts: u64,
    /// Original bytes of its current instances.
    pub bytes: u64,
    /// Version: how often a manifest for it was completed. 0 while the first is arriving.
    pub version: u64,
    /// Whether a transfer runs that has added to it.
    pub arriving: bool,
    /// Root of the manifest of the newest version.
    pub root: Option<ManifestRoot>,
    /// When that was told; 0 for never.
    pub published: Order,
    /// When it last changed.
    pub updated: UnixSeconds,
}
