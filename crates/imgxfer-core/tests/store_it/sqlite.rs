//! The SQLite index on real files: durability across reopening, damage, versions, speed.

use std::os::unix::fs::{FileExt, PermissionsExt};

use imgxfer_core::clock::{Stopwatch, UnixSeconds};
use imgxfer_core::dicom::tags;
use imgxfer_core::ids::PeerId;
use imgxfer_core::store::search::Search;
use imgxfer_core::store::{
    CommitBatch, Held, Index, InstancesOf, MemIndex, Provenance, Scope, SqliteIndex, StoreError, StoredInstance,
};
use imgxfer_core::testing::{Sample, peer, study};

fn batch(range: std::ops::Range<u64>, study: impl Fn(u64) -> u64) -> CommitBatch {
    let instances = range.map(|n| Sample::new(peer(1), study(n), 0, n, 300).stored()).collect();
    CommitBatch { instances, at: UnixSeconds(1), ..CommitBatch::default() }
}

/// What scopes by source go by is compared with the arrivals that it repeats.
#[test]
fn rows_that_say_what_came_by_which_source_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let changes = [
        "UPDATE study_sources SET contents = contents + 1",
        "UPDATE study_sources SET date = '19000101' WHERE source = 2",
        "UPDATE study_sources SET newest = 1",
        "DELETE FROM study_sources WHERE source = 1",
        "DELETE FROM arrivals WHERE instance = 2",
        "UPDATE provenances SET source = 2 WHERE id = 1",
        "UPDATE studies SET aside = x''",
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let path = folder.path().join(number.to_string());
        let index = SqliteIndex::open(&path).unwrap();
        for (source, patient) in [("inbox:/a", "P1"), ("ae:B", "P2")] {
            let contents = (1..3).map(|sop| {
                let mut sample = Sample::new(PeerId::SELF, 1, 0, sop, 300);
                sample.bytes.extend(source.bytes());
                let attributes = sample.stored().attributes.with(tags::PATIENT_ID, patient);
                StoredInstance { order: index.reserve(1).unwrap().first, ..sample.stored_with(attributes) }
            });
            let (instances, provenance) = (contents.collect(), Some(Provenance::of(source)));
            index.commit(&CommitBatch { instances, provenance, at: UnixSeconds(7), ..CommitBatch::default() }).unwrap();
        }
        assert!(index.contradictions(PeerId::SELF, &study(1)).unwrap().is_empty());
        drop(index);
        assert!(rusqlite::Connection::open(&path).unwrap().execute(change, []).unwrap() > 0, "{change}");
        let wrong = SqliteIndex::open(&path).unwrap().contradictions(PeerId::SELF, &study(1)).unwrap();
        assert!(!wrong.is_empty(), "{change}");
    }
}

/// What many of the newest studies do not answer is looked for in another way, and each row comes once.
#[test]
fn answers_from_behind_the_newest_studies_have_each_row_once() {
    let folder = tempfile::tempdir().unwrap();
    let (index, naive) = (SqliteIndex::open(&folder.path().join("index.sqlite")).unwrap(), MemIndex::default());
    let instances = (0..1_300_u64).map(|n| {
        let name = match n {
            3 | 7 | 900 | 1_299 => "ROE^JANE=山田^花子",
            _ if n % 2 == 0 => "DOE^JOHN",
            _ => "ROE^JOHN",
        };
        let sample = Sample::new(peer(1), n, 0, n, 300);
        let date = format!("{}{:02}{:02}", 2000 + n / 336, n / 28 % 12 + 1, n % 28 + 1);
        sample.stored_with(sample.stored().attributes.with(tags::PATIENT_NAME, name).with(tags::STUDY_DATE, date))
    });
    let batch = CommitBatch { instances: instances.collect(), at: UnixSeconds(1), ..CommitBatch::default() };
    index.commit(&batch).unwrap();
    naive.commit(&batch).unwrap();
    for (name, limit, rows) in [
        ("ROE^JANE", 100, 4),
        ("山田^花子", 100, 4),
        ("roe^jane=山田^花子", 3, 3),
        ("DOE^JOHN", 500, 500),
        ("DO*", 300, 300),
        ("DO*", 10, 10),
        ("ROE^J", 10, 0),
        ("*jane*", 2, 2),
    ] {
        let search = Search { limit, ..Search::default().by(tags::PATIENT_NAME, name).unwrap() };
        let found = index.find(&Scope::All, &search).unwrap();
        assert_eq!(found.rows.len(), rows, "{name}");
        assert_eq!(found, naive.find(&Scope::All, &search).unwrap(), "{name}");
    }
}

