//! Finding what an interrupted transfer left, so that it need not be sent again.

use std::collections::HashMap;

use super::{ChunkAt, Index, RecordAt, RecordStore, StoreError};
use crate::ids::{ChunkId, PackId, PeerId};
use crate::limits::CHUNKS_IN_FLIGHT_MAX;
use crate::wire::record::RecordHeader;

/// How much [`spool_chunks`] looks at. The newest packs come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolLimits {
    /// Most chunks to return. Default 200,000, about 20 MB.
    pub chunks_max: usize,
    /// Most bytes of packs to walk over. Default 4 GiB: headers alone are read, so this takes well
    /// under a second from a disk that is not busy.
    pub bytes_max: u64,
}

impl Default for SpoolLimits {
    fn default() -> Self {
        Self { chunks_max: CHUNKS_IN_FLIGHT_MAX, bytes_max: 4 << 30 }
    }
}

/// So many of a peer's newest packs are walked over whatever the index says of them: the last record of a
/// pack may be committed while an earlier one waits for its instance, a large one perhaps.
const NEWEST_PACKS: usize = 4;
/// But behind the newest of all only this many bytes of them: more would cost every transfer seconds on a
/// cold disk, to spare the rare one that was interrupted several times.
const NEWEST_PACKS_BYTES: u64 = 64 << 20;

/// The chunks in packs of `owner` that may not be committed yet: where each stands and how long it is.
///
/// Packs that committed instances use to the last record are passed over without being opened, except for
/// the newest. What is looked at was adopted, so that reading it shows what the medium holds. A chunk that is
/// returned is a claim of the record that holds it, and may be damaged or not yet durable: the caller must read,
/// decode and hash it, and name it to [`RecordStore::make_durable`], before it counts as received.
///
/// `claim` is asked before a pack is looked at: it keeps the pack from being collected while what is found in it is
/// used, or answers `false` when it is being collected already.
///
/// # Errors
/// [`StoreError`]. A pack that cannot be read is passed over; the chunks in it are sent again.
pub fn spool_chunks(
    records: &dyn RecordStore,
    index: &dyn Index,
    owner: &PeerId,
    limits: SpoolLimits,
    claim: &mut dyn FnMut(PackId) -> Result<bool, StoreError>,
) -> Result<HashMap<ChunkId, (ChunkAt, u32)>, StoreError> {
    let mut packs = records.packs()?;
    packs.retain(|pack| pack.owner == *owner);
    packs.sort_by_key(|pack| std::cmp::Reverse((pack.created, pack.id)));
    let mut found = HashMap::new();
    let mut bytes_left = limits.bytes_max;
    let mut newest_bytes = 0;
    for (age, pack) in packs.into_iter().enumerate() {
        newest_bytes += pack.len;
        let new = age == 0 || (age < NEWEST_PACKS && newest_bytes <= NEWEST_PACKS_BYTES);
        if !new && index.pack_extent(pack.id)?.is_some_and(|end| end >= pack.len) {
            continue;
        }
        if pack.len > bytes_left || found.len() >= limits.chunks_max {
            break;
        }
        if !claim(pack.id)? {
            continue;
        }
        bytes_left -= pack.len;
        let end = match records.adopt(pack.id) {
            Ok(end) => end,
            Err(StoreError::NoSuchPack(_) | StoreError::Io { .. }) => continue,
            Err(e) => return Err(e),
        };
        let mut visit = |record: RecordAt, header: &RecordHeader| {
            if record.offset + u64::from(record.len) > end {
                return;
            }
            for (slot, chunk) in (0u16..).zip(&header.chunks) {
                if found.len() < limits.chunks_max {
                    found.entry(chunk.id).or_insert((ChunkAt { record, slot }, chunk.len));
                }
            }
        };
        match records.scan(pack.id, false, &mut visit) {
            Ok(_) | Err(StoreError::NoSuchPack(_) | StoreError::Damaged { .. } | StoreError::Io { .. }) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}
