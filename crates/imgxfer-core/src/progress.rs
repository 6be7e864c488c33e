//! What a transfer tells while it runs.

use std::fmt;

use crate::codec::{CodecId, Level};
use crate::ids::{ManifestRoot, TransferId};
use crate::units::to_f64;

/// How far a transfer is. All counts are for the whole job, also over interruptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Instances that are expected; grows if more turn up.
    pub instances_expected: u64,
    /// Original bytes that are expected.
    pub bytes_expected: u64,
    /// Instances committed at the receiver, those it had before included.
    pub instances_committed: u64,
    /// Original bytes of those.
    pub bytes_committed: u64,
    /// Original bytes that are there and verified: sent in this transfer, or found there.
    pub bytes_arrived: u64,
    /// Of those, bytes that the receiver had before: from an interrupted transfer or an earlier one.
    pub bytes_present: u64,
    /// Bytes of records sent or received: the payload of the line.
    pub payload_bytes: u64,
    /// Original bytes in those records.
    pub payload_raw_bytes: u64,
    /// How the newest record of something other than headers was coded.
    pub coded: Option<Coded>,
    /// Bytes of UDP datagrams sent or received, both ways, on this connection.
    pub line_bytes: u64,
    /// Instances that failed or were left out for an error.
    pub instances_failed: u64,
}

impl Progress {
    /// Adds what an earlier connection of the same job put on the line.
    #[must_use]
    pub const fn with_line_of(mut self, earlier: &Self) -> Self {
        self.payload_bytes += earlier.payload_bytes;
        self.payload_raw_bytes += earlier.payload_raw_bytes;
        self.line_bytes += earlier.line_bytes;
        self
    }

    /// Original bytes for each byte of the records so far; `None` before the first.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        (self.payload_bytes > 0).then(|| to_f64(self.payload_raw_bytes) / to_f64(self.payload_bytes))
    }
}

/// How a record was coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coded {
    /// Its codec.
    pub codec: CodecId,
    /// Its level, where it was made on this side and not taken from a store.
    pub level: Option<Level>,
}

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Some(level) => write!(f, "{} level {}", self.codec, level.get()),
            None => self.codec.fmt(f),
        }
    }
}

/// Something worth telling a person or a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferEvent {
    /// A transfer began on a connection.
    Started {
        /// Its id.
        transfer: TransferId,
    },
    /// Some way along; a few times a second.
    Progress(Progress),
    /// A file was left out because it is not meant to be sent; nothing is wrong.
    Skipped {
        /// The file, as the user named it.
        label: String,
        /// Why.
        reason: String,
    },
    /// An instance did not arrive; the rest goes on.
    Failed {
        /// The file, as the user named it, or the instance.
        label: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The connection was lost; it will be tried again.
    Interrupted {
        /// Why.
        reason: String,
        /// After so many milliseconds.
        retry_in_ms: u64,
    },
    /// Everything is settled and the receipt has been checked.
    Settled {
        /// Root of the manifest.
        root: ManifestRoot,
        /// Whether whole studies are committed.
        complete: bool,
    },
}

/// Is told what happens in a transfer. Calls come from the transfer's task: they must not block.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn on_event(&self, event: &TransferEvent);
}

impl<F: Fn(&TransferEvent) + Send + Sync> Observer for F {
    fn on_event(&self, event: &TransferEvent) {
        self(event);
    }
}
