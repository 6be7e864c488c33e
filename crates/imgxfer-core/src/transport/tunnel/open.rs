//! Puts a QUIC endpoint on a TLS connection, and ends it with the endpoint that it belongs to.

use super::end::{End, TunnelRuntime};
use super::socket::TunnelSocket;
use super::{DATAGRAM_BYTES_MAX, TUNNEL_ALPN, Tunnels};
use crate::transport::door::reset;
use crate::transport::{Identity, TransportError};
use quinn::VarInt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsStream;

/// With which words the whole endpoint is closed.
#[derive(Debug, Clone)]
pub(super) struct Closing {
    pub(super) code: VarInt,
    pub(super) reason: String,
}

/// A QUIC endpoint in a tunnel.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) endpoint: quinn::Endpoint,
    pub(super) remote: SocketAddr,
    end: Arc<End>,
    closing: watch::Receiver<Option<Closing>>,
    live: watch::Receiver<()>,
}

impl Tunnel {
    /// Opens an endpoint on a connection whose handshake is done; it accepts only with `server`.
    pub(super) fn open(
        tls: TlsStream<TcpStream>,
        identity: &Identity,
        server: Option<quinn::ServerConfig>,
        tunnels: &Tunnels,
    ) -> Result<Self, TransportError> {
        let (tcp, session) = tls.get_ref();
        if session.alpn_protocol() != Some(TUNNEL_ALPN) {
            return Err(TransportError::Version);
        }
        let local = |e: io::Error| TransportError::Local { reason: e.to_string() };
        let (here, remote) = (tcp.local_addr().map_err(local)?, tcp.peer_addr().map_err(local)?);
        let mut config = reset::endpoint_config(identity)?;
        config.max_udp_payload_size(DATAGRAM_BYTES_MAX).map_err(|e| TransportError::Local { reason: e.to_string() })?;
        let end = Arc::new(End::default());
        let socket = Arc::new(TunnelSocket::new(tls, here, remote, Arc::clone(&end)));
        let runtime = Arc::new(TunnelRuntime::new(Arc::clone(&end)));
        let endpoint = quinn::Endpoint::new_with_abstract_socket(config, server, socket, runtime).map_err(local)?;
        Ok(Self { endpoint, remote, end, closing: tunnels.closing.subscribe(), live: tunnels.live.subscribe() })
    }

    /// Why it ended, if it has.
    pub(super) fn cause(&self) -> Option<TransportError> {
        self.end.cause()
    }

    /// Lives on by itself as long as its connection does, and ends it when the endpoint is closed. To be called
    /// when the connection exists.
    pub(super) fn keep(self) {
        let Self { endpoint, end, mut closing, live, .. } = self;
        tokio::spawn(async move {
            let _live = live;
            let ordered = async {
                // Without a sender the endpoint was dropped, which leaves sessions alone.
                let Ok(words) = closing.wait_for(Option::is_some).await.map(|words| words.clone()) else {
                    return std::future::pending().await;
                };
                if let Some(Closing { code, reason }) = words {
                    endpoint.close(code, reason.as_bytes());
                }
            };
            tokio::select! {
                () = endpoint.wait_idle() => return,
                () = end.wait() => return,
                () = ordered => {}
            }
            tokio::select! {
                () = endpoint.wait_idle() => {}
                () = end.wait() => {}
            }
        });
    }
}
