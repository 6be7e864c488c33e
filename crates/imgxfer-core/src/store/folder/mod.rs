//! Writing instances out as plain files, the way people and DICOM programs expect them.
//!
//! Layout: `OUT/<study>/<series>/<SOP instance>.dcm`, every part from a checked UID. A file that is not
//! DICOM goes to `OUT/<study>/<name>`, where the name is the sender's, reduced to harmless letters.
//! Nothing is ever overwritten: where a file of that name holds something else, the new one gets part
//! of its hash into its name.

mod dirs;
mod name;
mod temp;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::dicom::ReadAt;
use crate::manifest::InstanceEntry;
use crate::store::FileBytes;
use crate::units::{to_u64, to_usize};

use dirs::Dirs;
use name::Target;
use temp::Temp;

/// Why an instance could not be written out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// What the source gave is not the content that the entry names: nothing was left behind.
    #[error("the content is not what the manifest names")]
    Content,
    /// Reading the source failed.
    #[error("the instance could not be read")]
    Source(#[source] io::Error),
    /// Writing failed at `what`.
    #[error("could not {what}")]
    Io {
        /// The operation, for example "sync the file".
        what: &'static str,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// Files of every name that it could have hold something else.
    #[error("files of other content stand where it would go")]
    Taken,
}

/// How [`FolderSink`] writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FolderOptions {
    /// Whether the names of new files are made durable by [`FolderSink::finish`] alone, rather than
    /// after each file. Faster for many small files; a power cut before the end may lose names of
    /// files that were written, never leave part of one. Off by default.
    pub batch_dir_syncs: bool,
}

/// Writes instances as files into a folder.
///
/// Any number of threads may use it. Memory: 1 MiB for each instance being written. Files have mode
/// 0640, folders 0750. Below OUT no symbolic link is followed. A file appears under its name only when
/// it is whole, its hash compared, and synced; a killed process leaves at most a `.imgxfer-*.part`
/// file, which is removed when its folder is next written to.
#[derive(Debug)]
pub struct FolderSink {
    root: PathBuf,
    options: FolderOptions,
    dirs: Mutex<Dirs>,
}

/// Bytes read and written at a time: the length of the longest chunk.
const STEP_BYTES: u64 = 1 << 20;

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> FolderError {
    move |source| FolderError::Io { what, source }
}

impl FolderSink {
    /// Opens the folder `out`, making it when it is not there.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn open(out: &Path, options: FolderOptions) -> Result<Self, FolderError> {
        let dirs = Dirs::open(out).map_err(failed("open the folder"))?;
        Ok(Self { root: out.to_owned(), options, dirs: Mutex::new(dirs) })
    }

    /// Whether a file with exactly this content is already there. Compares the length first, then
    /// reads and hashes the file.
    ///
    /// # Errors
    /// Any error of the medium; a path that stands in the way (a file where a folder should be, a
    /// symbolic link) is no error here, and the answer is `false`.
    pub fn existing(&self, entry: &InstanceEntry) -> io::Result<bool> {
        let target = Target::of(entry);
        let dir = self.dirs.lock().unwrap_or_else(PoisonError::into_inner).find(&target.folders)?;
        let Some(dir) = dir else {
            return Ok(false);
        };
        for file in target.files() {
            if holds(&dir, &file, entry)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes an instance, unless a file with exactly its content is there; returns that file's path.
    ///
    /// # Errors
    /// [`FolderError`]. Nothing but a whole file ever stands under a final name.
    pub fn write(&self, entry: &InstanceEntry, source: &dyn ReadAt) -> Result<PathBuf, FolderError> {
        let target = Target::of(entry);
        let dir = self
            .dirs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .make(&target.folders)
            .map_err(failed("make a folder"))?;
        let path = |file: &str| target.folders.iter().fold(self.root.clone(), |path, part| path.join(part)).join(file);
        let mut temp = None;
        for file in target.files() {
            if holds(&dir, &file, entry).map_err(failed("compare with the file that is there"))? {
                return Ok(path(&file));
            }
            let written = match temp.take() {
                Some(written) => written,
                None => write_temp(&dir, entry, source)?,
            };
            match written.keep_as(&file).map_err(failed("name the file"))? {
                // Someone else's file has that name: try the next.
                Some(again) => temp = Some(again),
                None => {
                    self.note(&target, &dir).map_err(failed("sync the folder"))?;
                    return Ok(path(&file));
                }
            }
        }
        Err(FolderError::Taken)
    }

    /// Makes all names durable that are not yet. Needed with [`FolderOptions::batch_dir_syncs`] alone.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn finish(&self) -> Result<(), FolderError> {
        self.dirs.lock().unwrap_or_else(PoisonError::into_inner).sync().map_err(failed("sync the folder"))
    }

    /// Sees to the durability of a new name.
    fn note(&self, target: &Target, dir: &OwnedFd) -> io::Result<()> {
        let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        if self.options.batch_dir_syncs {
            dirs.sync_later(&target.folders);
            return Ok(());
        }
        dirs.sync()?;
        drop(dirs);
        Ok(rustix::fs::fsync(dir)?)
    }
}

/// Writes the whole content into a temporary file, and syncs it.
fn write_temp(dir: &Arc<OwnedFd>, entry: &InstanceEntry, source: &dyn ReadAt) -> Result<Temp, FolderError> {
    if source.len() != entry.len {
        return Err(FolderError::Content);
    }
    let mut temp = Temp::create(dir).map_err(failed("create a file"))?;
    let mut hasher = blake3::Hasher::new();
    let mut buf = vec![0; to_usize(entry.len.min(STEP_BYTES))];
    let mut offset = 0;
    while offset < entry.len {
        let step = &mut buf[..to_usize((entry.len - offset).min(STEP_BYTES))];
        source.read_exact_at(offset, step).map_err(FolderError::Source)?;
        hasher.update(step);
        temp.append(step).map_err(failed("write the file"))?;
        offset += to_u64(step.len());
    }
    if hasher.finalize().as_bytes() != entry.hash.as_bytes() {
        return Err(FolderError::Content);
    }
    temp.sync().map_err(failed("sync the file"))?;
    Ok(temp)
}

/// Whether `file` holds exactly the content of `entry`.
fn holds(dir: &OwnedFd, file: &str, entry: &InstanceEntry) -> io::Result<bool> {
    let Some(file) = dirs::open_file(dir, file)? else {
        return Ok(false);
    };
    let Ok(bytes) = FileBytes::new(File::from(file)) else {
        return Ok(false);
    };
    if bytes.len() != entry.len {
        return Ok(false);
    }
    let mut hasher = blake3::Hasher::new();
    let mut buf = vec![0; to_usize(entry.len.min(STEP_BYTES))];
    let mut offset = 0;
    while offset < entry.len {
        let step = &mut buf[..to_usize((entry.len - offset).min(STEP_BYTES))];
        match bytes.read_exact_at(offset, step) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        hasher.update(step);
        offset += to_u64(step.len());
    }
    Ok(hasher.finalize().as_bytes() == entry.hash.as_bytes())
}
