//! What ends a transfer, whose fault it is, and whether trying again can help.

use std::io;

use crate::proto::ProtocolError;
use crate::store::StoreError;
use crate::transport::{IdentityError, TransportError};
use crate::units::human_bytes;
use crate::wire::message::RefuseCode;
use crate::work::WorkError;

/// Where to look first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The other site.
    Peer,
    /// This site: its disk, its keys, its configuration.
    Local,
    /// Whoever called: a wrong name, a wrong order of calls.
    Caller,
    /// The line between the two.
    Network,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// At once: what was lost is only what was in flight.
    Now,
    /// After a while, when something outside has changed.
    Later,
    /// Not without somebody doing something first.
    Never,
}

/// Why a transfer or a question ended without its aim.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The connection.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The peer broke the protocol or refused.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The store at this end.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was to be sent cannot be read at all.
    #[error("what was to be sent cannot be read")]
    Source(#[source] io::Error),
    /// A file or folder that was to be sent is not there.
    #[error("there is no such file or folder: {0}")]
    NoSuchPath(String),
    /// The transfer is over, and part of it is not committed. The rest is, and stays.
    #[error(
        "not complete: {committed} instances are committed, and others are not; the events of the transfer named them and said why"
    )]
    Incomplete {
        /// Instances that are committed at the receiver.
        committed: u64,
    },
    /// Signing failed.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The receipt is not the receiver's word for what was sent.
    #[error("the other site's receipt cannot be trusted: {0}. Keep the originals, and check the other site")]
    Receipt(&'static str),
    /// A defect of this program, or its end, stopped a piece of work that the transfer cannot do without.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The other side is alive, but nothing moved.
    #[error("nothing moved for {} s although the line is alive: look at the other site's log and disk", crate::limits::PROGRESS_DEADLINE.as_secs())]
    Stalled,
    /// There is no room for it at this end at present.
    #[error("there is no room for this transfer at present: {0}. It is tried again, and goes on where it was")]
    Crowded(&'static str),
    /// This side ended it.
    #[error("the transfer was ended on this side; the same command resumes it")]
    Cancelled,
}

impl TransferError {
    /// Where to look first.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Transport(error) => match error {
                TransportError::Bind { .. }
                | TransportError::Local { .. }
                | TransportError::Identity(_)
                | TransportError::Peer(_) => Fault::Local,
                TransportError::UnknownHost { .. } | TransportError::Fingerprint(_) | TransportError::InsideRuntime => {
                    Fault::Caller
                }
                TransportError::RefusedByPeer
                | TransportError::NotOpenForPairing { .. }
                | TransportError::Protocol { .. }
                | TransportError::Busy => Fault::Peer,
                _ => Fault::Network,
            },
            Self::Protocol(_) | Self::Receipt(_) | Self::Stalled | Self::Crowded(_) => Fault::Peer,
            Self::Store(_) | Self::Source(_) | Self::Identity(_) | Self::Work(_) | Self::Incomplete { .. } => {
                Fault::Local
            }
            Self::Cancelled | Self::NoSuchPath(_) => Fault::Caller,
        }
    }

    /// Whether trying again can help.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Transport(error) => match error {
                TransportError::TimedOut
                | TransportError::Cut
                | TransportError::PeerRestarted
                | TransportError::Reset { .. }
                | TransportError::Truncated
                | TransportError::PeerClosed { .. } => Retry::Now,
                TransportError::Unreachable { .. } | TransportError::UnknownHost { .. } | TransportError::Busy => {
                    Retry::Later
                }
                _ => Retry::Never,
            },
            Self::Protocol(ProtocolError::Refused {
                code: RefuseCode::Busy | RefuseCode::ShuttingDown | RefuseCode::NoSpace,
                ..
            })
            | Self::Stalled
            | Self::Crowded(_)
            | Self::Work(WorkError::Stopping) => Retry::Later,
            // A folder that cannot be written to stays so; a store that is full or busy does not.
            Self::Store(
                StoreError::Full { .. } | StoreError::OverQuota { .. } | StoreError::IndexUnavailable { .. },
            ) => Retry::Later,
            _ => Retry::Never,
        }
    }

    /// What to tell the peer when this ends a transfer, if it has to be told: code and remedy. `to_come` original bytes
    /// of the transfer were not here yet.
    #[must_use]
    pub fn refusal_with(&self, to_come: u64) -> Option<(RefuseCode, String)> {
        match self {
            Self::Store(StoreError::Full { free }) => Some((
                RefuseCode::NoSpace,
                format!(
                    "the receiving site's disk is full: up to {} are still to come, and {} are free, what it keeps in reserve included; what arrived is safe, the rest goes on when there is room",
                    human_bytes(to_come),
                    human_bytes(*free)
                ),
            )),
            Self::Store(error @ StoreError::OverQuota { .. }) => Some((RefuseCode::NoSpace, error.to_string())),
            // Not `Internal`, which a sender takes as final: it is to wait, and to try again.
            Self::Store(error) if error.is_transient() => Some((
                RefuseCode::Busy,
                "the receiving site's store cannot be used at present; the transfer is to be tried again".to_owned(),
            )),
            Self::Store(_) | Self::Identity(_) => {
                Some((RefuseCode::Internal, "the receiving site's store failed: ask its operator".to_owned()))
            }
            Self::Source(_) | Self::NoSuchPath(_) => {
                Some((RefuseCode::Internal, "the sending site cannot read what was asked for".to_owned()))
            }
            Self::Work(WorkError::Panicked(_)) => Some((
                RefuseCode::Internal,
                "a defect at the other site stopped the transfer: ask its operator".to_owned(),
            )),
            Self::Crowded(_) => Some((RefuseCode::Busy, self.to_string())),
            Self::Protocol(ProtocolError::Refused { .. }) => None,
            Self::Protocol(error) => Some((RefuseCode::Protocol, error.to_string())),
            Self::Work(_)
            | Self::Stalled
            | Self::Cancelled
            | Self::Receipt(_)
            | Self::Transport(_)
            | Self::Incomplete { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the sender makes of a refusal for `error` at the receiver.
    fn at_the_sender(error: StoreError) -> Retry {
        let (code, remedy) = TransferError::Store(error).refusal_with(0).unwrap();
        TransferError::Protocol(ProtocolError::Refused { code, remedy }).retry()
    }

    #[test]
    fn a_full_disk_is_told_with_what_it_lacks() {
        let (code, remedy) =
            TransferError::Store(StoreError::Full { free: 2_000_000 }).refusal_with(5_000_000).unwrap();
        assert_eq!(code, RefuseCode::NoSpace);
        for word in ["disk is full", "5.00 MB", "2.00 MB"] {
            assert!(remedy.contains(word), "{word}: {remedy}");
        }
    }

    #[test]
    fn a_sender_waits_for_a_store_that_may_come_back_and_for_no_other() {
        let unavailable = StoreError::IndexUnavailable { what: "commit", detail: "busy".to_owned() };
        assert_eq!(at_the_sender(unavailable), Retry::Later);
        let failed = StoreError::Io { what: "sync a pack", source: io::Error::other("EIO") };
        assert_eq!(at_the_sender(failed), Retry::Later);
        assert_eq!(at_the_sender(StoreError::Full { free: 0 }), Retry::Later);
        assert_eq!(at_the_sender(StoreError::Locked), Retry::Later);
        assert_eq!(at_the_sender(StoreError::Version { found: 2, known: 1 }), Retry::Never);
    }
}
