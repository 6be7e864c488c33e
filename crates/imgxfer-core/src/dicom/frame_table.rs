//! Where each frame of an image stands in its file (PS3.5 section 8 and section A.4).

use std::ops::Range;

use super::{PixelData, Scan};
use crate::units::{to_u32, to_u64, to_usize};

/// Bytes of the header of a fragment's item.
const ITEM_HEADER_BYTES: u64 = 8;

/// The frames of an image: places in the file that it was scanned from. There is at least one.
///
/// It is made where all frames are known for certain, by [`Scan::frame_table`], and kept in a compact form
/// ([`FrameTable::encode`]) that has one encoding for each table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameTable(Frames);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Frames {
    /// One behind the other, without gaps; what stands in the file ends below 2^61.
    Native { offset: u64, bits: u64, count: u32 },
    /// Where the first item of each frame begins, ascending by at least an item's header, and where the last ends.
    Encapsulated { starts: Vec<u64>, end: u64 },
}

/// Bytes that [`FrameTable::encode`] does not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a frame table")]
#[non_exhaustive]
pub struct BadFrameTable;

const NATIVE: u8 = 0;
const ENCAPSULATED: u8 = 1;

#[expect(clippy::len_without_is_empty, reason = "there is always a frame")]
impl FrameTable {
    /// Frames of `bits` bits each, one behind the other from `offset` on; `None` when there are none, or
    /// they reach further than a file does.
    #[must_use]
    pub const fn native(offset: u64, bits: u64, count: u32) -> Option<Self> {
        const END_MAX: u64 = u64::MAX >> 3;
        // `From` cannot be used in a constant function.
        let Some(all) = bits.checked_mul(count as u64) else { return None };
        match offset.checked_add(all.div_ceil(8)) {
            Some(end) if all > 0 && end <= END_MAX => Some(Self(Frames::Native { offset, bits, count })),
            _ => None,
        }
    }

    /// Frames of which each begins with the item of a fragment at one of `starts`, the last ending at `end`; `None`
    /// when there are none, or they do not ascend by at least the header of an item.
    #[must_use]
    pub fn encapsulated(starts: Vec<u64>, end: u64) -> Option<Self> {
        let ends = starts.iter().skip(1).chain([&end]);
        let ascend = starts
            .iter()
            .zip(ends)
            .all(|(start, end)| end.checked_sub(*start).is_some_and(|bytes| bytes >= ITEM_HEADER_BYTES));
        let is_counted = u32::try_from(starts.len()).is_ok_and(|count| count > 0);
        (is_counted && ascend).then_some(Self(Frames::Encapsulated { starts, end }))
    }

    /// How many frames there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        match &self.0 {
            Frames::Native { count, .. } => *count,
            Frames::Encapsulated { starts, .. } => to_u32(starts.len()),
        }
    }

    /// Whether a frame stands in fragments, whose items are to be taken off ([`join_fragments`]).
    #[must_use]
    pub const fn is_encapsulated(&self) -> bool {
        matches!(self.0, Frames::Encapsulated { .. })
    }

    /// Bytes of the file that hold a frame, counted from 0. The first and last byte are shared with other frames where
    /// frames are not whole bytes, see [`FrameTable::bit_offset`].
    #[must_use]
    pub fn range(&self, frame: u32) -> Option<Range<u64>> {
        match &self.0 {
            Frames::Native { offset, bits, count } => (frame < *count).then(|| {
                let first = u64::from(frame) * bits;
                offset + first / 8..offset + (first + bits).div_ceil(8)
            }),
            Frames::Encapsulated { starts, end } => {
                let at = to_usize(u64::from(frame));
                let start = *starts.get(at)?;
                Some(start..starts.get(at + 1).copied().unwrap_or(*end))
            }
        }
    }

    /// In the first byte of a frame's range, how many of the lowest bits belong to the frame before (PS3.5 section
    /// 8.1.1: pixels of one bit fill bytes from the lowest bit on). Below 8.
    #[must_use]
    pub fn bit_offset(&self, frame: u32) -> u8 {
        match &self.0 {
            Frames::Native { bits, count, .. } if frame < *count => {
                u8::try_from((u64::from(frame) * bits) % 8).unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Bits of a frame where all have as many; `None` where they are encapsulated.
    #[must_use]
    pub const fn frame_bits(&self) -> Option<u64> {
        match self.0 {
            Frames::Native { bits, .. } => Some(bits),
            Frames::Encapsulated { .. } => None,
        }
    }

    /// The table in bytes: a few where frames are native, 2 to 4 for each frame where they are encapsulated.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match &self.0 {
            Frames::Native { offset, bits, count } => {
                let mut out = vec![NATIVE];
                [*offset, *bits, u64::from(*count)].iter().for_each(|number| put(&mut out, *number));
                out
            }
            Frames::Encapsulated { starts, end } => {
                let mut out = Vec::with_capacity(16 + starts.len() * 3);
                out.push(ENCAPSULATED);
                put(&mut out, to_u64(starts.len()));
                put(&mut out, starts.first().copied().unwrap_or(0));
                for (start, end) in starts.iter().zip(starts.iter().skip(1).chain([end])) {
                    put(&mut out, end - start - ITEM_HEADER_BYTES);
                }
                out
            }
        }
    }

    /// Reads what [`FrameTable::encode`] wrote. Takes no more than 8 times the memory of `bytes`.
    ///
    /// # Errors
    /// [`BadFrameTable`] for any bytes that it would not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadFrameTable> {
        Self::parse(bytes).ok_or(BadFrameTable)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, mut rest) = bytes.split_first()?;
        let table = match *kind {
            NATIVE => {
                let (offset, bits) = (take(&mut rest)?, take(&mut rest)?);
                Self::native(offset, bits, u32::try_from(take(&mut rest)?).ok()?)?
            }
            ENCAPSULATED => {
                let count = u32::try_from(take(&mut rest)?).ok()?;
                let mut end = take(&mut rest)?;
                // Each has a byte at least.
                let count = Some(to_usize(u64::from(count))).filter(|count| *count <= rest.len())?;
                let mut starts = Vec::with_capacity(count);
                for _ in 0..count {
                    starts.push(end);
                    end = end.checked_add(ITEM_HEADER_BYTES)?.checked_add(take(&mut rest)?)?;
                }
                Self::encapsulated(starts, end)?
            }
            _ => return None,
        };
        rest.is_empty().then_some(table)
    }
}

