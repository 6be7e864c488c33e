//! Lossless codecs behind a registry.
//!
//! A codec turns the original bytes of one record (up to 1 MiB, one or more chunks of one class) into
//! a payload and back. Which codec a record uses is written in the record, so records of all codecs
//! may be mixed in a transfer and in a store. A receiver names the codecs it can decode; the sender
//! uses no other.
//!
//! Codecs know nothing of files, hashes or the network. Decoders are for hostile input: they never
//! panic, never write more than the length they are told, and take time in proportion to it.
//!
//! # Use without the rest
//!
//! A radiology system that only wants smaller images needs no other module: say what shape the pixels have
//! and give the bytes as they stand in the data set, at most 1 MiB at a time, cut between frames or rows.
//! What comes out has no header with the shape or length for others to read: keep the codec's number and
//! the original length beside it. Several frames of one series in one call give a better ratio than one by
//! one. The program `compress_pixels` among the examples does this for a DICOM file.
//!
//! ```
//! use imgxfer_core::codec::{Codec, Level, Pixel, PixelShape};
//!
//! // Two frames of 64 x 64 pixels, 12 of 16 bits, as (7FE0,0010) holds them.
//! let shape = PixelShape {
//!     rows: 64,
//!     columns: 64,
//!     samples: 1,
//!     bits_allocated: 16,
//!     bits_stored: 12,
//!     high_bit: 11,
//!     signed: false,
//!     planar: false,
//!     big_endian: false,
//! };
//! let raw: Vec<u8> = (0..2 * 64 * 64u16).flat_map(|at| (at % 64 * 7 + at / 64).to_le_bytes()).collect();
//!
//! let coder = Pixel::default();
//! let mut payload = Vec::new();
//! // `false` means that it did not get smaller: keep the bytes as they are.
//! assert!(coder.encode(&raw, Some(&shape), Level::STRONG, &mut payload));
//! assert!(payload.len() * 4 < raw.len());
//!
//! let mut decoded = Vec::new();
//! coder.decode(&payload, 2 * 64 * 64 * 2, &mut decoded)?;
//! assert_eq!(decoded, raw);
//! # Ok::<(), imgxfer_core::codec::CodecError>(())
//! ```

mod level;
mod pixel;
mod recode;
mod store;
pub(crate) mod zstd;

use std::fmt;
use std::sync::Arc;

pub use level::{Level, LevelChoice, NoLevel};
pub use pixel::Pixel;
pub use recode::Recode;
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
    /// Our own coder of pixel data (`docs/pixel-codec.md`).
    pub const PIXEL: Self = Self(2);
    /// Compressed pixel data, decoded and coded better (see `docs/recode.md`).
    pub const RECODE: Self = Self(3);
}

impl fmt::Display for CodecId {
    /// What people call it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("store"),
            1 => f.write_str("zstd"),
            2 => f.write_str("pixel"),
            3 => f.write_str("recode"),
            other => write!(f, "codec {other}"),
        }
    }
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

/// Content that shrinks to less than one part in this may repeat itself.
const REPEATS: usize = 6;
/// What zstd makes of it at other levels is seldom less than one part in this of what it makes at its fastest.
const HARDER: usize = 2;
/// Up to this many bytes every codec is asked.
const LITTLE: usize = 64 << 10;

/// Whether a result is so good that codecs for any content need not be asked: there is much content, and it
/// hardly repeats itself, as a piece of it shows.
fn is_settled(smallest: usize, raw: &[u8]) -> bool {
    if raw.len() <= LITTLE {
        return false;
    }
    if smallest * REPEATS > raw.len() {
        return true;
    }
    let piece = &raw[raw.len() / 2 - LITTLE / 2..][..LITTLE];
    let mut coded = Vec::new();
    let fits = Zstd.encode(piece, None, Level::FAST, &mut coded);
    !fits || coded.len() * (raw.len() / LITTLE) > smallest * HARDER
}

/// A lossless codec.
pub trait Codec: Send + Sync + fmt::Debug {
    /// Its number in records.
    fn id(&self) -> CodecId;

    /// Encodes `raw` behind what `out` holds. Returns whether it did: a codec that does not suit the
    /// content, or would not make it smaller, leaves `out` as it was and returns `false`.
    ///
    /// A record at [`Level::STORE`] is not given to a codec other than [`Store`]; one that is given it all
    /// the same takes it for [`Level::FAST`].
    fn encode(&self, raw: &[u8], shape: Option<&PixelShape>, level: Level, out: &mut Vec<u8>) -> bool;

