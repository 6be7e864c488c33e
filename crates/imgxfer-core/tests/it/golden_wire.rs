//! Exact bytes of everything that travels, for ever. See `tests/vectors/wire/README.md`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use imgxfer_core::chunk::ChunkClass;
use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::codec::{CodecId, Registry};
use imgxfer_core::dicom::{self, Tag, tags};
use imgxfer_core::ids::{
    ChunkId, InstanceHash, ManifestRoot, PageHash, PeerId, SeriesUid, SopInstanceUid, StandardUid, StudyUid, TransferId,
};
use imgxfer_core::manifest::{self, ChunkEntry, InstanceAt, InstanceEntry, Page};
use imgxfer_core::receipt::Receipt;
use imgxfer_core::testing::record_of;
use imgxfer_core::wire::message::{
    Accept, Body, ChunkPlace, Committed, End, Failed, Fetch, FetchFrames, Find, FindEnd, FrameAt, FramesRecord,
    FramesStart, InstancePart, Need, Owner, PageBody, PageKnown, PageRef, Patient, Place, ReceiptBody, Received,
    Refused, Remove, RemovedPart, Row, SeriesPart, Shape, Start, StudyPart, Value, Withdraw, Working,
};
use imgxfer_core::wire::record::{Record, RecordChunk};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/wire").join(format!("{name}.hex"))
}

fn vector(name: &str) -> Vec<u8> {
    from_hex(&std::fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("{name}: {e}")))
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// `IMGXFER_WRITE_VECTORS=1` writes a vector that is not there, never one that is.
fn write_if_asked(name: &str, bytes: &[u8]) {
    if std::env::var_os("IMGXFER_WRITE_VECTORS").is_some() && !path(name).exists() {
        let mut text = String::new();
        for line in bytes.chunks(32) {
            line.iter().for_each(|b| write!(text, "{b:02x}").unwrap());
            text.push('\n');
        }
        std::fs::write(path(name), text).unwrap();
    }
}

fn assert_vector(name: &str, bytes: &[u8]) {
    write_if_asked(name, bytes);
    assert_eq!(vector(name), bytes, "the bytes of {name} have changed: sites of other versions could not be talked to");
}

fn fill(byte: u8) -> Bytes {
    Bytes::copy_from_slice(&[byte; 32])
}

/// The parts of rows of an answer, with every field set.
fn parts() -> (StudyPart, SeriesPart, InstancePart) {
    let text = str::to_owned;
    let value = |tag: Tag, value| Value { tag: tag.number(), value: text(value), exact: false };
    let study = StudyPart {
        study: text("1.2.3.4"),
        owners: vec![
            Owner { owner: fill(0x11), version: 3, root: fill(0x44) },
            Owner { owner: fill(0x99), version: 0, root: Bytes::new() },
        ],
        attributes: vec![value(tags::STUDY_DATE, "20260102"), value(tags::ACCESSION_NUMBER, "A1")],
        patients: vec![
            Patient {
                attributes: vec![value(tags::PATIENT_NAME, "Test^Patient"), value(tags::PATIENT_ID, "P1")],
                instances: 296,
            },
            Patient { attributes: vec![value(tags::PATIENT_ID, "P2")], instances: 4 },
        ],
        modalities: vec![text("CT"), text("SR")],
        sop_classes: vec![text("1.2.840.10008.5.1.4.1.1.2")],
        series: 2,
        instances: 300,
        contents: 302,
        conflicts: 1,
        bytes: 5_000_000_000,
        arriving: true,
        updated: 1_790_000_000,
    };
    let series = SeriesPart {
        series: text("1.2.3.4.5"),
        attributes: vec![value(tags::MODALITY, "CT"), value(tags::SERIES_DESCRIPTION, "Thorax")],
        instances: 200,
    };
    let instance = InstancePart {
        sop_instance: text("1.2.3.4.5.6"),
        sop_class: text("1.2.840.10008.5.1.4.1.1.2"),
        transfer_syntax: text("1.2.840.10008.1.2.1"),
        attributes: vec![value(tags::INSTANCE_NUMBER, "7")],
        hash: fill(0x55),
        content: fill(0x66),
        len: 525_000,
    };
    (study, series, instance)
}

