//! Encapsulated pixel data: its fragments, and which of them begin a frame (PS3.5 section A.4).

use super::NotDicom;
use super::element::{Element, Encoding, ITEM, SEQUENCE_END};
use super::window::Input;
use crate::units::{to_u32, to_u64, to_usize};

/// Most fragments of one instance; their offsets take 8 bytes each.
pub(super) const FRAGMENTS_MAX: usize = 4_000_000;

/// The fragments of one value.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    /// Offset and length of the basic offset table.
    pub(super) basic_offset_table: Option<(u64, u64)>,
    /// Offset behind the basic offset table's item, from which the tables count.
    pub(super) base: u64,
    /// Offset of each fragment's item tag.
    pub(super) offsets: Vec<u64>,
    /// Offset behind the last fragment.
    pub(super) fragments_end: u64,
    /// Offset behind the delimiter, or where there is none, behind the last fragment.
    pub(super) end: u64,
    /// There is a delimiter.
    pub(super) delimited: bool,
}

/// Walks over fragments from the item of the basic offset table on; `keep` says whether to list them.
pub(super) fn walk<I: Input>(
    input: &mut I,
    offset: u64,
    limit: u64,
    encoding: Encoding,
    keep: bool,
) -> Result<Fragments, NotDicom> {
    let mut found = Fragments { base: offset, fragments_end: offset, end: offset, ..Fragments::default() };
    let mut position = offset;
    let mut is_table = true;
    while let Some(item) = Element::parse(input.peek(position, 8)?, encoding) {
        let value = position + item.header_len;
        match (item.tag, item.len) {
            (SEQUENCE_END, _) if value <= limit => {
                (found.delimited, found.end) = (true, value);
                return Ok(found);
            }
            (ITEM, Some(len)) => {
                let end = value.saturating_add(len).min(limit);
                if is_table {
                    found.basic_offset_table = Some((value, end - value.min(end)));
                    found.base = end;
                    is_table = false;
                } else if keep {
                    if found.offsets.len() == FRAGMENTS_MAX {
                        return Err(NotDicom::TooManyFragments { offset: position });
                    }
                    found.offsets.push(position);
                }
                (found.fragments_end, found.end) = (end, end);
                position = end;
                if end == limit {
                    break;
                }
            }
            _ => break,
        }
    }
    // What is left is too short for an item, or none: it belongs to no fragment.
    Ok(found)
}

/// Which fragments begin a frame; empty where that is not known. `frame_count` is (0028,0008), if given.
pub(super) fn frames<I: Input>(
    input: &mut I,
    fragments: &Fragments,
    extended: Option<(u64, u64)>,
    frame_count: Option<u32>,
    encoding: Encoding,
) -> Result<Vec<u32>, NotDicom> {
    let count = to_u32(fragments.offsets.len());
    if count == 0 {
        return Ok(Vec::new());
    }
    let expected = frame_count.filter(|&n| n > 0);
    if let Some(table) = extended
        && let Some(frames) = by_table(input, fragments, table, 8, expected, encoding)?
    {
        return Ok(frames);
    }
    if let Some(table) = fragments.basic_offset_table
        && let Some(frames) = by_table(input, fragments, table, 4, expected, encoding)?
    {
        return Ok(frames);
    }
    Ok(match expected.unwrap_or(1) {
        1 => vec![0],
        n if n == count => (0..count).collect(),
        _ => Vec::new(),
    })
}

/// Entries read at a time.
const BLOCK_BYTES: usize = 4096;

/// Frames by an offset table with entries of `width` bytes; `None` when it is empty or does not
/// agree with the fragments that are there.
fn by_table<I: Input>(
    input: &mut I,
    fragments: &Fragments,
    (offset, len): (u64, u64),
    width: u64,
    expected: Option<u32>,
    encoding: Encoding,
) -> Result<Option<Vec<u32>>, NotDicom> {
    let entries = len / width;
    let fits = len > 0
        && len.is_multiple_of(width)
        && entries <= to_u64(fragments.offsets.len())
        && expected.is_none_or(|n| u64::from(n) == entries);
    if !fits {
        return Ok(None);
    }
    let mut frames = Vec::new();
    let mut starts = (0u32..).zip(&fragments.offsets);
    let mut done = 0;
    while done < len {
        let block = input.peek(offset + done, to_usize(len - done).min(BLOCK_BYTES))?;
        if block.is_empty() {
            return Ok(None);
        }
        for entry in block.chunks_exact(to_usize(width)) {
            let wanted = fragments.base.saturating_add(number(entry, encoding));
            let Some((index, _)) = starts.by_ref().find(|(_, start)| **start >= wanted).filter(|(_, s)| **s == wanted)
            else {
                return Ok(None);
            };
            frames.push(index);
        }
        done += to_u64(block.len());
    }
    // The first frame begins with the first fragment.
    Ok((frames.first() == Some(&0)).then_some(frames))
}

fn number(entry: &[u8], encoding: Encoding) -> u64 {
    let word = |bytes: Option<&[u8; 4]>| bytes.map_or(0, |b| u64::from(encoding.u32(*b)));
    let first = word(entry.first_chunk());
    match entry.len() {
        8 if encoding.big_endian => first << 32 | word(entry.last_chunk()),
        8 => first | word(entry.last_chunk()) << 32,
        _ => first,
    }
}
