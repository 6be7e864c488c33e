//! A file on its way to its name.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

const PREFIX: &str = ".imgxfer-";
const ENDING: &str = ".part";
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP);

/// A file under a name that says it is not whole; removed when dropped, unless it was given its name.
#[derive(Debug)]
pub(super) struct Temp {
    dir: Arc<OwnedFd>,
    name: String,
    file: File,
    kept: bool,
}

impl Temp {
    pub(super) fn create(dir: &Arc<OwnedFd>) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let name = format!("{PREFIX}{}-{}{ENDING}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let file = match rustix::fs::openat(dir.as_fd(), &name, flags, FILE_MODE) {
                Ok(file) => File::from(file),
                // Left by a process that had the same number.
                Err(Errno::EXIST) => continue,
                Err(e) => return Err(e.into()),
            };
            // Held while the file is being written: tells another process that it is no leftover.
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Removed as a leftover before it was locked.
                Ok(()) if file.metadata()?.nlink() == 0 => {}
                Ok(()) => return Ok(Self { dir: Arc::clone(dir), name, file, kept: false }),
                // Another process is just about to remove what it takes for a leftover.
                Err(Errno::WOULDBLOCK) => {}
                // A file system without locks: nobody cleans up there either.
                Err(_) => return Ok(Self { dir: Arc::clone(dir), name, file, kept: false }),
            }
        }
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Gives the file its name; hands it back when something has that name already.
    pub(super) fn keep_as(mut self, name: &str) -> io::Result<Option<Self>> {
        let dir = self.dir.as_fd();
        match rustix::fs::renameat_with(dir, &self.name, dir, name, RenameFlags::NOREPLACE) {
            Ok(()) => {
                self.kept = true;
                return Ok(None);
            }
            Err(Errno::EXIST) => return Ok(Some(self)),
            // The file system has no such rename: a link does not replace either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e.into()),
        }
        match rustix::fs::linkat(dir, &self.name, dir, name, AtFlags::empty()) {
            Ok(()) => Ok(None),
            Err(Errno::EXIST) => Ok(Some(self)),
            Err(e) => Err(e.into()),
        }
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.kept {
            // When this fails the next start removes it.
            let _: Result<(), _> = rustix::fs::unlinkat(self.dir.as_fd(), &self.name, AtFlags::empty());
        }
    }
}

/// Removes what killed processes left in a folder. Files that a living process writes are locked and stay.
pub(super) fn clean(dir: &OwnedFd) -> io::Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if !(name.starts_with(PREFIX) && name.ends_with(ENDING)) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(dir, name, flags, Mode::empty()) else { continue };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
        }
    }
    Ok(())
}
