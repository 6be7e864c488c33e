//! The manifest: what a transfer consists of, in an encoding whose bytes are always the same.
//!
//! A transfer's manifest is a list of **pages**. A page lists whole instances, each with the chunks
//! it is made of, in order. The sender builds and offers pages while it is still reading later
//! instances, so a manifest never has to be in memory as a whole.
//!
//! A page is named by the BLAKE3 hash of its encoding ([`PageHash`]), a manifest by the hash over its
//! page hashes and over the instances that the sender took back ([`ManifestRoot`]). The layout is
//! written down in `docs/wire-format.md` with test vectors; it changes only with the version in its magic.
//!
//! Nothing here trusts a page that came from a peer: [`Page::decode`] refuses whatever
//! [`Page::encode`] would not have written.

use std::collections::BTreeSet;

use crate::chunk::ChunkClass;
use crate::ids::{
    ChunkId, ContentId, InstanceHash, ManifestRoot, PageHash, SeriesUid, SopInstanceUid, StandardUid, StudyUid,
    UID_BYTES_MAX, UidError,
};
use crate::limits::{
    CHUNK_BYTES_MAX, CHUNKS_PER_INSTANCE_MAX, FIRST_PAGE_ORIGINAL_BYTES_MAX, INSTANCES_PER_PAGE_MAX, NAME_BYTES_MAX,
    PAGE_BYTES_MAX, PAGE_ORIGINAL_BYTES_MAX,
};
use crate::units::{to_u32, to_u64};
use crate::wire::bytes::{Reader, Truncated};

/// First bytes of every encoded page: format and version.
pub const PAGE_MAGIC: [u8; 4] = *b"IXM1";

/// Context string of the content's id (BLAKE3 key derivation mode, BLAKE3 paper section 2.3).
const CONTENT_CONTEXT: &str = "imgxfer 2026 content of an instance v1";

/// Context string of the root hash (BLAKE3 key derivation mode, BLAKE3 paper section 2.3).
const ROOT_CONTEXT: &str = "imgxfer 2026 manifest root v1";

/// One chunk of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkEntry {
    /// BLAKE3 of its original bytes.
    pub id: ChunkId,
    /// Original length in bytes, 1 to [`CHUNK_BYTES_MAX`].
    pub len: u32,
    /// What it holds.
    pub class: ChunkClass,
}

/// One instance: who it is, the hash of the whole file, and the chunks it is made of, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceEntry {
    /// Study Instance UID (0020,000D), or where that cannot be used a derived one (see
    /// [`Scan::identify`](crate::dicom::Scan::identify)), or one made from the hash of a file that is not DICOM.
    pub study: StudyUid,
    /// Series Instance UID (0020,000E), or one made in the same way.
    pub series: SeriesUid,
    /// SOP Instance UID (0008,0018), or one made in the same way.
    pub sop_instance: SopInstanceUid,
    /// SOP Class UID (0008,0016), where known.
    pub sop_class: Option<StandardUid>,
    /// Transfer Syntax UID (0002,0010), where known.
    pub transfer_syntax: Option<StandardUid>,
    /// Name of the file without its folder, for files that are not DICOM; empty otherwise.
    /// A hint from the sender: it never becomes a path as it stands.
    pub name: Vec<u8>,
    /// Length of the whole file in bytes.
    pub len: u64,
    /// BLAKE3 of the whole file.
    pub hash: InstanceHash,
    /// Its chunks in file order; their lengths add up to `len`.
    pub chunks: Vec<ChunkEntry>,
}

/// Why bytes are not a manifest page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The page ends before it should.
    #[error("the manifest page is cut short")]
    Truncated,
    /// Another format or version.
    #[error("not a manifest page of a version this program knows")]
    Magic,
    /// A count or length above its limit, or zero where there must be something.
    #[error("the manifest page gives {what} as {value}, outside what is allowed")]
    Limit {
        /// The quantity.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// A UID that is none.
    #[error("the manifest page holds a malformed UID")]
    Uid,
    /// An unknown class of chunk.
    #[error("the manifest page holds an unknown chunk class {0}")]
    Class(u8),
    /// Chunk lengths do not add up to the instance's length.
    #[error("the chunks of an instance do not add up to its length")]
    Sum,
    /// Bytes are left over.
    #[error("the manifest page has bytes behind its end")]
    Trailing,
}

