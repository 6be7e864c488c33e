//! Cuts by content (FastCDC, Xia et al. 2020): bytes put in or taken out move no cut far behind them.

use std::io;
use std::ops::Range;

use fastcdc::v2020::FastCDC;

use super::ChunkClass;
use super::Cuts;
use crate::dicom::ReadAt;
use crate::limits::CHUNK_BYTES_MAX;
use crate::units::{to_u64, to_usize};

/// Least, desired and most bytes of a chunk.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    min: u32,
    average: u32,
}

const NORMAL: Sizes = Sizes { min: 64 << 10, average: 256 << 10 };
/// For what would else need too many chunks.
const COARSE: Sizes = Sizes { min: 256 << 10, average: 512 << 10 };

/// Up to here no content can make too many chunks of 64 KiB (6.4 GB), or of 256 KiB (25 GB).
const NORMAL_BYTES_MAX: u64 = 95_000 * (64 << 10);
const COARSE_BYTES_MAX: u64 = 95_000 * (256 << 10);

/// A header part over this length (1.3 GB) leaves chunks for the pixel data by being cut every 1 MiB.
const HEADER_BYTES_MAX: u64 = 20_000 * (64 << 10);

/// Read at a time.
const BUFFER_BYTES: usize = 4 << 20;

/// Cuts `range` of the file. A header part that fits one chunk is not read; what is
/// over 25 GB long (1.3 GB in a header part) is cut every 1 MiB without being read.
pub(super) fn cut(source: &dyn ReadAt, range: Range<u64>, class: ChunkClass, cuts: &mut Cuts) -> io::Result<()> {
    let len = range.end.saturating_sub(range.start);
    let (single, by_content_max) = match class {
        ChunkClass::Meta | ChunkClass::Header | ChunkClass::Pixels => (u64::from(CHUNK_BYTES_MAX), HEADER_BYTES_MAX),
        ChunkClass::Opaque => (u64::from(NORMAL.min), COARSE_BYTES_MAX),
    };
    let sizes = match len {
        0 => return Ok(()),
        n if n <= single || n > by_content_max => {
            cuts.push_to(range.end, class);
            return Ok(());
        }
        n if n <= NORMAL_BYTES_MAX => NORMAL,
        _ => COARSE,
    };
    let mut buffer = Vec::new();
    let mut at = range.start;
    while at < range.end {
        // What is left over from the last round is read again: less than one chunk of four.
        let want = to_usize(range.end - at).min(BUFFER_BYTES);
        buffer.resize(want, 0);
        source.read_exact_at(at, &mut buffer)?;
        let is_last = to_u64(want) == range.end - at;
        let done = cut_buffer(&buffer, at, is_last, sizes, class, cuts);
        at += to_u64(done);
    }
    Ok(())
}

/// Cuts one buffer as far as later bytes cannot change it; returns how far that is.
fn cut_buffer(buffer: &[u8], at: u64, is_last: bool, sizes: Sizes, class: ChunkClass, cuts: &mut Cuts) -> usize {
    let chunker = FastCDC::new(buffer, sizes.min, sizes.average, CHUNK_BYTES_MAX);
    let mut done = 0;
    while done < buffer.len() && (is_last || buffer.len() - done >= to_usize(u64::from(CHUNK_BYTES_MAX))) {
        let (_, end) = chunker.cut(done, buffer.len() - done);
        // Moves on even if the chunker did not.
        done = end.clamp(done + 1, buffer.len());
        cuts.push_to(at + to_u64(done), class);
    }
    done
}
