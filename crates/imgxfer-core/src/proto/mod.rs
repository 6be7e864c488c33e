//! The protocol as two state machines, [`Sender`] and [`Receiver`], without sockets, clock or threads.
//!
//! A caller feeds messages and finished work in (`handle_*`) and carries out what comes out
//! (`poll_output`). `send` and `receive` do so over QUIC and a disk; tests do it in memory, cut at every message.
//!
//! A transfer, sender on the left:
//!
//! ```text
//! Start              -->                 who I am about to be, how much is expected
//!                    <--  Accept         codecs that I decode
//! PageRef            -->                 do you have the page with this hash? (while answers are yes)
//!                    <--  PageKnown
//! Page               -->                 instances and their chunks
//!                    <--  Need           the chunks that I lack: resume and dedupe are this answer
//! records on data streams  -->
//!                    <--  Received       verified so far
//!                    <--  Committed      instances that would survive loss of power
//! End                -->                 root of the manifest
//!                    <--  Receipt        signed: these are all committed
//! ```
//!
//! Pages overlap: later ones are offered while chunks of earlier ones travel.

mod bitmap;
mod event;
mod frames;
mod receiver;
mod sender;

pub use bitmap::Bitmap;
pub use event::{InstanceFailure, ProtocolError};
pub use frames::{Frame, FrameRequest, Frames, FramesReceiver, shape_to_wire};
pub use receiver::{Arrived, Lookup, Receiver, ReceiverOutput, Unproven, VerifyJob};
pub use sender::{Sender, SenderOutput};

/// Why what a store gave may not be all that there is to be had of what was asked for. None of it by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Shortfall {
    /// Something of it was removed, or stated anew, while it was sent.
    pub changed: bool,
    /// More is arriving at the store.
    pub arriving: bool,
    /// Instances of studies of which no version was ever stated: the transfer that brought them was cut off, or left
    /// something out.
    pub unstated: u64,
}

impl Shortfall {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How much there is of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Instances.
    pub instances: u64,
    /// Original bytes.
    pub bytes: u64,
}
