//! Moves bytes: reads, cuts, hashes, encodes and sends at one end; verifies, keeps, reads back and
//! commits at the other.
//!
//! The engine carries out what the state machines of [`crate::proto`] say. Work for the processor and the
//! disk runs on blocking threads; the network's thread only routes. Every queue is bounded, and the sum of
//! the bounds is the memory promise (`ARCHITECTURE.md`).

mod choose;
mod depot_intake;
mod depot_source;
mod encode;
mod files;
mod folder;
mod held;
mod intake;
mod job;
mod known;
mod lanes;
mod line_watch;
pub(crate) mod mending;
mod order;
mod pace;
mod plan;
mod pulse;
pub(crate) mod receive;
#[cfg(test)]
mod records;
pub(crate) mod room;
pub(crate) mod router;
pub(crate) mod send;
mod source;

pub use depot_intake::DepotIntake;
pub use depot_source::DepotSource;
pub use files::{FileSource, OtherFiles, printable};
pub use folder::FolderIntake;
pub use intake::{Intake, Staged};
pub use known::KnownFiles;
pub use pace::{Pace, RateLimit};
pub use source::{Content, Source, SourceInstance, SourceItem, Totals};
