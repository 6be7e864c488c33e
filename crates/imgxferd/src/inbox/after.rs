//! What happens to files once they are committed, at the other end or in this site's own store, and only then.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use imgxfer_core::ids::InstanceHash;
use imgxfer_core::store::FileBytes;

use super::whole;
use crate::config::{After, Inbox};
use crate::files::sync_folder;
use crate::queue::{FileState, JobFile, Queue, QueueError, Stamp};

/// How many files of a job met which end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) moved: u64,
    pub(super) deleted: u64,
    /// They stay, since they are not what was committed any more, or may grow.
    pub(super) kept: u64,
    /// Somebody else was faster.
    pub(super) gone: u64,
    /// They stay to be done.
    pub(super) left: u64,
}

impl Ends {
    /// Whether anything was decided about any file.
    pub(super) const fn is_something(self) -> bool {
        self.moved + self.deleted + self.kept + self.gone > 0
    }
}

/// Applies the inbox's rule to what a job has committed. Blocks. A file that has changed since it was sent
/// stays where it is and is sent again. What fails stays to be done. Counts nothing where the rule is to keep.
pub(super) fn apply(queue: &Queue, inbox: &Inbox, job: i64) -> Result<Ends, QueueError> {
    let mut ends = Ends::default();
    for file in queue.files(job)? {
        if file.state != FileState::Committed {
            continue;
        }
        let was_there = file.path.symlink_metadata().is_ok();
        let state = match &inbox.after {
            After::Keep => Ok(FileState::Kept),
            After::Move(folder) => move_away(&file, &inbox.path, folder),
            After::Delete => delete(&file),
        };
        match state {
            Ok(state) => {
                if state == FileState::Changed {
                    tracing::warn!(job, "a file has changed since it was sent: it stays, and is sent again");
                }
                queue.settle(job, &file.path, state)?;
                match state {
                    FileState::Moved | FileState::Deleted if !was_there => ends.gone += 1,
                    FileState::Moved => ends.moved += 1,
                    FileState::Deleted => ends.deleted += 1,
                    FileState::Changed | FileState::Unfinished => ends.kept += 1,
                    _ => {}
                }
            }
            Err(_) => ends.left += 1,
        }
    }
    Ok(ends)
}

/// What a file that was sent is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Now {
    /// Byte for byte what was sent, and nobody writes to it.
    Sent,
    /// Something else, which is to be sent.
    Changed,
    /// What was sent, which ends before its elements do: the rest may come.
    Unfinished,
}

fn now(file: &JobFile) -> io::Result<Now> {
    if whole::has_writer(&file.path) {
        // It is asked again at the next look.
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    if !is_what_was_sent(file)? {
        return Ok(Now::Changed);
    }
    if whole::is_unfinished(&FileBytes::open_no_follow(&file.path)?)? {
        return Ok(Now::Unfinished);
    }
    // Right before the deed once more: it may have been opened while it was read.
    if whole::has_writer(&file.path) {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    Ok(if Stamp::of(&file.path.symlink_metadata()?) == Some(file.stamp) { Now::Sent } else { Now::Changed })
}

/// Whether a file is byte for byte what was sent.
fn is_what_was_sent(file: &JobFile) -> io::Result<bool> {
    let Some(hash) = file.hash else { return Ok(false) };
    if Stamp::of(&file.path.symlink_metadata()?) != Some(file.stamp) {
        return Ok(false);
    }
    let no_follow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut opened = OpenOptions::new().read(true).custom_flags(no_follow.bits().cast_signed()).open(&file.path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buf = vec![0; 256 << 10];
    loop {
        match opened.read(&mut buf)? {
            0 => break,
            n => hasher.update(&buf[..n]),
        };
    }
    let same = InstanceHash::from_bytes(*hasher.finalize().as_bytes()) == hash;
    Ok(same && Stamp::of(&opened.metadata()?) == Some(file.stamp))
}

fn delete(file: &JobFile) -> io::Result<FileState> {
    match now(file) {
        Ok(Now::Sent) => {}
        Ok(Now::Changed) => return Ok(FileState::Changed),
        Ok(Now::Unfinished) => return Ok(FileState::Unfinished),
        // Somebody was faster, or a crash came between the deed and its record.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FileState::Deleted),
        Err(error) => return Err(error),
    }
    std::fs::remove_file(&file.path)?;
    Ok(FileState::Deleted)
}

fn move_away(file: &JobFile, inbox: &Path, folder: &Path) -> io::Result<FileState> {
    match now(file) {
        Ok(Now::Sent) => {}
        Ok(Now::Changed) => return Ok(FileState::Changed),
        Ok(Now::Unfinished) => return Ok(FileState::Unfinished),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FileState::Moved),
        Err(error) => return Err(error),
    }
    let relative = file.path.strip_prefix(inbox).map_err(|_| io::ErrorKind::InvalidInput)?;
    let wanted = folder.join(relative);
    let parent = wanted.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent)?;
    let target = free_name(&wanted)?;
    // A hard link never replaces what is there.
    match std::fs::hard_link(&file.path, &target) {
        Ok(()) => {}
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::CrossesDevices | io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
            ) =>
        {
            copy(&file.path, &target)?;
        }
        Err(error) => return Err(error),
    }
    sync_folder(parent)?;
    std::fs::remove_file(&file.path)?;
    Ok(FileState::Moved)
}

