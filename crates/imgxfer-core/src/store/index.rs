//! What an index is asked and told.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;

use super::search::{Answer, Search};
use super::{
    Arrival, CommitBatch, Held, IndexTotals, Orders, Publication, RecordAt, Refill, Removal, Removed, Scope, Stale,
    StoreError, StoredInstance, StudyRow, Versions,
};
use crate::clock::UnixSeconds;
use crate::ids::{InstanceHash, PackId, PageHash, PeerId, SeriesUid, SopInstanceUid, StudyUid};
use crate::manifest::InstanceEntry;

/// Which instances are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstancesOf {
    /// Of this study.
    pub study: StudyUid,
    /// Of this series alone.
    pub series: Option<SeriesUid>,
    /// Those with this SOP Instance UID alone.
    pub sop_instance: Option<SopInstanceUid>,
    /// Which of the contents that one SOP Instance UID has.
    pub versions: Versions,
}

impl InstancesOf {
    /// All of a study's instances, as they are now.
    #[must_use]
    pub const fn study(study: StudyUid) -> Self {
        Self { study, series: None, sop_instance: None, versions: Versions::Current }
    }

    /// Every content of the SOP Instance UID that an entry names, in its series.
    #[must_use]
    pub fn contents(entry: &InstanceEntry) -> Self {
        Self {
            study: entry.study.clone(),
            series: Some(entry.series.clone()),
            sop_instance: Some(entry.sop_instance.clone()),
            versions: Versions::All,
        }
    }

    /// The same with every content that an instance has.
    #[must_use]
    pub const fn all_versions(study: StudyUid) -> Self {
        Self { study, series: None, sop_instance: None, versions: Versions::All }
    }
}

/// Contents of one SOP Instance UID that are looked at where one of them is looked for.
pub(crate) const VERSIONS_MAX: usize = 1_000;

/// Knows which instances are committed.
///
/// Atomicity: each call is one transaction. Readers see all of a transaction or none of it. Durability: after loss of
/// power what earlier calls wrote is there, up to some call and none behind it. What `commit`, `publish` and `remove`
/// wrote is told by notes in packs as well, which are made durable first, and [`recover`](super::recover) brings what
/// the index has lost. So an index need not wait for its own log; one that shares its rows with other machines does.
///
/// # One SOP Instance UID, several contents
/// An owner may send another content under the same SOP Instance UID: a correction, another encoding, or a cut file.
/// All are kept. One is *current*: a whole one before one that is cut short; then the one that was stated last, by a
/// manifest that was published; of those that no manifest stated, the one that was committed first. Between owners,
/// in answers that may see several, the owner who had the SOP Instance UID first counts.
pub trait Index: Send + Sync + fmt::Debug {
    /// Reserves `count` places in the order of all that the store is told, and returns the first. It comes behind all
    /// that the index knows.
    ///
    /// # Errors
    /// [`StoreError`].
    fn reserve(&self, count: u64) -> Result<Orders, StoreError>;

    /// Records instances and pages. An instance that is there already (same owner, same SOP Instance
    /// UID, same hash) stays as it is, but takes attributes over that were read with the catalogue of this program where
    /// its own were not. It stays where it stands unless it is damaged ([`Index::note_damage`]): then it stands where the batch
    /// says, and is whole again. One with the same SOP Instance UID and another hash is kept beside it. One that was
    /// removed later than its own order is not recorded. Returns the places in the batch of those instances that are
    /// not the only content of their SOP Instance UID that the owner has: a publication must state them.
    ///
    /// # Errors
    /// [`StoreError`], among them [`StoreError::NoSuchPack`] for a pack that is doomed; nothing is recorded then.
    fn commit(&self, batch: &CommitBatch) -> Result<Vec<usize>, StoreError>;

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

    /// Forgets what the last process was at: at the start no transfer runs, and no pack is about to be removed.
    ///
    /// # Errors
    /// [`StoreError`].
    fn forget_running(&self) -> Result<(), StoreError>;

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

    /// Publishes a version of studies: a manifest is committed in whole. Publishing the same root again changes no
    /// version. Returns the version of each: 0 for one of which all was removed later than this was told.
    ///
    /// # Errors
    /// [`StoreError`].
    fn publish(&self, publication: &Publication) -> Result<Vec<u64>, StoreError>;

    /// Removes instances, and remembers that they were removed: what a note tells of them that is older is not
    /// recorded any more. Their records stay in their packs.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove(&self, removal: &Removal) -> Result<Removed, StoreError>;

    /// Up to `limit` removals that are remembered, oldest first, behind the order `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn removals(&self, after: u64, limit: usize) -> Result<Vec<Removal>, StoreError>;

    /// Up to `limit` instances within `scope`, ordered by series, SOP Instance UID and hash: the first ones, or those
    /// behind `after`. Callers page through, so that a study of any size fits.
    ///
    /// # Errors
    /// [`StoreError`].
    fn instances(
        &self,
        scope: &Scope,
        of: &InstancesOf,
        after: Option<&StoredInstance>,
        limit: usize,
    ) -> Result<Vec<StoredInstance>, StoreError>;

    /// By which ways an instance came that the site itself owns, each once, the first one first. None where its owner
    /// sent it, and where it is not there.
    ///
    /// # Errors
    /// [`StoreError`].
    fn arrivals(&self, instance: &StoredInstance) -> Result<Vec<Arrival>, StoreError>;

    /// The studies within `scope` that hold an instance with this SOP Instance UID.
    ///
    /// # Errors
    /// [`StoreError`].
    fn studies_with(&self, scope: &Scope, sop_instance: &SopInstanceUid) -> Result<Vec<StudyUid>, StoreError>;

