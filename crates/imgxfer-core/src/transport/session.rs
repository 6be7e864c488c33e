//! A connection to a peer whose name is proven.

use crate::clock::UnixSeconds;
use crate::ids::PeerId;
use crate::priority::Priority;
use crate::transport::door::Slot;
use crate::transport::precedence::{Rank, Steering};
use crate::transport::tunnel::steady;
use crate::transport::udp::receiving;
use crate::transport::udp::route;
use crate::transport::verifier::Finding;
use crate::transport::{CloseCode, ControlStream, DataReceiver, DataSender, TransportError};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What a session is for. Settled in the handshake (ALPN, RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// The endpoint's own protocol, between trusted peers.
    Transfer,
    /// Pairing, with a peer that may be a stranger.
    Pairing,
}

/// What carries a session's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Carrier {
    /// UDP, as QUIC is meant to be.
    Udp,
    /// TLS over TCP, where a network passes no UDP.
    Tls,
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tls => "tls",
        })
    }
}

/// State of a session's line, from this end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LineStats {
    /// Round trip, smoothed.
    pub rtt: Duration,
    /// How much of it is waiting in queues on the way, above the shortest round trip seen lately.
    pub queue_delay: Duration,
    /// Bytes a second that this side gets delivered, at most, by the congestion controller's estimate; 0 while
    /// it has none: before the line was full for the first time.
    pub rate_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets sent and given up for lost.
    pub lost_packets: u64,
    /// Bytes of UDP payload sent, everything included.
    pub sent_bytes: u64,
    /// Bytes of UDP payload received, everything included.
    pub received_bytes: u64,
    /// Bytes that may be on the way at once (congestion window).
    pub cwnd_bytes: u64,
    /// Largest UDP payload that the path takes, as far as found out.
    pub mtu_bytes: u16,
}

impl LineStats {
    /// Bytes of UDP payload both ways; in a tunnel ([`Carrier::Tls`]) those of the datagrams in it, without TLS
    /// and TCP around them.
    #[must_use]
    pub const fn line_bytes(&self) -> u64 {
        self.sent_bytes + self.received_bytes
    }
}

/// How long the end of a session waits at most until the word of it has left, and how often it looks.
const END_MAX: Duration = Duration::from_millis(100);
const END_LOOK: Duration = Duration::from_millis(1);
/// Bounds of what [`Session::adapt_windows`] lets be on the way.
const SEND_WINDOW_MIN: u64 = 256 << 10;
const SEND_WINDOW_MAX: u64 = 16 << 20;

/// An authenticated connection. Clones are the same connection; it ends with [`Session::close`], or
/// when the last clone and the last stream are dropped.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

/// A session that may end meanwhile.
#[derive(Debug)]
pub(super) struct WeakSession(Weak<Inner>);

/// What a session has received so far, and its round trip.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    pub(super) bytes: u64,
    pub(super) rtt: Duration,
}

impl WeakSession {
    /// Whether it still stands.
    pub(super) fn is_alive(&self) -> bool {
        self.0.upgrade().is_some_and(|inner| inner.connection.close_reason().is_none())
    }

    /// What it has received, while it stands.
    pub(super) fn received(&self) -> Option<Received> {
        let inner = self.0.upgrade().filter(|inner| inner.connection.close_reason().is_none())?;
        Some(Received { bytes: inner.connection.stats().udp_rx.bytes, rtt: inner.connection.rtt() })
    }

    /// What the peer may have on the way to us that we have not read.
    pub(super) fn set_receive_window(&self, bytes: u32) {
        if let Some(inner) = self.0.upgrade() {
            inner.connection.set_receive_window(quinn::VarInt::from_u32(bytes));
        }
    }

    /// Its packets take another way from now on, of which nothing is known.
    pub(super) fn line_changed(&self) {
        if let Some(inner) = self.0.upgrade() {
            inner.steering.gauge().line_changed();
        }
    }

    /// [`Session::peer_address`], while it stands.
    pub(super) fn peer_address(&self) -> Option<SocketAddr> {
        self.0.upgrade().map(|inner| route::canonical(inner.connection.remote_address()))
    }
}

struct Inner {
    connection: quinn::Connection,
    finding: Finding,
    protocol: Protocol,
    carrier: Carrier,
    /// Given back when the session is dropped; sessions that were dialled have none.
    _slot: Option<Slot>,
    steering: Steering,
}

impl Session {
    pub(super) fn new(
        connection: quinn::Connection,
        finding: Finding,
        protocol: Protocol,
        carrier: Carrier,
        slot: Option<Slot>,
        steering: Steering,
    ) -> Self {
        Self(Arc::new(Inner { connection, finding, protocol, carrier, _slot: slot, steering }))
    }

    /// Lets the peer have up to `most` bytes on the way to us, as its rate asks for it.
    pub(super) fn receiving_up_to(self, most: u32) -> Self {
        drop(tokio::spawn(receiving::follow(self.downgrade(), most)));
        self
    }

    /// The same session, without holding it open.
    pub(super) fn downgrade(&self) -> WeakSession {
        WeakSession(Arc::downgrade(&self.0))
    }

