//! Files as the field has them: what is DICOM travels under what identifies it, or fails by name.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use imgxfer_core::client::{PullOptions, PullTarget};
use imgxfer_core::codec::Registry;
use imgxfer_core::dicom::{Level, Scan, scan, tags};
use imgxfer_core::ids::InstanceHash;
use imgxfer_core::progress::{Remark, TransferEvent};
use imgxfer_core::receive::FolderIntake;
use imgxfer_core::send::{FileSource, OtherFiles, Source as _, SourceInstance, SourceItem};
use imgxfer_core::server::Rights;
use imgxfer_core::transport::Identity;

use crate::harness::{Site, client_of, contents, depot_at, push, rows};
use crate::odd_writer::{CT, ITEM, ITEM_END, Image, JPEG, ROOT, SEQUENCE_END, fragments};

fn scanned(file: &[u8]) -> Scan {
    scan(&file).unwrap()
}

/// The file is who the image says.
fn is_identified(image: &Image, file: &[u8], what: &str) {
    let scan = scanned(file);
    let identity = scan.identity.as_ref().unwrap_or_else(|| panic!("{what}: without identity: {scan:?}"));
    assert_eq!((identity.study.as_str(), identity.series.as_str()), (&*image.study, &*image.series), "{what}");
    assert_eq!(
        (identity.sop_instance.as_str(), scan.attributes.patient_id()),
        (&*image.sop, &*image.patient),
        "{what}"
    );
    assert_eq!((scan.derived().count(), scan.attributes.get(tags::DERIVED_UIDS)), (0, ""), "{what}");
}

