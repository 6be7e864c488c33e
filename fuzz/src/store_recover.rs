//! Whatever bytes a pack, its trailer or an index row holds: reading it back neither panics nor takes more memory
//! than its length calls for, and what a scan calls whole can be read.

use std::collections::HashMap;

use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::ids::{ChunkId, PackId};
use imgxfer_core::store::fs::{PACK_HEADER_BYTES, PackHeader};
use imgxfer_core::store::note::NOTE_MAGIC;
use imgxfer_core::store::trailer::{TRAILER_FOOTER_BYTES, Trailer};
use imgxfer_core::store::{MemIndex, MemRecords, Note, RecordStore, SpoolLimits, note, recipe, spool_chunks};
use imgxfer_core::testing::peer;

/// A note whose check holds, and what writing what it says gives.
fn check_note(bytes: &[u8]) {
    let Some((checked, _)) = bytes.split_last_chunk::<8>().filter(|(note, _)| note.starts_with(&NOTE_MAGIC)) else {
        return;
    };
    let whole = [checked, &ChunkId::of(checked).as_bytes()[..8]].concat();
    let Ok(says) = Note::decode(&whole) else { return };
    let again = |bytes: Vec<u8>| assert_eq!(Note::decode(&bytes).as_ref(), Ok(&says));
    match &says {
        Note::Published(publication) => again(note::published(publication)),
        Note::Removed(removal) => again(note::removed(removal)),
        Note::Committed { at, provenance, instances } => {
            let Some(owner) = instances.first().map(|instance| instance.owner) else { return };
            let mut read = Vec::new();
            for bytes in note::committed(owner, *at, provenance.as_ref(), instances) {
                match Note::decode(&bytes) {
                    Ok(Note::Committed { at: when, provenance: from, instances }) => {
                        assert_eq!((when, &from), (*at, provenance));
                        read.extend(instances);
                    }
                    other => panic!("a note that was written is another: {other:?}"),
                }
            }
            assert_eq!(read, *instances);
        }
        other => panic!("a kind of note that is not tried: {other:?}"),
    }
}

/// What a pack ends with: read as it stands, and with its checks made right. What it lists is all of the pack.
fn check_trailer(bytes: &[u8]) {
    let id = PackId::from_bytes([0x22; 16]);
    let mut whole = bytes.to_vec();
    if let Some(heads) = whole.len().checked_sub(TRAILER_FOOTER_BYTES) {
        let footer = &mut whole[heads..];
        footer[12..16].copy_from_slice(&u32::try_from(bytes.len()).expect("inputs are short").to_le_bytes());
        let check = |bytes: &[u8]| ChunkId::of(&[&id.as_bytes()[..], bytes].concat()).as_bytes()[..8].to_vec();
        footer[16..24].copy_from_slice(&check(&bytes[..heads]));
        let right = check(&footer[..24]);
        footer[24..32].copy_from_slice(&right);
    }
    for bytes in [bytes, &whole] {
        let end = bytes.len().checked_sub(TRAILER_FOOTER_BYTES).and_then(|at| bytes[at..].first_chunk());
        let end = end.map_or(0, |end| u64::from_le_bytes(*end));
        let len = end.saturating_add(u64::try_from(bytes.len()).expect("a length fits"));
        let start = u64::try_from(PACK_HEADER_BYTES).expect("a length fits");
        if let Ok(trailer) = Trailer::decode(id, start, len, bytes) {
            let (records, notes) = trailer.counts();
            assert!(trailer.end() == end && end >= start + 20 * (records + notes));
        }
    }
}

/// See the module.
pub fn check(bytes: &[u8]) {
    check_trailer(bytes);
    if let Some(header) = bytes.first_chunk::<PACK_HEADER_BYTES>() {
        if let Ok(header_read) = PackHeader::decode(header) {
            assert_eq!(header_read.encode(), *header);
        }
    }
    if let Ok(instance) = recipe::decode(peer(1), bytes) {
        assert_eq!(recipe::encode(&instance), bytes);
    }
    check_note(bytes);
    let store = MemRecords::default();
    let id = PackId::from_bytes([1; 16]);
    store.insert_pack(id, peer(1), UnixSeconds(0), bytes.to_vec());
    let mut lengths = HashMap::new();
    let quick = store.scan(id, false, &mut |at, header| lengths.extend([(at, header.raw_len())]));
    let quick = quick.expect("without a check nothing is an error");
    assert!(quick <= u64::try_from(bytes.len()).expect("a length fits"));
    if store.scan(id, true, &mut |at, _| assert!(store.read(at).is_ok())).is_ok_and(|end| end == quick) {
        assert!(lengths.keys().all(|at| store.read(*at).is_ok()));
    }
    spool_chunks(&store, &MemIndex::default(), &peer(1), SpoolLimits::default(), &mut |_| Ok(true))
        .expect("memory does not fail");
}
