//! Where cuts fall.

use proptest::prelude::*;

use super::*;
use crate::dicom::scan;
use crate::sim::studies::{self, StudySpec, Syntax};

fn cuts_of(bytes: &[u8]) -> Vec<Cut> {
    let scan = scan(&bytes).ok();
    let cuts = cut(&bytes, scan.as_ref()).unwrap();
    assert_eq!(cuts, cut(&bytes, scan.as_ref()).unwrap());
    check_cover(&cuts, to_u64(bytes.len()));
    cuts
}

fn check_cover(cuts: &[Cut], len: u64) {
    let mut at = 0;
    for cut in cuts {
        assert_eq!(cut.offset, at);
        assert!((1..=CHUNK_BYTES_MAX).contains(&cut.len));
        at += u64::from(cut.len);
    }
    assert_eq!(at, len);
}

/// Lengths of the pixel chunks.
fn pixel_lens(bytes: &[u8]) -> Vec<u32> {
    cuts_of(bytes).iter().filter(|c| c.class == ChunkClass::Pixels).map(|c| c.len).collect()
}

#[test]
fn native_frames_are_cut_by_their_size() {
    let lens = |rows, columns, frames| {
        pixel_lens(&StudySpec::new(1).with_size(rows, columns).with_frames(frames).instance(1, 1).bytes)
    };
    // A frame of 64 KiB to 1 MiB stands alone.
    assert_eq!(lens(512, 512, 2), [524_288; 2]);
    assert_eq!(lens(256, 128, 3), [65_536; 3]);
    assert_eq!(lens(512, 1024, 2), [1 << 20; 2]);
    // Small ones share 256 KiB.
    assert_eq!(lens(64, 64, 70), [262_144, 262_144, 49_152]);
    assert_eq!(lens(3, 5, 1), [30]);
    // Long ones are cut on rows, each frame alike.
    let long = lens(1500, 1001, 2);
    assert_eq!(long, [1_001_000; 6]);
    assert!(lens(1025, 1024, 1).iter().all(|len| len % 2048 == 0));
}

#[test]
fn encapsulated_frames_are_cut_before_items() {
    for syntax in Syntax::ALL.into_iter().filter(|s| s.is_encapsulated()) {
        for (size, frames) in [(32, 40), (256, 4), (600, 3), (1400, 2)] {
            let bytes =
                StudySpec::new(2).with_size(size, size).with_frames(frames).with_syntax(syntax).instance(1, 1).bytes;
            let cuts = cuts_of(&bytes);
            let pixels: Vec<_> = cuts.iter().filter(|c| c.class == ChunkClass::Pixels).collect();
            let tail = cuts.last().unwrap();
            assert_eq!((tail.class, tail.len), (ChunkClass::Header, 8));
            if size < 1400 {
                assert!(pixels.iter().all(|c| bytes[to_usize(c.offset)..].starts_with(&[0xfe, 0xff, 0x00, 0xe0])));
            }
            match size {
                32 => assert!(pixels.len() <= 2),
                600 => assert_eq!(pixels.len(), 3, "{syntax:?}"),
                _ => assert!(pixels.len() >= to_usize(u64::from(frames / 4))),
            }
        }
    }
}

#[test]
fn a_corrected_name_changes_the_header_alone() {
    for syntax in [Syntax::Explicit, Syntax::Implicit, Syntax::BigEndian, Syntax::EncapsulatedBasicTable] {
        let study = StudySpec::new(5).with_size(256, 256).with_frames(4).with_syntax(syntax);
        let ids = |study: &StudySpec| {
            let bytes = study.instance(1, 1).bytes;
            let id = |c: &Cut| *blake3::hash(&bytes[to_usize(c.offset)..][..to_usize(u64::from(c.len))]).as_bytes();
            cuts_of(&bytes).iter().map(id).collect::<Vec<_>>()
        };
        let (before, after) = (ids(&study), ids(&study.clone().with_patient_name("A^Much^Longer^Name^Indeed")));
        assert_eq!(before[0], after[0], "the file meta group");
        assert_ne!(before[1], after[1], "the header");
        assert_eq!(before[2..], after[2..], "pixels and what is behind them");
    }
}

