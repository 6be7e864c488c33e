//! Lets peers in, and keeps strangers out: what it costs to knock, who may come in to pair, and what those learn who
//! were in before a restart.

mod accept;
pub(super) mod reset;

pub use accept::{AcceptCounters, AcceptLimits, PairingWindow, Refused};
pub(super) use accept::{Acceptor, Audit, Door, HalfOpen, Slot, explain};