impl From<Truncated> for ManifestError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// A run of instances of a manifest; the unit in which a manifest is offered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The instances, in the sender's order.
    pub instances: Vec<InstanceEntry>,
}

impl InstanceEntry {
    /// What the file holds whatever stands in its file meta group: BLAKE3 over the transfer syntax (its length in one
    /// byte, and its text) and, for each chunk behind the file meta group, its id and length.
    ///
    /// Two files with one content id hold the same data set in the same encoding.
    #[must_use]
    pub fn content_id(&self) -> ContentId {
        let mut hasher = blake3::Hasher::new_derive_key(CONTENT_CONTEXT);
        let syntax = self.transfer_syntax.as_ref().map_or("", |uid| uid.as_str());
        // A UID has at most 64 characters.
        hasher.update(&[u8::try_from(syntax.len()).unwrap_or(u8::MAX)]);
        hasher.update(syntax.as_bytes());
        for chunk in self.chunks.iter().skip_while(|chunk| chunk.class == ChunkClass::Meta) {
            hasher.update(chunk.id.as_bytes());
            hasher.update(&chunk.len.to_le_bytes());
        }
        ContentId::from_bytes(*hasher.finalize().as_bytes())
    }

    /// Whether any of its UIDs was derived, since its own cannot be used.
    #[must_use]
    pub fn has_derived_uid(&self) -> bool {
        self.study.is_derived() || self.series.is_derived() || self.sop_instance.is_derived()
    }

    /// Length in bytes of the preamble and file meta group, which its first chunks hold.
    #[must_use]
    pub fn meta_len(&self) -> u64 {
        let meta = self.chunks.iter().take_while(|chunk| chunk.class == ChunkClass::Meta);
        meta.map(|chunk| u64::from(chunk.len)).sum()
    }

    /// Bytes this entry takes in an encoded page.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let uids = [
            self.study.as_str().len(),
            self.series.as_str().len(),
            self.sop_instance.as_str().len(),
            self.sop_class.as_ref().map_or(0, |u| u.as_str().len()),
            self.transfer_syntax.as_ref().map_or(0, |u| u.as_str().len()),
            self.name.len(),
        ];
        uids.iter().map(|len| 1 + len).sum::<usize>() + 8 + 32 + 4 + self.chunks.len() * 37
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        let mut short = |bytes: &[u8]| {
            out.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(bytes);
        };
        short(self.study.as_str().as_bytes());
        short(self.series.as_str().as_bytes());
        short(self.sop_instance.as_str().as_bytes());
        short(self.sop_class.as_ref().map_or(&[], |u| u.as_str().as_bytes()));
        short(self.transfer_syntax.as_ref().map_or(&[], |u| u.as_str().as_bytes()));
        short(&self.name[..self.name.len().min(NAME_BYTES_MAX)]);
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(self.hash.as_bytes());
        out.extend_from_slice(&to_u32(self.chunks.len()).to_le_bytes());
        for chunk in &self.chunks {
            out.push(chunk.class.to_byte());
            out.extend_from_slice(&chunk.len.to_le_bytes());
            out.extend_from_slice(chunk.id.as_bytes());
        }
    }

    /// Reads the entry behind `before`, with which it mostly shares all UIDs but one.
    fn decode_from(reader: &mut Reader<'_>, before: Option<&Self>) -> Result<Self, ManifestError> {
        let (text, known) = (required_uid(reader)?, before.map(|b| &b.study));
        let study = shared(known, text, StudyUid::as_str, StudyUid::new)?;
        let (text, known) = (required_uid(reader)?, before.map(|b| &b.series));
        let series = shared(known, text, SeriesUid::as_str, SeriesUid::new)?;
        let sop_instance = SopInstanceUid::new(required_uid(reader)?).map_err(|_| ManifestError::Uid)?;
        let sop_class = optional_uid(reader, before.and_then(|b| b.sop_class.as_ref()))?;
        let transfer_syntax = optional_uid(reader, before.and_then(|b| b.transfer_syntax.as_ref()))?;
        let name = reader.short()?.to_vec();
        let len = reader.u64()?;
        let hash = InstanceHash::from_bytes(reader.array()?);
        let count = reader.u32()?;
        if count > CHUNKS_PER_INSTANCE_MAX {
            return Err(ManifestError::Limit { what: "chunks of an instance", value: u64::from(count) });
        }
        // Grown as bytes are really there: a count alone reserves nothing.
        let mut chunks = Vec::new();
        let mut sum = 0u64;
        for _ in 0..count {
            let class = reader.u8()?;
            let class = ChunkClass::from_byte(class).ok_or(ManifestError::Class(class))?;
            let len = reader.u32()?;
            if len == 0 || len > CHUNK_BYTES_MAX {
                return Err(ManifestError::Limit { what: "chunk length", value: u64::from(len) });
            }
            sum += u64::from(len);
            chunks.push(ChunkEntry { id: ChunkId::from_bytes(reader.array()?), len, class });
        }
        if sum != len {
            return Err(ManifestError::Sum);
        }
        Ok(Self { study, series, sop_instance, sop_class, transfer_syntax, name, len, hash, chunks })
    }
}

