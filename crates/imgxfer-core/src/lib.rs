//! imgxfer-core (being written).
pub mod chunk;
pub mod clock;
pub mod codec;
pub mod dicom;
pub mod ids;
pub mod limits;
pub mod manifest;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod units;
pub mod wire;
