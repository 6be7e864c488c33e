//! Exact bytes of everything that is kept, for ever. See `tests/vectors/store/README.md`.

use std::fmt::Write;
use std::path::PathBuf;

use bytes::Bytes;
use imgxfer_core::chunk::ChunkClass;
use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::codec::CodecId;
use imgxfer_core::dicom::FrameTable;
use imgxfer_core::ids::{ChunkId, InstanceHash, ManifestRoot, PackId, StandardUid, StoreId};
use imgxfer_core::store::fs::{PACK_HEADER_BYTES, PackHeader};
use imgxfer_core::store::trailer::{Heads, Trailer};
use imgxfer_core::store::{
    ChunkAt, Note, Order, Provenance, Publication, RecordAt, Removal, StoredInstance, What, note, recipe,
};
use imgxfer_core::testing::{Sample, peer, study};
use imgxfer_core::wire::record::{Record, RecordChunk};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/store").join(format!("{name}.hex"))
}

/// The bytes of a vector: hexadecimal digits in lines of 32 bytes.
fn vector(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(path(name)).unwrap();
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Compares with the vector. `IMGXFER_WRITE_VECTORS=1` writes one that is not there, never one that is.
fn assert_vector(name: &str, bytes: &[u8]) {
    if std::env::var_os("IMGXFER_WRITE_VECTORS").is_some() && !path(name).exists() {
        let mut text = String::new();
        for line in bytes.chunks(32) {
            line.iter().for_each(|b| write!(text, "{b:02x}").unwrap());
            text.push('\n');
        }
        std::fs::write(path(name), text).unwrap();
    }
    assert_eq!(vector(name), bytes, "the bytes of {name} have changed: old stores could not be read");
}

fn header() -> PackHeader {
    PackHeader {
        owner: peer(0x11),
        id: PackId::from_bytes([0x22; 16]),
        created: UnixSeconds(1_790_000_000),
        store: StoreId::from_bytes([0x33; 16]),
        sequence: 0x0102_0304_0506_0708,
    }
}

fn record() -> Record {
    let chunks = [&b"first chunk"[..], b"second"];
    let list = chunks.map(|c| RecordChunk { id: ChunkId::of(c), len: u32::try_from(c.len()).unwrap() });
    Record::encode(CodecId::STORE, ChunkClass::Header, &list, &chunks.concat())
}

fn instance() -> StoredInstance {
    let mut sample = Sample::new(peer(0x11), 1, 2, 3, 0);
    sample.bytes = b"an instance of two chunks".to_vec();
    sample.chunk_len = 20;
    let mut instance = sample.stored();
    instance.entry.sop_class = Some(StandardUid::new("1.2.840.10008.5.1.4.1.1.2").unwrap());
    instance.entry.transfer_syntax = Some(StandardUid::new("1.2.840.10008.1.2.1").unwrap());
    let at = |pack, offset, slot| ChunkAt {
        record: RecordAt { pack: PackId::from_bytes([pack; 16]), offset, len: 1000 },
        slot,
    };
    // As it was when these were written.
    instance.catalogue = 2;
    instance.chunks = vec![at(0x22, 72, 3), at(0x33, 0x0102_0304_0506, 0)];
    instance
}

#[test]
fn the_pack_header_is_as_ever() {
    assert_vector("pack-header-v3", &header().encode());
    let bytes = vector("pack-header-v3").try_into().unwrap();
    assert_eq!(PackHeader::decode(&bytes).unwrap(), header());
}

/// The same, cut short, with frames in fragments.
fn cut_instance() -> StoredInstance {
    let frames = FrameTable::encapsulated(vec![300, 310], 500);
    StoredInstance { cut: true, frames, ..instance() }
}

/// A note of each kind, by its name, and what it says.
fn notes() -> Vec<(&'static str, Vec<u8>, Note)> {
    let (owner, at, order) = (peer(0x11), UnixSeconds(1_790_000_001), Order(0x0102_0304_0506_0708));
    let hash = |byte| InstanceHash::from_bytes([byte; 32]);
    let committed = |name, provenance: Option<Provenance>, instances: Vec<StoredInstance>| {
        let mut notes = note::committed(owner, at, provenance.as_ref(), &instances);
        assert_eq!(notes.len(), 1);
        (name, notes.remove(0), Note::Committed { at, provenance, instances })
    };
    let published = |name, stated| {
        let studies = vec![study(7), study(8)];
        let said = Publication { owner, studies, root: ManifestRoot::from_bytes([0x44; 32]), at, order, stated };
        (name, note::published(&said), Note::Published(said))
    };
    let removed = |name, what| {
        let said = Removal { owner, study: study(7), what, at, order };
        (name, note::removed(&said), Note::Removed(said))
    };
    let about = vec![("address".to_owned(), "192.0.2.7".to_owned()), ("called".to_owned(), "ARCHIVE".to_owned())];
    let provenance = Provenance { about, ..Provenance::of("ae:SCANNER") };
    let behind = |n, instance| StoredInstance { order: Order(order.0 + n), ..instance };
    vec![
        committed("note-committed-v2", None, vec![behind(0, instance())]),
        committed(
            "note-committed-provenance-v2",
            Some(provenance),
            vec![behind(0, instance()), behind(1, cut_instance())],
        ),
        published("note-published-v2", Vec::new()),
        published("note-published-stated-v2", vec![(0, hash(0x55)), (1, hash(0x66))]),
        removed("note-removed-v2", What::All),
        removed("note-removed-contents-v2", What::Contents(vec![hash(0x55), hash(0x66)])),
    ]
}

#[test]
fn the_notes_are_as_ever() {
    for (name, bytes, says) in notes() {
        assert_vector(name, &bytes);
        assert_eq!(Note::decode(&vector(name)).unwrap(), says, "{name}");
        for place in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[place] ^= 1;
            assert!(Note::decode(&wrong).is_err(), "{name}: a flipped bit in byte {place}");
            assert!(Note::decode(&bytes[..place]).is_err(), "{name}: cut at {place}");
        }
    }
}

