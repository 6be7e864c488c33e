//! RLE Lossless (PS3.5 annex G): segments of `PackBits`, one for each byte of a sample, back to samples, and
//! to the same bytes again.
//!
//! Samples and the first bytes of all packets are a segment. Encoders differ in those first bytes alone:
//! where one of the usual ways of encoding gives the same, its number is kept, else the bytes themselves.
//! So a segment of any encoder comes back.

use super::cursor::{Cursor, MALFORMED, put_len, put_sized};
use super::packbits::{self, WAYS, Way};
use super::samples::{self, Parts, Reader, SAMPLE_BYTES_MAX, Samples};
use crate::codec::CodecError;

const HEADER_BYTES: usize = 64;
const SEGMENTS_MAX: usize = 15;

/// A way of encoding that is none of [`WAYS`]: the first bytes follow.
const EXPLICIT: u8 = 0;

/// Whether a fragment has an RLE header: number of segments and their offsets.
pub(super) fn looks_like(fragment: &[u8]) -> bool {
    offsets(fragment).is_some()
}

/// Where the segments begin.
fn offsets(stream: &[u8]) -> Option<Vec<usize>> {
    let (header, _) = stream.split_at_checked(HEADER_BYTES)?;
    let words: Vec<usize> = header
        .chunks_exact(4)
        .map(|word| usize::try_from(u32::from_le_bytes(word.try_into().ok()?)).ok())
        .collect::<Option<_>>()?;
    let (&count, offsets) = words.split_first()?;
    if !(1..=SEGMENTS_MAX).contains(&count) {
        return None;
    }
    let (used, unused) = offsets.split_at(count);
    let in_order = used.is_sorted() && used[0] == HEADER_BYTES && used[count - 1] < stream.len();
    (in_order && unused.iter().all(|offset| *offset == 0)).then(|| used.to_vec())
}

/// Takes a stream apart; `None` when it is damaged or would give more than `room` bytes of samples.
pub(super) fn take_apart(stream: &[u8], room: usize) -> Option<Parts> {
    let starts = offsets(stream)?;
    let ends = starts.iter().skip(1).copied().chain([stream.len()]);
    let segments: Vec<&[u8]> = starts.iter().zip(ends).map(|(start, end)| &stream[*start..end]).collect();
    let room = room / segments.len();
    // Padding may look like one packet more.
    let longest = segments.iter().map(|segment| packbits::unpacked_len(segment, room)).min()?;
    if longest == 0 {
        return None;
    }
    let unpacked: Vec<_> = segments.iter().map(|segment| packbits::unpack(segment, longest)).collect::<Option<_>>()?;
    let planes: Vec<&[u8]> = unpacked.iter().map(|one| one.plane.as_slice()).collect();
    let columns = columns(&planes, &unpacked.last()?.firsts);

    let mut kept = stream[..HEADER_BYTES].to_vec();
    put_len(&mut kept, longest);
    put_len(&mut kept, columns);
    for (segment, one) in segments.iter().zip(&unpacked) {
        let way = (1..).zip(WAYS).find(|(_, way)| way.gives(&one.plane, columns, &one.firsts));
        kept.push(way.map_or(EXPLICIT, |(number, _)| number));
        if way.is_none() {
            put_sized(&mut kept, &one.firsts);
        }
        put_sized(&mut kept, &segment[one.used..]);
    }
    let (samples, width) = layout(planes.len());
    // With a single row there is nothing above a pixel.
    let shape = samples::shape(longest / columns, columns, samples, width).filter(|shape| shape.rows > 1);
    Some(Parts { kept, samples: Samples { shape, bytes: interleave(&planes) } })
}

