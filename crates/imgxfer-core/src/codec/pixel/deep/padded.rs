//! The plane with a margin round every frame, so that neighbours are found without looking where the edge is.

use super::super::plane::Geometry;

/// Cells left and right of each row.
const MARGIN: usize = 4;
/// Rows above each frame.
const ROWS_ABOVE: usize = 3;

/// The samples so far, each frame with [`ROWS_ABOVE`] rows above it and [`MARGIN`] cells at either side.
#[derive(Debug)]
pub(super) struct Padded {
    cells: Vec<u16>,
    pub(super) stride: usize,
    width: usize,
    frame_rows: usize,
}

impl Padded {
    pub(super) fn new(geometry: &Geometry) -> Self {
        let frames = geometry.rows.div_ceil(geometry.frame_rows);
        let stride = geometry.width + 2 * MARGIN;
        let cells = vec![0; stride * (geometry.rows + frames * ROWS_ABOVE + 1)];
        Self { cells, stride, width: geometry.width, frame_rows: geometry.frame_rows }
    }

    /// Where the first sample of a row stands.
    pub(super) fn row_start(&self, row: usize) -> usize {
        (row + (row / self.frame_rows + 1) * ROWS_ABOVE) * self.stride + MARGIN
    }

    /// Makes the margin that the samples of `row` are going to look at: at the top of a frame the rows above it
    /// (the first row of the frame before, or zeros), and left of the row the sample above its first.
    pub(super) fn begin_row(&mut self, row: usize) {
        let start = self.row_start(row);
        if row.is_multiple_of(self.frame_rows) && row > 0 {
            let first = self.row_start(row - self.frame_rows) - MARGIN;
            for above in 1..=ROWS_ABOVE {
                self.cells.copy_within(first..first + self.stride, start - MARGIN - above * self.stride);
            }
        }
        let above = self.cells[start - self.stride];
        self.cells[start - MARGIN..start].fill(above);
    }

    /// Makes the margin right of a finished row.
    pub(super) fn end_row(&mut self, row: usize) {
        let end = self.row_start(row) + self.width;
        let last = self.cells[end - 1];
        self.cells[end..end + MARGIN].fill(last);
    }

    #[inline]
    pub(super) fn set(&mut self, at: usize, sample: u16) {
        self.cells[at] = sample;
    }

    /// The row of cells from `at` on; one bounds check for several neighbours.
    #[inline]
    pub(super) fn span<const N: usize>(&self, at: usize) -> [i32; N] {
        let mut span = [0; N];
        for (to, from) in span.iter_mut().zip(&self.cells[at..at + N]) {
            *to = i32::from(*from);
        }
        span
    }
}
