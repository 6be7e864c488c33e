//! What is damaged is found, is not counted as there, and is whole again when it is sent again. An index that is lost
//! or old takes nothing with it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use imgxfer_core::client::{PushOptions, RetryPolicy};
use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::codec::{Level, LevelChoice, Registry};
use imgxfer_core::depot::Depot;
use imgxfer_core::receive::DepotIntake;
use imgxfer_core::send::{FileSource, OtherFiles};
use imgxfer_core::server::Rights;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::{CheckOptions, CheckReport, Finding, FsOptions, Scope, check};
use imgxfer_core::transport::Identity;

use crate::harness::{Site, all_of, client_with, depot_at, flip, rows};

/// A site with a store on disk that files are pushed to, one start after the other.
struct Hospital {
    store: tempfile::TempDir,
    input: tempfile::TempDir,
    site: Identity,
    sender: Identity,
}

impl Hospital {
    fn new() -> Self {
        let (store, input) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        StudySpec::new(7).with_instances(2, 4).with_size(64, 64).write_to(input.path()).unwrap();
        Self { store, input, site: Identity::generate().unwrap(), sender: Identity::generate().unwrap() }
    }

    /// Pushes everything to the site as it starts; returns how many original bytes crossed the line.
    async fn push(&self) -> u64 {
        self.push_with(&PushOptions::default()).await
    }

    async fn push_at(&self, level: Level) -> u64 {
        self.push_with(&PushOptions::default().with_level(LevelChoice::Fixed(level))).await
    }

    async fn push_with(&self, options: &PushOptions) -> u64 {
        let site = Site::start(self.site.clone(), depot_at(self.store.path()), Rights::all());
        site.trust.pin(self.sender.peer_id());
        let client = client_with(self.sender.clone());
        let paths = [self.input.path().to_owned()];
        let source = || Box::new(FileSource::new(&paths, OtherFiles::Skip)) as _;
        let options = options.clone().with_retry(RetryPolicy::once());
        let report = client.push(&site.dial, source, &options, &|_: &_| {}).await.unwrap();
        assert!(report.receipt.complete, "{report:?}");
        site.stop().await;
        report.progress.payload_raw_bytes
    }

    fn packs(&self) -> Vec<PathBuf> {
        let shards = std::fs::read_dir(self.store.path().join("packs")).unwrap();
        let files = shards.flat_map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().path()).collect()
    }

    fn check(&self) -> CheckReport {
        let depot = depot_at(self.store.path());
        let options = CheckOptions { read_data: true, ..CheckOptions::default() };
        check(&depot.records, depot.index.as_ref(), &options, &mut |_| true).unwrap()
    }

    /// Instances, versions and damaged instances of the one study.
    fn holds(&self) -> (u64, u64, usize) {
        let depot = depot_at(self.store.path());
        let rows = rows(depot.index.as_ref());
        assert_eq!(rows.len(), 1);
        (rows[0].instances, rows[0].version, depot.index.damaged(100).unwrap().len())
    }
}

#[tokio::test]
async fn a_push_heals_exactly_what_is_rotten() {
    let hospital = Hospital::new();
    hospital.push().await;
    assert_eq!(hospital.push().await, 0, "everything is there");
    let (pack, at, rotten) = {
        let depot = depot_at(hospital.store.path());
        let instances = all_of(depot.index.as_ref(), &depot.index.study_keys(None, 1).unwrap()[0].1);
        // Frames stand with their neighbours, and headers with headers.
        let at = instances[3].chunks[2].record;
        let chunks = instances.iter().flat_map(|i| i.entry.chunks.iter().zip(&i.chunks));
        let rotten: HashMap<_, _> =
            chunks.filter(|(_, place)| place.record == at).map(|(chunk, _)| (chunk.id, u64::from(chunk.len))).collect();
        (hospital.packs().into_iter().find(|p| p.to_string_lossy().contains(&at.pack.to_string())).unwrap(), at, rotten)
    };
    flip(&pack, at.offset + u64::from(at.len) - 1);
    let found = hospital.check();
    assert!(found.findings.iter().any(Finding::is_loss), "{found:?}");
    assert!(hospital.holds().2 > 0, "and remembered");
    let rotten: u64 = rotten.values().sum();
    assert_eq!(hospital.push().await, rotten, "what stood in that record crosses the line, and nothing else");
    assert_eq!(hospital.holds(), (8, 1, 0), "whole again, and nothing twice");
    assert!(!hospital.check().findings.iter().any(Finding::is_loss));
    assert_eq!(hospital.push().await, 0, "nothing is left to heal");
    // The healed places count also for an index made anew.
    std::fs::remove_file(hospital.store.path().join("index.db")).unwrap();
    assert_eq!(hospital.holds(), (8, 1, 0));
    assert!(!hospital.check().findings.iter().any(Finding::is_loss));
}

