//! Packs as files in a folder.
//!
//! Layout under the store's folder: `lock` (held by the one process that writes), `store` (the store's id), and
//! `packs/ab/<pack id in hexadecimal>.pack`, where `ab` are the first two digits of the id. A pack is a
//! header ([`PackHeader`]), records and notes, one behind the other, and once it is ended a trailer. Names come from the store's own random
//! ids, never from a peer. `docs/store-format.md` has the bytes and the order in which things are synced.

pub(super) mod dirs;
mod file;
mod header;
mod open;
mod pack;
mod space;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use crate::dicom::ReadAt;
use crate::ids::{PackId, PeerId, StoreId};
use crate::store::walk::{Walk, read_in};
use crate::store::{PackInfo, PackWriter, RecordAt, RecordStore, StoreError, VisitNote};
use crate::sync::lock;
use crate::units::to_u64;
use crate::wire::buffers::Buffers;
use crate::wire::record::{Record, RecordHeader};

use dirs::Folder;
use file::Live;
pub use file::{FileBytes, OpenError};
#[cfg(feature = "quic")]
pub(crate) use file::{FileIdentity, FileState};
pub use header::{PACK_HEADER_BYTES, PACK_MAGIC, PACK_VERSION, PackHeader, PackHeaderError};
use pack::Pack;
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
    store: StoreId,
    /// Of the next pack.
    sequence: AtomicU64,
    space: Space,
    read_only: bool,
    packs: Mutex<HashMap<PackId, Arc<Pack>>>,
    /// Most recently used first.
    open: Mutex<Vec<(PackId, Arc<FileBytes>)>>,
    /// What records are read into.
    buffers: Buffers,
    /// Held while the store is open.
    _lock: Option<File>,
}

/// Buffers kept for the next records to be read: as many as are given up at once.
const BUFFERS_KEPT_MAX: usize = 8;
/// Files kept open for reading.
const OPEN_FILES_MAX: usize = 64;

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

    fn pack(&self, id: PackId) -> Result<Arc<Pack>, StoreError> {
        lock(&self.shared.packs).get(&id).cloned().ok_or(StoreError::NoSuchPack(id))
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

impl FsRecords {
    /// Walks over a pack as it is now.
    fn walk<T>(
        &self,
        pack: PackId,
        walk: impl FnOnce(&Live<'_>, &Walk<'_, Live<'_>>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let file = self.file(pack)?;
        let live = file.now().map_err(|e| io_error("read a pack", e))?;
        let doubt = |pack, why| {
            if let Ok(known) = self.pack(pack) {
                known.doubt(pack, why);
            }
        };
        walk(&live, &Walk { source: &live, pack, start: to_u64(PACK_HEADER_BYTES), doubt: &doubt })
    }
}

impl RecordStore for FsRecords {
    fn create_pack(&self, owner: PeerId) -> Result<Box<dyn PackWriter>, StoreError> {
        Ok(Box::new(writer::FsWriter::create(&self.shared, owner)?))
    }

    fn create_pack_to_make_room(
        &self,
        owner: PeerId,
        stands_for: Option<PackId>,
    ) -> Result<Box<dyn PackWriter>, StoreError> {
        let place = stands_for.map(|pack| self.pack(pack)).transpose()?.map(|pack| pack.sequence);
        Ok(Box::new(writer::FsWriter::create_to_make_room(&self.shared, owner, place)?))
    }

    fn create_pack_in_place_of(&self, owner: PeerId, pack: PackId) -> Result<Box<dyn PackWriter>, StoreError> {
        let place = self.pack(pack)?.sequence;
        Ok(Box::new(writer::FsWriter::create_in_place(&self.shared, owner, place)?))
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

    fn make_durable(&self, ends: &[(PackId, u64)]) -> Result<(), StoreError> {
        self.shared.refuse_if_read_only()?;
        ends.iter().try_for_each(|(id, end)| self.pack(*id)?.make_durable(&self.shared.folder.pack_path(*id), *end))
    }

    fn adopt(&self, pack: PackId) -> Result<u64, StoreError> {
        self.shared.refuse_if_read_only()?;
        self.pack(pack)?.adopt(&self.shared.folder.pack_path(pack))
    }

    fn park(&self, pack: PackId) -> Result<(), StoreError> {
        self.shared.refuse_if_read_only()?;
        self.pack(pack)?.park(&self.shared.folder.pack_path(pack))
    }

    fn packs(&self) -> Result<Vec<PackInfo>, StoreError> {
        let packs = lock(&self.shared.packs);
        let info = |(id, pack): (&PackId, &Arc<Pack>)| PackInfo {
            id: *id,
            owner: pack.owner,
            len: pack.len(),
            created: pack.created,
            sequence: pack.sequence,
        };
        Ok(packs.iter().map(info).collect())
    }

    fn scan(
        &self,
        pack: PackId,
        check: bool,
        visit: &mut dyn FnMut(RecordAt, &RecordHeader),
    ) -> Result<u64, StoreError> {
        self.walk(pack, |live, walk| {
            expect_header(live, pack)?;
            walk.scan(check, visit)
        })
    }

    // Whatever has become of the header: notes say themselves whose they are.
    fn notes(&self, pack: PackId, from: u64, visit: &mut VisitNote<'_>) -> Result<u64, StoreError> {
        self.walk(pack, |_, walk| walk.notes(from, visit))
    }

    fn list_notes(&self, pack: PackId, from: u64, visit: &mut VisitNote<'_>) -> Result<u64, StoreError> {
        self.walk(pack, |_, walk| walk.list_notes(from, visit))
    }

    fn doubt(&self, pack: PackId) -> Result<Option<&'static str>, StoreError> {
        self.walk(pack, |_, walk| Ok(walk.doubted()))
    }

    fn store_id(&self) -> StoreId {
        self.shared.store
    }

    fn delete(&self, pack: PackId) -> Result<(), StoreError> {
        self.shared.refuse_if_read_only()?;
        lock(&self.shared.open).retain(|(id, _)| *id != pack);
        match std::fs::remove_file(self.shared.folder.pack_path(pack)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error("remove a pack", e)),
            _ => drop(lock(&self.shared.packs).remove(&pack)),
        }
        dirs::sync(&self.shared.folder.pack_folder(pack)).map_err(|e| io_error("remove a pack", e))
    }

    fn space_left(&self) -> Option<u64> {
        self.shared.space.left().ok()
    }
}

/// The header of the pack that a file is named as.
fn expect_header(source: &dyn ReadAt, pack: PackId) -> Result<(), StoreError> {
    match PackHeader::read(source) {
        Ok(header) if header.id == pack => Ok(()),
        Ok(_) => Err(StoreError::Damaged { what: "the header names another pack", pack, offset: 0 }),
        Err(PackHeaderError::Version { found }) => Err(StoreError::Version { found, known: PACK_VERSION }),
        Err(PackHeaderError::Read(e)) => Err(io_error("read a pack", e)),
        Err(_) => Err(StoreError::Damaged { what: "the pack's header", pack, offset: 0 }),
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
