//! JPEG with a cosine transform, through the `lepton_jpeg` crate (Lepton, by Dropbox and Microsoft), which
//! codes the same coefficients closer and gives back the same file.
//!
//! Its container holds a compressed header with lengths that it believes. So the container is not kept:
//! of the file that the crate writes only the header's content and the coded scans are, and it is built
//! anew for decoding after the header was checked. What is decoded by the crate has been bounded in blocks,
//! scans and sections by then.
//!
//! The crate forbids unsafe code and checks what it reads, but may panic on what it did not expect. This is
//! the one place where a panic is caught, by the crate's own `catch_unwind_result`: nothing that outlives
//! the call is shared with it.

use std::io::{Cursor as IoCursor, Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use lepton_jpeg::{EnabledFeatures, SingleThreadPool, catch_unwind_result, decode_lepton, encode_lepton};

use super::cursor::{Cursor, MALFORMED, put_len, put_sized};
use super::items::Segments;
use crate::codec::CodecError;
use crate::limits::RECORD_RAW_BYTES_MAX;
use crate::units::to_u32;

/// Most 8 x 8 blocks in the streams of a record: 8.4 megapixels of grey. They take 16 MiB of coefficients,
/// and up to 28 MiB of output when a hostile stream makes each as long as can be, before it is cut.
pub(super) const BLOCKS_MAX: usize = 1 << 17;

/// Shorter streams are left alone: the model is set up anew for each, which costs more than it brings.
pub(super) const STREAM_BYTES_MIN: usize = 1_024;

/// Scans of one stream. Progressive ones have about ten; each costs a pass over all blocks.
const SCANS_MAX: usize = 20;

/// Fixed part of the crate's container.
const HEAD_BYTES: usize = 28;
const MAGIC: [u8; 3] = [0xcf, 0x84, 1];
const END_OF_HEADER: [u8; 3] = *b"CMP";
/// Length of the container, at its end.
const TAIL_BYTES: usize = 4;
/// Both estimates in 16 bits, as [`features`] has it.
const FLAGS: u8 = 0x83;

/// A stream taken apart.
#[derive(Debug)]
pub(super) struct Parts {
    /// Kind, version and header of the container, and the length of the scans.
    pub(super) kept: Vec<u8>,
    /// The coded scans.
    pub(super) scans: Vec<u8>,
}

fn features() -> EnabledFeatures {
    EnabledFeatures {
        max_partitions: 1,
        max_processor_threads: 1,
        max_jpeg_file_size: RECORD_RAW_BYTES_MAX,
        max_jpeg_width: u32::from(u16::MAX),
        max_jpeg_height: u32::from(u16::MAX),
        ..EnabledFeatures::compat_lepton_vector_write()
    }
}

/// Takes a stream apart; `None` when it is not handled. `room` is how many blocks there may be, and is
/// lessened by those there are.
pub(super) fn take_apart(stream: &[u8], room: &mut usize) -> Option<Parts> {
    let blocks = Frame::first_in(Segments::after_start(stream))?.blocks();
    if stream.len() < STREAM_BYTES_MIN || blocks > blocks_max(stream.len(), *room) {
        return None;
    }
    let mut file = Vec::new();
    let pool = SingleThreadPool::default();
    let encode = || encode_lepton(&mut IoCursor::new(stream), &mut IoCursor::new(&mut file), &features(), &pool);
    catch_unwind_result(encode).ok()?;
    let parts = Parts::of_container(&file, stream.len())?;
    *room -= blocks;
    Some(parts)
}

/// A block takes four bits at least, but for tables that no encoder makes.
fn blocks_max(stream_len: usize, room: usize) -> usize {
    room.min(4 * stream_len)
}

impl Parts {
    fn of_container(file: &[u8], stream_len: usize) -> Option<Self> {
        let (head, rest) = file.split_first_chunk::<HEAD_BYTES>()?;
        let [a, b, c, kind, ..] = *head;
        let [.., l0, l1, l2, l3] = *head;
        let (flags, version) = (head[14], head[15]);
        if [a, b, c] != MAGIC || flags != FLAGS {
            return None;
        }
        let (zlib, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok()?)?;
        let scans = rest.strip_prefix(&END_OF_HEADER)?;
        let scans = scans.get(..scans.len().checked_sub(TAIL_BYTES)?)?;
        let mut header = Vec::new();
        let limit = u64::from(RECORD_RAW_BYTES_MAX) * 2;
        ZlibDecoder::new(zlib).take(limit).read_to_end(&mut header).ok()?;
        check_header(&header, stream_len, BLOCKS_MAX)?;
        let mut kept = vec![kind, version];
        put_sized(&mut kept, &header);
        put_len(&mut kept, scans.len());
        Some(Self { kept, scans: scans.to_vec() })
    }
}

/// Puts a stream of `len` bytes together again, behind what `out` holds. `room` as in [`take_apart`].
pub(super) fn put_together(
    kept: &mut Cursor<'_>,
    scans: &mut Cursor<'_>,
    len: usize,
    room: &mut usize,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let [kind, version] = kept.array()?;
    let header = kept.sized()?;
    let scans = scans.take(kept.u32()?)?;
    let blocks = check_header(header, len, *room).ok_or(MALFORMED)?;
    *room -= blocks;
    let file = container(kind, version, header, scans, len).ok_or(MALFORMED)?;
    let mut stream = Vec::with_capacity(len);
    let pool = SingleThreadPool::default();
    let decode = || decode_lepton(&mut IoCursor::new(&file), &mut Limited(&mut stream, len), &features(), &pool);
    catch_unwind_result(decode).map_err(|_| MALFORMED)?;
    if stream.len() != len {
        return Err(MALFORMED);
    }
    out.append(&mut stream);
    Ok(())
}

/// Takes up to a number of bytes, and fails at the next.
struct Limited<'a>(&'a mut Vec<u8>, usize);

