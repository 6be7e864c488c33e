//! Notes: what a pack tells besides its records, so that an index can be made from packs alone.
//!
//! A note stands between records, in bytes that no record begins with. Peers never write one: what comes from them
//! is taken apart into records, and those are written. The layout is in `docs/store-format.md`, with test vectors:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | magic `IXN2` |
//! | 4 | length p of the packed content |
//! | 4 | length of the content |
//! | p | the content, one zstd frame |
//! | 8 | check: the first 8 bytes of BLAKE3 over all before |
//!
//! The content begins with its kind (1 byte), the owner (32), the wall clock (8, seconds since 1970, signed) and its
//! place in the order of things (8). Then, by kind:
//!
//! | kind | what follows |
//! |---|---|
//! | 1, committed | provenance; number of instances (4), then for each the length of its recipe (4) and the recipe. Each has the place behind that of the one before |
//! | 2, published | root of the manifest (32); studies; number of stated contents (4), then for each the place of its study in that list (4) and its hash (32) |
//! | 3, removed | studies, of which there is one; 1 byte: 0 for all of it, 1 for contents: their number (4) and their hashes (32 each) |
//!
//! A provenance is its length (2), which is 0 where there is none, then the source (length 2, text), the number of
//! particulars (1), and for each its name and its value (each length 2, text). Studies are their number (4), then for
//! each the length of its UID (1) and the UID.

use crate::clock::UnixSeconds;
use crate::codec::zstd;
use crate::ids::{InstanceHash, ManifestRoot, PeerId, StudyUid};
use crate::limits::PAGE_BYTES_MAX;
use crate::store::{Order, Orders, Provenance, Publication, Removal, StoredInstance, What, recipe};
use crate::units::{to_u32, to_u64, to_usize};
use crate::wire::bytes::{Reader, Truncated};

/// First bytes of every note: format and version.
pub const NOTE_MAGIC: [u8; 4] = *b"IXN2";
/// Bytes in front of the packed content.
pub(super) const NOTE_FIXED_BYTES: usize = 12;
/// Bytes behind it.
const CHECK_BYTES: usize = 8;
/// Longest content of a note that is read: the recipe of one instance of any size fits.
const CONTENT_BYTES_MAX: usize = 4 * PAGE_BYTES_MAX;
/// A note of many instances is closed at this length; one instance is not divided.
const CONTENT_BYTES: usize = 1 << 20;
/// Longest text of a provenance, in bytes: the whole fits what its length can say.
const PROVENANCE_TEXT_MAX: usize = 1_000;
/// Most particulars of a provenance.
const PARTICULARS_MAX: usize = 16;
const COMMITTED: u8 = 1;
const PUBLISHED: u8 = 2;
const REMOVED: u8 = 3;

/// What a note says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// These instances are committed: their records were durable before the note was written.
    Committed {
        /// Wall clock, for people.
        at: UnixSeconds,
        /// How they came here.
        provenance: Option<Provenance>,
        /// The instances of one owner, with the places of their chunks.
        instances: Vec<StoredInstance>,
    },
    /// A manifest is committed in whole: a version of each of its studies.
    Published(Publication),
    /// Instances are removed.
    Removed(Removal),
}

/// Why bytes are not a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// They end too early.
    #[error("the note is cut short")]
    Truncated,
    /// Another kind of thing stands there.
    #[error("there is no note")]
    Magic,
    /// They are not what was written.
    #[error("the note's check does not match")]
    Check,
    /// The content is not what any program writes that knows this format.
    #[error("the note's content is malformed")]
    Malformed,
}

impl From<Truncated> for NoteError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// Notes that say that `instances` of `owner` are committed: as many as it takes. Each note holds instances whose
/// orders follow each other.
#[must_use]
pub fn committed(
    owner: PeerId,
    at: UnixSeconds,
    provenance: Option<&Provenance>,
    instances: &[StoredInstance],
) -> Vec<Vec<u8>> {
    let mut notes = Vec::new();
    let mut rest = instances;
    while let Some(first) = rest.first() {
        let (mut count, mut recipes) = (0, Vec::new());
        for instance in rest {
            let follows = instance.order.0 == first.order.0.saturating_add(to_u64(count));
            if !follows || recipes.len() >= CONTENT_BYTES {
                break;
            }
            let recipe = recipe::encode(instance);
            recipes.extend_from_slice(&to_u32(recipe.len()).to_le_bytes());
            recipes.extend_from_slice(&recipe);
            count += 1;
        }
        let mut content = head(COMMITTED, owner, at, first.order);
        put_provenance(&mut content, provenance);
        content.extend_from_slice(&to_u32(count).to_le_bytes());
        content.append(&mut recipes);
        notes.push(frame(&content));
        rest = &rest[count..];
    }
    notes
}

