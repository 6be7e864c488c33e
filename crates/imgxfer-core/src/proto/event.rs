//! What the state machines report: failures of single instances, and breaches of the protocol.

use crate::manifest::ManifestError;
use crate::wire::message::{FailCode, MessageError, RefuseCode, Refused};

/// Why one instance of a transfer did not arrive; the others go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstanceFailure {
    /// The file changed between being hashed and being sent.
    #[error("the file changed while it was being sent: send it again when it is complete")]
    Changed,
    /// The file could no longer be read.
    #[error("the file could not be read: {0}")]
    Unreadable(String),
    /// Reading or encoding it met a defect of this program.
    #[error("a defect of this program keeps it from being sent: its place is in the log; please report it")]
    Defect,
    /// The receiver could not verify it.
    #[error("the receiver could not verify it ({})", .0.reason())]
    Refused(FailCode),
}

/// The peer broke the protocol, or ended the transfer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A message that makes no sense at this point.
    #[error("the other site sent {0}, which makes no sense at this point")]
    Unexpected(&'static str),
    /// A field outside its limits or pointing nowhere.
    #[error("the other site sent {0} with a value outside what is allowed")]
    Invalid(&'static str),
    /// A page that is none.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A message that is none.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The peer is of a version that cannot do what was asked for.
    #[error("the other site cannot {0}: its version is older. Nothing was counted as there; update it, or ask without")]
    Lacks(&'static str),
    /// The peer said no.
    #[error("the other site refused: {remedy}")]
    Refused {
        /// Why.
        code: RefuseCode,
        /// The peer's words, printable and bounded.
        remedy: String,
    },
}

impl ProtocolError {
    /// A peer's refusal, its words made safe to show.
    #[must_use]
    pub fn refused(refused: &Refused) -> Self {
        let remedy: String = refused.remedy.chars().filter(|c| !c.is_control()).take(300).collect();
        Self::Refused { code: RefuseCode::from_number(refused.code), remedy }
    }
}