    /// What is there within `scope` of these contents of a study, and not damaged: one answer for each hash.
    ///
    /// # Errors
    /// [`StoreError`].
    fn has(&self, scope: &Scope, study: &StudyUid, hashes: &[InstanceHash]) -> Result<Vec<Held>, StoreError>;

    /// A committed manifest page of `owner`, encoded.
    ///
    /// # Errors
    /// [`StoreError`].
    fn page(&self, owner: PeerId, page: &PageHash) -> Result<Option<Bytes>, StoreError>;

    /// The rows of a study within `scope`: one for each owner, ordered by owner.
    ///
    /// # Errors
    /// [`StoreError`].
    fn study(&self, scope: &Scope, study: &StudyUid) -> Result<Vec<StudyRow>, StoreError>;

    /// How many instances have attributes that were read with the catalogue of another version of the program
    /// ([`StoredInstance::catalogue`]), whoever owns them. Cost: a step for each.
    ///
    /// # Errors
    /// [`StoreError`].
    fn stale(&self) -> Result<Stale, StoreError>;

    /// Up to `limit` instances of one owner's study whose headers are to be read again; none when none is left. Fewer
    /// where they have very many chunks.
    ///
    /// # Errors
    /// [`StoreError`].
    fn stale_instances(&self, limit: usize) -> Result<Vec<StoredInstance>, StoreError>;

    /// Records what was read again of headers: attributes, what is found by them and what studies and series say, and
    /// frames where none were known. Nothing else changes: not what is current, nor where anything stands, nor
    /// orders, counts, versions and times. What is not there any more, or is unreadable and stands elsewhere by now, is
    /// passed over. What is unreadable counts as read, for this version of the catalogue.
    ///
    /// # Errors
    /// [`StoreError`].
    fn refill(&self, refills: &[Refill]) -> Result<(), StoreError>;

    /// Answers a question about studies, series or instances within `scope`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn find(&self, scope: &Scope, search: &Search) -> Result<Answer, StoreError>;

    /// What the index keeps of an owner's study beside its instances, and what these do not say: sums, which content is
    /// current, attributes of study and series, what it is searched by. Empty where all is well, and where nothing is
    /// kept beside them. Attributes are passed over while some are stale. Cost: a walk over the study.
    ///
    /// # Errors
    /// [`StoreError`].
    fn contradictions(&self, owner: PeerId, study: &StudyUid) -> Result<Vec<&'static str>, StoreError> {
        let _: (PeerId, &StudyUid) = (owner, study);
        Ok(Vec::new())
    }

    /// How much is there.
    ///
    /// # Errors
    /// [`StoreError`].
    fn totals(&self) -> Result<IndexTotals, StoreError>;

    /// Original bytes of the current instances that a peer owns.
    ///
    /// # Errors
    /// [`StoreError`].
    fn owned_bytes(&self, owner: PeerId) -> Result<u64, StoreError>;

    /// Packs that committed instances stand in.
    ///
    /// # Errors
    /// [`StoreError`].
    fn packs_in_use(&self) -> Result<HashSet<PackId>, StoreError>;

    /// End of the last record of `pack` that a committed instance stands in; `None` when none does.
    /// A pack that is used to its very end holds no spool worth looking for.
    ///
    /// # Errors
    /// [`StoreError`].
    fn pack_extent(&self, pack: PackId) -> Result<Option<u64>, StoreError>;

    /// Marks a pack as about to be removed, unless a committed instance stands in it. Returns whether it is marked.
    /// From then on a commit that names it fails. What its notes tell is the caller's to look after.
    ///
    /// # Errors
    /// [`StoreError`].
    fn doom(&self, pack: PackId) -> Result<bool, StoreError>;

    /// Whether a pack is marked by [`Index::doom`], or has been removed since the start.
    ///
    /// # Errors
    /// [`StoreError`].
    fn is_doomed(&self, pack: PackId) -> Result<bool, StoreError>;

    /// Takes the mark of [`Index::doom`] back: the pack stays after all.
    ///
    /// # Errors
    /// [`StoreError`].
    fn spare(&self, pack: PackId) -> Result<(), StoreError>;

    /// A pack that was marked by [`Index::doom`] is gone. Its name stays marked until [`Index::forget_running`].
    ///
    /// # Errors
    /// [`StoreError`].
    fn forget(&self, pack: PackId) -> Result<(), StoreError>;

    /// Visits the instances that stand in a pack, current or not, in no order.
    ///
    /// # Errors
    /// [`StoreError`].
    fn visit_pack(&self, pack: PackId, visit: &mut dyn FnMut(&StoredInstance)) -> Result<(), StoreError>;

    /// Up to `limit` packs with records that nothing needs since instances were removed, and about how many bytes
    /// that is, most first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn wasteful(&self, limit: usize) -> Result<Vec<(PackId, u64)>, StoreError>;

    /// So many bytes of a pack are needed by nobody: somebody has counted them.
    ///
    /// # Errors
    /// [`StoreError`].
    fn set_waste(&self, pack: PackId, bytes: u64) -> Result<(), StoreError>;

    /// Up to `limit` packs in which instances stand that take long to read ([`StoredInstance::slow`]), and how many were
    /// committed there, most first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn slow(&self, limit: usize) -> Result<Vec<(PackId, u64)>, StoreError>;

    /// So many instances in a pack take long to read: somebody has looked.
    ///
    /// # Errors
    /// [`StoreError`].
    fn set_slow(&self, pack: PackId, instances: u64) -> Result<(), StoreError>;

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
    fn damage(&self, study: &StudyUid) -> Result<HashSet<RecordAt>, StoreError>;

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
    /// [`recover`](super::recover) must follow. Does nothing when nothing failed.
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