impl Write for Limited<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > self.1 {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The file that the crate reads.
fn container(kind: u8, version: u8, header: &[u8], scans: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::none());
    zlib.write_all(header).ok()?;
    let zlib = zlib.finish().ok()?;
    let mut file = Vec::with_capacity(HEAD_BYTES + zlib.len() + scans.len() + 16);
    file.extend_from_slice(&MAGIC);
    // One stream of scans; then what is reserved, and the name of the program with its own length of header.
    file.extend_from_slice(&[kind, 1, 0, 0, 0]);
    file.extend_from_slice(b"MS");
    file.extend_from_slice(&to_u32(header.len()).to_le_bytes());
    file.extend_from_slice(&[FLAGS, version, 0, 0, 0, 0]);
    file.extend_from_slice(&to_u32(len).to_le_bytes());
    file.extend_from_slice(&to_u32(zlib.len()).to_le_bytes());
    file.extend_from_slice(&zlib);
    file.extend_from_slice(&END_OF_HEADER);
    file.extend_from_slice(scans);
    file.extend_from_slice(&to_u32(file.len() + TAIL_BYTES).to_le_bytes());
    Some(file)
}

/// Checks the content of a container's header: sections of known lengths, one partition, and JPEG headers
/// that bound the work. Returns the number of blocks.
fn check_header(header: &[u8], stream_len: usize, room: usize) -> Option<usize> {
    let mut rest = Cursor(header);
    if rest.array().ok()? != *b"HDR" {
        return None;
    }
    let blocks = check_jpeg_headers(rest.sized().ok()?, blocks_max(stream_len, room))?;
    let mut partitions = 0;
    while !rest.is_empty() {
        match rest.array::<3>().ok()? {
            // The bits that fill up the last byte.
            [b'P', b'0', b'D'] => {
                rest.u8().ok().filter(|bits| matches!(bits, 0 | 0xff))?;
            }
            // A partition that begins at the beginning, with no bits and no brightness from before.
            [b'H', b'H', 1] => {
                let [0, 0, l0, l1, l2, l3, from_before @ ..] = rest.array::<16>().ok()? else { return None };
                let len = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok()?;
                if len > stream_len || from_before != [0; 10] {
                    return None;
                }
                partitions += 1;
            }
            // Restarts per scan.
            [b'C', b'R', b'S'] => {
                let count = rest.u32().ok().filter(|count| *count <= SCANS_MAX)?;
                rest.take(4 * count).ok()?;
            }
            [b'F', b'R', b'S'] => {
                rest.sized().ok().filter(|errors| (1..=SCANS_MAX).contains(&errors.len()))?;
            }
            // Bytes behind the end.
            [b'G', b'R', b'B'] => {
                rest.sized().ok().filter(|bytes| bytes.len() < stream_len)?;
            }
            // Streams that end early are not taken.
            _ => return None,
        }
    }
    (partitions == 1).then_some(blocks)
}

