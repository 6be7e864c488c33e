//! Synthetic studies: DICOM files made from a seed, the same on every machine.
//!
//! They look like a scanner's: headers of some kilobytes with private elements and a nested sequence,
//! smooth pixels with noise that compress two to three times. They hold no one's data. The writer here
//! is independent of the scanner, so that each tests the other.

mod hostile;
mod pixels;
mod random;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

use crate::dicom::Identity;
use crate::ids::{SeriesUid, SopInstanceUid, StudyUid};

pub use hostile::{
    deep_defined_sequences, deep_sequences, lying_length, not_dicom, truncations, with_preamble, without_meta,
};
#[cfg(feature = "fs")]
pub use stream::write_multiframe;
pub use stream::{Multiframe, multiframe};

/// How a synthetic instance is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Syntax {
    /// Implicit VR little endian (1.2.840.10008.1.2).
    Implicit,
    /// Explicit VR little endian (1.2.840.10008.1.2.1).
    #[default]
    Explicit,
    /// Explicit VR big endian (1.2.840.10008.1.2.2), retired.
    BigEndian,
    /// Deflated explicit VR little endian (1.2.840.10008.1.2.1.99).
    Deflated,
    /// Encapsulated (named as JPEG lossless, 1.2.840.10008.1.2.4.70), with an empty offset table. The
    /// fragments hold noise of a plausible length, not a picture.
    Encapsulated,
    /// The same with a basic offset table, and two fragments for every frame.
    EncapsulatedBasicTable,
    /// The same with an extended offset table.
    EncapsulatedExtendedTable,
    /// Encapsulated uncompressed (1.2.840.10008.1.2.1.98): pictures as they are, one fragment each.
    EncapsulatedUncompressed,
}

impl Syntax {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Implicit,
        Self::Explicit,
        Self::BigEndian,
        Self::Deflated,
        Self::Encapsulated,
        Self::EncapsulatedBasicTable,
        Self::EncapsulatedExtendedTable,
        Self::EncapsulatedUncompressed,
    ];

    /// Its Transfer Syntax UID.
    #[must_use]
    pub const fn uid(self) -> &'static str {
        match self {
            Self::Implicit => "1.2.840.10008.1.2",
            Self::Explicit => "1.2.840.10008.1.2.1",
            Self::BigEndian => "1.2.840.10008.1.2.2",
            Self::Deflated => "1.2.840.10008.1.2.1.99",
            Self::EncapsulatedUncompressed => "1.2.840.10008.1.2.1.98",
            Self::Encapsulated | Self::EncapsulatedBasicTable | Self::EncapsulatedExtendedTable => {
                "1.2.840.10008.1.2.4.70"
            }
        }
    }

    /// Whether pixel data consists of fragments.
    #[must_use]
    pub const fn is_encapsulated(self) -> bool {
        !matches!(self, Self::Implicit | Self::Explicit | Self::BigEndian | Self::Deflated)
    }
}

/// What a synthetic study is like.
///
/// ```
/// use imgxfer_core::sim::studies::StudySpec;
///
/// let study = StudySpec::new(7).with_instances(2, 10).with_size(128, 128);
/// assert_eq!(study.instances().count(), 20);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudySpec {
    seed: u64,
    modality: String,
    series: u32,
    instances_per_series: u32,
    rows: u16,
    columns: u16,
    bits_allocated: u16,
    bits_stored: u16,
    samples: u16,
    frames: u32,
    syntax: Syntax,
    patient_name: String,
    patient_id: String,
    accession_number: String,
    study_date: String,
}

/// One instance of a synthetic study.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyntheticInstance {
    /// Its UIDs.
    pub identity: Identity,
    /// A name for its file, different for every instance of the study.
    pub file_name: String,
    /// The whole Part 10 file.
    pub bytes: Vec<u8>,
}

