//! Reading a stored instance as the file it was.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::cache::Decoded;
use super::{ChunkAt, RecordAt, RecordCache, RecordStore, StoreError, StoredInstance};
use crate::codec::{CodecError, CodecId, Registry};
use crate::dicom::ReadAt;
use crate::ids::{ChunkId, PackId};
use crate::manifest::{ChunkEntry, InstanceEntry};
use crate::units::{to_u64, to_usize};

/// Why a stored instance could not be given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstanceError {
    /// The store could not hand out a record.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record could not be decoded.
    #[error("chunk {chunk} could not be decoded")]
    Codec {
        /// Which chunk of the instance, from 0.
        chunk: usize,
        /// Cause.
        #[source]
        source: CodecError,
    },
    /// The record does not hold the chunk that the index says it holds.
    #[error("chunk {chunk} is not where the index says it is")]
    Misplaced {
        /// Which chunk of the instance, from 0.
        chunk: usize,
    },
    /// The chunk's bytes are not the ones that were sent.
    #[error("chunk {chunk} does not have the content that was sent")]
    Content {
        /// Which chunk of the instance, from 0.
        chunk: usize,
    },
    /// Every chunk is right, and yet the whole is not the file that was sent.
    #[error("the instance as a whole is not the file that was sent")]
    Whole,
    /// The index names another number of places than the instance has chunks, or there is no such chunk.
    #[error("the index does not say where every chunk is")]
    Incomplete,
}

/// A stored instance as the file it was: [`ReadAt`] over its records, decoded as they are needed.
///
/// Reading from start to end decodes each record once. Memory: what its [`RecordCache`] may hold, and
/// one record (1 MiB) on the way. Reading checks that each record holds the chunk that the index says
/// it holds and that lengths agree; only [`StoredReader::verify`] hashes what it reads.
pub struct StoredReader {
    records: Arc<dyn RecordStore>,
    registry: Registry,
    entry: InstanceEntry,
    places: Vec<ChunkAt>,
    /// Where each chunk begins in the file.
    starts: Vec<u64>,
    cache: RecordCache,
    /// Packs whose records' own checks are one hash too many.
    fresh: Vec<PackId>,
    /// Whether a record was met that takes long to decode.
    slow: AtomicBool,
    /// What must live as long as this does.
    _kept: Option<Box<dyn Any + Send + Sync>>,
}

impl fmt::Debug for StoredReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredReader").field("instance", &self.entry.hash).finish_non_exhaustive()
    }
}

impl StoredReader {
    /// A reader for `entry`, whose chunks stand at `places`, in the same order.
    ///
    /// # Errors
    /// [`InstanceError::Incomplete`] when there is not one place for each chunk, or the lengths of the
    /// chunks do not add up to that of the instance.
    pub fn new(
        records: Arc<dyn RecordStore>,
        registry: Registry,
        entry: InstanceEntry,
        places: Vec<ChunkAt>,
    ) -> Result<Self, InstanceError> {
        let cache = RecordCache::new(RecordCache::BYTES_ALONE);
        Self::sharing(records, registry, entry, places, cache)
    }

    /// A reader for who proves the instance, as [`StoredReader::verify_whole`] does, before anything of it is used. Of
    /// records in the packs `fresh`, which the same program wrote just now, the check is not compared: all that it covers
    /// is hashed in chunks. Others must hold as a whole, as they must for whoever reads them later.
    /// Readers of instances of the same study share `cache`.
    pub(crate) fn to_prove(
        records: Arc<dyn RecordStore>,
        registry: Registry,
        entry: InstanceEntry,
        places: Vec<ChunkAt>,
        cache: RecordCache,
        fresh: Vec<PackId>,
    ) -> Result<Self, InstanceError> {
        Ok(Self { fresh, ..Self::sharing(records, registry, entry, places, cache)? })
    }

