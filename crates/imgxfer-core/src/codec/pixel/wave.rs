//! The order in which samples are coded: a wave of 32 rows.
//!
//! Rows are dealt to 32 lanes in turn: lane `l` takes rows `l`, `l + 32`, `l + 64` and so on. Each lane
//! codes its rows one behind the other, a row with its margins in `period` steps; lane `l + 1` is 3 steps
//! behind lane `l`. So in one step 32 samples can be coded at once, while each has its full causal
//! neighbourhood (two to the right in the row above) already coded: no strips, no lost borders.

use super::plane::Geometry;

/// Rows that are coded at once.
pub(super) const ROWS_AT_ONCE: usize = 32;
/// Steps that a lane is behind the lane above.
pub(super) const LAG: usize = 3;
/// Margin columns on either side of a row.
pub(super) const MARGIN: usize = 2;
/// Fewest steps from one row of a lane to its next, so that the first lane never catches up with the last.
const PERIOD_MIN: usize = 112;

/// Cells of lanes that even the smallest plane may take up.
const CELLS_FREE: usize = 1 << 16;

/// Sizes of the wave over a plane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wave {
    /// Steps of a row with its margins.
    pub(super) period: usize,
    /// Steps from the first lane's first to the last lane's last.
    pub(super) steps: usize,
}

impl Wave {
    /// The wave over a plane.
    pub(super) fn over(geometry: &Geometry) -> Self {
        let period = (geometry.width + 2 * MARGIN).max(PERIOD_MIN);
        let lane_steps = geometry.rows.div_ceil(ROWS_AT_ONCE) * period;
        Self { period, steps: lane_steps + LAG * (ROWS_AT_ONCE - 1) }
    }

    /// Whether the wave is worth its memory: narrow planes, and those of a few rows, leave most lanes idle.
    pub(super) fn suits(geometry: &Geometry) -> bool {
        Self::over(geometry).steps * ROWS_AT_ONCE <= 4 * geometry.samples() + CELLS_FREE
    }

    /// Where column 0 of a row stands: its lane, and the lane's own step.
    pub(super) const fn start_of(&self, row: usize) -> (usize, usize) {
        (row % ROWS_AT_ONCE, row / ROWS_AT_ONCE * self.period + MARGIN)
    }
}