/// Puts a stream of `len` bytes together again, behind what `out` holds.
pub(super) fn put_together(
    kept: &mut Cursor<'_>,
    samples: &mut Reader<'_>,
    len: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let header = kept.take(HEADER_BYTES)?;
    let count = usize::from(header[0]);
    let plane_len = kept.u32()?;
    let columns = kept.u32()?;
    // A packet of two bytes gives 128 at most.
    let fits = (1..=SEGMENTS_MAX).contains(&count)
        && plane_len <= SAMPLE_BYTES_MAX
        && plane_len.saturating_mul(count) <= len.saturating_mul(64)
        && columns > 0;
    if !fits {
        return Err(MALFORMED);
    }
    let bytes = samples.take(plane_len * count)?;
    let start = out.len();
    out.extend_from_slice(header);
    for segment in 0..count {
        let plane = plane_of(bytes, segment, count);
        match kept.u8()? {
            EXPLICIT => packbits::pack(&plane, kept.sized()?, out)?,
            number => {
                let way: &Way = WAYS.get(usize::from(number) - 1).ok_or(MALFORMED)?;
                packbits::pack(&plane, &way.firsts(&plane, columns), out)?;
            }
        }
        out.extend_from_slice(kept.sized()?);
        if out.len() - start > len {
            return Err(MALFORMED);
        }
    }
    Ok(())
}

/// Samples of a pixel and bytes of a sample, by the number of segments. Segments hold the highest byte of
/// the first sample first (G.2).
fn layout(segments: usize) -> (usize, usize) {
    match segments {
        2 => (1, 2),
        4 => (1, 4),
        6 => (3, 2),
        n => (n, 1),
    }
}

/// Planes of bytes to samples side by side, little endian.
fn interleave(planes: &[&[u8]]) -> Vec<u8> {
    let (_, width) = layout(planes.len());
    let len = planes.first().map_or(0, |plane| plane.len());
    let mut out = vec![0; len * planes.len()];
    for (segment, plane) in planes.iter().enumerate() {
        let place = place_of(segment, width);
        let slots = out.iter_mut().skip(place).step_by(planes.len());
        slots.zip(*plane).for_each(|(slot, value)| *slot = *value);
    }
    out
}

/// Which byte of a pixel a segment holds.
fn place_of(segment: usize, width: usize) -> usize {
    segment - segment % width + (width - 1 - segment % width)
}

/// The plane of a segment.
fn plane_of(bytes: &[u8], segment: usize, segments: usize) -> Vec<u8> {
    let (_, width) = layout(segments);
    bytes.iter().skip(place_of(segment, width)).step_by(segments).copied().collect()
}

/// The likely width of the picture, which a stream does not tell: a divisor of the number of pixels for
/// which a pixel is most like the one above it. Packets that end where each row ends are a strong hint.
fn columns(planes: &[&[u8]], firsts: &[u8]) -> usize {
    let pixels = planes.first().map_or(0, |plane| plane.len());
    let mut divisors: Vec<usize> =
        (1..).take_while(|n| n * n <= pixels).filter(|n| pixels.is_multiple_of(*n)).collect();
    let high: Vec<usize> = divisors.iter().map(|n| pixels / n).collect();
    divisors.extend(high);
    divisors.retain(|n| (2..=usize::from(u16::MAX)).contains(n) && *n < pixels);
    let ends = packbits::Ends::of(firsts, pixels);
    let by_rows: Vec<usize> = divisors.iter().copied().filter(|n| ends.has_all_multiples(*n)).collect();
    let candidates = if by_rows.is_empty() { divisors } else { by_rows };
    candidates.into_iter().min_by_key(|n| unlikeness(planes, *n)).unwrap_or(pixels)
}

/// How much pixels differ from those `columns` before them, at a few places.
fn unlikeness(planes: &[&[u8]], columns: usize) -> u64 {
    const PLACES: usize = 2_000;
    // The planes of the highest and the lowest bytes.
    let looked_at = [planes.first(), planes.last()];
    let mut sum = 0;
    for plane in looked_at.into_iter().flatten() {
        let step = ((plane.len() - columns) / PLACES).max(1);
        let later = plane.iter().skip(columns).step_by(step);
        let pairs = later.zip(plane.iter().step_by(step));
        let all: u64 = pairs.clone().map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let count = crate::units::to_u64(pairs.len()).max(1);
        sum += all * 1_000 / count;
    }
    sum
}