fn row(study: Option<StudyPart>, series: Option<SeriesPart>, instance: Option<InstancePart>) -> Body {
    Body::Row(Row { study: study.map(Box::new), series: series.map(Box::new), instance: instance.map(Box::new) })
}

fn fetch_frames() -> Body {
    Body::FetchFrames(FetchFrames {
        study: "1.2.3.4".to_owned(),
        series: "1.2.3.4.5".to_owned(),
        sop_instance: "1.2.3.4.5.6".to_owned(),
        hash: fill(0x55),
        runs: vec![1, 1, 5, 300],
        priority: 1,
        codecs: vec![0, 1, 200],
    })
}

fn frames_start() -> Body {
    let shape = Shape {
        rows: 512,
        columns: 640,
        samples: 3,
        photometric: "YBR_FULL_422".to_owned(),
        planar: true,
        bits_allocated: 16,
        bits_stored: 12,
        high_bit: 11,
        signed: true,
    };
    Body::FramesStart(FramesStart {
        study: "1.2.3.4".to_owned(),
        series: "1.2.3.4.5".to_owned(),
        sop_instance: "1.2.3.4.5.6".to_owned(),
        sop_class: "1.2.840.10008.5.1.4.1.1.2.1".to_owned(),
        transfer_syntax: "1.2.840.10008.1.2.4.70".to_owned(),
        hash: fill(0x55),
        len: 5_000_000_000,
        count: 300,
        encapsulated: true,
        shape: Some(shape),
        frames: vec![
            FrameAt { offset: 1_000, len: 70_000, bit_offset: 0 },
            FrameAt { offset: 4_000_000_000, len: 80_000, bit_offset: 3 },
        ],
        chunks: vec![ChunkPlace { offset: 900, len: 262_144, id: fill(0x77) }],
    })
}

/// One of each kind of message, with every field set.
fn remove() -> Body {
    let text = str::to_owned;
    Body::Remove(Remove {
        study: text("1.2.3.4"),
        series: vec![text("1.2.3.4.5")],
        instances: vec![text("1.2.3.4.5.6"), text("1.2.3.4.5.7")],
    })
}

fn by(tag: Tag, value: &str, exact: bool) -> Value {
    Value { tag: tag.number(), value: value.to_owned(), exact }
}

fn fetch() -> Body {
    Body::Fetch(Fetch {
        by: vec![
            by(tags::STUDY_INSTANCE_UID, "1.2.3.4\\1.2.3.5", false),
            by(tags::PATIENT_NAME, "Test*", false),
            by(tags::ACCESSION_NUMBER, "A*1", true),
        ],
        all_versions: true,
        order: 1,
        priority: 1,
        codecs: vec![0, 1],
        level: 3,
        now: false,
    })
}

/// How transfers begin and end, in their various ways.
fn openings_and_ends() -> Vec<(&'static str, Body)> {
    vec![
        (
            "fetch-now",
            Body::Fetch(Fetch {
                by: vec![by(tags::STUDY_INSTANCE_UID, "1.2.3.4", false)],
                now: true,
                ..Fetch::default()
            }),
        ),
        (
            "start",
            Body::Start(Start {
                transfer: Bytes::copy_from_slice(&[0x22; 16]),
                priority: 2,
                instances: 300,
                bytes: 5_000_000_000,
                features: vec![1],
                prove: false,
                others: 0,
                follows: false,
            }),
        ),
        (
            "start-prove",
            Body::Start(Start {
                transfer: Bytes::copy_from_slice(&[0x22; 16]),
                features: vec![1, 2],
                prove: true,
                ..Start::default()
            }),
        ),
        (
            "start-others",
            Body::Start(Start {
                transfer: Bytes::copy_from_slice(&[0x22; 16]),
                instances: 300,
                others: 4,
                ..Start::default()
            }),
        ),
        (
            "start-follows",
            Body::Start(Start {
                transfer: Bytes::copy_from_slice(&[0x22; 16]),
                instances: 300,
                follows: true,
                ..Start::default()
            }),
        ),
        (
            "end-short",
            Body::End(End {
                pages: 8,
                root: fill(0x44),
                complete: false,
                changed: true,
                arriving: true,
                unstated: 300,
            }),
        ),
    ]
}

