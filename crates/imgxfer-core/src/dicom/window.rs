//! A small buffered view of a file, so that the walk over its elements costs few reads.

use std::io;

use super::ReadAt;
use crate::units::{to_u64, to_usize};

/// What the walk reads from: a file, or what comes out of a deflated one, where offsets only ever grow.
pub(super) trait Input {
    /// Up to `want` bytes from `offset`; fewer only where the bytes end.
    fn peek(&mut self, offset: u64, want: usize) -> io::Result<&[u8]>;

    /// Where the bytes end; `u64::MAX` while that is not known.
    fn end(&self) -> u64;

    /// Whether it can be read again from an earlier offset.
    const REWINDS: bool;
}

/// First read, and the read after a jump: most headers fit.
const READ_BYTES_MIN: usize = 8 << 10;
/// Longest read, reached when the walk goes straight on. Bounds the memory of a scan.
const READ_BYTES_MAX: usize = 64 << 10;

/// A window of at most 64 KiB over a file.
pub(super) struct Window<'a> {
    source: &'a dyn ReadAt,
    end: u64,
    buffer: Vec<u8>,
    start: u64,
    read_bytes: usize,
}

impl<'a> Window<'a> {
    pub(super) fn new(source: &'a dyn ReadAt) -> Self {
        Self { source, end: source.len(), buffer: Vec::new(), start: 0, read_bytes: READ_BYTES_MIN }
    }

    fn covers(&self, offset: u64, want: usize) -> Option<(usize, usize)> {
        let from = to_usize(offset.checked_sub(self.start)?);
        let to = from.checked_add(want)?;
        (to <= self.buffer.len()).then_some((from, to))
    }

    /// Reads at `offset` at least `want` bytes, which the file has.
    fn fill(&mut self, offset: u64, want: usize) -> io::Result<()> {
        let goes_on = offset <= self.start + to_u64(self.buffer.len()) && !self.buffer.is_empty();
        self.read_bytes = if goes_on { (self.read_bytes * 2).min(READ_BYTES_MAX) } else { READ_BYTES_MIN };
        let len = to_usize(self.end - offset).min(self.read_bytes.max(want));
        self.buffer.clear();
        self.buffer.resize(len, 0);
        self.start = offset;
        let read = self.source.read_exact_at(offset, &mut self.buffer);
        if read.is_err() {
            self.buffer.clear();
        }
        read
    }
}

impl Input for Window<'_> {
    const REWINDS: bool = true;

    fn peek(&mut self, offset: u64, want: usize) -> io::Result<&[u8]> {
        let want = to_usize(self.end.saturating_sub(offset)).min(want).min(READ_BYTES_MAX);
        if want == 0 {
            return Ok(&[]);
        }
        if self.covers(offset, want).is_none() {
            self.fill(offset, want)?;
        }
        let (from, to) = self.covers(offset, want).unwrap_or((0, 0));
        Ok(self.buffer.get(from..to).unwrap_or(&[]))
    }

    fn end(&self) -> u64 {
        self.end
    }
}
