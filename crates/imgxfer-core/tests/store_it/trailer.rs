//! What a pack ends with: believed where it is right, and never missed where it is not.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgxfer_core::chunk::ChunkClass;
use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::codec::CodecId;
use imgxfer_core::ids::{ChunkId, PackId};
use imgxfer_core::store::fs::PACK_HEADER_BYTES;
use imgxfer_core::store::trailer::{Heads, TRAILER_FOOTER_BYTES, Trailer};
use imgxfer_core::store::{
    CheckOptions, CheckReport, CommitBatch, Index, MemIndex, Note, RecordAt, RecordStore, SpoolLimits, StoreError,
    check, collect, note, recover, spool_chunks,
};
use imgxfer_core::testing::{Sample, noise, peer, record_of};
use imgxfer_core::wire::record::{Record, RecordChunk};

use crate::fs_store;

const START: u64 = PACK_HEADER_BYTES as u64;

fn path_of(folder: &Path, pack: PackId) -> PathBuf {
    folder.join("packs").join(&pack.to_string()[..2]).join(format!("{pack}.pack"))
}

/// A pack that was ended: three instances, a note about each, and a record that no note tells of. Its name, and where
/// its trailer begins.
fn ended(store: &dyn RecordStore) -> (PackId, u64) {
    let mut pack = store.create_pack(peer(1)).unwrap();
    let id = pack.id();
    for sop in 0..3 {
        let instance = Sample::new(peer(1), 1, 1, sop, 400).append_to(&mut *pack).unwrap();
        for note in note::committed(peer(1), UnixSeconds(5), None, &[instance]) {
            pack.note(&note).unwrap();
        }
    }
    pack.append(&record_of(&[&noise(77, 300)])).unwrap();
    let end = pack.len();
    pack.finish().unwrap();
    (id, end)
}

/// All that a store says of a pack: records, notes by the trailer and by walking, and the ends of each.
type Said = (Vec<RecordAt>, Vec<(u64, Vec<u8>)>, Vec<(u64, Vec<u8>)>, [u64; 3]);

fn said(store: &dyn RecordStore, pack: PackId, check: bool) -> Said {
    let (mut places, mut listed, mut walked) = (Vec::new(), Vec::new(), Vec::new());
    let scanned = store.scan(pack, check, &mut |at, _| places.push(at)).unwrap();
    let into = |notes: &mut Vec<(u64, Vec<u8>)>, end, bytes: &[u8]| {
        notes.push((end, bytes.to_vec()));
        Ok(())
    };
    let ends = [
        scanned,
        store.list_notes(pack, 0, &mut |end, bytes| into(&mut listed, end, bytes)).unwrap(),
        store.notes(pack, 0, &mut |end, bytes| into(&mut walked, end, bytes)).unwrap(),
    ];
    (places, listed, walked, ends)
}

/// The same of any store that was opened anew, and that a check with all data finds no harm.
fn assert_says(folder: &Path, pack: PackId, expected: &Said, case: &str) -> CheckReport {
    let store: Arc<dyn RecordStore> = Arc::new(imgxfer_core::store::FsRecords::open(folder, crate::options()).unwrap());
    for check in [false, true] {
        assert_eq!(&said(store.as_ref(), pack, check), expected, "{case}, check {check}");
    }
    let index = MemIndex::default();
    let report = recover(store.as_ref(), &index).unwrap();
    assert_eq!((report.instances, report.notes_damaged, report.instances_missing), (3, 0, 0), "{case}");
    let options = CheckOptions { read_data: true, ..CheckOptions::default() };
    let checked = check(&store, &index, &options, &mut |_| true).unwrap();
    assert!(checked.is_sound(), "{case}: {checked:?}");
    checked
}

