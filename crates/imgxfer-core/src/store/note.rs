//! Notes: what a pack tells besides its records, so that an index can be made from packs alone.
//!
//! A note stands between records, in bytes that no record begins with. Peers never write one: what comes from them
//! is taken apart into records, and those are written. The layout is in `docs/store-format.md`, with test vectors:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | magic `IXN1` |
//! | 4 | length p of the packed content |
//! | 4 | length of the content |
//! | p | the content, one zstd frame |
//! | 8 | check: the first 8 bytes of BLAKE3 over all before |
//!
//! The content begins with its kind (1 byte), the owner (32) and the wall clock (8, seconds since 1970, signed).
//! Kind 1, *committed*: number of instances (4), then for each the length of its recipe (4) and the recipe. Kind 2,
//! *published*: root of the manifest (32), number of studies (4), then for each the length of its UID (1) and the UID.

use crate::clock::UnixSeconds;
use crate::codec::zstd;
use crate::ids::{ManifestRoot, PeerId, StudyUid};
use crate::limits::PAGE_BYTES_MAX;
use crate::store::{StoredInstance, recipe};
use crate::units::{to_u32, to_usize};
use crate::wire::bytes::{Reader, Truncated};

/// First bytes of every note: format and version.
pub const NOTE_MAGIC: [u8; 4] = *b"IXN1";
/// Bytes in front of the packed content.
pub(super) const NOTE_FIXED_BYTES: usize = 12;
/// Bytes behind it.
const CHECK_BYTES: usize = 8;
/// Longest content of a note that is read: the recipe of one instance of any size fits.
const CONTENT_BYTES_MAX: usize = 4 * PAGE_BYTES_MAX;
/// A note of many instances is closed at this length; one instance is not divided.
const CONTENT_BYTES: usize = 1 << 20;
const COMMITTED: u8 = 1;
const PUBLISHED: u8 = 2;

/// What a note says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// These instances are committed: their records were durable before the note was written.
    Committed {
        /// Whose they are.
        owner: PeerId,
        /// Wall clock, for people.
        at: UnixSeconds,
        /// The instances, with the places of their chunks.
        instances: Vec<StoredInstance>,
    },
    /// The manifest `root` is committed in whole: a version of each of these studies.
    Published {
        /// Whose they are.
        owner: PeerId,
        /// Wall clock, for people.
        at: UnixSeconds,
        /// The manifest.
        root: ManifestRoot,
        /// The studies.
        studies: Vec<StudyUid>,
    },
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

/// Notes that say that `instances` of `owner` are committed: as many as it takes.
#[must_use]
pub fn committed(owner: PeerId, at: UnixSeconds, instances: &[StoredInstance]) -> Vec<Vec<u8>> {
    let mut notes = Vec::new();
    let (mut count, mut recipes) = (0, Vec::new());
    for (place, instance) in instances.iter().enumerate() {
        let recipe = recipe::encode(instance);
        recipes.extend_from_slice(&to_u32(recipe.len()).to_le_bytes());
        recipes.extend_from_slice(&recipe);
        count += 1;
        if recipes.len() >= CONTENT_BYTES || place + 1 == instances.len() {
            let mut content = head(COMMITTED, owner, at);
            content.extend_from_slice(&to_u32(count).to_le_bytes());
            content.append(&mut recipes);
            notes.push(frame(&content));
            count = 0;
        }
    }
    notes
}

/// A note that says that the manifest `root` of `owner` is committed in whole.
#[must_use]
pub fn published(owner: PeerId, at: UnixSeconds, root: ManifestRoot, studies: &[StudyUid]) -> Vec<u8> {
    let mut content = head(PUBLISHED, owner, at);
    content.extend_from_slice(root.as_bytes());
    content.extend_from_slice(&to_u32(studies.len()).to_le_bytes());
    for study in studies {
        // A UID has at most 64 characters.
        content.push(u8::try_from(study.as_str().len()).unwrap_or(u8::MAX));
        content.extend_from_slice(study.as_str().as_bytes());
    }
    frame(&content)
}

fn head(kind: u8, owner: PeerId, at: UnixSeconds) -> Vec<u8> {
    let mut content = vec![kind];
    content.extend_from_slice(owner.as_bytes());
    content.extend_from_slice(&at.0.to_le_bytes());
    content
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
    /// [`NoteError`] for everything that [`committed`] and [`published`] do not write.
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
        let note = match kind {
            COMMITTED => {
                let count = reader.u32()?;
                let mut instance = || {
                    let len = to_usize(u64::from(reader.u32()?));
                    recipe::decode(owner, reader.take(len)?).map_err(|_| NoteError::Malformed)
                };
                let instances = (0..count).map(|_| instance()).collect::<Result<_, NoteError>>()?;
                Self::Committed { owner, at, instances }
            }
            PUBLISHED => {
                let root = ManifestRoot::from_bytes(reader.array()?);
                let count = reader.u32()?;
                let mut study = || {
                    let len = usize::from(reader.u8()?);
                    let text = std::str::from_utf8(reader.take(len)?).map_err(|_| NoteError::Malformed)?;
                    StudyUid::new(text).map_err(|_| NoteError::Malformed)
                };
                let studies = (0..count).map(|_| study()).collect::<Result<_, NoteError>>()?;
                Self::Published { owner, at, root, studies }
            }
            _ => return Err(NoteError::Malformed),
        };
        if reader.is_empty() { Ok(note) } else { Err(NoteError::Malformed) }
    }
}
