//! Small files that stay in memory from when they are hashed until they are sent.
//!
//! Opening, reading and hashing a small file again costs as much as all else that is done with it. What is held
//! is what was hashed; whether the file still is the one that it was, the system says in one call. The buffers
//! are used again and again: memory that is asked for anew comes from the system in pages.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use crate::sync::lock;
use crate::units::to_usize;

/// Buffers are multiples of this, so that one suits the next file of about the same length.
const STEP_BYTES: usize = 16 << 10;
/// So many kinds of buffers there are ...
const KINDS: usize = 8;
/// ... for files up to this length. Above it, opening a file again costs little beside its bytes.
const FILE_BYTES_MAX: usize = KINDS * STEP_BYTES;
/// What the buffers of one source may take: a window of images that are put in order (16 MiB), and as much again
/// that is on its way to the line. On a line slower than the disk there is no room, and files are read twice.
const BYTES_MAX: usize = 32 << 20;

/// The buffers of one source.
#[derive(Debug, Clone, Default)]
pub(super) struct FileBuffers {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Buffers that nobody uses, by kind.
    free: [Vec<Vec<u8>>; KINDS],
    /// What all buffers take, those in use and the others.
    bytes: usize,
}

impl FileBuffers {
    /// A buffer for a file of `len` bytes, whatever is in it; `None` when the file is long, or there is no room.
    pub(super) fn take(&self, len: u64) -> Option<FileBuffer> {
        let len = to_usize(len);
        if len > FILE_BYTES_MAX {
            return None;
        }
        let kind = len.saturating_sub(1) / STEP_BYTES;
        let mut inner = lock(&self.inner);
        let mut bytes = match inner.free.get_mut(kind)?.pop() {
            Some(bytes) => bytes,
            None => inner.allocate(kind)?,
        };
        drop(inner);
        bytes.resize(len, 0);
        Some(FileBuffer { bytes, kind, home: Arc::clone(&self.inner) })
    }
}

impl Inner {
    fn allocate(&mut self, kind: usize) -> Option<Vec<u8>> {
        let size = (kind + 1) * STEP_BYTES;
        if self.bytes + size > BYTES_MAX {
            // Those of other kinds are in the way.
            for (kind, free) in self.free.iter_mut().enumerate() {
                self.bytes -= free.len() * (kind + 1) * STEP_BYTES;
                free.clear();
            }
        }
        if self.bytes + size > BYTES_MAX {
            return None;
        }
        self.bytes += size;
        Some(Vec::with_capacity(size))
    }
}

/// Room for one file, as long as it; given back when it is dropped.
#[derive(Debug)]
pub(super) struct FileBuffer {
    bytes: Vec<u8>,
    kind: usize,
    home: Arc<Mutex<Inner>>,
}

impl Deref for FileBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for FileBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for FileBuffer {
    fn drop(&mut self) {
        lock(&self.home).free[self.kind].push(std::mem::take(&mut self.bytes));
    }
}

/// The bytes of one file, until each of its chunks has been read.
#[derive(Debug)]
pub(super) struct Held {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: Option<FileBuffer>,
    /// Reads until the file is let go.
    left: usize,
    /// Whether a chunk was read: what is sent with it is of the same moment.
    begun: bool,
}

impl Held {
    /// Holds the bytes of a file of so many chunks.
    pub(super) const fn new(file: FileBuffer, chunks: usize) -> Self {
        Self { state: Mutex::new(State { file: Some(file), left: chunks, begun: false }) }
    }

    /// Copies what stands at `offset`. Returns whether it still was here, and before the first time whether the
    /// file is `unchanged`: one that is not is let go.
    pub(super) fn read(&self, offset: u64, out: &mut [u8], unchanged: impl FnOnce() -> bool) -> bool {
        let mut state = lock(&self.state);
        let State { file, left, begun } = &mut *state;
        let Some(bytes) = file else { return false };
        if !*begun && !unchanged() {
            *file = None;
            return false;
        }
        *begun = true;
        let start = to_usize(offset);
        let Some(bytes) = start.checked_add(out.len()).and_then(|end| bytes.get(start..end)) else { return false };
        out.copy_from_slice(bytes);
        *left = left.saturating_sub(1);
        if *left == 0 {
            *file = None;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::to_u64;

    fn file(buffers: &FileBuffers, content: &[u8]) -> FileBuffer {
        let mut buffer = buffers.take(to_u64(content.len())).unwrap();
        buffer.copy_from_slice(content);
        buffer
    }

    fn free(buffers: &FileBuffers) -> usize {
        lock(&buffers.inner).free.iter().map(Vec::len).sum()
    }

    #[test]
    fn a_file_is_held_until_each_chunk_was_read() {
        let buffers = FileBuffers::default();
        let held = Held::new(file(&buffers, b"headpixels"), 2);
        let mut out = [0; 4];
        assert!(!held.read(8, &mut out, || true), "past the end");
        assert!(held.read(0, &mut out, || true));
        assert_eq!(&out, b"head");
        let mut out = [0; 6];
        assert!(held.read(4, &mut out, || false), "of the same moment as the first");
        assert_eq!((&out, free(&buffers)), (b"pixels", 1));
        assert!(!held.read(4, &mut out, || true), "again: from the file");
    }

    #[test]
    fn a_file_that_changed_is_let_go() {
        let buffers = FileBuffers::default();
        let held = Held::new(file(&buffers, b"x"), 1);
        assert!(!held.read(0, &mut [0], || false));
        assert!(!held.read(0, &mut [0], || true));
        assert_eq!(free(&buffers), 1);
    }

    #[test]
    fn buffers_are_used_again_and_bounded() {
        let buffers = FileBuffers::default();
        assert!(buffers.take(to_u64(FILE_BYTES_MAX) + 1).is_none(), "a long file");
        drop((buffers.take(0), buffers.take(to_u64(STEP_BYTES))));
        assert_eq!((free(&buffers), lock(&buffers.inner).bytes), (2, 2 * STEP_BYTES));
        let long: Vec<_> = std::iter::from_fn(|| buffers.take(to_u64(FILE_BYTES_MAX))).collect();
        assert_eq!((long.len(), free(&buffers)), (BYTES_MAX / FILE_BYTES_MAX, 0), "they take the room of the short");
        assert!(buffers.take(1).is_none());
        drop(long);
        let lens: Vec<_> = (0..3).filter_map(|len| Some(buffers.take(len)?.len())).collect();
        assert_eq!(lens, [0, 1, 2]);
        assert!(lock(&buffers.inner).bytes <= BYTES_MAX);
    }
}
