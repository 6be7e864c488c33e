//! Synthetic studies and simulated lines, for demonstrations, tests and benches.

pub mod data;
pub mod studies;