impl Scan {
    /// Where the frames of the image stand; `None` where there is no image, the file does not hold all of it, or
    /// it is not certain where each frame begins (PS3.3 section C.7.6.3, PS3.5 section 8 and section A.4).
    #[must_use]
    pub fn frame_table(&self) -> Option<FrameTable> {
        match self.pixels.as_ref()? {
            PixelData::Native { offset, len, .. } => {
                let (bits, count) = self.native_frames?;
                FrameTable::native(*offset, bits, count)
                    .filter(|_| bits.checked_mul(u64::from(count)).is_some_and(|all| all.div_ceil(8) <= *len))
            }
            PixelData::Encapsulated { fragments, frames, fragments_end, end, .. } => {
                // Without its delimiter the last fragment may have been cut.
                let is_whole = end > fragments_end;
                let start = |first: &u32| fragments.get(to_usize(u64::from(*first))).copied();
                let starts = is_whole.then(|| frames.iter().map(start).collect::<Option<Vec<_>>>());
                FrameTable::encapsulated(starts??, *fragments_end)
            }
        }
    }
}

/// What the fragments of a frame hold together, by the bytes of its range in the file; `None` when these are not
/// whole items (PS3.5 section A.4; encapsulated pixel data is always little endian).
#[must_use]
pub fn join_fragments(items: &[u8]) -> Option<Vec<u8>> {
    let mut joined = Vec::with_capacity(items.len());
    let mut rest = items;
    while let Some((header, behind)) = rest.split_first_chunk::<8>() {
        let [0xfe, 0xff, 0x00, 0xe0, length @ ..] = *header else { return None };
        let (value, behind) = behind.split_at_checked(to_usize(u64::from(u32::from_le_bytes(length))))?;
        joined.extend_from_slice(value);
        rest = behind;
    }
    rest.is_empty().then_some(joined)
}

