//! Packs and index in memory: for tests, for the demo, and for callers that keep nothing.

mod index;
mod records;
mod study;
mod view;

pub use index::MemIndex;
pub use records::MemRecords;
