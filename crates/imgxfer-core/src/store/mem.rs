//! In memory (being written).
/// x
#[derive(Debug, Default)]
pub struct MemRecords;
/// x
#[derive(Debug, Default)]
pub struct MemIndex;
