//! The record: one or more chunks under one codec. The unit on the wire and at rest.
//!
//! A record is self-describing and carries its own check, so a pack can be read back after a crash
//! without any other index. Its layout is in `docs/wire-format.md`:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | magic `IXR1` |
//! | 4 | 1 | codec |
//! | 5 | 1 | chunk class |
//! | 6 | 2 | number of chunks n, 1 to 256 |
//! | 8 | 4 | payload length |
//! | 12 | 4 | original length of all chunks together |
//! | 16 | 8 | check: the first 8 bytes of BLAKE3 over bytes 0 to 15, the chunk list and the payload |
//! | 24 | 36 n | per chunk: identity (32 bytes), original length (4 bytes) |
//! | 24 + 36 n | payload length | payload |
//!
//! The check finds damage; it proves nothing about content. Content is proven by decoding and hashing each chunk.

use bytes::{Bytes, BytesMut};

#[cfg(feature = "quic")]
use super::buffers::Buffer;
use super::bytes::{Reader, Truncated};
use crate::chunk::ChunkClass;
use crate::codec::CodecId;
use crate::ids::ChunkId;
use crate::limits::{CHUNK_BYTES_MAX, CHUNKS_PER_RECORD_MAX, RECORD_RAW_BYTES_MAX};
use crate::units::{to_u32, to_usize};

/// First bytes of every record: format and version.
pub const RECORD_MAGIC: [u8; 4] = *b"IXR1";
/// Length of the fixed part.
pub const RECORD_FIXED_BYTES: usize = 24;
/// Length of one entry of the chunk list.
pub const RECORD_CHUNK_BYTES: usize = 36;
/// Length of the longest record.
pub const RECORD_BYTES_MAX: usize = RECORD_FIXED_BYTES + CHUNKS_PER_RECORD_MAX * RECORD_CHUNK_BYTES + 1024 * 1024;

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The record ends before it should.
    #[error("the record is cut short")]
    Truncated,
    /// Another format or version.
    #[error("not a record of a version this program knows")]
    Magic,
    /// A count or length outside its limits.
    #[error("the record gives {what} as {value}, outside what is allowed")]
    Limit {
        /// The quantity.
        what: &'static str,
        /// Its value.
        value: u32,
    },
    /// An unknown class of chunk.
    #[error("the record holds an unknown chunk class {0}")]
    Class(u8),
    /// The check does not match: the record is damaged.
    #[error("the record is damaged: its check does not match")]
    Check,
}

impl From<Truncated> for RecordError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// One chunk of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordChunk {
    /// Identity: BLAKE3 of the original bytes. A claim until they have been hashed.
    pub id: ChunkId,
    /// Original length in bytes.
    pub len: u32,
}

/// Everything of a record but its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// How the payload is encoded. May be one that this program does not know.
    pub codec: CodecId,
    /// What the chunks hold.
    pub class: ChunkClass,
    /// The chunks, in the order in which the decoded payload holds them.
    pub chunks: Vec<RecordChunk>,
    /// Length of the payload in bytes.
    pub payload_len: u32,
    /// The check as it was written.
    check: [u8; 8],
}

/// The fixed part, checked against the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordFixed {
    codec: CodecId,
    class: ChunkClass,
    count: u16,
    payload_len: u32,
    raw_len: u32,
    check: [u8; 8],
}