/// Of a record that is stored as it is, one byte spoils one chunk; whoever reads another of it finds the record damaged
/// all the same. So all of it is sent again, whether the damage is known or found only now.
#[tokio::test]
async fn a_record_of_which_one_chunk_is_rotten_is_sent_again_whole() {
    for noted in [true, false] {
        let hospital = Hospital::new();
        hospital.push_at(Level::STORE).await;
        // In the middle of the longest record, which holds pixels of several instances.
        let (pack, at) = {
            let depot = depot_at(hospital.store.path());
            let instances = all_of(depot.index.as_ref(), &depot.index.study_keys(None, 1).unwrap()[0].1);
            let at =
                instances.iter().flat_map(|i| &i.chunks).map(|chunk| chunk.record).max_by_key(|at| at.len).unwrap();
            assert!(instances.iter().filter(|i| i.chunks.iter().any(|chunk| chunk.record == at)).count() > 1);
            (hospital.packs().into_iter().find(|p| p.to_string_lossy().contains(&at.pack.to_string())).unwrap(), at)
        };
        flip(&pack, at.offset + u64::from(at.len) / 2);
        if noted {
            hospital.check();
        }
        hospital.push_at(Level::STORE).await;
        if !noted {
            // Nobody looked: what is committed is taken for there until somebody does.
            hospital.check();
            hospital.push_at(Level::STORE).await;
        }
        assert_eq!(hospital.holds(), (8, 1, 0));
        let found = hospital.check();
        assert!(!found.findings.iter().any(Finding::is_loss), "{found:?}");
    }
}

/// What stands in a pack with a damaged header can be read while the index knows where it stands, and would be lost with
/// the index: so it is sent again.
#[tokio::test]
async fn what_stands_in_a_pack_with_a_damaged_header_is_sent_again() {
    let hospital = Hospital::new();
    hospital.push().await;
    let packs = hospital.packs();
    assert_eq!(packs.len(), 1);
    flip(&packs[0], 56);
    let found = hospital.check();
    assert!(!found.is_sound() && !found.findings.iter().any(Finding::is_loss), "{found:?}");
    assert_eq!(hospital.holds(), (8, 1, 8), "nothing is lost yet, and all of it has to be sent again");
    assert!(hospital.push().await > 0);
    assert_eq!(hospital.holds(), (8, 1, 0));
    let found = hospital.check();
    assert!(found.is_sound() && !found.is_clean(), "the pack remains, and nothing needs it: {found:?}");
    std::fs::remove_file(hospital.store.path().join("index.db")).unwrap();
    assert_eq!(hospital.holds(), (8, 1, 0));
}

/// Changes one row.
fn update(database: &rusqlite::Connection, change: &str) {
    assert_eq!(database.execute(&format!("UPDATE {change}"), []).unwrap(), 1);
}

/// Changes a text within the bytes of a column, where it stands last, in the first row.
fn replace(database: &rusqlite::Connection, table: &str, column: &str, from: &str, to: &str) {
    let sql = format!("SELECT {column} FROM {table} WHERE id = 1");
    let mut bytes: Vec<u8> = database.query_row(&sql, [], |row| row.get(0)).unwrap();
    let at = bytes.windows(from.len()).rposition(|window| window == from.as_bytes()).unwrap();
    bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    database.execute(&format!("UPDATE {table} SET {column} = ?1 WHERE id = 1"), [bytes]).unwrap();
}

