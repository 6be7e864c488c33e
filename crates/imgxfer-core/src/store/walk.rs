//! Reading the records of a pack one behind the other, whatever holds its bytes.

use std::io;
use std::ops::DerefMut;

use bytes::Bytes;

use super::note::{NOTE_FIXED_BYTES, Note, NoteError, note_len};
use super::trailer::{self, Ending, Trailer};
use super::{RecordAt, StoreError};
use crate::dicom::ReadAt;
use crate::ids::PackId;
use crate::units::{to_u32, to_u64, to_usize};
#[cfg(feature = "fs")]
use crate::wire::buffers::Buffers;
use crate::wire::record::{RECORD_FIXED_BYTES, Record, RecordError, RecordFixed, RecordHeader};

/// Something whole in a pack.
pub(super) enum Item {
    Record(RecordHeader),
    Note,
}

/// What is being walked.
pub(super) struct Walk<'a, S: ReadAt + ?Sized> {
    /// The pack's bytes.
    pub(super) source: &'a S,
    /// Its name, for errors.
    pub(super) pack: PackId,
    /// Where the first record or note of the pack begins.
    pub(super) start: u64,
    /// Told why the pack's trailer is not believed, whenever it is not.
    pub(super) doubt: &'a dyn Fn(PackId, &'static str),
}

/// Up to where a walk goes.
#[derive(Clone, Copy)]
struct Upto {
    end: u64,
    /// Whether a trailer stands behind: all in front of it was durable, so nothing there is torn.
    sealed: bool,
}

impl<S: ReadAt + ?Sized> Walk<'_, S> {
    /// What [`super::RecordStore::scan`] promises: visits whole records up to the first that is not, and returns the
    /// offset behind the last. Passes over notes. Without `check` the trailer is asked, where there is one.
    pub(super) fn scan(&self, check: bool, visit: &mut dyn FnMut(RecordAt, &RecordHeader)) -> Result<u64, StoreError> {
        if !check && let Some(trailer) = self.trailer() {
            self.visit(&trailer, &mut |at, item| {
                if let Item::Record(header) = item {
                    visit(at, &header);
                }
            })?;
            return Ok(trailer.end());
        }
        let Upto { end, sealed } = self.upto();
        let mut offset = self.start;
        while let Some((item, len)) = self.item(offset, end)? {
            let at = RecordAt { pack: self.pack, offset, len };
            let next = offset + u64::from(len);
            if let Item::Record(header) = item {
                if check && !self.is_whole(at)? {
                    if next == end && !sealed {
                        break;
                    }
                    return Err(self.damaged("a record's check does not match", offset));
                }
                visit(at, &header);
            }
            offset = next;
        }
        Ok(offset)
    }

    /// The walk that [`super::RecordStore::notes`] promises, from `from` on.
    pub(super) fn notes(&self, from: u64, visit: &mut super::VisitNote<'_>) -> Result<u64, StoreError> {
        let Upto { end, sealed } = self.upto();
        let mut offset = from.max(self.start);
        while let Some((item, len)) = self.item(offset, end)? {
            let next = offset + u64::from(len);
            if matches!(item, Item::Note) {
                let bytes = self.bytes(offset, len)?;
                // A torn tail: it was not durable, so nobody was told of it.
                if next == end && !sealed && matches!(Note::decode(&bytes), Err(NoteError::Check)) {
                    break;
                }
                visit(next, &bytes)?;
            }
            offset = next;
        }
        Ok(offset)
    }

    /// What [`super::RecordStore::list_notes`] promises: by the trailer, where there is one.
    pub(super) fn list_notes(&self, from: u64, visit: &mut super::VisitNote<'_>) -> Result<u64, StoreError> {
        let Some(trailer) = self.trailer() else { return self.notes(from, visit) };
        let mut places = Vec::new();
        self.visit(&trailer, &mut |at, item| {
            if matches!(item, Item::Note) && at.offset >= from {
                places.push(at);
            }
        })?;
        for at in places {
            visit(at.offset + u64::from(at.len), &self.bytes(at.offset, at.len)?)?;
        }
        Ok(trailer.end())
    }

    /// Why the trailer is not believed, where there is one that is not.
    pub(super) fn doubted(&self) -> Option<&'static str> {
        match trailer::read(self.source, self.pack, self.start) {
            Ending::Doubtful(why) => Some(why),
            Ending::Open | Ending::Sealed(_) => None,
        }
    }

    fn trailer(&self) -> Option<Trailer> {
        match trailer::read(self.source, self.pack, self.start) {
            Ending::Sealed(trailer) => Some(trailer),
            Ending::Open => None,
            Ending::Doubtful(why) => {
                (self.doubt)(self.pack, why);
                None
            }
        }
    }

    /// What is in front of the trailer. A writer may be appending: what comes behind this is for the next walk.
    fn upto(&self) -> Upto {
        match trailer::end_of(self.source, self.pack, self.start) {
            Ending::Sealed(end) => Upto { end, sealed: true },
            ending => {
                if let Ending::Doubtful(why) = ending {
                    (self.doubt)(self.pack, why);
                }
                Upto { end: self.source.len(), sealed: false }
            }
        }
    }

    fn visit(&self, trailer: &Trailer, visit: &mut dyn FnMut(RecordAt, Item)) -> Result<(), StoreError> {
        let pack = self.pack;
        let visited = trailer.visit(&mut |offset, len, item| visit(RecordAt { pack, offset, len }, item));
        visited.map_err(|_| self.damaged("the pack's trailer", trailer.end()))
    }

    fn bytes(&self, offset: u64, len: u32) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; to_usize(u64::from(len))];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// What stands at `offset`, when it ends before the pack does, and its length.
    fn item(&self, offset: u64, end: u64) -> Result<Option<(Item, u32)>, StoreError> {
        let left = end.saturating_sub(offset);
        let mut fixed = [0; NOTE_FIXED_BYTES];
        if left < to_u64(fixed.len()) {
            return Ok(None);
        }
        self.read(offset, &mut fixed)?;
        if let Some(len) = note_len(&fixed) {
            return Ok((u64::from(len) <= left).then_some((Item::Note, len)));
        }
        Ok(self.header(offset, left)?.map(|header| {
            let len = header.record_len();
            (Item::Record(header), len)
        }))
    }

    /// The header at `offset`, when there is one and its record is no longer than what is left.
    fn header(&self, offset: u64, left: u64) -> Result<Option<RecordHeader>, StoreError> {
        if left < to_u64(RECORD_FIXED_BYTES) {
            return Ok(None);
        }
        let mut fixed = [0; RECORD_FIXED_BYTES];
        self.read(offset, &mut fixed)?;
        let Ok(fixed) = RecordFixed::decode(&fixed) else {
            return Ok(None);
        };
        if to_u64(RECORD_FIXED_BYTES + fixed.rest_len()) > left {
            return Ok(None);
        }
        let mut list = vec![0; fixed.list_len()];
        self.read(offset + to_u64(RECORD_FIXED_BYTES), &mut list)?;
        Ok(fixed.with_list(&list).ok())
    }

    fn is_whole(&self, at: RecordAt) -> Result<bool, StoreError> {
        Ok(read_record(self.source, at, fresh, Record::decode)?.is_ok())
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        self.source.read_exact_at(offset, buf).map_err(|source| StoreError::Io { what: "read a pack", source })
    }

    const fn damaged(&self, what: &'static str, offset: u64) -> StoreError {
        StoreError::Damaged { what, pack: self.pack, offset }
    }
}

