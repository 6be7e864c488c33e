//! Lossless codecs behind a registry.
//!
//! A codec turns the original bytes of one record (up to 1 MiB, one or more chunks of one class) into
//! a payload and back. Which codec a record uses is written in the record, so records of all codecs
//! may be mixed in a transfer and in a store. A receiver names the codecs it can decode; the sender
//! uses no other.
//!
//! Codecs know nothing of files, hashes or the network. Decoders are for hostile input: they never
//! panic, never write more than the length they are told, and take time in proportion to it.

mod pixel;
mod store;
mod zstd;

use std::sync::Arc;

pub use store::Store;
pub use zstd::Zstd;

/// Number of a codec in a record (see `docs/wire-format.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodecId(pub u8);

impl CodecId {
    /// The original bytes as they are.
    pub const STORE: Self = Self(0);
    /// One zstd frame (RFC 8878).
    pub const ZSTD: Self = Self(1);
}

/// Shape of native pixel data, for codecs that predict pixels from their neighbours.
///
/// A chunk may begin and end on any row boundary of a frame, and hold several frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelShape {
    /// Rows of a frame (0028,0010).
    pub rows: u32,
    /// Columns of a frame (0028,0011).
    pub columns: u32,
    /// Samples per pixel (0028,0002).
    pub samples: u16,
    /// Bits allocated per sample (0028,0100): 1, 8, 16, 32 or 64.
    pub bits_allocated: u16,
    /// Bits stored per sample (0028,0101).
    pub bits_stored: u16,
    /// High bit (0028,0102).
    pub high_bit: u16,
    /// Whether samples are two's complement (0028,0103).
    pub signed: bool,
    /// Whether samples of one kind stand together (0028,0006).
    pub planar: bool,
    /// Whether samples of more than 8 bits are big endian.
    pub big_endian: bool,
}

/// How hard to try: from 0, as fast as possible, to 4, as small as possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Effort(u8);

impl Effort {
    /// As fast as possible.
    pub const FASTEST: Self = Self(0);
    /// A good ratio at a speed for lines of some 100 Mbit/s.
    pub const DEFAULT: Self = Self(2);
    /// As small as possible.
    pub const SMALLEST: Self = Self(4);

    /// Clamps to the range.
    #[must_use]
    pub fn new(effort: u8) -> Self {
        Self(effort.min(Self::SMALLEST.0))
    }

    /// 0 to 4.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// Why a payload could not be decoded. Always the fault of whoever wrote the record, or damage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// No such codec here.
    #[error("codec {0} is not known to this program; the other site may be newer")]
    Unknown(u8),
    /// The payload is not what the codec writes.
    #[error("the payload is not valid for codec {0}")]
    Malformed(u8),
    /// The payload decodes to another length than the record says.
    #[error("the payload does not decode to the {expected} bytes that the record names")]
    Length {
        /// Original length by the record.
        expected: u32,
    },
}

/// A lossless codec.
pub trait Codec: Send + Sync + std::fmt::Debug {
    /// Its number in records.
    fn id(&self) -> CodecId;

    /// Encodes `raw` behind what `out` holds. Returns whether it did: a codec that does not suit the
    /// content, or would not make it smaller, leaves `out` as it was and returns `false`.
    fn encode(&self, raw: &[u8], shape: Option<&PixelShape>, effort: Effort, out: &mut Vec<u8>) -> bool;

    /// Decodes `payload` to exactly `raw_len` bytes behind what `out` holds.
    ///
    /// # Errors
    /// [`CodecError`] when the payload is malformed or does not give `raw_len` bytes. What `out` holds
    /// then is unspecified, and at most `raw_len` bytes longer.
    fn decode(&self, payload: &[u8], raw_len: u32, out: &mut Vec<u8>) -> Result<(), CodecError>;
}

/// The codecs of this program.
#[derive(Debug, Clone)]
pub struct Registry {
    codecs: Vec<Arc<dyn Codec>>,
}

impl Default for Registry {
    /// All built-in codecs.
    fn default() -> Self {
        Self { codecs: vec![Arc::new(Store), Arc::new(Zstd)] }
    }
}

impl Registry {
    /// Adds a codec, in place of one with the same number.
    #[must_use]
    pub fn with(mut self, codec: Arc<dyn Codec>) -> Self {
        self.codecs.retain(|c| c.id() != codec.id());
        self.codecs.push(codec);
        self
    }

    /// The codec with that number.
    ///
    /// # Errors
    /// [`CodecError::Unknown`].
    pub fn get(&self, id: CodecId) -> Result<&dyn Codec, CodecError> {
        self.codecs.iter().find(|c| c.id() == id).map(AsRef::as_ref).ok_or(CodecError::Unknown(id.0))
    }

    /// The numbers of all codecs, ascending.
    #[must_use]
    pub fn ids(&self) -> Vec<CodecId> {
        let mut ids: Vec<_> = self.codecs.iter().map(|c| c.id()).collect();
        ids.sort_unstable();
        ids
    }
}
