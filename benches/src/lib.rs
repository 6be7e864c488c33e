//! Shared by the benches: what they work on.
//!
//! Everything is generated from seeds, so that two machines measure the same bytes; real files join in
//! where the machine has some (`IMGXFER_TEST_DATA`).
//!
//! [`lines`] are experiments in virtual time, [`loopback`] races in real time; [`report`] makes a page of both.

pub mod cost;
pub mod figure;
pub mod lines;
pub mod loopback;
pub mod pump;
pub mod report;
pub mod site;

use std::fmt;

use imgxfer_core::chunk::ChunkClass;
use imgxfer_core::chunk::{Cut, cut, pixel_shape};
use imgxfer_core::codec::PixelShape;
use imgxfer_core::dicom::scan;
use imgxfer_core::send::{FileSource, OtherFiles};
use imgxfer_core::sim::data::real_data_dir;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::survey::{PixelKind, Survey};
use imgxfer_core::testing::noise;
use imgxfer_core::units::to_usize;

/// `len` bytes that do not compress.
#[must_use]
pub fn incompressible(len: usize) -> Vec<u8> {
    noise(1, len)
}

/// A CT study: 512 x 512 pixels, 12 of 16 bits.
#[must_use]
pub fn ct(instances: u32) -> StudySpec {
    StudySpec::new(1).with_instances(1, instances)
}

/// An MR study: 256 x 256 pixels, 12 of 16 bits.
#[must_use]
pub fn mr(instances: u32) -> StudySpec {
    StudySpec::new(2).with_modality("MR").with_size(256, 256).with_instances(1, instances)
}

/// A study of very small instances.
#[must_use]
pub fn small(instances: u32) -> StudySpec {
    StudySpec::new(3).with_modality("MR").with_size(16, 16).with_instances(1, instances)
}

/// Whole files of the test data folder, where this machine has some: every so manieth, up to `bytes_max` together.
#[must_use]
pub fn real_files(count: usize, bytes_max: usize) -> Vec<Vec<u8>> {
    let Some(root) = real_data_dir() else { return Vec::new() };
    let source = FileSource::new(&[root], OtherFiles::Skip);
    let paths: Vec<_> = source.files().collect();
    let step = (paths.len() / count.max(1)).max(1);
    let mut left = bytes_max;
    let mut files = Vec::new();
    for path in paths.iter().step_by(step) {
        // What cannot be read, or is none of DICOM's, is not measured.
        let Ok(file) = std::fs::read(path) else { continue };
        if file.len() <= left && scan(&file.as_slice()).is_ok() {
            left -= file.len();
            files.push(file);
        }
    }
    files
}

/// Pixel chunks of some files, as a codec gets them.
#[derive(Clone)]
pub struct PixelChunks {
    /// What they are from.
    pub name: String,
    /// Each chunk, with the shape of its pixels where known.
    pub chunks: Vec<(Vec<u8>, Option<PixelShape>)>,
}

impl PixelChunks {
    /// All bytes of all chunks.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|(bytes, _)| bytes.len() as u64).sum()
    }

    /// The pixel chunks of whole files.
    #[must_use]
    pub fn of<'a>(name: &str, files: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut chunks = Vec::new();
        for file in files {
            let Ok(scan) = scan(&file) else { continue };
            let shape = pixel_shape(&scan);
            let cuts = cut(&file, Some(&scan)).unwrap_or_default();
            let pixels = cuts.iter().filter(|cut| cut.class == ChunkClass::Pixels);
            chunks.extend(pixels.map(|cut| (bytes_of(file, cut).to_vec(), shape)));
        }
        Self { name: name.to_owned(), chunks }
    }
}

impl fmt::Debug for PixelChunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} chunks, {} bytes)", self.name, self.chunks.len(), self.bytes())
    }
}

fn bytes_of<'a>(file: &'a [u8], cut: &Cut) -> &'a [u8] {
    let start = to_usize(cut.offset);
    &file[start..start + to_usize(u64::from(cut.len))]
}

/// Real pixel data of one modality is read up to this; of one that is compressed already, less: its codecs are slow.
const REAL_BYTES_MAX: u64 = 8 << 20;
const REAL_COMPRESSED_BYTES_MAX: u64 = 1 << 20;
/// A modality with less than this says little about speed.
const REAL_BYTES_MIN: u64 = 256 << 10;

/// Pixel data of the files in the test data folder, by modality and in the records that a push would make, where
/// this machine has some. What is compressed already is a modality of its own.
#[must_use]
pub fn real_pixels() -> Vec<PixelChunks> {
    let Some(root) = real_data_dir() else { return Vec::new() };
    let mut survey = Survey::default();
    for path in FileSource::new(&[root], OtherFiles::Skip).files() {
        // What cannot be read is not measured.
        let _found = survey.add(path);
    }
    let chunks = |kind: &PixelKind| PixelChunks { name: format!("{}-real", kind.name), chunks: Vec::new() };
    let mut all: Vec<PixelChunks> = survey.kinds().iter().map(chunks).collect();
    for record in survey.records() {
        let of_kind = &mut all[record.kind()];
        let mut raw = Vec::new();
        let native = survey.kinds()[record.kind()].native;
        let most = if native { REAL_BYTES_MAX } else { REAL_COMPRESSED_BYTES_MAX };
        if of_kind.bytes() < most && survey.read(&record, &mut raw).is_ok() {
            of_kind.chunks.push((raw, record.shape().copied()));
        }
    }
    all.retain(|pixels| pixels.bytes() >= REAL_BYTES_MIN);
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}