fn jpeg() -> Vec<u8> {
    [&b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"[..], &(0..60).collect::<Vec<u8>>(), b"\xff\xd9"]
        .concat()
}

#[test]
fn sequences_without_their_delimiters_hide_nothing() {
    const CODES: u32 = 0x0008_1032;
    for implicit in [false, true] {
        let image = if implicit { Image::new(101, 1).implicit() } else { Image::new(101, 1) };
        let w = image.writer;
        let (item, ends) = (w.element(ITEM, "", w.code()), |tag| w.end(tag));
        let open = |end: &[u8]| [&w.open(ITEM, "", &w.code()), end].concat();
        for (what, inside) in [
            ("as it should be", [item.clone(), ends(SEQUENCE_END)].concat()),
            ("the sequence has no end", item.clone()),
            ("an empty sequence has no end", Vec::new()),
            ("neither has an end", open(&[])),
            ("its end for the item's", open(&ends(SEQUENCE_END))),
            ("the first item has no end", [open(&[]), open(&ends(ITEM_END)), ends(SEQUENCE_END)].concat()),
            ("the last item has no end", [open(&ends(ITEM_END)), open(&ends(SEQUENCE_END))].concat()),
            ("the item's end for its own", [item.clone(), ends(ITEM_END)].concat()),
            ("zeros for its end", [item.clone(), vec![0; 8]].concat()),
        ] {
            let image = Image { before_patient: w.open(CODES, "SQ", &inside), ..image.clone() };
            is_identified(&image, &image.file(), what);
        }
        // Of the sequence's item, and not of the image.
        let inner = [w.element(0x0008_1150, "UI", "1.2"), w.element(0x0020_000e, "UI", "1.2.3")].concat();
        let image = Image { before_patient: w.open(0x0008_1115, "SQ", &w.open(ITEM, "", &inner)), ..image.clone() };
        is_identified(&image, &image.file(), "a series is referred to in an item without an end");
    }
}

#[test]
fn an_icon_that_forgets_some_bytes_is_no_obstacle() {
    let image = Image { syntax: JPEG, tail: Some(fragments(&[], &[jpeg().repeat(20)])), ..Image::new(103, 1) };
    let w = image.writer;
    let icon = [w.element(0x0028_0010, "US", [8, 0]), fragments(&[], &[jpeg()])].concat();
    let len = u32::try_from(icon.len()).unwrap() - 24;
    let short = w.lying(0x0088_0200, "SQ", &w.lying(ITEM, "", &icon, len), len + 8 - 24);
    let image = Image { before_pixels: short, ..image };
    is_identified(&image, &image.file(), "24 bytes short");
    let scan = scanned(&image.file());
    assert!(!scan.truncated && !scan.vetted, "it is all there, and not as it should be");
}

#[test]
fn uids_that_break_the_rules_are_derived_and_keep_study_and_patient() {
    let good = Image::new(105, 4);
    let hash = |file: &[u8]| InstanceHash::from_bytes(*blake3::hash(file).as_bytes());
    let identify = |image: &Image| {
        let file = image.file();
        let found = scanned(&file);
        let again = scanned(&file).identify(&hash(&file));
        let identity = found.identify(&hash(&file)).unwrap();
        assert_eq!(again.as_ref(), Some(&identity), "the same bytes, the same UIDs");
        assert_eq!(found.attributes.patient_id(), "PAT1");
        (identity, found.derived().collect::<Vec<_>>(), found.attributes.get(tags::DERIVED_UIDS).to_owned())
    };
    let long = format!("{ROOT}.363.5421649119139350670558684743636101576.101.7");
    for sop in [&*long, "1.2.5A7f", "1.2.8.", "1..2", "UNKNOWN", "1.2\\1.3", "1.2 3"] {
        let (identity, derived, mark) = identify(&Image { sop: sop.to_owned(), ..good.clone() });
        assert_eq!((identity.study.as_str(), identity.series.as_str()), (&*good.study, &*good.series), "{sop}");
        assert!(identity.sop_instance.is_derived() && derived == [Level::Instance] && mark == "INSTANCE", "{sop}");
    }
    for series in ["", "x", &long] {
        let of = |n| identify(&Image { series: series.to_owned(), ..Image::new(105, n) });
        let ((one, derived, mark), (two, ..)) = (of(1), of(2));
        assert_eq!((one.study.as_str(), &one.series), (&*good.study, &two.series), "{series}");
        assert!(one.series.is_derived() && derived == [Level::Series] && mark == "SERIES", "{series}");
    }
    for study in ["1.2.", "KNEE 7", ""] {
        let of = |n, patient: &str| {
            let image = Image { study: study.to_owned(), patient: patient.to_owned(), ..Image::new(105, n) };
            let file = image.file();
            scanned(&file).identify(&hash(&file)).unwrap().study
        };
        assert!(of(1, "PAT1").is_derived() && of(1, "PAT1") == of(2, "PAT1"), "a study stays together: {study:?}");
        assert_ne!(of(1, "PAT1"), of(1, "PAT2"), "and is one patient's");
    }
    // Padding of any kind is none of the UID, and zeros in front are left as they are.
    for around in ["{}\r\n", " {}", "{}  ", "{}\0\0", "\t{}"] {
        let around = |uid: &str| around.replace("{}", uid);
        let image =
            Image { sop: around(&good.sop), study: around(&good.study), series: around(&good.series), ..good.clone() };
        is_identified(&good, &image.file(), "padded");
    }
    let zeros = Image { sop: "1.2.0001".to_owned(), study: "1.2.007".to_owned(), series: "1.2.01".to_owned(), ..good };
    is_identified(&zeros, &zeros.file(), "leading zeros");
}

#[test]
fn odd_elements_before_the_patient_are_passed_over() {
    let image = Image::new(131, 1);
    let w = image.writer;
    let blob: Vec<u8> = (0..1945u32).map(|i| ((i * 7) & 255) as u8).collect();
    let explicit_in_unknown = [&w.element(ITEM, "", w.code())[..], &w.end(SEQUENCE_END)].concat();
    for (what, odd) in [
        ("a sequence that is none, of odd length", w.lying(0x0009_1010, "SQ", &blob, 1945)),
        ("text of odd length", w.lying(0x0008_1070, "PN", b"A^BCD", 5)),
        ("a group length that is unknown", w.element(0x0009_0000, "UN", 300u32.to_le_bytes())),
        ("explicit items in what is unknown", w.open(0x0009_1001, "UN", &explicit_in_unknown)),
        ("two bytes of length where four should be", [&b"\x09\0\x21\x10UN\x06\0value "[..]].concat()),
        ("a value representation that is none", [&b"\x09\0\x20\x10??\x06\0value "[..]].concat()),
        ("zeros", vec![0; 24]),
    ] {
        let image = Image { before_patient: odd, ..image.clone() };
        is_identified(&image, &image.file(), what);
    }
    let image = Image::new(131, 4).implicit();
    let fake = [&ITEM.rotate_right(16).to_le_bytes()[..], &[0, 0, 0xff, 0x7f], b"SV10", &[0; 500]].concat();
    let image = Image { before_patient: image.writer.element(0x0009_1008, "UN", fake), ..image };
    is_identified(&image, &image.file(), "what looks like an item in a private value");
}

#[test]
fn files_without_a_beginning_are_found() {
    for image in [Image::new(106, 1), Image::new(106, 2).implicit()] {
        is_identified(&image, &image.data_set(), "a data set alone");
        is_identified(&image, &image.file()[128..], "without preamble");
        is_identified(&image, &image.file()[132..], "without preamble and marker");
        let other = if image.writer.implicit { Image::new(106, 2).syntax } else { JPEG };
        is_identified(&image, &Image { syntax: other, ..image.clone() }.file(), "in another encoding than it says");
        let deflated = Image { syntax: "1.2.840.10008.1.2.1.99", ..image.clone() }.file();
        is_identified(&image, &deflated, "not deflated, though it says so");
    }
    assert!(scan(&&b"a text that is no DICOM at all, and goes on for a while"[..]).is_err());
    // In no order, implicit, and known by its series alone.
    let w = Image::new(106, 1).implicit().writer;
    let [series, class] = [(0x0020_000e, "1.2.3"), (0x0008_0016, CT)].map(|(tag, uid)| w.element(tag, "UI", uid));
    let found = scanned(&[series, class.clone()].concat());
    assert_eq!(found.derived().collect::<Vec<_>>(), [Level::Study, Level::Instance]);
    assert!(scan(&[w.element(0x0020_000e, "LO", "series"), class].concat()).is_err(), "nor is what only looks so");
}

#[test]
fn odd_fragments_and_what_stands_behind_them() {
    let frames: Vec<Vec<u8>> = (3..6).map(|n| jpeg().repeat(n)).collect();
    let behind = u32::try_from(frames[0].len()).unwrap() + 8;
    for (what, tail) in [
        ("more entries than frames", fragments(&[0, behind], &frames[..2])),
        ("an entry beyond the end", fragments(&[0, 0x7fff_ffff], &frames[..2])),
        ("entries that descend", fragments(&[behind, 0], &frames[..2])),
        ("empty fragments", fragments(&[], &[vec![], frames[0].clone(), vec![]])),
        ("zeros for the delimiter", {
            let whole = fragments(&[], &[jpeg().repeat(30)]);
            [&whole[..whole.len() - 8], &[0; 300]].concat()
        }),
    ] {
        let image = Image { syntax: JPEG, tail: Some(tail), ..Image::new(115, 1) };
        is_identified(&image, &image.file(), what);
    }
    let image = Image::new(115, 10);
    is_identified(&image, &[&image.file()[..], &b"<!-- exported by a portal -->\r\n".repeat(40)].concat(), "rubbish");
    is_identified(&image, &[&image.file()[..], &[0; 100_000]].concat(), "zeros");
    for image in [image.clone(), image.implicit()] {
        let file = image.file();
        let behind = |what: &[u8]| scanned(&[&file[..], what].concat()).truncated;
        assert!(!behind(&b"<!-- exported by a portal -->\r\n".repeat(40)), "nothing is missing");
        assert!(scanned(&file[..file.len() - 1]).truncated && behind(&image.writer.lying(0x7fff_0010, "OB", &[], 8)));
    }
}

/// What a source gives of a folder.
fn given(folder: &Path) -> (Vec<SourceInstance>, Vec<String>, Vec<String>) {
    let mut source = FileSource::new(&[folder.to_owned()], OtherFiles::Skip);
    let (mut instances, mut copies, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(item) = source.next_item().unwrap() {
        match item {
            SourceItem::Instance(instance) => instances.push(*instance),
            SourceItem::Copy { label, .. } => copies.push(label),
            SourceItem::Failed { reason, .. } => failed.push(reason),
            other => panic!("{other:?}"),
        }
    }
    (instances, copies, failed)
}

#[test]
fn copies_are_one_instance() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: Vec<u8>| std::fs::write(folder.path().join(name), bytes).unwrap();
    for name in ["IM1.dcm", "IM1(1).dcm", "IM1(2).dcm"] {
        write(name, Image::new(113, 1).file());
    }
    write("IM2.dcm", Image::new(113, 2).file());
    let (instances, copies, failed) = given(folder.path());
    assert_eq!((instances.len(), copies.len(), failed.len()), (2, 2, 0));
}

#[test]
fn dicom_that_cannot_be_taken_fails_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::new(140, 1);
    let nested = (0..100).fold(Vec::new(), |inside, _| {
        let w = image.writer;
        w.open(0x0008_1140, "SQ", &[w.open(ITEM, "", &inside), w.end(ITEM_END), w.end(SEQUENCE_END)].concat())
    });
    let image = Image { before_patient: nested, ..image };
    std::fs::write(folder.path().join("deep.dcm"), image.file()).unwrap();
    std::fs::write(folder.path().join("good.dcm"), Image::new(140, 2).file()).unwrap();
    let (instances, _, failed) = given(folder.path());
    assert_eq!(instances.len(), 1);
    assert!(matches!(failed.as_slice(), [reason] if reason.contains("nest too deep")), "{failed:?}");
}

