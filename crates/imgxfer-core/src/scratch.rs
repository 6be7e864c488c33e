//! Buffers that blocking threads keep for the next record.
//!
//! A record takes up to 1 MiB while it is made or verified. Memory that is asked for anew each time comes from
//! the system in pages, and costs as much time as hashing what is put into it.

use std::cell::RefCell;

use crate::limits::RECORD_RAW_BYTES_MAX;
use crate::units::to_usize;

/// No thread keeps more: a whole record with its list of chunks.
const KEPT_BYTES_MAX: u32 = RECORD_RAW_BYTES_MAX + (64 << 10);

thread_local! {
    static KEPT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Takes this thread's buffer, empty.
#[cfg(feature = "quic")]
pub(crate) fn take() -> Vec<u8> {
    let mut buffer = KEPT.take();
    buffer.clear();
    buffer
}

/// Takes this thread's buffer at a length of at least `len`, whatever is in it.
pub(crate) fn take_len(len: usize) -> Vec<u8> {
    let mut buffer = KEPT.take();
    if buffer.capacity() < len {
        // Fresh pages are zero already.
        return vec![0; len];
    }
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    buffer
}

/// Gives a buffer back for the next taker on this thread.
pub(crate) fn keep(buffer: Vec<u8>) {
    if buffer.capacity() <= to_usize(u64::from(KEPT_BYTES_MAX)) {
        drop(KEPT.replace(buffer));
    }
}
