//! zstd (RFC 8878) on the bytes as they are: for headers, for what is not pixels, and for any pixel
//! data that no closer model fits.

use super::{Codec, CodecError, CodecId, Effort, PixelShape};
use crate::units::{to_u64, to_usize};

/// One zstd frame per record.
#[derive(Debug, Clone, Copy)]
pub struct Zstd;

/// zstd levels by effort. Above 12 a level costs several times the time for a few hundredths of ratio
/// on medical images.
const LEVELS: [i32; 5] = [1, 2, 3, 9, 12];

impl Codec for Zstd {
    fn id(&self) -> CodecId {
        CodecId::ZSTD
    }

    fn encode(&self, raw: &[u8], _: Option<&PixelShape>, effort: Effort, out: &mut Vec<u8>) -> bool {
        let Ok(packed) = zstd::bulk::compress(raw, LEVELS[usize::from(effort.get())]) else {
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
