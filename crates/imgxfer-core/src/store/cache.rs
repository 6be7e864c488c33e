//! The last decoded records, shared by readers of instances that stand in the same ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::RecordAt;
use crate::units::{to_u64, to_usize};
use crate::wire::record::{RECORD_FIXED_BYTES, RecordChunk};

/// A record, decoded.
#[derive(Debug, Clone)]
pub(super) struct Decoded {
    /// The chunks it says it holds.
    pub(super) chunks: Arc<[RecordChunk]>,
    /// Their original bytes, one behind the other.
    pub(super) raw: Bytes,
    /// Whether it took long.
    pub(super) slow: bool,
}

impl Decoded {
    /// The chunk at `slot` and its bytes; `None` when the record has no such slot.
    pub(super) fn chunk(&self, slot: u16) -> Option<(RecordChunk, Bytes)> {
        let slot = usize::from(slot);
        let chunk = *self.chunks.get(slot)?;
        let before: u64 = self.chunks[..slot].iter().map(|c| u64::from(c.len)).sum();
        let start = to_usize(before);
        let end = start.checked_add(to_usize(u64::from(chunk.len)))?;
        (end <= self.raw.len()).then(|| (chunk, self.raw.slice(start..end)))
    }
}

/// Keeps decoded records, the most recently used ones, up to a bound in bytes.
///
/// The header parts of up to 256 instances share one record: readers of all of them, given clones of
/// one cache, decode it once. Clones share their content. A decoded record is at most 1 MiB.
#[derive(Debug, Clone)]
pub struct RecordCache {
    inner: Arc<Mutex<Inner>>,
    /// Held while a record is decoded, so that two readers of one do not both decode it.
    turns: Arc<[Mutex<()>; TURNS]>,
}

#[derive(Debug)]
struct Inner {
    /// Most recently used first. Few enough to search one by one.
    records: VecDeque<(RecordAt, Decoded)>,
    bytes: u64,
    bytes_max: u64,
    decoded: u64,
}

/// Records that may be decoded at once. More than there are readers at most times, so that they seldom meet.
const TURNS: usize = 32;
/// Most records in a cache, however small they are.
const RECORDS_MAX: usize = 64;

impl RecordCache {
    /// What one reader uses when it is given none: one header record and one of pixels.
    pub const BYTES_ALONE: u64 = 2 << 20;
    /// A good size for a cache that the readers of a whole study share.
    pub const BYTES_SHARED: u64 = 16 << 20;

    /// A cache that holds up to `bytes_max` decoded bytes, but always the last record.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let inner = Inner { records: VecDeque::new(), bytes: 0, bytes_max, decoded: 0 };
        Self { inner: Arc::new(Mutex::new(inner)), turns: Arc::default() }
    }

    /// How many records were put in: each had to be decoded.
    #[must_use]
    pub fn decoded(&self) -> u64 {
        self.with(|inner| inner.decoded)
    }

    /// To be held by whoever decodes the record that is not here, who looks again then.
    pub(super) fn turn(&self, at: &RecordAt) -> MutexGuard<'_, ()> {
        let place = to_usize(at.offset / to_u64(RECORD_FIXED_BYTES)) % TURNS;
        self.turns[place].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, at: &RecordAt) -> Option<Decoded> {
        self.with(|inner| {
            let place = inner.records.iter().position(|(key, _)| key == at)?;
            let found = inner.records.remove(place)?;
            let record = found.1.clone();
            inner.records.push_front(found);
            Some(record)
        })
    }

    pub(super) fn put(&self, at: RecordAt, record: Decoded) {
        self.with(|inner| {
            inner.decoded += 1;
            if inner.records.iter().any(|(key, _)| *key == at) {
                return;
            }
            inner.bytes += to_u64(record.raw.len());
            inner.records.push_front((at, record));
            while inner.records.len() > RECORDS_MAX || (inner.bytes > inner.bytes_max && inner.records.len() > 1) {
                let Some((_, oldest)) = inner.records.pop_back() else { break };
                inner.bytes -= to_u64(oldest.raw.len());
            }
        });
    }

    fn with<T>(&self, then: impl FnOnce(&mut Inner) -> T) -> T {
        then(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
