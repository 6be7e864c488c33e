//! Opening a store: the lock, and what a crash may have left.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use rustix::fs::FlockOperation;

use super::dirs::Folder;
use super::file::{FileBytes, OpenError};
use super::header::{PACK_HEADER_BYTES, PACK_VERSION, PackHeader, PackHeaderError};
use super::space::Space;
use super::{BUFFERS_KEPT_MAX, FsOptions, Known, Shared, io_error};
use crate::clock::UnixSeconds;
use crate::dicom::ReadAt;
use crate::ids::{PackId, PeerId};
use crate::store::StoreError;
use crate::units::to_u64;
use crate::wire::buffers::Buffers;

/// The owner under which a pack is listed whose header cannot be read: nobody, so its records are
/// never offered as spool, and it goes once nothing stands in it.
const NOBODY: PeerId = PeerId::from_bytes([0; 32]);

pub(super) fn open(root: &Path, options: FsOptions) -> Result<Shared, StoreError> {
    let folder = Folder::new(root);
    let lock = if options.read_only { None } else { Some(take(&folder)?) };
    let space = Space::new(folder.root(), options.reserve_bytes).map_err(|e| io_error("open its folder", e))?;
    let mut packs = HashMap::new();
    for id in folder.packs().map_err(|e| io_error("list its packs", e))? {
        if let Some(known) = look_at(&folder, id, options.read_only)? {
            packs.insert(id, known);
        }
    }
    let (packs, open) = (Mutex::new(packs), Mutex::new(Vec::new()));
    let buffers = Buffers::new(BUFFERS_KEPT_MAX);
    Ok(Shared { folder, space, read_only: options.read_only, packs, open, buffers, _lock: lock })
}

/// Makes the folders and takes the lock, which the kernel gives back however the process ends.
fn take(folder: &Folder) -> Result<File, StoreError> {
    folder.make().map_err(|e| io_error("make its folders", e))?;
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(folder.lock_path())
        .map_err(|e| io_error("open its lock file", e))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked),
        Err(e) => Err(io_error("lock its folder", e.into())),
    }
}

/// What is known of a pack; `None` when it held nothing and is gone now.
fn look_at(folder: &Folder, id: PackId, read_only: bool) -> Result<Option<Known>, StoreError> {
    let path = folder.pack_path(id);
    let file = match FileBytes::open_no_follow(&path) {
        Ok(file) => file,
        // Deleted by the writer while a reader looks on, or not a pack of ours.
        Err(OpenError::Kind { .. }) => return Ok(None),
        Err(OpenError::Io(e)) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error("open a pack", e.into())),
    };
    let len = file.len();
    if len < to_u64(PACK_HEADER_BYTES) {
        // Its first sync never finished, so nothing in it was acknowledged.
        if !read_only {
            std::fs::remove_file(&path).map_err(|e| io_error("remove an empty pack", e))?;
        }
        return Ok(None);
    }
    let (owner, created) = match PackHeader::read(&file) {
        Ok(header) => (header.owner, header.created),
        Err(PackHeaderError::Version { found }) => return Err(StoreError::Version { found, known: PACK_VERSION }),
        Err(PackHeaderError::Read(e)) => return Err(io_error("read a pack", e)),
        // Committed instances may stand in it: kept, reported by a check, collected when unused.
        Err(PackHeaderError::Damaged | PackHeaderError::Truncated) => (NOBODY, modified(&path)),
    };
    Ok(Some(Known { owner, created, len: Arc::new(AtomicU64::new(len)) }))
}

fn modified(path: &Path) -> UnixSeconds {
    UnixSeconds(std::fs::metadata(path).map_or(0, |m| m.mtime()))
}
