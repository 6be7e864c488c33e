//! Checking what is on disk.

pub(crate) mod compare;
pub(crate) mod folder;
pub(crate) mod store;
pub(crate) mod tree;