    fn sharing(
        records: Arc<dyn RecordStore>,
        registry: Registry,
        entry: InstanceEntry,
        places: Vec<ChunkAt>,
        cache: RecordCache,
    ) -> Result<Self, InstanceError> {
        let mut starts = Vec::with_capacity(entry.chunks.len());
        let mut end = 0;
        for chunk in &entry.chunks {
            starts.push(end);
            end += u64::from(chunk.len);
        }
        if places.len() != entry.chunks.len() || end != entry.len {
            return Err(InstanceError::Incomplete);
        }
        Ok(Self {
            records,
            registry,
            entry,
            places,
            starts,
            cache,
            fresh: Vec::new(),
            slow: AtomicBool::new(false),
            _kept: None,
        })
    }

    /// A reader for what an index returned.
    ///
    /// # Errors
    /// As [`StoredReader::new`].
    pub fn of(
        records: Arc<dyn RecordStore>,
        registry: Registry,
        instance: StoredInstance,
    ) -> Result<Self, InstanceError> {
        Self::new(records, registry, instance.entry, instance.chunks)
    }

    /// Uses `cache`, which readers of instances of the same study should share.
    #[must_use]
    pub fn with_cache(mut self, cache: RecordCache) -> Self {
        self.cache = cache;
        self
    }

    /// Keeps something alive for as long as this reads: what holds the packs that it reads from.
    pub(crate) fn keeping(self, kept: Box<dyn Any + Send + Sync>) -> Self {
        Self { _kept: Some(kept), ..self }
    }

    /// The instance's manifest entry.
    #[must_use]
    pub const fn entry(&self) -> &InstanceEntry {
        &self.entry
    }

    /// The original bytes of a chunk, from 0. Not hashed.
    ///
    /// # Errors
    /// [`InstanceError`].
    pub fn chunk(&self, index: usize) -> Result<Bytes, InstanceError> {
        let (Some(entry), Some(place)) = (self.entry.chunks.get(index), self.places.get(index)) else {
            return Err(InstanceError::Incomplete);
        };
        let record = self.decoded(index, place.record)?;
        self.slow.fetch_or(record.slow, Ordering::Relaxed);
        match record.chunk(place.slot) {
            Some((found, raw)) if found.id == entry.id && found.len == entry.len => Ok(raw),
            _ => Err(InstanceError::Misplaced { chunk: index }),
        }
    }

