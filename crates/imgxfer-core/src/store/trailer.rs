//! What a pack ends with once nothing is appended to it any more: the heads of all that stands in it, so that whoever
//! lists it reads its end instead of walking over it.
//!
//! A trailer repeats what the pack says and adds nothing. It is written behind what is durable, and is not durable
//! itself: a pack without one, or with one that is torn, damaged or another pack's, is walked over, head by head. What
//! is to be removed is never decided by it. The layout is in `docs/store-format.md`, with a test vector:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | magic `IXT1` |
//! | h | heads, in order: of each record its fixed part and chunk list, of each note its first 12 bytes |
//! | 8 | where the trailer begins: the length of all that stands before it |
//! | 4 | number of heads |
//! | 4 | length t of the trailer, all of it |
//! | 8 | check: the first 8 bytes of BLAKE3 over the pack's id and the magic and heads |
//! | 8 | check: the first 8 bytes of BLAKE3 over the pack's id and the 24 bytes before |
//! | 4 | magic `IXTE` |

use std::fmt;

use super::PackWriter;
use super::note::{NOTE_FIXED_BYTES, note_len};
use super::walk::Item;
use crate::dicom::ReadAt;
use crate::ids::PackId;
use crate::units::{to_u32, to_u64, to_usize};
use crate::wire::bytes::{Reader, Truncated};
use crate::wire::record::{RECORD_FIXED_BYTES, Record, RecordFixed};

/// First bytes of a trailer: no record and no note begins with them, so a walk ends there.
pub const TRAILER_MAGIC: [u8; 4] = *b"IXT1";
/// Last bytes of a trailer.
const END_MAGIC: [u8; 4] = *b"IXTE";
/// Length of what stands behind the heads, always.
pub const TRAILER_FOOTER_BYTES: usize = 36;
/// Longest trailer. A pack with more to list has none.
pub const TRAILER_BYTES_MAX: usize = 8 << 20;
/// A pack is full when its heads are so long: whoever looks at that before each record never exceeds the most.
const HEADS_FULL_BYTES: usize = 4 << 20;
/// How much is read of a pack's end in one go: the whole trailer of most packs.
const SUFFIX_BYTES: usize = 64 << 10;
const UNREADABLE: &str = "the trailer cannot be read";
/// Bytes of the footer in front of its own check.
const CHECKED_BYTES: usize = 24;

/// Why bytes are not the trailer of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrailerError {
    /// They end too early, or are longer than any trailer.
    #[error("the trailer is cut short")]
    Truncated,
    /// Another kind of thing stands there.
    #[error("there is no trailer")]
    Magic,
    /// They are not what was written, or were written for another pack.
    #[error("the trailer's check does not match")]
    Check,
    /// It says something else of the pack's length or content than the pack is.
    #[error("the trailer contradicts the pack")]
    Contradiction,
}

impl From<Truncated> for TrailerError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// Gathers the heads of a pack while it is written. Memory: as much as the trailer takes, up to 8 MiB.
#[derive(Default)]
pub struct Heads {
    /// `None` once they are too long.
    bytes: Option<Vec<u8>>,
    count: u32,
}

impl fmt::Debug for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heads").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Heads {
    /// Of a pack in which nothing stands yet.
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: Some(TRAILER_MAGIC.to_vec()), count: 0 }
    }

    /// A record was appended.
    pub fn record(&mut self, record: &Record) {
        self.put(&record.bytes()[..Record::room(record.header().chunks.len())]);
    }

    /// A note was appended.
    pub fn note(&mut self, note: &[u8]) {
        self.put(&note[..note.len().min(NOTE_FIXED_BYTES)]);
    }

    fn put(&mut self, head: &[u8]) {
        self.count += 1;
        self.bytes.take_if(|bytes| bytes.len() + head.len() + TRAILER_FOOTER_BYTES > TRAILER_BYTES_MAX);
        if let Some(bytes) = &mut self.bytes {
            bytes.extend_from_slice(head);
        }
    }

    /// Whether another pack should be begun, so that this one can have a trailer.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.as_ref().is_none_or(|bytes| bytes.len() >= HEADS_FULL_BYTES)
    }

    /// The trailer of a pack in which all of this ends at `end`; `None` where it would be too long.
    #[must_use]
    pub fn trailer(&self, pack: PackId, end: u64) -> Option<Vec<u8>> {
        let mut out = self.bytes.clone()?;
        let heads_check = check_of(pack, &out);
        let footer = out.len();
        out.extend_from_slice(&end.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&to_u32(footer + TRAILER_FOOTER_BYTES).to_le_bytes());
        out.extend_from_slice(&heads_check);
        let check = check_of(pack, &out[footer..]);
        out.extend_from_slice(&check);
        out.extend_from_slice(&END_MAGIC);
        Some(out)
    }
}

