//! A store as it was written once, opened by today's code. See `tests/fixtures/README.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgxfer_core::codec::Registry;
use imgxfer_core::depot::Depot;
use imgxfer_core::dicom::ReadAt;
use imgxfer_core::send::OtherFiles;
use imgxfer_core::server::Rights;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::{
    CheckOptions, FsOptions, InstancesOf, RecoverReport, Scope, SqliteIndex, StoredReader, check,
};
use imgxfer_core::transport::Identity;

use crate::harness::{Site, client_of, contents, depot_at, push, rows};

fn fixture(part: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-v3").join(part)
}

/// Writes the fixture anew: two sites have pushed the same study, and each one of its own.
async fn write() {
    let (store, input) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let spec = |seed| StudySpec::new(seed).with_size(24, 24);
    let folders: Vec<PathBuf> = ["both", "first", "second"].iter().map(|name| input.path().join(name)).collect();
    spec(1).with_instances(1, 2).write_to(&folders[0]).unwrap();
    spec(2).with_instances(2, 1).with_bits(8, 8).write_to(&folders[1]).unwrap();
    spec(3).with_instances(1, 1).with_frames(3).write_to(&folders[2]).unwrap();
    std::fs::write(folders[2].join("letter.txt"), "not DICOM\n".repeat(40)).unwrap();
    let site = Site::start(Identity::generate().unwrap(), depot_at(store.path()), Rights::all());
    for own in &folders[1..] {
        let (report, _) = push(&client_of(&site), &site, &[folders[0].clone(), own.clone()], OtherFiles::Send).await;
        assert!(report.unwrap().receipt.complete);
    }
    site.stop().await;
    std::fs::create_dir_all(fixture("originals")).unwrap();
    for (number, (_, file)) in contents(input.path()).into_iter().enumerate() {
        std::fs::copy(file, fixture("originals").join(format!("{number}"))).unwrap();
    }
    for part in ["packs", "store"] {
        copy(&store.path().join(part), &fixture("store").join(part));
    }
    // Closing it carries its log over.
    let index = input.path().join("index.db");
    for beside in ["", "-wal"] {
        let named = |folder: &Path| folder.join(format!("index.db{beside}"));
        std::fs::copy(named(store.path()), named(input.path())).unwrap();
    }
    drop(SqliteIndex::open(&index).unwrap());
    let packed = zstd::bulk::compress(&std::fs::read(index).unwrap(), 19).unwrap();
    std::fs::write(fixture("index.db.zst"), packed).unwrap();
}

/// Copies a file, or all files below a folder.
fn copy(from: &Path, to: &Path) {
    let files = if from.is_dir() { contents(from) } else { vec![(blake3::hash(b""), from.to_owned())] };
    for (_, file) in files {
        let to = if from.is_dir() { to.join(file.strip_prefix(from).unwrap()) } else { to.to_owned() };
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(file, to).unwrap();
    }
}

/// A copy of the store.
async fn store() -> tempfile::TempDir {
    if std::env::var_os("IMGXFER_WRITE_VECTORS").is_some() && !fixture("store").exists() {
        write().await;
    }
    let folder = tempfile::tempdir().unwrap();
    copy(&fixture("store"), folder.path());
    let index = zstd::bulk::decompress(&std::fs::read(fixture("index.db.zst")).unwrap(), 1 << 20).unwrap();
    std::fs::write(folder.path().join("index.db"), index).unwrap();
    folder
}

fn open(folder: &Path) -> (Depot, RecoverReport) {
    Depot::open(folder, FsOptions { reserve_bytes: Some(0), ..FsOptions::default() }, Registry::default()).unwrap()
}

/// How often each content is there, and the versions of all studies. Every instance is read back whole.
fn read_back(depot: &Depot) -> (BTreeMap<Vec<u8>, usize>, Vec<u64>) {
    let mut found = BTreeMap::new();
    let keys = depot.index.study_keys(None, 100).unwrap();
    for (owner, study) in keys {
        for instance in
            depot.index.instances(&Scope::owner(owner), &InstancesOf::all_versions(study), None, 100).unwrap()
        {
            let reader = StoredReader::of(Arc::clone(&depot.records), Registry::default(), instance).unwrap();
            let mut bytes = vec![0; usize::try_from(reader.len()).unwrap()];
            reader.read_exact_at(0, &mut bytes).unwrap();
            *found.entry(bytes).or_default() += 1;
        }
    }
    let rows = rows(depot.index.as_ref());
    (found, rows.iter().map(|row| row.version).collect())
}

#[tokio::test]
async fn a_store_that_was_written_once_gives_everything_back() {
    let folder = store().await;
    let originals: Vec<Vec<u8>> =
        contents(&fixture("originals")).iter().map(|(_, file)| std::fs::read(file).unwrap()).collect();
    assert_eq!(originals.len(), 6);
    for with_index in [true, false] {
        if !with_index {
            std::fs::remove_file(folder.path().join("index.db")).unwrap();
        }
        let (depot, report) = open(folder.path());
        assert_eq!(report.notes == 0, with_index, "{report:?}");
        assert_eq!((report.instances_missing, report.notes_damaged), (0, 0));
        let (found, versions) = read_back(&depot);
        assert_eq!(found.keys().collect::<BTreeSet<_>>(), originals.iter().collect(), "byte for byte");
        assert_eq!(found.values().sum::<usize>(), 8, "two of them from both owners");
        assert_eq!(versions, [1; 5], "all published: one study twice, two once, and what is not DICOM");
        let options = CheckOptions { read_data: true, ..CheckOptions::default() };
        let checked = check(&depot.records, depot.index.as_ref(), &options, &mut |_| true).unwrap();
        assert_eq!((checked.instances, checked.findings.len()), (8, 0), "{checked:?}");
    }
}
