//! Making records of some of another's chunks, the same way or to be read faster.

use super::{RecordAt, StoreError};
use crate::codec::{CodecId, Level, PixelShape, Registry};
use crate::ids::ChunkId;
use crate::limits::PIXELS_SHARED_BYTES;
use crate::units::to_usize;
use crate::wire::record::{Record, RecordChunk};

/// A record of those chunks of `record`, which stands at `at`, whose places in it are among `kept`; in the same order,
/// each hashed before it is taken over. At least one place must be of the record.
///
/// # Errors
/// [`StoreError::Damaged`]: it cannot be decoded, or does not hold what it names.
pub fn repack(registry: &Registry, record: &Record, at: RecordAt, kept: &[u16]) -> Result<Record, StoreError> {
    let (mut chunks, mut bytes): (Vec<RecordChunk>, Vec<u8>) = Default::default();
    for (_, chunk, now) in chunks_of(registry, record, at, kept)? {
        chunks.push(chunk);
        bytes.extend_from_slice(&now);
    }
    Ok(encode(registry, record, None, Level::FAST, &chunks, &bytes))
}

/// The same chunks in records that are read fast: as many to one as [`Depot::put`](crate::depot::Depot::put) puts together,
/// and with a level that decodes fast. Each comes with the places that its chunks had. `shape` is that of the pixels,
/// where it is known.
///
/// # Errors
/// As [`repack`].
pub fn recode(
    registry: &Registry,
    record: &Record,
    at: RecordAt,
    kept: &[u16],
    shape: Option<&PixelShape>,
) -> Result<Vec<(Record, Vec<u16>)>, StoreError> {
    let all = chunks_of(registry, record, at, kept)?;
    let mut rest = all.as_slice();
    let mut made = Vec::new();
    while !rest.is_empty() {
        let mut len = 0;
        let shares = |(_, chunk, _): &&(u16, RecordChunk, Vec<u8>)| {
            len += chunk.len;
            len <= PIXELS_SHARED_BYTES
        };
        let count = rest.iter().take_while(shares).count().max(1);
        let (now, later) = rest.split_at(count);
        let chunks: Vec<RecordChunk> = now.iter().map(|(_, chunk, _)| *chunk).collect();
        let bytes: Vec<u8> = now.iter().flat_map(|(_, _, bytes)| bytes).copied().collect();
        let places = now.iter().map(|(slot, ..)| *slot).collect();
        made.push((encode(registry, record, shape, Level::STRONG, &chunks, &bytes), places));
        rest = later;
    }
    Ok(made)
}

fn encode(
    registry: &Registry,
    record: &Record,
    shape: Option<&PixelShape>,
    level: Level,
    chunks: &[RecordChunk],
    bytes: &[u8],
) -> Record {
    let class = record.header().class;
    match registry.smallest(bytes, shape, level, &registry.ids()) {
        Some((codec, payload)) => Record::encode(codec, class, chunks, &payload),
        None => Record::encode(CodecId::STORE, class, chunks, bytes),
    }
}

/// The chunks of a record that stand in the `kept` places, with these: decoded, and each hashed.
fn chunks_of(
    registry: &Registry,
    record: &Record,
    at: RecordAt,
    kept: &[u16],
) -> Result<Vec<(u16, RecordChunk, Vec<u8>)>, StoreError> {
    let RecordAt { pack, offset, .. } = at;
    let damaged = |what| StoreError::Damaged { what, pack, offset };
    let header = record.header();
    let mut raw = Vec::with_capacity(to_usize(u64::from(header.raw_len())));
    registry
        .get(header.codec)
        .and_then(|codec| codec.decode(record.payload(), header.raw_len(), &mut raw))
        .map_err(|_| damaged("a record that cannot be decoded"))?;
    let mut chunks = Vec::new();
    let mut rest = raw.as_slice();
    for (slot, chunk) in (0u16..).zip(&header.chunks) {
        let now = rest.split_off(..to_usize(u64::from(chunk.len))).ok_or_else(|| damaged("a record that is short"))?;
        if kept.contains(&slot) {
            if ChunkId::of(now) != chunk.id {
                return Err(damaged("a chunk that is not what it is named"));
            }
            chunks.push((slot, *chunk, now.to_vec()));
        }
    }
    if chunks.is_empty() {
        return Err(damaged("a place that the record does not have"));
    }
    Ok(chunks)
}
