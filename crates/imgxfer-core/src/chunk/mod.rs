//! Where an instance is cut into chunks.
//!
//! DICOM is cut where DICOM itself has seams: the file meta group, what stands before the pixel data, each frame,
//! what follows. An instance that is sent again with a corrected name then differs in one small chunk. What
//! is not DICOM is cut by its content. The same bytes give the same cuts on every machine and in every
//! version that shares a manifest format, since chunk identities depend on it.

mod class;
mod content;
mod frames;
#[cfg(test)]
mod tests;

use std::io;

use crate::codec::PixelShape;
use crate::dicom::{PixelData, ReadAt, Scan};
use crate::limits::{CHUNK_BYTES_MAX, CHUNKS_PER_INSTANCE_MAX};
use crate::units::{to_u64, to_usize};

pub use class::ChunkClass;

/// One chunk-to-be: a range of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Offset in the file.
    pub offset: u64,
    /// Length in bytes, 1 to [`crate::limits::CHUNK_BYTES_MAX`].
    pub len: u32,
    /// What it holds.
    pub class: ChunkClass,
}

/// Longest instance that can be cut at all, somewhat under 100 GiB.
pub const INSTANCE_BYTES_MAX: u64 = (CHUNKS_PER_INSTANCE_MAX as u64 - 1_000) * CHUNK_BYTES_MAX as u64;

/// Cuts an instance. The cuts cover the file without gaps, in order; an empty file has none.
///
/// Pixel data is never read; header parts of more than 1 MiB are, and files without a scan, once, through
/// a buffer of 4 MiB.
///
/// # Errors
/// When reading fails, or the file would need more chunks than an instance may have.
pub fn cut(source: &dyn ReadAt, scan: Option<&Scan>) -> io::Result<Vec<Cut>> {
    let len = source.len();
    if len > INSTANCE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too long for one instance"));
    }
    let mut cuts = Cuts::default();
    let Some(scan) = scan else {
        content::cut(source, 0..len, ChunkClass::Opaque, &mut cuts)?;
        return cuts.finish();
    };
    let pixels = pixel_range(scan.pixels.as_ref(), len);
    let meta_end = scan.data_set_offset.min(pixels.start);
    content::cut(source, 0..meta_end, ChunkClass::Meta, &mut cuts)?;
    content::cut(source, meta_end..pixels.start, ChunkClass::Header, &mut cuts)?;
    let header_cuts = cuts.list.len();
    for density in [Density::Normal, Density::High, Density::Blind] {
        cuts.list.truncate(header_cuts);
        frames::cut(scan.pixels.as_ref(), pixels.clone(), density, &mut cuts);
        if !cuts.is_full() {
            break;
        }
    }
    content::cut(source, cuts.end()..len, ChunkClass::Header, &mut cuts)?;
    cuts.finish()
}

/// The shape to hand to a codec for chunks of class `Pixels` of this instance.
#[must_use]
pub fn pixel_shape(scan: &Scan) -> Option<PixelShape> {
    match scan.pixels.as_ref()? {
        PixelData::Native { shape, .. } => *shape,
        PixelData::Encapsulated { .. } => None,
    }
}

/// Where pixel data stands, within a file of `len` bytes; an empty range at its end where there is none.
fn pixel_range(pixels: Option<&PixelData>, len: u64) -> std::ops::Range<u64> {
    let (start, end) = match pixels {
        Some(PixelData::Native { offset, len, .. }) => (*offset, offset.saturating_add(*len)),
        Some(PixelData::Encapsulated { offset, fragments_end, .. }) => (*offset, *fragments_end),
        None => (len, len),
    };
    let start = start.min(len);
    start..end.clamp(start, len)
}

/// How much a pixel chunk takes in. More only where there would be too many chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Density {
    /// A frame, or some 256 KiB of small ones.
    Normal,
    /// As many frames as fit 1 MiB.
    High,
    /// 1 MiB, whatever is in it.
    Blind,
}

/// Chunks that pixel data leaves to what stands around it.
const CHUNKS_KEPT_FOR_HEADERS: usize = 1_000;

/// The cuts so far, one behind the other from 0.
#[derive(Debug, Default)]
struct Cuts {
    list: Vec<Cut>,
}

impl Cuts {
    fn end(&self) -> u64 {
        self.list.last().map_or(0, |cut| cut.offset + u64::from(cut.len))
    }

    /// Adds what lies between the last cut and `end`; in pieces where that is more than a chunk holds.
    fn push_to(&mut self, end: u64, class: ChunkClass) {
        let start = self.end();
        let Some(len) = end.checked_sub(start).filter(|len| *len > 0) else { return };
        let pieces = len.div_ceil(u64::from(CHUNK_BYTES_MAX));
        for piece in 1..=pieces {
            let to = start + near_equal(len, piece, pieces);
            let offset = self.end();
            // At most CHUNK_BYTES_MAX, by the number of pieces.
            let len = u32::try_from(to - offset).unwrap_or(CHUNK_BYTES_MAX);
            self.list.push(Cut { offset, len, class });
            if self.is_too_long() {
                return;
            }
        }
    }

    /// More cuts than an instance may have: [`Cuts::finish`] will refuse them.
    fn is_too_long(&self) -> bool {
        to_u64(self.list.len()) > u64::from(CHUNKS_PER_INSTANCE_MAX)
    }

    /// Pixel data should take in more per chunk.
    fn is_full(&self) -> bool {
        self.list.len() + CHUNKS_KEPT_FOR_HEADERS > to_usize(u64::from(CHUNKS_PER_INSTANCE_MAX))
    }

    fn finish(self) -> io::Result<Vec<Cut>> {
        if self.is_too_long() {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file needs too many chunks for one instance"));
        }
        Ok(self.list)
    }
}

/// Where piece number `piece` of `pieces` ends, when `len` is shared out evenly. Rounds down.
fn near_equal(len: u64, piece: u64, pieces: u64) -> u64 {
    let end = u128::from(len) * u128::from(piece) / u128::from(pieces.max(1));
    u64::try_from(end).unwrap_or(len)
}
