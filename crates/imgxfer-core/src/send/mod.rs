//! Sends what a [`Source`] gives: reads, cuts, hashes, offers, encodes, and puts records on the line.
//!
//! Carries out what [`Sender`](crate::proto::Sender) says. Work for the processor and the disk runs on blocking
//! threads; the network's thread only routes. Every queue is bounded, and the sum of the bounds is the memory promise
//! (`ARCHITECTURE.md`).

mod choose;
mod depot_source;
mod dicomdir;
mod dispatch;
mod encode;
mod files;
mod follow;
mod held;
mod known;
mod lanes;
mod order;
mod plan;
#[cfg(test)]
mod records;
mod sending;
mod source;

pub use depot_source::{DepotSource, FetchOrder, Selection};
pub use files::{FileSource, OtherFiles, printable};
pub use follow::Following;
pub use known::KnownFiles;
pub(crate) use sending::{SendOutcome, SendSettings, send};
pub use source::{Content, Shortfall, Source, SourceInstance, SourceItem, Totals};
