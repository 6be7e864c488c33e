//! Opening a store: the lock, and what a crash may have left.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use rustix::fs::FlockOperation;

use super::dirs::{self, Folder};
use super::file::{FileBytes, OpenError};
use super::header::{PACK_HEADER_BYTES, PACK_VERSION, PackHeader, PackHeaderError};
use super::pack::Pack;
use super::space::Space;
use super::writer::random_id;
use super::{BUFFERS_KEPT_MAX, FsOptions, Shared, io_error};
use crate::clock::UnixSeconds;
use crate::dicom::ReadAt;
use crate::ids::{PackId, PeerId, StoreId};
use crate::store::StoreError;
use crate::store::trailer::{self, Ending};
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
    let mut made_by = None;
    for id in folder.packs().map_err(|e| io_error("list its packs", e))? {
        if let Some((pack, store)) = look_at(&folder, id, options.read_only)? {
            made_by = made_by.or(store);
            packs.insert(id, Arc::new(pack));
        }
    }
    let store = match store_id(&folder).map_err(|e| io_error("read its id", e))? {
        Some(store) => store,
        None => make_store_id(&folder, made_by, options.read_only).map_err(|e| io_error("write its id", e))?,
    };
    let sequence = AtomicU64::new(packs.values().map(|pack: &Arc<Pack>| pack.sequence + 1).max().unwrap_or(0));
    let (packs, open) = (Mutex::new(packs), Mutex::new(Vec::new()));
    let buffers = Buffers::new(BUFFERS_KEPT_MAX);
    Ok(Shared { folder, store, sequence, space, read_only: options.read_only, packs, open, buffers, _lock: lock })
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

/// What is known of a pack, and which store made it; `None` when it held nothing and is gone now.
fn look_at(folder: &Folder, id: PackId, read_only: bool) -> Result<Option<(Pack, Option<StoreId>)>, StoreError> {
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
    let ending = trailer::end_of(&file, id, to_u64(PACK_HEADER_BYTES));
    let len = if let Ending::Sealed(end) = ending { end } else { len };
    let pack = match PackHeader::read(&file) {
        Ok(PackHeader { owner, created, sequence, store, .. }) => {
            (Pack::found(owner, created, sequence, len), Some(store))
        }
        Err(PackHeaderError::Version { found }) => return Err(StoreError::Version { found, known: PACK_VERSION }),
        Err(PackHeaderError::Read(e)) => return Err(io_error("read a pack", e)),
        // Committed instances may stand in it: kept, reported by a check, collected when unused.
        Err(PackHeaderError::Damaged | PackHeaderError::Truncated) => {
            (Pack::found(NOBODY, modified(&path), 0, len), None)
        }
    };
    if let Ending::Doubtful(why) = ending {
        pack.0.doubt(id, why);
    }
    Ok(Some(pack))
}

/// The id that the store's folder names.
fn store_id(folder: &Folder) -> io::Result<Option<StoreId>> {
    match std::fs::read_to_string(folder.id_path()) {
        Ok(text) => Ok(StoreId::from_hex(text.trim()).ok()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// A new store draws its id; one whose packs were copied without the rest keeps the one that they carry.
fn make_store_id(folder: &Folder, made_by: Option<StoreId>, read_only: bool) -> io::Result<StoreId> {
    let id = made_by.map_or_else(|| random_id().map(StoreId::from_bytes), Ok)?;
    if !read_only {
        let path = folder.id_path();
        let unfinished = path.with_extension("new");
        std::fs::write(&unfinished, format!("{id}\n"))?;
        File::open(&unfinished)?.sync_all()?;
        std::fs::rename(&unfinished, &path)?;
        dirs::sync(folder.root())?;
    }
    Ok(id)
}

fn modified(path: &Path) -> UnixSeconds {
    UnixSeconds(std::fs::metadata(path).map_or(0, |m| m.mtime()))
}
