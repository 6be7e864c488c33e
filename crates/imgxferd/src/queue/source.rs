//! Gives exactly the files of a job to a transfer, and remembers what was given.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use imgxfer_core::ids::{InstanceHash, StudyUid};
use imgxfer_core::send::{FileSource, KnownFiles, OtherFiles, Source, SourceItem, Totals};

use super::Stamp;

/// What became of a file in one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in the manifest, or in this site's store, with this content, and had this stamp before and after it was read.
    Sent { hash: InstanceHash, stamp: Stamp },
    /// It is not meant to be sent.
    Skipped,
    /// It could not be read, or changed meanwhile.
    Failed,
    /// It is not there any more.
    Gone,
}

impl Outcome {
    /// Of a file that has no stamp.
    pub(super) fn without_stamp(path: &Path) -> Self {
        let gone = path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if gone { Self::Gone } else { Self::Failed }
    }
}

/// A file of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SentFile {
    pub(crate) path: PathBuf,
    pub(crate) outcome: Outcome,
    /// The study that it belongs to, where it was read.
    pub(crate) study: Option<StudyUid>,
    /// A derived UID stands for one of its own that cannot be used.
    pub(crate) derived: bool,
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
    known: KnownFiles,
}

impl JobSource {
    /// Begins a new try: forgets what an earlier one gave.
    pub(crate) fn new(files: Vec<(PathBuf, Stamp)>, all_files: bool, sent: Sent, known: KnownFiles) -> Self {
        sent.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let totals = Totals {
            instances: imgxfer_core::units::to_u64(files.len()),
            bytes: files.iter().map(|(_, stamp)| stamp.len).sum(),
        };
        let files: Vec<PathBuf> = files.into_iter().map(|(path, _)| path).collect();
        let other = if all_files { OtherFiles::Send } else { OtherFiles::Skip };
        Self { files: files.into_iter(), totals, other, sent, known }
    }

    fn read(&self, path: &Path) -> (SourceItem, Outcome) {
        let failed = |reason: &str| {
            let label = imgxfer_core::send::printable(path);
            (SourceItem::Failed { label, reason: reason.to_owned() }, Outcome::Failed)
        };
        let Some(before) = Stamp::at(path) else {
            if Outcome::without_stamp(path) == Outcome::Gone {
                let label = imgxfer_core::send::printable(path);
                return (SourceItem::Skipped { label, reason: "it is gone".to_owned() }, Outcome::Gone);
            }
            return failed("it is no file any more");
        };
        let mut source = FileSource::new(&[path.to_owned()], self.other).with_known(self.known.clone());
        // A DICOMDIR stands for what it refers to, which is in the job by itself.
        if !source.files().eq([path]) {
            let label = imgxfer_core::send::printable(path);
            return (SourceItem::Skipped { label, reason: "a DICOMDIR".to_owned() }, Outcome::Skipped);
        }
        let Ok(Some(item)) = source.next_item() else { return failed("it cannot be read") };
        match &item {
            SourceItem::Instance(instance) => {
                if Stamp::at(path) != Some(before) || instance.entry.len != before.len {
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
        let (study, derived) = match &item {
            SourceItem::Instance(instance) => (Some(instance.entry.study.clone()), instance.entry.has_derived_uid()),
            _ => (None, false),
        };
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(SentFile { path, outcome, study, derived });
        Ok(Some(item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgxfer_core::sim::studies::StudySpec;

    fn outcomes(files: &[PathBuf]) -> Vec<Outcome> {
        let sent = Sent::default();
        let stamp = Stamp { len: 1, modified_ns: 0, inode: 0, changed_ns: 0 };
        let files = files.iter().map(|path| (path.clone(), stamp)).collect();
        let mut source = JobSource::new(files, false, Arc::clone(&sent), KnownFiles::default());
        while source.next_item().unwrap().is_some() {}
        let sent = sent.lock().unwrap();
        sent.iter().map(|file| file.outcome.clone()).collect()
    }

    #[test]
    fn each_file_of_a_job_has_an_outcome() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let instance = StudySpec::new(1).with_size(16, 16).instance(1, 1).bytes;
        std::fs::write(path("image"), &instance).unwrap();
        std::fs::write(path("text"), "not DICOM").unwrap();
        std::os::unix::fs::symlink(path("image"), path("link")).unwrap();
        let hash = InstanceHash::from_bytes(*blake3::hash(&instance).as_bytes());
        let found = outcomes(&[path("image"), path("text"), path("link"), path("gone"), folder.path().to_owned()]);
        assert!(matches!(&found[0], Outcome::Sent { hash: found, .. } if *found == hash));
        assert_eq!(found[1..], [Outcome::Skipped, Outcome::Failed, Outcome::Gone, Outcome::Failed]);
    }
}