/// One frame of not too many blocks, and not too many scans; tables and texts.
fn check_jpeg_headers(headers: &[u8], blocks_max: usize) -> Option<usize> {
    let frame = Frame::first_in(Segments::of(headers))?;
    let blocks = Some(frame.blocks()).filter(|blocks| *blocks <= blocks_max)?;
    let mut segments = Segments::of(headers);
    let (mut frames, mut scans) = (0, 0);
    for segment in segments.by_ref() {
        match segment.marker {
            0xc0..=0xc2 if scans == 0 => frames += 1,
            0xda => {
                frame.check_scan(segment.body)?;
                scans += 1;
            }
            0xc4 | 0xdb | 0xdd | 0xe0..=0xef | 0xfe => {}
            _ => return None,
        }
    }
    (frames == 1 && (1..=SCANS_MAX).contains(&scans) && segments.at() == headers.len()).then_some(blocks)
}

/// A frame header.
struct Frame {
    is_progressive: bool,
    rows: usize,
    columns: usize,
    /// Horizontal and vertical sampling of the components.
    sampling: Vec<(usize, usize)>,
}

impl Frame {
    /// The first one, if it is one of 8 bits that is handled.
    fn first_in(segments: Segments<'_>) -> Option<Self> {
        let mut segments = segments;
        let segment = segments.find(|segment| matches!(segment.marker, 0xc0..=0xc3 | 0xda))?;
        let (&[8, y1, y2, x1, x2, count], components) = segment.body.split_first_chunk::<6>()? else { return None };
        let sampling: Vec<_> =
            components.chunks_exact(3).map(|part| (usize::from(part[1] >> 4), usize::from(part[1] & 15))).collect();
        let rows = usize::from(u16::from_be_bytes([y1, y2]));
        let columns = usize::from(u16::from_be_bytes([x1, x2]));
        let fits = matches!(segment.marker, 0xc0..=0xc2)
            && rows > 0
            && columns > 0
            && (1..=3).contains(&count)
            && components.len() == 3 * usize::from(count)
            && sampling.iter().all(|(h, v)| (1..=2).contains(h) && (1..=2).contains(v));
        fits.then_some(Self { is_progressive: segment.marker == 0xc2, rows, columns, sampling })
    }

    /// Whether a scan has the components and the band that its kind of frame allows (G.1.1.1).
    fn check_scan(&self, scan: &[u8]) -> Option<()> {
        let (&count, rest) = scan.split_first()?;
        let count = usize::from(count);
        let [first, last, bits] = *rest.get(2 * count..)? else { return None };
        let bits_fit = bits >> 4 <= 13 && bits & 15 <= 13;
        let band_fits = match (first, last) {
            _ if !self.is_progressive => true,
            (0, 0) => true,
            (1..=63, 1..=63) => first <= last && count == 1,
            _ => false,
        };
        ((1..=self.sampling.len()).contains(&count) && bits_fit && band_fits).then_some(())
    }

    /// 8 x 8 blocks of all components, those that fill up the last units included.
    fn blocks(&self) -> usize {
        let h_max = self.sampling.iter().map(|(h, _)| *h).max().unwrap_or(1);
        let v_max = self.sampling.iter().map(|(_, v)| *v).max().unwrap_or(1);
        let units = self.columns.div_ceil(8 * h_max) * self.rows.div_ceil(8 * v_max);
        self.sampling.iter().map(|(h, v)| units * h * v).sum()
    }
}
