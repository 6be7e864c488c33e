//! Sending files: walks folders, scans, cuts and hashes what it finds.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dicomdir;
use super::held::{FileBuffer, FileBuffers, Held};
use super::known::KnownFiles;
use super::source::{Content, Source, SourceInstance, SourceItem, Totals};
use crate::chunk;
use crate::depot::Described;
use crate::dicom::{self, NotDicom, ReadAt, Scan};
use crate::ids::InstanceHash;
use crate::manifest::InstanceEntry;
use crate::store::{FileBytes, FileState};
use crate::work::guarded;

/// What [`FileSource`] does with files that are not DICOM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OtherFiles {
    /// Leave them out, and say so.
    #[default]
    Skip,
    /// Send them as opaque bytes.
    Send,
}

/// Files to send, found under the paths that a user named.
#[derive(Debug)]
pub struct FileSource {
    files: std::vec::IntoIter<Found>,
    totals: Totals,
    other: OtherFiles,
    buffers: FileBuffers,
    known: Option<KnownFiles>,
    /// The first of the paths that is not there.
    missing: Option<String>,
    /// DICOM that was given already.
    given: HashSet<InstanceHash>,
}

/// A path that was named and is not there.
#[derive(Debug, thiserror::Error)]
#[error("there is no such file or folder: {0}")]
pub(crate) struct NoSuchPath(pub(crate) String);

#[derive(Debug)]
enum Found {
    File(PathBuf),
    Failed { label: String, reason: String },
}

impl FileSource {
    /// Walks `paths`: files as they are, folders with everything below, a DICOMDIR with what it refers to.
    ///
    /// The order is that of the paths, sorted by name below each. Symbolic links are followed; loops, unreadable
    /// folders and references of a DICOMDIR without a file become failed items. When one of `paths` is not there,
    /// nothing is given: the first item is an error of kind `NotFound` that names it, and a push ends with
    /// [`TransferError::NoSuchPath`](crate::error::TransferError::NoSuchPath). Reads no file contents but
    /// a DICOMDIR's; blocks.
    #[must_use]
    pub fn new(paths: &[PathBuf], other: OtherFiles) -> Self {
        let mut found = Vec::new();
        let mut totals = Totals::default();
        let mut seen = HashSet::new();
        let gone = |path: &&PathBuf| path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        let missing = paths.iter().find(gone).map(|path| printable(path));
        for path in paths {
            let roots = match dicomdir::references(path) {
                Some(Ok(references)) => {
                    let failed = |(label, reason): &(String, &str)| {
                        let (label, reason) = (label.clone(), (*reason).to_owned());
                        Found::Failed { label, reason }
                    };
                    found.extend(references.iter().filter_map(|reference| reference.as_ref().err()).map(failed));
                    references.into_iter().flatten().collect()
                }
                Some(Err(reason)) if other == OtherFiles::Skip => {
                    found.push(Found::Failed { label: printable(path), reason: reason.to_owned() });
                    continue;
                }
                _ => vec![path.clone()],
            };
            for root in roots {
                walk(&root, &mut |item| {
                    if let Found::File(file) = &item {
                        if !seen.insert(file.clone()) {
                            return;
                        }
                        totals.instances += 1;
                        totals.bytes += std::fs::metadata(file).map_or(0, |m| if m.is_file() { m.len() } else { 0 });
                    }
                    found.push(item);
                });
            }
        }
        Self {
            files: found.into_iter(),
            totals,
            other,
            buffers: FileBuffers::default(),
            known: None,
            missing,
            given: HashSet::new(),
        }
    }

    /// Remembers in `known` what it reads, and does not read what is known: for the sources of one push, of which
    /// each connection has its own.
    #[must_use]
    pub fn with_known(mut self, known: KnownFiles) -> Self {
        self.known = Some(known);
        self
    }

