//! The scanner on synthetic files of every transfer syntax, and on damaged and hostile ones.

use std::io::Read as _;

use proptest::prelude::*;

use super::*;
use crate::chunk;
use crate::sim::studies::{self, StudySpec, Syntax};
use crate::units::to_usize;

pub(super) fn small() -> StudySpec {
    StudySpec::new(3).with_instances(1, 1).with_size(8, 6).with_modality("MR").with_patient_name("Müller^Jörg")
}

fn scan_ok(bytes: &[u8]) -> Scan {
    scan(&bytes).unwrap()
}

#[test]
fn every_transfer_syntax_is_scanned_exactly() {
    for syntax in Syntax::ALL {
        for frames in [1, 5] {
            let study = small().with_syntax(syntax).with_frames(frames);
            let instance = study.instance(1, 1);
            let scan = scan_ok(&instance.bytes);
            assert_eq!(scan.identity.as_ref(), Some(&instance.identity), "{syntax:?}");
            assert_eq!(scan.transfer_syntax.as_ref().unwrap().as_str(), syntax.uid());
            assert_eq!(scan.attributes.get(tags::PATIENT_NAME), "Müller^Jörg", "{syntax:?}");
            assert_eq!(scan.attributes.get(tags::MODALITY), "MR");
            assert_eq!(scan.attributes.get(tags::INSTANCE_NUMBER), "1");
            assert!(scan.vetted && !scan.truncated && !scan.suspicious_preamble, "{syntax:?} {scan:?}");
            check_data_set(instance.bytes.get(to_usize(scan.data_set_offset)..).unwrap(), syntax);
            assert_eq!(scan.number_of_frames.unwrap_or(1), frames);
            check_pixels(&scan, syntax, frames, &instance.bytes);
        }
    }
}

fn check_data_set(bytes: &[u8], syntax: Syntax) {
    let mut first = [0; 2];
    match syntax {
        Syntax::Deflated => flate2::read::DeflateDecoder::new(bytes).read_exact(&mut first).unwrap(),
        _ => first.copy_from_slice(&bytes[..2]),
    }
    assert_eq!(first, if syntax == Syntax::BigEndian { [0, 8] } else { [8, 0] });
}

fn check_pixels(scan: &Scan, syntax: Syntax, frames: u32, bytes: &[u8]) {
    match scan.pixels.as_ref() {
        None => assert_eq!(syntax, Syntax::Deflated),
        Some(PixelData::Native { offset, len, shape }) => {
            assert_eq!(*len, u64::from(frames) * 96);
            assert_eq!(offset + len, bytes.len() as u64);
            let shape = shape.unwrap();
            assert_eq!((shape.rows, shape.columns, shape.bits_allocated, shape.bits_stored), (8, 6, 16, 12));
            assert_eq!((shape.high_bit, shape.samples, shape.signed, shape.planar), (11, 1, false, false));
            assert_eq!(shape.big_endian, syntax == Syntax::BigEndian);
        }
        Some(PixelData::Encapsulated { offset, fragments, frames: starts, fragments_end, end }) => {
            let step = if syntax == Syntax::EncapsulatedBasicTable { 2 } else { 1 };
            assert_eq!(fragments.len(), to_usize(u64::from(frames * step)));
            assert_eq!(*starts, (0..frames).map(|f| f * step).collect::<Vec<_>>(), "{syntax:?}");
            assert_eq!(fragments[0], *offset);
            assert_eq!((*end, *fragments_end), (bytes.len() as u64, bytes.len() as u64 - 8));
            for &at in fragments {
                assert_eq!(bytes[to_usize(at)..][..4], [0xfe, 0xff, 0x00, 0xe0]);
            }
        }
    }
}

#[test]
fn a_data_set_without_meta_is_found() {
    for syntax in [Syntax::Implicit, Syntax::Explicit] {
        let study = small().with_syntax(syntax);
        let scan = scan_ok(&studies::without_meta(&study));
        assert_eq!(scan.identity, Some(study.instance(1, 1).identity));
        assert_eq!((scan.transfer_syntax, scan.data_set_offset), (None, 0));
        assert!(matches!(scan.pixels, Some(PixelData::Native { shape: Some(_), .. })));
        assert!(!scan.vetted);
    }
}

