//! Frames of one instance, without a transfer: what is asked for, and the answer, of which nothing is believed that is
//! not proven.
//!
//! ```text
//! FetchFrames   -->                 these frames of this instance
//!               <--  FramesStart    where they stand in its file, and the chunks that hold them
//!               <--  FramesRecord   records with those chunks, until each has come
//! ```
//!
//! What is proven: that the instance is the one that was asked for by study and SOP Instance UID (and hash, where one was
//! named), that each chunk has the content by which it is called, and that the chunks make up the frames' places.
//! Where in the file the frames stand is the other site's word, as it is for whoever asks it for rendered images.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;

use super::ProtocolError;
use crate::codec::{CodecId, Registry};
use crate::dicom::{FrameNumbers, ImageShape, join_fragments};
use crate::ids::{ChunkId, InstanceHash, SeriesUid, SopInstanceUid, StandardUid, StudyUid};
use crate::limits::{CHUNK_BYTES_MAX, FRAMES_BYTES_MAX, FRAMES_CHUNKS_MAX, FRAMES_PER_REQUEST_MAX};
use crate::priority::Priority;
use crate::units::{to_u64, to_usize};
use crate::wire::message::{ChunkPlace, FetchFrames, FrameAt, FramesRecord, FramesStart, Shape};
use crate::wire::record::Record;

/// Codecs of a request that are looked at.
const CODECS_MAX: usize = 256;

/// Which frames of which instance are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameRequest {
    /// The study.
    pub study: StudyUid,
    /// The series, where it matters. Default whichever holds the instance.
    pub series: Option<SeriesUid>,
    /// The instance.
    pub sop_instance: SopInstanceUid,
    /// Which of its contents, by the hash of the whole file. Default the current one.
    pub hash: Option<InstanceHash>,
    /// The frames, counted from 1.
    pub frames: FrameNumbers,
    /// How it ranks among what else is on the line. Default routine.
    pub priority: Priority,
}

impl FrameRequest {
    /// Frames of the current content of an instance.
    #[must_use]
    pub const fn new(study: StudyUid, sop_instance: SopInstanceUid, frames: FrameNumbers) -> Self {
        Self { study, series: None, sop_instance, hash: None, frames, priority: Priority::Routine }
    }

    /// The same of this content.
    #[must_use]
    pub const fn with_hash(mut self, hash: InstanceHash) -> Self {
        self.hash = Some(hash);
        self
    }

    /// The same in this series.
    #[must_use]
    pub fn with_series(mut self, series: SeriesUid) -> Self {
        self.series = Some(series);
        self
    }

    /// The same with another priority.
    #[must_use]
    pub const fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// The same for other frames.
    #[must_use]
    pub fn with_frames(mut self, frames: FrameNumbers) -> Self {
        self.frames = frames;
        self
    }

    /// As a message, of as many frames as one may ask for ([`FRAMES_PER_REQUEST_MAX`]).
    #[must_use]
    pub fn to_wire(&self, codecs: &[CodecId]) -> FetchFrames {
        let (now, _) = self.frames.split_at(FRAMES_PER_REQUEST_MAX);
        FetchFrames {
            study: self.study.to_string(),
            series: self.series.as_ref().map(ToString::to_string).unwrap_or_default(),
            sop_instance: self.sop_instance.to_string(),
            hash: self.hash.map(|hash| Bytes::copy_from_slice(hash.as_bytes())).unwrap_or_default(),
            runs: now.iter().flat_map(FrameNumbers::runs).flat_map(|(first, last)| [*first, *last]).collect(),
            priority: self.priority.number(),
            codecs: codecs.iter().map(|id| u32::from(id.0)).collect(),
        }
    }

