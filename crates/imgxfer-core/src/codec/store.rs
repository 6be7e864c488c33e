//! No compression: for lines faster than any codec, and for content that does not shrink.

use super::{Codec, CodecError, CodecId, Level, PixelShape};
use crate::units::to_u64;

/// The original bytes as they are.
#[derive(Debug, Clone, Copy)]
pub struct Store;

impl Codec for Store {
    fn id(&self) -> CodecId {
        CodecId::STORE
    }

    fn encode(&self, raw: &[u8], _: Option<&PixelShape>, _: Level, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(raw);
        true
    }

    fn decode(&self, payload: &[u8], raw_len: u32, out: &mut Vec<u8>) -> Result<(), CodecError> {
        if to_u64(payload.len()) != u64::from(raw_len) {
            return Err(CodecError::Length { expected: raw_len });
        }
        out.extend_from_slice(payload);
        Ok(())
    }
}
