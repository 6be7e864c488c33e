//! Giving frames away: which chunks hold them, and the records that bring those chunks.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;

use bytes::Bytes;

use super::{Depot, HeldPack};
use crate::chunk::ChunkClass;
use crate::codec::{CodecId, Level, PixelShape};
use crate::dicom::{self, FrameNumbers, FrameTable, ImageShape, ReadAt};
use crate::ids::ChunkId;
use crate::limits::{FRAMES_BYTES_MAX, FRAMES_CHUNKS_MAX, FRAMES_PER_REQUEST_MAX};
use crate::manifest::InstanceEntry;
use crate::proto::{FrameRequest, shape_to_wire};
use crate::store::{
    InstanceError, InstancesOf, RecordAt, Scope, StoreError, StoredInstance, StoredReader, VERSIONS_MAX, Versions,
};
use crate::units::{to_u64, to_usize};
use crate::wire::message::{ChunkPlace, FrameAt, FramesStart};
use crate::wire::record::{Record, RecordChunk};

/// A stored record goes as it is when at least one part in so many of what it holds is wanted.
const WANTED_PART: u64 = 4;

/// Why frames cannot be given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FramesError {
    /// There is no such instance, or none within the scope.
    #[error("there is no such instance")]
    NoInstance,
    /// It has no frames, or is cut short, or it is not certain where its frames begin.
    #[error("it is not known where the frames of this instance are: pull the instance")]
    NotKnown,
    /// It has fewer.
    #[error("the instance has {count} frames")]
    OutOfRange {
        /// How many it has.
        count: u32,
    },
    /// One frame is more than one request may bring.
    #[error("a frame of this instance is longer than one request for frames may bring: pull the instance")]
    TooLong,
    /// The store failed, or what stands there is damaged.
    #[error("the frames cannot be read")]
    Read(#[from] InstanceError),
}

impl From<StoreError> for FramesError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// Frames that are given, record by record. Only the records are read that hold them, and what stands before the pixel data.
#[derive(Debug)]
pub struct FrameParts {
    start: FramesStart,
    given: FrameNumbers,
    entry: InstanceEntry,
    reader: StoredReader,
    depot: Depot,
    accepted: Vec<CodecId>,
    shape: Option<PixelShape>,
    /// Chunks of the instance by the record that they stand in, where it holds something that is wanted.
    all: HashMap<RecordAt, HashSet<ChunkId>>,
    /// The records, each with the chunks of it that are wanted, by their place in the instance.
    records: std::vec::IntoIter<(RecordAt, Vec<usize>)>,
    /// Nothing of it moves meanwhile.
    _held: Vec<HeldPack>,
}

impl Depot {
    /// Frames of an instance within `scope`, for one who decodes the codecs `accepted`. Of more than one request may bring
    /// ([`FRAMES_BYTES_MAX`], [`FRAMES_PER_REQUEST_MAX`]) only the first. Blocks.
    ///
    /// # Errors
    /// [`FramesError`].
    pub fn frames(
        &self,
        scope: &Scope,
        request: &FrameRequest,
        accepted: Vec<CodecId>,
    ) -> Result<FrameParts, FramesError> {
        let (instance, held) = self.asked_for(scope, request)?.ok_or(FramesError::NoInstance)?;
        FrameParts::new(self, (instance, held), &request.frames, accepted)
    }

    /// The instance, and what keeps it where it stands.
    fn asked_for(
        &self,
        scope: &Scope,
        request: &FrameRequest,
    ) -> Result<Option<(StoredInstance, Vec<HeldPack>)>, StoreError> {
        let of = InstancesOf {
            study: request.study.clone(),
            series: request.series.clone(),
            sop_instance: Some(request.sop_instance.clone()),
            versions: if request.hash.is_some() { Versions::All } else { Versions::Current },
        };
        let limit = if request.hash.is_some() { VERSIONS_MAX } else { 1 };
        let (found, held) = self.held(&|| self.index.instances(scope, &of, None, limit))?;
        let asked = found.into_iter().find(|instance| request.hash.is_none_or(|hash| hash == instance.entry.hash));
        Ok(asked.map(|instance| (instance, held)))
    }
}

/// Where frames stand, and which chunks hold them.
struct Plan {
    frames: Vec<FrameAt>,
    /// By their place in the instance, ascending.
    chunks: Vec<usize>,
}

