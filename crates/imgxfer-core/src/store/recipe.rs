//! The recipe: how an index keeps a stored instance, in bytes that are always the same.
//!
//! Written by every index that keeps rows in a database, so that rows can move from one to another.
//! The layout is in `docs/store-format.md`, with test vectors:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | magic `IXI2` |
//! | 1 | flags: 1 for a file that ends before its data set does, 2 where it stands in records that take long to decode |
//! | 4 | length p of the page that follows |
//! | p | a manifest page (`IXM1`) with this one instance |
//! | 4 | number of packs k |
//! | 16 k | names of the packs that its chunks stand in, in order of first use |
//! | 18 n | per chunk of the page: pack (index into the list, 4), offset of the record (8), length of the record (4), slot in the record (2) |
//! | 4 | length f of the frame table |
//! | f | the frame table ([`FrameTable`]) |
//! | 2 | version of the catalogue that the attributes were read with ([`CATALOGUE_VERSION`](crate::dicom::CATALOGUE_VERSION)) |
//! | 2 | number of attributes a |
//! | a x (6 + length) | the attributes, ascending by tag: tag (4), length (2), UTF-8 text |

use std::collections::BTreeMap;

use super::{ChunkAt, RecordAt, StoredInstance};
use crate::dicom::{Attributes, FrameTable, Tag};
use crate::ids::{PackId, PeerId};
use crate::limits::PAGE_BYTES_MAX;
use crate::manifest::{ManifestError, Page};
use crate::units::{to_u32, to_usize};
use crate::wire::bytes::{Reader, Truncated};

/// First bytes of every recipe: format and version.
pub const RECIPE_MAGIC: [u8; 4] = *b"IXI2";
/// Flag of an instance whose file ends before its data set does.
const CUT: u8 = 1;
/// Flag of an instance that stands in records that take long to decode.
const SLOW: u8 = 2;

/// Why bytes are not a recipe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// It ends before it should.
    #[error("the recipe is cut short")]
    Truncated,
    /// Another format or version.
    #[error("not a recipe of a version this program knows")]
    Magic,
    /// The entry in it is none.
    #[error("the recipe's manifest entry is malformed")]
    Entry(#[from] ManifestError),
    /// A place that cannot be one, text that is not UTF-8, or bytes left over.
    #[error("the recipe is malformed")]
    Malformed,
}

impl From<Truncated> for RecipeError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// Encodes everything of `instance` but its owner and its place in the order of things.
///
/// An attribute longer than 65,535 bytes is cut there, between characters.
#[must_use]
pub fn encode(instance: &StoredInstance) -> Vec<u8> {
    encode_with(instance, &instance.attributes)
}

/// The same with other attributes.
pub(super) fn encode_with(instance: &StoredInstance, attributes: &Attributes) -> Vec<u8> {
    let mut out = encode_places(instance);
    let frames = instance.frames.as_ref().map(FrameTable::encode).unwrap_or_default();
    out.extend_from_slice(&to_u32(frames.len()).to_le_bytes());
    out.extend_from_slice(&frames);
    out.extend_from_slice(&instance.catalogue.to_le_bytes());
    put_attributes(&mut out, attributes);
    out
}

/// The first part of a recipe, up to the frame table: what an instance is and where it stands, without what was read
/// from its header.
pub(super) fn encode_places(instance: &StoredInstance) -> Vec<u8> {
    let page = Page::encode_all(std::slice::from_ref(&instance.entry));
    let (packs, index_of) = packs_of(&instance.chunks);
    let mut out = Vec::with_capacity(64 + page.len() + packs.len() * 16 + instance.chunks.len() * 18);
    out.extend_from_slice(&RECIPE_MAGIC);
    out.push(u8::from(instance.cut) * CUT + u8::from(instance.slow) * SLOW);
    out.extend_from_slice(&to_u32(page.len()).to_le_bytes());
    out.extend_from_slice(&page);
    out.extend_from_slice(&to_u32(packs.len()).to_le_bytes());
    for pack in &packs {
        out.extend_from_slice(pack.as_bytes());
    }
    for chunk in &instance.chunks {
        let pack = index_of.get(&chunk.record.pack).copied().unwrap_or_default();
        out.extend_from_slice(&pack.to_le_bytes());
        out.extend_from_slice(&chunk.record.offset.to_le_bytes());
        out.extend_from_slice(&chunk.record.len.to_le_bytes());
        out.extend_from_slice(&chunk.slot.to_le_bytes());
    }
    out
}

