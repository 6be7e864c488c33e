//! Appending to a pack file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::rand::GetRandomFlags;

use super::header::{PACK_HEADER_BYTES, PackHeader};
use super::pack::{Pack, closed};
use super::space::Use;
use super::{Shared, io_error, lock};
use crate::clock::UnixSeconds;
use crate::ids::{PackId, PeerId};
use crate::store::trailer::Heads;
use crate::store::{PackWriter, RecordAt, StoreError};
use crate::units::{to_u32, to_u64};
use crate::wire::record::Record;

/// Free space is asked for anew after this many bytes.
const SPACE_STEP_BYTES: u64 = 16 << 20;
/// The same where there may be little.
const SCARCE_STEP_BYTES: u64 = 1 << 20;
/// A pack is full at this length, and another is begun.
const PACK_BYTES_MAX: u64 = 256 << 20;

/// One pack that grows.
pub(super) struct FsWriter {
    shared: Arc<Shared>,
    pack: Arc<Pack>,
    file: Arc<File>,
    id: PackId,
    len: u64,
    /// What its trailer will say.
    heads: Heads,
    may: Use,
    /// Bytes that may be written before the free space is asked for again.
    granted: u64,
    /// An append failed: nothing more is appended; what was appended whole can still be made durable.
    closed: bool,
}

impl fmt::Debug for FsWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, len, closed, .. } = self;
        f.debug_struct("FsWriter").field("id", id).field("len", len).field("closed", closed).finish_non_exhaustive()
    }
}

impl FsWriter {
    pub(super) fn create(shared: &Arc<Shared>, owner: PeerId) -> Result<Self, StoreError> {
        Self::begin(shared, owner, None, Use::Free)
    }

    /// One that may use half of the reserve, and stands at `place` in the order of packs.
    pub(super) fn create_to_make_room(
        shared: &Arc<Shared>,
        owner: PeerId,
        place: Option<u64>,
    ) -> Result<Self, StoreError> {
        Self::begin(shared, owner, place, Use::HalfTheReserve)
    }

    /// One that stands at `place` in the order of packs.
    pub(super) fn create_in_place(shared: &Arc<Shared>, owner: PeerId, place: u64) -> Result<Self, StoreError> {
        Self::begin(shared, owner, Some(place), Use::Free)
    }

    fn begin(shared: &Arc<Shared>, owner: PeerId, place: Option<u64>, may: Use) -> Result<Self, StoreError> {
        shared.refuse_if_read_only()?;
        let id = PackId::from_bytes(random_id().map_err(|e| io_error("draw a random name", e))?);
        let sequence = place.unwrap_or_else(|| shared.sequence.fetch_add(1, Ordering::AcqRel));
        let header = PackHeader { owner, id, created: UnixSeconds::now(), store: shared.store, sequence };
        let granted = step_of(may);
        shared.space.grant(granted, may)?;
        let path = shared.folder.pack_path(id);
        let made = create_file(&path, &header);
        let file = Arc::new(made.inspect_err(|_| shared.space.used(granted))?);
        let pack = Arc::new(Pack::begun(&header, &file));
        drop(lock(&shared.packs).insert(id, Arc::clone(&pack)));
        let len = pack.len();
        let (shared, heads) = (Arc::clone(shared), Heads::new());
        Ok(Self { shared, pack, file, id, len, heads, may, granted, closed: false })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let len = to_u64(bytes.len());
        if self.granted < len {
            let more = step_of(self.may).max(len);
            self.shared.space.grant(more, self.may)?;
            self.granted += more;
        }
        self.file.write_all_at(bytes, self.len).map_err(|e| io_error("write to a pack", e))?;
        self.granted -= len;
        self.shared.space.used(len);
        Ok(())
    }
}

/// How much is asked for at a time.
const fn step_of(may: Use) -> u64 {
    match may {
        Use::Free => SPACE_STEP_BYTES,
        Use::HalfTheReserve => SCARCE_STEP_BYTES,
    }
}

impl Drop for FsWriter {
    fn drop(&mut self) {
        self.shared.space.used(self.granted);
        self.pack.writer_gone();
    }
}

fn create_file(path: &Path, header: &PackHeader) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o640).open(path).map_err(|e| io_error("create a pack", e))?;
    if let Err(e) = file.write_all_at(&header.encode(), 0) {
        // When this fails too, the next start removes it.
        drop(std::fs::remove_file(path));
        return Err(io_error("write to a pack", e));
    }
    Ok(file)
}

impl PackWriter for FsWriter {
    fn id(&self) -> PackId {
        self.id
    }

    fn append(&mut self, record: &Record) -> Result<RecordAt, StoreError> {
        let offset = self.len;
        self.append_bytes(record.bytes())?;
        self.heads.record(record);
        Ok(RecordAt { pack: self.id, offset, len: to_u32(record.bytes().len()) })
    }