impl Plan {
    /// As many of the frames as one request may bring.
    fn new(
        table: &FrameTable,
        numbers: &FrameNumbers,
        entry: &InstanceEntry,
        starts: &[u64],
    ) -> Result<Self, FramesError> {
        if numbers.last() > table.len() {
            return Err(FramesError::OutOfRange { count: table.len() });
        }
        let mut plan = Self { frames: Vec::new(), chunks: Vec::new() };
        let (mut frames_len, mut chunks_len) = (0, 0);
        for number in numbers.iter().take(FRAMES_PER_REQUEST_MAX) {
            let range = table.range(number - 1).filter(|range| range.end <= entry.len);
            let range = range.ok_or(FramesError::OutOfRange { count: table.len() })?;
            let begun = plan.chunks.last().map_or(0, |last| last + 1);
            let holding = holding(&range, starts);
            let new = holding.start.max(begun)..holding.end.max(begun);
            frames_len += range.end - range.start;
            chunks_len += entry.chunks[new.clone()].iter().map(|chunk| u64::from(chunk.len)).sum::<u64>();
            let is_many = plan.chunks.len() + new.len() > FRAMES_CHUNKS_MAX;
            if frames_len > FRAMES_BYTES_MAX || chunks_len > FRAMES_BYTES_MAX || is_many {
                break;
            }
            let bit_offset = u32::from(table.bit_offset(number - 1));
            plan.frames.push(FrameAt { offset: range.start, len: range.end - range.start, bit_offset });
            plan.chunks.extend(new);
        }
        if plan.frames.is_empty() { Err(FramesError::TooLong) } else { Ok(plan) }
    }
}

/// The chunks that hold a part of the file, by where each begins.
fn holding(range: &Range<u64>, starts: &[u64]) -> Range<usize> {
    let first = starts.partition_point(|start| *start <= range.start).saturating_sub(1);
    first..starts.partition_point(|start| *start < range.end)
}

impl FrameParts {
    fn new(
        depot: &Depot,
        (instance, held): (StoredInstance, Vec<HeldPack>),
        numbers: &FrameNumbers,
        accepted: Vec<CodecId>,
    ) -> Result<Self, FramesError> {
        let table = instance.frames.clone().ok_or(FramesError::NotKnown)?;
        let (entry, places) = (instance.entry.clone(), instance.chunks.clone());
        let mut end = 0;
        let mut starts = Vec::with_capacity(entry.chunks.len());
        for chunk in &entry.chunks {
            starts.push(end);
            end += u64::from(chunk.len);
        }
        let plan = Plan::new(&table, numbers, &entry, &starts)?;
        let reader = depot.reader(instance)?;
        let shape = shape_of(&reader);
        let mut records: Vec<(RecordAt, Vec<usize>)> = Vec::new();
        let mut wanted = HashSet::new();
        let mut known = HashMap::new();
        for index in plan.chunks.iter().copied().filter(|index| wanted.insert(entry.chunks[*index].id)) {
            let at = places[index].record;
            let place = *known.entry(at).or_insert_with(|| {
                records.push((at, Vec::new()));
                records.len() - 1
            });
            records[place].1.push(index);
        }
        let mut all: HashMap<RecordAt, HashSet<ChunkId>> = HashMap::new();
        for (chunk, place) in entry.chunks.iter().zip(&places).filter(|(_, place)| known.contains_key(&place.record)) {
            all.entry(place.record).or_default().insert(chunk.id);
        }
        let big_endian = entry.transfer_syntax.as_ref().is_some_and(|uid| uid.as_str() == BIG_ENDIAN);
        let given = numbers.split_at(plan.frames.len()).0.ok_or(FramesError::TooLong)?;
        Ok(Self {
            start: start_of_answer(&entry, &table, shape.as_ref(), plan, &starts),
            given,
            shape: shape.filter(|_| !table.is_encapsulated()).and_then(|shape| shape.native(big_endian)),
            entry,
            reader,
            depot: depot.clone(),
            accepted,
            all,
            records: records.into_iter(),
            _held: held,
        })
    }

    /// The beginning of the answer.
    #[must_use]
    pub const fn start(&self) -> &FramesStart {
        &self.start
    }

    /// The frames that are given: those that were asked for, or as many of the first as one request may bring.
    #[must_use]
    pub const fn given(&self) -> &FrameNumbers {
        &self.given
    }