    /// Whether a record that takes long to decode was among what has been read: all that the instance stands in, once it
    /// is verified.
    #[must_use]
    pub fn met_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }

    /// Reads the whole instance and compares the hash of each chunk and of the whole with the entry.
    ///
    /// # Errors
    /// [`InstanceError`] names the first chunk that is wrong.
    pub fn verify(&self) -> Result<(), InstanceError> {
        let mut whole = blake3::Hasher::new();
        for (index, entry) in self.entry.chunks.iter().enumerate() {
            let chunk = self.chunk(index)?;
            if ChunkId::of(&chunk) != entry.id {
                return Err(InstanceError::Content { chunk: index });
            }
            whole.update(&chunk);
        }
        self.compare(whole.finalize())
    }

    /// The chunks, counted from 0, that are not what they should be where they stand: damaged, unreadable or gone.
    /// Each record is read anew and compared with its check, and each chunk is hashed.
    #[must_use]
    pub fn damaged(&self) -> Vec<usize> {
        let fresh = Self {
            records: Arc::clone(&self.records),
            registry: self.registry.clone(),
            entry: self.entry.clone(),
            places: self.places.clone(),
            starts: self.starts.clone(),
            cache: RecordCache::new(RecordCache::BYTES_ALONE),
            fresh: Vec::new(),
            slow: AtomicBool::new(false),
            _kept: None,
        };
        let is_damaged = |(index, entry): (usize, &ChunkEntry)| {
            (!fresh.chunk(index).is_ok_and(|chunk| ChunkId::of(&chunk) == entry.id)).then_some(index)
        };
        self.entry.chunks.iter().enumerate().filter_map(is_damaged).collect()
    }

    /// Reads the whole instance and compares its hash with the entry's. This proves every byte of it; what it does
    /// not prove anew is how the bytes are named chunk by chunk, which was found right as each record came.
    ///
    /// # Errors
    /// [`InstanceError`].
    pub(crate) fn verify_whole(&self) -> Result<(), InstanceError> {
        let mut whole = blake3::Hasher::new();
        for index in 0..self.entry.chunks.len() {
            whole.update(&self.chunk(index)?);
            crate::effort::note(u64::from(self.entry.chunks[index].len));
        }
        self.compare(whole.finalize())
    }

    /// The same for a small instance, which is hashed at one go: piece by piece that takes twice the time. `out`
    /// is as long as the instance, and holds it then.
    ///
    /// # Errors
    /// [`InstanceError`].
    pub(crate) fn read_verified(&self, out: &mut [u8]) -> Result<(), InstanceError> {
        let mut rest = &mut *out;
        for (index, entry) in self.entry.chunks.iter().enumerate() {
            let place = rest.split_off_mut(..to_usize(u64::from(entry.len))).ok_or(InstanceError::Incomplete)?;
            place.copy_from_slice(&self.chunk(index)?);
            crate::effort::note(u64::from(entry.len));
        }
        self.compare(blake3::hash(out))
    }

    fn compare(&self, whole: blake3::Hash) -> Result<(), InstanceError> {
        if whole.as_bytes() == self.entry.hash.as_bytes() { Ok(()) } else { Err(InstanceError::Whole) }
    }

    /// The entry and the places that this was made of.
    pub(crate) fn into_parts(self) -> (InstanceEntry, Vec<ChunkAt>) {
        (self.entry, self.places)
    }

    fn decoded(&self, chunk: usize, at: RecordAt) -> Result<Decoded, InstanceError> {
        if let Some(record) = self.cache.get(&at) {
            return Ok(record);
        }
        let _turn = self.cache.turn(&at);
        if let Some(record) = self.cache.get(&at) {
            return Ok(record);
        }
        let record =
            if self.fresh.contains(&at.pack) { self.records.read_to_prove(at) } else { self.records.read(at) }?;
        let header = record.header();
        if header.codec == CodecId::STORE && header.payload_len == header.raw_len() {
            let record = Decoded { chunks: header.chunks.as_slice().into(), raw: record.payload_bytes(), slow: false };
            self.cache.put(at, record.clone());
            return Ok(record);
        }
        let mut raw = Vec::with_capacity(to_usize(u64::from(header.raw_len())));
        self.registry
            .get(header.codec)
            .and_then(|codec| codec.decode(record.payload(), header.raw_len(), &mut raw))
            .map_err(|source| InstanceError::Codec { chunk, source })?;
        if to_u64(raw.len()) != u64::from(header.raw_len()) {
            let source = CodecError::Length { expected: header.raw_len() };
            return Err(InstanceError::Codec { chunk, source });
        }
        let slow = self.registry.is_slow(header.codec, record.payload(), header.raw_len());
        let record = Decoded { chunks: header.chunks.as_slice().into(), raw: raw.into(), slow };
        self.cache.put(at, record.clone());
        Ok(record)
    }
}

impl ReadAt for StoredReader {
    fn len(&self) -> u64 {
        self.entry.len
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(to_u64(buf.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        if end > self.entry.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The last chunk that begins at or before `offset`.
        let mut index = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let mut rest = buf;
        let mut at = offset;
        while !rest.is_empty() {
            let chunk = self.chunk(index).map_err(io::Error::other)?;
            let skip = to_usize(at - self.starts[index]);
            let n = rest.len().min(chunk.len() - skip);
            let (now, later) = rest.split_at_mut(n);
            now.copy_from_slice(&chunk[skip..skip + n]);
            at += to_u64(n);
            rest = later;
            index += 1;
        }
        Ok(())
    }
}
