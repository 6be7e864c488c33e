//! Moves DICOM studies between sites: losslessly, resumable, proven byte for byte.
//!
//! An instance (one DICOM file, PS3.10) is cut into **chunks** where DICOM cuts it: header, frames, rows.
//! Chunks are named by the BLAKE3 hash of their bytes. A **manifest** lists the instances of a transfer and
//! their chunks; the sender **offers** it, the receiver answers what it **needs**. Resuming an interrupted
//! transfer, sending a study twice, and sending a corrected one are all this one exchange. Chunks travel
//! and rest as compressed **records**. A receiver says COMMITTED only of what would survive loss of power,
//! and signs a **receipt** for the whole.
//!
//! # For whom
//!
//! - To push, pull or query: [`client`], or [`blocking`] without an async runtime.
//! - To answer: [`server`], with a [`store`].
//! - To build on the parts: [`proto`] (the protocol without sockets), [`codec`], [`dicom`], [`chunk`].
//!
//! # Layers
//!
//! A line may use only what stands above it:
//!
//! | module | what |
//! |---|---|
//! | [`ids`], [`units`], [`limits`], [`clock`], [`priority`], [`effort`], [`work`], [`places`], [`sync`], `pace` | vocabulary |
//! | [`dicom`], [`codec`], [`chunk`], [`wire`] | bytes to values and back |
//! | [`manifest`], [`receipt`] | what a transfer consists of; proof that it arrived |
//! | [`proto`], [`progress`] | sender and receiver as state machines, without clock or sockets |
//! | [`store`] | records and index: in memory, in a folder, in SQLite |
//! | [`depot`] | the two together: a site's store |
//! | `survey` | pixel data of files in the records it would travel in, for measuring |
//! | `transport` | sessions over QUIC, identities, pairing |
//! | `error` | what ends a transfer, and whether trying again can help |
//! | `send`, `receive` | the two ends of a transfer: read, hash, encode, send; receive, verify, commit |
//! | `client`, `server`, `repair`, `blocking` | the paved path; the client without async |
//!
//! Without default features everything down to the depot in memory builds, without tokio, quinn or files.

pub mod chunk;
pub mod clock;
pub mod codec;
pub mod depot;
pub mod dicom;
pub mod effort;
pub mod ids;
pub mod limits;
pub mod manifest;
pub mod places;
pub mod priority;
pub mod progress;
pub mod proto;
pub mod receipt;
mod scratch;
pub mod store;
#[cfg(feature = "fs")]
pub mod survey;
pub mod sync;
pub mod units;
pub mod wire;
pub mod work;

#[cfg(feature = "quic")]
pub mod blocking;
#[cfg(feature = "quic")]
pub mod client;
#[cfg(feature = "quic")]
pub mod error;
#[cfg(feature = "quic")]
pub mod pace;
#[cfg(feature = "quic")]
pub mod receive;
#[cfg(feature = "quic")]
pub mod repair;
#[cfg(feature = "quic")]
pub mod send;
#[cfg(feature = "quic")]
pub mod server;
#[cfg(feature = "quic")]
mod transfer;
#[cfg(feature = "quic")]
pub mod transport;

#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "testing")]
pub mod testing;

/// Name of the protocol in the TLS handshake (ALPN, RFC 7301). It carries the major version: sites
/// without one in common refuse each other there, before any data.
#[cfg(feature = "quic")]
pub const ALPN: &[u8] = b"imgxfer/1";
