//! The tables, and how an older database is brought up to date.

use rusqlite::Connection;

use super::error::index_error;
use crate::store::StoreError;

/// Tells our databases from others: "ixfr".
const APPLICATION_ID: i32 = 0x6978_6672;

/// Columns that refer to others and are no index's first are not declared to: the removal of what they refer to would
/// look through the whole table.
///
/// Each step brings the schema from the version that is its place in the list to the next.
/// A step that was released never changes.
const STEPS: [&str; 1] = ["
CREATE TABLE store (
    id BLOB NOT NULL
) STRICT;

CREATE TABLE clock (
    newest INTEGER NOT NULL
) STRICT;
INSERT INTO clock (newest) VALUES (0);

CREATE TABLE owners (
    id INTEGER PRIMARY KEY,
    peer BLOB NOT NULL UNIQUE,
    owned INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE studies (
    id INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL REFERENCES owners (id),
    uid TEXT NOT NULL,
    date TEXT NOT NULL DEFAULT '',
    summary BLOB NOT NULL DEFAULT x'',
    aside BLOB NOT NULL DEFAULT x'',
    first INTEGER NOT NULL DEFAULT 0,
    series_count INTEGER NOT NULL DEFAULT 0,
    instance_count INTEGER NOT NULL DEFAULT 0,
    content_count INTEGER NOT NULL DEFAULT 0,
    conflict_count INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 0,
    arriving INTEGER NOT NULL DEFAULT 0,
    root BLOB,
    published INTEGER NOT NULL DEFAULT 0,
    updated INTEGER NOT NULL,
    shared INTEGER NOT NULL DEFAULT 0,
    UNIQUE (uid, owner)
) STRICT;
CREATE INDEX studies_shared ON studies (id) WHERE shared;
CREATE INDEX studies_by_date ON studies (date DESC, uid, owner);
CREATE TABLE study_keys (
    field INTEGER NOT NULL,
    value TEXT NOT NULL,
    study INTEGER NOT NULL,
    PRIMARY KEY (field, value, study)
) STRICT, WITHOUT ROWID;
CREATE VIRTUAL TABLE study_pieces USING fts5 (
    pieces, content='', contentless_delete=1, detail=none, tokenize='ascii'
);

CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    study INTEGER NOT NULL REFERENCES studies (id),
    uid TEXT NOT NULL,
    attributes BLOB NOT NULL DEFAULT x'0000',
    instance_count INTEGER NOT NULL DEFAULT 0,
    UNIQUE (study, uid)
) STRICT;
CREATE INDEX series_by_uid ON series (uid);

CREATE TABLE headers (
    id INTEGER PRIMARY KEY,
    study INTEGER NOT NULL REFERENCES studies (id),
    series INTEGER NOT NULL REFERENCES series (id),
    digest BLOB NOT NULL,
    attributes BLOB NOT NULL,
    instance_count INTEGER NOT NULL DEFAULT 0,
    newest INTEGER NOT NULL DEFAULT 0,
    UNIQUE (series, digest)
) STRICT;
CREATE INDEX headers_by_study ON headers (study);

CREATE TABLE instances (
    id INTEGER PRIMARY KEY,
    study INTEGER NOT NULL REFERENCES studies (id),
    series INTEGER NOT NULL REFERENCES series (id),
    header INTEGER NOT NULL,
    sop_instance TEXT NOT NULL,
    hash BLOB NOT NULL,
    content BLOB NOT NULL,
    transfer_syntax TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    committed INTEGER NOT NULL,
    ordered INTEGER NOT NULL,
    stated INTEGER,
    current INTEGER NOT NULL,
    cut INTEGER NOT NULL,
    damaged INTEGER NOT NULL DEFAULT 0,
    catalogue INTEGER NOT NULL,
    unreadable INTEGER NOT NULL DEFAULT 0,
    recipe BLOB NOT NULL,
    UNIQUE (series, sop_instance, hash)
) STRICT;
CREATE INDEX instances_by_sop ON instances (sop_instance, study);
CREATE INDEX instances_by_hash ON instances (study, hash);
CREATE INDEX instances_damaged ON instances (id) WHERE damaged;
CREATE INDEX instances_by_catalogue ON instances (catalogue, study);
CREATE INDEX instances_unreadable ON instances (id) WHERE unreadable;

CREATE TABLE sources (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE provenances (
    id INTEGER PRIMARY KEY,
    source INTEGER NOT NULL,
    encoded BLOB NOT NULL UNIQUE
) STRICT;
CREATE TABLE arrivals (
    instance INTEGER NOT NULL REFERENCES instances (id),
    provenance INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (instance, provenance)
) STRICT, WITHOUT ROWID;
CREATE TABLE study_sources (
    study INTEGER NOT NULL REFERENCES studies (id),
    source INTEGER NOT NULL,
    date TEXT NOT NULL,
    contents INTEGER NOT NULL,
    newest INTEGER NOT NULL,
    PRIMARY KEY (study, source, date)
) STRICT, WITHOUT ROWID;
CREATE INDEX study_sources_by_date ON study_sources (source, date DESC, study);

CREATE TABLE removals (
    ordered INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL REFERENCES owners (id),
    study TEXT NOT NULL,
    at INTEGER NOT NULL,
    everything INTEGER NOT NULL,
    hashes BLOB NOT NULL
) STRICT;
CREATE INDEX removals_by_study ON removals (study, owner);

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
    doomed INTEGER NOT NULL DEFAULT 0,
    waste INTEGER NOT NULL DEFAULT 0,
    slow INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX packs_wasteful ON packs (waste) WHERE waste > 0;
CREATE INDEX packs_slow ON packs (slow) WHERE slow > 0;
CREATE TABLE pack_uses (
    pack BLOB NOT NULL,
    study INTEGER NOT NULL,
    PRIMARY KEY (pack, study)
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
