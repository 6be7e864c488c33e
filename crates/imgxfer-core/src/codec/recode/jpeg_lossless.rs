//! JPEG without loss, process 14 (ITU-T T.81, annex H): entropy-coded differences back to samples, and to
//! the same bytes again with the stream's own tables.
//!
//! A stream is kept as its headers, the samples of as many rows as could be decoded, and the bytes behind
//! those: the last bits, the end marker, and whatever is not understood. So the beginning of a long frame
//! whose rest stands in another record is taken as well.

use super::cursor::{Cursor, MALFORMED, put_len, put_sized};
use super::huffman::{BitWriter, Decoder, Encoder, READ_AHEAD_BYTES, Table};
use super::items::Segments;
use super::predict::{self, Context};
use super::samples::{self, Parts, Reader, Samples};
use crate::codec::{CodecError, PixelShape};

/// Room for the bits of an interval to begin with: there may be thousands in a stream.
const INTERVAL_BYTES: usize = 64 << 10;

/// Samples of a pixel.
const COMPONENTS_MAX: usize = 4;

/// What the headers say.
#[derive(Debug)]
struct Header {
    /// Bytes from SOI to the end of the scan header.
    len: usize,
    /// Bits of a sample as it is coded.
    bits: u32,
    rows: usize,
    columns: usize,
    /// Per component of the scan.
    tables: Vec<Table>,
    selection: u8,
    /// Rows from one restart to the next; 0 for none.
    restart_rows: usize,
}

impl Header {
    /// Reads headers up to the first scan. `None` for what is not handled.
    fn parse(stream: &[u8]) -> Option<Self> {
        let mut tables: [Option<Table>; 4] = [const { None }; 4];
        let mut frame = None;
        let mut restart = 0;
        let mut segments = Segments::after_start(stream);
        while let Some(segment) = segments.next() {
            match segment.marker {
                0xc3 if frame.is_none() => frame = Some(Frame::parse(segment.body)?),
                0xc4 => parse_tables(segment.body, &mut tables)?,
                0xdd => restart = usize::from(u16::from_be_bytes(segment.body.try_into().ok()?)),
                0xda => return Self::of_scan(segment.body, segments.at(), &frame?, &tables, restart),
                0xdb | 0xe0..=0xef | 0xfe => {}
                _ => return None,
            }
        }
        None
    }

    fn of_scan(scan: &[u8], len: usize, frame: &Frame, tables: &[Option<Table>; 4], restart: usize) -> Option<Self> {
        let (&count, rest) = scan.split_first()?;
        let (components, last) = rest.split_at_checked(2 * usize::from(count))?;
        let &[selection @ 1..=7, 0, transform] = last else { return None };
        if components.len() != 2 * frame.components.len() || transform > 15 {
            return None;
        }
        let mut of_components = Vec::new();
        for (pair, id) in components.chunks_exact(2).zip(&frame.components) {
            if pair[0] != *id {
                return None;
            }
            of_components.push(tables.get(usize::from(pair[1] >> 4))?.clone()?);
        }
        let bits = u32::from(frame.precision).checked_sub(u32::from(transform)).filter(|bits| *bits > 0)?;
        if !restart.is_multiple_of(frame.columns) {
            return None;
        }
        let restart_rows = restart / frame.columns;
        let (rows, columns) = (frame.rows, frame.columns);
        Some(Self { len, bits, rows, columns, tables: of_components, selection, restart_rows })
    }

    /// Samples of a row.
    fn row_samples(&self) -> usize {
        self.columns * self.tables.len()
    }

    fn sample_bytes(&self) -> usize {
        if self.bits <= 8 { 1 } else { 2 }
    }

    fn row_bytes(&self) -> usize {
        self.row_samples() * self.sample_bytes()
    }

    /// Rows from `row` to the next restart or the end.
    fn rows_in_interval(&self, row: usize) -> usize {
        let left = self.rows - row;
        if self.restart_rows == 0 { left } else { left.min(self.restart_rows) }
    }

    fn shape(&self) -> Option<PixelShape> {
        let samples = self.tables.len();
        samples::shape(self.rows, self.columns, samples, self.sample_bytes())
    }
}

/// The frame header.
#[derive(Debug)]
struct Frame {
    precision: u8,
    rows: usize,
    columns: usize,
    /// Identifiers of the components.
    components: Vec<u8>,
}

