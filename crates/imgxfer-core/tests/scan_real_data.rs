//! The scanner beside `dicom-object`, on synthetic studies and on real files where this machine has them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dicom_core::header::HasLength;
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, OpenFileOptions};
use imgxfer_core::chunk;
use imgxfer_core::dicom::{self, PixelData, Scan, tags as kept};
use imgxfer_core::ids::StudyUid;
use imgxfer_core::limits::CHUNK_BYTES_MAX;
use imgxfer_core::sim::data::real_data_dir;
use imgxfer_core::sim::studies::{StudySpec, Syntax};

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

/// Scans and cuts; cuts must cover the file.
fn scan_and_cut(bytes: &[u8]) -> Option<Scan> {
    let scan = dicom::scan(&bytes).ok();
    let mut at = 0;
    for cut in chunk::cut(&bytes, scan.as_ref()).expect("it can be cut") {
        assert_eq!(cut.offset, at);
        assert!((1..=CHUNK_BYTES_MAX).contains(&cut.len));
        at += u64::from(cut.len);
    }
    assert_eq!(at, bytes.len() as u64);
    scan
}

fn text(object: &DefaultDicomObject, tag: dicom_core::Tag) -> String {
    let value = object.element(tag).ok().and_then(|e| e.to_str().ok().map(|s| s.into_owned()));
    value.unwrap_or_default().trim_matches(['\0', ' ']).to_owned()
}

/// What the two parsers say differently.
fn differences(scan: &Scan, object: &DefaultDicomObject) -> Vec<&'static str> {
    let identity = |get: fn(&dicom::Identity) -> &str| scan.identity.as_ref().map_or("", get).to_owned();
    let first = |text: String| text.split(['\\', '=']).next().unwrap_or("").trim().to_owned();
    // Empty components at the end of a name say nothing; dates of before 1993 have dots (PS3.5 section 6.2).
    let a = &scan.attributes;
    let pairs = [
        ("study", identity(|i| i.study.as_str()), text(object, tags::STUDY_INSTANCE_UID)),
        ("series", identity(|i| i.series.as_str()), text(object, tags::SERIES_INSTANCE_UID)),
        ("instance", identity(|i| i.sop_instance.as_str()), text(object, tags::SOP_INSTANCE_UID)),
        (
            "syntax",
            scan.transfer_syntax.as_ref().map_or("", |u| u.as_str()).to_owned(),
            object.meta().transfer_syntax().trim_end_matches('\0').to_owned(),
        ),
        ("patient id", first(a.get(kept::PATIENT_ID).to_owned()), first(text(object, tags::PATIENT_ID))),
        (
            "name",
            first(a.get(kept::PATIENT_NAME).to_owned()),
            first(text(object, tags::PATIENT_NAME)).trim_end_matches(['^', ' ']).to_owned(),
        ),
        ("accession", first(a.get(kept::ACCESSION_NUMBER).to_owned()), first(text(object, tags::ACCESSION_NUMBER))),
        ("date", first(a.get(kept::STUDY_DATE).to_owned()), first(text(object, tags::STUDY_DATE)).replace('.', "")),
        ("modality", first(a.get(kept::MODALITY).to_owned()), first(text(object, tags::MODALITY))),
        ("description", first(a.get(kept::STUDY_DESCRIPTION).to_owned()), first(text(object, tags::STUDY_DESCRIPTION))),
        ("series number", first(a.get(kept::SERIES_NUMBER).to_owned()), first(text(object, tags::SERIES_NUMBER))),
    ];
    // An instance that lacks one of its three UIDs, or has one that is none, has no identity here.
    let uid_tags = [tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID, tags::SOP_INSTANCE_UID];
    let has_identity = uid_tags.iter().all(|&tag| StudyUid::new(&text(object, tag)).is_ok());
    let skipped = if has_identity || scan.identity.is_some() { 0 } else { 3 };
    pairs.into_iter().skip(skipped).filter(|(_, ours, theirs)| ours != theirs).map(|(what, ..)| what).collect()
}

fn pixel_difference(scan: &Scan, object: &DefaultDicomObject) -> Option<&'static str> {
    let theirs = object.element(tags::PIXEL_DATA).ok();
    match (&scan.pixels, theirs) {
        (Some(PixelData::Native { len, .. }), Some(theirs)) => {
            let their_len = theirs.to_bytes().map_or(0, |bytes| bytes.len() as u64);
            (*len != their_len && !scan.truncated).then_some("pixel length")
        }
        (Some(PixelData::Encapsulated { fragments, .. }), Some(theirs)) => {
            let count = theirs.fragments().map_or(0, <[_]>::len);
            (fragments.len() != count).then_some("fragments")
        }
        (None, Some(theirs)) if !theirs.is_empty() => {
            let deflated = scan.transfer_syntax.as_ref().is_some_and(|u| u.as_str().ends_with("1.99"));
            (!deflated).then_some("pixels missing")
        }
        _ => None,
    }
}

