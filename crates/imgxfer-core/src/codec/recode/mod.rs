//! Pixel data that is compressed already, made smaller and given back byte for byte.
//!
//! Streams are found in the items of encapsulated pixel data by their first bytes, decoded as far as needed
//! to code them better, and encoded again on the other side: JPEG with a cosine transform by `lepton`, RLE
//! and JPEG without loss as samples, through the codec for native pixels. What is not understood, or would
//! not come back the same, is kept as it is. The payload is laid out in `docs/recode.md`.
//!
//! An encoder decodes what it made and compares before it answers `true`.

mod cursor;
mod huffman;
mod items;
mod jpeg_lossless;
mod lepton;
mod packbits;
mod payload;
mod predict;
mod rle;
mod samples;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::{Codec, CodecError, CodecId, Level, Pixel, PixelShape, Zstd};
use crate::limits::RECORD_RAW_BYTES_MAX;
use crate::units::{to_u32, to_usize};
use items::Kind;
use payload::Payload;

/// RLE and JPEG without loss are decoded and encoded faster than lines of 100 Mbit/s take them.
const LEVEL_MIN: u8 = 1;

/// Lepton, with decoding to compare, takes 3 to 5 MB/s on a core: worth it on slow lines alone.
const LEVEL_MIN_LEPTON: u8 = 3;

const RAW_BYTES_MAX: usize = RECORD_RAW_BYTES_MAX as usize;

/// Recodes compressed streams.
#[derive(Debug, Clone)]
pub struct Recode {
    samples: Arc<dyn Codec>,
}

impl Default for Recode {
    fn default() -> Self {
        Self::new(Arc::new(Pixel::default()))
    }
}

impl Recode {
    /// Codes samples with `samples`.
    #[must_use]
    pub fn new(samples: Arc<dyn Codec>) -> Self {
        Self { samples }
    }
}

impl Codec for Recode {
    fn id(&self) -> CodecId {
        CodecId::RECODE
    }

    fn encode(&self, raw: &[u8], _: Option<&PixelShape>, level: Level, out: &mut Vec<u8>) -> bool {
        // What begins otherwise holds no stream from its beginning. This is all that other content costs.
        if level.get() < LEVEL_MIN || !items::begins_with_item(raw) || raw.len() > RAW_BYTES_MAX {
            return false;
        }
        let Some(payload) = self.recode(raw, level).filter(|payload| payload.len() < least_otherwise(raw, level))
        else {
            return false;
        };
        let mut back = Vec::with_capacity(raw.len());
        let same = self.decode(&payload, to_u32(raw.len()), &mut back) == Ok(()) && back == raw;
        if same {
            out.extend_from_slice(&payload);
        }
        same
    }

    fn decode(&self, payload: &[u8], raw_len: u32, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let len = to_usize(u64::from(raw_len));
        let mut raw = Vec::with_capacity(len.min(RAW_BYTES_MAX));
        Payload::parse(payload, len)?.put_together(&self.samples, len, &mut raw)?;
        if raw.len() != len {
            return Err(CodecError::Length { expected: raw_len });
        }
        out.append(&mut raw);
        Ok(())
    }

    /// Where a JPEG with a transform is coded anew, or samples are coded slowly.
    fn is_slow(&self, payload: &[u8], _: u32) -> bool {
        payload::is_slow(&self.samples, payload).unwrap_or(false)
    }
}

impl Recode {
    /// The payload; `None` when no stream could be recoded.
    fn recode(&self, raw: &[u8], level: Level) -> Option<Vec<u8>> {
        let mut payload = payload::Writer::new(raw);
        let mut samples = samples::Writer::new(self.samples.as_ref(), level);
        let (mut bytes_left, mut blocks_left) = (samples::SAMPLE_BYTES_MAX, lepton::BLOCKS_MAX);
        for stream in items::streams(raw) {
            let is_taken = match stream.kind {
                Kind::Transform => level.get() >= LEVEL_MIN_LEPTON && stream.whole,
                Kind::RunLength => stream.whole,
                Kind::Lossless => true,
            };
            if !is_taken || payload.is_full() {
                continue;
            }
            let bytes = stream.join(raw);
            let parts = match stream.kind {
                Kind::Transform => {
                    // Padding behind the end stays out.
                    let bytes = to_end_marker(&bytes);
                    if let Some(parts) = lepton::take_apart(bytes, &mut blocks_left) {
                        payload.put(&stream, bytes.len(), &parts.kept);
                        payload.put_scans(&parts.scans);
                    }
                    continue;
                }
                Kind::RunLength => rle::take_apart(&bytes, bytes_left),
                Kind::Lossless => jpeg_lossless::take_apart(&bytes, bytes_left),
            };
            if let Some(parts) = parts {
                payload.put(&stream, bytes.len(), &parts.kept);
                bytes_left -= parts.samples.bytes.len();
                samples.push(&parts.samples);
            }
        }
        payload.finish(&samples.finish(), level)
    }
}

/// Bytes that `raw` takes when it is not recoded: zstd shrinks RLE of flat pictures well.
fn least_otherwise(raw: &[u8], level: Level) -> usize {
    let mut plain = Vec::new();
    if Zstd.encode(raw, None, level, &mut plain) { plain.len() } else { raw.len() }
}

/// Up to the last end marker.
fn to_end_marker(stream: &[u8]) -> &[u8] {
    let end = stream.windows(2).rposition(|pair| pair == [0xff, 0xd9]);
    end.map_or(stream, |end| &stream[..end + 2])
}