/// The name itself, or with the first number behind it that is free.
fn free_name(wanted: &Path) -> io::Result<PathBuf> {
    for number in 0..10_000 {
        let mut name = wanted.file_name().unwrap_or_default().to_owned();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        let path = wanted.with_file_name(name);
        if path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(path);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// To another file system: durable before the original goes.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o640).open(to)?;
    let copied = io::copy(&mut source, &mut target).and_then(|_| target.sync_all());
    if copied.is_err() {
        // The half copy is ours, made a moment ago under a name that was free.
        drop(std::fs::remove_file(to));
    }
    copied
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(path: &Path, content: &[u8]) -> JobFile {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        JobFile {
            path: path.to_owned(),
            stamp: Stamp::of(&path.symlink_metadata().unwrap()).unwrap(),
            hash: Some(InstanceHash::from_bytes(*blake3::hash(content).as_bytes())),
            state: FileState::Committed,
        }
    }

    #[test]
    fn files_move_with_their_folders_and_replace_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (inbox, sent) = (root.path().join("in"), root.path().join("sent"));
        let file = committed(&inbox.join("x/1.dcm"), b"one");
        assert_eq!(move_away(&file, &inbox, &sent).unwrap(), FileState::Moved);
        let again = committed(&inbox.join("x/1.dcm"), b"two");
        assert_eq!(move_away(&again, &inbox, &sent).unwrap(), FileState::Moved);
        assert_eq!(std::fs::read(sent.join("x/1.dcm")).unwrap(), b"one");
        assert_eq!(std::fs::read(sent.join("x/1.dcm.1")).unwrap(), b"two");
        assert!(!file.path.exists());
        assert_eq!(move_away(&again, &inbox, &sent).unwrap(), FileState::Moved, "done already");
    }

    #[test]
    fn what_becomes_of_files_is_counted() {
        use crate::queue::{NewJob, Outcome, SentFile};
        let root = tempfile::tempdir().unwrap();
        let queue = Queue::open(&root.path().join("queue.db")).unwrap();
        let inbox = root.path().join("in");
        let files = ["1", "2", "3", "4"].map(|name| committed(&inbox.join(name), b"one"));
        let job = NewJob::new("self", files.iter().map(|file| (file.path.clone(), file.stamp)).collect());
        let id = queue.push(&job).unwrap();
        let sent = files.each_ref().map(|file| {
            let outcome = Outcome::Sent { hash: file.hash.unwrap(), stamp: file.stamp };
            SentFile { path: file.path.clone(), outcome, study: None, derived: false }
        });
        queue.complete_here(id, &sent, 4).unwrap();
        std::fs::remove_file(&files[1].path).unwrap();
        std::fs::write(&files[2].path, b"longer").unwrap();
        let writer = OpenOptions::new().append(true).open(&files[3].path).unwrap();
        let rule = Inbox::into_store(&inbox).with_after(After::Delete);
        let ends = apply(&queue, &rule, id).unwrap();
        assert_eq!(ends, Ends { deleted: 1, gone: 1, kept: 1, left: 1, ..Ends::default() });
        assert!(!apply(&queue, &rule, id).unwrap().is_something(), "nothing new");
        drop(writer);
        assert_eq!(apply(&queue, &rule, id).unwrap(), Ends { deleted: 1, ..Ends::default() });
        assert_eq!(apply(&queue, &rule, id).unwrap(), Ends::default());
    }

    #[test]
    fn only_what_was_sent_is_deleted() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("1.dcm");
        let mut file = committed(&path, b"one");
        file.hash = Some(InstanceHash::from_bytes([0; 32]));
        assert_eq!(delete(&file).unwrap(), FileState::Changed, "same stamp, other bytes");
        let file = committed(&path, b"one");
        let longer = committed(&path, b"longer");
        assert_eq!(delete(&file).unwrap(), FileState::Changed);
        assert!(path.exists());
        assert_eq!(delete(&longer).unwrap(), FileState::Deleted);
        assert!(!path.exists());
        assert_eq!(delete(&longer).unwrap(), FileState::Deleted);
    }

    #[test]
    fn a_beginning_or_an_open_file_is_not_deleted() {
        let root = tempfile::tempdir().unwrap();
        let whole = imgxfer_core::sim::studies::StudySpec::new(1).with_size(16, 16).instance(1, 1).bytes;
        let path = root.path().join("1.dcm");
        let file = committed(&path, &whole[..whole.len() - 100]);
        assert_eq!(delete(&file).unwrap(), FileState::Unfinished);
        let file = committed(&path, &whole);
        let writer = OpenOptions::new().append(true).open(&path).unwrap();
        assert_eq!(delete(&file).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(writer);
        assert_eq!(delete(&file).unwrap(), FileState::Deleted);
    }

    #[test]
    fn a_file_in_anothers_place_with_its_length_and_time_is_not_what_was_sent() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("1.dcm");
        let file = committed(&path, b"one");
        let modified = path.metadata().unwrap().modified().unwrap();
        let other = committed(&root.path().join("2.dcm"), b"two");
        File::options().append(true).open(&other.path).unwrap().set_modified(modified).unwrap();
        std::fs::rename(&other.path, &path).unwrap();
        assert_ne!(Stamp::of(&path.symlink_metadata().unwrap()), Some(file.stamp));
    }

    #[test]
    fn a_link_put_in_the_files_place_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let other = committed(&root.path().join("other"), b"one");
        let path = root.path().join("1.dcm");
        let file = committed(&path, b"one");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&other.path, &path).unwrap();
        assert_eq!(delete(&file).unwrap(), FileState::Changed);
        assert!(other.path.exists());
    }
}
