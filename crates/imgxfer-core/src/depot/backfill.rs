//! Reading headers of stored instances again after the catalogue has changed, so that what is new of it is found in old
//! studies too.

use std::io;

use super::Depot;
use super::read_back::{Seen, identify};
use crate::chunk::ChunkClass;
use crate::dicom::{CATALOGUE_VERSION, ReadAt};
use crate::store::{InstanceError, RecordCache, Refill, StoreError, StoredInstance, StoredReader};
use crate::units::{to_u64, to_usize};
use crate::work;

/// Headers that are read in one step.
const INSTANCES_AT_ONCE: usize = 64;
/// So many instances one after the other that the medium does not give are not damage of theirs: the medium fails.
const UNREADABLE_MAX: u32 = 16;

/// `EIO`: what a disk says of a sector that it cannot read.
const EIO: i32 = 5;

/// What one [`Backfill::step`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackfillStep {
    /// Instances of one study were read.
    Read {
        /// How many have their attributes by this program's catalogue now.
        instances: u64,
        /// Those whose headers cannot be read; they keep the attributes that they have.
        unreadable: Vec<StoredInstance>,
    },
    /// Nothing is left.
    Done,
}

/// Reads headers again whose attributes are of another catalogue ([`Index::stale`](crate::store::Index::stale)), study by
/// study, in small steps: the records that hold headers, and no pixels unless attributes stand behind them.
///
/// It may run beside everything else, and be stopped at any moment: the index knows what is left.
#[derive(Debug, Default)]
pub struct Backfill {
    /// Instances one after the other that the medium did not give.
    unreadable: u32,
}

impl Backfill {
    /// Reads the headers of up to 64 instances, and records what they say. Memory: those instances as the index has
    /// them, and 16 MiB of decoded records. Blocks.
    ///
    /// # Errors
    /// [`StoreError`]: the index or the medium fails. Another call tries again.
    pub fn step(&mut self, depot: &Depot) -> Result<BackfillStep, StoreError> {
        let stale = depot.index.stale_instances(INSTANCES_AT_ONCE)?;
        if stale.is_empty() {
            return Ok(BackfillStep::Done);
        }
        let cache = RecordCache::new(RecordCache::BYTES_SHARED);
        let mut refills = Vec::with_capacity(stale.len());
        for instance in stale {
            refills.push(match self.read(depot, &instance, &cache)? {
                Some(Seen { attributes, frames, .. }) => {
                    let catalogue = CATALOGUE_VERSION;
                    Refill::Read(StoredInstance { attributes, frames, catalogue, ..instance })
                }
                None => Refill::Unreadable(instance),
            });
        }
        depot.index.refill(&refills)?;
        let all = to_u64(refills.len());
        let unreadable = refills.into_iter().filter_map(|refill| match refill {
            Refill::Unreadable(instance) => Some(instance),
            Refill::Read(_) => None,
        });
        let unreadable: Vec<_> = unreadable.collect();
        Ok(BackfillStep::Read { instances: all - to_u64(unreadable.len()), unreadable })
    }

    /// What a header says; `None` when it cannot be read, or is another than the one that was committed.
    fn read(
        &mut self,
        depot: &Depot,
        instance: &StoredInstance,
        cache: &RecordCache,
    ) -> Result<Option<Seen>, StoreError> {
        let reader = match depot.reader(instance.clone()) {
            Ok(reader) => reader.with_cache(cache.clone()),
            Err(_) => return Ok(None),
        };
        let header = Header::of(&reader);
        // What breaks the scanner is kept as it is known.
        let Ok(identified) = work::guarded("scan again", || identify(&header, &instance.entry)) else {
            return Ok(None);
        };
        match identified {
            Ok(seen) => {
                self.unreadable = 0;
                let is_known =
                    |seen: &Seen| header.is_whole() || seen.frames.as_ref().is_some_and(|f| !f.is_encapsulated());
                return Ok(seen.map(|seen| if is_known(&seen) { seen } else { Seen { frames: None, ..seen } }));
            }
            Err(InstanceError::Store(StoreError::Io { source, .. }))
                if source.raw_os_error() == Some(EIO) && self.unreadable < UNREADABLE_MAX =>
            {
                self.unreadable += 1;
            }
            Err(InstanceError::Store(error)) if error.is_transient() && !matches!(error, StoreError::NoSuchPack(_)) => {
                return Err(error);
            }
            Err(_) => {}
        }
        // As by every read that fails: the same study sent again heals it.
        let records: Vec<_> = reader.damaged().into_iter().map(|n| instance.chunks[n].record).collect();
        depot.index.note_damage(&instance.entry.study, &records)?;
        Ok(None)
    }
}

/// An instance of which the pixel data are zeros that nobody reads. Where anything stands behind encapsulated pixel data,
/// which only walking over their fragments finds, it is the whole instance.
pub(super) struct Header<'a> {
    reader: &'a StoredReader,
    /// Where pixel data stand.
    pixels: Option<std::ops::Range<u64>>,
}

/// What ends encapsulated pixel data: a delimiter (PS3.5 section A.4).
const DELIMITER_BYTES: u64 = 8;

impl<'a> Header<'a> {
    pub(super) fn of(reader: &'a StoredReader) -> Self {
        let mut pixels: Option<std::ops::Range<u64>> = None;
        let mut end = 0;
        for chunk in &reader.entry().chunks {
            let start = end;
            end += u64::from(chunk.len);
            if chunk.class == ChunkClass::Pixels {
                pixels = Some(pixels.map_or(start, |range| range.start)..end);
            }
        }
        let is_last = |range: &std::ops::Range<u64>| reader.len().saturating_sub(range.end) <= DELIMITER_BYTES;
        Self { reader, pixels: pixels.filter(is_last) }
    }

    const fn is_whole(&self) -> bool {
        self.pixels.is_none()
    }
}

impl ReadAt for Header<'_> {
    fn len(&self) -> u64 {
        self.reader.len()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let Some(pixels) = &self.pixels else { return self.reader.read_exact_at(offset, buf) };
        let end = offset.saturating_add(to_u64(buf.len()));
        if end > self.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (front, back) = (pixels.start.clamp(offset, end), pixels.end.clamp(offset, end));
        let (before, rest) = buf.split_at_mut(to_usize(front - offset));
        let (within, behind) = rest.split_at_mut(to_usize(back - front));
        within.fill(0);
        if !before.is_empty() {
            self.reader.read_exact_at(offset, before)?;
        }
        if behind.is_empty() { Ok(()) } else { self.reader.read_exact_at(back, behind) }
    }
}