/// A note that says that a manifest is committed in whole.
#[must_use]
pub fn published(publication: &Publication) -> Vec<u8> {
    let mut content = head(PUBLISHED, publication.owner, publication.at, publication.order);
    content.extend_from_slice(publication.root.as_bytes());
    put_studies(&mut content, &publication.studies);
    content.extend_from_slice(&to_u32(publication.stated.len()).to_le_bytes());
    for (study, hash) in &publication.stated {
        content.extend_from_slice(&study.to_le_bytes());
        content.extend_from_slice(hash.as_bytes());
    }
    frame(&content)
}

/// A note that says that instances are removed.
#[must_use]
pub fn removed(removal: &Removal) -> Vec<u8> {
    let mut content = head(REMOVED, removal.owner, removal.at, removal.order);
    put_studies(&mut content, std::slice::from_ref(&removal.study));
    match &removal.what {
        What::All => content.push(0),
        What::Contents(hashes) => {
            content.push(1);
            content.extend_from_slice(&to_u32(hashes.len()).to_le_bytes());
            hashes.iter().for_each(|hash| content.extend_from_slice(hash.as_bytes()));
        }
    }
    frame(&content)
}

fn head(kind: u8, owner: PeerId, at: UnixSeconds, order: Order) -> Vec<u8> {
    let mut content = vec![kind];
    content.extend_from_slice(owner.as_bytes());
    content.extend_from_slice(&at.0.to_le_bytes());
    content.extend_from_slice(&order.0.to_le_bytes());
    content
}

fn put_studies(content: &mut Vec<u8>, studies: &[StudyUid]) {
    content.extend_from_slice(&to_u32(studies.len()).to_le_bytes());
    for study in studies {
        // A UID has at most 64 characters.
        content.push(u8::try_from(study.as_str().len()).unwrap_or(u8::MAX));
        content.extend_from_slice(study.as_str().as_bytes());
    }
}

fn take_studies(reader: &mut Reader<'_>) -> Result<Vec<StudyUid>, NoteError> {
    let count = reader.u32()?;
    let mut study = || {
        let len = usize::from(reader.u8()?);
        let text = std::str::from_utf8(reader.take(len)?).map_err(|_| NoteError::Malformed)?;
        StudyUid::new(text).map_err(|_| NoteError::Malformed)
    };
    (0..count).map(|_| study()).collect()
}

fn put_provenance(content: &mut Vec<u8>, provenance: Option<&Provenance>) {
    let encoded = provenance.map(Provenance::encode).unwrap_or_default();
    content.extend_from_slice(&u16::try_from(encoded.len()).unwrap_or(0).to_le_bytes());
    if u16::try_from(encoded.len()).is_ok() {
        content.extend_from_slice(&encoded);
    }
}

fn frame(content: &[u8]) -> Vec<u8> {
    // Compressing cannot fail short of memory; an empty frame is refused when it is read, not misread.
    let packed = zstd::compress(content, 3).unwrap_or_default();
    let mut out = Vec::with_capacity(NOTE_FIXED_BYTES + packed.len() + CHECK_BYTES);
    out.extend_from_slice(&NOTE_MAGIC);
    out.extend_from_slice(&to_u32(packed.len()).to_le_bytes());
    out.extend_from_slice(&to_u32(content.len()).to_le_bytes());
    out.extend_from_slice(&packed);
    let check = check_of(&out);
    out.extend_from_slice(&check);
    out
}

fn check_of(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECK_BYTES]);
    check
}

/// Length in bytes of the note that begins with `fixed`; `None` when it is none.
pub(super) fn note_len(fixed: &[u8; NOTE_FIXED_BYTES]) -> Option<u32> {
    let mut reader = Reader::new(fixed);
    let magic: [u8; 4] = reader.array().ok()?;
    let packed = reader.u32().ok()?;
    (magic == NOTE_MAGIC).then(|| packed.checked_add(to_u32(NOTE_FIXED_BYTES + CHECK_BYTES)))?
}

impl Note {
    /// Reads a note. Memory is bounded by a small multiple of the longest content, 4 pages.
    ///
    /// # Errors
    /// [`NoteError`] for everything that [`committed`], [`published`] and [`removed`] do not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoteError> {
        let (checked, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(NoteError::Truncated)?;
        let mut reader = Reader::new(checked);
        if reader.array::<4>()? != NOTE_MAGIC {
            return Err(NoteError::Magic);
        }
        if check_of(checked) != *check {
            return Err(NoteError::Check);
        }
        let packed = to_usize(u64::from(reader.u32()?));
        let len = to_usize(u64::from(reader.u32()?));
        let packed = reader.take(packed)?;
        if len > CONTENT_BYTES_MAX || !reader.is_empty() {
            return Err(NoteError::Malformed);
        }
        let content = zstd::decompress(packed, len).map_err(|_| NoteError::Malformed)?;
        if content.len() != len {
            return Err(NoteError::Malformed);
        }
        Self::decode_content(&content)
    }

