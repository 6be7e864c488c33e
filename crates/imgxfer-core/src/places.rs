//! Where records and chunks stand in packs.

use crate::ids::PackId;

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordAt {
    /// The pack.
    pub pack: PackId,
    /// Offset of the record's first byte in it.
    pub offset: u64,
    /// Length of the whole record in bytes.
    pub len: u32,
}

/// Where a chunk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkAt {
    /// The record that holds it.
    pub record: RecordAt,
    /// Its place in the record's chunk list.
    pub slot: u16,
}
