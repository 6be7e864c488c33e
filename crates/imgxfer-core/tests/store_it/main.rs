//! Tests of the stores on real files and in the model that fails on purpose.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]
#![expect(clippy::print_stderr, reason = "how much was tried, and from which seeds")]

mod backfill;
mod crash;
mod disk;
mod folder;
mod golden;
mod packs;
mod prefixes;
mod props;
mod recode;
mod removal;
mod sqlite;
mod told;
mod trailer;

use std::sync::Arc;

use imgxfer_core::store::{FsOptions, FsRecords, MemIndex, MemRecords, SqliteIndex};
use imgxfer_core::testing::faulty::{Faults, FaultyIndex, FaultyRecords};
use imgxfer_core::testing::{index_suite, search_suite, store_suite};

/// Nothing kept back: test folders may be on a small file system.
fn options() -> FsOptions {
    FsOptions { reserve_bytes: Some(0), ..FsOptions::default() }
}

/// A store in a folder that goes with the test.
fn fs_store(folder: &tempfile::TempDir) -> FsRecords {
    FsRecords::open(folder.path(), options()).unwrap()
}

#[test]
fn memory_is_a_record_store() {
    store_suite(&|| Arc::new(MemRecords::default()));
    store_suite(&|| Arc::new(FaultyRecords::new(Faults::default())));
}

#[test]
fn a_folder_is_a_record_store() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    store_suite(&|| {
        count.set(count.get() + 1);
        Arc::new(FsRecords::open(&folder.path().join(count.get().to_string()), options()).unwrap())
    });
}

#[test]
fn memory_is_an_index() {
    index_suite(&|| Arc::new(MemIndex::default()));
    index_suite(&|| Arc::new(FaultyIndex::new(Faults::default(), false)));
}

#[test]
fn sqlite_answers_what_a_search_of_everything_answers() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 1..=3 {
        search_suite(&|| Arc::new(SqliteIndex::open(&folder.path().join(format!("{seed}.sqlite"))).unwrap()), seed);
    }
}

#[test]
fn sqlite_is_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    index_suite(&|| {
        count.set(count.get() + 1);
        Arc::new(SqliteIndex::open(&folder.path().join(format!("{}.sqlite", count.get()))).unwrap())
    });
}