/// Ends a pack of which everything is durable. Where that fails it is read head by head, and nothing else is the worse
/// for it.
pub(crate) fn finish(writer: Box<dyn PackWriter>) {
    let pack = writer.id();
    if let Err(error) = writer.finish() {
        tracing::warn!(?pack, %error, "a pack has no trailer: it will be read record by record");
    }
}

fn check_of(pack: PackId, bytes: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(pack.as_bytes()).update(bytes);
    let mut check = [0; 8];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    check
}

/// The last bytes of a trailer, found right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Footer {
    /// Where the trailer begins.
    end: u64,
    count: u32,
    /// Length of the trailer.
    len: usize,
    heads_check: [u8; 8],
}

impl Footer {
    /// Reads the footer of a pack of `pack_len` bytes.
    fn decode(pack: PackId, pack_len: u64, bytes: &[u8; TRAILER_FOOTER_BYTES]) -> Result<Self, TrailerError> {
        let mut reader = Reader::new(bytes);
        let end = reader.u64()?;
        let count = reader.u32()?;
        let len = to_usize(u64::from(reader.u32()?));
        let heads_check = reader.array()?;
        let check: [u8; 8] = reader.array()?;
        if reader.array::<4>()? != END_MAGIC {
            return Err(TrailerError::Magic);
        }
        if check_of(pack, &bytes[..CHECKED_BYTES]) != check {
            return Err(TrailerError::Check);
        }
        let fits = (TRAILER_MAGIC.len() + TRAILER_FOOTER_BYTES..=TRAILER_BYTES_MAX).contains(&len);
        if !fits || end.checked_add(to_u64(len)) != Some(pack_len) {
            return Err(TrailerError::Contradiction);
        }
        Ok(Self { end, count, len, heads_check })
    }
}

/// What stands in a pack, by its trailer, which has been found right.
pub struct Trailer {
    /// Magic and heads.
    heads: Vec<u8>,
    start: u64,
    end: u64,
}

impl fmt::Debug for Trailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trailer").field("start", &self.start).field("end", &self.end).finish_non_exhaustive()
    }
}

impl Trailer {
    /// Reads the trailer `bytes` of a pack of `pack_len` bytes whose first record begins at `start`.
    ///
    /// # Errors
    /// [`TrailerError`] for everything but what [`Heads::trailer`] gives for that pack.
    pub fn decode(pack: PackId, start: u64, pack_len: u64, bytes: &[u8]) -> Result<Self, TrailerError> {
        let (heads, footer) = bytes.split_last_chunk::<TRAILER_FOOTER_BYTES>().ok_or(TrailerError::Truncated)?;
        let footer = Footer::decode(pack, pack_len, footer)?;
        if footer.len != bytes.len() {
            return Err(TrailerError::Truncated);
        }
        Self::of(pack, start, &footer, heads.to_vec())
    }

    fn of(pack: PackId, start: u64, footer: &Footer, heads: Vec<u8>) -> Result<Self, TrailerError> {
        if !heads.starts_with(&TRAILER_MAGIC) {
            return Err(TrailerError::Magic);
        }
        if check_of(pack, &heads) != footer.heads_check {
            return Err(TrailerError::Check);
        }
        let trailer = Self { heads, start, end: footer.end };
        let mut count = 0;
        let mut last = start;
        trailer.visit(&mut |offset, len, _| {
            count += 1;
            last = offset.saturating_add(u64::from(len));
        })?;
        let fits = count == footer.count && last == footer.end;
        if fits { Ok(trailer) } else { Err(TrailerError::Contradiction) }
    }