impl RecordFixed {
    /// Reads the first [`RECORD_FIXED_BYTES`] bytes of a record.
    ///
    /// # Errors
    /// [`RecordError`] when they are none or name sizes outside the limits.
    pub fn decode(bytes: &[u8; RECORD_FIXED_BYTES]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        if reader.array::<4>()? != RECORD_MAGIC {
            return Err(RecordError::Magic);
        }
        let codec = CodecId(reader.u8()?);
        let class = reader.u8()?;
        let class = ChunkClass::from_byte(class).filter(|c| c.in_record() == *c).ok_or(RecordError::Class(class))?;
        let count = reader.u16()?;
        let payload_len = reader.u32()?;
        let raw_len = reader.u32()?;
        let check = reader.array()?;
        if count == 0 || usize::from(count) > CHUNKS_PER_RECORD_MAX {
            return Err(RecordError::Limit { what: "number of chunks", value: u32::from(count) });
        }
        if raw_len == 0 || raw_len > RECORD_RAW_BYTES_MAX {
            return Err(RecordError::Limit { what: "original length", value: raw_len });
        }
        if payload_len == 0 || payload_len > raw_len {
            return Err(RecordError::Limit { what: "payload length", value: payload_len });
        }
        Ok(Self { codec, class, count, payload_len, raw_len, check })
    }

    /// Bytes of the chunk list and the payload that follow the fixed part.
    #[must_use]
    pub fn rest_len(&self) -> usize {
        self.list_len() + to_usize(u64::from(self.payload_len))
    }

    /// Bytes of the chunk list.
    #[must_use]
    pub fn list_len(&self) -> usize {
        usize::from(self.count) * RECORD_CHUNK_BYTES
    }

    /// Reads the chunk list.
    ///
    /// # Errors
    /// [`RecordError`] when it is short or its lengths do not add up.
    pub fn with_list(&self, list: &[u8]) -> Result<RecordHeader, RecordError> {
        let mut reader = Reader::new(list);
        let mut chunks = Vec::with_capacity(usize::from(self.count));
        let mut sum = 0u32;
        for _ in 0..self.count {
            let id = ChunkId::from_bytes(reader.array()?);
            let len = reader.u32()?;
            if len == 0 || len > CHUNK_BYTES_MAX {
                return Err(RecordError::Limit { what: "chunk length", value: len });
            }
            // No overflow: at most 256 x 1 MiB.
            sum += len;
            chunks.push(RecordChunk { id, len });
        }
        if sum != self.raw_len {
            return Err(RecordError::Limit { what: "sum of chunk lengths", value: sum });
        }
        Ok(RecordHeader {
            codec: self.codec,
            class: self.class,
            chunks,
            payload_len: self.payload_len,
            check: self.check,
        })
    }
}

impl RecordHeader {
    /// Original length of all chunks together, at most [`RECORD_RAW_BYTES_MAX`].
    #[must_use]
    pub fn raw_len(&self) -> u32 {
        self.chunks.iter().map(|c| c.len).sum()
    }

    /// Length of the whole record.
    #[must_use]
    pub fn record_len(&self) -> u32 {
        to_u32(self.payload_at()) + self.payload_len
    }

    const fn payload_at(&self) -> usize {
        Record::room(self.chunks.len())
    }
}

/// A whole record whose check has been found right, or whose reader hashes what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    header: RecordHeader,
    bytes: Bytes,
}

impl Record {
    /// Writes a record.
    ///
    /// # Panics
    /// When a chunk list or payload breaks the limits of this format: that is a mistake of the caller's.
    #[must_use]
    pub fn encode(codec: CodecId, class: ChunkClass, chunks: &[RecordChunk], payload: &[u8]) -> Self {
        let room = Self::room(chunks.len());
        let mut out = Vec::with_capacity(room + payload.len());
        out.resize(room, 0);
        out.extend_from_slice(payload);
        Self::seal(codec, class, chunks, out)
    }

    /// Bytes that stand before the payload of a record of so many chunks.
    #[must_use]
    pub const fn room(chunks: usize) -> usize {
        RECORD_FIXED_BYTES + chunks * RECORD_CHUNK_BYTES
    }

    /// Makes a record of a buffer that holds the payload behind [`Record::room`] bytes, without copying it.
    ///
    /// # Panics
    /// As [`Record::encode`].
    #[must_use]
    pub fn seal(codec: CodecId, class: ChunkClass, chunks: &[RecordChunk], mut out: Vec<u8>) -> Self {
        let header = Self::write_head(codec, class, chunks, &mut out);
        Self { header, bytes: out.into() }
    }