    /// Whether this is no copy of what was given. What is not DICOM has a name besides its bytes.
    fn is_new(&mut self, entry: &InstanceEntry) -> bool {
        !entry.name.is_empty() || self.given.insert(entry.hash)
    }

    /// The files that were found, in order.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.as_slice().iter().filter_map(|found| match found {
            Found::File(path) => Some(path.as_path()),
            Found::Failed { .. } => None,
        })
    }

    /// The paths that could not be walked, each with the reason.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.as_slice().iter().filter_map(|found| match found {
            Found::File(_) => None,
            Found::Failed { label, reason } => Some((label.as_str(), reason.as_str())),
        })
    }
}

fn walk(root: &Path, found: &mut dyn FnMut(Found)) {
    for entry in walkdir::WalkDir::new(root).follow_links(true).sort_by_file_name() {
        match entry {
            Ok(entry) if entry.file_type().is_dir() => {}
            Ok(entry) => found(Found::File(entry.into_path())),
            Err(error) => {
                let label = printable(error.path().unwrap_or(root));
                let reason = match (error.loop_ancestor(), error.io_error().map(io::Error::kind)) {
                    (Some(_), _) => "a symbolic link that leads back to a folder above it".to_owned(),
                    (None, Some(io::ErrorKind::NotFound)) => "there is no such file or folder".to_owned(),
                    (None, Some(io::ErrorKind::PermissionDenied)) => {
                        "no permission to read it: give this user the right, or run as one who has it".to_owned()
                    }
                    (None, _) => error.io_error().map_or_else(|| "it cannot be listed".to_owned(), ToString::to_string),
                };
                found(Found::Failed { label, reason });
            }
        }
    }
}

/// A path as text that is safe on a terminal: control characters and bytes that are not UTF-8 escaped.
#[must_use]
pub fn printable(path: &Path) -> String {
    let mut out = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

impl Source for FileSource {
    fn totals(&self) -> Totals {
        self.totals
    }

    fn next_item(&mut self) -> io::Result<Option<SourceItem>> {
        if let Some(path) = &self.missing {
            return Err(io::Error::new(io::ErrorKind::NotFound, NoSuchPath(path.clone())));
        }
        Ok(self.files.next().map(|found| match found {
            Found::File(path) => {
                let read = guarded("read a file", || read_file(&path, self.other, &self.buffers, self.known.as_ref()));
                match read.unwrap_or_else(|e| SourceItem::Failed { label: printable(&path), reason: e.to_string() }) {
                    SourceItem::Instance(instance) if !self.is_new(&instance.entry) => {
                        SourceItem::Copy { label: instance.label, len: instance.entry.len }
                    }
                    item => item,
                }
            }
            Found::Failed { label, reason } => SourceItem::Failed { label, reason },
        }))
    }
}

/// A file that is open for reading; of a small one all bytes are at hand.
struct Opened {
    path: PathBuf,
    file: FileBytes,
    whole: Option<FileBuffer>,
}

impl Opened {
    fn bytes(&self) -> &dyn ReadAt {
        match &self.whole {
            Some(bytes) => bytes,
            None => &self.file,
        }
    }
}

impl ReadAt for FileBuffer {
    fn len(&self) -> u64 {
        ReadAt::len(&**self)
    }

    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        (**self).read_exact_at(offset, out)
    }
}

fn read_file(path: &Path, other: OtherFiles, buffers: &FileBuffers, known: Option<&KnownFiles>) -> SourceItem {
    let label = printable(path);
    let file = match FileBytes::open(path) {
        Ok(file) => file,
        Err(error) => return SourceItem::Failed { label, reason: error.to_string() },
    };
    if let Some(instance) = known.and_then(|known| known.recall(path, &file, &label)) {
        return SourceItem::Instance(Box::new(instance));
    }
    let mut whole = buffers.take(file.len());
    if let Some(bytes) = &mut whole
        && let Err(error) = file.read_exact_at(0, bytes)
    {
        return SourceItem::Failed { label, reason: format!("it cannot be read: {error}") };
    }
    read_opened(Opened { path: path.to_owned(), file, whole }, label, other, known)
}