    /// Decodes `payload` to exactly `raw_len` bytes behind what `out` holds.
    ///
    /// # Errors
    /// [`CodecError`] when the payload is malformed or does not give `raw_len` bytes. What `out` holds
    /// then is unspecified, and at most `raw_len` bytes longer.
    fn decode(&self, payload: &[u8], raw_len: u32, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Whether a payload takes much longer to decode than what this codec makes at [`Level::STRONG`], as its form
    /// shows without decoding it. `false` for one that is malformed.
    fn is_slow(&self, payload: &[u8], raw_len: u32) -> bool {
        let _: (&[u8], u32) = (payload, raw_len);
        false
    }
}

/// The codecs of this program.
#[derive(Debug, Clone)]
pub struct Registry {
    codecs: Arc<[Arc<dyn Codec>]>,
}

impl Default for Registry {
    /// All built-in codecs.
    fn default() -> Self {
        let codecs: [Arc<dyn Codec>; 4] =
            [Arc::new(Store), Arc::new(Zstd), Arc::new(Pixel::default()), Arc::new(Recode::default())];
        Self { codecs: codecs.into() }
    }
}

impl Registry {
    /// Adds a codec, in place of one with the same number.
    #[must_use]
    pub fn with(self, codec: Arc<dyn Codec>) -> Self {
        let id = codec.id();
        let others = self.codecs.iter().filter(|known| known.id() != id).cloned();
        Self { codecs: others.chain([codec]).collect() }
    }

    /// The codec with that number.
    ///
    /// # Errors
    /// [`CodecError::Unknown`].
    pub fn get(&self, id: CodecId) -> Result<&dyn Codec, CodecError> {
        self.codecs.iter().find(|c| c.id() == id).map(AsRef::as_ref).ok_or(CodecError::Unknown(id.0))
    }

    /// Whether a payload takes long to decode ([`Codec::is_slow`]); `false` where the codec is not known.
    #[must_use]
    pub fn is_slow(&self, codec: CodecId, payload: &[u8], raw_len: u32) -> bool {
        self.get(codec).is_ok_and(|codec| codec.is_slow(payload, raw_len))
    }

    /// Appends a payload for `raw`: the smallest that codecs among `accepted` make of it at that level, and
    /// in the end the bytes as they are. Returns whose it is.
    ///
    /// Codecs with higher numbers know the content better and are asked first. The next is asked as well
    /// where it may win in little time: where content repeats itself, as on screens, and where there is
    /// not much of it.
    pub fn encode(
        &self,
        raw: &[u8],
        shape: Option<&PixelShape>,
        level: Level,
        accepted: &[CodecId],
        out: &mut Vec<u8>,
    ) -> CodecId {
        let Some((id, payload)) = self.smallest(raw, shape, level, accepted) else {
            out.extend_from_slice(raw);
            return CodecId::STORE;
        };
        out.extend_from_slice(&payload);
        id
    }

    /// The same, with `None` for the bytes as they are.
    pub(crate) fn smallest(
        &self,
        raw: &[u8],
        shape: Option<&PixelShape>,
        level: Level,
        accepted: &[CodecId],
    ) -> Option<(CodecId, Vec<u8>)> {
        if level == Level::STORE {
            return None;
        }
        let mut best: Option<(CodecId, Vec<u8>)> = None;
        for id in self.ids().into_iter().rev().filter(|id| *id != CodecId::STORE && accepted.contains(id)) {
            let Ok(codec) = self.get(id) else { continue };
            let mut payload = Vec::new();
            if !codec.encode(raw, shape, level, &mut payload) {
                continue;
            }
            if best.as_ref().is_none_or(|(_, smallest)| payload.len() < smallest.len()) {
                best = Some((id, payload));
            }
            if best.as_ref().is_some_and(|(_, smallest)| is_settled(smallest.len(), raw)) {
                break;
            }
        }
        best
    }

    /// The numbers of all codecs, ascending.
    #[must_use]
    pub fn ids(&self) -> Vec<CodecId> {
        let mut ids: Vec<_> = self.codecs.iter().map(|c| c.id()).collect();
        ids.sort_unstable();
        ids
    }
}