    /// The same in a buffer that is used again when nobody holds the record any more.
    #[cfg(feature = "quic")]
    pub(crate) fn seal_in(codec: CodecId, class: ChunkClass, chunks: &[RecordChunk], mut out: Buffer) -> Self {
        let header = Self::write_head(codec, class, chunks, &mut out);
        Self { header, bytes: out.into() }
    }

    fn write_head(codec: CodecId, class: ChunkClass, chunks: &[RecordChunk], out: &mut [u8]) -> RecordHeader {
        let room = Self::room(chunks.len());
        let payload_len = out.len().saturating_sub(room);
        let raw_len: u32 = chunks.iter().map(|c| c.len).sum();
        assert!((1..=CHUNKS_PER_RECORD_MAX).contains(&chunks.len()), "a record holds 1 to 256 chunks");
        assert!((1..=RECORD_RAW_BYTES_MAX).contains(&raw_len), "a record holds up to 1 MiB of original bytes");
        assert!((1..=to_usize(u64::from(raw_len))).contains(&payload_len), "a payload never grows");
        out[..4].copy_from_slice(&RECORD_MAGIC);
        (out[4], out[5]) = (codec.0, class.to_byte());
        out[6..8].copy_from_slice(&u16::try_from(chunks.len()).unwrap_or(u16::MAX).to_le_bytes());
        out[8..12].copy_from_slice(&to_u32(payload_len).to_le_bytes());
        out[12..16].copy_from_slice(&raw_len.to_le_bytes());
        let list = out[RECORD_FIXED_BYTES..room].chunks_exact_mut(RECORD_CHUNK_BYTES);
        for (place, chunk) in list.zip(chunks) {
            place[..32].copy_from_slice(chunk.id.as_bytes());
            place[32..].copy_from_slice(&chunk.len.to_le_bytes());
        }
        let check = check_of(out);
        out[16..24].copy_from_slice(&check);
        RecordHeader { codec, class, chunks: chunks.to_vec(), payload_len: to_u32(payload_len), check }
    }

    /// Reads exactly one record and compares its check.
    ///
    /// # Errors
    /// [`RecordError`] when it is none, breaks a limit, is longer or shorter than it says, or is damaged.
    pub fn decode(bytes: Bytes) -> Result<Self, RecordError> {
        let record = Self::decode_unchecked(bytes)?;
        if check_of(&record.bytes) != record.header.check {
            return Err(RecordError::Check);
        }
        Ok(record)
    }

    /// Reads exactly one record without comparing its check: for who hashes what it holds.
    ///
    /// # Errors
    /// [`RecordError`] when it is none, breaks a limit, or is longer or shorter than it says.
    pub(crate) fn decode_unchecked(bytes: Bytes) -> Result<Self, RecordError> {
        let mut reader = Reader::new(&bytes);
        let fixed = RecordFixed::decode(&reader.array()?)?;
        if reader.remaining() != fixed.rest_len() {
            return Err(RecordError::Truncated);
        }
        let header = fixed.with_list(reader.take(fixed.list_len())?)?;
        Ok(Self { header, bytes })
    }

    /// Everything but the payload.
    #[must_use]
    pub const fn header(&self) -> &RecordHeader {
        &self.header
    }

    /// The encoded chunks.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.header.payload_at()..]
    }

    /// The encoded chunks, without a copy.
    #[must_use]
    pub fn payload_bytes(&self) -> Bytes {
        self.bytes.slice(self.header.payload_at()..)
    }

    /// The bytes of a record that is not needed any more, to be used again; `None` when others hold them, too.
    #[must_use]
    pub fn into_buffer(self) -> Option<BytesMut> {
        self.bytes.try_into_mut().ok()
    }

    /// The whole record as it travels and rests.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// The check over a whole record, whatever stands in its check field.
fn check_of(record: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&record[..16]);
    hasher.update(&record[RECORD_FIXED_BYTES..]);
    let mut check = [0; 8];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    check
}
