//! What tests of stores are built from: conformance suites that any [`RecordStore`](crate::store::RecordStore) or [`Index`](crate::store::Index) can be
//! put through, a store that fails on purpose, and small instances to put into them.
//!
//! Feature `testing`; never part of a release build. Everything here panics when something is not as
//! it should be: that is what a test wants.
//!
//! [`Index`]: crate::store::Index

pub mod faulty;
mod index_suite;
mod pack_suite;
#[cfg(feature = "quic")]
pub mod pair;
mod scope_suite;
mod search_suite;
mod store_suite;

use crate::chunk::ChunkClass;
use crate::codec::{Codec, CodecId, Level, Store, Zstd};
use crate::dicom::{Attributes, tags};
use crate::ids::{ChunkId, InstanceHash, PackId, PeerId, SeriesUid, SopInstanceUid, StudyUid};
use crate::manifest::{ChunkEntry, InstanceEntry};
use crate::store::{ChunkAt, PackWriter, RecordAt, StoreError, StoredInstance};
use crate::units::{to_u32, to_u64, to_usize};
use crate::wire::record::{Record, RecordChunk};

pub use index_suite::index_suite;
pub use search_suite::search_suite;
pub use store_suite::store_suite;

/// A record of `chunks`, compressed with zstd where that makes it smaller.
#[must_use]
pub fn record_of(chunks: &[&[u8]]) -> Record {
    let list: Vec<_> = chunks.iter().map(|c| RecordChunk { id: ChunkId::of(c), len: to_u32(c.len()) }).collect();
    let raw = chunks.concat();
    let mut payload = Vec::new();
    let codec = if Zstd.encode(&raw, None, Level::FAST, &mut payload) {
        CodecId::ZSTD
    } else {
        Store.encode(&raw, None, Level::FAST, &mut payload);
        CodecId::STORE
    };
    Record::encode(codec, ChunkClass::Pixels, &list, &payload)
}

/// `len` bytes that depend on `seed` alone and do not compress.
#[must_use]
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

/// A peer for tests.
#[must_use]
pub fn peer(number: u8) -> PeerId {
    PeerId::from_bytes([number; PeerId::LEN])
}

/// A study for tests.
///
/// # Panics
/// Never: a number is part of a valid UID.
#[must_use]
pub fn study(number: u64) -> StudyUid {
    StudyUid::new(&format!("1.2.3.{number}")).expect("digits and dots")
}

/// What one test instance is.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Who sent it.
    pub owner: PeerId,
    /// Number of its study, see [`study`].
    pub study: u64,
    /// Number of its series.
    pub series: u64,
    /// Number of its SOP Instance UID.
    pub sop: u64,
    /// The file.
    pub bytes: Vec<u8>,
    /// Length of a chunk.
    pub chunk_len: usize,
}

impl Sample {
    /// An instance of `len` bytes in chunks of 1,000, whose content depends on all its numbers.
    #[must_use]
    pub fn new(owner: PeerId, study: u64, series: u64, sop: u64, len: usize) -> Self {
        let seed = study.wrapping_mul(1_000_003) ^ (series << 32) ^ sop;
        Self { owner, study, series, sop, bytes: noise(seed, len), chunk_len: 1000 }
    }

    /// Its manifest entry.
    ///
    /// # Panics
    /// Never: numbers are parts of valid UIDs.
    #[must_use]
    pub fn entry(&self) -> InstanceEntry {
        let chunk =
            |bytes: &[u8]| ChunkEntry { id: ChunkId::of(bytes), len: to_u32(bytes.len()), class: ChunkClass::Pixels };
        let Self { study: number, series, sop, .. } = self;
        InstanceEntry {
            study: study(*number),
            series: SeriesUid::new(&format!("1.2.3.{number}.{series}")).expect("digits and dots"),
            sop_instance: SopInstanceUid::new(&format!("1.2.3.{number}.{series}.{sop}")).expect("digits and dots"),
            sop_class: None,
            transfer_syntax: None,
            name: Vec::new(),
            len: to_u64(self.bytes.len()),
            hash: InstanceHash::from_bytes(*blake3::hash(&self.bytes).as_bytes()),
            chunks: self.bytes.chunks(self.chunk_len).map(chunk).collect(),
        }
    }

    /// The same as `attributes` of its own, in place of those that come of its numbers.
    #[must_use]
    pub fn stored_with(&self, attributes: Attributes) -> StoredInstance {
        StoredInstance { attributes, ..self.stored() }
    }

    /// Appends its chunks, one in each record.
    ///
    /// # Errors
    /// Those of [`PackWriter::append`].
    pub fn append_to(&self, pack: &mut dyn PackWriter) -> Result<StoredInstance, StoreError> {
        let chunks = self.bytes.chunks(self.chunk_len);
        let place = |chunk| pack.append(&record_of(&[chunk])).map(|record| ChunkAt { record, slot: 0 });
        Ok(self.stored_at(chunks.map(place).collect::<Result<_, _>>()?))
    }

    /// Appends the chunks of several: the first of each in one record, then the second of each, and so on. They must
    /// have the same number of chunks.
    ///
    /// # Errors
    /// Those of [`PackWriter::append`].
    pub fn append_together(samples: &[Self], pack: &mut dyn PackWriter) -> Result<Vec<StoredInstance>, StoreError> {
        let mut places = vec![Vec::new(); samples.len()];
        let count = samples.first().map_or(0, |sample| sample.bytes.len().div_ceil(sample.chunk_len));
        for nth in 0..count {
            let chunks: Vec<&[u8]> =
                samples.iter().filter_map(|sample| sample.bytes.chunks(sample.chunk_len).nth(nth)).collect();
            let record = pack.append(&record_of(&chunks))?;
            for (slot, places) in (0u16..).zip(&mut places) {
                places.push(ChunkAt { record, slot });
            }
        }
        Ok(samples.iter().zip(places).map(|(sample, places)| sample.stored_at(places)).collect())
    }

    /// As it would be stored, for an index that is tested without records.
    #[must_use]
    pub fn stored(&self) -> StoredInstance {
        let pack = PackId::from_bytes([u8::try_from(self.study % 251).unwrap_or(0); 16]);
        let place = |(offset, chunk): (u64, &ChunkEntry)| ChunkAt {
            record: RecordAt { pack, offset: offset * 2000, len: chunk.len + 60 },
            slot: 0,
        };
        self.stored_at((0..).zip(&self.entry().chunks).map(place).collect())
    }

    fn stored_at(&self, chunks: Vec<ChunkAt>) -> StoredInstance {
        let attributes = Attributes::default()
            .with(tags::PATIENT_ID, format!("P{}", self.study % 100))
            .with(tags::PATIENT_NAME, format!("Test^Patient {}", self.study % 100))
            .with(tags::ACCESSION_NUMBER, format!("A{}", self.study))
            .with(tags::STUDY_DATE, format!("2026{:02}{:02}", 1 + self.study % 12, 1 + self.study % 28))
            .with(tags::MODALITY, if self.series.is_multiple_of(2) { "CT" } else { "SR" })
            .with(tags::INSTANCE_NUMBER, self.sop.to_string());
        StoredInstance::new(self.owner, self.entry(), chunks, attributes)
    }
}

/// Numbers that depend on a seed alone: what happens in a simulated fault.
#[derive(Debug, Clone)]
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`, or 0 when there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        to_usize((z ^ (z >> 31)).checked_rem(to_u64(end)).unwrap_or(0))
    }
}
