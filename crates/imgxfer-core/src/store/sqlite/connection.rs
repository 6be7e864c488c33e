//! Opening the database.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::error::index_error;
use super::schema;
use crate::ids::StoreId;
use crate::store::StoreError;
use crate::store::fs::dirs;

/// How long one process waits for another that writes; inside a process a mutex keeps order.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Statements kept prepared for each connection.
const STATEMENTS_MAX: usize = 32;

/// Opens the connection that writes.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    create(path)?;
    let fail = |e: rusqlite::Error| index_error("open it", &e);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(fail)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(fail)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
    // The log is synced before it is carried over, and not by each transaction: notes in packs tell the same, and
    // are durable first.
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(fail)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(fail)?;
    // 32 MiB of pages: a study's rows and the indexes over them stay in memory while it arrives.
    connection.pragma_update(None, "cache_size", -32_768).map_err(fail)?;
    // 16 MiB of log before it is carried over: pages that every commit of a study changes are carried over once.
    connection.pragma_update(None, "wal_autocheckpoint", 4096).map_err(fail)?;
    // A damaged database must not read what is not there, and functions in a schema must not run.
    connection.pragma_update(None, "cell_size_check", true).map_err(fail)?;
    connection.pragma_update(None, "trusted_schema", false).map_err(fail)?;
    schema::migrate(&mut connection)?;
    Ok(connection)
}

/// Opens the connection that writes to the index of `store`. What is damaged, or another store's, is set aside.
pub(super) fn open_for(path: &Path, store: StoreId) -> Result<Connection, StoreError> {
    let why = if is_damaged(path)? {
        "damaged"
    } else {
        let connection = open_writer(path)?;
        if belongs_to(&connection, store)? {
            return Ok(connection);
        }
        "other"
    };
    let kept = set_aside(path, why).map_err(|source| StoreError::Io { what: "set an index aside", source })?;
    tracing::error!(index = %path.display(), kept = %kept.display(), why, "the index cannot be used: it is set aside and made anew from the packs");
    let connection = open_writer(path)?;
    belongs_to(&connection, store)?;
    Ok(connection)
}

/// Whether this is the index of `store`; of the first that asks, where it is nobody's.
fn belongs_to(connection: &Connection, store: StoreId) -> Result<bool, StoreError> {
    let known = || -> rusqlite::Result<Option<[u8; 16]>> {
        let known = connection.query_row("SELECT id FROM store", [], |row| row.get(0)).optional()?;
        if known.is_none() {
            connection.execute("INSERT INTO store (id) VALUES (?1)", [store.as_bytes()])?;
        }
        Ok(known)
    };
    let known = known().map_err(|e| index_error("compare its store", &e))?;
    Ok(known.is_none_or(|known| known == *store.as_bytes()))
}

/// Opens a connection that reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let fail = |e: rusqlite::Error| index_error("open it for reading", &e);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(fail)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "cell_size_check", true).map_err(fail)?;
    connection.pragma_update(None, "trusted_schema", false).map_err(fail)?;
    Ok(connection)
}

/// Whether the file is there and is no database that can be read through, as a torn page or a flipped bit makes it.
/// Looks at its structure, not at every row: a second for some gigabytes.
fn is_damaged(path: &Path) -> Result<bool, StoreError> {
    if !path.exists() {
        return Ok(false);
    }
    let check = || -> rusqlite::Result<bool> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok(verdict != "ok")
    };
    check().or_else(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Ok(true),
        _ => Err(index_error("check itself", &error)),
    })
}

/// Gives an index and the files beside it other names. Returns the new one.
fn set_aside(path: &Path, why: &str) -> io::Result<PathBuf> {
    let named = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let free = (1..).find(|n| !named(&format!(".{why}-{n}")).exists()).unwrap_or(0_u32);
    for beside in ["-wal", "-shm", ""] {
        match std::fs::rename(named(beside), named(&format!(".{why}-{free}{beside}"))) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    dirs::sync(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new(".")))?;
    Ok(named(&format!(".{why}-{free}")))
}

/// Makes the file with the mode that SQLite then gives to the files beside it, and makes its name durable.
fn create(path: &Path) -> Result<(), StoreError> {
    let fail = |source| StoreError::Io { what: "create the index", source };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    dirs::make_durable(folder).map_err(fail)?;
    drop(OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(path).map_err(fail)?);
    dirs::sync(folder).map_err(fail)
}
