//! Packs on real files: torn tails, flipped bytes, locks, versions, space.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use imgxfer_core::ids::PackId;
use imgxfer_core::store::fs::{PACK_HEADER_BYTES, PackHeader};
use imgxfer_core::store::{
    CheckOptions, CheckReport, CommitBatch, FileBytes, Finding, FsOptions, FsRecords, Index, MemIndex, OpenError,
    RecordAt, RecordStore, Scrub, ScrubStep, StoreError, check,
};
use imgxfer_core::testing::{Sample, noise, peer, record_of};

use crate::{fs_store, options};

fn path_of(folder: &tempfile::TempDir, pack: PackId) -> PathBuf {
    folder.path().join("packs").join(&pack.to_string()[..2]).join(format!("{pack}.pack"))
}

/// A synced pack of `count` records of 300 bytes, with the place of each.
fn pack_of(store: &FsRecords, count: u64) -> Vec<RecordAt> {
    let mut pack = store.create_pack(peer(1)).unwrap();
    let places = (0..count).map(|i| pack.append(&record_of(&[&noise(i, 300)])).unwrap()).collect();
    pack.sync().unwrap();
    places
}

fn full_check(records: &Arc<dyn RecordStore>, index: &MemIndex) -> CheckReport {
    let options = CheckOptions { read_data: true, ..CheckOptions::default() };
    check(records, index, &options, &mut |_| true).unwrap()
}

#[test]
fn what_was_synced_is_there_when_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let places = pack_of(&fs_store(&folder), 5);
    let store = fs_store(&folder);
    let packs = store.packs().unwrap();
    assert_eq!((packs.len(), packs[0].owner, packs[0].id), (1, peer(1), places[0].pack));
    for (i, at) in (0..).zip(&places) {
        assert_eq!(store.read(*at).unwrap(), record_of(&[&noise(i, 300)]));
    }
}

#[test]
fn files_and_folders_are_not_for_everyone() {
    let folder = tempfile::tempdir().unwrap();
    let places = pack_of(&fs_store(&folder), 1);
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let pack = path_of(&folder, places[0].pack);
    assert_eq!(mode(pack.clone()) & !0o640, 0);
    assert_eq!(mode(pack.parent().unwrap().to_owned()) & !0o750, 0);
}

#[test]
fn a_torn_tail_at_every_byte_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let places = pack_of(&fs_store(&folder), 3);
    let path = path_of(&folder, places[0].pack);
    let last = places[2];
    let whole = std::fs::read(&path).unwrap();
    for cut in last.offset..last.offset + u64::from(last.len) {
        for tail in [0, 1] {
            // Cut off, or the rest left as zeros.
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(cut).unwrap();
            if tail == 1 {
                file.set_len(last.offset + u64::from(last.len)).unwrap();
            }
            let store = fs_store(&folder);
            for check in [false, true] {
                let mut seen = Vec::new();
                let end = store.scan(last.pack, check, &mut |at, _| seen.push(at)).unwrap();
                if check || tail == 0 {
                    assert_eq!((&seen[..], end), (&places[..2], last.offset), "cut at {cut}");
                }
            }
            assert!(matches!(store.read(last), Err(StoreError::Damaged { .. })), "cut at {cut}");
            std::fs::write(&path, &whole).unwrap();
        }
    }
}

#[test]
fn every_flipped_byte_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let index = MemIndex::default();
    let store: Arc<dyn RecordStore> = Arc::new(fs_store(&folder));
    let mut pack = store.create_pack(peer(1)).unwrap();
    let sample = |sop| Sample::new(peer(1), 1, 1, sop, 400);
    let instances: Vec<_> = (0..3).map(|sop| sample(sop).append_to(&mut *pack).unwrap()).collect();
    pack.sync().unwrap();
    index.commit(&CommitBatch { instances, ..CommitBatch::default() }).unwrap();
    let path = path_of(&folder, pack.id());
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    assert!(full_check(&store, &index).is_clean(), "sound before");
    for (offset, byte) in (0..).zip(&whole) {
        for flip in [0x01, 0x80, 0xff] {
            file.write_all_at(&[byte ^ flip], offset).unwrap();
            let report = full_check(&store, &index);
            assert!(!report.is_clean(), "byte {offset} with {flip:#x}");
            let in_header = offset < u64::try_from(PACK_HEADER_BYTES).unwrap();
            let losses = report.findings.iter().filter(|f| f.is_loss()).count();
            assert_eq!(losses, usize::from(!in_header), "exactly what is gone: byte {offset} with {flip:#x}");
        }
        file.write_all_at(&[*byte], offset).unwrap();
    }
    assert!(full_check(&store, &index).is_clean(), "sound after");
}