impl Frame {
    fn parse(segment: &[u8]) -> Option<Self> {
        let (&[precision, y1, y2, x1, x2, count], components) = segment.split_first_chunk::<6>()?;
        let (rows, columns) = (u16::from_be_bytes([y1, y2]), u16::from_be_bytes([x1, x2]));
        let fits = (2..=16).contains(&precision)
            && rows > 0
            && columns > 0
            && (1..=COMPONENTS_MAX).contains(&usize::from(count))
            && components.len() == 3 * usize::from(count);
        let parts = components.chunks_exact(3);
        // Samples of different density would not stand side by side.
        let alike = count == 1 || parts.clone().all(|part| part[1] == 0x11);
        let components = parts.map(|part| part[0]).collect();
        (fits && alike).then_some(Self {
            precision,
            rows: usize::from(rows),
            columns: usize::from(columns),
            components,
        })
    }
}

fn parse_tables(mut segment: &[u8], tables: &mut [Option<Table>; 4]) -> Option<()> {
    while let Some((&id, rest)) = segment.split_first() {
        let (table, rest) = Table::parse(rest)?;
        *tables.get_mut(usize::from(id))? = Some(table);
        segment = rest;
    }
    Some(())
}

/// The bits between two markers, without what was put behind bytes of ones.
#[derive(Debug)]
struct Interval {
    /// With zeros behind them, to read ahead.
    bits: Vec<u8>,
    /// Bits that are there.
    len: usize,
    /// The marker at their end.
    marker: Option<u8>,
    /// Bytes of the stream that they took, with the marker.
    used: usize,
}

impl Interval {
    /// The interval that `data` begins with.
    fn read(data: &[u8]) -> Self {
        let mut bits = Vec::with_capacity(data.len().min(INTERVAL_BYTES) + READ_AHEAD_BYTES);
        let mut at = 0;
        let mut marker = None;
        while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
            let plain = rest.iter().position(|byte| *byte == 0xff).unwrap_or(rest.len());
            bits.extend_from_slice(&rest[..plain]);
            at += plain;
            match data.get(at + 1) {
                Some(0) => {
                    bits.push(0xff);
                    at += 2;
                }
                Some(&next) => {
                    marker = Some(next);
                    at += 2;
                    break;
                }
                None => break,
            }
        }
        let len = bits.len() * 8;
        bits.resize(bits.len() + READ_AHEAD_BYTES, 0);
        Self { bits, len, marker, used: at }
    }
}

/// Takes a stream apart; `None` when it is not handled or could not be put together again. `room` is how
/// many bytes of samples there may be.
pub(super) fn take_apart(stream: &[u8], room: usize) -> Option<Parts> {
    let header = Header::parse(stream)?;
    let (head, data) = stream.split_at_checked(header.len)?;
    let rows_max = (room / header.row_bytes()).min(header.rows);
    let (samples, rows, ones) = decode(&header, data, rows_max)?;
    let again = encode(&header, &samples, ones, data.len()).ok()?;
    let tail = data.strip_prefix(again.as_slice())?;
    let mut kept = Vec::with_capacity(head.len() + tail.len() + 16);
    put_sized(&mut kept, head);
    put_len(&mut kept, rows);
    kept.push(u8::from(ones));
    put_sized(&mut kept, tail);
    let shape = header.shape();
    Some(Parts { kept, samples: Samples { shape, bytes: samples } })
}

/// Puts a stream of `len` bytes together again, behind what `out` holds.
pub(super) fn put_together(
    kept: &mut Cursor<'_>,
    samples: &mut Reader<'_>,
    len: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let head = kept.sized()?;
    let header = Header::parse(head).filter(|header| header.len == head.len()).ok_or(MALFORMED)?;
    let rows = kept.u32()?;
    let ones = kept.u8()? == 1;
    let tail = kept.sized()?;
    let data_len = len.checked_sub(head.len() + tail.len()).ok_or(MALFORMED)?;
    // A sample takes a bit at least.
    if rows > header.rows || rows.saturating_mul(header.row_samples()) > 8 * (data_len + 1) {
        return Err(MALFORMED);
    }
    let data = encode(&header, samples.take(rows * header.row_bytes())?, ones, data_len)?;
    if data.len() != data_len {
        return Err(MALFORMED);
    }
    out.extend_from_slice(head);
    out.extend_from_slice(&data);
    out.extend_from_slice(tail);
    Ok(())
}

