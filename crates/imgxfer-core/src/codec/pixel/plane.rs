//! The plane of samples that every pixel model codes.

/// A plane: rows of samples, frames one below the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Samples in a row, at least 1.
    pub(super) width: usize,
    /// Rows of all frames together, at least 1. `width * rows` is at most 2^20.
    pub(super) rows: usize,
    /// Rows of one frame: every so many rows the picture begins anew. At most `rows`.
    pub(super) frame_rows: usize,
    /// How many rows further up the sample of a like picture stands (a frame before, or the colour plane before), a multiple of `frame_rows`; 0 for none.
    pub(super) reference_rows: usize,
    /// No sample is larger.
    pub(super) max: u16,
}

/// The payload is not one that the encoder writes.
#[derive(Debug)]
pub(super) struct Malformed;
