//! Synthetic studies and simulated lines, for demonstrations, tests and benches. Never in the path of
//! real patients' data.

pub mod data;
#[cfg(feature = "quic")]
pub mod line;
pub mod studies;