    /// From a message, with the codecs that the asker decodes.
    ///
    /// # Errors
    /// [`ProtocolError::Invalid`].
    pub fn from_wire(fetch: &FetchFrames) -> Result<(Self, Vec<CodecId>), ProtocolError> {
        let uid = |_| ProtocolError::Invalid("a UID");
        let series = (!fetch.series.is_empty()).then(|| SeriesUid::new(&fetch.series)).transpose().map_err(uid)?;
        let hash = match fetch.hash.len() {
            0 => None,
            _ => Some(InstanceHash::from_slice(&fetch.hash).ok_or(ProtocolError::Invalid("a hash"))?),
        };
        let wrong = ProtocolError::Invalid("numbers of frames");
        let (twos, []) = fetch.runs.as_chunks::<2>() else { return Err(wrong) };
        let frames = FrameNumbers::of_runs(twos.iter().map(|[first, last]| (*first, *last)));
        let frames = frames.ok().filter(|frames| {
            let as_given =
                frames.runs().iter().flat_map(|(first, last)| [*first, *last]).eq(fetch.runs.iter().copied());
            as_given && frames.len() <= to_u64(FRAMES_PER_REQUEST_MAX)
        });
        let request = Self {
            study: StudyUid::new(&fetch.study).map_err(uid)?,
            series,
            sop_instance: SopInstanceUid::new(&fetch.sop_instance).map_err(uid)?,
            hash,
            frames: frames.ok_or(wrong)?,
            priority: Priority::from_number(fetch.priority),
        };
        let known = fetch.codecs.iter().take(CODECS_MAX).filter_map(|id| u8::try_from(*id).ok()).map(CodecId);
        let mut codecs = vec![CodecId::STORE];
        codecs.extend(known.filter(|id| *id != CodecId::STORE));
        Ok((request, codecs))
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// Its number, counted from 1.
    pub number: u32,
    /// Its bytes: as they stand in native pixel data; the fragments joined in encapsulated pixel data (PS3.5 section A.4).
    pub bytes: Bytes,
    /// In the first byte, how many of the lowest bits belong to the frame before: 0 but for native frames of single bits
    /// that do not begin on a whole byte (PS3.5 section 8.1.1).
    pub bit_offset: u8,
}

/// Frames of an instance, and what is needed to show them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frames {
    /// The study.
    pub study: StudyUid,
    /// The series.
    pub series: SeriesUid,
    /// The instance.
    pub sop_instance: SopInstanceUid,
    /// SOP Class UID (0008,0016).
    pub sop_class: Option<StandardUid>,
    /// Transfer Syntax UID (0002,0010): how the frames are encoded.
    pub transfer_syntax: Option<StandardUid>,
    /// Hash of the whole file: which content it is.
    pub hash: InstanceHash,
    /// Length of the whole file in bytes.
    pub len: u64,
    /// How many frames the instance has.
    pub count: u32,
    /// Whether the frames stood in fragments: each is a stream of its transfer syntax's coder then.
    pub encapsulated: bool,
    /// Rows, columns and so on by the instance's attributes, where they are there. The other site's word.
    pub shape: Option<ImageShape>,
    /// The frames, by their number.
    pub frames: Vec<Frame>,
    /// Frames that were asked for and are more than one answer brings: to be asked for next.
    pub rest: Option<FrameNumbers>,
}

/// Takes an answer in.
#[derive(Debug)]
pub struct FramesReceiver {
    request: FrameRequest,
    registry: Registry,
    answer: Option<Taking>,
}

/// An answer that has begun.
#[derive(Debug)]
struct Taking {
    /// All but the bytes of the frames.
    frames: Frames,
    ranges: Vec<Range<u64>>,
    places: Vec<Place>,
    /// Length of each chunk, and its bytes when they have come.
    chunks: HashMap<ChunkId, (u32, Option<Bytes>)>,
    missing: usize,
}

/// A chunk in the file.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    len: u32,
    id: ChunkId,
}

impl Place {
    fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }
}

impl FramesReceiver {
    /// Waits for the answer to `request`; decodes with the codecs of `registry`.
    #[must_use]
    pub const fn new(request: FrameRequest, registry: Registry) -> Self {
        Self { request, registry, answer: None }
    }

    /// Takes the beginning of the answer. Reserves no memory for what it announces.
    ///
    /// # Errors
    /// [`ProtocolError`]: it is about something else than was asked for, or breaks a limit.
    pub fn handle_start(&mut self, start: &FramesStart) -> Result<(), ProtocolError> {
        if self.answer.is_some() {
            return Err(ProtocolError::Unexpected("a second beginning"));
        }
        let frames = self.about(start)?;
        let ranges = ranges(&start.frames, start.len, start.encapsulated)?;
        let places = places(&start.chunks, start.len)?;
        cover(&ranges, &places)?;
        let mut chunks = HashMap::new();
        for place in &places {
            if chunks.entry(place.id).or_insert((place.len, None)).0 != place.len {
                return Err(ProtocolError::Invalid("one chunk with two lengths"));
            }
        }
        let missing = chunks.len();
        self.answer = Some(Taking { frames, ranges, places, chunks, missing });
        Ok(())
    }