    fn note(&mut self, note: &[u8]) -> Result<u64, StoreError> {
        self.append_bytes(note)?;
        self.heads.note(note);
        Ok(self.len)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.pack.make_durable(&self.shared.folder.pack_path(self.id), self.len)
    }

    fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        self.sync()?;
        if self.closed {
            return Err(closed());
        }
        // The pack's length stays what it is: the trailer is nothing that anybody builds on.
        self.heads.trailer(self.id, self.len).map_or(Ok(()), |trailer| self.write(&trailer))
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn is_empty(&self) -> bool {
        self.len == to_u64(PACK_HEADER_BYTES)
    }

    fn is_full(&self) -> bool {
        self.len >= PACK_BYTES_MAX || self.heads.is_full()
    }
}

impl FsWriter {
    fn append_bytes(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if self.closed || self.pack.has_failed() {
            return Err(closed());
        }
        self.write(bytes).inspect_err(|_| self.closed = true)?;
        self.len += to_u64(bytes.len());
        self.pack.grown_to(self.len);
        Ok(())
    }
}

/// Bytes that nobody can guess.
pub(super) fn random_id() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::ChunkClass;
    use crate::codec::CodecId;
    use crate::store::RecordStore as _;
    use crate::store::fs::{FsOptions, FsRecords, open};
    use crate::wire::record::RecordChunk;

    fn writer(folder: &tempfile::TempDir) -> FsWriter {
        let options = FsOptions { reserve_bytes: Some(0), ..FsOptions::default() };
        let shared = Arc::new(open::open(folder.path(), options).unwrap());
        FsWriter::create(&shared, PeerId::from_bytes([1; 32])).unwrap()
    }

    fn record() -> Record {
        let chunk = RecordChunk { id: crate::ids::ChunkId::of(b"x"), len: 1 };
        Record::encode(CodecId::STORE, ChunkClass::Opaque, &[chunk], b"x")
    }

    fn full_device() -> Arc<File> {
        Arc::new(OpenOptions::new().write(true).open("/dev/full").unwrap())
    }

    #[test]
    fn no_space_closes_the_pack() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(&folder);
        let good = std::mem::replace(&mut writer.file, full_device());
        assert!(matches!(writer.append(&record()), Err(StoreError::Full { .. })));
        writer.file = good;
        assert!(matches!(writer.append(&record()), Err(StoreError::Io { .. })), "also when there is space again");
        writer.sync().unwrap();
        assert!(writer.is_empty());
    }

    #[test]
    fn a_failed_sync_is_never_tried_again_by_anybody() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(&folder);
        let path = writer.shared.folder.pack_path(writer.id);
        writer.append(&record()).unwrap();
        writer.sync().unwrap();
        let durable = writer.len();
        writer.append(&record()).unwrap();
        writer.pack.hold(full_device());
        assert!(matches!(writer.sync(), Err(StoreError::Io { what: "sync a pack", .. })));
        // The medium would work again.
        writer.pack.hold(Arc::clone(&writer.file));
        assert!(writer.sync().is_err(), "not by the writer");
        assert!(writer.append(&record()).is_err());
        assert!(writer.pack.make_durable(&path, durable + 1).is_err(), "nor by somebody who builds on it");
        writer.pack.make_durable(&path, durable).unwrap();
        assert_eq!(writer.pack.adopt(&path).unwrap(), durable, "what was durable before is offered, and no more");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), durable, "nor will the next process find more");
    }

    #[test]
    fn a_failed_sync_takes_nothing_from_a_pack_that_a_former_process_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(&folder);
        let (id, path) = (writer.id, writer.shared.folder.pack_path(writer.id));
        let at = writer.append(&record()).unwrap();
        writer.sync().unwrap();
        drop(writer);
        let whole = std::fs::read(&path).unwrap();
        let records = FsRecords::open(folder.path(), FsOptions::default()).unwrap();
        let pack = records.pack(id).unwrap();
        pack.hold(full_device());
        assert!(matches!(pack.make_durable(&path, at.offset), Err(StoreError::Io { what: "sync a pack", .. })));
        assert_eq!(std::fs::read(&path).unwrap(), whole, "what is committed in it stays");
        assert_eq!(records.read(at).unwrap(), record(), "and is read");
        assert_eq!(pack.adopt(&path).unwrap(), 0, "but nothing more is built on it");
        assert!(pack.make_durable(&path, at.offset).is_err());
    }

    #[test]
    fn what_writers_were_granted_is_not_granted_again() {
        let folder = tempfile::tempdir().unwrap();
        let first = writer(&folder);
        let shared = Arc::clone(&first.shared);
        let left = shared.space.left().unwrap();
        shared.space.grant(left.saturating_sub(2 * SPACE_STEP_BYTES), Use::Free).unwrap();
        let second = shared.space.grant(4 * SPACE_STEP_BYTES, Use::Free);
        assert!(matches!(second, Err(StoreError::Full { .. })), "the first writer's grant counts");
        drop(first);
    }
}