/// A UID's text; padding is not canonical and so is refused.
fn required_uid<'a>(reader: &mut Reader<'a>) -> Result<&'a str, ManifestError> {
    let bytes = reader.short()?;
    if bytes.len() > UID_BYTES_MAX || !bytes.last().is_some_and(u8::is_ascii_digit) {
        return Err(ManifestError::Uid);
    }
    std::str::from_utf8(bytes).map_err(|_| ManifestError::Uid)
}

fn optional_uid(reader: &mut Reader<'_>, known: Option<&StandardUid>) -> Result<Option<StandardUid>, ManifestError> {
    if reader.peek() == Some(0) {
        let _: u8 = reader.u8()?;
        return Ok(None);
    }
    shared(known, required_uid(reader)?, StandardUid::as_str, StandardUid::new).map(Some)
}

/// The UID that `text` says: the one that is `known` already if it is the same.
fn shared<T: Clone>(
    known: Option<&T>,
    text: &str,
    text_of: impl Fn(&T) -> &str,
    parse: impl Fn(&str) -> Result<T, UidError>,
) -> Result<T, ManifestError> {
    match known.filter(|known| text_of(known) == text) {
        Some(known) => Ok(known.clone()),
        None => parse(text).map_err(|_| ManifestError::Uid),
    }
}

impl Page {
    /// The canonical encoding. [`PageBuilder`] keeps it within [`PAGE_BYTES_MAX`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Self::encode_all(&self.instances)
    }

    /// The encoding of a page of these instances.
    pub(crate) fn encode_all(instances: &[InstanceEntry]) -> Vec<u8> {
        let mut out = Vec::with_capacity(6 + instances.iter().map(InstanceEntry::encoded_len).sum::<usize>());
        out.extend_from_slice(&PAGE_MAGIC);
        out.extend_from_slice(&u16::try_from(instances.len()).unwrap_or(u16::MAX).to_le_bytes());
        for instance in instances {
            instance.encode_into(&mut out);
        }
        out
    }

    /// Reads a page, refusing everything that [`Page::encode`] does not write.
    ///
    /// Memory is bounded by a small multiple of `bytes.len()`.
    ///
    /// # Errors
    /// [`ManifestError`] says what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > PAGE_BYTES_MAX {
            return Err(ManifestError::Limit { what: "page length", value: to_u64(bytes.len()) });
        }
        let mut reader = Reader::new(bytes);
        if reader.array::<4>()? != PAGE_MAGIC {
            return Err(ManifestError::Magic);
        }
        let count = reader.u16()?;
        if count == 0 || usize::from(count) > INSTANCES_PER_PAGE_MAX {
            return Err(ManifestError::Limit { what: "instances of a page", value: u64::from(count) });
        }
        let mut instances: Vec<InstanceEntry> = Vec::new();
        for _ in 0..count {
            let instance = InstanceEntry::decode_from(&mut reader, instances.last())?;
            instances.push(instance);
        }
        if reader.is_empty() { Ok(Self { instances }) } else { Err(ManifestError::Trailing) }
    }

    /// Name of a page: the hash of its encoding.
    #[must_use]
    pub fn hash_of(encoded: &[u8]) -> PageHash {
        PageHash::from_bytes(*blake3::hash(encoded).as_bytes())
    }

    /// Original bytes of all its instances.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.instances.iter().map(|i| i.len).sum()
    }

    /// Number of chunk entries of all its instances.
    #[must_use]
    pub fn chunk_count(&self) -> usize {
        self.instances.iter().map(|i| i.chunks.len()).sum()
    }
}