/// A small file with `elements` (tag, VR, value) in explicit little endian, ascending, and its UIDs.
fn file_with(elements: &[(u32, &[u8; 2], Vec<u8>)]) -> Vec<u8> {
    let uids = [
        (0x0008_0016, "1.2.840.10008.5.1.4.1.1.2"),
        (0x0008_0018, "1.2.3.4"),
        (0x0020_000d, "1.2"),
        (0x0020_000e, "1.2.3"),
    ];
    let uids = uids.map(|(tag, uid)| (tag, b"UI", uid.as_bytes().to_vec()));
    let mut all = [elements, &uids[..]].concat();
    all.sort();
    let mut file = [&[0; 128], &b"DICM"[..], &element(0x0002_0010, b"UI", b"1.2.840.10008.1.2.1\0")].concat();
    all.iter().for_each(|(tag, vr, value)| file.extend(element(*tag, vr, value)));
    file
}

fn element(tag: u32, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let [a, b, c, d] = tag.to_le_bytes();
    let padding = &b"\0"[..value.len() % 2];
    let len = value.len() + padding.len();
    let len = match vr {
        b"SQ" | b"UC" | b"UT" => [&[0, 0], &u32::try_from(len).unwrap().to_le_bytes()[..]].concat(),
        _ => u16::try_from(len).unwrap().to_le_bytes().to_vec(),
    };
    [&[c, d, a, b], &vr[..], &len, value, padding].concat()
}

