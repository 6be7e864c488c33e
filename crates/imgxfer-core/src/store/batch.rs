//! What a store is told: what is committed, published and removed, by whom, and in which order.

use bytes::Bytes;

use super::{RecordAt, StoredInstance};
use crate::clock::UnixSeconds;
use crate::ids::{InstanceHash, ManifestRoot, PackId, PageHash, PeerId, StudyUid};

/// A place in the order of all that a store was told. It grows with each thing told, whatever clocks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Order(pub u64);

/// Places that were reserved for things that are told together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orders {
    /// The first of them.
    pub first: Order,
}

impl Orders {
    /// The place `n` behind the first.
    #[must_use]
    pub const fn nth(self, n: usize) -> Order {
        Order(self.first.0.saturating_add(n as u64))
    }
}

/// How an instance came here, where its owner does not say it: through which door, and what was known there of the
/// one who brought it. May name people: it is shown to those who run the site alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Provenance {
    /// The source that rights are given to: `inbox:PATH`, `ae:TITLE`, `user:NAME`, `peer:NAME`.
    pub source: String,
    /// What else was known, such as `address`, `certificate`, `called`, by name.
    pub about: Vec<(String, String)>,
}

impl Provenance {
    /// That of a source of which nothing else is known.
    #[must_use]
    pub fn of(source: impl Into<String>) -> Self {
        Self { source: source.into(), about: Vec::new() }
    }
}

/// One way by which an instance came here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing else")]
pub struct Arrival {
    /// When it came so first, by the wall clock.
    pub at: UnixSeconds,
    /// The way.
    pub provenance: Provenance,
}

/// What one call to [`Index::commit`](super::Index::commit) makes visible.
#[derive(Debug, Clone, Default)]
pub struct CommitBatch {
    /// Instances whose records are durable.
    pub instances: Vec<StoredInstance>,
    /// How they came here; `None` for what a transfer of their owner brought.
    pub provenance: Option<Provenance>,
    /// Manifest pages all of whose instances are committed (in this batch or before): hash, owner and encoding.
    pub pages: Vec<(PageHash, PeerId, Bytes)>,
    /// Wall clock, for people.
    pub at: UnixSeconds,
    /// The pack in which a note says the same, and where that note ends.
    pub note: Option<(PackId, u64)>,
    /// Whether what is recorded of an instance already is older than this batch, and gives way.
    pub newest: bool,
    /// Whether the instances were read back just now, where the batch says they stand. One that is not so and stands
    /// where it stood before stays damaged ([`Index::note_damage`](super::Index::note_damage)). Default `false`.
    pub proven: bool,
}

/// A version of studies: a manifest that is committed in whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Whose studies they are.
    pub owner: PeerId,
    /// The studies.
    pub studies: Vec<StudyUid>,
    /// Root of the manifest.
    pub root: ManifestRoot,
    /// Wall clock, for people.
    pub at: UnixSeconds,
    /// Its place among all that the store was told.
    pub order: Order,
    /// Contents that the manifest states where the owner has others of the same SOP Instance UID: the study they
    /// are of, by its place in `studies`, and their hash. They become current.
    pub stated: Vec<(u32, InstanceHash)>,
}

/// What is removed of a study.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is nothing else")]
pub enum What {
    /// Everything that was committed before.
    All,
    /// These contents.
    Contents(Vec<InstanceHash>),
}

impl What {
    /// Whether it names this content.
    #[must_use]
    pub fn names(&self, hash: &InstanceHash) -> bool {
        match self {
            Self::All => true,
            Self::Contents(hashes) => hashes.contains(hash),
        }
    }
}

/// The removal of instances of one study of one owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Whose study it is.
    pub owner: PeerId,
    /// The study.
    pub study: StudyUid,
    /// What of it.
    pub what: What,
    /// Wall clock, for people.
    pub at: UnixSeconds,
    /// Its place among all that the store was told: what has an earlier one is removed.
    pub order: Order,
}

/// What [`Index::remove`](super::Index::remove) did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Contents that are gone.
    pub instances: u64,
    /// Their original bytes.
    pub bytes: u64,
    /// Records that they stood in, each once, in order. Others may stand in them, too.
    pub records: Vec<RecordAt>,
}

/// What came of reading the header of a stored instance again, for [`Index::refill`](super::Index::refill).
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is nothing else")]
pub enum Refill {
    /// The instance, with its attributes by the catalogue of this program, and its frames where they are known now.
    Read(StoredInstance),
    /// The instance as the index gave it: its header cannot be read where it stands.
    Unreadable(StoredInstance),
}

/// Instances whose attributes were read with the catalogue of another version of the program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stale {
    /// Those whose headers are to be read again.
    pub left: u64,
    /// Those whose headers this program has tried to read, and could not. They keep the attributes that they have.
    pub unreadable: u64,
}

/// How much an index knows of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexTotals {
    /// Studies, each once for each of its owners.
    pub studies: u64,
    /// Instances in them.
    pub instances: u64,
    /// SOP Instance UIDs in them with more than one content.
    pub conflicts: u64,
    /// Their original bytes.
    pub bytes: u64,
}

/// Whether a content is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there is nothing else")]
pub enum Held {
    /// Not, or it is damaged.
    Absent,
    /// It is, and is what its SOP Instance UID stands for.
    Current,
    /// It is, and another content is current.
    Older,
}

/// Which of the contents of one SOP Instance UID are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "there is nothing else")]
pub enum Versions {
    /// The current one.
    #[default]
    Current,
    /// Each one.
    All,
}