/// Decodes up to `rows_max` rows: as many as are there. Returns samples, rows, and whether bytes before a
/// restart are filled with ones.
fn decode(header: &Header, data: &[u8], rows_max: usize) -> Option<(Vec<u8>, usize, bool)> {
    let decoders = Turns::of(&header.tables, Table::decoder);
    let decoders = decoders.turns();
    let mut out = Vec::with_capacity(rows_max.min(8 * data.len() / header.row_samples() + 1) * header.row_bytes());
    let (mut above, mut row) = (vec![0u16; header.row_samples()], vec![0u16; header.row_samples()]);
    let mut ones = true;
    let (mut rows, mut at) = (0, 0);
    'intervals: while rows < rows_max {
        let interval = Interval::read(&data[at..]);
        let mut bit = 0;
        for in_interval in 0..header.rows_in_interval(rows).min(rows_max - rows) {
            match Decoder::row(&decoders, &interval.bits, bit, &mut row) {
                Some(end) if end <= interval.len => bit = end,
                _ => break 'intervals,
            }
            predict::restore(context(header, in_interval, &above), &mut row);
            if !put_row(header, &row, &mut out) {
                return None;
            }
            std::mem::swap(&mut above, &mut row);
            rows += 1;
        }
        if rows == header.rows || !matches!(interval.marker, Some(0xd0..=0xd7)) {
            break;
        }
        if !bit.is_multiple_of(8) {
            ones = interval.bits[bit / 8] & 1 == 1;
        }
        at += interval.used;
    }
    (rows > 0).then_some((out, rows, ones))
}

/// Encodes rows of samples: all whole bytes of it, and no more than some rows over `len`.
fn encode(header: &Header, samples: &[u8], ones: bool, len: usize) -> Result<Vec<u8>, CodecError> {
    let encoders = Turns::of(&header.tables, Table::encoder);
    let encoders = encoders.turns();
    let mut bits = BitWriter::with_capacity(len + 8);
    let (mut above, mut row) = (vec![0u16; header.row_samples()], vec![0u16; header.row_samples()]);
    let mut differences = vec![0u16; header.row_samples()];
    let mut in_interval = 0;
    let mut restarts = 0u8;
    for bytes in samples.chunks_exact(header.row_bytes()) {
        if header.restart_rows > 0 && in_interval == header.restart_rows {
            bits.restart(ones, 0xd0 + restarts % 8);
            restarts = restarts.wrapping_add(1);
            in_interval = 0;
        }
        get_row(header, bytes, &mut row);
        predict::differences(context(header, in_interval, &above), &row, &mut differences);
        Encoder::row(&encoders, &differences, &mut bits)?;
        if bits.len() > len {
            return Err(MALFORMED);
        }
        std::mem::swap(&mut above, &mut row);
        in_interval += 1;
    }
    Ok(bits.finish())
}

fn context<'a>(header: &Header, in_interval: usize, above: &'a [u16]) -> Context<'a> {
    Context {
        selection: header.selection,
        samples: header.tables.len(),
        above: (in_interval > 0).then_some(above),
        first: 1 << (header.bits - 1),
    }
}

/// Appends a row; not when a sample has more bits than there is room for.
fn put_row(header: &Header, row: &[u16], out: &mut Vec<u8>) -> bool {
    if header.sample_bytes() == 2 {
        out.extend(row.iter().flat_map(|sample| sample.to_le_bytes()));
        return row.iter().fold(0, |all, sample| all | u32::from(*sample)) >> header.bits == 0;
    }
    out.extend(row.iter().map(|sample| sample.to_le_bytes()[0]));
    row.iter().fold(0, |all, sample| all | *sample) >> header.bits == 0
}

fn get_row(header: &Header, bytes: &[u8], row: &mut [u16]) {
    if header.sample_bytes() == 2 {
        for (slot, pair) in row.iter_mut().zip(bytes.chunks_exact(2)) {
            *slot = u16::from_le_bytes([pair[0], pair[1]]);
        }
    } else {
        row.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = u16::from(*byte));
    }
}

/// Coders of the components: one for all when they are alike, which is quicker.
#[derive(Debug)]
struct Turns<T>(Vec<T>);

impl<T> Turns<T> {
    fn of(tables: &[Table], make: fn(&Table) -> T) -> Self {
        let alike = tables.windows(2).all(|pair| pair[0] == pair[1]);
        let count = if alike { 1 } else { tables.len() };
        Self(tables.iter().take(count).map(make).collect())
    }

    fn turns(&self) -> Vec<&T> {
        self.0.iter().collect()
    }
}
