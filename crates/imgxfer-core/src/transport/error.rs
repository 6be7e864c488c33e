//! What can go wrong between two sites, told apart as far as it can be known.

use crate::ids::HexError;
use crate::limits::IDLE_TIMEOUT;
use crate::transport::{CloseCode, IdentityError, PeerRefusal, SystemError};
use quinn::{ConnectionError, ReadError, VarInt, WriteError};
use std::net::SocketAddr;

/// Why a connection could not be made or used.
///
/// The variants say who is at fault as exactly as this end can tell; the message says what to look
/// at next. The other side is never told more than that it was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The socket could not be opened.
    #[error("cannot open UDP {address} ({cause}); is the port taken, or below 1024 without permission?")]
    Bind {
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system said.
        cause: SystemError,
    },
    /// The name of the peer's host leads nowhere.
    #[error("cannot find the host {host:?} ({cause}); check the name and the DNS server")]
    UnknownHost {
        /// Host and port as they were given.
        host: String,
        /// What the resolver said.
        cause: SystemError,
    },
    /// Nobody answered at any of the host's addresses.
    #[error(
        "cannot reach {address}: nothing answers{}; check address and port, that the other site runs, and that the firewalls on the way pass {} to that port",
        if *tcp { ", neither over UDP nor over TCP" } else { " over UDP" },
        if *tcp { "UDP or TCP" } else { "UDP both ways" },
    )]
    Unreachable {
        /// Host and port as they were given.
        address: String,
        /// Whether TCP was tried besides UDP.
        tcp: bool,
    },
    /// The connection stood and then went silent.
    #[error("the line went silent for {} s", IDLE_TIMEOUT.as_secs())]
    TimedOut,
    /// The TCP connection that carried the session was broken.
    #[error("the TCP connection was cut")]
    Cut,
    /// This side refused the peer.
    #[error(transparent)]
    Peer(#[from] PeerRefusal),
    /// The other side refused us. It does not say why.
    #[error(
        "the other site does not let this site in: pair the two, or have this site's fingerprint added among the peers there; if it is there already, check both clocks and certificates"
    )]
    RefusedByPeer,
    /// The other side has no room.
    #[error("the other side is busy; try again later")]
    Busy,
    /// The other side answers, and has no invitation open: see [`Endpoint::connect_to_pair`](crate::transport::Endpoint::connect_to_pair).
    #[error(
        "{address} is not open for pairing now: have `imgxfer pair --invite` run on the machine of that site's daemon, and use the code that it prints while it waits"
    )]
    NotOpenForPairing {
        /// Host and port as they were given.
        address: String,
    },
    /// No version of the protocol in common.
    #[error("no protocol version in common; one of the two sites needs a newer imgxfer")]
    Version,
    /// The TLS handshake failed for a reason other than who the peer is.
    #[error("TLS handshake failed: {reason}")]
    Tls {
        /// What TLS reported.
        reason: String,
    },
    /// The peer broke the rules of QUIC or of a stream's framing.
    #[error("the peer broke the protocol: {reason}")]
    Protocol {
        /// Which rule.
        reason: String,
    },
    /// A message announced more than this side takes.
    #[error("a message of {bytes} bytes was announced where {limit} are allowed")]
    MessageTooLong {
        /// What was announced, or offered for sending.
        bytes: u64,
        /// What is allowed.
        limit: u64,
    },
    /// A stream ended within a message or a record.
    #[error("the stream ended in the middle")]
    Truncated,
    /// This side closed the session.
    #[error("this side closed the connection")]
    LocallyClosed,
    /// The peer closed the session.
    #[error("the other side closed the connection: {code}{}{reason}", if reason.is_empty() { "" } else { ": " })]
    PeerClosed {
        /// Why.
        code: CloseCode,
        /// What it said besides: printable, bounded, not to be trusted.
        reason: String,
    },
    /// The peer no longer knows the connection: it was restarted.
    #[error("the other side was restarted")]
    PeerRestarted,
    /// The peer gave up one stream, as its sender or as its receiver. The session stands.
    #[error("the other side gave up the stream: {code}")]
    Reset {
        /// Why.
        code: CloseCode,
    },
    /// The stream was finished or reset on this side before.
    #[error("the stream is closed on this side")]
    StreamClosed,
    /// Our own identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A peer was named by something that is no fingerprint.
    #[error("not a fingerprint: {0}")]
    Fingerprint(#[from] HexError),
    /// The blocking client was called on a thread of an async runtime.
    #[error(
        "the blocking client was called within an async runtime, which it would hold up: use imgxfer_core::client there, or a thread of your own (std::thread)"
    )]
    InsideRuntime,
    /// This side lacks something it needs, such as entropy or connection numbers.
    #[error("this side cannot connect: {reason}")]
    Local {
        /// What is lacking.
        reason: String,
    },
}