/// Cuts a stream of instances into pages.
///
/// A page ends where the content says so (after an instance whose hash ends in six zero bits), so
/// that one instance more or less in a study changes one page and not all that follow; and in any
/// case at [`INSTANCES_PER_PAGE_MAX`] instances, [`PAGE_BYTES_MAX`] bytes or [`PAGE_ORIGINAL_BYTES_MAX`] original
/// bytes, of the first page [`FIRST_PAGE_ORIGINAL_BYTES_MAX`]: sending begins with the first page.
#[derive(Debug, Default)]
pub struct PageBuilder {
    page: Page,
    encoded_len: usize,
    original_bytes: u64,
    begun: bool,
}

/// Fewest instances in a page that content may end: below it a page costs more than it saves.
const INSTANCES_PER_PAGE_MIN: usize = 16;
/// A page that content may end earlier than the hard limit once it has this many bytes.
const PAGE_BYTES_TARGET: usize = 256 << 10;

impl PageBuilder {
    /// Adds an instance; returns the page that it completes, if it does.
    ///
    /// When the instance does not fit behind those already there, the returned page is the one
    /// before it and the instance begins the next.
    pub fn push(&mut self, instance: InstanceEntry) -> Option<Page> {
        let len = instance.encoded_len();
        let overflow = self.encoded_len + len > PAGE_BYTES_TARGET;
        let original_len = instance.len;
        let full = if overflow && !self.page.instances.is_empty() { self.take() } else { None };
        let ends = instance.hash.as_bytes()[31] & 0x3f == 0;
        self.page.instances.push(instance);
        self.encoded_len += len;
        self.original_bytes += original_len;
        if full.is_some() {
            return full;
        }
        let count = self.page.instances.len();
        let long = if self.begun { PAGE_ORIGINAL_BYTES_MAX } else { FIRST_PAGE_ORIGINAL_BYTES_MAX };
        let complete =
            count >= INSTANCES_PER_PAGE_MAX || self.original_bytes >= long || (ends && count >= INSTANCES_PER_PAGE_MIN);
        if complete { self.take() } else { None }
    }

    /// What is left, when the last instance has been pushed.
    pub fn take(&mut self) -> Option<Page> {
        (self.encoded_len, self.original_bytes) = (0, 0);
        let page = std::mem::take(&mut self.page);
        self.begun |= !page.instances.is_empty();
        (!page.instances.is_empty()).then_some(page)
    }
}

/// An instance of a transfer, by page and place on it, both counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceAt {
    /// Number of the page.
    pub page: u32,
    /// Place on the page.
    pub place: u32,
}

/// Computes the root of a manifest from its page hashes, in order, and the instances that were
/// taken back.
#[must_use]
pub fn root(pages: &[PageHash], withdrawn: &BTreeSet<InstanceAt>) -> ManifestRoot {
    let mut hasher = blake3::Hasher::new_derive_key(ROOT_CONTEXT);
    hasher.update(&to_u64(pages.len()).to_le_bytes());
    for page in pages {
        hasher.update(page.as_bytes());
    }
    for at in withdrawn {
        hasher.update(&at.page.to_le_bytes());
        hasher.update(&at.place.to_le_bytes());
    }
    ManifestRoot::from_bytes(*hasher.finalize().as_bytes())
}
