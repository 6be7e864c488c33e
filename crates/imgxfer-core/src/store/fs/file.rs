//! A file on disk as bytes to read at any offset.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::dicom::ReadAt;

/// Why a path cannot be read as a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is something else.
    #[error("it is {kind}, not a file")]
    Kind {
        /// What it is, for example "a folder".
        kind: &'static str,
    },
    /// The system refused.
    #[error("it cannot be opened: {0}")]
    Io(#[from] io::Error),
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(e) => e,
            kind @ OpenError::Kind { .. } => Self::new(io::ErrorKind::InvalidInput, kind),
        }
    }
}

/// A regular file, opened for reading, with its length as it was then.
///
/// Opening never blocks, whatever stands at the path (a FIFO without a writer, a device).
#[derive(Debug)]
pub struct FileBytes {
    file: File,
    seen: FileState,
}

/// What tells a file that is being changed from one that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileState {
    len: u64,
    inode: u64,
    modified: (i64, i64),
}

/// Tells a file from another, and from itself after a change, as well as a file system can.
#[cfg(feature = "quic")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    state: FileState,
    changed: (i64, i64),
}

#[cfg(feature = "quic")]
impl FileIdentity {
    /// When the content or the file's own data last changed, in seconds since 1970.
    pub(crate) fn changed_at(&self) -> i64 {
        self.changed.0.max(self.state.modified.0)
    }
}

impl FileState {
    fn of(metadata: &Metadata) -> Self {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Self { len: metadata.len(), inode: metadata.ino(), modified }
    }

    /// Whether what stands at `path` now is the file of this state.
    #[cfg(feature = "quic")]
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|metadata| Self::of(&metadata) == *self)
    }
}

impl FileBytes {
    /// Opens a regular file, following symbolic links.
    ///
    /// # Errors
    /// [`OpenError::Kind`] for a folder, FIFO, socket or device; [`OpenError::Io`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::with_flags(path, OFlags::NONBLOCK)
    }

    /// Opens a regular file, unless the last part of the path is a symbolic link.
    ///
    /// # Errors
    /// As [`FileBytes::open`]; a symbolic link is an [`OpenError::Kind`].
    pub fn open_no_follow(path: &Path) -> Result<Self, OpenError> {
        Self::with_flags(path, OFlags::NONBLOCK | OFlags::NOFOLLOW).map_err(|e| match e {
            OpenError::Io(e) if e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                OpenError::Kind { kind: "a symbolic link" }
            }
            other => other,
        })
    }

    fn with_flags(path: &Path, flags: OFlags) -> Result<Self, OpenError> {
        let flags = (flags | OFlags::CLOEXEC).bits().cast_signed();
        // Opening a socket fails before it can be asked what it is.
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        Self::new(file)
    }

    /// Takes a file that is open for reading.
    ///
    /// # Errors
    /// As [`FileBytes::open`].
    pub fn new(file: File) -> Result<Self, OpenError> {
        let metadata = file.metadata()?;
        let kind = metadata.file_type();
        let kind = match kind {
            k if k.is_file() => return Ok(Self { file, seen: FileState::of(&metadata) }),
            k if k.is_dir() => "a folder",
            k if k.is_fifo() => "a FIFO",
            k if k.is_socket() => "a socket",
            _ => "a device",
        };
        Err(OpenError::Kind { kind })
    }

    /// Whether the open file still has the length and time of change that it had when it was opened.
    /// Asked after reading: a file that changed meanwhile was read in pieces of two contents.
    ///
    /// # Errors
    /// Any error of the medium.
    pub fn unchanged(&self) -> io::Result<bool> {
        Ok(FileState::of(&self.file.metadata()?) == self.seen)
    }

    /// What the file is now.
    #[cfg(feature = "quic")]
    pub(crate) fn identity(&self) -> io::Result<FileIdentity> {
        let metadata = self.file.metadata()?;
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Ok(FileIdentity { device: metadata.dev(), state: FileState::of(&metadata), changed })
    }

    /// The file's state when it was opened.
    #[cfg(feature = "quic")]
    pub(crate) const fn state(&self) -> FileState {
        self.seen
    }

    /// Reads with the length that the file has now.
    pub(super) fn now(&self) -> io::Result<Live<'_>> {
        Ok(Live { file: &self.file, len: self.file.metadata()?.len() })
    }
}

impl ReadAt for FileBytes {
    fn len(&self) -> u64 {
        self.seen.len
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)?;
        crate::effort::note(crate::units::to_u64(buf.len()));
        Ok(())
    }
}

/// A file that may have grown since it was opened.
#[derive(Debug)]
pub(super) struct Live<'a> {
    file: &'a File,
    len: u64,
}

impl ReadAt for Live<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }
}