/// QUIC's codes for "no room" and for an application's close hidden during the handshake (RFC 9000, 20.1).
const CONNECTION_REFUSED: u64 = 0x02;
const APPLICATION_ERROR: u64 = 0x0c;
/// QUIC carries a TLS alert as this plus the alert's number (RFC 9001, 4.8).
const CRYPTO_BASE: u64 = 0x100;
/// TLS alerts (RFC 8446, 6.2).
const BAD_CERTIFICATE: u64 = 42;
const CERTIFICATE_UNKNOWN: u64 = 46;
const UNKNOWN_CA: u64 = 48;
const ACCESS_DENIED: u64 = 49;
const DECRYPT_ERROR: u64 = 51;
const CERTIFICATE_REQUIRED: u64 = 116;
const NO_APPLICATION_PROTOCOL: u64 = 120;
const PROTOCOL_VERSION: u64 = 70;

/// Longest text of a peer that goes into an error.
const REASON_CHARS_MAX: usize = 120;

/// Text from a peer made fit to print.
fn printable(reason: &[u8]) -> String {
    String::from_utf8_lossy(reason).chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect()
}

/// What a TLS alert means, sent by the peer or raised here.
pub(super) fn from_alert(alert: u8, reason: String, from_peer: bool) -> TransportError {
    from_code(CRYPTO_BASE + u64::from(alert), reason, from_peer)
}

/// How quinn reports that an endpoint is gone under its connection. An endpoint over UDP lives as long as its
/// connections do; that of a tunnel goes with it.
const ENDPOINT_GONE: &str = "endpoint driver future was dropped";

/// What a close code of QUIC itself means, sent by the peer or raised here.
fn from_code(code: u64, reason: String, from_peer: bool) -> TransportError {
    let alert = code.checked_sub(CRYPTO_BASE).filter(|alert| *alert < 0x100);
    match (code, alert) {
        (_, Some(NO_APPLICATION_PROTOCOL | PROTOCOL_VERSION)) => TransportError::Version,
        (
            _,
            Some(
                BAD_CERTIFICATE..=CERTIFICATE_UNKNOWN
                | UNKNOWN_CA
                | ACCESS_DENIED
                | DECRYPT_ERROR
                | CERTIFICATE_REQUIRED,
            ),
        ) if from_peer => TransportError::RefusedByPeer,
        (_, Some(_)) => TransportError::Tls { reason },
        (CONNECTION_REFUSED, _) if from_peer => TransportError::Busy,
        (APPLICATION_ERROR, _) if from_peer => TransportError::RefusedByPeer,
        _ => TransportError::Protocol { reason: format!("{reason} (QUIC code {code:#x})") },
    }
}

impl From<ConnectionError> for TransportError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::VersionMismatch => Self::Version,
            ConnectionError::TransportError(e) if e.reason == ENDPOINT_GONE => Self::Cut,
            ConnectionError::TransportError(e) => from_code(e.code.into(), e.reason, false),
            ConnectionError::ConnectionClosed(e) => from_code(e.error_code.into(), printable(&e.reason), true),
            ConnectionError::ApplicationClosed(e) => match CloseCode::from_number(e.error_code.into_inner()) {
                CloseCode::Refused => Self::RefusedByPeer,
                CloseCode::Busy => Self::Busy,
                CloseCode::Version => Self::Version,
                code => Self::PeerClosed { code, reason: printable(&e.reason) },
            },
            ConnectionError::Reset => Self::PeerRestarted,
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::LocallyClosed => Self::LocallyClosed,
            ConnectionError::CidsExhausted => Self::Local { reason: "no connection numbers left".to_owned() },
        }
    }
}

/// The error for a stream that the peer ended with `code`.
pub(super) fn reset(code: VarInt) -> TransportError {
    TransportError::Reset { code: CloseCode::from_number(code.into_inner()) }
}

impl From<ReadError> for TransportError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => reset(code),
            ReadError::ConnectionLost(e) => e.into(),
            ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => Self::StreamClosed,
        }
    }
}

impl From<WriteError> for TransportError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => reset(code),
            WriteError::ConnectionLost(e) => e.into(),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => Self::StreamClosed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_of_the_peer_are_told_apart() {
        let text = || "why".to_owned();
        for alert in [42, 45, 46, 48, 49, 51, 116] {
            assert_eq!(from_code(0x100 + alert, text(), true), TransportError::RefusedByPeer, "{alert}");
        }
        assert_eq!(from_code(0x178, text(), true), TransportError::Version);
        assert_eq!(from_code(0x178, text(), false), TransportError::Version);
        assert_eq!(from_code(0x131, text(), false), TransportError::Tls { reason: text() });
        assert_eq!(from_code(0x02, text(), true), TransportError::Busy);
        assert!(matches!(from_code(0x0a, text(), true), TransportError::Protocol { .. }));
    }

    #[test]
    fn a_peers_words_are_bounded_and_printable() {
        let said = printable("\u{1b}[31mred\n".repeat(100).as_bytes());
        assert_eq!(said.chars().count(), REASON_CHARS_MAX);
        assert!(!said.contains('\u{1b}') && !said.contains('\n'));
    }
}