#[test]
fn a_damaged_record_in_the_middle_is_told_from_a_torn_tail() {
    let folder = tempfile::tempdir().unwrap();
    let places = pack_of(&fs_store(&folder), 3);
    let file = OpenOptions::new().write(true).open(path_of(&folder, places[0].pack)).unwrap();
    file.write_all_at(b"?", places[1].offset + 100).unwrap();
    let store = fs_store(&folder);
    let result = store.scan(places[0].pack, true, &mut |_, _| {});
    assert!(matches!(result, Err(StoreError::Damaged { offset, .. }) if offset == places[1].offset));
    let store: Arc<dyn RecordStore> = Arc::new(store);
    let report = full_check(&store, &MemIndex::default());
    assert!(matches!(&report.findings[..], [Finding::Remains { at, .. }] if *at == places[1]), "{report:?}");
}

#[test]
fn a_scrub_reads_everything_once_and_notes_what_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let index = MemIndex::default();
    let store = fs_store(&folder);
    let mut pack = store.create_pack(peer(1)).unwrap();
    let mut instances = Vec::new();
    for study in 1..=3 {
        instances.extend((1..=2).map(|sop| Sample::new(peer(1), study, 1, sop, 400).append_to(&mut *pack).unwrap()));
    }
    pack.sync().unwrap();
    let all: HashSet<RecordAt> = instances.iter().flat_map(|i| &i.chunks).map(|chunk| chunk.record).collect();
    let rotten = instances[3].chunks[0].record;
    index.commit(&CommitBatch { instances, ..CommitBatch::default() }).unwrap();
    let file = OpenOptions::new().write(true).open(path_of(&folder, pack.id())).unwrap();
    file.write_all_at(b"?", rotten.offset + u64::from(rotten.len) - 1).unwrap();
    let pass = |scrub: &mut Scrub, until: &dyn Fn(&ScrubStep) -> bool| {
        let (mut bytes, mut damaged, mut studies) = (0, Vec::new(), Vec::new());
        loop {
            let step = scrub.step(&store, &index).unwrap();
            let is_last = until(&step);
            match step {
                ScrubStep::Whole { bytes: read } => bytes += read,
                ScrubStep::Damaged { at, instances, .. } => damaged.push((at, instances)),
                ScrubStep::Study(key) => studies.push(key),
                _ => return (bytes, damaged, studies),
            }
            if is_last {
                return (bytes, damaged, studies);
            }
        }
    };
    let len = |records: &HashSet<RecordAt>| records.iter().map(|at| u64::from(at.len)).sum::<u64>();
    let whole = len(&all) - u64::from(rotten.len);
    let (first, _, studies) = pass(&mut Scrub::new(None), &|step| matches!(step, ScrubStep::Study(_)));
    // Taken up where it stopped.
    let (rest, damaged, _) = pass(&mut Scrub::new(studies.into_iter().next()), &|_| false);
    assert_eq!((first + rest, &damaged[..]), (whole, &[(rotten, 1)][..]));
    assert_eq!(index.damaged(10).unwrap().len(), 1);
    let mut again = Scrub::new(None);
    for _ in 0..2 {
        let (bytes, damaged, studies) = pass(&mut again, &|_| false);
        assert_eq!((bytes, damaged.len(), studies.len()), (whole, 0, 3), "told once");
    }
}