    /// Who is at the other end: proven in the handshake.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.0.finding.info.peer
    }

    /// Subject of the peer's certificate: printable and bounded. A name that somebody chose, for
    /// display; only an authority's word stands behind it, and none if the peer's key is pinned.
    #[must_use]
    pub fn peer_subject(&self) -> &str {
        &self.0.finding.info.subject
    }

    /// Last second at which the peer's certificate is accepted.
    #[must_use]
    pub fn peer_expires(&self) -> UnixSeconds {
        self.0.finding.info.not_after
    }

    /// Where the peer's packets come from now; it may move.
    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        route::canonical(self.0.connection.remote_address())
    }

    /// What the session is for.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.0.protocol
    }

    /// Opens a control stream. The peer learns of it with the first message.
    ///
    /// Waits while the peer has 16 of ours open. Cancel-safe.
    ///
    /// # Errors
    /// [`TransportError`] when the session has ended.
    pub async fn open_control(&self) -> Result<ControlStream, TransportError> {
        let (send, receive) = self.0.connection.open_bi().await?;
        Ok(ControlStream::new(send, receive))
    }

    /// Takes the next control stream that the peer opened. Cancel-safe.
    ///
    /// # Errors
    /// [`TransportError`] when the session has ended. A refusal by the peer of a session that was
    /// dialled shows here or at the first message: the peer decides after this side's handshake is done.
    pub async fn accept_control(&self) -> Result<ControlStream, TransportError> {
        let (send, receive) = self.0.connection.accept_bi().await?;
        Ok(ControlStream::new(send, receive))
    }

    /// Opens a data stream to the peer, which learns of it with the first bytes.
    ///
    /// Waits while as many are open as the peer's profile allows. Cancel-safe.
    ///
    /// # Errors
    /// [`TransportError`] when the session has ended.
    pub async fn open_data(&self) -> Result<DataSender, TransportError> {
        Ok(DataSender::new(self.0.connection.open_uni().await?))
    }

    /// Takes the next data stream that the peer opened. Cancel-safe.
    ///
    /// # Errors
    /// [`TransportError`] when the session has ended.
    pub async fn accept_data(&self) -> Result<DataReceiver, TransportError> {
        Ok(DataReceiver::new(self.0.connection.accept_uni().await?))
    }

    /// What carries the session's packets.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        self.0.carrier
    }

    /// State of the line.
    #[must_use]
    pub fn stats(&self) -> LineStats {
        let stats = self.0.connection.stats();
        LineStats {
            rtt: stats.path.rtt,
            queue_delay: self.0.steering.gauge().queue_delay(),
            rate_bytes: self.0.steering.gauge().rate_bytes(),
            sent_packets: stats.path.sent_packets,
            lost_packets: stats.path.lost_packets,
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            cwnd_bytes: stats.path.cwnd,
            mtu_bytes: stats.path.current_mtu,
        }
    }

    /// Says how urgent what this side sends on the session is, until the result is dropped.
    ///
    /// `Background` gives way to whatever else is on the line. While anything of this endpoint's is `Stat`, all
    /// else that it sends is held to a trickle, whoever it goes to: they most likely leave through the same line.
    #[must_use = "the rank ends when this is dropped"]
    pub fn rank(&self, priority: Priority) -> Rank {
        self.0.steering.rank(priority)
    }

    /// Bounds what is taken over for sending to a few times what the line holds at once, so that little
    /// is lost with the line and urgent data does not queue behind much. Call it a few times a second.
    pub fn adapt_windows(&self) {
        let window = match self.0.carrier {
            Carrier::Udp => (4 * self.stats().cwnd_bytes).clamp(SEND_WINDOW_MIN, SEND_WINDOW_MAX),
            Carrier::Tls => steady::send_window(&self.0.connection),
        };
        self.0.connection.set_send_window(window);
    }

    /// Ends the session at once; what was not acknowledged is lost. Later calls do nothing.
    ///
    /// `reason` is for people, and must name no patient.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.0.connection.close(code.into(), reason.as_bytes());
    }

    /// Ends the session, and waits until the word of it has left this machine, 100 ms at most: whoever ends its program
    /// or its runtime next does not leave the peer waiting for a silent line to time out.
    pub async fn end(&self, code: CloseCode) {
        let datagrams = || self.0.connection.stats().udp_tx.datagrams;
        let before = datagrams();
        self.close(code, "");
        let left = async {
            // Nothing but the word of the end is sent from here on.
            while datagrams() == before {
                tokio::time::sleep(END_LOOK).await;
            }
            // What carries it has a task of its own, which is given its turn.
            tokio::time::sleep(END_LOOK).await;
        };
        drop(tokio::time::timeout(END_MAX, left).await);
    }

    /// Waits until the session has ended and says why. Cancel-safe.
    pub async fn closed(&self) -> TransportError {
        self.0.connection.closed().await.into()
    }

    /// A secret that both ends of this TLS connection know and nobody else (RFC 8446, 7.5).
    pub(super) fn export_secret(&self, label: &[u8]) -> Result<[u8; 32], TransportError> {
        let mut secret = [0; 32];
        self.0
            .connection
            .export_keying_material(&mut secret, label, b"")
            .map_err(|_| TransportError::Local { reason: "TLS exports no keying material".to_owned() })?;
        Ok(secret)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("peer", &self.peer())
            .field("protocol", &self.protocol())
            .field("carrier", &self.carrier())
            .finish()
    }
}
