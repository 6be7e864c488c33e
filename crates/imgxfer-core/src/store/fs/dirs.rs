//! The folders of a store, made once and made durable.

use std::fs::{DirBuilder, File, ReadDir};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::ids::PackId;

/// Where packs stand.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

/// The ending of pack files.
const PACK_ENDING: &str = ".pack";

impl Folder {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Makes all folders that packs may stand in, and syncs them, so that a new pack needs only its
    /// own folder synced.
    pub(super) fn make(&self) -> io::Result<()> {
        make_durable(&self.root)?;
        let packs = self.root.join("packs");
        make_one(&packs)?;
        for first in 0..=u8::MAX {
            make_one(&packs.join(format!("{first:02x}")))?;
        }
        sync(&packs)?;
        sync(&self.root)
    }

    pub(super) fn lock_path(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn id_path(&self) -> PathBuf {
        self.root.join("store")
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn pack_folder(&self, pack: PackId) -> PathBuf {
        self.root.join("packs").join(format!("{:02x}", pack.as_bytes()[0]))
    }

    pub(super) fn pack_path(&self, pack: PackId) -> PathBuf {
        self.pack_folder(pack).join(format!("{pack}{PACK_ENDING}"))
    }

    /// All files that are named as packs.
    pub(super) fn packs(&self) -> io::Result<Vec<PackId>> {
        let mut found = Vec::new();
        for shard in list(&self.root.join("packs"))? {
            let shard = shard?;
            if !shard.file_type()?.is_dir() {
                continue;
            }
            for file in list(&shard.path())? {
                let name = file?.file_name();
                let id = name.to_str().and_then(|n| n.strip_suffix(PACK_ENDING)).and_then(|n| PackId::from_hex(n).ok());
                found.extend(id.filter(|id| shard.path() == self.pack_folder(*id)));
            }
        }
        Ok(found)
    }
}

/// The entries of a folder; none when there is no such folder.
fn list(folder: &Path) -> io::Result<Box<dyn Iterator<Item = io::Result<std::fs::DirEntry>>>> {
    match open(folder) {
        Ok(entries) => Ok(Box::new(entries)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Box::new(std::iter::empty())),
        Err(e) => Err(e),
    }
}

/// Unlike a file, a folder whose opening a signal interrupts is not opened again by the standard library.
fn open(folder: &Path) -> io::Result<ReadDir> {
    loop {
        match std::fs::read_dir(folder) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            opened => return opened,
        }
    }
}

/// Makes a folder and those above it, and makes the names of all that are new durable.
pub(in crate::store) fn make_durable(folder: &Path) -> io::Result<()> {
    let old = folder.ancestors().find(|p| p.exists()).map(Path::to_owned);
    DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
    for above in folder.ancestors().skip(1) {
        let synced = sync(if above.as_os_str().is_empty() { Path::new(".") } else { above });
        match synced {
            // Not ours to open, so not one that was made here.
            Err(e) if e.kind() != io::ErrorKind::PermissionDenied => return Err(e),
            _ if old.as_deref().is_some_and(|old| old.starts_with(above)) => break,
            _ => {}
        }
    }
    Ok(())
}

fn make_one(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o750).create(folder) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Makes the names in a folder durable.
pub(in crate::store) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
