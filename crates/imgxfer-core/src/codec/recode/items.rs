//! Finds compressed streams in encapsulated pixel data (PS3.5 annex A.4) by what they look like: a codec
//! is not told the transfer syntax.

use std::ops::Range;

use super::rle;

const ITEM: [u8; 4] = [0xfe, 0xff, 0x00, 0xe0];
const SEQUENCE_END: [u8; 8] = [0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0];

/// Tag and length in front of a fragment.
pub(super) const ITEM_BYTES: usize = 8;

/// Fragments that one stream may be spread over.
pub(super) const FRAGMENTS_MAX: usize = 1_024;

/// What a stream is by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// JPEG of 8 bits with a cosine transform: SOF0, SOF1 or SOF2.
    Transform,
    /// JPEG without loss: SOF3.
    Lossless,
    /// Annex G of PS3.5.
    RunLength,
}

/// A stream: its bytes, in one or more fragments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) kind: Kind,
    /// Where its bytes stand, in order. What lies between is an item's tag and length.
    pub(super) pieces: Vec<Range<usize>>,
    /// Whether it ends here, and not in a later record.
    pub(super) whole: bool,
}

impl Stream {
    /// Its bytes in one.
    pub(super) fn join(&self, raw: &[u8]) -> Vec<u8> {
        self.pieces.iter().flat_map(|piece| raw[piece.clone()].iter().copied()).collect()
    }

    pub(super) fn start(&self) -> usize {
        self.pieces.first().map_or(0, |piece| piece.start)
    }

    pub(super) fn end(&self) -> usize {
        self.pieces.last().map_or(0, |piece| piece.end)
    }
}

/// Whether `raw` begins like encapsulated pixel data that begins with an item.
pub(super) fn begins_with_item(raw: &[u8]) -> bool {
    raw.starts_with(&ITEM)
}

/// All streams, in order. Stops at the first thing that is no item.
pub(super) fn streams(raw: &[u8]) -> Vec<Stream> {
    let mut found: Vec<Stream> = Vec::new();
    let mut open = false;
    let mut at = 0;
    while let Some((fragment, whole)) = next_item(raw, &mut at) {
        let bytes = &raw[fragment.clone()];
        let kind = kind(bytes);
        match found.last_mut() {
            // A JPEG without its end goes on in the next fragment, unless that begins another stream.
            Some(last)
                if open
                    && kind.is_none()
                    && fragment.start == last.end() + ITEM_BYTES
                    && last.pieces.len() < FRAGMENTS_MAX =>
            {
                last.pieces.push(fragment);
            }
            _ => {
                open = false;
                let Some(kind) = kind else { continue };
                found.push(Stream { kind, pieces: vec![fragment], whole: true });
            }
        }
        if let Some(last) = found.last_mut() {
            open = last.kind != Kind::RunLength && !ends_jpeg(bytes);
            last.whole = whole;
        }
    }
    if let Some(last) = found.last_mut()
        && open
    {
        last.whole = false;
    }
    found
}

/// The bytes of the next fragment, and whether all of them are here.
fn next_item(raw: &[u8], at: &mut usize) -> Option<(Range<usize>, bool)> {
    let mut head = raw.get(*at..)?;
    // Records hold chunks of several instances: behind the end of one may stand the next.
    while head.starts_with(&SEQUENCE_END) {
        *at += SEQUENCE_END.len();
        head = raw.get(*at..)?;
    }
    let (tag, rest) = head.split_first_chunk::<4>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    if *tag != ITEM {
        return None;
    }
    let stated = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let start = *at + ITEM_BYTES;
    let end = start + stated.min(rest.len());
    *at = end;
    Some((start..end, stated <= rest.len()))
}

fn ends_jpeg(fragment: &[u8]) -> bool {
    let tail = &fragment[fragment.len().saturating_sub(4)..];
    tail.windows(2).any(|pair| pair == [0xff, 0xd9])
}

fn kind(fragment: &[u8]) -> Option<Kind> {
    if fragment.starts_with(&[0xff, 0xd8, 0xff]) {
        return jpeg_kind(fragment);
    }
    rle::looks_like(fragment).then_some(Kind::RunLength)
}

/// By the first frame header.
fn jpeg_kind(stream: &[u8]) -> Option<Kind> {
    for segment in Segments::after_start(stream) {
        match (segment.marker, segment.body.first()) {
            (0xc0..=0xc2, Some(8)) => return Some(Kind::Transform),
            (0xc3, _) => return Some(Kind::Lossless),
            // Tables, comments and application data may stand before it.
            (0xc4 | 0xdb | 0xdd | 0xe0..=0xef | 0xfe, _) => {}
            _ => return None,
        }
    }
    None
}

/// A marker segment of a JPEG header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) marker: u8,
    /// Behind marker and length.
    pub(super) body: &'a [u8],
}

/// The marker segments of a JPEG header one by one. It ends at whatever has no length or is cut off.
#[derive(Debug)]
pub(super) struct Segments<'a> {
    stream: &'a [u8],
    at: usize,
}

impl<'a> Segments<'a> {
    /// Of a stream that begins with its SOI.
    pub(super) fn after_start(stream: &'a [u8]) -> Self {
        Self { stream, at: 2 }
    }

    /// Of headers without SOI.
    pub(super) fn of(headers: &'a [u8]) -> Self {
        Self { stream: headers, at: 0 }
    }

    /// Offset of what comes next.
    pub(super) fn at(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        let head = self.stream.get(self.at..)?.first_chunk::<4>()?;
        let [0xff, marker @ (0xc0..=0xcf | 0xda..=0xfe), high, low] = *head else { return None };
        let len = usize::from(u16::from_be_bytes([high, low]));
        let body = self.stream.get(self.at + 4..self.at + 2 + len)?;
        self.at += 2 + len;
        Some(Segment { marker, body })
    }
}
