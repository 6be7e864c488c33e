//! The payload: a table of parts with all that is kept as it is, coded scans, and blocks of samples.

use std::sync::Arc;

use super::cursor::{Cursor, MALFORMED, put_len, put_sized};
use super::items::{FRAGMENTS_MAX, ITEM_BYTES, Kind, Stream};
use super::{RAW_BYTES_MAX, jpeg_lossless, lepton, rle, samples};
use crate::codec::{Codec, CodecError, Level, Zstd};
use crate::units::to_u32;

/// Version of the payload.
const VERSION: u8 = 1;

/// A part whose bytes are there as they are.
const KEPT: u8 = 0;

/// Number of a kind of stream.
const fn number(kind: Kind) -> u8 {
    match kind {
        Kind::Transform => 1,
        Kind::RunLength => 2,
        Kind::Lossless => 3,
    }
}

fn kind_of(number: u8) -> Result<Kind, CodecError> {
    [Kind::Transform, Kind::RunLength, Kind::Lossless]
        .into_iter()
        .find(|kind| self::number(*kind) == number)
        .ok_or(MALFORMED)
}

/// Parts that a payload may have: a record of 1 MiB has room for so many streams of some 250 bytes.
const PARTS_MAX: usize = 8_192;

/// Longest table of a record: it holds what was kept, and little for each stream.
fn table_bytes_max(raw_len: usize) -> usize {
    2 * raw_len + (64 << 10)
}

/// Writes a payload.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    raw: &'a [u8],
    /// Up to here `raw` is in parts.
    at: usize,
    parts: usize,
    recoded: bool,
    table: Vec<u8>,
    scans: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(raw: &'a [u8]) -> Self {
        Self { raw, at: 0, parts: 0, recoded: false, table: Vec::new(), scans: Vec::new() }
    }

    /// Whether there is no room for one more stream with what stands around it.
    pub(super) fn is_full(&self) -> bool {
        self.parts + 3 > PARTS_MAX
    }

    /// Keeps what stands before `end`.
    fn keep_to(&mut self, end: usize) {
        if end > self.at {
            self.table.push(KEPT);
            put_sized(&mut self.table, &self.raw[self.at..end]);
            self.at = end;
            self.parts += 1;
        }
    }

    /// Adds a stream of which the first `len` bytes were taken apart; `kept` is what its kind needs.
    pub(super) fn put(&mut self, stream: &Stream, len: usize, kept: &[u8]) {
        self.keep_to(stream.start());
        self.table.push(number(stream.kind));
        put_len(&mut self.table, len);
        let (mut joined, mut end) = (0, stream.start());
        let mut cuts = Vec::new();
        let mut count = 0u16;
        for piece in &stream.pieces {
            if joined >= len {
                break;
            }
            if joined > 0 {
                put_len(&mut cuts, joined);
                cuts.extend_from_slice(&self.raw[end..piece.start]);
                count += 1;
            }
            let used = piece.len().min(len - joined);
            joined += used;
            end = piece.start + used;
        }
        self.table.extend_from_slice(&count.to_le_bytes());
        self.table.extend_from_slice(&cuts);
        self.table.extend_from_slice(kept);
        self.at = end;
        self.parts += 1;
        self.recoded = true;
    }

    pub(super) fn put_scans(&mut self, scans: &[u8]) {
        self.scans.extend_from_slice(scans);
    }

    /// The payload; `None` when nothing was recoded.
    pub(super) fn finish(mut self, samples: &[u8], level: Level) -> Option<Vec<u8>> {
        if !self.recoded {
            return None;
        }
        self.keep_to(self.raw.len());
        let mut coded = Vec::new();
        let is_coded = Zstd.encode(&self.table, None, level, &mut coded);
        let mut out = vec![VERSION, u8::from(is_coded)];
        put_len(&mut out, self.table.len());
        put_sized(&mut out, if is_coded { &coded } else { &self.table });
        put_sized(&mut out, &self.scans);
        out.extend_from_slice(samples);
        Some(out)
    }
}