#[test]
fn values_are_kept_as_their_kinds_ask() {
    let file = file_with(&[
        (0x0008_0005, b"CS", b"GBK".to_vec()),
        (0x0008_0008, b"CS", b"ORIGINAL\\PRIMARY\\\\AXIAL ".to_vec()),
        (0x0008_0020, b"DA", b"2024.01.31".to_vec()),
        // The second byte of its first character is that of a backslash.
        (0x0008_0090, b"PN", b"\x84\x5c^\xdf\x5c^^\\House^G^^".to_vec()),
        (0x0010_0020, b"LO", b" A1 ".to_vec()),
        (0x0018_1030, b"LO", [b"x".repeat(300), b"\\y".to_vec()].concat()),
        (0x0028_0010, b"US", vec![0, 2]),
        (0x0042_0010, b"ST", b"one\\text\r\nof two lines".to_vec()),
    ]);
    let found = scan_ok(&file).attributes;
    let expected = [
        (tags::SPECIFIC_CHARACTER_SET, "GBK".to_owned()),
        (tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\\\AXIAL".to_owned()),
        (tags::STUDY_DATE, "20240131".to_owned()),
        (tags::REFERRING_PHYSICIAN_NAME, "刓^運\\House^G".to_owned()),
        (tags::PATIENT_ID, "A1".to_owned()),
        (tags::PROTOCOL_NAME, "x".repeat(256) + "\\y"),
        (tags::ROWS, "512".to_owned()),
        (tags::DOCUMENT_TITLE, "one＼text of two lines".to_owned()),
    ];
    assert_eq!(found.iter().map(|(tag, value)| (tag, value.to_owned())).collect::<Vec<_>>(), expected);
}

/// An item of a sequence, of defined or undefined length.
fn item(elements: &[(u32, &[u8; 2], &[u8])], is_defined: bool) -> Vec<u8> {
    let inside: Vec<u8> = elements.iter().flat_map(|(tag, vr, value)| element(*tag, vr, value)).collect();
    let len = if is_defined { u32::try_from(inside.len()).unwrap() } else { u32::MAX };
    let end: &[u8] = if is_defined { b"" } else { b"\xfe\xff\x0d\xe0\0\0\0\0" };
    [b"\xfe\xff\x00\xe0", &len.to_le_bytes()[..], &inside, end].concat()
}

fn code(value: &[u8], scheme: &[u8], meaning: &[u8], is_defined: bool) -> Vec<u8> {
    item(&[(0x0008_0100, b"SH", value), (0x0008_0102, b"SH", scheme), (0x0008_0104, b"LO", meaning)], is_defined)
}

#[test]
fn values_of_items_are_kept_of_top_level_sequences_alone() {
    for is_defined in [true, false] {
        let request =
            |step: &[u8], id: &[u8]| item(&[(0x0040_0009, b"SH", step), (0x0040_1001, b"SH", id)], is_defined);
        // An observation within the report, whose name is not that of the report.
        let observation = item(&[(0x0040_a043, b"SQ", &code(b"X", b"Y", b"Z", is_defined))], is_defined);
        let file = file_with(&[
            (0x0008_0005, b"CS", b"ISO_IR 100".to_vec()),
            (0x0008_0051, b"SQ", item(&[(0x0040_0031, b"UT", b"HIS")], is_defined)),
            (
                0x0008_1032,
                b"SQ",
                [
                    code(b"P5-09051", b"SRT", b"Sch\xe4del", is_defined),
                    code(b"P5-09051", b"SRT", b"Sch\xe4del", is_defined),
                    item(
                        &[(0x0008_0005, b"CS", b"ISO_IR 192"), (0x0008_0104, b"LO", "腹部^\\x".as_bytes())],
                        is_defined,
                    ),
                    item(&[(0x0008_0102, b"SH", b"DCM")], is_defined),
                    item(&[(0x0008_0102, b"SH", b"DCM"), (0x0008_0119, b"UC", b"LONG")], is_defined),
                    item(&[(0x0008_0100, b"SH", b"1"), (0x0008_0104, b"LO", b"no scheme")], is_defined),
                ]
                .concat(),
            ),
            (0x0040_0009, b"SH", b"outside".to_vec()),
            (0x0040_0275, b"SQ", [request(b"S1", b"R1"), request(b"S2", b"R1"), request(b"", b"R2\\R3")].concat()),
            (0x0040_a043, b"SQ", code(b"126000", b"DCM", b"Report", is_defined)),
            (0x0040_a730, b"SQ", observation),
        ]);
        let scan = scan_ok(&file);
        let found = |tag| scan.attributes.get(tag);
        assert!(scan.vetted);
        assert_eq!(found(tags::LOCAL_NAMESPACE_ENTITY_ID), "HIS");
        assert_eq!(found(tags::SCHEDULED_PROCEDURE_STEP_ID), "S1\\S2");
        assert_eq!(found(tags::REQUESTED_PROCEDURE_ID), "R1\\R2\\R3");
        assert_eq!(found(tags::CONCEPT_NAME_CODE_SEQUENCE), "126000^DCM^Report");
        let codes = "P5-09051^SRT^Schädel\\^^腹部 ＼x\\LONG^DCM\\1^^no scheme";
        assert_eq!(found(tags::PROCEDURE_CODE_SEQUENCE), codes);
    }
}

#[test]
fn values_of_many_items_are_bounded() {
    let items: Vec<u8> =
        (0..1_000).flat_map(|n: u32| item(&[(0x0040_0009, b"SH", format!("S{n}").as_bytes())], true)).collect();
    let scan = scan_ok(&file_with(&[(0x0040_0275, b"SQ", items)]));
    let kept = scan.attributes.get(tags::SCHEDULED_PROCEDURE_STEP_ID);
    assert!(kept.starts_with("S0\\S1\\") && kept.ends_with("\\S15") && scan.vetted, "{kept}");
    let long = vec![b'x'; 5_000];
    let items: Vec<u8> = (0..100).flat_map(|_| code(&long, &long, &long, false)).collect();
    let scan = scan_ok(&file_with(&[(0x0008_1032, b"SQ", items)]));
    assert_eq!(scan.attributes.get(tags::PROCEDURE_CODE_SEQUENCE), "x".repeat(256));
}

#[test]
fn what_is_no_dicom_is_refused() {
    assert!(matches!(scan(&[0u8; 0].as_slice()), Err(NotDicom::Empty)));
    for bytes in [&b"\x08\x00 hello, this is text that begins by chance"[..], &[0; 4096], b"%PDF-1.7", b"D"] {
        assert!(matches!(scan(&bytes), Err(NotDicom::NoMarker)));
    }
    for seed in 0..64 {
        assert!(scan(&studies::not_dicom(seed, 5000)).is_err());
    }
}

#[test]
fn a_transfer_syntax_that_lies_is_seen_through() {
    for (written, said) in
        [("1.2.840.10008.1.2.1\0", "1.2.840.10008.1.2\0\0\0"), ("1.2.840.10008.1.2\0", "1.2.840.10008.1.9\0")]
    {
        let syntax = if written.contains(".2.1") { Syntax::Explicit } else { Syntax::Implicit };
        let instance = small().with_syntax(syntax).instance(1, 1);
        let mut bytes = instance.bytes;
        let at = bytes.windows(written.len()).position(|w| w == written.as_bytes()).unwrap();
        bytes[at..at + said.len()].copy_from_slice(said.as_bytes());
        let scan = scan_ok(&bytes);
        assert_eq!(scan.identity, Some(instance.identity));
        assert!(!scan.vetted);
    }
}

#[test]
fn deep_nesting_is_refused_whether_lengths_are_defined_or_not() {
    const DEPTH_MAX: u32 = 64;
    assert_eq!(to_usize(u64::from(DEPTH_MAX)), walk::DEPTH_MAX);
    for make in [studies::deep_sequences, studies::deep_defined_sequences] {
        assert!(scan(&make(DEPTH_MAX)).is_ok());
        for depth in [DEPTH_MAX + 1, 5_000] {
            assert!(matches!(scan(&make(depth)), Err(NotDicom::TooDeep { .. })), "{depth}");
        }
    }
    assert!(scan_ok(&studies::deep_defined_sequences(60)).vetted);
}

#[test]
fn a_lying_length_is_a_truncated_file() {
    for len in [1, 4_000, u32::MAX - 1, u32::MAX] {
        let scan = scan_ok(&studies::lying_length(len));
        assert!(scan.truncated && !scan.vetted, "{len}");
        assert_eq!(scan.sop_class.unwrap().as_str(), "1.2.840.10008.5.1.4.1.1.2");
    }
}

#[test]
fn a_lying_offset_table_is_ignored() {
    let instance = small().with_syntax(Syntax::EncapsulatedBasicTable).with_frames(3).instance(1, 1);
    let Some(PixelData::Encapsulated { offset, .. }) = scan_ok(&instance.bytes).pixels else { panic!() };
    for entry in 0..3 {
        let mut bytes = instance.bytes.clone();
        bytes[to_usize(offset) - 12 + entry * 4] ^= 2;
        let Some(PixelData::Encapsulated { frames, fragments, .. }) = scan_ok(&bytes).pixels else { panic!() };
        assert_eq!((frames.len(), fragments.len()), (0, 6));
    }
}

#[test]
fn preambles_and_directories_are_told() {
    let file = small().instance(1, 1).bytes;
    for signature in [&b"MZ\x90"[..], b"\x7fELF", b"#!/bin/sh", b"PK\x03\x04", b"%PDF-1.4", b"\xcf\xfa\xed\xfe"] {
        let scan = scan_ok(&studies::with_preamble(file.clone(), signature));
        assert!(scan.suspicious_preamble && scan.vetted);
    }
    assert!(!scan_ok(&studies::with_preamble(file.clone(), b"II*\0")).suspicious_preamble);
    let mut directory = file;
    let class = b"1.2.840.10008.5.1.4.1.1.4\0";
    let wanted = b"1.2.840.10008.1.3.10\0\0\0\0\0\0";
    while let Some(at) = directory.windows(class.len()).position(|w| w == class) {
        directory[at..at + class.len()].copy_from_slice(wanted);
    }
    assert!(scan_ok(&directory).is_dicomdir());
}

/// Whatever the bytes: no panic, and cuts that cover them.
fn survives(bytes: &[u8]) -> Option<Scan> {
    let scan = scan(&bytes).ok();
    let cuts = chunk::cut(&bytes, scan.as_ref()).unwrap();
    let mut at = 0;
    for cut in cuts {
        assert_eq!(cut.offset, at);
        assert!((1..=crate::limits::CHUNK_BYTES_MAX).contains(&cut.len));
        at += u64::from(cut.len);
    }
    assert_eq!(at, bytes.len() as u64);
    scan
}

#[test]
fn every_truncation_is_survived_and_keeps_what_was_found() {
    for syntax in Syntax::ALL {
        let study = small().with_syntax(syntax).with_frames(2);
        let instance = study.instance(1, 1);
        let whole = scan_ok(&instance.bytes);
        let pixels_at = match whole.pixels {
            Some(PixelData::Native { offset, .. } | PixelData::Encapsulated { offset, .. }) => to_usize(offset),
            None => usize::MAX,
        };
        for cut_off in studies::truncations(&instance.bytes) {
            let scan = survives(cut_off);
            assert_eq!(scan.is_some(), cut_off.len() >= 132);
            if cut_off.len() > pixels_at {
                let scan = scan.unwrap();
                assert!(scan.truncated && scan.pixels.is_some(), "{syntax:?} {}", cut_off.len());
                assert_eq!(scan.identity, Some(instance.identity.clone()));
            }
        }
    }
}

#[test]
fn every_flipped_byte_is_survived() {
    for syntax in Syntax::ALL {
        let mut bytes = small().with_syntax(syntax).with_frames(2).instance(1, 1).bytes;
        for at in 0..bytes.len() {
            for flip in [0xff, 0x01, 0x80] {
                bytes[at] ^= flip;
                survives(&bytes);
                bytes[at] ^= flip;
            }
        }
    }
}

#[test]
fn a_bomb_is_inflated_no_further_than_the_limit() {
    let mut file = small().with_syntax(Syntax::Deflated).instance(1, 1).bytes;
    let meta = studies::without_meta(&small().with_syntax(Syntax::Deflated)).len();
    file.truncate(file.len() - meta);
    // An element of 512 MiB of zeros.
    let mut compressor = flate2::Compress::new(flate2::Compression::best(), false);
    let head = b"\x09\x00\x01\x10OB\0\0\0\0\0\x20";
    let zeros = vec![0u8; 1 << 20];
    compressor
        .compress_vec(
            head,
            {
                file.reserve(100);
                &mut file
            },
            flate2::FlushCompress::None,
        )
        .unwrap();
    for _ in 0..512 {
        file.reserve(1 << 16);
        compressor.compress_vec(&zeros, &mut file, flate2::FlushCompress::None).unwrap();
    }
    let scan = scan_ok(&file);
    assert!(scan.truncated && !scan.vetted);
}

/// A source of 5 GB that holds next to nothing, and counts what is read of it.
struct Sparse {
    head: Vec<u8>,
    len: u64,
    read: std::sync::atomic::AtomicU64,
}

impl ReadAt for Sparse {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.read.fetch_add(buf.len() as u64, std::sync::atomic::Ordering::Relaxed);
        buf.fill(0);
        let from = self.head.get(to_usize(offset)..).unwrap_or(&[]);
        let n = from.len().min(buf.len());
        buf[..n].copy_from_slice(&from[..n]);
        Ok(())
    }
}

