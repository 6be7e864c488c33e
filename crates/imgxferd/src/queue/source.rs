//! Gives exactly the files of a job to a transfer, and remembers what was given.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use imgxfer_core::engine::{FileSource, OtherFiles, Source, SourceItem, Totals};
use imgxfer_core::ids::InstanceHash;

use super::Stamp;

/// What became of a file in one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in the manifest with this content, and had this stamp before and after it was read.
    Sent { hash: InstanceHash, stamp: Stamp },
    /// It is not meant to be sent.
    Skipped,
    /// It could not be read, or changed meanwhile.
    Failed,
}

/// A file of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SentFile {
    pub(crate) path: PathBuf,
    pub(crate) outcome: Outcome,
}

/// What one try gave to the transfer so far.
pub(crate) type Sent = Arc<Mutex<Vec<SentFile>>>;

/// The files of a job, one by one, symbolic links left out.
#[derive(Debug)]
pub(crate) struct JobSource {
    files: std::vec::IntoIter<PathBuf>,
    totals: Totals,
    other: OtherFiles,
    sent: Sent,
}

impl JobSource {
    /// Begins a new try: forgets what an earlier one gave.
    pub(crate) fn new(files: Vec<(PathBuf, Stamp)>, all_files: bool, sent: Sent) -> Self {
        sent.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let totals = Totals {
            instances: imgxfer_core::units::to_u64(files.len()),
            bytes: files.iter().map(|(_, stamp)| stamp.len).sum(),
        };
        let files: Vec<PathBuf> = files.into_iter().map(|(path, _)| path).collect();
        let other = if all_files { OtherFiles::Send } else { OtherFiles::Skip };
        Self { files: files.into_iter(), totals, other, sent }
    }

    fn read(&self, path: &Path) -> (SourceItem, Outcome) {
        let failed = |reason: &str| {
            let label = imgxfer_core::engine::printable(path);
            (SourceItem::Failed { label, reason: reason.to_owned() }, Outcome::Failed)
        };
        let stamp = |path: &Path| path.symlink_metadata().ok().as_ref().and_then(Stamp::of);
        let Some(before) = stamp(path) else { return failed("it is gone, or no longer a file") };
        let mut source = FileSource::new(&[path.to_owned()], self.other);
        let Ok(Some(item)) = source.next_item() else { return failed("it cannot be read") };
        match &item {
            SourceItem::Instance(instance) => {
                if stamp(path) != Some(before) || instance.entry.len != before.len {
                    return failed("it changed while it was being read");
                }
                let hash = instance.entry.hash;
                (item, Outcome::Sent { hash, stamp: before })
            }
            SourceItem::Skipped { .. } => (item, Outcome::Skipped),
            _ => (item, Outcome::Failed),
        }
    }
}

impl Source for JobSource {
    fn totals(&self) -> Totals {
        self.totals
    }

    fn next_item(&mut self) -> io::Result<Option<SourceItem>> {
        let Some(path) = self.files.next() else { return Ok(None) };
        let (item, outcome) = self.read(&path);
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(SentFile { path, outcome });
        Ok(Some(item))
    }
}
