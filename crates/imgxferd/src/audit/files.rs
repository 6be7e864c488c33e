//! Where records stand: `audit.log`, and beside it the files before it, named by their first record.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::line::{LINE_BYTES_MAX, Record, parse};
use crate::files;

/// The file that is written to.
pub(super) const CURRENT: &str = "audit.log";

/// A file that is full.
pub(super) fn name_of(first: u64) -> String {
    format!("audit-{first:020}.log")
}

fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("audit-")?.strip_suffix(".log")?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The files that are full, oldest first, with the number of their first record.
pub(super) fn full(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in files::list(folder)? {
        let entry = entry?;
        if let Some(first) = entry.file_name().to_str().and_then(first_of) {
            found.push((first, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// The last whole line of a file, read as a record; `None` where there is none.
pub(super) fn last_record(path: &Path) -> io::Result<Option<Record>> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut wanted = 64 << 10;
    loop {
        let from = len.saturating_sub(wanted);
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        file.by_ref().take(len - from).read_to_end(&mut tail)?;
        let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(&[][..], |end| &tail[..end]);
        let start = whole.iter().rposition(|byte| *byte == b'\n');
        if from == 0 || start.is_some() || wanted > imgxfer_core::units::to_u64(LINE_BYTES_MAX) {
            return Ok(parse(&whole[start.map_or(0, |at| at + 1)..]).ok());
        }
        wanted *= 16;
    }
}

/// All files of a folder in the order of their records, the one that is written to last.
///
/// # Errors
/// When the folder cannot be read.
pub fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    loop {
        let before = full(folder)?;
        let current = folder.join(CURRENT);
        let has_current = current.try_exists()?;
        // A file that was full meanwhile has another name now.
        if full(folder)? == before {
            return Ok(before.into_iter().map(|(_, path)| path).chain(has_current.then_some(current)).collect());
        }
    }
}