#[test]
fn pixels_are_not_read() {
    let instance = studies::multiframe(8_000, 512, 512, 1);
    let mut head = Vec::new();
    studies::multiframe(1, 512, 512, 1).write(&mut head).unwrap();
    let at = head.windows(8).position(|w| w == b"\xe0\x7f\x10\x00OW\0\0").unwrap();
    head[at + 8..at + 12].copy_from_slice(&(8_000u32 * 524_288 - 2).to_le_bytes());
    head.truncate(at + 12);
    let len = head.len() as u64 + 8_000 * 524_288 - 2;
    assert!(instance.file_bytes() >= len);
    let source = Sparse { head, len, read: 0.into() };
    let scan = scan(&source).unwrap();
    let cuts = chunk::cut(&source, Some(&scan)).unwrap();
    // The file meta group, the header, and frames of 512 KiB of which the last lacks two bytes.
    assert_eq!(cuts.len(), 8_002);
    assert!(scan.vetted);
    assert!(source.read.into_inner() < 100_000);
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        survives(&bytes);
        let mut file = vec![0; 128];
        file.extend_from_slice(b"DICM");
        file.extend_from_slice(&bytes);
        survives(&file);
    }

    #[test]
    fn mutated_files_are_survived(
        which in 0..Syntax::ALL.len(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<[u8; 4]>(), 0..4usize), 1..12),
    ) {
        let mut bytes = small().with_syntax(Syntax::ALL[which]).with_frames(3).instance(1, 1).bytes;
        for (at, new, kind) in edits {
            let at = at.index(bytes.len() - 4);
            match kind {
                0 => bytes[at..at + 4].copy_from_slice(&new),
                1 => bytes[at..at + 4].copy_from_slice(&[0xff; 4]),
                2 => { bytes.drain(at..at + 2); }
                _ => { bytes.splice(at..at, new); }
            }
        }
        survives(&bytes);
    }
}