#[tokio::test]
async fn odd_files_arrive_as_they_are_and_are_told_of() {
    let (input, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let site = Site::start(Identity::generate().unwrap(), depot_at(store.path()), Rights::all());
    let good = Image::new(150, 1).file();
    let lettered = |n| Image { sop: "LETTERS".to_owned(), ..Image::new(150, n) }.file();
    let of_no_series = Image { series: String::new(), ..Image::new(150, 6) }.file();
    let other_patient = Image { patient: "PAT2".to_owned(), ..Image::new(150, 5) }.file();
    let other_study =
        Image { study: format!("{ROOT}.151"), series: format!("{ROOT}.151.1"), ..Image::new(150, 1) }.file();
    let cut = good[..good.len() - 100].to_vec();
    let files = [good.clone(), lettered(2), lettered(3), of_no_series, cut, other_patient, other_study, good];
    for (n, file) in files.iter().enumerate() {
        std::fs::write(input.path().join(format!("{n}.dcm")), file).unwrap();
    }
    let client = client_of(&site);
    let (report, events) = push(&client, &site, &[input.path().to_owned()], OtherFiles::Skip).await;
    let receipt = report.unwrap().receipt;
    assert_eq!((receipt.instances, receipt.complete), (7, true));
    let count = |wanted| {
        let is = |event: &&TransferEvent| matches!(event, TransferEvent::Remarked { remark, .. } if *remark == wanted);
        events.iter().filter(is).count()
    };
    assert_eq!([Remark::DerivedUid, Remark::Truncated, Remark::Copy].map(count), [3, 1, 1]);
    let found = rows(site.depot.index.as_ref());
    let study = found.iter().find(|row| row.study.as_str().ends_with(".150")).unwrap();
    assert_eq!((found.len(), study.patients.len(), study.instances, study.contents), (2, 2, 5, 6));
    assert_eq!(study.attributes.get(tags::DERIVED_UIDS), "INSTANCE\\SERIES", "of all its instances");
    let out = tempfile::tempdir().unwrap();
    let (path, intakes) = (out.path().to_owned(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let opened = Arc::clone(&intakes);
    let intake = move |peer| {
        let intake = Arc::new(FolderIntake::open(&path, peer, Registry::default())?);
        opened.lock().unwrap().push(Arc::clone(&intake));
        Ok(intake as _)
    };
    let target = PullTarget::study(study.study.clone());
    let pulled = client.pull(&site.dial, &target, intake, &PullOptions::default(), &|_: &_| {}).await.unwrap();
    assert!(pulled.receipt.complete);
    let mixed: Vec<_> = intakes.lock().unwrap().iter().flat_map(|intake| intake.mixed()).collect();
    assert_eq!(mixed, [(study.study.clone(), 2)]);
    let came: BTreeSet<Vec<u8>> =
        contents(out.path()).into_iter().map(|(_, path)| std::fs::read(path).unwrap()).collect();
    let sent: BTreeSet<Vec<u8>> = files.into_iter().collect();
    assert!(came.len() == 5 && came.is_subset(&sent), "byte for byte");
    site.stop().await;
}
