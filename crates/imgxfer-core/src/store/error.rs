//! Why a store fails.

use std::io;

use crate::ids::PackId;

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk is full, or above its reserve. What was acknowledged is safe.
    #[error("the store has no space left ({free} bytes free): make room, then send again")]
    Full {
        /// Bytes free when it was noticed.
        free: u64,
    },
    /// Its owner has as much here as it may have. What was acknowledged is safe.
    #[error(
        "this site may have {quota} bytes there and has {bytes}: remove what is not needed, or ask its operator for more"
    )]
    OverQuota {
        /// Original bytes that it has.
        bytes: u64,
        /// Those that it may have.
        quota: u64,
    },
    /// The medium failed at `what`.
    #[error("the store could not {what}")]
    Io {
        /// The operation, for example "sync a pack".
        what: &'static str,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// What is stored is not what was written.
    #[error("stored data is damaged: {what} in pack {pack:?} at offset {offset}; run `imgxfer verify --store`")]
    Damaged {
        /// What was found wrong.
        what: &'static str,
        /// The pack.
        pack: PackId,
        /// Offset of the record in the pack.
        offset: u64,
    },
    /// A pack that is not there.
    #[error("pack {0:?} is not in the store")]
    NoSuchPack(PackId),
    /// Another process has the store open.
    #[error("another process has this store open: stop it, or name another folder")]
    Locked,
    /// The index failed.
    #[error("the index could not {what}: {detail}")]
    Index {
        /// The operation.
        what: &'static str,
        /// What the database said; never a value from a row.
        detail: String,
    },
    /// The index cannot be used at present: another process writes, or the medium under it failed.
    #[error("the index could not {what} at present: {detail}")]
    IndexUnavailable {
        /// The operation.
        what: &'static str,
        /// What the database said; never a value from a row.
        detail: String,
    },
    /// Written by a newer version.
    #[error("the store has format {found}; this program knows up to {known}: use a newer imgxfer")]
    Version {
        /// Format found.
        found: u32,
        /// Newest format known.
        known: u32,
    },
}

impl StoreError {
    /// Whether trying again later can help, without anybody mending what is stored. A peer that asked is told to wait.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            // A pack that was collected in the middle of a transfer is sent again by the next try.
            Self::Full { .. }
            | Self::OverQuota { .. }
            | Self::Io { .. }
            | Self::Locked
            | Self::NoSuchPack(_)
            | Self::IndexUnavailable { .. } => true,
            Self::Damaged { .. } | Self::Index { .. } | Self::Version { .. } => false,
        }
    }
}
