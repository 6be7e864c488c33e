//! Files that want to do harm, or have come to it.

use super::StudySpec;
use super::random::Random;
use super::writer::{self, Writer};

/// A file whose sequences of undefined length nest `depth` deep, all left open.
#[must_use]
pub fn deep_sequences(depth: u32) -> Vec<u8> {
    let (mut file, mut writer) = beginning();
    for _ in 0..depth {
        writer.header((0x0008, 0x1140), "SQ", u32::MAX);
        writer.item(u32::MAX);
    }
    file.append(&mut writer.out);
    file
}

/// A file whose sequences of defined length nest `depth` deep and agree in all lengths.
#[must_use]
pub fn deep_defined_sequences(depth: u32) -> Vec<u8> {
    let (mut file, mut writer) = beginning();
    for level in (0..depth).rev() {
        // Each level inside has a header of 12 bytes and an item of 8.
        writer.header((0x0008, 0x1140), "SQ", level * 20 + 8);
        writer.item(level * 20);
    }
    file.append(&mut writer.out);
    file
}

/// A file with an element that says it is `len` bytes long and has none.
#[must_use]
pub fn lying_length(len: u32) -> Vec<u8> {
    let (mut file, mut writer) = beginning();
    writer.header((0x0009, 0x1001), "UN", len);
    file.append(&mut writer.out);
    file
}

/// The file cut off after each number of bytes.
pub fn truncations(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..file.len()).filter_map(|len| file.get(..len))
}

/// The file with the beginning of its preamble replaced, such as by `MZ`.
#[must_use]
pub fn with_preamble(mut file: Vec<u8>, preamble: &[u8]) -> Vec<u8> {
    for (byte, new) in file.iter_mut().take(128).zip(preamble) {
        *byte = *new;
    }
    file
}

/// The data set alone, without preamble and file meta information, as old archives hold it.
#[must_use]
pub fn without_meta(spec: &StudySpec) -> Vec<u8> {
    let mut file = spec.instance(1, 1).bytes;
    file.drain(..writer::file_meta(spec, 1, 1).len().min(file.len()));
    file
}

/// Bytes that are no DICOM.
#[must_use]
pub fn not_dicom(seed: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 8);
    Random(seed).fill(&mut out, len);
    out
}

/// File meta information, and a data set that has just begun.
fn beginning() -> (Vec<u8>, Writer) {
    let spec = StudySpec::new(1);
    let mut writer = Writer::default();
    writer.text((0x0008, 0x0016), "UI", "1.2.840.10008.5.1.4.1.1.2");
    writer.text((0x0008, 0x0018), "UI", "2.25.1");
    (writer::file_meta(&spec, 1, 1), writer)
}
