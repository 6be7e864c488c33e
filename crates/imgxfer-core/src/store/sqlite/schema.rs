//! The tables, and how an older database is brought up to date.

use rusqlite::Connection;

use super::error::index_error;
use crate::store::StoreError;

/// Tells our databases from others: "ixfr".
const APPLICATION_ID: i32 = 0x6978_6672;

/// Each step brings the schema from the version that is its place in the list to the next.
/// A step that was released never changes.
const STEPS: [&str; 1] = ["
CREATE TABLE store (
    id BLOB NOT NULL
) STRICT;

CREATE TABLE owners (
    id INTEGER PRIMARY KEY,
    peer BLOB NOT NULL UNIQUE
) STRICT;

CREATE TABLE studies (
    id INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL REFERENCES owners (id),
    uid TEXT NOT NULL,
    patient_id TEXT NOT NULL DEFAULT '',
    patient_name TEXT NOT NULL DEFAULT '',
    accession_number TEXT NOT NULL DEFAULT '',
    study_date TEXT NOT NULL DEFAULT '',
    study_time TEXT NOT NULL DEFAULT '',
    study_description TEXT NOT NULL DEFAULT '',
    modality TEXT NOT NULL DEFAULT '',
    series_description TEXT NOT NULL DEFAULT '',
    series_number TEXT NOT NULL DEFAULT '',
    instance_number TEXT NOT NULL DEFAULT '',
    modalities TEXT NOT NULL DEFAULT '',
    series_count INTEGER NOT NULL DEFAULT 0,
    instance_count INTEGER NOT NULL DEFAULT 0,
    conflict_count INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 0,
    arriving INTEGER NOT NULL DEFAULT 0,
    root BLOB,
    updated INTEGER NOT NULL,
    UNIQUE (uid, owner)
) STRICT;
CREATE INDEX studies_by_date ON studies (study_date DESC, uid);
CREATE INDEX studies_by_patient ON studies (patient_id);
CREATE INDEX studies_by_accession ON studies (accession_number);

CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    study INTEGER NOT NULL REFERENCES studies (id),
    uid TEXT NOT NULL,
    UNIQUE (study, uid)
) STRICT;

CREATE TABLE instances (
    id INTEGER PRIMARY KEY,
    study INTEGER NOT NULL REFERENCES studies (id),
    series INTEGER NOT NULL REFERENCES series (id),
    sop_instance TEXT NOT NULL,
    sop_class TEXT NOT NULL,
    transfer_syntax TEXT NOT NULL,
    hash BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    committed INTEGER NOT NULL,
    damaged INTEGER NOT NULL DEFAULT 0,
    recipe BLOB NOT NULL,
    UNIQUE (series, sop_instance, hash)
) STRICT;
CREATE INDEX instances_by_sop ON instances (study, sop_instance, hash);
CREATE INDEX instances_by_hash ON instances (study, hash);
CREATE INDEX instances_damaged ON instances (id) WHERE damaged;

CREATE TABLE pages (
    id INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL REFERENCES owners (id),
    hash BLOB NOT NULL,
    encoded BLOB NOT NULL,
    UNIQUE (owner, hash)
) STRICT;

CREATE TABLE packs (
    pack BLOB PRIMARY KEY,
    extent INTEGER NOT NULL,
    noted INTEGER NOT NULL DEFAULT 0,
    doomed INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE damage (
    pack BLOB NOT NULL,
    offset INTEGER NOT NULL,
    len INTEGER NOT NULL,
    study TEXT NOT NULL,
    PRIMARY KEY (pack, offset)
) STRICT, WITHOUT ROWID;
CREATE INDEX damage_by_study ON damage (study);
"];

/// Version of the schema that this program writes.
pub(super) const VERSION: u32 = 1;

const _: () = assert!(STEPS.len() == VERSION as usize, "each version has its step");

/// Brings the schema up to date, in one transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let fail = |e: rusqlite::Error| index_error("bring its schema up to date", &e);
    let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(fail)?;
    let found: u32 = tx.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(fail)?;
    let application: i32 = tx.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(fail)?;
    if found > VERSION {
        return Err(StoreError::Version { found, known: VERSION });
    }
    let tables: u32 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
    if application != APPLICATION_ID && tables > 0 {
        let detail = "the file is a database of another program: name another path".to_owned();
        return Err(StoreError::Index { what: "open it", detail });
    }
    for step in STEPS.iter().skip(crate::units::to_usize(u64::from(found))) {
        tx.execute_batch(step).map_err(fail)?;
    }
    if found < VERSION {
        tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(fail)?;
        tx.pragma_update(None, "user_version", VERSION).map_err(fail)?;
    }
    tx.commit().map_err(fail)
}
