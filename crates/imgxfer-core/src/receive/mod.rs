//! Receives into an [`Intake`]: verifies records, keeps them, reads instances back, commits, and signs the receipt.
//!
//! Carries out what [`Receiver`](crate::proto::Receiver) says. Work for the processor and the disk runs on blocking
//! threads; the network's thread only routes. Every queue is bounded, and the sum of the bounds is the memory promise
//! (`ARCHITECTURE.md`).

mod depot_intake;
mod folder;
mod intake;
mod receiving;
mod room;
mod router;

pub use depot_intake::DepotIntake;
pub use folder::FolderIntake;
pub use intake::{Intake, Staged};
pub(crate) use receiving::{ReceiveOutcome, ReceiveSettings, receive};
pub(crate) use room::PageRoom;
pub(crate) use router::Router;
