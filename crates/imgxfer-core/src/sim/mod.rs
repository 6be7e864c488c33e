//! Things to try the product on: simulated lines. Never in the path of real patients' data.

#[cfg(feature = "quic")]
pub mod line;