#[test]
fn it_says_what_a_walk_finds_and_is_read_in_one_piece() {
    let folder = tempfile::tempdir().unwrap();
    let store = fs_store(&folder);
    let (pack, end) = ended(&store);
    let path = path_of(folder.path(), pack);
    let whole = std::fs::read(&path).unwrap();
    let trailer = &whole[usize::try_from(end).unwrap()..];
    let decoded = Trailer::decode(pack, START, u64::try_from(whole.len()).unwrap(), trailer).unwrap();
    assert_eq!((decoded.end(), decoded.counts()), (end, (4, 3)));
    let by_trailer = said(&store, pack, false);
    assert_eq!(by_trailer, said(&store, pack, true));
    assert_eq!((by_trailer.0.len(), by_trailer.1.len()), (4, 3));
    assert_eq!((&by_trailer.1, by_trailer.3), (&by_trailer.2, [end; 3]));
    assert_eq!(store.packs().unwrap()[0].len, end, "what was appended");
    drop(store);
    assert_eq!(fs_store(&folder).packs().unwrap()[0].len, end, "also to who opens it");
    let report = assert_says(folder.path(), pack, &by_trailer, "whole");
    assert!(report.is_clean(), "{report:?}");
    // Nobody looks at what stands in front of it.
    let mut dark = vec![0; usize::try_from(end - START).unwrap()];
    dark.fill(0xa5);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&dark, START).unwrap();
    let mut places = Vec::new();
    let store = fs_store(&folder);
    assert_eq!(store.scan(pack, false, &mut |at, _| places.push(at)).unwrap(), end);
    assert_eq!(places, by_trailer.0);
}

#[test]
fn one_that_is_cut_anywhere_is_not_missed() {
    let folder = tempfile::tempdir().unwrap();
    let (pack, end) = ended(&fs_store(&folder));
    let path = path_of(folder.path(), pack);
    let whole = std::fs::read(&path).unwrap();
    let expected = said(&fs_store(&folder), pack, false);
    let end = usize::try_from(end).unwrap();
    for cut in end..whole.len() {
        for zeros in [false, true] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            if zeros {
                let file = OpenOptions::new().write(true).open(&path).unwrap();
                file.set_len(u64::try_from(whole.len()).unwrap()).unwrap();
            }
            assert_says(folder.path(), pack, &expected, &format!("cut at {cut}, zeros {zeros}"));
        }
    }
    std::fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
    assert_says(folder.path(), pack, &expected, "something behind it");
}

#[test]
fn any_flipped_bit_in_it_is_found_and_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let (pack, end) = ended(&fs_store(&folder));
    let path = path_of(folder.path(), pack);
    let whole = std::fs::read(&path).unwrap();
    let expected = said(&fs_store(&folder), pack, false);
    for place in usize::try_from(end).unwrap()..whole.len() {
        for bit in 0..8 {
            let mut wrong = whole.clone();
            wrong[place] ^= 1 << bit;
            std::fs::write(&path, &wrong).unwrap();
            let report = assert_says(folder.path(), pack, &expected, &format!("bit {bit} of byte {place}"));
            assert!(!report.is_clean(), "bit {bit} of byte {place} is not found");
        }
    }
}

#[test]
fn that_of_another_pack_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (pack, end) = ended(&fs_store(&folder));
    // The same lengths, other records.
    let store = fs_store(&folder);
    let mut other = store.create_pack(peer(1)).unwrap();
    for seed in 0..3 {
        let instance = Sample::new(peer(1), 1, 1, seed, 400).append_to(&mut *other).unwrap();
        for note in note::committed(peer(1), UnixSeconds(5), None, &[instance]) {
            other.note(&note).unwrap();
        }
    }
    other.append(&record_of(&[&noise(78, 300)])).unwrap();
    let other_id = other.id();
    other.finish().unwrap();
    let (path, other) = (path_of(folder.path(), pack), path_of(folder.path(), other_id));
    let (mut whole, other) = (std::fs::read(&path).unwrap(), std::fs::read(other).unwrap());
    let expected = said(&store, pack, false);
    let end = usize::try_from(end).unwrap();
    let long = other.len().abs_diff(whole.len());
    whole.truncate(end);
    whole.extend_from_slice(&other[other.len() - (other.len() - end).max(TRAILER_FOOTER_BYTES)..]);
    std::fs::write(&path, &whole).unwrap();
    drop(store);
    let opened = fs_store(&folder);
    assert!(opened.doubt(pack).unwrap().is_some(), "{long} bytes longer or shorter");
    assert_eq!(said(&opened, pack, false), expected);
}

