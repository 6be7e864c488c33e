//! Connects through a tunnel.

use super::open::Tunnel;
use super::{TUNNEL_ALPN, Tunnels, peer_error, tcp};
use crate::transport::door::explain;
use crate::transport::endpoint::Local;
use crate::transport::precedence::Steering;
use crate::transport::verifier::{Admission, Expectation, PeerVerifier};
use crate::transport::{Carrier, PeerRefusal, Protocol, Session, TransportError, tls};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// What a dial over TCP needs.
#[derive(Clone)]
pub(in crate::transport) struct TunnelDial {
    pub(in crate::transport) local: Arc<Local>,
    pub(in crate::transport) tunnels: Arc<Tunnels>,
    pub(in crate::transport) expected: Expectation,
    pub(in crate::transport) admission: Admission,
    pub(in crate::transport) protocol: Protocol,
}

impl TunnelDial {
    fn verifier(&self) -> Result<Arc<PeerVerifier>, TransportError> {
        let (trust, expected) = (self.local.trust.clone(), self.expected.clone());
        Ok(Arc::new(PeerVerifier::new(trust, self.admission, expected)?))
    }

    /// Connects to `to`: TCP, TLS, and QUIC within. The caller sets the deadline.
    pub(in crate::transport) async fn connect(self, to: SocketAddr) -> Result<Session, TransportError> {
        if self.tunnels.is_closed() {
            return Err(TransportError::LocallyClosed);
        }
        let unreachable = || TransportError::Unreachable { address: to.to_string(), tcp: true };
        let stream = tcp::connect(to, self.tunnels.source, self.tunnels.dscp).await?;
        let verifier = self.verifier()?;
        let verdict = verifier.verdict();
        let config = tls::client(&self.local.identity, verifier, TUNNEL_ALPN.to_vec())?;
        let name = rustls_pki_types::ServerName::IpAddress(to.ip().into());
        let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let tls = shaken.map_err(|error| match verdict.get() {
            Some(Err(refusal)) => refusal.into(),
            Some(Ok(_)) | None => peer_error(&error).unwrap_or_else(unreachable),
        })?;
        let outer = verdict.get().ok_or(PeerRefusal::Malformed)??.info.peer;
        let tunnel = Tunnel::open(tls.into(), &self.local.identity, None, &self.tunnels)?;
        let session = self.authenticate(&tunnel).await?;
        if session.peer() != outer {
            return Err(PeerRefusal::WrongPeer { expected: outer, found: session.peer() }.into());
        }
        tunnel.keep();
        Ok(session)
    }

    /// The handshake of QUIC.
    async fn authenticate(&self, tunnel: &Tunnel) -> Result<Session, TransportError> {
        let verifier = self.verifier()?;
        let verdict = verifier.verdict();
        let gauge = Arc::default();
        let config = self.local.client_config(verifier, self.protocol, self.tunnels.transport(&gauge))?;
        let connecting = tunnel
            .endpoint
            .connect_with(config, tunnel.remote, "imgxfer")
            .map_err(|e| TransportError::Local { reason: e.to_string() })?;
        // The outer server may refuse only now: a client's handshake is done before the server has judged it.
        let connection = connecting.await.map_err(|error| match (explain(&verdict, error), tunnel.cause()) {
            (TransportError::Cut | TransportError::LocallyClosed, Some(cause)) => cause,
            (error, _) => error,
        })?;
        let finding = verdict.get().ok_or(PeerRefusal::Malformed)??;
        let protocol = self.local.protocol_of(&connection)?;
        let steering = Steering::new(gauge, &self.local.precedence);
        Ok(Session::new(connection, finding, protocol, Carrier::Tls, None, steering)
            .receiving_up_to(self.local.receive_window_max()))
    }
}
