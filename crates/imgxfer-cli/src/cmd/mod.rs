//! The commands, one file each.

pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod consultation;
pub(crate) mod daemon;
pub(crate) mod demo;
pub(crate) mod frames;
pub(crate) mod id;
pub(crate) mod init;
pub(crate) mod ls;
pub(crate) mod pair;
pub(crate) mod peers;
pub(crate) mod priority;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod receipt;
pub(crate) mod receipts;
pub(crate) mod repair;
pub(crate) mod rm;
pub(crate) mod status;
pub(crate) mod verify;