    /// What the answer says of the instance: the one that was asked for.
    fn about(&self, start: &FramesStart) -> Result<Frames, ProtocolError> {
        let uid = |_| ProtocolError::Invalid("a UID");
        let optional = |text: &str| (!text.is_empty()).then(|| StandardUid::new(text)).transpose().map_err(uid);
        let asked = &self.request;
        let study = StudyUid::new(&start.study).map_err(uid)?;
        let series = SeriesUid::new(&start.series).map_err(uid)?;
        let sop_instance = SopInstanceUid::new(&start.sop_instance).map_err(uid)?;
        let hash = InstanceHash::from_slice(&start.hash).ok_or(ProtocolError::Invalid("a hash"))?;
        let is_other = study != asked.study
            || sop_instance != asked.sop_instance
            || asked.series.as_ref().is_some_and(|asked| *asked != series)
            || asked.hash.is_some_and(|asked| asked != hash);
        if is_other {
            return Err(ProtocolError::Invalid("another instance than was asked for"));
        }
        let (wanted, _) = asked.frames.split_at(FRAMES_PER_REQUEST_MAX);
        let (now, rest) = asked.frames.split_at(start.frames.len());
        let is_some = wanted.is_some_and(|wanted| to_u64(start.frames.len()) <= wanted.len());
        let Some(now) = now.filter(|now| is_some && now.last() <= start.count) else {
            return Err(ProtocolError::Invalid("other frames than were asked for"));
        };
        let frame = |(number, at): (u32, &FrameAt)| {
            let bit_offset = u8::try_from(at.bit_offset).ok().filter(|bits| *bits < 8);
            Some(Frame { number, bytes: Bytes::new(), bit_offset: bit_offset? })
        };
        let frames = now.iter().zip(&start.frames).map(frame).collect::<Option<_>>();
        Ok(Frames {
            study,
            series,
            sop_instance,
            sop_class: optional(&start.sop_class)?,
            transfer_syntax: optional(&start.transfer_syntax)?,
            hash,
            len: start.len,
            count: start.count,
            encapsulated: start.encapsulated,
            shape: start.shape.as_ref().map(shape_from_wire).transpose()?,
            frames: frames.ok_or(ProtocolError::Invalid("a beginning within a byte"))?,
            rest,
        })
    }

    /// Takes a record, and returns whether all has come. Decodes up to 1 MiB.
    ///
    /// # Errors
    /// [`ProtocolError`]: it is none, brings nothing that is wanted, or a chunk in it is not what it is called.
    pub fn handle_record(&mut self, record: FramesRecord) -> Result<bool, ProtocolError> {
        let Some(answer) = &mut self.answer else { return Err(ProtocolError::Unexpected("a record")) };
        let record = Record::decode(record.record).map_err(|_| ProtocolError::Invalid("a record"))?;
        let header = record.header();
        let is_wanted = |id: &ChunkId| answer.chunks.get(id).is_some_and(|(_, bytes)| bytes.is_none());
        if !header.chunks.iter().any(|chunk| is_wanted(&chunk.id)) {
            return Err(ProtocolError::Invalid("a record that nobody asked for"));
        }
        let raw_len = header.raw_len();
        let mut raw = Vec::new();
        let decoded =
            self.registry.get(header.codec).and_then(|codec| codec.decode(record.payload(), raw_len, &mut raw));
        if decoded.is_err() || to_u64(raw.len()) != u64::from(raw_len) {
            return Err(ProtocolError::Invalid("a record"));
        }
        let raw = Bytes::from(raw);
        let mut end = 0;
        for chunk in &header.chunks {
            let start = end;
            end += to_usize(u64::from(chunk.len));
            let Some((len, bytes @ None)) = answer.chunks.get_mut(&chunk.id) else { continue };
            let content = raw.slice(start..end);
            if *len != chunk.len || ChunkId::of(&content) != chunk.id {
                return Err(ProtocolError::Invalid("a chunk that is not what it is called"));
            }
            // A small piece must not keep a whole record.
            let is_most = content.len() * 2 >= raw.len();
            *bytes = Some(if is_most { content } else { Bytes::copy_from_slice(&content) });
            answer.missing -= 1;
        }
        Ok(answer.missing == 0)
    }

    /// The frames, when all has come.
    ///
    /// # Errors
    /// [`ProtocolError`]: something is missing, or a frame is not made of whole fragments.
    pub fn finish(self) -> Result<Frames, ProtocolError> {
        let cut = ProtocolError::Unexpected("an end before all had come");
        let Some(mut answer) = self.answer.filter(|answer| answer.missing == 0) else { return Err(cut) };
        let mut frames = std::mem::take(&mut answer.frames.frames);
        for (frame, range) in frames.iter_mut().zip(&answer.ranges) {
            let bytes = answer.bytes(range).ok_or_else(|| cut.clone())?;
            frame.bytes = match answer.frames.encapsulated {
                true => join_fragments(&bytes).ok_or(ProtocolError::Invalid("a frame"))?.into(),
                false => bytes,
            };
        }
        Ok(Frames { frames, ..answer.frames })
    }
}

