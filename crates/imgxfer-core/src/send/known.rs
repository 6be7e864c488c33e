//! What files were found to hold, so that a reconnect hashes nothing again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::files::FileContent;
use super::source::SourceInstance;
use crate::clock::UnixSeconds;
use crate::codec::PixelShape;
use crate::manifest::InstanceEntry;
use crate::store::{FileBytes, FileIdentity};
use crate::sync::lock;

/// Chunks that are remembered, some 50 bytes each: what 32 GB of images are cut into. Files over that are read again.
const CHUNKS_MAX: usize = 500_000;
/// A file that changed less than so many seconds ago may change again within the same tick of the clock.
const SETTLED_SECONDS: i64 = 2;

/// Remembers the manifest entries of files, as long as length, times, and inode of each stay. Clones share.
///
/// A file is taken for what it was without being read. Chunks that are sent are hashed all the same, and the receiver
/// hashes the whole: content that changed without a trace of it fails, and is not taken for the old.
#[derive(Debug, Clone, Default)]
pub struct KnownFiles(Arc<Mutex<Remembered>>);

#[derive(Debug, Default)]
struct Remembered {
    files: HashMap<PathBuf, KnownFile>,
    chunks: usize,
}

#[derive(Debug)]
struct KnownFile {
    identity: FileIdentity,
    entry: InstanceEntry,
    offsets: Arc<[u64]>,
    shape: Option<PixelShape>,
    position: Option<u64>,
    truncated: bool,
}

impl KnownFiles {
    /// The instance in the file, if it is known and the file is the same.
    pub(super) fn recall(&self, path: &Path, file: &FileBytes, label: &str) -> Option<SourceInstance> {
        let identity = file.identity().ok()?;
        let known = lock(&self.0);
        let found = known.files.get(path).filter(|known| known.identity == identity)?;
        Some(SourceInstance {
            entry: found.entry.clone(),
            label: label.to_owned(),
            shape: found.shape,
            position: found.position,
            truncated: found.truncated,
            content: Arc::new(FileContent::new(path.to_owned(), Arc::clone(&found.offsets), None)),
        })
    }

    /// Remembers what was read of the file.
    pub(super) fn remember(&self, path: &Path, file: &FileBytes, instance: &SourceInstance, offsets: &Arc<[u64]>) {
        self.remember_at(UnixSeconds::now(), path, file, instance, offsets);
    }

    fn remember_at(
        &self,
        now: UnixSeconds,
        path: &Path,
        file: &FileBytes,
        instance: &SourceInstance,
        offsets: &Arc<[u64]>,
    ) {
        let Ok(identity) = file.identity() else { return };
        if identity.changed_at() > now.0 - SETTLED_SECONDS {
            return;
        }
        let mut known = lock(&self.0);
        let chunks = known.chunks + offsets.len();
        if chunks > CHUNKS_MAX {
            return;
        }
        let file = KnownFile {
            identity,
            entry: instance.entry.clone(),
            offsets: Arc::clone(offsets),
            shape: instance.shape,
            position: instance.position,
            truncated: instance.truncated,
        };
        known.chunks = match known.files.insert(path.to_owned(), file) {
            Some(old) => chunks - old.offsets.len(),
            None => chunks,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::{FileSource, OtherFiles, Source, SourceItem};

    fn read(path: &Path) -> SourceInstance {
        let mut source = FileSource::new(&[path.to_owned()], OtherFiles::Send);
        match source.next_item().unwrap() {
            Some(SourceItem::Instance(instance)) => *instance,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_that_stayed_is_not_read_again_and_one_that_did_not_is() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&path, vec![7; 300_000]).unwrap();
        let instance = read(&path);
        let offsets: Arc<[u64]> = instance
            .entry
            .chunks
            .iter()
            .scan(0, |at, chunk| {
                let offset = *at;
                *at += u64::from(chunk.len);
                Some(offset)
            })
            .collect();
        let known = KnownFiles::default();
        let recall = || known.recall(&path, &FileBytes::open(&path).unwrap(), "a");
        let file = FileBytes::open(&path).unwrap();
        let now = UnixSeconds::now();
        known.remember_at(now, &path, &file, &instance, &offsets);
        assert!(recall().is_none(), "it was written only now");
        let later = UnixSeconds(now.0 + 10);
        known.remember_at(later, &path, &file, &instance, &offsets);
        known.remember_at(later, &path, &file, &instance, &offsets);
        assert_eq!(known.0.lock().unwrap().chunks, offsets.len(), "counted once");
        let found = recall().unwrap();
        assert_eq!(found.entry, instance.entry);
        let last = found.entry.chunks.len() - 1;
        let mut bytes = vec![0; usize::try_from(found.entry.chunks[last].len).unwrap()];
        found.content.read_chunk(last, &mut bytes).unwrap();
        assert_eq!(crate::ids::ChunkId::of(&bytes), found.entry.chunks[last].id);
        // Another file of the same length in its place.
        std::fs::write(&other, vec![8; 300_000]).unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(recall().is_none());
    }
}