impl StudySpec {
    /// A CT study of one series with 40 instances of 512 x 512 pixels, 12 of 16 bits.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            modality: "CT".to_owned(),
            series: 1,
            instances_per_series: 40,
            rows: 512,
            columns: 512,
            bits_allocated: 16,
            bits_stored: 12,
            samples: 1,
            frames: 1,
            syntax: Syntax::Explicit,
            patient_name: "Synthetic^Patient".to_owned(),
            patient_id: format!("SYN{seed:06}"),
            accession_number: format!("ACC{seed:06}"),
            study_date: "20260102".to_owned(),
        }
    }

    /// Modality (0008,0060), such as `MR`, `MG` or `US`; default `CT`. Sets no size: see
    /// [`StudySpec::with_size`].
    #[must_use]
    pub fn with_modality(mut self, modality: &str) -> Self {
        modality.clone_into(&mut self.modality);
        self
    }

    /// Number of series and of instances in each; default 1 and 40.
    #[must_use]
    pub const fn with_instances(mut self, series: u32, instances_per_series: u32) -> Self {
        (self.series, self.instances_per_series) = (series, instances_per_series);
        self
    }

    /// Rows and columns; default 512 and 512.
    #[must_use]
    pub const fn with_size(mut self, rows: u16, columns: u16) -> Self {
        (self.rows, self.columns) = (rows, columns);
        self
    }

    /// Bits allocated (8 or 16; others are taken as 16) and stored per sample; default 16 and 12.
    #[must_use]
    pub fn with_bits(mut self, allocated: u16, stored: u16) -> Self {
        self.bits_allocated = if allocated == 8 { 8 } else { 16 };
        self.bits_stored = stored.clamp(1, self.bits_allocated);
        self
    }

    /// Samples per pixel: 1, or 3 for colour; default 1.
    #[must_use]
    pub const fn with_samples(mut self, samples: u16) -> Self {
        self.samples = if samples == 3 { 3 } else { 1 };
        self
    }

    /// Frames of each instance; default 1.
    #[must_use]
    pub fn with_frames(mut self, frames: u32) -> Self {
        self.frames = frames.max(1);
        self
    }

    /// How the instances are written; default explicit little endian.
    #[must_use]
    pub const fn with_syntax(mut self, syntax: Syntax) -> Self {
        self.syntax = syntax;
        self
    }

    /// Patient's Name (0010,0010). Nothing else of the study depends on it: the same study with a corrected
    /// name has the same UIDs and the same pixel bytes.
    #[must_use]
    pub fn with_patient_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.patient_name);
        self
    }

    /// Patient ID (0010,0020).
    #[must_use]
    pub fn with_patient_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.patient_id);
        self
    }

    /// Accession Number (0008,0050).
    #[must_use]
    pub fn with_accession_number(mut self, number: &str) -> Self {
        number.clone_into(&mut self.accession_number);
        self
    }

    /// Study Date (0008,0020), `YYYYMMDD`.
    #[must_use]
    pub fn with_study_date(mut self, date: &str) -> Self {
        date.clone_into(&mut self.study_date);
        self
    }

    /// The study's UID.
    #[must_use]
    pub fn study_uid(&self) -> StudyUid {
        StudyUid::from_hash(&self.hash_of(0, 0))
    }

    /// The instances, made one at a time as they are asked for.
    pub fn instances(&self) -> impl Iterator<Item = SyntheticInstance> + '_ {
        let numbers = (1..=self.series).flat_map(|s| (1..=self.instances_per_series).map(move |i| (s, i)));
        numbers.map(|(series, instance)| self.instance(series, instance))
    }

    /// One instance; series and instances count from 1.
    #[must_use]
    pub fn instance(&self, series: u32, instance: u32) -> SyntheticInstance {
        SyntheticInstance {
            identity: self.identity(series, instance),
            file_name: format!("S{series:03}I{instance:05}.dcm"),
            bytes: writer::part10(self, series, instance),
        }
    }

    /// Writes every instance into `dir`, which is made if it is not there; returns the files' paths.
    ///
    /// # Errors
    /// Any of the file system.
    #[cfg(feature = "fs")]
    pub fn write_to(&self, dir: &std::path::Path) -> std::io::Result<Vec<std::path::PathBuf>> {
        std::fs::create_dir_all(dir)?;
        self.instances()
            .map(|instance| {
                let path = dir.join(&instance.file_name);
                std::fs::write(&path, &instance.bytes)?;
                Ok(path)
            })
            .collect()
    }

    fn identity(&self, series: u32, instance: u32) -> Identity {
        Identity {
            study: self.study_uid(),
            series: SeriesUid::from_hash(&self.hash_of(series, 0)),
            sop_instance: SopInstanceUid::from_hash(&self.hash_of(series, instance)),
        }
    }

    /// What the UIDs are made from.
    fn hash_of(&self, series: u32, instance: u32) -> [u8; 32] {
        let text = format!("imgxfer synthetic {} {series} {instance}", self.seed);
        *blake3::hash(text.as_bytes()).as_bytes()
    }

    /// The seed of one instance's pixels.
    fn pixel_seed(&self, series: u32, instance: u32) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.hash_of(series, instance);
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}
