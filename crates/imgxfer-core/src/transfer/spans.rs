//! What log lines are about: a session with a peer, a transfer in it, an instance of that.
//!
//! Of a study and an instance a span holds digests alone, as their `Debug` writes them.

use tracing::Span;
use tracing::field::{Empty, debug};

use crate::ids::TransferId;
use crate::manifest::InstanceEntry;
use crate::transport::Session;

/// The span of a session.
pub(crate) fn session_span(session: &Session) -> Span {
    tracing::info_span!("session", peer = %session.peer().fingerprint())
}

/// The span of a transfer: `in` or `out`, seen from here. [`name_transfer`] says which.
pub(crate) fn transfer_span(direction: &'static str) -> Span {
    tracing::info_span!("transfer", direction, transfer = Empty)
}

/// Says in the span of a transfer which it is.
pub(crate) fn name_transfer(transfer: TransferId) {
    Span::current().record("transfer", debug(transfer));
}

/// The span of an instance.
pub(crate) fn instance_span(entry: &InstanceEntry) -> Span {
    tracing::debug_span!("instance", study = ?entry.study, sop_instance = ?entry.sop_instance)
}
