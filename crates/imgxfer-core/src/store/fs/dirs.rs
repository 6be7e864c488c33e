//! The folders of a store, made once and made durable.

use std::fs::{DirBuilder, File};
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
        make_all(&self.root)?;
        let packs = self.root.join("packs");
        make_one(&packs)?;
        for first in 0..=u8::MAX {
            make_one(&packs.join(format!("{first:02x}")))?;
        }
        sync(&packs)?;
        sync(&self.root)?;
        // The root itself may be new; a parent that cannot be opened held it before.
        if let Some(parent) = self.root.parent().filter(|p| !p.as_os_str().is_empty()) {
            match sync(parent) {
                Err(e) if e.kind() != io::ErrorKind::PermissionDenied => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn lock_path(&self) -> PathBuf {
        self.root.join("lock")
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
    match std::fs::read_dir(folder) {
        Ok(entries) => Ok(Box::new(entries)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Box::new(std::iter::empty())),
        Err(e) => Err(e),
    }
}

fn make_all(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(folder)
}

fn make_one(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o750).create(folder) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