/// What a crash leaves behind the last sync is harmless; what it cannot have touched is not.
#[test]
fn a_check_tells_a_torn_end_from_damage() {
    let folder = tempfile::tempdir().unwrap();
    let index = MemIndex::default();
    let store: Arc<dyn RecordStore> = Arc::new(fs_store(&folder));
    let mut pack = store.create_pack(peer(1)).unwrap();
    let id = pack.id();
    let instances = vec![Sample::new(peer(1), 1, 1, 1, 400).append_to(&mut *pack).unwrap()];
    pack.sync().unwrap();
    index.commit(&CommitBatch { instances, ..CommitBatch::default() }).unwrap();
    let at = pack.append(&record_of(&[&noise(9, 300)])).unwrap();
    drop(pack);
    let path = path_of(&folder, id);
    let whole = std::fs::read(&path).unwrap();
    let start = usize::try_from(at.offset).unwrap();
    let torn =
        |report: &CheckReport| matches!(report.findings[..], [Finding::Tail { offset, .. }] if offset == at.offset);
    assert!(full_check(&store, &index).is_clean());

    std::fs::write(&path, &whole[..start + 100]).unwrap();
    let report = full_check(&store, &index);
    assert!(torn(&report) && report.is_sound() && !report.is_clean(), "cut off: {report:?}");
    // Its length has arrived and its content has not.
    let mut zeros = whole.clone();
    zeros[start + 100..].fill(0);
    std::fs::write(&path, zeros).unwrap();
    let report = full_check(&store, &index);
    assert!(torn(&report) && report.is_sound(), "zeros: {report:?}");

    // A note that was made durable, and that nobody needs while there is an index.
    let whole = [&whole[..], b"IXN2 and what stands in a note"].concat();
    index.note(id, u64::try_from(whole.len()).unwrap()).unwrap();
    std::fs::write(&path, &whole).unwrap();
    let report = full_check(&store, &index);
    assert!(!report.is_sound() && !report.findings.iter().any(Finding::is_loss), "damage: {report:?}");
    std::fs::write(&path, &whole[..start]).unwrap();
    assert!(!full_check(&store, &index).is_sound(), "cut off too early");
}

#[test]
fn packs_without_a_header_are_dropped_and_damaged_ones_kept() {
    let folder = tempfile::tempdir().unwrap();
    let places = pack_of(&fs_store(&folder), 1);
    let pack = path_of(&folder, places[0].pack);
    let empty = path_of(&folder, PackId::from_bytes([7; 16]));
    for len in [0, 1, PACK_HEADER_BYTES - 1] {
        std::fs::write(&empty, vec![0; len]).unwrap();
        assert_eq!(fs_store(&folder).packs().unwrap().len(), 1);
        assert!(!empty.exists(), "never synced, so nothing in it");
    }
    OpenOptions::new().write(true).open(&pack).unwrap().write_all_at(b"?", 10).unwrap();
    let store = fs_store(&folder);
    let packs = store.packs().unwrap();
    assert_eq!((packs.len(), packs[0].owner), (1, peer(0)), "listed, but nobody's");
    store.read(places[0]).unwrap();
}

#[test]
fn one_process_writes() {
    let folder = tempfile::tempdir().unwrap();
    let store = fs_store(&folder);
    let places = pack_of(&store, 1);
    assert!(matches!(FsRecords::open(folder.path(), options()), Err(StoreError::Locked)));
    let reader = FsRecords::open(folder.path(), FsOptions { read_only: true, ..options() }).unwrap();
    reader.read(places[0]).unwrap();
    reader.create_pack(peer(1)).unwrap_err();
    reader.delete(places[0].pack).unwrap_err();
    drop(store);
    FsRecords::open(folder.path(), options()).unwrap();
}

#[test]
fn a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let places = pack_of(&fs_store(&folder), 1);
    let path = path_of(&folder, places[0].pack);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4] = 4;
    let check = blake3_8(&bytes[..88]);
    bytes[88..96].copy_from_slice(&check);
    std::fs::write(&path, &bytes).unwrap();
    let result = FsRecords::open(folder.path(), options());
    assert!(matches!(result, Err(StoreError::Version { found: 4, known: 3 })));
}

