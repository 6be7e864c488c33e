//! Packs as files in a folder.
//!
//! Layout under the store's folder: `lock` (held by the one process that writes), and
//! `packs/ab/<pack id in hexadecimal>.pack`, where `ab` are the first two digits of the id. A pack is a
//! header ([`PackHeader`]) and records, one behind the other. Names come from the store's own random
//! ids, never from a peer. `docs/store-format.md` has the bytes and the order in which things are synced.

pub(super) mod dirs;
mod file;
mod header;
mod open;
mod space;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::UnixSeconds;
use crate::ids::{PackId, PeerId};
use crate::store::walk::{Walk, read_in};
use crate::store::{PackInfo, PackWriter, RecordAt, RecordStore, StoreError};
use crate::units::to_u64;
use crate::wire::buffers::Buffers;
use crate::wire::record::{Record, RecordHeader};

use dirs::Folder;
#[cfg(feature = "quic")]
pub(crate) use file::FileState;
pub use file::{FileBytes, OpenError};
pub use header::{PACK_HEADER_BYTES, PACK_MAGIC, PACK_VERSION, PackHeader, PackHeaderError};
use space::Space;

/// How [`FsRecords`] uses its folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FsOptions {
    /// Bytes kept free on the file system: above it the store is full. `None`, the default, keeps the
    /// greater of 64 MiB and 1 %. Keeping back less risks the index, which needs room too.
    pub reserve_bytes: Option<u64>,
    /// Opens without the lock and changes nothing: for checking and reading beside a running daemon.
    pub read_only: bool,
}

/// A [`RecordStore`] in a folder. One process at a time may open it for writing.
///
/// Memory: about 100 bytes for each pack, up to 64 open files, and 8 MiB for reading.
pub struct FsRecords {
    shared: Arc<Shared>,
}

impl fmt::Debug for FsRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packs = lock(&self.shared.packs).len();
        f.debug_struct("FsRecords").field("folder", &self.shared.folder).field("packs", &packs).finish_non_exhaustive()
    }
}

struct Shared {
    folder: Folder,
    space: Space,
    read_only: bool,
    packs: Mutex<HashMap<PackId, Known>>,
    /// Most recently used first.
    open: Mutex<Vec<(PackId, Arc<FileBytes>)>>,
    /// What records are read into.
    buffers: Buffers,
    /// Held while the store is open.
    _lock: Option<File>,
}

/// What is known of a pack without opening it.
#[derive(Debug, Clone)]
struct Known {
    owner: PeerId,
    created: UnixSeconds,
    len: Arc<AtomicU64>,
}

/// Buffers kept for the next records to be read: as many as are given up at once.
const BUFFERS_KEPT_MAX: usize = 8;
/// Files kept open for reading.
const OPEN_FILES_MAX: usize = 64;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An I/O error at `what`, where a full disk is told apart.
fn io_error(what: &'static str, source: io::Error) -> StoreError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { free: 0 },
        _ => StoreError::Io { what, source },
    }
}

impl FsRecords {
    /// Opens the store in `folder`, making it when it is not there, and removes packs that never came
    /// to hold a header. Reads the header of each pack and no record.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it open for writing, [`StoreError::Version`]
    /// when a newer program wrote it, [`StoreError::Io`].
    pub fn open(folder: &Path, options: FsOptions) -> Result<Self, StoreError> {
        open::open(folder, options).map(|shared| Self { shared: Arc::new(shared) })
    }

    /// The file of a pack, from those kept open or opened now.
    fn file(&self, pack: PackId) -> Result<Arc<FileBytes>, StoreError> {
        let mut open = lock(&self.shared.open);
        if let Some(place) = open.iter().position(|(id, _)| *id == pack) {
            let found = open.remove(place);
            let file = Arc::clone(&found.1);
            open.insert(0, found);
            return Ok(file);
        }
        let file = match FileBytes::open_no_follow(&self.shared.folder.pack_path(pack)) {
            Ok(file) => Arc::new(file),
            Err(OpenError::Io(e)) if e.kind() == io::ErrorKind::NotFound => return Err(StoreError::NoSuchPack(pack)),
            Err(e) => return Err(io_error("open a pack", e.into())),
        };
        open.insert(0, (pack, Arc::clone(&file)));
        open.truncate(OPEN_FILES_MAX);
        Ok(file)
    }
}

impl RecordStore for FsRecords {
    fn create_pack(&self, owner: PeerId) -> Result<Box<dyn PackWriter>, StoreError> {
        Ok(Box::new(writer::FsWriter::create(&self.shared, owner)?))
    }

    fn read(&self, at: RecordAt) -> Result<Record, StoreError> {
        let file = self.file(at.pack)?;
        let live = file.now().map_err(|e| io_error("read a pack", e))?;
        read_in(&live, at, &self.shared.buffers, Record::decode)
    }

    fn read_to_prove(&self, at: RecordAt) -> Result<Record, StoreError> {
        let file = self.file(at.pack)?;
        let live = file.now().map_err(|e| io_error("read a pack", e))?;
        read_in(&live, at, &self.shared.buffers, Record::decode_unchecked)
    }

    fn packs(&self) -> Result<Vec<PackInfo>, StoreError> {
        let packs = lock(&self.shared.packs);
        let info = |(id, known): (&PackId, &Known)| PackInfo {
            id: *id,
            owner: known.owner,
            len: known.len.load(Ordering::Acquire),
            created: known.created,
        };
        Ok(packs.iter().map(info).collect())
    }

    fn scan(
        &self,
        pack: PackId,
        check: bool,
        visit: &mut dyn FnMut(RecordAt, &RecordHeader),
    ) -> Result<u64, StoreError> {
        let file = self.file(pack)?;
        let live = file.now().map_err(|e| io_error("read a pack", e))?;
        match PackHeader::read(&live) {
            Ok(header) if header.id == pack => {}
            Ok(_) => return Err(StoreError::Damaged { what: "the header names another pack", pack, offset: 0 }),
            Err(PackHeaderError::Version { found }) => {
                return Err(StoreError::Version { found, known: PACK_VERSION });
            }
            Err(PackHeaderError::Read(e)) => return Err(io_error("read a pack", e)),
            Err(_) => return Err(StoreError::Damaged { what: "the pack's header", pack, offset: 0 }),
        }
        Walk { source: &live, pack, start: to_u64(PACK_HEADER_BYTES), check }.run(visit)
    }

    fn delete(&self, pack: PackId) -> Result<(), StoreError> {
        self.shared.refuse_if_read_only()?;
        lock(&self.shared.open).retain(|(id, _)| *id != pack);
        match std::fs::remove_file(self.shared.folder.pack_path(pack)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("remove a pack", e)),
            _ => {
                drop(lock(&self.shared.packs).remove(&pack));
                Ok(())
            }
        }
    }

    fn space_left(&self) -> Option<u64> {
        self.shared.space.left().ok()
    }
}

impl Shared {
    fn refuse_if_read_only(&self) -> Result<(), StoreError> {
        if self.read_only {
            let source = io::ErrorKind::ReadOnlyFilesystem.into();
            return Err(StoreError::Io { what: "write to a store that was opened for reading alone", source });
        }
        Ok(())
    }
}
