//! Jobs and their files, as the queue shows and keeps them.

use std::path::{Path, PathBuf};

use imgxfer_core::ids::InstanceHash;
use imgxfer_core::priority::Priority;
use serde::Serialize;

/// What is compared to see whether a file is still the same. The inode and the time of its change tell what
/// length and time alone do not: a file put in another's place, or written anew with its time set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Length in bytes.
    pub len: u64,
    /// Time of change, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Number of the inode.
    pub inode: u64,
    /// Time of change of the inode, nanoseconds since 1970.
    pub changed_ns: i64,
}

impl Stamp {
    /// The stamp of a regular file; `None` for anything else, symbolic links included.
    #[must_use]
    pub fn of(metadata: &std::fs::Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let ns = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        metadata.is_file().then(|| Self {
            len: metadata.len(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            inode: metadata.ino(),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// The stamp of what stands at a path now, if that is a regular file.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        path.symlink_metadata().ok().as_ref().and_then(Self::of)
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum JobState {
    /// Waits for its turn.
    Queued,
    /// Is being sent.
    Running,
    /// Will be tried again after a while.
    Waiting,
    /// Committed at the peer, or in this site's store.
    Done,
    /// Needs an operator.
    Failed,
    /// An operator did not want it to go on; its files stay as they are.
    Cancelled,
    /// It failed or was cancelled, and an operator is done with it.
    Dismissed,
}

impl JobState {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Queued, "queued"),
        (Self::Running, "running"),
        (Self::Waiting, "waiting"),
        (Self::Done, "done"),
        (Self::Failed, "failed"),
        (Self::Cancelled, "cancelled"),
        (Self::Dismissed, "dismissed"),
    ];

    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("failed", |(_, name)| name)
    }

    pub(super) fn from_name(name: &str) -> Self {
        Self::ALL.iter().find(|(_, other)| *other == name).map_or(Self::Failed, |(state, _)| *state)
    }
}

/// Where a file of a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FileState {
    /// Not committed yet.
    Waiting,
    /// Committed; what the inbox does with it is not done yet.
    Committed,
    /// Committed, and stays.
    Kept,
    /// Committed and moved.
    Moved,
    /// Committed and deleted.
    Deleted,
    /// Committed as it was then; it has changed since, so it stays.
    Changed,
    /// Committed as it was then, which ends before its elements do: it stays.
    Unfinished,
    /// Not DICOM; left alone.
    Skipped,
    /// It could not be sent in the last try.
    Failed,
    /// It had vanished before it was sent, and is no part of the job any more.
    Gone,
}

impl FileState {
    const ALL: [(Self, &'static str); 10] = [
        (Self::Waiting, "waiting"),
        (Self::Committed, "committed"),
        (Self::Kept, "kept"),
        (Self::Moved, "moved"),
        (Self::Deleted, "deleted"),
        (Self::Changed, "changed"),
        (Self::Unfinished, "unfinished"),
        (Self::Skipped, "skipped"),
        (Self::Failed, "failed"),
        (Self::Gone, "gone"),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("failed", |(_, name)| name)
    }

    pub(super) fn from_name(name: &str) -> Self {
        Self::ALL.iter().find(|(_, other)| *other == name).map_or(Self::Failed, |(state, _)| *state)
    }
}

/// A job to be put into the queue.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NewJob {
    /// Name of the peer, `self` for this site's own store.
    pub peer: String,
    /// Priority.
    pub priority: Priority,
    /// Whether files that are not DICOM are sent, as opaque bytes.
    pub all_files: bool,
    /// The inbox that it comes from, which decides what happens to the files afterwards.
    pub inbox: Option<PathBuf>,
    /// The files.
    pub files: Vec<(PathBuf, Stamp)>,
}

impl NewJob {
    /// A job of routine priority that leaves its files alone.
    #[must_use]
    pub fn new(peer: &str, files: Vec<(PathBuf, Stamp)>) -> Self {
        Self { peer: peer.to_owned(), priority: Priority::Routine, all_files: false, inbox: None, files }
    }

    /// Sets the priority.
    #[must_use]
    pub const fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }
}

/// A job as it is shown. Holds no path and nothing of a patient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Job {
    /// Its number.
    pub id: i64,
    /// Name of the peer, `self` for this site's own store.
    pub peer: String,
    /// Priority.
    pub priority: Priority,
    /// Where it stands.
    pub state: JobState,
    /// Files in it.
    pub files: u64,
    /// Bytes in them when it was made.
    pub bytes: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// What went wrong last, in fixed words.
    pub last_error: Option<String>,
    /// When it was made, seconds since 1970.
    pub created: i64,
    /// When it was done.
    pub finished: Option<i64>,
    /// Root of the manifest that was committed at a peer, hexadecimal.
    pub root: Option<String>,
    /// Instances that were committed.
    pub instances: Option<u64>,
    /// Files that had vanished before they were sent: the job is done without them.
    pub gone: u64,
    /// When it is tried again, seconds since 1970; of jobs that wait.
    pub next_try: Option<i64>,
    #[serde(skip)]
    pub(crate) all_files: bool,
    #[serde(skip)]
    pub(crate) inbox: Option<PathBuf>,
}

/// One file of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobFile {
    pub(crate) path: PathBuf,
    pub(crate) stamp: Stamp,
    pub(crate) hash: Option<InstanceHash>,
    pub(crate) state: FileState,
}

/// How many jobs of a peer stand where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
#[non_exhaustive]
pub struct QueueSummary {
    /// Name of the peer, `self` for this site's own store.
    pub peer: String,
    /// Jobs that are queued, running or waiting.
    pub open: u64,
    /// Jobs that need an operator.
    pub failed: u64,
    /// Jobs that are done and still remembered.
    pub done: u64,
    /// Age of the oldest open job, seconds.
    pub oldest_age_seconds: u64,
}
