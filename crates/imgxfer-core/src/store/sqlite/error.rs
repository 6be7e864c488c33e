//! What went wrong, without a value from a row.

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// An error of the database at `what`.
///
/// SQLite's own messages may quote SQL or values, so only its codes are kept.
pub(super) fn index_error(what: &'static str, error: &rusqlite::Error) -> StoreError {
    let Some(code) = error.sqlite_error() else {
        // A column of a type or with a value that the schema does not allow.
        return damaged_row(what);
    };
    let text = rusqlite::ffi::code_to_str(code.extended_code);
    let advice = match code.code {
        ErrorCode::DiskFull => return StoreError::Full { free: 0 },
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => DAMAGED,
        ErrorCode::SystemIoFailure => ": check the disk",
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly => {
            ": check that the file and its folder may be written, and the limit of open files"
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => ": another process has it open and is writing",
        _ => "",
    };
    let detail = format!("{text}{advice}");
    match code.code {
        ErrorCode::SystemIoFailure
        | ErrorCode::DatabaseCorrupt
        | ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::FileLockingProtocolFailed
        // Too many files or too little memory at this moment, a file system that was made read-only.
        | ErrorCode::CannotOpen
        | ErrorCode::PermissionDenied
        | ErrorCode::ReadOnly
        | ErrorCode::OutOfMemory => StoreError::IndexUnavailable { what, detail },
        _ => StoreError::Index { what, detail },
    }
}

const DAMAGED: &str =
    ": the index is damaged; imgxferd sets it aside and makes it anew from the packs, at the next start at the latest";

/// A row that does not hold what this program writes.
pub(super) fn damaged_row(what: &'static str) -> StoreError {
    StoreError::Index { what, detail: format!("a row is malformed{DAMAGED}") }
}

/// Whether the medium failed, so that nothing is known of what it holds.
pub(super) fn is_disk_failure(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt))
}