/// Whether there are coded scans, or blocks of samples that take long.
pub(super) fn is_slow(codec: &Arc<dyn Codec>, payload: &[u8]) -> Result<bool, CodecError> {
    let mut rest = Cursor(payload);
    let (version, _, _) = (rest.u8()?, rest.u8()?, rest.u32()?);
    rest.sized()?;
    if version != VERSION || !rest.sized()?.is_empty() {
        return Ok(version == VERSION);
    }
    while !rest.is_empty() {
        let (id, len, block) = (rest.u8()?, rest.u32()?, rest.sized()?);
        if id == codec.id().0 && codec.is_slow(block, to_u32(len)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A payload as it is read.
#[derive(Debug)]
pub(super) struct Payload<'a> {
    table: Vec<u8>,
    scans: &'a [u8],
    samples: &'a [u8],
}

impl<'a> Payload<'a> {
    pub(super) fn parse(payload: &'a [u8], raw_len: usize) -> Result<Self, CodecError> {
        let mut rest = Cursor(payload);
        let (version, is_coded) = (rest.u8()?, rest.u8()?);
        let table_len = rest.u32()?;
        let body = rest.sized()?;
        let scans = rest.sized()?;
        if version != VERSION || is_coded > 1 || raw_len > RAW_BYTES_MAX || table_len > table_bytes_max(raw_len) {
            return Err(MALFORMED);
        }
        let mut table = Vec::new();
        if is_coded == 1 {
            Zstd.decode(body, to_u32(table_len), &mut table).map_err(|_| MALFORMED)?;
        } else {
            table.extend_from_slice(body);
        }
        if table.len() != table_len {
            return Err(MALFORMED);
        }
        Ok(Self { table, scans, samples: rest.0 })
    }

    /// The same payload with its table as it is.
    #[cfg(test)]
    pub(super) fn to_plain(&self) -> Vec<u8> {
        let mut out = vec![VERSION, 0];
        put_len(&mut out, self.table.len());
        put_sized(&mut out, &self.table);
        put_sized(&mut out, self.scans);
        out.extend_from_slice(self.samples);
        out
    }

    /// Appends the original bytes, at most `len`.
    pub(super) fn put_together(&self, codec: &Arc<dyn Codec>, len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let end = out.len() + len;
        let mut table = Cursor(&self.table);
        let mut scans = Cursor(self.scans);
        let mut samples = samples::Reader::new(codec, self.samples);
        let mut blocks_left = lepton::BLOCKS_MAX;
        for _ in 0..PARTS_MAX {
            if table.is_empty() {
                let used_up = scans.is_empty() && samples.is_done();
                return if used_up { Ok(()) } else { Err(MALFORMED) };
            }
            let part = table.u8()?;
            let part_len = table.u32()?;
            let room = (end - out.len()).checked_sub(part_len).ok_or(MALFORMED)?;
            if part == KEPT {
                out.extend_from_slice(table.take(part_len)?);
                continue;
            }
            let kind = kind_of(part)?;
            let cuts = Cuts::parse(&mut table, part_len, room)?;
            let mut stream = Vec::with_capacity(part_len);
            match kind {
                Kind::Transform => {
                    lepton::put_together(&mut table, &mut scans, part_len, &mut blocks_left, &mut stream)?;
                }
                Kind::RunLength => rle::put_together(&mut table, &mut samples, part_len, &mut stream)?,
                Kind::Lossless => jpeg_lossless::put_together(&mut table, &mut samples, part_len, &mut stream)?,
            }
            if stream.len() != part_len {
                return Err(MALFORMED);
            }
            cuts.put(&stream, out);
        }
        Err(MALFORMED)
    }
}

/// Where a stream goes on in another fragment: its offset there, and the item's tag and length.
#[derive(Debug)]
struct Cuts(Vec<(usize, [u8; ITEM_BYTES])>);

impl Cuts {
    fn parse(table: &mut Cursor<'_>, stream_len: usize, room: usize) -> Result<Self, CodecError> {
        let count = table.u16()?;
        if count > FRAGMENTS_MAX || count * ITEM_BYTES > room {
            return Err(MALFORMED);
        }
        let mut cuts = Vec::with_capacity(count);
        for _ in 0..count {
            cuts.push((table.u32()?, table.array()?));
        }
        let fits = cuts.is_sorted_by_key(|(at, _)| *at) && cuts.last().is_none_or(|(at, _)| *at <= stream_len);
        if fits { Ok(Self(cuts)) } else { Err(MALFORMED) }
    }

    fn put(&self, stream: &[u8], out: &mut Vec<u8>) {
        let mut from = 0;
        for (at, item) in &self.0 {
            out.extend_from_slice(&stream[from..*at]);
            out.extend_from_slice(item);
            from = *at;
        }
        out.extend_from_slice(&stream[from..]);
    }
}
