//! Tables of the queue.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rusqlite::Connection;

use super::QueueError;

/// Version of the tables, in SQLite's `user_version`.
const VERSION: u32 = 2;

const TABLES: &str = "
CREATE TABLE job (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    peer TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state TEXT NOT NULL,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_try INTEGER,
    last_error TEXT,
    created INTEGER NOT NULL,
    finished INTEGER,
    root TEXT,
    instances INTEGER,
    all_files INTEGER NOT NULL,
    inbox BLOB
);
CREATE INDEX job_open ON job (peer, state, priority, id);
CREATE TABLE file (
    job INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    path BLOB NOT NULL,
    len INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    changed_ns INTEGER NOT NULL,
    hash BLOB,
    state TEXT NOT NULL,
    PRIMARY KEY (job, path)
) WITHOUT ROWID;
CREATE TABLE ignored (
    inbox BLOB NOT NULL,
    path BLOB NOT NULL,
    len INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    changed_ns INTEGER NOT NULL,
    PRIMARY KEY (inbox, path)
) WITHOUT ROWID;
CREATE TABLE receipt (
    id INTEGER PRIMARY KEY,
    root TEXT NOT NULL,
    peer TEXT,
    peer_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    instances INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    signed TEXT NOT NULL
);
CREATE INDEX receipt_root ON receipt (root);
";

/// What version 2 adds: files that vanish from a job, of which studies a receipt is, and what was transferred.
const SINCE_2: &str = "
ALTER TABLE job ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;
CREATE TABLE receipt_study (
    receipt INTEGER NOT NULL REFERENCES receipt (id) ON DELETE CASCADE,
    study TEXT NOT NULL,
    PRIMARY KEY (receipt, study)
) WITHOUT ROWID;
CREATE INDEX receipt_study_study ON receipt_study (study);
CREATE TABLE history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    ended INTEGER NOT NULL,
    seconds REAL NOT NULL,
    peer TEXT NOT NULL,
    direction TEXT NOT NULL,
    job INTEGER,
    studies TEXT NOT NULL,
    study_count INTEGER NOT NULL,
    instances INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    line_bytes INTEGER NOT NULL,
    root TEXT,
    receipt INTEGER NOT NULL,
    problem TEXT
);
";

/// Opens the database, made readable by its owner alone: names of files may be names of people.
pub(super) fn open(path: &Path) -> Result<Connection, QueueError> {
    let file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    drop(file.map_err(|source| QueueError::File { path: path.to_owned(), source })?);
    let mut db = Connection::open(path)?;
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    let found: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > VERSION {
        return Err(QueueError::Version { found, known: VERSION });
    }
    if found < VERSION {
        let transaction = db.transaction()?;
        if found == 0 {
            transaction.execute_batch(TABLES)?;
        }
        transaction.execute_batch(SINCE_2)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
    }
    Ok(db)
}