fn read_opened(opened: Opened, label: String, other: OtherFiles, known: Option<&KnownFiles>) -> SourceItem {
    let scan = match dicom::scan(opened.bytes()) {
        Ok(scan) => Some(scan),
        Err(NotDicom::Read(error)) => {
            return SourceItem::Failed { label, reason: format!("it cannot be read: {error}") };
        }
        Err(error) if other == OtherFiles::Skip => return left_out(label, &error),
        Err(_) => None,
    };
    if other == OtherFiles::Skip && scan.as_ref().is_some_and(Scan::is_dicomdir) {
        let reason = "a DICOMDIR: an index of the medium, not an image".to_owned();
        return SourceItem::Skipped { label, reason };
    }
    match read_instance(opened, scan.as_ref(), label.clone(), known) {
        Ok(instance) => SourceItem::Instance(Box::new(instance)),
        Err(error) => SourceItem::Failed { label, reason: error.to_string() },
    }
}

/// What is DICOM and is left out all the same should have been sent.
fn left_out(label: String, error: &NotDicom) -> SourceItem {
    if error.is_dicom() {
        let reason = format!("DICOM that cannot be taken: {error} (--all-files sends it as it is)");
        return SourceItem::Failed { label, reason };
    }
    SourceItem::Skipped { label, reason: format!("not DICOM: {error}") }
}

/// Cuts and hashes a file in one pass over its bytes.
fn read_instance(
    opened: Opened,
    scan: Option<&Scan>,
    label: String,
    known: Option<&KnownFiles>,
) -> io::Result<SourceInstance> {
    let scan = scan.filter(|scan| !scan.is_dicomdir());
    let Opened { path, file, whole } = opened;
    let name = path.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
    let Described { entry, cuts } = match &whole {
        Some(bytes) => Described::of_bytes(bytes, scan, name)?,
        None => Described::read(&file, scan, name)?,
    };
    if !file.unchanged()? {
        return Err(io::Error::other("the file changed while it was being read: send it again when it is complete"));
    }
    let held = whole.map(|bytes| (Held::new(bytes, cuts.len()), file.state()));
    let offsets: Arc<[u64]> = cuts.iter().map(|cut| cut.offset).collect();
    let instance = SourceInstance {
        entry,
        label,
        shape: scan.and_then(chunk::pixel_shape),
        position: scan.and_then(|scan| scan.image_position),
        truncated: scan.is_some_and(|scan| scan.truncated),
        content: Arc::new(FileContent::new(path.clone(), Arc::clone(&offsets), held)),
    };
    if let Some(known) = known {
        known.remember(&path, &file, &instance, &offsets);
    }
    Ok(instance)
}

/// A file's bytes: held since they were hashed, or read again when they are needed.
#[derive(Debug)]
pub(super) struct FileContent {
    path: PathBuf,
    offsets: Arc<[u64]>,
    held: Option<(Held, FileState)>,
}

impl FileContent {
    pub(super) const fn new(path: PathBuf, offsets: Arc<[u64]>, held: Option<(Held, FileState)>) -> Self {
        Self { path, offsets, held }
    }

    fn offset(&self, index: usize) -> io::Result<u64> {
        self.offsets.get(index).copied().ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl Content for FileContent {
    fn read_chunk(&self, index: usize, out: &mut [u8]) -> io::Result<()> {
        let file = FileBytes::open(&self.path).map_err(io::Error::other)?;
        file.read_exact_at(self.offset(index)?, out)
    }

    fn read_held(&self, index: usize, out: &mut [u8]) -> bool {
        let (Some((held, state)), Ok(offset)) = (&self.held, self.offset(index)) else { return false };
        held.read(offset, out, || state.is_at(&self.path))
    }
}
