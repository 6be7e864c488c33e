use super::*;
use crate::sim::studies::{StudySpec, Syntax};

/// A survey of synthetic studies, one folder each.
fn survey(folder: &Path, specs: &[StudySpec]) -> Survey {
    let mut survey = Survey::default();
    for (number, spec) in specs.iter().enumerate() {
        for path in spec.write_to(&folder.join(number.to_string())).unwrap() {
            assert_eq!(survey.add(&path).unwrap(), Surveyed::Pixels);
        }
    }
    survey
}

#[test]
fn frames_share_records_as_in_a_push() {
    let folder = tempfile::tempdir().unwrap();
    let small = StudySpec::new(1).with_modality("MR").with_size(64, 64).with_instances(2, 200);
    let large = StudySpec::new(2).with_size(512, 512).with_instances(1, 3);
    let long = StudySpec::new(3).with_modality("MG").with_size(1024, 1024).with_instances(1, 1);
    let survey = survey(folder.path(), &[small, large, long]);
    let records = survey.records();
    let of = |kind: &str| {
        let records = records.iter().filter(|record| survey.kinds()[record.kind()].name == kind);
        records.map(PixelRecord::raw_len).collect::<Vec<_>>()
    };
    assert_eq!(of("MR"), [1 << 20, 72 * 8192, 1 << 20, 72 * 8192], "no record holds frames of two series");
    assert_eq!(of("CT"), [1 << 20, 512 << 10], "as many as fit");
    assert_eq!(of("MG"), [1 << 20; 2], "a long frame in pieces");
    let kinds: Vec<_> = survey.kinds().iter().map(|kind| (kind.name.as_str(), kind.frames, kind.bytes)).collect();
    assert_eq!(kinds, [("MR", 400, 400 << 13), ("CT", 3, 3 << 19), ("MG", 1, 2 << 20)]);
}

#[test]
fn records_hold_the_pixel_data_of_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let spec = StudySpec::new(4).with_size(32, 32).with_instances(1, 5);
    let survey = survey(folder.path(), &[spec]);
    let [record] = &survey.records()[..] else { panic!("one record") };
    let mut bytes = vec![7];
    survey.read(record, &mut bytes).unwrap();
    let mut wanted = vec![7];
    for path in survey.paths(record) {
        let file = std::fs::read(path).unwrap();
        let Some(PixelData::Native { offset, len, .. }) = dicom::scan(&file).unwrap().pixels else { panic!("native") };
        wanted.extend_from_slice(&file[to_usize(offset)..to_usize(offset + len)]);
    }
    assert_eq!(survey.paths(record).count(), 5);
    assert_eq!(bytes, wanted);
    std::fs::remove_file(survey.paths(record).last().unwrap()).unwrap();
    let error = survey.read(record, &mut bytes).unwrap_err().to_string();
    assert!(error.contains("S001I00005.dcm"), "{error}");
}

#[test]
fn images_go_by_place_and_number() {
    let image = |number, position| Image {
        number: Some(number),
        position: Some(position),
        parts: vec![Part { file: usize::try_from(number).unwrap(), offset: 0, len: 10 }],
    };
    let images = [(4, 9), (1, 9), (3, 5), (2, 7), (5, 7)].map(|(number, place)| image(number, place)).into();
    let survey = Survey { groups: vec![Group { kind: 0, shape: None, images }], ..Survey::default() };
    let [record] = &survey.records()[..] else { panic!("one record") };
    assert_eq!(record.parts.iter().map(|part| part.file).collect::<Vec<_>>(), [1, 4, 2, 5, 3]);
}

#[test]
fn what_is_compressed_has_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let spec = StudySpec::new(5).with_modality("XA").with_frames(3).with_instances(1, 2).with_size(64, 64);
    let compressed = survey(folder.path(), &[spec.clone().with_syntax(Syntax::EncapsulatedBasicTable), spec]);
    let kinds: Vec<_> = compressed.kinds().iter().map(|kind| (kind.name.as_str(), kind.frames)).collect();
    assert_eq!(kinds, [("XA (JPEG lossless)", 6), ("XA", 6)]);
    for (syntax, name) in
        [("4.50", "JPEG"), ("5", "RLE"), ("4.102", "video"), ("4.999", "compressed"), ("", "compressed")]
    {
        assert_eq!(compression(&format!("1.2.840.10008.1.2.{syntax}")), name);
    }
}

#[test]
fn what_has_no_pixels_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut survey = Survey::default();
    let note = folder.path().join("note.txt");
    std::fs::write(&note, "hello").unwrap();
    assert_eq!(survey.add(&note).unwrap(), Surveyed::NotDicom);
    let deflated = StudySpec::new(6).with_instances(1, 1).with_syntax(Syntax::Deflated);
    assert_eq!(survey.add(&deflated.write_to(folder.path()).unwrap()[0]).unwrap(), Surveyed::NoPixels);
    let error = survey.add(&folder.path().join("none")).unwrap_err().to_string();
    assert!(error.contains("none"), "{error}");
    assert!(survey.records().is_empty() && survey.kinds().is_empty());
}
