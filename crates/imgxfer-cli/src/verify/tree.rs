//! The files of a folder, read and hashed.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use imgxfer_core::dicom::{self, Identity, NotDicom};
use imgxfer_core::ids::InstanceHash;
use imgxfer_core::store::FileBytes;

use crate::exit::{Exit, problem};

/// Bytes read at a time.
const STEP_BYTES: usize = 1 << 20;
/// The folder in which an unfinished pull keeps what has arrived.
const SPOOL: &str = ".imgxfer-spool";

/// A file that was looked at.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it is.
    pub(crate) what: What,
}

/// What a file turned out to be.
#[derive(Debug)]
pub(crate) enum What {
    /// Read to its end.
    File(Content),
    /// What an interrupted pull has left.
    Leftover,
    /// It could not be read.
    Unreadable(String),
}

/// The content of a file.
#[derive(Debug)]
pub(crate) struct Content {
    /// BLAKE3 of all its bytes.
    pub(crate) hash: blake3::Hash,
    /// Its length.
    pub(crate) bytes: u64,
    /// What it is as DICOM, or why it is none.
    pub(crate) dicom: Result<Dicom, String>,
}

/// A file that is DICOM.
#[derive(Debug)]
pub(crate) struct Dicom {
    /// Its UIDs, or derived ones; none where it is a DICOMDIR.
    pub(crate) identity: Option<Identity>,
    /// Whether it ends before its elements do.
    pub(crate) truncated: bool,
}

/// Walks a folder, sorted by name, reading every file.
pub(crate) fn walk(dir: &Path) -> anyhow::Result<impl Iterator<Item = Seen>> {
    if !dir.is_dir() {
        return Err(problem(Exit::NotFound, format!("there is no folder {}", dir.display())));
    }
    let entries = walkdir::WalkDir::new(dir).follow_links(true).sort_by_file_name().into_iter();
    // A spool counts as one leftover, whatever is in it.
    let entries = entries
        .filter_entry(|entry| entry.path().parent().and_then(Path::file_name).is_none_or(|parent| parent != SPOOL));
    Ok(entries.filter_map(|entry| match entry {
        Ok(entry) if entry.file_type().is_dir() => {
            (entry.file_name() == SPOOL).then(|| Seen { path: entry.into_path(), what: What::Leftover })
        }
        Ok(entry) => Some(look(entry.into_path())),
        Err(error) => {
            let path = error.path().map(Path::to_owned).unwrap_or_default();
            let why = error.io_error().map_or_else(|| "a link that leads back".to_owned(), ToString::to_string);
            Some(Seen { path, what: What::Unreadable(why) })
        }
    }))
}

fn look(path: PathBuf) -> Seen {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let what = if name.starts_with(".imgxfer-") && name.ends_with(".part") {
        What::Leftover
    } else {
        read(&path).map_or_else(What::Unreadable, What::File)
    };
    Seen { path, what }
}

fn read(path: &Path) -> Result<Content, String> {
    // Refuses what is no plain file, such as a pipe that would never end.
    let file = FileBytes::open(path).map_err(|error| error.to_string())?;
    let scan = match dicom::scan(&file) {
        Err(NotDicom::Read(error)) => return Err(error.to_string()),
        scan => scan.map_err(|error| error.to_string()),
    };
    let (hash, bytes) = hash(path).map_err(|error| error.to_string())?;
    let identity = |scan: &dicom::Scan| scan.identify(&InstanceHash::from_bytes(*hash.as_bytes()));
    let dicom = scan.map(|scan| Dicom { identity: identity(&scan), truncated: scan.truncated });
    Ok(Content { hash, bytes, dicom })
}

fn hash(path: &Path) -> io::Result<(blake3::Hash, u64)> {
    let mut file = std::fs::File::open(path)?;
    let (mut hasher, mut buf) = (blake3::Hasher::new(), vec![0; STEP_BYTES]);
    loop {
        match file.read(&mut buf) {
            Ok(0) => return Ok((hasher.finalize(), hasher.count())),
            Ok(n) => hasher.update(&buf[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
    }
}