#[test]
fn other_files_are_cut_by_content() {
    let bytes = studies::not_dicom(1, 9 << 20);
    let cuts = cuts_of(&bytes);
    assert!((15..80).contains(&cuts.len()), "{}", cuts.len());
    assert!(cuts.iter().all(|c| c.class == ChunkClass::Opaque));
    let mut shifted = b"some bytes more".to_vec();
    shifted.extend_from_slice(&bytes);
    let moved = cuts_of(&shifted);
    let ends = |cuts: &[Cut], by: u64| cuts.iter().map(|c| c.offset + u64::from(c.len) - by).collect::<Vec<_>>();
    let (a, b) = (ends(&cuts, 0), ends(&moved, 15));
    assert!(a.iter().filter(|end| b.contains(end)).count() + 2 >= a.len());
    assert!(cuts_of(&[]).is_empty());
    assert_eq!(cuts_of(&[1]).len(), 1);
    // Nothing to cut at: every chunk is as long as may be.
    assert_eq!(cuts_of(&vec![0; 5 << 20]).len(), 5);
}

/// A file of any length that holds zeros.
struct Zeros(u64);

impl ReadAt for Zeros {
    fn len(&self) -> u64 {
        self.0
    }

    fn read_exact_at(&self, _offset: u64, buf: &mut [u8]) -> io::Result<()> {
        buf.fill(0);
        Ok(())
    }
}

#[test]
fn huge_instances_keep_to_the_number_of_chunks() {
    let shape = |rows, columns| PixelShape {
        rows,
        columns,
        samples: 1,
        bits_allocated: 16,
        bits_stored: 12,
        high_bit: 11,
        signed: false,
        planar: false,
        big_endian: false,
    };
    let bytes = StudySpec::new(1).with_size(4, 4).instance(1, 1).bytes;
    let mut scan = scan(&bytes).unwrap();
    for (rows, columns) in [(256, 128), (512, 520), (700, 700), (3000, 3000), (1, 1 << 20)] {
        for len in [90_000_000_000, 5_000_000_000, INSTANCE_BYTES_MAX] {
            scan.pixels = Some(PixelData::Native { offset: 5000, len: len - 5000, shape: Some(shape(rows, columns)) });
            let cuts = cut(&Zeros(len), Some(&scan)).unwrap();
            assert!(cuts.len() <= to_usize(u64::from(CHUNKS_PER_INSTANCE_MAX)));
            check_cover(&cuts, len);
        }
    }
    check_cover(&cut(&Zeros(INSTANCE_BYTES_MAX), None).unwrap(), INSTANCE_BYTES_MAX);
    let error = cut(&Zeros(INSTANCE_BYTES_MAX + 1), None).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
}

proptest! {
    /// A scan may be of another file: cuts cover the file there is.
    #[test]
    fn cuts_cover_whatever_the_scan_says(
        len in 0u64..6_000_000,
        offset in 0u64..7_000_000,
        pixel_len in any::<u64>(),
        mut fragments in proptest::collection::vec(0u64..7_000_000, 0..40),
        frames in proptest::collection::vec(0u32..50, 0..20),
        sorted in any::<bool>(),
    ) {
        let bytes = StudySpec::new(1).with_size(4, 4).instance(1, 1).bytes;
        let mut scan = scan(&bytes).unwrap();
        let shape = pixel_shape(&scan);
        scan.pixels = Some(PixelData::Native { offset, len: pixel_len, shape });
        check_cover(&cut(&Zeros(len), Some(&scan)).unwrap(), len);
        if sorted {
            fragments.sort_unstable();
        }
        let end = offset.saturating_add(pixel_len);
        scan.pixels = Some(PixelData::Encapsulated { offset, fragments, frames, fragments_end: end, end });
        check_cover(&cut(&Zeros(len), Some(&scan)).unwrap(), len);
    }
}
