//! Packs in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::UnixSeconds;
use crate::ids::{PackId, PeerId, StoreId};
use crate::store::trailer::{self, Ending, Heads};
use crate::store::walk::{Walk, read_checked};
use crate::store::{PackInfo, PackWriter, RecordAt, RecordStore, StoreError, VisitNote};
use crate::units::to_u64;
use crate::wire::record::{Record, RecordHeader};

/// A pack is full at this length.
const PACK_BYTES_MAX: u64 = 256 << 20;

/// A [`RecordStore`] in memory. Nothing survives the process; syncing does nothing.
///
/// Clones share their content. Pack names count up from one, so tests see the same ones each time.
/// Packs have no header: the first record of each begins at offset 0.
#[derive(Clone, Default)]
pub struct MemRecords {
    shared: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    packs: BTreeMap<PackId, MemPack>,
    made: u64,
    bytes_max: Option<u64>,
}

struct MemPack {
    owner: PeerId,
    created: UnixSeconds,
    /// The pack that it stands for.
    place: PackId,
    bytes: Vec<u8>,
}

impl State {
    fn used(&self) -> u64 {
        self.packs.values().map(|p| to_u64(p.bytes.len())).sum()
    }

    fn left(&self) -> Option<u64> {
        self.bytes_max.map(|max| max.saturating_sub(self.used()))
    }
}

impl MemRecords {
    /// A store that is full when its packs together hold `bytes_max` bytes.
    #[must_use]
    pub fn with_limit(bytes_max: u64) -> Self {
        let state = State { bytes_max: Some(bytes_max), ..State::default() };
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, owner: PeerId, stands_for: Option<PackId>) -> Result<Box<dyn PackWriter>, StoreError> {
        let mut state = self.lock();
        if state.left() == Some(0) {
            return Err(StoreError::Full { free: 0 });
        }
        state.made += 1;
        let id = PackId::from_bytes(u128::from(state.made).to_be_bytes());
        let place = stands_for.and_then(|pack| Some(state.packs.get(&pack)?.place)).unwrap_or(id);
        state.packs.insert(id, MemPack { owner, created: UnixSeconds::now(), place, bytes: Vec::new() });
        Ok(Box::new(MemWriter { store: self.clone(), id, len: 0, heads: Heads::new(), failed: false }))
    }

    fn with_pack<T>(
        &self,
        pack: PackId,
        then: impl FnOnce(&MemPack) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        then(self.lock().packs.get(&pack).ok_or(StoreError::NoSuchPack(pack))?)
    }
}

#[cfg(any(test, feature = "testing"))]
impl MemRecords {
    /// Puts a pack of any bytes into the store, in place of one of that name.
    pub fn insert_pack(&self, id: PackId, owner: PeerId, created: UnixSeconds, bytes: Vec<u8>) {
        drop(self.lock().packs.insert(id, MemPack { owner, created, place: id, bytes }));
    }

    /// Changes the bytes of a pack behind the store's back. Does nothing when there is no such pack.
    pub fn edit_pack(&self, id: PackId, edit: impl FnOnce(&mut Vec<u8>)) {
        if let Some(pack) = self.lock().packs.get_mut(&id) {
            edit(&mut pack.bytes);
        }
    }
}

impl fmt::Debug for MemRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("MemRecords").field("packs", &state.packs.len()).field("bytes", &state.used()).finish()
    }
}

impl RecordStore for MemRecords {
    fn create_pack(&self, owner: PeerId) -> Result<Box<dyn PackWriter>, StoreError> {
        self.begin(owner, None)
    }

    fn create_pack_to_make_room(
        &self,
        owner: PeerId,
        stands_for: Option<PackId>,
    ) -> Result<Box<dyn PackWriter>, StoreError> {
        self.begin(owner, stands_for)
    }

    fn create_pack_in_place_of(&self, owner: PeerId, pack: PackId) -> Result<Box<dyn PackWriter>, StoreError> {
        self.begin(owner, Some(pack))
    }

    fn read(&self, at: RecordAt) -> Result<Record, StoreError> {
        self.with_pack(at.pack, |pack| read_checked(pack.bytes.as_slice(), at))
    }

    fn make_durable(&self, ends: &[(PackId, u64)]) -> Result<(), StoreError> {
        ends.iter().try_for_each(|(pack, _)| self.with_pack(*pack, |_| Ok(())))
    }

