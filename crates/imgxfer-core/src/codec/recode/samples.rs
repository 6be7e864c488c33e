//! Samples of all streams of a record, coded in blocks of at most 1 MiB by the codec for native pixels.
//!
//! Frames of one shape share blocks: a coder learns more from many small frames than from each alone.

use std::sync::Arc;

use super::cursor::{Cursor, MALFORMED, put_len};
use crate::codec::{Codec, CodecError, CodecId, Level, PixelShape, Store, Zstd};
use crate::limits::RECORD_RAW_BYTES_MAX;
use crate::units::{to_u32, to_usize};

/// Most bytes of samples that the streams of one record may unfold to. A JPEG of 1 MiB without loss seldom
/// unfolds to over 4 MiB; what goes beyond stays as it is.
pub(super) const SAMPLE_BYTES_MAX: usize = 8 << 20;

const BLOCK_BYTES_MAX: usize = RECORD_RAW_BYTES_MAX as usize;

/// Samples of one stream.
#[derive(Debug)]
pub(super) struct Samples {
    /// How they lie, where it is known: whole rows of it, samples of a pixel side by side, little endian.
    pub(super) shape: Option<PixelShape>,
    pub(super) bytes: Vec<u8>,
}

/// A stream taken apart.
#[derive(Debug)]
pub(super) struct Parts {
    /// What puts it together again with the samples: headers, lengths, and bytes that are no samples.
    pub(super) kept: Vec<u8>,
    pub(super) samples: Samples,
}

/// The shape of samples of so many bytes. Nothing tells their bits and sign: [`Writer`] finds those.
pub(super) fn shape(rows: usize, columns: usize, samples: usize, bytes: usize) -> Option<PixelShape> {
    let bits = u16::try_from(8 * bytes).ok()?;
    Some(PixelShape {
        rows: u32::try_from(rows).ok()?,
        columns: u32::try_from(columns).ok()?,
        samples: u16::try_from(samples).ok()?,
        bits_allocated: bits,
        bits_stored: bits,
        high_bit: bits - 1,
        signed: false,
        planar: false,
        big_endian: false,
    })
}

/// The same with the bits and the sign that samples of 16 bits have.
fn tightened(shape: PixelShape, block: &[u8]) -> PixelShape {
    if shape.bits_allocated != 16 {
        return shape;
    }
    let mut all = 0;
    // By their two highest bits.
    let mut seen = [false; 4];
    for pair in block.chunks_exact(2) {
        let sample = u16::from_le_bytes([pair[0], pair[1]]);
        all |= sample;
        seen[usize::from(sample >> 14)] = true;
    }
    let bits_stored = u16::try_from(16 - all.leading_zeros()).unwrap_or(16).max(1);
    let signed = matches!(seen, [_, false, false, true]);
    PixelShape { bits_stored, high_bit: bits_stored - 1, signed, ..shape }
}

/// Bytes of a row.
fn row_bytes(shape: &PixelShape) -> usize {
    let bits = u64::from(shape.columns) * u64::from(shape.samples) * u64::from(shape.bits_allocated);
    to_usize(bits / 8).max(1)
}

/// Gathers samples and codes them in blocks.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    codec: &'a dyn Codec,
    level: Level,
    shape: Option<PixelShape>,
    pending: Vec<u8>,
    out: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(codec: &'a dyn Codec, level: Level) -> Self {
        Self { codec, level, shape: None, pending: Vec::new(), out: Vec::new() }
    }

    pub(super) fn push(&mut self, samples: &Samples) {
        if self.shape != samples.shape {
            self.flush();
            self.shape = samples.shape;
        }
        self.pending.extend_from_slice(&samples.bytes);
    }

    /// The coded blocks.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.flush();
        self.out
    }

    fn flush(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        for block in pending.chunks(self.block_bytes()) {
            self.put(block);
        }
    }

    /// As many whole frames as a block holds, or else as many rows.
    fn block_bytes(&self) -> usize {
        let Some(shape) = self.shape else { return BLOCK_BYTES_MAX };
        let row = row_bytes(&shape);
        let frame = row.saturating_mul(to_usize(u64::from(shape.rows))).max(1);
        let unit = if frame <= BLOCK_BYTES_MAX { frame } else { row };
        (BLOCK_BYTES_MAX / unit).max(1) * unit
    }

    fn put(&mut self, block: &[u8]) {
        let mut coded = Vec::new();
        let mut id = CodecId::STORE;
        let shape = self.shape.map(|shape| tightened(shape, block));
        for codec in [self.codec, &Zstd] {
            if codec.encode(block, shape.as_ref(), self.level, &mut coded) {
                id = codec.id();
                break;
            }
        }
        self.out.push(id.0);
        put_len(&mut self.out, block.len());
        let body = if id == CodecId::STORE { block } else { &coded };
        put_len(&mut self.out, body.len());
        self.out.extend_from_slice(body);
    }
}

/// Hands out samples, decoding block by block.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    codec: &'a Arc<dyn Codec>,
    blocks: Cursor<'a>,
    /// Samples that may still be decoded.
    budget: usize,
    buffer: Vec<u8>,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(codec: &'a Arc<dyn Codec>, blocks: &'a [u8]) -> Self {
        Self { codec, blocks: Cursor(blocks), budget: SAMPLE_BYTES_MAX, buffer: Vec::new(), at: 0 }
    }

    /// The next `len` bytes of samples.
    pub(super) fn take(&mut self, len: usize) -> Result<&[u8], CodecError> {
        if len > self.budget + self.buffer.len() {
            return Err(MALFORMED);
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        while self.buffer.len() < len {
            self.next_block()?;
        }
        self.at = len;
        Ok(&self.buffer[..len])
    }

    fn next_block(&mut self) -> Result<(), CodecError> {
        let id = CodecId(self.blocks.u8()?);
        let len = self.blocks.u32()?;
        let body = self.blocks.sized()?;
        if len == 0 || len > BLOCK_BYTES_MAX {
            return Err(MALFORMED);
        }
        self.budget = self.budget.checked_sub(len).ok_or(MALFORMED)?;
        // Not the double of it, as it would grow by itself.
        self.buffer.reserve_exact(len);
        match id {
            CodecId::STORE => Store.decode(body, to_u32(len), &mut self.buffer)?,
            CodecId::ZSTD => Zstd.decode(body, to_u32(len), &mut self.buffer)?,
            id if id == self.codec.id() => self.codec.decode(body, to_u32(len), &mut self.buffer)?,
            _ => return Err(MALFORMED),
        }
        Ok(())
    }

    /// Whether every block was used up.
    pub(super) fn is_done(&self) -> bool {
        self.blocks.is_empty() && self.at == self.buffer.len()
    }
}
