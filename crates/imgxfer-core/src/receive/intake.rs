//! Where a receiver puts what arrives: a store, or a folder of plain files.

use std::fmt;

use bytes::Bytes;

use crate::ids::{ManifestRoot, PageHash, StudyUid};
use crate::manifest::{InstanceAt, Page};
use crate::proto::{Lookup, Unproven, VerifyJob};
use crate::store::search::Search;
use crate::store::{CommitPace, RecordAt, StoreError, StoredInstance};
use crate::wire::record::Record;

/// An instance that has been read back and found right, not yet committed.
#[derive(Debug)]
pub struct Staged {
    /// Which instance of the transfer.
    pub at: InstanceAt,
    /// What is to be recorded.
    pub instance: StoredInstance,
}

/// Takes in one transfer. Calls block, and may come from several threads at once.
pub trait Intake: Send + Sync + fmt::Debug {
    /// A committed page, where this sender may know of it.
    ///
    /// # Errors
    /// [`StoreError`].
    fn find_page(&self, hash: &PageHash) -> Result<Option<Bytes>, StoreError>;

    /// What is there already of a page, where this sender may know of it.
    ///
    /// # Errors
    /// [`StoreError`].
    fn look_up(&self, page: &Page) -> Result<Lookup, StoreError>;

    /// Keeps a verified record.
    ///
    /// # Errors
    /// [`StoreError`].
    fn keep(&self, record: &Record) -> Result<RecordAt, StoreError>;

    /// Reads an instance back from what was kept, hashes the whole of it, and scans it: it must be the
    /// file, and the instance, that the manifest says, and one of the patient, series and instances that were `asked`
    /// for. What is asked of a study is not looked for in each of its instances: they may differ in it.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails; inside, [`Unproven`] when the instance is not what it should be, or
    /// when chunks of it are damaged here and must come again.
    fn check(&self, job: &VerifyJob, asked: &Search) -> Result<Result<Staged, Unproven>, StoreError>;

    /// Makes durable all that was kept, then records `staged` and the committed `pages`. When it
    /// returns, they survive loss of power.
    ///
    /// # Errors
    /// [`StoreError`]: none of `staged` may be taken as committed then.
    fn commit(&self, staged: Vec<Staged>, pages: Vec<(PageHash, Bytes)>) -> Result<(), StoreError>;

    /// Bytes kept since the last commit.
    fn uncommitted_bytes(&self) -> u64;

    /// How often [`commit`](Self::commit) is called.
    fn commit_pace(&self) -> CommitPace {
        CommitPace::default()
    }

    /// Every instance that was offered is committed: what was kept for another try is not needed. Before
    /// [`settle`](Self::settle).
    ///
    /// # Errors
    /// [`StoreError`].
    fn nothing_left(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Everything of the manifest `root` is settled; `complete` when whole studies are there.
    ///
    /// # Errors
    /// [`StoreError`].
    fn settle(&self, studies: &[StudyUid], root: ManifestRoot, complete: bool) -> Result<(), StoreError>;
}
