//! What the fuzz targets do: one function each, from bytes to a panic or not.
//!
//! `fuzz_targets/` hands them to libFuzzer; `crates/imgxfer-core/tests/fuzz_corpus.rs` includes this very
//! file and replays the seeds under `cargo test`.

pub mod chunk_cut;
pub mod codec_decode;
pub mod dicom_scan;
pub mod manifest;
pub mod pixel_decode;
pub mod pixel_round_trip;
pub mod proto_ops;
pub mod record;
pub mod store_recover;
pub mod wire_message;