#[test]
fn commits_are_there_when_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sub/index.sqlite");
    let index = SqliteIndex::open(&path).unwrap();
    index.commit(&batch(0..10, |_| 1)).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode & !0o640, 0, "not for everyone");
    let mode = std::fs::metadata(path.with_extension("sqlite-wal")).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode & !0o640, 0, "the files beside it neither");
    drop(index);
    let index = SqliteIndex::open(&path).unwrap();
    assert_eq!(index.instances(&Scope::All, &InstancesOf::study(study(1)), None, 100).unwrap().len(), 10);
    index.check().unwrap();
}

#[test]
fn a_database_that_cannot_be_opened_for_a_while_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, aside) = (folder.path().join("index.sqlite"), folder.path().join("aside"));
    let index = SqliteIndex::open(&path).unwrap();
    index.commit(&batch(0..1, |_| 1)).unwrap();
    // As with too many open files: a reader opens a connection of its own.
    std::fs::rename(&path, &aside).unwrap();
    let error = index.find(&Scope::All, &Search::default()).unwrap_err();
    assert!(error.is_transient(), "{error}");
    std::fs::rename(&aside, &path).unwrap();
    assert_eq!(index.find(&Scope::All, &Search::default()).unwrap().rows.len(), 1);
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.sqlite");
    drop(SqliteIndex::open(&path).unwrap());
    // user_version stands at offset 60 of the file (SQLite file format, section 1.3).
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&2u32.to_be_bytes(), 60).unwrap();
    assert!(matches!(SqliteIndex::open(&path), Err(StoreError::Version { found: 2, known: 1 })));
}

#[test]
fn a_damaged_or_foreign_file_is_refused_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.sqlite");
    std::fs::write(&path, vec![b'x'; 8192]).unwrap();
    let message = SqliteIndex::open(&path).unwrap_err().to_string();
    assert!(message.contains("makes it anew from the packs"), "{message}");
    std::fs::remove_file(&path).unwrap();
    let index = SqliteIndex::open(&path).unwrap();
    index.commit(&batch(0..200, |n| n)).unwrap();
    drop(index);
    // Every page but the first is lost.
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let len = file.metadata().unwrap().len();
    file.write_all_at(&vec![0xff; usize::try_from(len - 4096).unwrap()], 4096).unwrap();
    let error = SqliteIndex::open(&path).and_then(|index| {
        index.check()?;
        index.find(&Scope::All, &Search::default()).map(drop)
    });
    let message = error.unwrap_err().to_string();
    assert!(message.contains("damaged"), "{message}");
    assert!(!message.contains("Test^Patient"), "{message}");
}

/// Prints how fast commits and lists are; fails only when something is far off.
#[test]
fn large_studies_and_long_lists_are_quick() {
    let folder = tempfile::tempdir().unwrap();
    let index = SqliteIndex::open(&folder.path().join("index.sqlite")).unwrap();
    let batches = [batch(0..5000, |_| 1), batch(5000..10_000, |_| 1)];
    let spread = batch(0..10_000, |n| 10 + n);
    let watch = Stopwatch::start();
    for batch in &batches {
        index.commit(batch).unwrap();
    }
    println!("10,000 instances of one study: {:?}", watch.elapsed());
    let watch = Stopwatch::start();
    index.commit(&spread).unwrap();
    println!("10,000 studies of one instance: {:?}", watch.elapsed());
    index.find(&Scope::All, &Search::default()).unwrap();
    let watch = Stopwatch::start();
    let rows = index.find(&Scope::All, &Search::default()).unwrap().rows;
    let listed = watch.elapsed();
    println!("{} studies listed: {listed:?}", rows.len());
    let hashes: Vec<_> = batches[0].instances.iter().map(|i| i.entry.hash).collect();
    let watch = Stopwatch::start();
    assert!(index.has(&Scope::All, &study(1), &hashes).unwrap().into_iter().all(|held| held == Held::Current));
    println!("5,000 contents looked up: {:?}", watch.elapsed());
    assert_eq!(rows.len(), 10_001);
    assert!(listed.as_secs() < 2, "{listed:?}");
}