/// Appends a number in groups of 7 bits, the lowest first; all but the last have the highest bit set.
fn put(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

/// Takes a number off; `None` for one that [`put`] does not write.
fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        let group = u64::from(byte & 0x7f);
        // Nothing may be lost above, and the last group is not zero.
        if group << shift >> shift != group || shift > 0 && *byte == 0 {
            return None;
        }
        number |= group << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dicom::{scan, tests::small};
    use crate::sim::studies::Syntax;

    #[test]
    fn frames_of_every_transfer_syntax_are_found() {
        for syntax in Syntax::ALL {
            for frames in [1, 5] {
                let bytes = small().with_syntax(syntax).with_frames(frames).instance(1, 1).bytes;
                let found = scan(&bytes.as_slice()).unwrap();
                if found.pixels.is_none() {
                    assert_eq!((found.frame_table(), syntax), (None, Syntax::Deflated));
                    continue;
                }
                let table = found.frame_table().unwrap();
                assert_eq!(table.len(), frames, "{syntax:?}");
                assert_eq!(FrameTable::decode(&table.encode()), Ok(table.clone()));
                assert_eq!(table.range(frames), None);
                let ranges: Vec<_> = (0..frames).map(|frame| table.range(frame).unwrap()).collect();
                assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
                for range in ranges {
                    let frame = &bytes[to_usize(range.start)..to_usize(range.end)];
                    if table.is_encapsulated() {
                        assert!(join_fragments(frame).unwrap().len() < frame.len());
                        assert_eq!(join_fragments(&frame[1..]), None);
                    } else {
                        assert_eq!((frame.len(), table.frame_bits()), (96, Some(768)));
                    }
                }
                let cut = &bytes[..bytes.len() - 2];
                assert_eq!(scan(&cut).unwrap().frame_table(), None, "{syntax:?}, cut");
            }
        }
    }

    #[test]
    fn frames_of_single_bits_begin_within_bytes() {
        let table = FrameTable::native(1_000, 25, 3).unwrap();
        let places: Vec<_> = (0..3).map(|frame| (table.range(frame).unwrap(), table.bit_offset(frame))).collect();
        assert_eq!(places, [(1_000..1_004, 0), (1_003..1_007, 1), (1_006..1_010, 2)]);
    }

    #[test]
    fn tables_have_one_encoding() {
        let native = FrameTable::native(300, 8, 2).unwrap();
        assert_eq!(native.encode(), [0, 0xac, 2, 8, 2]);
        let fragments = FrameTable::encapsulated(vec![300, 310], 318).unwrap();
        assert_eq!(fragments.encode(), [1, 2, 0xac, 2, 2, 0]);
        let bad: [&[u8]; 14] = [
            &[],
            &[2, 0, 8, 2],
            &[0, 0, 8],
            &[0, 0, 8, 2, 0],
            &[0, 0, 8, 0],
            &[0, 0, 0, 1],
            &[0, 0x80, 0, 8, 2],
            &[0, 0, 8, 0xff, 0xff, 0xff, 0xff, 0x1f],
            &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 8, 1],
            &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 8, 1],
            &[1, 0, 5],
            &[1, 2, 5, 0],
            &[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0],
            &[1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0],
        ];
        for bytes in bad {
            assert_eq!(FrameTable::decode(bytes), Err(BadFrameTable), "{bytes:x?}");
        }
        assert_eq!(FrameTable::encapsulated(vec![300, 307], 318), None);
        assert_eq!(FrameTable::encapsulated(vec![300, 310], 317), None);
        assert_eq!(FrameTable::native(u64::MAX, 8, 1), None);
        assert_eq!(FrameTable::native(0, u64::MAX, 2), None);
    }

    fn tables() -> impl Strategy<Value = Option<FrameTable>> {
        let native = (any::<u64>(), any::<u64>(), any::<u32>(), 0..64u32, 0..64u32);
        let encapsulated = (any::<u32>(), prop::collection::vec(8..70_000u64, 0..50));
        prop_oneof![
            native.prop_map(|(offset, bits, count, a, b)| FrameTable::native(offset >> a, bits >> b, count)),
            encapsulated.prop_map(|(first, lengths)| {
                let mut end = u64::from(first);
                let mut starts = Vec::new();
                for length in lengths {
                    starts.push(end);
                    end += length;
                }
                FrameTable::encapsulated(starts, end)
            }),
        ]
    }

    proptest! {
        #[test]
        fn tables_survive_their_encoding(table in tables()) {
            let Some(table) = table else { return Ok(()) };
            let bytes = table.encode();
            prop_assert_eq!(FrameTable::decode(&bytes), Ok(table.clone()));
            prop_assert!(FrameTable::decode(&bytes[..bytes.len() - 1]).is_err());
            for frame in [0, table.len() / 2, table.len() - 1] {
                prop_assert!(table.range(frame).is_some_and(|range| range.start < range.end));
            }
        }

        #[test]
        fn no_table_is_read_that_would_be_written_otherwise(bytes in prop::collection::vec(0..4u8, 0..12), high in 0..12usize) {
            let mut bytes = bytes;
            if let Some(byte) = bytes.get_mut(high) {
                *byte |= 0x80;
            }
            if let Ok(table) = FrameTable::decode(&bytes) {
                prop_assert_eq!(table.encode(), bytes);
            }
        }
    }
}
