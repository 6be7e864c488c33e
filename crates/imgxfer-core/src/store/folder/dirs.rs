//! Folders below OUT, opened one by one so that no symbolic link is followed.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::temp;
use crate::store::fs::dirs::make_durable;

const FOLDER_MODE: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP);
const FOLDER_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Folders kept open.
const OPEN_MAX: usize = 64;

/// The folders of one sink.
#[derive(Debug)]
pub(super) struct Dirs {
    root: Arc<OwnedFd>,
    open: HashMap<Vec<String>, Arc<OwnedFd>>,
    /// Folders whose entries are not durable yet.
    unsynced: BTreeSet<Vec<String>>,
    /// Whether a sync failed: nothing is known then of what is durable.
    failed: bool,
}

impl Dirs {
    pub(super) fn open(out: &Path) -> io::Result<Self> {
        make_durable(out)?;
        let root = Arc::new(OwnedFd::from(File::open(out)?));
        Ok(Self { root, open: HashMap::new(), unsynced: BTreeSet::new(), failed: false })
    }

    /// The folder, when it is there.
    pub(super) fn find(&self, folders: &[String]) -> io::Result<Option<Arc<OwnedFd>>> {
        if let Some(known) = self.open.get(folders) {
            return Ok(Some(Arc::clone(known)));
        }
        let mut dir = Arc::clone(&self.root);
        for part in folders {
            match rustix::fs::openat(dir.as_fd(), part, FOLDER_FLAGS, Mode::empty()) {
                Ok(next) => dir = Arc::new(next),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Some(dir))
    }

    /// The folder, made when it is not there. What a killed process left in it is removed.
    pub(super) fn make(&mut self, folders: &[String]) -> io::Result<Arc<OwnedFd>> {
        if let Some(known) = self.open.get(folders) {
            return Ok(Arc::clone(known));
        }
        let mut dir = Arc::clone(&self.root);
        for (depth, part) in folders.iter().enumerate() {
            match rustix::fs::mkdirat(dir.as_fd(), part, FOLDER_MODE) {
                // One that is there may have been made by a process that was killed before it synced.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            self.unsynced.insert(folders[..depth].to_vec());
            dir = Arc::new(rustix::fs::openat(dir.as_fd(), part, FOLDER_FLAGS, Mode::empty())?);
        }
        temp::clean(&dir)?;
        if self.open.len() >= OPEN_MAX {
            self.open.clear();
        }
        self.open.insert(folders.to_vec(), Arc::clone(&dir));
        Ok(dir)
    }

    /// Remembers that a folder has a new name in it.
    pub(super) fn sync_later(&mut self, folders: &[String]) {
        if !self.unsynced.contains(folders) {
            self.unsynced.insert(folders.to_vec());
        }
    }

    /// Makes the names in all folders durable that are not. Once it has failed it fails for ever.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier sync failed"));
        }
        self.failed = true;
        for folders in std::mem::take(&mut self.unsynced) {
            let dir = self.find(&folders)?.ok_or(io::ErrorKind::NotFound)?;
            rustix::fs::fsync(dir.as_fd())?;
        }
        self.failed = false;
        Ok(())
    }
}

/// Opens a file for reading, when there is one; a symbolic link counts as none.
pub(super) fn open_file(dir: &OwnedFd, name: &str) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        // A socket or a device without a driver cannot be opened and holds nothing.
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::NODEV) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