#[test]
fn synthetic_studies_read_alike() {
    for syntax in Syntax::ALL {
        let study = StudySpec::new(11).with_instances(2, 2).with_size(20, 30).with_frames(3).with_syntax(syntax);
        for instance in study.instances() {
            let scan = scan_and_cut(&instance.bytes).unwrap();
            let object = OpenFileOptions::new().from_reader(instance.bytes.as_slice()).unwrap();
            assert_eq!(differences(&scan, &object), Vec::<&str>::new(), "{syntax:?}");
            assert_eq!(pixel_difference(&scan, &object), None, "{syntax:?}");
        }
    }
}

#[test]
fn real_files_read_alike() {
    let Some(dir) = real_data_dir() else {
        println!("skipped: no real data (set IMGXFER_TEST_DATA)");
        return;
    };
    let mut paths = Vec::new();
    files(&dir, &mut paths);
    let (mut opened, mut scanned, mut failures) = (0, 0, Vec::new());
    for path in &paths {
        let bytes = std::fs::read(path).unwrap();
        let scan = scan_and_cut(&bytes);
        scanned += usize::from(scan.is_some());
        let name = path.strip_prefix(&dir).unwrap().display().to_string();
        if let Some(scan) = &scan
            && (!scan.vetted || scan.truncated)
        {
            println!("{name}: vetted {}, truncated {}", scan.vetted, scan.truncated);
        }
        let Ok(object) = OpenFileOptions::new().open_file(path) else {
            if bytes.get(128..132) == Some(b"DICM") {
                println!("{name}: dicom-object does not open it; scan: {}", scan.is_some());
            }
            continue;
        };
        opened += 1;
        let Some(scan) = scan else {
            failures.push((name, vec!["not scanned"]));
            continue;
        };
        let mut all = differences(&scan, &object);
        all.extend(pixel_difference(&scan, &object));
        if !all.is_empty() {
            failures.push((name, all));
        }
    }
    println!("{} files, {scanned} scanned, {opened} opened by dicom-object", paths.len());
    assert_eq!(failures, vec![]);
}

#[test]
fn the_manifest_of_real_files_is_met() {
    let Some(dir) = real_data_dir() else {
        println!("skipped: no real data (set IMGXFER_TEST_DATA)");
        return;
    };
    let Ok(table) = std::fs::read_to_string(dir.join("MANIFEST.tsv")) else { return };
    let mut odd = BTreeMap::new();
    for row in table.lines().skip(1) {
        let columns: Vec<&str> = row.split('\t').collect();
        let [path, _, _, _, _, modality, syntax, _, dims, ..] = columns[..] else { continue };
        let Ok(bytes) = std::fs::read(dir.join(path)) else { continue };
        let scan = scan_and_cut(&bytes).unwrap_or_else(|| panic!("{path} is not scanned"));
        assert_eq!(scan.transfer_syntax.as_ref().map_or("", |u| u.as_str()), syntax, "{path}");
        assert_eq!(scan.attributes.get(kept::MODALITY), modality, "{path}");
        if let Some(problem) = dims_problem(&scan, dims) {
            odd.insert(path.to_owned(), problem);
        }
    }
    for (path, problem) in &odd {
        println!("{path}: {problem}");
    }
    // Frames that share bytes, chrominance of half the width, deflated, and a number of frames `1A`.
    let explained = ["liver_nonbyte_aligned", "422", "image_dfl", "badVR"];
    odd.retain(|path, _| !explained.iter().any(|part| path.contains(part)));
    assert!(odd.is_empty(), "{odd:?}");
}

/// Compares with `ROWSxCOLUMNSxFRAMES ALLOCATED/STORED sppN ...`.
fn dims_problem(scan: &Scan, dims: &str) -> Option<String> {
    let size = dims.split(' ').next()?;
    let numbers: Vec<u32> = size.split('x').map(|n| n.trim_end_matches('A').parse().ok()).collect::<Option<_>>()?;
    let [rows, columns, frames] = numbers[..] else { return None };
    match &scan.pixels {
        Some(PixelData::Native { shape: None, .. }) => Some("no shape".to_owned()),
        Some(PixelData::Native { shape: Some(s), len, .. }) => {
            let frame = u64::from(s.rows * s.columns) * u64::from(s.samples * s.bits_allocated) / 8;
            let same = (s.rows, s.columns) == (rows, columns) || (s.columns, s.rows) == (rows, columns);
            let fits = scan.truncated || len / frame == u64::from(frames);
            (!same || !fits || s.signed != dims.contains(" signed")).then(|| format!("{s:?} {len} against {dims}"))
        }
        Some(PixelData::Encapsulated { fragments, frames: starts, .. }) => (starts.len() != frames as usize)
            .then(|| format!("{} frames in {} fragments against {dims}", starts.len(), fragments.len())),
        _ => Some("no pixels".to_owned()),
    }
}