/// A flipped bit in a row is no error of any database, and would show a study under another patient.
#[tokio::test]
async fn a_row_of_the_index_that_is_wrong_is_found_and_an_index_made_anew_is_right() {
    let hospital = Hospital::new();
    hospital.push().await;
    let index = hospital.store.path().join("index.db");
    let wrong = |report: &CheckReport| report.findings.iter().any(|f| matches!(f, Finding::Row { .. }));
    type Change = fn(&rusqlite::Connection);
    let changes: [(&str, Change); 18] = [
        ("patient", |database| replace(database, "studies", "summary", "Synthetic^Patient", "Somebody^Else_And")),
        ("modality", |database| replace(database, "studies", "summary", "CT", "MR")),
        ("patient of instances", |database| {
            replace(database, "headers", "attributes", "Synthetic^Patient", "Somebody^Else_And");
        }),
        ("instances", |database| update(database, "studies SET instance_count = instance_count + 1")),
        ("contents", |database| update(database, "studies SET content_count = content_count + 1")),
        ("series", |database| update(database, "studies SET series_count = series_count - 1")),
        ("bytes", |database| update(database, "studies SET bytes = bytes - 1")),
        ("what is current", |database| update(database, "instances SET current = 0 WHERE id = 3")),
        ("date", |database| update(database, "studies SET date = '19000101'")),
        ("conflicts", |database| update(database, "studies SET conflict_count = conflict_count + 1")),
        ("description of a series", |database| replace(database, "series", "attributes", "CT", "MR")),
        ("instances of a series", |database| update(database, "series SET instance_count = 0 WHERE id = 1")),
        ("key", |database| update(database, "study_keys SET value = 'Somebody' WHERE field = 1")),
        ("instances with a header", |database| {
            update(database, "headers SET instance_count = instance_count + 1 WHERE id = 1");
        }),
        ("newest with a header", |database| update(database, "headers SET newest = newest + 1 WHERE id = 1")),
        ("digest of a header", |database| update(database, "headers SET digest = x'00' WHERE id = 1")),
        ("pieces", |database| assert!(database.execute("DELETE FROM study_pieces", []).is_ok())),
        ("transfer syntax", |database| update(database, "instances SET transfer_syntax = '1.2' WHERE id = 2")),
    ];
    for (change, make) in changes {
        assert!(hospital.check().is_clean(), "before: {change}");
        make(&rusqlite::Connection::open(&index).unwrap());
        let found = hospital.check();
        assert!(
            wrong(&found) && !found.is_sound() && !found.findings.iter().any(Finding::is_loss),
            "{change}: {found:?}"
        );
        std::fs::remove_file(&index).unwrap();
        assert_eq!(hospital.holds(), (8, 1, 0));
    }
}

#[tokio::test]
async fn a_push_that_proves_finds_what_is_rotten_by_itself() {
    let hospital = Hospital::new();
    let proving = PushOptions::default().with_proof(true);
    hospital.push().await;
    assert_eq!(hospital.push_with(&proving).await, 0, "all of it is whole");
    assert_eq!(hospital.holds(), (8, 1, 0));
    assert!(hospital.check().is_clean());
    let instances = {
        let depot = depot_at(hospital.store.path());
        let study = depot.index.study_keys(None, 1).unwrap().remove(0).1;
        all_of(depot.index.as_ref(), &study)
    };
    let at = instances[3].chunks[2].record;
    let chunks = instances.iter().flat_map(|i| i.entry.chunks.iter().zip(&i.chunks));
    let rotten: HashMap<_, _> =
        chunks.filter(|(_, place)| place.record == at).map(|(chunk, _)| (chunk.id, u64::from(chunk.len))).collect();
    let pack = hospital.packs().into_iter().find(|p| p.to_string_lossy().contains(&at.pack.to_string())).unwrap();
    flip(&pack, at.offset + u64::from(at.len) - 1);
    assert_eq!(hospital.push().await, 0, "nobody has looked");
    assert_eq!(hospital.push_with(&proving).await, rotten.values().sum::<u64>(), "exactly that crosses the line");
    assert_eq!(hospital.holds(), (8, 1, 0), "healed, and no version more");
    assert!(hospital.check().is_sound());
    assert_eq!(hospital.push_with(&proving).await, 0);
    std::fs::remove_file(hospital.store.path().join("index.db")).unwrap();
    assert_eq!(hospital.holds(), (8, 1, 0));
    assert!(hospital.check().is_sound());
}

/// The bytes of its chunks are right, and yet the record cannot be read any more: it may not count as read back.
#[tokio::test]
async fn a_record_whose_check_is_rotten_is_sent_again() {
    for options in [PushOptions::default(), PushOptions::default().with_proof(true)] {
        let hospital = Hospital::new();
        hospital.push().await;
        let (at, study) = {
            let depot = depot_at(hospital.store.path());
            let study = depot.index.study_keys(None, 1).unwrap().remove(0).1;
            (all_of(depot.index.as_ref(), &study)[3].chunks[2].record, study)
        };
        let pack = hospital.packs().into_iter().find(|p| p.to_string_lossy().contains(&at.pack.to_string())).unwrap();
        flip(&pack, at.offset + 16);
        if !options.prove {
            assert!(hospital.check().findings.iter().any(Finding::is_loss));
        }
        assert!(hospital.push_with(&options).await > 0);
        assert_eq!(hospital.holds(), (8, 1, 0));
        let stands = all_of(depot_at(hospital.store.path()).index.as_ref(), &study);
        assert!(stands.iter().flat_map(|i| &i.chunks).all(|chunk| chunk.record != at), "nothing stands in it any more");
        let found = hospital.check();
        assert!(found.is_sound(), "{found:?}");
    }
}

