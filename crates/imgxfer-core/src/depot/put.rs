//! Putting an instance into a site's store that no transfer brings: from a folder, a modality, or a web request.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::Depot;
use super::commits::Brought;
use super::described::Described;
use super::held::HeldPack;
use super::read_back::{Seen, read_back};
use crate::chunk::ChunkClass;
use crate::codec::{CodecId, Level, PixelShape};
use crate::dicom::{self, NotDicom, ReadAt};
use crate::ids::{InstanceHash, PackId, PeerId};
use crate::limits::{CHUNKS_PER_RECORD_MAX, PIXELS_SHARED_BYTES, RECORD_RAW_BYTES_MAX};
use crate::manifest::{ChunkEntry, InstanceEntry};
use crate::scratch;
use crate::store::{
    ChunkAt, Held, InstanceError, InstancesOf, Provenance, RecordCache, Scope, StoreError, StoredInstance,
    StoredReader, VERSIONS_MAX,
};
use crate::units::to_usize;
use crate::wire::record::{Record, RecordChunk};

/// An instance up to this length is held in memory while it is put.
const HELD_BYTES_MAX: u64 = 8 << 20;

/// What becomes of a file that holds the same as one that is there, under another file meta group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Aliases {
    /// It is kept beside the other: whoever sent a file may ask for that file.
    #[default]
    Keep,
    /// It is not: the file meta group was made here, and says nothing that the other does not.
    Drop,
}

/// How an instance is put.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PutOptions {
    /// How it came here.
    pub provenance: Provenance,
    /// What becomes of a file that holds the same as one that is there. Default: it is kept.
    pub aliases: Aliases,
    /// How hard it is compressed. Default [`Level::FAST`]: what arrives is stored as fast as a disk writes.
    pub level: Level,
    /// Whether what is no DICOM, or no instance, is taken as opaque bytes under this name. Default not.
    pub opaque: Option<Vec<u8>>,
}

impl PutOptions {
    /// Defaults for what comes from `provenance`.
    #[must_use]
    pub const fn of(provenance: Provenance) -> Self {
        Self { provenance, aliases: Aliases::Keep, level: Level::FAST, opaque: None }
    }
}

/// What became of an instance that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutOutcome {
    /// It is stored now.
    Stored,
    /// The same file was there.
    Known,
    /// The same content was there under another file meta group, and nothing was stored.
    SameContent,
}

/// An instance that is committed: it survives loss of power.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Put {
    /// What it is.
    pub entry: InstanceEntry,
    /// What became of it.
    pub outcome: PutOutcome,
}

