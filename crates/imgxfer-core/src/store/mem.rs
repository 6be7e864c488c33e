//! Packs and index in memory: for tests, for the demo, and for callers that keep nothing.

mod index;
mod records;
mod study;

pub use index::MemIndex;
pub use records::MemRecords;
