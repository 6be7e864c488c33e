//! Authenticated connections between sites: who we are, whom we trust, and how bytes get across.
//!
//! An [`Endpoint`] owns one UDP socket, and the TCP port of the same number for networks that pass no UDP. It dials peers and accepts them; either way the result is a
//! [`Session`]: mutually authenticated (TLS 1.3 over QUIC, RFC 9000 and 9001), with the peer's
//! [`PeerId`](crate::ids::PeerId) known. A session carries control streams (messages both ways) and
//! data streams (bytes one way). What the messages mean is not known here.
//!
//! Two sites that have never met become peers through [`pairing`], or because a hospital's own
//! certificate authority vouches for both ([`Trust`]).
//!
//! The types hide the QUIC library, so that another carrier can stand behind the same names.
//!
//! This module refuses to talk to anybody it cannot name: there is no anonymous mode, no early data
//! (0-RTT) and no session ticket, and every reason for a refusal looks the same from outside.

mod close;
mod congestion;
mod control;
mod data;
mod dial;
mod door;
mod endpoint;
mod error;
mod identity;
pub mod pairing;
mod precedence;
mod profile;
mod session;
mod system;
mod tls;
mod trust;
mod tunnel;
mod udp;
mod verifier;

pub use close::CloseCode;
pub use control::{ControlReceiver, ControlSender, ControlStream};
pub use data::{DataReceiver, DataSender};
pub use dial::Dial;
pub use door::{AcceptCounters, AcceptLimits, PairingWindow, Refused};
pub use endpoint::{Endpoint, EndpointConfig};
pub use error::TransportError;
pub use identity::{Identity, IdentityError, SignatureError, verify};
pub use precedence::Rank;
pub use profile::{Congestion, Profile};
pub use quinn::AsyncUdpSocket;
pub use quinn::congestion::ControllerFactory;
pub use rustls::RootCertStore;
pub use session::{Carrier, LineStats, Protocol, Session};
pub use system::SystemError;
pub use trust::{PeerRefusal, Trust, TrustError};
pub use udp::Dscp;
pub use udp::socket::{BufferKind, Warning};

/// Random bytes fit for keys and ids.
///
/// # Errors
/// [`TransportError::Local`] when the machine has no entropy.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], TransportError> {
    tls::random()
}