/// Why an instance is not put.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// It cannot be read as DICOM.
    #[error("it is not DICOM that can be stored")]
    NotDicom(#[source] NotDicom),
    /// It is a DICOMDIR: the index of a medium, and no instance.
    #[error("it is a DICOMDIR: an index of the medium, and no instance")]
    Directory,
    /// Its source cannot be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// It changed while it was read.
    #[error("it changed while it was being read: put it again when it is complete")]
    Changed,
    /// The store failed. Nothing of it may be taken as stored.
    #[error("it could not be stored")]
    Store(#[source] Arc<StoreError>),
}

impl From<StoreError> for PutError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl Depot {
    /// Puts an instance, owned by the site itself. When it returns, the instance is committed: read back as it stands,
    /// durable and visible. Callers who put at the same time are committed together; one alone does not wait for
    /// others. Blocks; memory is bounded by 8 MiB or, of a longer instance, by two records.
    ///
    /// # Errors
    /// [`PutError`]: nothing is visible then.
    pub fn put(&self, source: &dyn ReadAt, options: &PutOptions) -> Result<Put, PutError> {
        if source.len() > HELD_BYTES_MAX {
            return self.put_from(source, options, None);
        }
        let len = to_usize(source.len());
        let mut buffer = scratch::take_len(len);
        let bytes = &mut buffer[..len];
        let read = source.read_exact_at(0, bytes).map_err(PutError::Read);
        let put = read.and_then(|()| self.put_from(&&*bytes, options, Some(bytes)));
        scratch::keep(buffer);
        put
    }

    fn put_from(&self, source: &dyn ReadAt, options: &PutOptions, bytes: Option<&[u8]>) -> Result<Put, PutError> {
        let scan = match dicom::scan(source) {
            Ok(scan) => Some(scan),
            Err(NotDicom::Read(error)) => return Err(PutError::Read(error)),
            Err(error) if options.opaque.is_none() => return Err(PutError::NotDicom(error)),
            Err(_) => None,
        };
        if options.opaque.is_none() && scan.as_ref().is_some_and(dicom::Scan::is_dicomdir) {
            return Err(PutError::Directory);
        }
        let name = options.opaque.as_deref().unwrap_or_default();
        let described = match bytes {
            Some(bytes) => Described::of_bytes(bytes, scan.as_ref(), name),
            None => Described::read(source, scan.as_ref(), name),
        };
        let described = described.map_err(PutError::Read)?;
        let entry = described.entry.clone();
        if let Some((there, outcome, _held)) = self.is_there(&entry, options.aliases)? {
            // Damaged ones are not there, so this one need not be proven.
            self.bring(there, options, true)?;
            return Ok(Put { entry, outcome });
        }
        let shape = scan.as_ref().and_then(crate::chunk::pixel_shape);
        let bringing = self.own.bringing();
        let (chunks, _held) = self.write((source, bytes), &described, shape, options.level)?;
        // Where others commit too, one sync serves all of them; one who is alone need not wait for it.
        let instance = match bringing.is_alone() {
            true => self.prove_and_sync(described.entry, chunks)?,
            false => self.prove(described.entry, chunks)?,
        };
        self.bring(instance, options, false)?;
        Ok(Put { entry, outcome: PutOutcome::Stored })
    }

    /// The content that stands for this one already, and what keeps it where it stands.
    fn is_there(
        &self,
        entry: &InstanceEntry,
        aliases: Aliases,
    ) -> Result<Option<(StoredInstance, PutOutcome, Vec<HeldPack>)>, StoreError> {
        let mine = Scope::owner(PeerId::SELF);
        let of = InstancesOf::contents(entry);
        let (known, packs) = self.held(&|| self.index.instances(&mine, &of, None, VERSIONS_MAX))?;
        let content = entry.content_id();
        let outcome = |instance: &StoredInstance| match &instance.entry {
            there if there.hash == entry.hash => Some(PutOutcome::Known),
            there if aliases == Aliases::Drop && there.content_id() == content => Some(PutOutcome::SameContent),
            _ => None,
        };
        let mut known: Vec<_> = known.into_iter().filter_map(|i| outcome(&i).map(|outcome| (i, outcome))).collect();
        if known.is_empty() {
            return Ok(None);
        }
        known.sort_by_key(|(_, outcome)| *outcome != PutOutcome::Known);
        let hashes: Vec<InstanceHash> = known.iter().map(|(instance, _)| instance.entry.hash).collect();
        let held = self.index.has(&mine, &entry.study, &hashes)?;
        let there = known.into_iter().zip(held).find(|(_, held)| *held != Held::Absent);
        Ok(there.map(|((instance, outcome), _)| (instance, outcome, packs)))
    }

    fn bring(&self, instance: StoredInstance, options: &PutOptions, again: bool) -> Result<(), PutError> {
        let brought = Brought { instance, provenance: options.provenance.clone(), again };
        self.own.commit(self.records.as_ref(), self.index.as_ref(), &self.in_use, brought).map_err(PutError::Store)
    }

    /// Encodes and writes the chunks, and returns where each stands; what is returned besides keeps their packs.
    fn write(
        &self,
        (source, bytes): (&dyn ReadAt, Option<&[u8]>),
        described: &Described,
        shape: Option<PixelShape>,
        level: Level,
    ) -> Result<(Vec<ChunkAt>, Vec<HeldPack>), PutError> {
        let mut held: Vec<HeldPack> = Vec::new();
        let codecs = self.registry.ids();
        let chunks = &described.entry.chunks;
        let mut places = Vec::with_capacity(chunks.len());
        let mut first = 0;
        while first < chunks.len() {
            let count = sharing(&described.entry, first);
            let list = &chunks[first..first + count];
            let len = list.iter().map(|chunk| u64::from(chunk.len)).sum();
            let raw = raw(source, bytes, described.cuts[first].offset, len)?;
            let class = list[0].class.in_record();
            let shape = shape.filter(|_| class == ChunkClass::Pixels);
            let of = |chunk: &ChunkEntry| RecordChunk { id: chunk.id, len: chunk.len };
            let record_chunks: Vec<RecordChunk> = list.iter().map(of).collect();
            let record = match self.registry.smallest(&raw, shape.as_ref(), level, &codecs) {
                Some((codec, payload)) => Record::encode(codec, class, &record_chunks, &payload),
                None => Record::encode(CodecId::STORE, class, &record_chunks, &raw),
            };
            let (at, pack) = self.own.append(self.records.as_ref(), &self.in_use, &record)?;
            if held.iter().all(|held| held.pack() != at.pack) {
                held.push(pack);
            }
            places.extend((0u16..).zip(list).map(|(slot, _)| ChunkAt { record: at, slot }));
            first += count;
        }
        Ok((places, held))
    }

    /// Makes records durable while the instance is read back from them.
    fn prove_and_sync(&self, entry: InstanceEntry, chunks: Vec<ChunkAt>) -> Result<StoredInstance, PutError> {
        let mut ends: BTreeMap<PackId, u64> = BTreeMap::new();
        for at in chunks.iter().map(|chunk| chunk.record) {
            let end = ends.entry(at.pack).or_default();
            *end = (*end).max(at.offset + u64::from(at.len));
        }
        let ends: Vec<(PackId, u64)> = ends.into_iter().collect();
        std::thread::scope(|threads| {
            let syncing = threads.spawn(|| self.own.make_durable(self.records.as_ref(), &ends));
            let proven = self.prove(entry, chunks);
            syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            proven
        })
    }

    /// Reads an instance back as it stands: it must be the file that was put.
    fn prove(&self, entry: InstanceEntry, chunks: Vec<ChunkAt>) -> Result<StoredInstance, PutError> {
        let cache = RecordCache::new(RecordCache::BYTES_ALONE);
        let fresh = self.own.pack().into_iter().collect();
        let (records, registry) = (Arc::clone(&self.records), self.registry.clone());
        let reader = StoredReader::to_prove(records, registry, entry, chunks, cache, fresh);
        let reader = reader.map_err(|_| PutError::Changed)?;
        let seen = match read_back(&reader) {
            Ok(Some(seen)) => seen,
            // A source that gives other bytes the second time.
            Ok(None) => return Err(PutError::Changed),
            Err(InstanceError::Store(error)) => return Err(error.into()),
            Err(_) => return Err(PutError::Changed),
        };
        let Seen { attributes, frames, cut, slow } = seen;
        let (entry, chunks) = reader.into_parts();
        Ok(StoredInstance { frames, cut, slow, ..StoredInstance::new(PeerId::SELF, entry, chunks, attributes) })
    }
}

/// So many bytes of the source, which are in memory or are read.
fn raw<'a>(source: &dyn ReadAt, bytes: Option<&'a [u8]>, offset: u64, len: u64) -> Result<Cow<'a, [u8]>, PutError> {
    let range = to_usize(offset)..to_usize(offset.saturating_add(len));
    if let Some(bytes) = bytes.and_then(|bytes| bytes.get(range)) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut raw = vec![0; to_usize(len)];
    source.read_exact_at(offset, &mut raw).map_err(PutError::Read)?;
    Ok(Cow::Owned(raw))
}

/// How many chunks from `first` on go into one record: neighbours of one class.
fn sharing(entry: &InstanceEntry, first: usize) -> usize {
    let class = entry.chunks[first].class.in_record();
    let most = match class {
        ChunkClass::Header => RECORD_RAW_BYTES_MAX,
        _ => PIXELS_SHARED_BYTES,
    };
    let mut len = 0;
    let shares = |chunk: &&ChunkEntry| {
        len += chunk.len;
        chunk.class.in_record() == class && len <= most
    };
    entry.chunks[first..].iter().take(CHUNKS_PER_RECORD_MAX).take_while(shares).count().max(1)
}
