//! The craft of UDP: sockets and their marks, bursts, packet sizes, windows, and what is known of the ways to peers.

pub(super) mod burst;
mod dscp;
#[cfg(target_os = "linux")]
mod marked;
pub(super) mod packet_size;
pub(super) mod receiving;
pub(super) mod roaming;
pub(super) mod route;
pub(super) mod socket;

pub use dscp::Dscp;
