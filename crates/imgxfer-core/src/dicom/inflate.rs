//! A deflated data set (PS3.5 section A.5) as a stream of its elements.

use std::io;

use flate2::{Decompress, FlushDecompress, Status};

use super::window::{Input, Window};
use crate::units::{to_u64, to_usize};

/// Most bytes that are inflated of one instance: a small file can hold any amount of zeros.
pub(super) const INFLATED_BYTES_MAX: u64 = 64 << 20;

/// Bytes inflated at a time. Every value that the scanner looks at fits.
const STEP_BYTES: usize = 32 << 10;

/// What a deflated data set holds. Offsets count inflated bytes.
pub(super) struct Inflated<'w, 'a> {
    window: &'w mut Window<'a>,
    position: u64,
    inflater: Decompress,
    buffer: Vec<u8>,
    start: u64,
    end: u64,
    /// The stream ended where it says it does, not where the file or our patience did.
    pub(super) complete: bool,
}

impl<'w, 'a> Inflated<'w, 'a> {
    /// Begins at `offset` of the file. Writers that put a zlib header there (RFC 1950) break the
    /// standard and are understood.
    pub(super) fn new(window: &'w mut Window<'a>, offset: u64) -> io::Result<Self> {
        let has_zlib_header =
            matches!(window.peek(offset, 2)?, &[0x78, flags] if (0x7800 | u16::from(flags)).is_multiple_of(31));
        Ok(Self {
            window,
            position: offset,
            inflater: Decompress::new(has_zlib_header),
            buffer: Vec::new(),
            start: 0,
            end: u64::MAX,
            complete: false,
        })
    }

    /// Where the file stands behind the deflated stream, as far as it was read.
    fn have(&self) -> u64 {
        self.start + to_u64(self.buffer.len())
    }

    /// Inflates one step, dropping what lies before `keep_from`.
    fn step(&mut self, keep_from: u64) -> io::Result<()> {
        let drop = to_usize(keep_from.saturating_sub(self.start)).min(self.buffer.len());
        self.buffer.drain(..drop);
        self.start += to_u64(drop);
        self.buffer.reserve(STEP_BYTES);
        let input = self.window.peek(self.position, STEP_BYTES)?;
        let (in_before, out_before) = (self.inflater.total_in(), self.buffer.len());
        let status = self.inflater.decompress_vec(input, &mut self.buffer, FlushDecompress::None);
        let consumed = self.inflater.total_in() - in_before;
        self.position += consumed;
        match status {
            Ok(Status::StreamEnd) => (self.complete, self.end) = (true, self.have()),
            Ok(_) if consumed > 0 || self.buffer.len() > out_before => {}
            // Damaged or cut short: what came out so far still counts.
            Ok(_) | Err(_) => self.end = self.have(),
        }
        if self.have() >= INFLATED_BYTES_MAX {
            self.end = self.end.min(self.have());
        }
        Ok(())
    }
}

impl Input for Inflated<'_, '_> {
    const REWINDS: bool = false;

    fn peek(&mut self, offset: u64, want: usize) -> io::Result<&[u8]> {
        let want_end = offset.saturating_add(to_u64(want.min(STEP_BYTES)));
        while self.have() < want_end && self.end == u64::MAX {
            self.step(offset)?;
        }
        let from = to_usize(offset.saturating_sub(self.start)).min(self.buffer.len());
        let to = to_usize(want_end.saturating_sub(self.start)).min(self.buffer.len());
        Ok(self.buffer.get(from..to).unwrap_or(&[]))
    }

    fn end(&self) -> u64 {
        self.end
    }
}
