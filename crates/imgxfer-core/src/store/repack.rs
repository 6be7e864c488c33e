//! Making a record of some of another's chunks.

use super::{RecordAt, StoreError};
use crate::codec::{CodecId, Level, Registry};
use crate::ids::ChunkId;
use crate::units::to_usize;
use crate::wire::record::{Record, RecordChunk};

/// A record of those chunks of `record`, which stands at `at`, whose places in it are among `kept`; in the same order,
/// each hashed before it is taken over. At least one place must be of the record.
///
/// # Errors
/// [`StoreError::Damaged`]: it cannot be decoded, or does not hold what it names.
pub fn repack(registry: &Registry, record: &Record, at: RecordAt, kept: &[u16]) -> Result<Record, StoreError> {
    let RecordAt { pack, offset, .. } = at;
    let damaged = |what| StoreError::Damaged { what, pack, offset };
    let header = record.header();
    let mut raw = Vec::with_capacity(to_usize(u64::from(header.raw_len())));
    registry
        .get(header.codec)
        .and_then(|codec| codec.decode(record.payload(), header.raw_len(), &mut raw))
        .map_err(|_| damaged("a record that cannot be decoded"))?;
    let (mut chunks, mut bytes): (Vec<RecordChunk>, Vec<u8>) = Default::default();
    let mut rest = raw.as_slice();
    for (slot, chunk) in (0u16..).zip(&header.chunks) {
        let now = rest.split_off(..to_usize(u64::from(chunk.len))).ok_or_else(|| damaged("a record that is short"))?;
        if kept.contains(&slot) {
            if ChunkId::of(now) != chunk.id {
                return Err(damaged("a chunk that is not what it is named"));
            }
            chunks.push(*chunk);
            bytes.extend_from_slice(now);
        }
    }
    if chunks.is_empty() {
        return Err(damaged("a place that the record does not have"));
    }
    Ok(match registry.smallest(&bytes, None, Level::FAST, &registry.ids()) {
        Some((codec, payload)) => Record::encode(codec, header.class, &chunks, &payload),
        None => Record::encode(CodecId::STORE, header.class, &chunks, &bytes),
    })
}
