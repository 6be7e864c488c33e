//! Reading a stored instance (being written).
/// x
#[derive(Debug)]
pub struct StoredReader;
