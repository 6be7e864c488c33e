//! imgxfer-core (being written).
pub mod chunk;
pub mod clock;
pub mod codec;
pub mod dicom;
pub mod ids;
pub mod limits;
pub mod manifest;
#[cfg(feature = "sim")]
pub mod sim;
pub mod store;
pub mod units;
pub mod wire;
