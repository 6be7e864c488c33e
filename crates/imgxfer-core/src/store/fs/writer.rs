//! Appending to a pack file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::rand::GetRandomFlags;

use super::header::{PACK_HEADER_BYTES, PackHeader};
use super::{Known, Shared, dirs, io_error, lock};
use crate::clock::UnixSeconds;
use crate::ids::{PackId, PeerId};
use crate::store::{PackWriter, RecordAt, StoreError};
use crate::units::{to_u32, to_u64};
use crate::wire::record::Record;

/// Free space is asked for anew after this many bytes.
const SPACE_STEP_BYTES: u64 = 16 << 20;

/// One pack that grows.
pub(super) struct FsWriter {
    shared: Arc<Shared>,
    file: File,
    folder: PathBuf,
    id: PackId,
    len: u64,
    /// The length as the store lists it.
    listed: Arc<AtomicU64>,
    /// Bytes that may be written before the free space is asked for again.
    granted: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The pack's name is not durable yet.
    Unnamed,
    Good,
    /// An append failed: nothing more is appended; what was appended whole can still be synced.
    Closed {
        named: bool,
    },
    /// A sync failed: the kernel may have dropped what it could not write and forget that it did.
    Poisoned,
}

impl fmt::Debug for FsWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, len, state, .. } = self;
        f.debug_struct("FsWriter").field("id", id).field("len", len).field("state", state).finish_non_exhaustive()
    }
}

impl FsWriter {
    pub(super) fn create(shared: &Arc<Shared>, owner: PeerId) -> Result<Self, StoreError> {
        shared.refuse_if_read_only()?;
        shared.space.require(SPACE_STEP_BYTES)?;
        let id = random_id().map_err(|e| io_error("draw a random name", e))?;
        let header = PackHeader { owner, id, created: UnixSeconds::now() };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(shared.folder.pack_path(id))
            .map_err(|e| io_error("create a pack", e))?;
        if let Err(e) = file.write_all_at(&header.encode(), 0) {
            // When this fails too, the next start removes it.
            drop(std::fs::remove_file(shared.folder.pack_path(id)));
            return Err(io_error("write to a pack", e));
        }
        let len = to_u64(PACK_HEADER_BYTES);
        let listed = Arc::new(AtomicU64::new(len));
        let known = Known { owner, created: header.created, len: Arc::clone(&listed) };
        drop(lock(&shared.packs).insert(id, known));
        Ok(Self {
            shared: Arc::clone(shared),
            file,
            folder: shared.folder.pack_folder(id),
            id,
            len,
            listed,
            granted: SPACE_STEP_BYTES,
            state: State::Unnamed,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let len = to_u64(bytes.len());
        if self.granted < len {
            self.shared.space.require(SPACE_STEP_BYTES.max(len))?;
            self.granted = SPACE_STEP_BYTES.max(len);
        }
        self.file.write_all_at(bytes, self.len).map_err(|e| io_error("write to a pack", e))?;
        self.granted -= len;
        Ok(())
    }

    fn sync_all(&self, named: bool) -> io::Result<()> {
        self.file.sync_data()?;
        if named { Ok(()) } else { dirs::sync(&self.folder) }
    }
}

impl PackWriter for FsWriter {
    fn id(&self) -> PackId {
        self.id
    }

    fn append(&mut self, record: &Record) -> Result<RecordAt, StoreError> {
        let named = match self.state {
            State::Unnamed => false,
            State::Good => true,
            State::Closed { .. } | State::Poisoned => return Err(closed()),
        };
        let bytes = record.bytes();
        if let Err(e) = self.write(bytes) {
            self.state = State::Closed { named };
            return Err(e);
        }
        let at = RecordAt { pack: self.id, offset: self.len, len: to_u32(bytes.len()) };
        self.len += u64::from(at.len);
        self.listed.store(self.len, Ordering::Release);
        Ok(at)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let (named, next) = match self.state {
            State::Unnamed => (false, State::Good),
            State::Good => (true, State::Good),
            State::Closed { named } => (named, State::Closed { named: true }),
            State::Poisoned => return Err(closed()),
        };
        match self.sync_all(named) {
            Ok(()) => {
                self.state = next;
                Ok(())
            }
            Err(e) => {
                self.state = State::Poisoned;
                Err(io_error("sync a pack", e))
            }
        }
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn is_empty(&self) -> bool {
        self.len == to_u64(PACK_HEADER_BYTES)
    }
}

/// The answer of a pack that failed before.
fn closed() -> StoreError {
    StoreError::Io { what: "go on with a pack that failed before", source: io::ErrorKind::BrokenPipe.into() }
}

fn random_id() -> io::Result<PackId> {
    let mut bytes = [0u8; PackId::LEN];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(PackId::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::CodecId;
    use crate::manifest::ChunkClass;
    use crate::store::fs::{FsOptions, open};
    use crate::wire::record::RecordChunk;

    /// A writer whose every write finds no space and whose every sync fails.
    fn on_a_bad_device(folder: &tempfile::TempDir) -> FsWriter {
        let options = FsOptions { reserve_bytes: Some(0), ..FsOptions::default() };
        let shared = Arc::new(open::open(folder.path(), options).unwrap());
        let mut writer = FsWriter::create(&shared, PeerId::from_bytes([1; 32])).unwrap();
        writer.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        writer
    }

    fn record() -> Record {
        let chunk = RecordChunk { id: crate::ids::ChunkId::of(b"x"), len: 1 };
        Record::encode(CodecId::STORE, ChunkClass::Opaque, &[chunk], b"x")
    }

    #[test]
    fn no_space_closes_the_pack() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = on_a_bad_device(&folder);
        assert!(matches!(writer.append(&record()), Err(StoreError::Full { .. })));
        assert_eq!(writer.state, State::Closed { named: false });
        writer.file = OpenOptions::new().write(true).open(writer.shared.folder.pack_path(writer.id)).unwrap();
        assert!(matches!(writer.append(&record()), Err(StoreError::Io { .. })), "also when there is space again");
        writer.sync().unwrap();
        assert!(writer.is_empty());
    }

    #[test]
    fn a_failed_sync_is_never_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = on_a_bad_device(&folder);
        assert!(matches!(writer.sync(), Err(StoreError::Io { what: "sync a pack", .. })));
        writer.file = OpenOptions::new().write(true).open(writer.shared.folder.pack_path(writer.id)).unwrap();
        assert!(writer.sync().is_err(), "also when the medium would work again");
        assert!(writer.append(&record()).is_err());
    }
}