    /// The next record; `None` when all have been given. What cannot be read is noted as damaged. Blocks.
    ///
    /// # Errors
    /// [`InstanceError`].
    pub fn next_record(&mut self) -> Option<Result<Record, InstanceError>> {
        let (at, wanted) = self.records.next()?;
        Some(self.record(at, &wanted).inspect_err(|error| {
            if !matches!(error, InstanceError::Store(error) if error.is_transient()) {
                self.note_damage(at);
            }
        }))
    }

    /// The record as it stands, where it holds nothing else than this instance's chunks, enough of it is wanted, and
    /// the asker decodes it; else one that is made of the wanted chunks alone. Records are shared between instances,
    /// of which the asker may not see the others.
    fn record(&self, at: RecordAt, wanted: &[usize]) -> Result<Record, InstanceError> {
        let stored = self.depot.records.read(at)?;
        let header = stored.header();
        let is_own = |id: &ChunkId| self.all.get(&at).is_some_and(|all| all.contains(id));
        let wanted_len: u64 = wanted.iter().map(|index| u64::from(self.entry.chunks[*index].len)).sum();
        let fits = self.accepted.contains(&header.codec)
            && wanted_len * WANTED_PART >= u64::from(header.raw_len())
            && header.chunks.iter().all(|chunk| is_own(&chunk.id))
            && wanted.iter().all(|index| header.chunks.iter().any(|chunk| chunk.id == self.entry.chunks[*index].id));
        if fits {
            return Ok(stored);
        }
        let (mut raw, mut list) = (Vec::with_capacity(to_usize(wanted_len)), Vec::with_capacity(wanted.len()));
        for index in wanted {
            let chunk = self.entry.chunks[*index];
            raw.extend_from_slice(&self.reader.chunk(*index)?);
            list.push(RecordChunk { id: chunk.id, len: chunk.len });
        }
        let class = header.class;
        let shape = self.shape.as_ref().filter(|_| class == ChunkClass::Pixels);
        Ok(match self.depot.registry.smallest(&raw, shape, Level::FAST, &self.accepted) {
            Some((codec, payload)) => Record::encode(codec, class, &list, &payload),
            None => Record::encode(CodecId::STORE, class, &list, &raw),
        })
    }

    fn note_damage(&self, at: RecordAt) {
        let study = &self.entry.study;
        let noted = self.depot.index.note_damage(study, &[at]);
        tracing::error!(study = ?study, pack = %at.pack, offset = at.offset, noted = noted.is_ok(), "a record is damaged: send the study again, and it is healed");
    }
}

/// Explicit VR big endian, retired (PS3.5 section A.3).
const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

fn start_of_answer(
    entry: &InstanceEntry,
    table: &FrameTable,
    shape: Option<&ImageShape>,
    plan: Plan,
    starts: &[u64],
) -> FramesStart {
    let uid = |uid: Option<&crate::ids::StandardUid>| uid.map(ToString::to_string).unwrap_or_default();
    let chunk = |index: usize| ChunkPlace {
        offset: starts[index],
        len: entry.chunks[index].len,
        id: Bytes::copy_from_slice(entry.chunks[index].id.as_bytes()),
    };
    FramesStart {
        study: entry.study.to_string(),
        series: entry.series.to_string(),
        sop_instance: entry.sop_instance.to_string(),
        sop_class: uid(entry.sop_class.as_ref()),
        transfer_syntax: uid(entry.transfer_syntax.as_ref()),
        hash: Bytes::copy_from_slice(entry.hash.as_bytes()),
        len: entry.len,
        count: table.len(),
        encapsulated: table.is_encapsulated(),
        shape: shape.map(shape_to_wire),
        chunks: plan.chunks.into_iter().map(chunk).collect(),
        frames: plan.frames,
    }
}

/// What stands before the pixel data of an instance.
struct Front<'a> {
    reader: &'a StoredReader,
    len: u64,
}

impl ReadAt for Front<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        match offset.checked_add(to_u64(buf.len())).filter(|end| *end <= self.len) {
            Some(_) => self.reader.read_exact_at(offset, buf),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The shape by the header; frames are of use without it.
fn shape_of(reader: &StoredReader) -> Option<ImageShape> {
    let front = reader.entry().chunks.iter().take_while(|chunk| chunk.class != ChunkClass::Pixels);
    let len = front.map(|chunk| u64::from(chunk.len)).sum();
    dicom::image_shape(&Front { reader, len }).ok().flatten()
}
