//! Exact bytes of everything that travels, for ever. See `tests/vectors/wire/README.md`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use imgxfer_core::chunk::ChunkClass;
use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::codec::{CodecId, Registry};
use imgxfer_core::ids::{
    ChunkId, InstanceHash, ManifestRoot, PageHash, PeerId, SeriesUid, SopInstanceUid, StandardUid, StudyUid, TransferId,
};
use imgxfer_core::manifest::{self, ChunkEntry, InstanceAt, InstanceEntry, Page};
use imgxfer_core::receipt::Receipt;
use imgxfer_core::testing::record_of;
use imgxfer_core::wire::message::{
    Accept, Body, Committed, End, Failed, Need, PageBody, PageKnown, PageRef, Pull, Query, QueryEnd, ReceiptBody,
    Received, Refused, Start, Study, Withdraw, Working,
};
use imgxfer_core::wire::record::{Record, RecordChunk};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/wire").join(format!("{name}.hex"))
}

fn vector(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
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

/// One of each kind of message, with every field set.
pub(crate) fn messages() -> Vec<(&'static str, Body)> {
    let text = str::to_owned;
    vec![
        (
            "pull",
            Body::Pull(Pull {
                study: text("1.2.3.4"),
                accession_number: text("A1"),
                patient_id: text("P1"),
                priority: 1,
                codecs: vec![0, 1],
                level: 3,
            }),
        ),
        (
            "query",
            Body::Query(Query {
                study: text("1.2.3.4"),
                patient_id: text("P1"),
                accession_number: text("A1"),
                modality: text("CT"),
                date_from: text("20260101"),
                date_to: text("20261231"),
                limit: 300,
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
        ("page-ref", Body::PageRef(PageRef { index: 7, hash: fill(0x33) })),
        ("page", Body::Page(PageBody { index: 7, raw_len: 1000, zstd: Bytes::from_static(b"a zstd frame") })),
        ("withdraw", Body::Withdraw(Withdraw { page: 7, place: 200 })),
        ("end", Body::End(End { pages: 8, root: fill(0x44), complete: true })),
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
        (
            "study",
            Body::Study(Study {
                study: text("1.2.3.4"),
                owner: fill(0x11),
                patient_id: text("P1"),
                patient_name: text("Test^Patient"),
                accession_number: text("A1"),
                study_date: text("20260102"),
                study_time: text("101112"),
                study_description: text("Thorax"),
                modalities: text("CT\\SR"),
                series: 2,
                instances: 300,
                conflicts: 1,
                bytes: 5_000_000_000,
                version: 3,
                arriving: true,
                root: fill(0x44),
                updated: 1_790_000_000,
            }),
        ),
        ("query-end", Body::QueryEnd(QueryEnd { more: true })),
        ("refused", Body::Refused(Refused { code: 3, remedy: text("make room") })),
        ("working", Body::Working(Working { done: 5_000_000_000 })),
    ]
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

#[test]
fn manifest_page_and_root() {
    assert_vector("page-v1", &page().encode());
    assert_eq!(Page::decode(&vector("page-v1")), Ok(page()));
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