pub(crate) fn messages() -> Vec<(&'static str, Body)> {
    let text = str::to_owned;
    let (study, series, instance) = parts();
    let mut all = openings_and_ends();
    all.extend([
        ("fetch", fetch()),
        (
            "find",
            Body::Find(Find {
                level: 2,
                by: vec![
                    by(tags::STUDY_DATE, "20260101-20261231", false),
                    by(tags::MODALITIES_IN_STUDY, "CT", false),
                    by(tags::PATIENT_ID, "P?1", true),
                ],
                after: Some(Place {
                    date: text("20260102"),
                    study: text("1.2.3.4"),
                    series: text("1.2.3.4.5"),
                    sop_instance: text("1.2.3.4.5.6"),
                }),
                skip: 20,
                limit: 300,
                count: true,
            }),
        ),
        ("fetch-frames", fetch_frames()),
        ("frames-start", frames_start()),
        ("frames-record", Body::FramesRecord(FramesRecord { record: Bytes::from_static(b"a record") })),
        ("remove", remove()),
        ("removed", Body::Removed(RemovedPart { contents: 3, bytes: 1_500_000, left: 1 })),
        ("page-ref", Body::PageRef(PageRef { index: 7, hash: fill(0x33) })),
        ("page", Body::Page(PageBody { index: 7, raw_len: 1000, zstd: Bytes::from_static(b"a zstd frame") })),
        ("withdraw", Body::Withdraw(Withdraw { page: 7, place: 200 })),
        ("end", Body::End(End { pages: 8, root: fill(0x44), complete: true, ..End::default() })),
        ("accept", Body::Accept(Accept { codecs: vec![0, 1, 200], workers: 4, features: vec![1] })),
        ("page-known", Body::PageKnown(PageKnown { index: 7, known: true })),
        ("need", Body::Need(Need { index: 7, bitmap: Bytes::from_static(&[0xff, 0x01]) })),
        ("again", Body::Again(Need { index: 7, bitmap: Bytes::from_static(&[0x04]) })),
        ("received", Body::Received(Received { chunks: 300, bytes: 5_000_000_000, rate_max: 0 })),
        ("committed", Body::Committed(Committed { runs: vec![7, 0, 200, 8, 3, 1] })),
        ("failed", Body::Failed(Failed { page: 7, place: 200, code: 1 })),
        (
            "receipt",
            Body::Receipt(ReceiptBody {
                text: Bytes::from_static(b"text"),
                scheme: 0x0807,
                certificate: Bytes::from_static(b"certificate"),
                signature: Bytes::from_static(b"signature"),
            }),
        ),
        ("row-study", row(Some(study.clone()), None, None)),
        ("row-series", row(None, Some(series.clone()), None)),
        ("row-instance", row(None, None, Some(instance.clone()))),
        ("row-whole", row(Some(study), Some(series), Some(instance))),
        ("find-end", Body::FindEnd(FindEnd { more: true, total_and_one: 5_001, incomplete: true })),
        ("refused", Body::Refused(Refused { code: 3, remedy: text("make room") })),
        ("working", Body::Working(Working { done: 5_000_000_000 })),
    ]);
    all
}

#[test]
fn every_control_message() {
    for (name, body) in messages() {
        let name = format!("message-{name}");
        assert_vector(&name, &body.clone().into_bytes());
        assert_eq!(Body::from_bytes(vector(&name).into()), Ok(body), "{name}");
    }
}

/// A page with all that a page can hold.
pub(crate) fn page() -> Page {
    let chunk = |byte, len, class| ChunkEntry { id: ChunkId::from_bytes([byte; 32]), len, class };
    let uid = |text: &str| Some(StandardUid::new(text).unwrap());
    let instance = InstanceEntry {
        study: StudyUid::new("1.2.3").unwrap(),
        series: SeriesUid::new("1.2.3.4").unwrap(),
        sop_instance: SopInstanceUid::new("1.2.3.4.5").unwrap(),
        sop_class: uid("1.2.840.10008.5.1.4.1.1.2"),
        transfer_syntax: uid("1.2.840.10008.1.2.1"),
        name: Vec::new(),
        len: 525_000,
        hash: InstanceHash::from_bytes([0x55; 32]),
        chunks: vec![chunk(0x66, 712, ChunkClass::Header), chunk(0x77, 524_288, ChunkClass::Pixels)],
    };
    let empty = InstanceEntry {
        sop_class: None,
        transfer_syntax: None,
        name: b"a name \xff\n".to_vec(),
        len: 0,
        chunks: Vec::new(),
        ..instance.clone()
    };
    Page { instances: vec![instance, empty] }
}