impl Taking {
    /// What stands in a part of the file that the chunks cover; a copy only where several do.
    fn bytes(&self, range: &Range<u64>) -> Option<Bytes> {
        let mut at = range.start;
        let mut joined = Vec::new();
        for place in &self.places[self.places.partition_point(|place| place.end() <= at)..] {
            let chunk = self.chunks.get(&place.id)?.1.as_ref()?;
            let from = to_usize(at.checked_sub(place.offset)?);
            let to = to_usize(range.end.min(place.end()) - place.offset);
            let part = chunk.get(from..to)?;
            if at == range.start && range.end <= place.end() {
                return Some(chunk.slice(from..to));
            }
            joined.extend_from_slice(part);
            at = place.end();
            if at >= range.end {
                return Some(joined.into());
            }
        }
        None
    }
}

/// Where the frames stand: ascending, within the file, and within the limit together.
fn ranges(frames: &[FrameAt], len: u64, encapsulated: bool) -> Result<Vec<Range<u64>>, ProtocolError> {
    let wrong = ProtocolError::Invalid("the place of a frame");
    let (mut found, mut before, mut sum) = (Vec::new(), 0u64, 0u64);
    for frame in frames {
        // Frames that begin within a byte share it with the frame before.
        let shared = u64::from(frame.bit_offset > 0);
        let end = frame.offset.checked_add(frame.len).filter(|end| *end <= len && frame.len > 0);
        let Some(end) = end.filter(|_| frame.offset >= before.saturating_sub(shared)) else { return Err(wrong) };
        if encapsulated && frame.bit_offset > 0 {
            return Err(wrong);
        }
        sum = sum.saturating_add(frame.len);
        if sum > FRAMES_BYTES_MAX {
            return Err(ProtocolError::Invalid("more bytes of frames than one request may bring"));
        }
        found.push(frame.offset..end);
        before = end;
    }
    Ok(found)
}

/// Where the chunks stand: ascending, within the file, and within the limits.
fn places(chunks: &[ChunkPlace], len: u64) -> Result<Vec<Place>, ProtocolError> {
    if chunks.len() > FRAMES_CHUNKS_MAX {
        return Err(ProtocolError::Invalid("more chunks than one request may bring"));
    }
    let wrong = ProtocolError::Invalid("the place of a chunk");
    let (mut found, mut before, mut sum) = (Vec::new(), 0u64, 0u64);
    for chunk in chunks {
        let id = ChunkId::from_slice(&chunk.id).filter(|_| (1..=CHUNK_BYTES_MAX).contains(&chunk.len));
        let end = chunk.offset.checked_add(u64::from(chunk.len)).filter(|end| *end <= len);
        let (Some(id), Some(end)) = (id, end.filter(|_| chunk.offset >= before)) else { return Err(wrong) };
        sum += u64::from(chunk.len);
        if sum > FRAMES_BYTES_MAX {
            return Err(ProtocolError::Invalid("more bytes of chunks than one request may bring"));
        }
        found.push(Place { offset: chunk.offset, len: chunk.len, id });
        before = end;
    }
    Ok(found)
}

/// The chunks must hold all of each frame, and each some of one.
fn cover(ranges: &[Range<u64>], places: &[Place]) -> Result<(), ProtocolError> {
    let wrong = ProtocolError::Invalid("chunks that do not make up the frames");
    let mut used = vec![false; places.len()];
    for range in ranges {
        let mut at = range.start;
        for index in places.partition_point(|place| place.end() <= at)..places.len() {
            if places[index].offset > at {
                return Err(wrong);
            }
            used[index] = true;
            at = places[index].end();
            if at >= range.end {
                break;
            }
        }
        if at < range.end {
            return Err(wrong);
        }
    }
    if used.into_iter().all(|used| used) { Ok(()) } else { Err(wrong) }
}

/// A shape as a message.
#[must_use]
pub fn shape_to_wire(shape: &ImageShape) -> Shape {
    Shape {
        rows: shape.rows,
        columns: shape.columns,
        samples: u32::from(shape.samples),
        photometric: shape.photometric.clone(),
        planar: shape.planar,
        bits_allocated: u32::from(shape.bits_allocated),
        bits_stored: u32::from(shape.bits_stored),
        high_bit: u32::from(shape.high_bit),
        signed: shape.signed,
    }
}

fn shape_from_wire(shape: &Shape) -> Result<ImageShape, ProtocolError> {
    let small = |number: u32| u16::try_from(number).map_err(|_| ProtocolError::Invalid("the shape of a frame"));
    Ok(ImageShape {
        rows: shape.rows,
        columns: shape.columns,
        samples: small(shape.samples)?,
        photometric: ImageShape::code(&shape.photometric),
        planar: shape.planar,
        bits_allocated: small(shape.bits_allocated)?,
        bits_stored: small(shape.bits_stored)?,
        high_bit: small(shape.high_bit)?,
        signed: shape.signed,
    })
}

#[cfg(all(test, feature = "sim"))]
mod tests;