#[test]
fn the_record_is_as_ever() {
    assert_vector("record-v1", record().bytes());
    assert_eq!(Record::decode(Bytes::from(vector("record-v1"))).unwrap(), record());
}

#[test]
fn the_trailer_is_as_ever() {
    let (id, note) = (PackId::from_bytes([0x22; 16]), notes().remove(0).1);
    let mut heads = Heads::new();
    heads.record(&record());
    heads.note(&note);
    let end = u64::try_from(PACK_HEADER_BYTES + record().bytes().len() + note.len()).unwrap();
    assert_vector("trailer-v1", &heads.trailer(id, end).unwrap());
    let bytes = vector("trailer-v1");
    let (start, len) = (u64::try_from(PACK_HEADER_BYTES).unwrap(), end + u64::try_from(bytes.len()).unwrap());
    let read = Trailer::decode(id, start, len, &bytes).unwrap();
    assert_eq!((read.end(), read.counts()), (end, (1, 1)));
    for place in 0..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[place] ^= 1;
        assert!(Trailer::decode(id, start, len, &wrong).is_err(), "a flipped bit in byte {place}");
        assert!(Trailer::decode(id, start, len, &bytes[..place]).is_err(), "cut at {place}");
    }
    for (pack, start, len) in [(PackId::from_bytes([0x23; 16]), start, len), (id, start - 1, len), (id, start, len + 1)]
    {
        assert!(Trailer::decode(pack, start, len, &bytes).is_err(), "of another pack");
    }
}

#[test]
fn the_recipes_are_as_ever() {
    for (name, instance) in [("recipe-v2", instance()), ("recipe-cut-frames-v2", cut_instance())] {
        assert_vector(name, &recipe::encode(&instance));
        assert_eq!(recipe::decode(peer(0x11), &vector(name)).unwrap(), instance);
    }
}
