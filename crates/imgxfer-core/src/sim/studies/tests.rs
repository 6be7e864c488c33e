//! What the makers promise.

use std::io::{self, Write};

use super::*;
use crate::dicom::{PixelData, scan};
use crate::units::{to_u64, to_usize};

#[test]
fn studies_are_the_same_every_time() {
    let study = StudySpec::new(9).with_instances(2, 3).with_size(16, 16);
    let all: Vec<_> = study.instances().collect();
    assert_eq!(all, study.instances().collect::<Vec<_>>());
    let mut names: Vec<_> = all.iter().map(|i| (&i.file_name, &i.identity.sop_instance)).collect();
    names.dedup();
    assert_eq!(names.len(), 6);
    assert!(all.iter().all(|i| i.identity.study == study.study_uid()));
    assert_ne!(StudySpec::new(10).study_uid(), study.study_uid());
}

#[test]
fn another_name_leaves_pixels_alone() {
    let study = StudySpec::new(9).with_size(64, 64);
    let (a, b) = (study.instance(1, 1), study.with_patient_name("Corrected^Name").instance(1, 1));
    assert_eq!(a.identity, b.identity);
    assert_ne!(a.bytes, b.bytes);
    let tail = |bytes: &[u8]| bytes[bytes.len() - 64 * 64 * 2..].to_vec();
    assert_eq!(tail(&a.bytes), tail(&b.bytes));
}

#[test]
fn pictures_compress_as_real_ones_do() {
    let bytes = StudySpec::new(9).instance(1, 1).bytes;
    let small = zstd::bulk::compress(&bytes, 3).unwrap().len();
    assert!((small * 3 / 2..small * 4).contains(&bytes.len()), "{} to {small}", bytes.len());
}

/// Counts what is written, and keeps the beginning.
#[derive(Default)]
struct Count {
    head: Vec<u8>,
    len: u64,
}

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.len += to_u64(bytes.len());
        let room = (8usize << 20).saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn long_instances_are_as_long_as_they_say() {
    let short = multiframe(3, 40, 50, 2);
    let mut written = Count::default();
    short.write(&mut written).unwrap();
    assert_eq!(to_usize(short.file_bytes()), written.head.len());
    let found = scan(&written.head).unwrap();
    assert!(found.vetted && matches!(found.pixels, Some(PixelData::Native { len: 12_000, .. })));

    // 5 GB: more than a defined length can say.
    let long = multiframe(9_600, 512, 512, 2);
    let mut written = Count::default();
    long.write(&mut written).unwrap();
    assert_eq!(long.file_bytes(), written.len);
    assert!(written.len > 5_000_000_000);
    let found = scan(&written.head).unwrap();
    assert_eq!(found.number_of_frames, Some(9_600));
    assert!(matches!(found.pixels, Some(PixelData::Encapsulated { fragments, .. }) if fragments.len() > 10));
}
