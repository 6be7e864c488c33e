//! What goes wrong with the queue, and how a failed transfer is called in it.

use std::path::PathBuf;

use imgxfer_core::error::TransferError;
use imgxfer_core::proto::ProtocolError;
use imgxfer_core::store::StoreError;
use imgxfer_core::transport::TransportError;
use imgxfer_core::wire::message::RefuseCode;
use imgxfer_core::work::WorkError;

/// Why the queue could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// Its file cannot be used.
    #[error("the queue {} cannot be opened; check space and permissions", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The database failed.
    #[error("the queue's database failed ({0}); check the disk")]
    Database(String),
    /// Written by a newer program.
    #[error("the queue has format {found}, this program knows up to {known}: use a newer imgxferd")]
    Version {
        /// Format found.
        found: u32,
        /// Newest format known.
        known: u32,
    },
    /// A receipt that cannot be written down.
    #[error("a receipt could not be written down")]
    Receipt,
    /// A defect met, or the daemon stops.
    #[error(transparent)]
    Work(#[from] WorkError),
}

impl From<rusqlite::Error> for QueueError {
    fn from(error: rusqlite::Error) -> Self {
        // The code alone: SQLite's own text may quote a value.
        let code = error.sqlite_error_code().map_or_else(|| "unexpected data".to_owned(), |code| format!("{code:?}"));
        Self::Database(code)
    }
}

/// What failed here, with all its causes, for the log. Nothing where the words are a peer's or of a file.
pub(crate) fn cause_of(error: &TransferError) -> Option<String> {
    if !matches!(error, TransferError::Store(_) | TransferError::Work(_) | TransferError::Identity(_)) {
        return None;
    }
    Some(causes(error))
}

/// An error with all its causes, in one line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

/// What went wrong with a transfer, in words of this program's own: a peer's words stay out of the
/// database and the log.
pub(crate) fn code_of(error: &TransferError) -> &'static str {
    match error {
        TransferError::Transport(error) => match error {
            TransportError::UnknownHost { .. } => "unknown-host: check the peer's address and the DNS server",
            TransportError::Unreachable { .. } => {
                "unreachable: check the peer's address, and that UDP or TCP passes to it"
            }
            TransportError::TimedOut
            | TransportError::Cut
            | TransportError::Reset { .. }
            | TransportError::Truncated => "line-lost",
            TransportError::PeerRestarted | TransportError::PeerClosed { .. } => "peer-closed",
            TransportError::Peer(_) => "wrong-peer: who answered is not the configured peer; check address and key",
            TransportError::RefusedByPeer => {
                "refused: the peer does not know this site; pair with it, or have this site's fingerprint added there"
            }
            TransportError::Busy => "peer-busy",
            TransportError::Version => "version: one of the two sites needs a newer imgxfer",
            TransportError::LocallyClosed => "stopped",
            _ => "connection-failed",
        },
        TransferError::Protocol(ProtocolError::Refused { code, .. }) => match code {
            RefuseCode::NotAllowed => "not-allowed: ask the peer's operator for the right to send",
            RefuseCode::NoSpace => "peer-full: the peer has no disk space left",
            RefuseCode::Busy => "peer-busy",
            RefuseCode::ShuttingDown => "peer-stopping",
            RefuseCode::Internal => "peer-failed: ask the peer's operator",
            _ => "peer-refused: ask the peer's operator",
        },
        TransferError::Protocol(_) => "protocol: the peer sent something unexpected; compare versions",
        TransferError::Store(StoreError::Full { .. }) => "store-full: the disk of this site's store is full: make room",
        TransferError::Store(StoreError::OverQuota { .. }) => "over-quota: the peer has as much here as it may have",
        TransferError::Store(_) => "store: this site's store failed; look at its log and disk",
        TransferError::Source(_) => "unreadable: the files cannot be read",
        TransferError::Identity(_) => "identity: this site's key cannot sign",
        TransferError::Receipt(_) => "bad-receipt: the peer's receipt cannot be trusted; the originals are kept",
        TransferError::Stalled => "stalled: the line is alive but nothing moved",
        TransferError::Work(WorkError::Panicked(_)) => {
            "defect: look at the log of this site for its place, and report it"
        }
        TransferError::Cancelled | TransferError::Work(_) => "stopped",
        _ => "failed",
    }
}