#[tokio::test]
async fn a_lost_index_is_made_anew_from_the_packs() {
    let hospital = Hospital::new();
    hospital.push().await;
    let index = hospital.store.path().join("index.db");
    // Moved aside, damaged, or the index of another store.
    std::fs::rename(&index, hospital.store.path().join("aside")).unwrap();
    assert_eq!(hospital.holds(), (8, 1, 0), "moved aside");
    std::fs::write(&index, vec![0x5a; 20_000]).unwrap();
    assert_eq!(hospital.holds(), (8, 1, 0), "damaged");
    let other = Hospital::new();
    other.push().await;
    drop(depot_at(other.store.path()));
    for beside in ["index.db", "index.db-wal", "index.db-shm"] {
        drop(std::fs::remove_file(hospital.store.path().join(beside)));
        drop(std::fs::copy(other.store.path().join(beside), hospital.store.path().join(beside)));
    }
    assert_eq!(hospital.holds(), (8, 1, 0), "another store's");
    // Collecting right away takes nothing: all packs are in use.
    let before = hospital.packs().len();
    let report = depot_at(hospital.store.path()).collect(UnixSeconds(i64::MAX)).unwrap();
    assert_eq!(report.packs_removed, 0);
    assert_eq!(hospital.packs().len(), before);
    assert!(hospital.check().is_clean());
    assert_eq!(hospital.push().await, 0, "nothing need be sent again");
}

#[tokio::test]
async fn an_older_index_learns_what_it_does_not_know() {
    let hospital = Hospital::new();
    let older = tempfile::tempdir().unwrap();
    let first = hospital.input.path().join("later");
    std::fs::create_dir(&first).unwrap();
    hospital.push().await;
    let copy = older.path().join("index.db");
    drop(depot_at(hospital.store.path()));
    std::fs::copy(hospital.store.path().join("index.db"), &copy).unwrap();
    StudySpec::new(8).with_instances(1, 3).with_size(64, 64).write_to(&first).unwrap();
    hospital.push().await;
    for beside in ["-wal", "-shm"] {
        drop(std::fs::remove_file(hospital.store.path().join(format!("index.db{beside}"))));
    }
    std::fs::copy(&copy, hospital.store.path().join("index.db")).unwrap();
    let depot = depot_at(hospital.store.path());
    assert_eq!(depot.collect(UnixSeconds(i64::MAX)).unwrap().packs_removed, 0);
    let rows = rows(depot.index.as_ref());
    let mut counts: Vec<_> = rows.iter().map(|row| (row.instances, row.version > 0)).collect();
    counts.sort_unstable();
    assert_eq!(counts, [(3, true), (8, true)]);
    drop(depot);
    assert!(hospital.check().is_clean());
}

#[tokio::test]
async fn packs_alone_are_a_store() {
    let hospital = Hospital::new();
    hospital.push().await;
    let machine = tempfile::tempdir().unwrap();
    for pack in hospital.packs() {
        let target = machine.path().join(pack.strip_prefix(hospital.store.path()).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&pack, &target).unwrap();
    }
    let (depot, report) = Depot::open(machine.path(), FsOptions::default(), Registry::default()).unwrap();
    assert_eq!((report.instances, report.instances_missing, report.notes_damaged), (8, 0, 0));
    assert_eq!(depot.records.store_id(), depot_at(hospital.store.path()).records.store_id(), "the same store");
    let options = CheckOptions { read_data: true, ..CheckOptions::default() };
    let found = check(&depot.records, depot.index.as_ref(), &options, &mut |_| true).unwrap();
    assert!(found.is_clean() && found.instances == 8, "{found:?}");
}

#[tokio::test]
async fn collection_and_resumption_see_each_other() {
    let hospital = Hospital::new();
    let depot = depot_at(hospital.store.path());
    let owner = hospital.sender.peer_id();
    let scope = Scope::owner(owner);
    let leave = || {
        use imgxfer_core::receive::Intake;
        let intake = DepotIntake::new(&depot, owner, scope.clone()).unwrap();
        intake.keep(&imgxfer_core::testing::record_of(&[b"left by somebody"])).unwrap().pack
    };
    let pack = leave();
    let resumed = Arc::new(DepotIntake::new(&depot, owner, scope.clone()).unwrap());
    assert_eq!(depot.collect(UnixSeconds(i64::MAX)).unwrap().packs_removed, 0, "a transfer has found it");
    drop(resumed);
    // Marked by a collection that is slow to remove it.
    assert!(depot.index.doom(pack).unwrap());
    let late = DepotIntake::new(&depot, owner, scope.clone()).unwrap();
    assert_eq!(depot.collect(UnixSeconds(i64::MAX)).unwrap().packs_removed, 1, "passed over, so it goes");
    drop(late);
}