/// One that holds by its checks, and lies: nothing is removed for it.
#[test]
fn what_it_hides_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = fs_store(&folder);
    let mut pack = store.create_pack(peer(1)).unwrap();
    let (id, instance) = (pack.id(), Sample::new(peer(1), 1, 1, 1, 400).append_to(&mut *pack).unwrap());
    let told = note::committed(peer(1), UnixSeconds(5), None, &[instance]).remove(0);
    pack.note(&told).unwrap();
    let end = pack.len();
    pack.sync().unwrap();
    drop(pack);
    // As if a record of that length stood where the note does.
    let mut heads = Heads::new();
    store.scan(id, true, &mut |at, _| heads.record(&store.read(at).unwrap())).unwrap();
    let payload = noise(1, told.len() - Record::room(1));
    let chunk = RecordChunk { id: ChunkId::of(&payload), len: u32::try_from(payload.len()).unwrap() };
    heads.record(&Record::encode(CodecId::STORE, ChunkClass::Opaque, &[chunk], &payload));
    let path = path_of(folder.path(), id);
    let lie = [std::fs::read(&path).unwrap(), heads.trailer(id, end).unwrap()].concat();
    std::fs::write(&path, lie).unwrap();
    drop(store);
    let store = fs_store(&folder);
    assert_eq!(said(&store, id, false).1.len(), 0, "it is believed where nothing is removed");
    let index = MemIndex::default();
    let report = collect(&store, &index, &|_| false, UnixSeconds(i64::MAX)).unwrap();
    assert_eq!((report.packs_removed, report.packs_in_use), (0, 1), "{report:?}");
}

#[test]
fn one_that_is_not_written_is_not_needed() {
    let folder = tempfile::tempdir().unwrap();
    let store = fs_store(&folder);
    let mut pack = store.create_pack(peer(1)).unwrap();
    let at = pack.append(&record_of(&[&noise(1, 300)])).unwrap();
    pack.sync().unwrap();
    drop(pack);
    assert_eq!(store.doubt(at.pack).unwrap(), None, "it has none, which is nothing to doubt");
    assert_eq!(said(&store, at.pack, false).0, [at]);
}

#[test]
fn what_an_interrupted_transfer_left_is_found_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let (pack, _) = ended(&fs_store(&folder));
    let store = fs_store(&folder);
    let index = MemIndex::default();
    let found = spool_chunks(&store, &index, &peer(1), SpoolLimits::default(), &mut |_| Ok(true)).unwrap();
    let by_walk: HashMap<ChunkId, RecordAt> = {
        let mut chunks = HashMap::new();
        store.scan(pack, true, &mut |at, header| chunks.extend(header.chunks.iter().map(|c| (c.id, at)))).unwrap();
        chunks
    };
    assert_eq!(found.into_iter().map(|(id, (at, _))| (id, at.record)).collect::<HashMap<_, _>>(), by_walk);
}

#[test]
fn a_damaged_record_hides_no_note_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let (pack, end) = ended(&fs_store(&folder));
    let store = fs_store(&folder);
    let first = said(&store, pack, false).0[0];
    let file = OpenOptions::new().write(true).open(path_of(folder.path(), pack)).unwrap();
    file.write_all_at(b"?", first.offset).unwrap();
    let mut told = 0;
    let listed = store.list_notes(pack, 0, &mut |_, bytes| {
        told += usize::from(Note::decode(bytes).is_ok());
        Ok(())
    });
    assert_eq!((listed.unwrap(), told), (end, 3));
    assert!(matches!(store.read(first), Err(StoreError::Damaged { .. })), "and the record is damaged all the same");
    let index = MemIndex::default();
    index.commit(&CommitBatch::default()).unwrap();
    assert_eq!(recover(&store, &index).unwrap().instances, 3);
}

#[test]
fn a_pack_with_very_many_heads_is_full_and_one_with_more_has_none() {
    let (mut heads, mut many) = (Heads::new(), 0);
    let record = record_of(&[b"x"]);
    while !heads.is_full() {
        heads.record(&record);
        many += 1;
    }
    assert!(many > 50_000, "{many}");
    let end = many * u64::try_from(record.bytes().len()).unwrap();
    let id = PackId::from_bytes([9; 16]);
    let trailer = heads.trailer(id, end).unwrap();
    let len = end + u64::try_from(trailer.len()).unwrap();
    assert_eq!(Trailer::decode(id, 0, len, &trailer).unwrap().counts(), (many, 0));
    (0..many).for_each(|_| heads.record(&record));
    assert!(heads.is_full() && heads.trailer(id, end).is_none());
}