/// Reads a recipe.
///
/// Memory is bounded by a small multiple of `bytes.len()`.
///
/// # Errors
/// [`RecipeError`] for everything that [`encode`] does not write.
pub fn decode(owner: PeerId, bytes: &[u8]) -> Result<StoredInstance, RecipeError> {
    let mut reader = Reader::new(bytes);
    if reader.array::<4>()? != RECIPE_MAGIC {
        return Err(RecipeError::Magic);
    }
    let flags = reader.u8()?;
    if flags & !(CUT | SLOW) != 0 {
        return Err(RecipeError::Malformed);
    }
    let (cut, slow) = (flags & CUT != 0, flags & SLOW != 0);
    let page_len = to_usize(u64::from(reader.u32()?));
    if page_len > PAGE_BYTES_MAX {
        return Err(RecipeError::Malformed);
    }
    let mut instances = Page::decode(reader.take(page_len)?)?.instances;
    let (Some(entry), true) = (instances.pop(), instances.is_empty()) else {
        return Err(RecipeError::Malformed);
    };
    let packs = decode_packs(&mut reader, entry.chunks.len())?;
    let chunks = entry.chunks.iter().map(|_| decode_place(&mut reader, &packs)).collect::<Result<Vec<_>, _>>()?;
    if packs_of(&chunks).0 != packs {
        return Err(RecipeError::Malformed);
    }
    let frames = match to_usize(u64::from(reader.u32()?)) {
        0 => None,
        len => Some(FrameTable::decode(reader.take(len)?).map_err(|_| RecipeError::Malformed)?),
    };
    let catalogue = reader.u16()?;
    let attributes = take_attributes(&mut reader)?;
    if !reader.is_empty() {
        return Err(RecipeError::Malformed);
    }
    Ok(StoredInstance { cut, slow, frames, catalogue, ..StoredInstance::new(owner, entry, chunks, attributes) })
}

/// Writes attributes: their number (2), and for each its tag (4), its length (2) and its text.
pub(super) fn put_attributes(out: &mut Vec<u8>, attributes: &Attributes) {
    let count = u16::try_from(attributes.iter().len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&count.to_le_bytes());
    for (tag, text) in attributes.iter().take(usize::from(count)) {
        let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
        out.extend_from_slice(&tag.number().to_le_bytes());
        out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
}

/// Reads what [`put_attributes`] wrote.
pub(super) fn take_attributes(reader: &mut Reader<'_>) -> Result<Attributes, RecipeError> {
    let mut attributes = Attributes::default();
    let mut last = None;
    for _ in 0..reader.u16()? {
        let tag = Tag::from_number(reader.u32()?);
        let len = reader.u16()?;
        let text = std::str::from_utf8(reader.take(usize::from(len))?).map_err(|_| RecipeError::Malformed)?;
        if text.is_empty() || last.is_some_and(|last| last >= tag) {
            return Err(RecipeError::Malformed);
        }
        attributes.set(tag, text);
        last = Some(tag);
    }
    Ok(attributes)
}

fn decode_packs(reader: &mut Reader<'_>, chunks: usize) -> Result<Vec<PackId>, RecipeError> {
    let count = to_usize(u64::from(reader.u32()?));
    if count > chunks {
        return Err(RecipeError::Malformed);
    }
    (0..count).map(|_| Ok(PackId::from_bytes(reader.array()?))).collect()
}

fn decode_place(reader: &mut Reader<'_>, packs: &[PackId]) -> Result<ChunkAt, RecipeError> {
    let pack = to_usize(u64::from(reader.u32()?));
    let pack = *packs.get(pack).ok_or(RecipeError::Malformed)?;
    let record = RecordAt { pack, offset: reader.u64()?, len: reader.u32()? };
    Ok(ChunkAt { record, slot: reader.u16()? })
}

/// The packs of `chunks` in order of first use, and the place of each in that list.
fn packs_of(chunks: &[ChunkAt]) -> (Vec<PackId>, BTreeMap<PackId, u32>) {
    let mut packs = Vec::new();
    let mut index_of = BTreeMap::new();
    for chunk in chunks {
        index_of.entry(chunk.record.pack).or_insert_with(|| {
            packs.push(chunk.record.pack);
            to_u32(packs.len() - 1)
        });
    }
    (packs, index_of)
}