fn blake3_8(bytes: &[u8]) -> [u8; 8] {
    let id = imgxfer_core::ids::ChunkId::of(bytes);
    id.as_bytes()[..8].try_into().unwrap()
}

#[test]
fn a_full_disk_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let options = FsOptions { reserve_bytes: Some(u64::MAX), ..FsOptions::default() };
    let store = FsRecords::open(folder.path(), options).unwrap();
    assert_eq!(store.space_left(), Some(0));
    assert!(matches!(store.create_pack(peer(1)), Err(StoreError::Full { .. })));
    assert!(store.packs().unwrap().is_empty());
}

#[test]
fn only_files_are_opened_as_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert!(matches!(FileBytes::open(folder.path()), Err(OpenError::Kind { kind: "a folder" })));
    assert!(matches!(FileBytes::open(&at("nothing")), Err(OpenError::Io(_))));
    assert!(matches!(FileBytes::open("/dev/null".as_ref()), Err(OpenError::Kind { kind: "a device" })));
    let made = std::process::Command::new("mkfifo").arg(at("fifo")).status().is_ok_and(|s| s.success());
    if made {
        assert!(matches!(FileBytes::open(&at("fifo")), Err(OpenError::Kind { kind: "a FIFO" })));
    }
    std::fs::write(at("file"), b"content").unwrap();
    std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
    assert!(matches!(FileBytes::open_no_follow(&at("link")), Err(OpenError::Kind { kind: "a symbolic link" })));
    FileBytes::open(&at("link")).unwrap();
    let file = FileBytes::open(&at("file")).unwrap();
    assert!(file.unchanged().unwrap());
    std::fs::write(at("file"), b"longer content").unwrap();
    assert!(!file.unchanged().unwrap());
}

#[test]
fn the_header_is_read_by_its_own_reader() {
    let folder = tempfile::tempdir().unwrap();
    let places = pack_of(&fs_store(&folder), 1);
    let file = FileBytes::open(&path_of(&folder, places[0].pack)).unwrap();
    let header = PackHeader::read(&file).unwrap();
    assert_eq!((header.id, header.owner), (places[0].pack, peer(1)));
}

/// `IMGXFER_SMALL_FS=/mnt/small cargo test ... -- --ignored`: a file system of a little over 16 MiB,
/// such as tmpfs with `size=24m`.
#[test]
#[ignore = "needs a small file system"]
fn a_really_full_disk_loses_nothing_synced() {
    let folder = tempfile::tempdir_in(std::env::var_os("IMGXFER_SMALL_FS").unwrap()).unwrap();
    // statvfs must not be what stops it: the kernel's own answer is what is tested here.
    let store = FsRecords::open(folder.path(), FsOptions { reserve_bytes: Some(0), ..options() }).unwrap();
    let pack = store.create_pack(peer(1));
    if matches!(pack, Err(StoreError::Full { .. })) {
        panic!("the file system is smaller than the 16 MiB that a pack asks for at first");
    }
    let mut pack = pack.unwrap();
    let filler = std::fs::File::create(folder.path().join("filler")).unwrap();
    let left = store.space_left().unwrap();
    filler.write_all_at(&vec![1; usize::try_from(left - (3 << 20)).unwrap()], 0).unwrap();
    let mut places = Vec::new();
    let error = loop {
        match pack.append(&record_of(&[&noise(places.len() as u64, 300_000)])) {
            Ok(at) => places.push(at),
            Err(e) => break e,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    pack.append(&record_of(&[b"small"])).unwrap_err();
    pack.sync().unwrap();
    drop((pack, store, filler));
    std::fs::remove_file(folder.path().join("filler")).unwrap();
    let store = fs_store(&folder);
    places.iter().for_each(|at| drop(store.read(*at).unwrap()));
    store.create_pack(peer(1)).unwrap().append(&record_of(&[b"room again"])).unwrap();
}
