//! zstd (RFC 8878) on the bytes as they are: for headers, for what is not pixels, and for any pixel
//! data that no closer model fits.

use std::cell::RefCell;
use std::io;

use zstd::bulk::{Compressor, Decompressor};

use super::{Codec, CodecError, CodecId, Level, PixelShape};
use crate::units::{to_u64, to_usize};

/// One zstd frame per record.
#[derive(Debug, Clone, Copy)]
pub struct Zstd;

/// zstd's own levels, by level; the first is for a caller who compresses what he need not.
const LEVELS: [i32; Level::COUNT] = [1, 1, 3, 9, 19];

/// How a frame begins (RFC 8878, section 3.1.1).
const FRAME_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Content over this length is looked at before it is compressed ...
const LOOK_OVER: usize = 64 << 10;
/// ... in so many pieces of this length, spread over it.
const PIECES: usize = 4;
const PIECE_BYTES: usize = 4 << 10;

/// Levels up to this one are cheap to keep ready: some 2 MiB a thread. Higher ones take far longer than making
/// their context does.
const KEPT_LEVEL_MAX: i32 = 3;

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses with what this thread keeps for it: making that anew takes longer than a small page or record does.
pub(crate) fn compress(raw: &[u8], level: i32) -> io::Result<Vec<u8>> {
    if level > KEPT_LEVEL_MAX {
        return zstd::bulk::compress(raw, level);
    }
    let mut compressor = match COMPRESSOR.take() {
        Some(compressor) => compressor,
        None => Compressor::new(level)?,
    };
    compressor.set_compression_level(level)?;
    let packed = compressor.compress(raw);
    COMPRESSOR.set(Some(compressor));
    packed
}

/// Decompresses one frame to at most `len` bytes, likewise. Refuses what has anything before or behind it.
pub(crate) fn decompress(packed: &[u8], len: usize) -> io::Result<Vec<u8>> {
    // zstd itself goes on with the next frame, and passes over those that hold nothing.
    let begins = packed.starts_with(&FRAME_MAGIC);
    if !begins || ::zstd::zstd_safe::find_frame_compressed_size(packed) != Ok(packed.len()) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not one zstd frame"));
    }
    let mut decompressor = match DECOMPRESSOR.take() {
        Some(decompressor) => decompressor,
        None => Decompressor::new()?,
    };
    let raw = decompressor.decompress(packed, len);
    DECOMPRESSOR.set(Some(decompressor));
    raw
}

/// Whether compressing is worth a try. What is compressed or encrypted already costs as much time as what is
/// not, the more the higher the level, and gains nothing: a few pieces tell at a tenth of that cost or less.
/// At the highest level all of it is looked at, since it takes hundreds of times as long as the fastest.
fn may_shrink(raw: &[u8], level: Level) -> bool {
    if raw.len() <= LOOK_OVER {
        return true;
    }
    let shrinks = |bytes: &[u8]| compress(bytes, LEVELS[1]).is_ok_and(|packed| packed.len() < bytes.len());
    if level == Level::COPPER {
        return shrinks(raw);
    }
    let step = (raw.len() - PIECE_BYTES) / (PIECES - 1);
    shrinks(&(0..PIECES).flat_map(|piece| &raw[piece * step..][..PIECE_BYTES]).copied().collect::<Vec<u8>>())
}

impl Codec for Zstd {
    fn id(&self) -> CodecId {
        CodecId::ZSTD
    }

    fn encode(&self, raw: &[u8], _: Option<&PixelShape>, level: Level, out: &mut Vec<u8>) -> bool {
        if !may_shrink(raw, level) {
            return false;
        }
        let Ok(packed) = compress(raw, LEVELS[usize::from(level.get())]) else {
            return false;
        };
        let smaller = packed.len() < raw.len();
        if smaller {
            out.extend_from_slice(&packed);
        }
        smaller
    }

    fn decode(&self, payload: &[u8], raw_len: u32, out: &mut Vec<u8>) -> Result<(), CodecError> {
        // The output buffer is the cap: zstd stops with an error when it is full.
        let raw =
            decompress(payload, to_usize(u64::from(raw_len))).map_err(|_| CodecError::Malformed(CodecId::ZSTD.0))?;
        if to_u64(raw.len()) != u64::from(raw_len) {
            return Err(CodecError::Length { expected: raw_len });
        }
        out.extend_from_slice(&raw);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One content has one form: what stands behind a frame would be carried and kept unseen.
    #[test]
    fn two_frames_one_behind_the_other_are_refused() {
        let half = |byte: u8| compress(&[byte; 500], 3).unwrap();
        let empty = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
        let whole = compress(&[7; 1000], 3).unwrap();
        assert_eq!(decompress(&whole, 1000).unwrap(), [7; 1000]);
        let behind = |first: &[u8], second: &[u8]| [first, second].concat();
        for payload in [behind(&half(7), &half(7)), behind(&whole, &empty), behind(&empty, &whole)] {
            assert!(decompress(&payload, 1000).is_err(), "{} bytes", payload.len());
            let mut out = Vec::new();
            assert_eq!(Zstd.decode(&payload, 1000, &mut out), Err(CodecError::Malformed(CodecId::ZSTD.0)));
        }
    }
}
