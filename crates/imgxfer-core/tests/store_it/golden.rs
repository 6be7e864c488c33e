//! Exact bytes of everything that is kept, for ever. See `tests/vectors/store/README.md`.

use std::fmt::Write;
use std::path::PathBuf;

use bytes::Bytes;
use imgxfer_core::chunk::ChunkClass;
use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::codec::CodecId;
use imgxfer_core::ids::{ChunkId, ManifestRoot, PackId, StandardUid, StoreId};
use imgxfer_core::store::fs::PackHeader;
use imgxfer_core::store::{ChunkAt, Note, RecordAt, StoredInstance, note, recipe};
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
    instance.chunks = vec![at(0x22, 72, 3), at(0x33, 0x0102_0304_0506, 0)];
    instance
}

#[test]
fn the_pack_header_is_as_ever() {
    assert_vector("pack-header-v2", &header().encode());
    let bytes = vector("pack-header-v2").try_into().unwrap();
    assert_eq!(PackHeader::decode(&bytes).unwrap(), header());
}

#[test]
fn the_notes_are_as_ever() {
    let at = UnixSeconds(1_790_000_001);
    let committed = note::committed(peer(0x11), at, &[instance()]);
    let published = note::published(peer(0x11), at, ManifestRoot::from_bytes([0x44; 32]), &[study(7)]);
    assert_eq!(committed.len(), 1);
    assert_vector("note-committed-v1", &committed[0]);
    assert_vector("note-published-v1", &published);
    let instances = vec![instance()];
    let owner = peer(0x11);
    assert_eq!(Note::decode(&vector("note-committed-v1")).unwrap(), Note::Committed { owner, at, instances });
    let (root, studies) = (ManifestRoot::from_bytes([0x44; 32]), vec![study(7)]);
    assert_eq!(Note::decode(&vector("note-published-v1")).unwrap(), Note::Published { owner, at, root, studies });
    for place in 0..published.len() {
        let mut wrong = published.clone();
        wrong[place] ^= 1;
        assert!(Note::decode(&wrong).is_err(), "a flipped bit in byte {place}");
        assert!(Note::decode(&published[..place]).is_err(), "cut at {place}");
    }
}

#[test]
fn the_record_is_as_ever() {
    assert_vector("record-v1", record().bytes());
    assert_eq!(Record::decode(Bytes::from(vector("record-v1"))).unwrap(), record());
}

#[test]
fn the_recipe_is_as_ever() {
    assert_vector("recipe-v1", &recipe::encode(&instance()));
    assert_eq!(recipe::decode(peer(0x11), &vector("recipe-v1")).unwrap(), instance());
}