    /// Where it begins: the length of all that was appended to the pack.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Calls `visit` with offset, length and head of each thing in the pack, in order.
    pub(super) fn visit(&self, visit: &mut dyn FnMut(u64, u32, Item)) -> Result<(), TrailerError> {
        let mut rest = self.heads.get(TRAILER_MAGIC.len()..).unwrap_or_default();
        let mut offset = self.start;
        while let Some(first) = rest.first_chunk() {
            let (item, len, head) = match note_len(first) {
                Some(len) => (Item::Note, len, NOTE_FIXED_BYTES),
                None => {
                    let fixed = rest.first_chunk().ok_or(TrailerError::Truncated)?;
                    let fixed = RecordFixed::decode(fixed).map_err(|_| TrailerError::Contradiction)?;
                    let head = RECORD_FIXED_BYTES + fixed.list_len();
                    let list = rest.get(RECORD_FIXED_BYTES..head).ok_or(TrailerError::Truncated)?;
                    let header = fixed.with_list(list).map_err(|_| TrailerError::Contradiction)?;
                    let len = header.record_len();
                    (Item::Record(header), len, head)
                }
            };
            rest = &rest[head..];
            visit(offset, len, item);
            offset = offset.saturating_add(u64::from(len));
        }
        if rest.is_empty() { Ok(()) } else { Err(TrailerError::Truncated) }
    }

    /// How many records and how many notes it lists.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let (mut records, mut notes) = (0, 0);
        // It was found right when it was read.
        let _ = self.visit(&mut |_, _, item| match item {
            Item::Record(_) => records += 1,
            Item::Note => notes += 1,
        });
        (records, notes)
    }
}

/// How a pack ends.
#[derive(Debug)]
pub(super) enum Ending<T> {
    /// Without a trailer: it is being written, or a crash or a failure ended it.
    Open,
    /// With one that is not believed, for this reason.
    Doubtful(&'static str),
    /// With this.
    Sealed(T),
}

/// Where what was appended to a pack ends, if it has a trailer. Reads the last 36 bytes.
pub(super) fn end_of<S: ReadAt + ?Sized>(source: &S, pack: PackId, start: u64) -> Ending<u64> {
    match suffix_of(source, pack, start, TRAILER_FOOTER_BYTES) {
        Ending::Sealed((footer, _)) => Ending::Sealed(footer.end),
        Ending::Open => Ending::Open,
        Ending::Doubtful(why) => Ending::Doubtful(why),
    }
}

/// The trailer of a pack, if it has one: one read of 64 KiB at its end, and a second for the rest of a longer one.
pub(super) fn read<S: ReadAt + ?Sized>(source: &S, pack: PackId, start: u64) -> Ending<Trailer> {
    let (footer, mut bytes) = match suffix_of(source, pack, start, SUFFIX_BYTES) {
        Ending::Sealed(found) => found,
        Ending::Open => return Ending::Open,
        Ending::Doubtful(why) => return Ending::Doubtful(why),
    };
    if let Some(more) = bytes.len().checked_sub(footer.len) {
        bytes.drain(..more);
    } else {
        let mut front = vec![0; footer.len - bytes.len()];
        if source.read_exact_at(footer.end, &mut front).is_err() {
            return Ending::Doubtful(UNREADABLE);
        }
        front.append(&mut bytes);
        bytes = front;
    }
    bytes.truncate(footer.len - TRAILER_FOOTER_BYTES);
    match Trailer::of(pack, start, &footer, bytes) {
        Ok(trailer) => Ending::Sealed(trailer),
        Err(_) => Ending::Doubtful("the trailer does not match the pack"),
    }
}

/// Up to `most` bytes of the end of a pack, and the footer in them.
fn suffix_of<S: ReadAt + ?Sized>(source: &S, pack: PackId, start: u64, most: usize) -> Ending<(Footer, Vec<u8>)> {
    let len = source.len();
    let mut bytes = vec![0; most.min(to_usize(len.saturating_sub(start)))];
    if bytes.len() < TRAILER_FOOTER_BYTES {
        return Ending::Open;
    }
    if source.read_exact_at(len - to_u64(bytes.len()), &mut bytes).is_err() {
        return Ending::Doubtful(UNREADABLE);
    }
    match bytes.last_chunk().map(|footer| Footer::decode(pack, len, footer)) {
        Some(Ok(footer)) if footer.end >= start => Ending::Sealed((footer, bytes)),
        Some(Err(TrailerError::Magic)) | None => Ending::Open,
        _ => Ending::Doubtful("the trailer's last bytes do not match the pack"),
    }
}