#[test]
fn a_beginning_of_a_file_is_unfinished_whether_or_not_room_is_made_for_the_rest() {
    for syntax in Syntax::ALL {
        let whole = small().with_syntax(syntax).instance(1, 1).bytes;
        assert!(!scan_ok(&whole).unfinished, "{syntax:?}");
        let native = match scan_ok(&whole).pixels {
            Some(PixelData::Native { offset, .. }) => to_usize(offset),
            Some(_) => whole.len(),
            // Zeros may happen to go on inflating.
            None => 0,
        };
        let mut missed = 0;
        for len in 0..whole.len() {
            let part = whole[..len].to_vec();
            missed += u32::from(scan(&part).is_ok_and(|scan| !scan.unfinished));
            let mut with_room = part;
            with_room.resize(whole.len() + 1, 0);
            // Zeros within native pixel data may be black, and those of its length are as they should be.
            if len + 4 <= native.min(whole.len() - 16) {
                with_room.truncate(whole.len());
                let unfinished = scan(&with_room).map_or(true, |scan| scan.unfinished);
                assert!(unfinished, "{syntax:?}: {len} of {} bytes, and zeros", whole.len());
            }
        }
        // Cut between two elements, or a zero byte behind, after the UIDs and before the rows: maybe a report.
        assert!(missed < 24, "{syntax:?}: {missed} beginnings pass as whole");
    }
}