/// A page of an instance whose file meta group is a chunk of its own.
fn page_with_meta() -> Page {
    let mut instance = page().instances.remove(0);
    let meta = ChunkEntry { id: ChunkId::from_bytes([0x99; 32]), len: 344, class: ChunkClass::Meta };
    instance.chunks.insert(0, meta);
    instance.len += 344;
    Page { instances: vec![instance] }
}

#[test]
fn manifest_page_and_root() {
    assert_vector("page-v1", &page().encode());
    assert_eq!(Page::decode(&vector("page-v1")), Ok(page()));
    assert_vector("page-meta-v1", &page_with_meta().encode());
    assert_eq!(Page::decode(&vector("page-meta-v1")), Ok(page_with_meta()));
    // What stands in the file meta group is no part of what an instance holds.
    let (with, without) = (&page_with_meta().instances[0], &page().instances[0]);
    assert_eq!((with.content_id(), with.meta_len()), (without.content_id(), 344));
    assert_vector("content-v1", with.content_id().as_bytes());
    // What calls itself so behind the header is part of it all the same.
    let mut moved = with.clone();
    moved.chunks.swap(0, 1);
    assert_ne!(moved.content_id(), with.content_id());
    assert_eq!(moved.meta_len(), 0);
    let pages = [Page::hash_of(&page().encode()), PageHash::from_bytes([0x88; 32])];
    let withdrawn = BTreeSet::from([InstanceAt { page: 1, place: 5 }]);
    assert_vector("root-v1", manifest::root(&pages, &withdrawn).as_bytes());
}

#[test]
fn records() {
    let chunk = b"row after row after row after row after row after row after row of pixels";
    let list = [RecordChunk { id: ChunkId::of(chunk), len: u32::try_from(chunk.len()).unwrap() }];
    let plain = Record::encode(CodecId::STORE, ChunkClass::Opaque, &list, chunk);
    assert_vector("record-plain-v1", plain.bytes());
    write_if_asked("record-zstd-v1", record_of(&[chunk]).bytes());
    for (name, codec) in [("record-plain-v1", CodecId::STORE), ("record-zstd-v1", CodecId::ZSTD)] {
        let record = Record::decode(vector(name).into()).unwrap();
        assert_eq!((record.header().codec, record.header().chunks.as_slice()), (codec, &list[..]), "{name}");
        let mut raw = Vec::new();
        Registry::default().get(codec).unwrap().decode(record.payload(), record.header().raw_len(), &mut raw).unwrap();
        assert_eq!(raw, chunk, "{name}");
    }
}

#[test]
fn receipt_text() {
    let receipt = Receipt {
        transfer: TransferId::from_bytes([0x22; 16]),
        root: ManifestRoot::from_bytes([0x44; 32]),
        sender: PeerId::from_bytes([0x11; 32]),
        receiver: PeerId::from_bytes([0x99; 32]),
        instances: 300,
        bytes: 5_000_000_000,
        complete: true,
        at: UnixSeconds(1_790_000_000),
    };
    assert_vector("receipt-v1", &receipt.encode());
    assert_eq!(Receipt::decode(&vector("receipt-v1")), Ok(receipt));
}

/// The vector was made from `docs/wire-format.md` by another program.
#[test]
fn derived_uids() {
    let table = std::fs::read_to_string(path("").with_file_name("derived-uids-v1.tsv")).unwrap();
    for line in table.lines() {
        let [what, study, series, sop_instance, file] = <[&str; 5]>::try_from(line.split('\t').collect::<Vec<_>>())
            .unwrap_or_else(|fields| panic!("{} fields: {line}", fields.len()));
        let file = from_hex(file);
        let scan = dicom::scan(&file).unwrap_or_else(|error| panic!("{what}: {error}"));
        let hash = InstanceHash::from_bytes(*blake3::hash(&file).as_bytes());
        let found = scan.identify(&hash).unwrap();
        let found = [found.study.as_str(), found.series.as_str(), found.sop_instance.as_str()];
        assert_eq!(found, [study, series, sop_instance], "{what}: the two ends of a transfer would not agree");
    }
    assert_eq!(table.lines().count(), 7);
}
