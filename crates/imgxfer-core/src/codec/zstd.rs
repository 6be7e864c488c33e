//! zstd (RFC 8878) on the bytes as they are: for headers, for what is not pixels, and for any pixel
//! data that no closer model fits.

use super::{Codec, CodecError, CodecId, Level, PixelShape};
use crate::units::{to_u64, to_usize};

/// One zstd frame per record.
#[derive(Debug, Clone, Copy)]
pub struct Zstd;

/// zstd's own levels, by level; the first is for a caller who compresses what he need not.
const LEVELS: [i32; Level::COUNT] = [1, 1, 3, 9, 19];

impl Codec for Zstd {
    fn id(&self) -> CodecId {
        CodecId::ZSTD
    }

    fn encode(&self, raw: &[u8], _: Option<&PixelShape>, level: Level, out: &mut Vec<u8>) -> bool {
        let Ok(packed) = zstd::bulk::compress(raw, LEVELS[usize::from(level.get())]) else {
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
        let raw = zstd::bulk::decompress(payload, to_usize(u64::from(raw_len)))
            .map_err(|_| CodecError::Malformed(CodecId::ZSTD.0))?;
        if to_u64(raw.len()) != u64::from(raw_len) {
            return Err(CodecError::Length { expected: raw_len });
        }
        out.extend_from_slice(&raw);
        Ok(())
    }
}