    fn decode_content(content: &[u8]) -> Result<Self, NoteError> {
        let mut reader = Reader::new(content);
        let kind = reader.u8()?;
        let owner = PeerId::from_bytes(reader.array()?);
        let at = UnixSeconds(i64::from_le_bytes(reader.array()?));
        let order = Order(reader.u64()?);
        let note = match kind {
            COMMITTED => Self::decode_committed(owner, at, order, &mut reader)?,
            PUBLISHED => {
                let root = ManifestRoot::from_bytes(reader.array()?);
                let studies = take_studies(&mut reader)?;
                let count = reader.u32()?;
                let mut one = || Ok((reader.u32()?, InstanceHash::from_bytes(reader.array()?)));
                let stated = (0..count).map(|_| one()).collect::<Result<Vec<_>, NoteError>>()?;
                if stated.iter().any(|(study, _)| to_usize(u64::from(*study)) >= studies.len()) {
                    return Err(NoteError::Malformed);
                }
                Self::Published(Publication { owner, studies, root, at, order, stated })
            }
            REMOVED => {
                let mut studies = take_studies(&mut reader)?;
                let (Some(study), true) = (studies.pop(), studies.is_empty()) else {
                    return Err(NoteError::Malformed);
                };
                let what = match reader.u8()? {
                    0 => What::All,
                    1 => {
                        let count = reader.u32()?;
                        let mut hash = || Ok(InstanceHash::from_bytes(reader.array()?));
                        What::Contents((0..count).map(|_| hash()).collect::<Result<_, NoteError>>()?)
                    }
                    _ => return Err(NoteError::Malformed),
                };
                Self::Removed(Removal { owner, study, what, at, order })
            }
            _ => return Err(NoteError::Malformed),
        };
        if reader.is_empty() { Ok(note) } else { Err(NoteError::Malformed) }
    }

    fn decode_committed(
        owner: PeerId,
        at: UnixSeconds,
        order: Order,
        reader: &mut Reader<'_>,
    ) -> Result<Self, NoteError> {
        let provenance = match usize::from(reader.u16()?) {
            0 => None,
            len => Some(Provenance::decode(reader.take(len)?)?),
        };
        let count = reader.u32()?;
        let orders = Orders { first: order };
        let mut instance = |place| {
            let len = to_usize(u64::from(reader.u32()?));
            let found = recipe::decode(owner, reader.take(len)?).map_err(|_| NoteError::Malformed)?;
            Ok(StoredInstance { order: orders.nth(place), ..found })
        };
        let count = to_usize(u64::from(count));
        let instances = (0..count).map(&mut instance).collect::<Result<_, NoteError>>()?;
        Ok(Self::Committed { at, provenance, instances })
    }
}

impl Provenance {
    /// Its bytes, always the same. Texts are cut at 1,000 bytes, between characters, and particulars at 16.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        fn put(out: &mut Vec<u8>, text: &str) {
            let text = &text[..text.floor_char_boundary(PROVENANCE_TEXT_MAX)];
            out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        put(&mut out, &self.source);
        let about = &self.about[..self.about.len().min(PARTICULARS_MAX)];
        out.push(u8::try_from(about.len()).unwrap_or(u8::MAX));
        for (name, value) in about {
            put(&mut out, name);
            put(&mut out, value);
        }
        out
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`NoteError`] for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoteError> {
        fn text(reader: &mut Reader<'_>) -> Result<String, NoteError> {
            let len = usize::from(reader.u16()?);
            let text = std::str::from_utf8(reader.take(len)?).map_err(|_| NoteError::Malformed)?;
            if len <= PROVENANCE_TEXT_MAX { Ok(text.to_owned()) } else { Err(NoteError::Malformed) }
        }
        let mut reader = Reader::new(bytes);
        let source = text(&mut reader)?;
        let count = reader.u8()?;
        if usize::from(count) > PARTICULARS_MAX {
            return Err(NoteError::Malformed);
        }
        let mut one = || Ok((text(&mut reader)?, text(&mut reader)?));
        let about = (0..count).map(|_| one()).collect::<Result<_, NoteError>>()?;
        if reader.is_empty() { Ok(Self { source, about }) } else { Err(NoteError::Malformed) }
    }
}