/// How bytes are read as a record.
type Decode = fn(Bytes) -> Result<Record, RecordError>;

/// Reads the bytes at `at` into what `room` gives for them, and sees whether they are a record.
fn read_record<S: ReadAt + ?Sized, B: DerefMut<Target = [u8]> + Into<Bytes>>(
    source: &S,
    at: RecordAt,
    room: impl FnOnce(usize) -> B,
    decode: Decode,
) -> Result<Result<Record, RecordError>, StoreError> {
    // `len` comes from an index or a header within its limits; the pack's own length bounds it too.
    if at.offset.checked_add(u64::from(at.len)).is_none_or(|end| end > source.len()) {
        return Ok(Err(RecordError::Truncated));
    }
    let mut bytes = room(to_usize(u64::from(at.len)));
    match source.read_exact_at(at.offset, &mut bytes) {
        Ok(()) => Ok(decode(bytes.into())),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(Err(RecordError::Truncated)),
        Err(source) => Err(StoreError::Io { what: "read a pack", source }),
    }
}

/// Memory that is asked for anew.
fn fresh(len: usize) -> Vec<u8> {
    vec![0; len]
}

/// The record at `at`, found whole; what [`super::RecordStore::read`] promises.
pub(super) fn read_checked<S: ReadAt + ?Sized>(source: &S, at: RecordAt) -> Result<Record, StoreError> {
    expect(at, read_record(source, at, fresh, Record::decode)?)
}

/// The same in a buffer of `buffers`, and by another way of decoding.
#[cfg(feature = "fs")]
pub(super) fn read_in<S: ReadAt + ?Sized>(
    source: &S,
    at: RecordAt,
    buffers: &Buffers,
    decode: Decode,
) -> Result<Record, StoreError> {
    expect(at, read_record(source, at, |len| buffers.take(len), decode)?)
}

/// The record that an index says stands at `at`.
fn expect(at: RecordAt, found: Result<Record, RecordError>) -> Result<Record, StoreError> {
    let damaged = |what| StoreError::Damaged { what, pack: at.pack, offset: at.offset };
    let record = found.map_err(|e| damaged(describe(&e)))?;
    if to_u32(record.bytes().len()) == at.len { Ok(record) } else { Err(damaged("the record has another length")) }
}

const fn describe(error: &RecordError) -> &'static str {
    match error {
        RecordError::Truncated => "the record is cut short",
        RecordError::Magic => "there is no record",
        RecordError::Check => "the record's check does not match",
        RecordError::Limit { .. } | RecordError::Class(_) => "the record's header is malformed",
    }
}
