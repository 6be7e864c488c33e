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

/// Decompresses to at most `len` bytes, likewise.
pub(crate) fn decompress(packed: &[u8], len: usize) -> io::Result<Vec<u8>> {
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