    fn adopt(&self, pack: PackId) -> Result<u64, StoreError> {
        self.with_pack(pack, |found| Ok(appended(pack, &found.bytes)))
    }

    fn park(&self, _: PackId) -> Result<(), StoreError> {
        Ok(())
    }

    fn packs(&self) -> Result<Vec<PackInfo>, StoreError> {
        let info = |(id, pack): (&PackId, &MemPack)| PackInfo {
            id: *id,
            owner: pack.owner,
            len: appended(*id, &pack.bytes),
            created: pack.created,
            // Names count up.
            sequence: u64::try_from(u128::from_be_bytes(*pack.place.as_bytes())).unwrap_or(u64::MAX),
        };
        Ok(self.lock().packs.iter().map(info).collect())
    }

    fn scan(
        &self,
        pack: PackId,
        check: bool,
        visit: &mut dyn FnMut(RecordAt, &RecordHeader),
    ) -> Result<u64, StoreError> {
        // A copy, so that `visit` may use the store.
        let bytes = self.with_pack(pack, |p| Ok(p.bytes.clone()))?;
        walk(&bytes, pack).scan(check, visit)
    }

    fn notes(&self, pack: PackId, from: u64, visit: &mut VisitNote<'_>) -> Result<u64, StoreError> {
        let bytes = self.with_pack(pack, |p| Ok(p.bytes.clone()))?;
        walk(&bytes, pack).notes(from, visit)
    }

    fn list_notes(&self, pack: PackId, from: u64, visit: &mut VisitNote<'_>) -> Result<u64, StoreError> {
        let bytes = self.with_pack(pack, |p| Ok(p.bytes.clone()))?;
        walk(&bytes, pack).list_notes(from, visit)
    }

    fn doubt(&self, pack: PackId) -> Result<Option<&'static str>, StoreError> {
        self.with_pack(pack, |found| Ok(walk(&found.bytes, pack).doubted()))
    }

    fn store_id(&self) -> StoreId {
        StoreId::from_bytes([0; 16])
    }

    fn delete(&self, pack: PackId) -> Result<(), StoreError> {
        drop(self.lock().packs.remove(&pack));
        Ok(())
    }

    fn space_left(&self) -> Option<u64> {
        self.lock().left()
    }
}

fn walk(bytes: &[u8], pack: PackId) -> Walk<'_, [u8]> {
    Walk { source: bytes, pack, start: 0, doubt: &doubt }
}

fn doubt(pack: PackId, why: &'static str) {
    tracing::warn!(?pack, why, "a pack's trailer is not believed: the pack is read record by record");
}

/// Length of what was appended to a pack.
fn appended(pack: PackId, bytes: &[u8]) -> u64 {
    match trailer::end_of(bytes, pack, 0) {
        Ending::Sealed(end) => end,
        Ending::Open | Ending::Doubtful(_) => to_u64(bytes.len()),
    }
}

#[derive(Debug)]
struct MemWriter {
    store: MemRecords,
    id: PackId,
    len: u64,
    heads: Heads,
    failed: bool,
}

impl MemWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut state = self.store.lock();
        let free = state.left();
        if self.failed || free.is_some_and(|free| to_u64(bytes.len()) > free) {
            self.failed = true;
            return Err(StoreError::Full { free: free.unwrap_or(0) });
        }
        let pack = state.packs.get_mut(&self.id).ok_or(StoreError::NoSuchPack(self.id))?;
        pack.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn append_bytes(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.write(bytes)?;
        self.len += to_u64(bytes.len());
        Ok(())
    }
}

impl PackWriter for MemWriter {
    fn id(&self) -> PackId {
        self.id
    }

    fn append(&mut self, record: &Record) -> Result<RecordAt, StoreError> {
        let offset = self.len;
        self.append_bytes(record.bytes())?;
        self.heads.record(record);
        Ok(RecordAt { pack: self.id, offset, len: crate::units::to_u32(record.bytes().len()) })
    }

    fn note(&mut self, note: &[u8]) -> Result<u64, StoreError> {
        self.append_bytes(note)?;
        self.heads.note(note);
        Ok(self.len)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.store.with_pack(self.id, |_| Ok(()))
    }

    fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        self.sync()?;
        self.heads.trailer(self.id, self.len).map_or(Ok(()), |trailer| self.write(&trailer))
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn is_full(&self) -> bool {
        self.len >= PACK_BYTES_MAX || self.heads.is_full()
    }
}
