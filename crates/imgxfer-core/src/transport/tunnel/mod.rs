//! QUIC where a network passes no UDP: its datagrams in a TLS 1.3 connection over TCP, on the same port number.
//!
//! Some hospitals pass no UDP. There each TCP connection carries one QUIC connection: every datagram travels as
//! two bytes of length and its bytes, within TLS (`docs/wire-format.md`). Everything above stays as it is over
//! UDP: mutual authentication, streams and their priorities, resets, limits, pairing. There is one protocol and
//! one path through the code; a multiplexer for TCP would have been a second of each. That all is encrypted twice
//! costs little, since datagrams here are large ([`DATAGRAM_BYTES_MAX`]).
//!
//! The outer TLS asks the same of a peer as the inner one, by the same rules, so that strangers reach no QUIC at
//! all. The inner handshake then proves the peer again, and must find the same one.
//!
//! TCP controls congestion and repairs losses. The inner connection must do neither: see [`steady`]. What waits
//! to be sent waits in the inner connection's streams, where urgent data overtakes: the tunnel takes over little
//! ([`socket::WAITING_BYTES_MAX`], [`tcp`]) and pushes back when it is full.

mod detour;
mod dial;
mod end;
mod frame;
mod listen;
mod open;
mod socket;
pub(super) mod steady;
mod tcp;

pub(super) use detour::Detours;
pub(super) use dial::TunnelDial;
pub(super) use listen::{Listener, Places};
pub(super) use tcp::listen as listen_tcp;

use crate::transport::congestion::Gauge;
use crate::transport::error::from_alert;
use crate::transport::profile::Settings;
use crate::transport::{Dscp, TransportError};
use open::Closing;
use quinn::{TransportConfig, VarInt};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// What the outer TLS connection is for (ALPN, RFC 7301).
pub(super) const TUNNEL_ALPN: &[u8] = b"imgxfer-tcp/1";

/// Largest datagram in a tunnel. With its length it fits one TLS record (16 KiB), and costs a tenth of the
/// packets that 1,452 bytes would; a stream that is more urgent overtakes after 16 ms at 8 Mbit/s.
pub(super) const DATAGRAM_BYTES_MAX: u16 = 16_000;

/// What every tunnel of an endpoint shares.
#[derive(Debug)]
pub(super) struct Tunnels {
    settings: Settings,
    closing: watch::Sender<Option<Closing>>,
    /// Says nothing: each tunnel holds a receiver, and so it is known when none is left.
    live: watch::Sender<()>,
    /// Where UDP was silent and TCP was not.
    pub(super) detours: Detours,
    /// The address that connections are made from, unless the system is to choose.
    source: Option<IpAddr>,
    /// What their packets are marked with.
    dscp: Option<Dscp>,
}

impl Tunnels {
    pub(super) fn new(settings: &Settings, source: IpAddr, dscp: Option<Dscp>) -> Self {
        Self {
            settings: *settings,
            closing: watch::Sender::default(),
            live: watch::Sender::default(),
            detours: Detours::default(),
            source: Some(source).filter(|ip| !ip.is_unspecified()),
            dscp,
        }
    }

    /// QUIC's settings for one connection inside a tunnel, which listens to `gauge`.
    pub(super) fn transport(&self, gauge: &Arc<Gauge>) -> Arc<TransportConfig> {
        let control = Arc::new(steady::Factory::new(Arc::clone(gauge)));
        let mut config = self.settings.transport(DATAGRAM_BYTES_MAX, control);
        // The least size stays QUIC's 1,200 bytes: handshakes are padded to it, and what is sent again while TCP
        // stands still is cut to it. Nothing is searched for, since nothing is lost.
        config.initial_mtu(DATAGRAM_BYTES_MAX).mtu_discovery_config(None).send_window(steady::SEND_WINDOW_FIRST);
        Arc::new(config)
    }

    /// Closes all sessions in tunnels at once.
    pub(super) fn close(&self, code: VarInt, reason: &str) {
        self.closing.send_if_modified(|closing| {
            let first = closing.is_none();
            closing.get_or_insert_with(|| Closing { code, reason: reason.to_owned() });
            first
        });
    }

    /// Resolves when [`Tunnels::close`] is called.
    async fn closed(&self) {
        // The sender is a part of this, so that it cannot be gone.
        drop(self.closing.subscribe().wait_for(Option::is_some).await);
    }

    fn is_closed(&self) -> bool {
        self.closing.borrow().is_some()
    }

    /// Waits until no tunnel is left.
    pub(super) async fn wait_idle(&self) {
        self.live.closed().await;
    }
}

/// What an error of the TLS connection says about the peer; `None` when only the TCP connection broke.
fn peer_error(error: &io::Error) -> Option<TransportError> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match tls {
        rustls::Error::AlertReceived(alert) => from_alert(u8::from(*alert), tls.to_string(), true),
        rustls::Error::NoApplicationProtocol => TransportError::Version,
        other => TransportError::Tls { reason: other.to_string() },
    })
}
