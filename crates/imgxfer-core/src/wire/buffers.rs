//! Buffers of records, used again when nobody holds the record any more.
//!
//! A record takes up to 1 MiB. Memory that is asked for anew each time comes from the system in pages, and costs as
//! much time as hashing what is put into it.

use crate::sync::lock;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

/// Longer buffers are kept: those of records that are nearly full. A short record must not hold a long buffer.
const KEPT_BYTES_MIN: usize = 512 << 10;

/// Buffers that nobody uses.
#[derive(Debug, Clone)]
pub(crate) struct Buffers {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
    kept_max: usize,
}

impl Buffers {
    /// Keeps up to `kept_max` buffers of a little over 1 MiB.
    pub(crate) fn new(kept_max: usize) -> Self {
        Self { free: Arc::default(), kept_max }
    }

    /// A buffer of `len` bytes, whatever is in it.
    pub(crate) fn take(&self, len: usize) -> Buffer {
        let kept = if len < KEPT_BYTES_MIN { None } else { self.with(Vec::pop) };
        let mut bytes = kept.unwrap_or_default();
        if bytes.capacity() < len {
            // Fresh pages are zero already.
            bytes = vec![0; len];
        } else if bytes.len() < len {
            bytes.resize(len, 0);
        }
        Buffer { bytes, len, home: self.clone() }
    }

    fn with<T>(&self, then: impl FnOnce(&mut Vec<Vec<u8>>) -> T) -> T {
        then(&mut lock(&self.free))
    }
}

/// A buffer; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    home: Buffers,
}

#[cfg(feature = "quic")]
impl Buffer {
    /// Leaves out what stands behind `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Room that it takes.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// The content; the buffer is given back with the last clone of it.
impl From<Buffer> for Bytes {
    fn from(buffer: Buffer) -> Self {
        Self::from_owner(buffer)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.capacity() >= KEPT_BYTES_MIN {
            let bytes = std::mem::take(&mut self.bytes);
            let kept_max = self.home.kept_max;
            self.home.with(|free| {
                if free.len() < kept_max {
                    free.push(bytes);
                }
            });
        }
    }
}

#[cfg(all(test, feature = "quic"))]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_with_the_last_of_its_content() {
        let buffers = Buffers::new(1);
        let mut buffer = buffers.take(KEPT_BYTES_MIN);
        buffer.fill(7);
        buffer.truncate(10);
        let bytes = Bytes::from(buffer);
        let part = bytes.slice(8..);
        drop(bytes);
        assert_eq!((part.as_ref(), buffers.with(|free| free.len())), (&[7, 7][..], 0));
        drop(part);
        assert_eq!(buffers.with(|free| free.len()), 1);
        assert_eq!(buffers.take(KEPT_BYTES_MIN + 1).len(), KEPT_BYTES_MIN + 1);
    }

    #[test]
    fn few_and_long_buffers_are_kept() {
        let buffers = Buffers::new(2);
        drop((buffers.take(KEPT_BYTES_MIN), buffers.take(KEPT_BYTES_MIN), buffers.take(KEPT_BYTES_MIN)));
        drop(buffers.take(10));
        assert_eq!(buffers.with(|free| free.len()), 2);
        assert_eq!(buffers.take(10).capacity(), 10, "a short one holds no long buffer");
        assert_eq!(buffers.with(|free| free.len()), 2);
    }
}
