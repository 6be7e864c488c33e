//! One UDP socket, the TCP port beside it, and all connections over them.

use crate::transport::congestion::Gauge;
use crate::transport::door::reset;
use crate::transport::door::{AcceptCounters, AcceptLimits, Acceptor, Audit, Door, PairingWindow, Refused};
use crate::transport::pairing::PAIRING_ALPN;
use crate::transport::precedence::Precedence;
use crate::transport::profile::{Congestion, Profile, Settings};
use crate::transport::tunnel::{Listener, Places, Tunnels, listen_tcp};
use crate::transport::udp::burst::{BurstLimits, BurstSocket};
use crate::transport::udp::packet_size::{self, PacketSize};
use crate::transport::udp::roaming::{self, Roaming};
use crate::transport::udp::route;
use crate::transport::udp::socket::{self, BufferSizes, Warning};
use crate::transport::verifier::{Admission, PeerVerifier};
use crate::transport::{Carrier, CloseCode, Dscp, Identity, Protocol, Session, TransportError, Trust, tls};
use quinn::crypto::rustls::HandshakeData;
use quinn::{AsyncUdpSocket, TokioRuntime};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

/// Newcomers whose first packet waits for the accepting task, and what is kept of them. A first flight
/// with a post-quantum key is two packets.
const INCOMING_MAX: usize = 1024;
const INCOMING_BYTES_MAX: u64 = 16 << 10;
const INCOMING_BYTES_TOTAL: u64 = 4 << 20;
/// Tries to find a port whose number is free for UDP and for TCP, when any will do.
const PORT_TRIES: usize = 16;
/// Sessions that may wait for [`Endpoint::accept`].
const SESSIONS_WAITING_MAX: usize = 16;

/// How an [`Endpoint`] is set up.
#[derive(Clone)]
pub struct EndpointConfig {
    pub(super) bind: SocketAddr,
    identity: Identity,
    trust: Trust,
    alpn: Vec<u8>,
    profile: Profile,
    mtu_upper: Option<u16>,
    congestion: Congestion,
    dscp: Option<Dscp>,
    limits: AcceptLimits,
    audit: Option<Audit>,
    tcp_fallback: bool,
    dial_only: bool,
    seed: Option<[u8; 32]>,
}

impl EndpointConfig {
    /// Largest UDP payload tried where nothing is known of the way: fits an Ethernet frame with room for IPv6 and a
    /// tunnel.
    pub const MTU_DEFAULT: u16 = packet_size::MTU_DEFAULT;
    /// Largest UDP payload of a jumbo frame: 9,000 bytes less the headers of IPv6 and UDP.
    pub const MTU_JUMBO: u16 = packet_size::MTU_JUMBO;

    /// An endpoint on `bind` (port 0: any) that shows `identity`, talks to whom `trust` names, and speaks
    /// the protocol `alpn`, such as `imgxfer/1`.
    #[must_use]
    pub fn new(bind: SocketAddr, identity: Identity, trust: Trust, alpn: &[u8]) -> Self {
        Self {
            bind,
            identity,
            trust,
            alpn: alpn.to_vec(),
            profile: Profile::default(),
            mtu_upper: None,
            congestion: Congestion::default(),
            dscp: None,
            limits: AcceptLimits::default(),
            audit: None,
            tcp_fallback: true,
            dial_only: false,
            seed: None,
        }
    }

    /// Whether peers are also reached, and served, over TLS on the TCP port of the same number, where a network
    /// passes no UDP. Default yes for [`Endpoint::bind`]; never for [`Endpoint::with_socket`].
    #[must_use]
    pub fn with_tcp_fallback(mut self, on: bool) -> Self {
        self.tcp_fallback = on;
        self
    }

    /// This endpoint dials and is not dialled: no TCP port listens for it.
    #[must_use]
    pub fn dial_only(mut self) -> Self {
        self.dial_only = true;
        self
    }

    /// The kind of line. Default [`Profile::Auto`].
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Largest UDP payload to try, bytes, whatever the way; over TCP it has no effect.
    ///
    /// By default an endpoint of [`Endpoint::bind`] tries, to each peer, what the system's route there carries, from
    /// 1,452 to 8,952 bytes (Linux; elsewhere 1,452), and takes in 8,952: networks of jumbo frames, which triple the
    /// speed, need no setting. One of [`Endpoint::with_socket`] tries 1,452.
    #[must_use]
    pub fn with_mtu_upper(mut self, bytes: u16) -> Self {
        self.mtu_upper = Some(bytes.max(Self::MTU_DEFAULT));
        self
    }

    /// Another congestion control than our own.
    #[must_use]
    pub fn with_congestion(mut self, congestion: Congestion) -> Self {
        self.congestion = congestion;
        self
    }

    /// Marks every packet for networks that sort by it. Default none; has no effect on [`Endpoint::with_socket`].
    #[must_use]
    pub fn with_dscp(mut self, dscp: Dscp) -> Self {
        self.dscp = Some(dscp);
        self
    }

    /// What strangers and peers may take up.
    #[must_use]
    pub fn with_limits(mut self, limits: AcceptLimits) -> Self {
        self.limits = limits;
        self
    }

    /// For simulations alone: draws what QUIC draws (connection IDs, skipped packet numbers, padding of the handshake)
    /// from this seed, so that a run repeats to the packet. Whoever knows the seed can guess a connection ID.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        self.seed = Some(bytes);
        self
    }

    /// Called for every connection turned away after its handshake began. Must not block.
    #[must_use]
    pub fn with_audit(mut self, audit: impl Fn(&Refused) + Send + Sync + 'static) -> Self {
        self.audit = Some(Arc::new(audit));
        self
    }
}

impl fmt::Debug for EndpointConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointConfig")
            .field("bind", &self.bind)
            .field("identity", &self.identity)
            .field("trust", &self.trust)
            .field("alpn", &String::from_utf8_lossy(&self.alpn))
            .field("profile", &self.profile)
            .field("mtu_upper", &self.mtu_upper)
            .field("congestion", &self.congestion)
            .field("dscp", &self.dscp)
            .field("limits", &self.limits)
            .field("tcp_fallback", &self.tcp_fallback)
            .finish_non_exhaustive()
    }
}

/// What every connection of an endpoint is made from.
pub(super) struct Local {
    pub(super) identity: Identity,
    pub(super) trust: Trust,
    alpn: Vec<u8>,
    settings: Settings,
    packet_size: PacketSize,
    congestion: Congestion,
    pub(super) precedence: Arc<Precedence>,
    pub(super) limits: AcceptLimits,
    pub(super) audit: Option<Audit>,
}

impl Local {
    /// Settings of the transport for one connection with `peer`, whose congestion control listens to `gauge`.
    pub(super) fn transport(&self, gauge: &Arc<Gauge>, peer: SocketAddr) -> Arc<quinn::TransportConfig> {
        let mtu_upper = self.packet_size.upper(peer);
        let congestion = self.settings.congestion(&self.congestion, gauge, mtu_upper);
        Arc::new(self.settings.transport(mtu_upper, congestion))
    }

    fn burst_limits(&self) -> BurstLimits {
        BurstLimits { segments_max: self.settings.segments_max, taken_in: self.packet_size.taken_in() }
    }

    /// What a peer may have on the way to us at most.
    pub(super) fn receive_window_max(&self) -> u32 {
        self.settings.receive_window
    }

    /// QUIC settings for one connection that is accepted.
    pub(super) fn server_config(
        &self,
        verifier: Arc<PeerVerifier>,
        admission: Admission,
        transport: Arc<quinn::TransportConfig>,
    ) -> Result<quinn::ServerConfig, TransportError> {
        let mut protocols = vec![self.alpn.clone()];
        if admission == Admission::AnyKey {
            protocols.push(PAIRING_ALPN.to_vec());
        }
        let crypto = tls::quic_server(tls::server(&self.identity, verifier, protocols)?)?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        config
            .transport_config(transport)
            .max_incoming(INCOMING_MAX)
            .incoming_buffer_size(INCOMING_BYTES_MAX)
            .incoming_buffer_size_total(INCOMING_BYTES_TOTAL);
        Ok(config)
    }

    /// QUIC settings for one connection that is dialled.
    pub(super) fn client_config(
        &self,
        verifier: Arc<PeerVerifier>,
        protocol: Protocol,
        transport: Arc<quinn::TransportConfig>,
    ) -> Result<quinn::ClientConfig, TransportError> {
        let alpn = match protocol {
            Protocol::Transfer => self.alpn.clone(),
            Protocol::Pairing => PAIRING_ALPN.to_vec(),
        };
        let crypto = tls::quic_client(tls::client(&self.identity, verifier, alpn)?)?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport);
        Ok(config)
    }

    /// What the handshake has agreed on.
    pub(super) fn protocol_of(&self, connection: &quinn::Connection) -> Result<Protocol, TransportError> {
        let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        match data.and_then(|data| data.protocol) {
            Some(alpn) if alpn == self.alpn => Ok(Protocol::Transfer),
            Some(alpn) if alpn == PAIRING_ALPN => Ok(Protocol::Pairing),
            Some(_) | None => Err(TransportError::Version),
        }
    }
}

/// A UDP socket that dials peers and accepts them. Dropping it ends its accepting; sessions live on
/// until they are dropped themselves.
pub struct Endpoint {
    pub(super) endpoint: quinn::Endpoint,
    pub(super) local: Arc<Local>,
    door: Arc<Door>,
    sessions: Mutex<mpsc::Receiver<Session>>,
    /// The tasks that accept over UDP, and over TCP where that is done; the one that follows this machine's address.
    accepting: Vec<JoinHandle<()>>,
    pub(super) tunnels: Option<Arc<Tunnels>>,
    warnings: Vec<Warning>,
    moving: Option<Arc<Moving>>,
}

/// What an endpoint that only dials needs in order to change its socket.
struct Moving {
    endpoint: quinn::Endpoint,
    bind: SocketAddr,
    buffers: BufferSizes,
    limits: BurstLimits,
    dscp: Option<Dscp>,
    roaming: Roaming,
}

impl Moving {
    /// Takes a new socket for all connections, like the old one but for its port.
    fn rebind(&self) -> Result<(), TransportError> {
        let failed = |e: std::io::Error| TransportError::Bind { address: self.bind, cause: e.into() };
        let (udp, _) = socket::bind(self.bind, self.buffers)?;
        let socket = socket::wrap(udp, self.dscp).map_err(failed)?;
        self.endpoint.rebind_abstract(Arc::new(BurstSocket::new(socket, self.limits))).map_err(failed)?;
        self.roaming.moved();
        Ok(())
    }

    /// Moves whenever the way to a peer has changed.
    async fn follow(self: Arc<Self>) {
        loop {
            tokio::time::sleep(roaming::LOOK_EVERY).await;
            if self.roaming.has_moved(route::source) {
                match self.rebind() {
                    Ok(()) => tracing::info!("this machine's address has changed: sessions move to a new socket"),
                    Err(error) => tracing::warn!(%error, "this machine's address has changed, and no new socket opens"),
                }
            }
        }
    }
}

impl Endpoint {
    /// Opens the socket and starts to accept. Must be called within a tokio runtime, which then drives
    /// the endpoint and its sessions.
    ///
    /// # Errors
    /// [`TransportError::Bind`] when the UDP socket cannot be opened. That the TCP port cannot be is a
    /// [`Warning`].
    pub fn bind(config: EndpointConfig) -> Result<Self, TransportError> {
        let Sockets { udp, tcp, warnings } = Sockets::bind(&config)?;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let bound = |e: std::io::Error| TransportError::Bind { address: config.bind, cause: e.into() };
        let socket = socket::wrap(udp, config.dscp).map_err(bound)?;
        let settings = config.profile.settings();
        let tunnels = config.tcp_fallback.then(|| Arc::new(Tunnels::new(&settings, config.bind.ip(), config.dscp)));
        let (bind, dscp, dial_only) = (SocketAddr::new(config.bind.ip(), 0), config.dscp, config.dial_only);
        let packet_size = config.mtu_upper.map_or(PacketSize::ByRoute, PacketSize::UpTo);
        let (mut endpoint, acceptor) = Self::open(config, socket, packet_size)?;
        if dial_only {
            let (quic, buffers, limits) = (endpoint.endpoint.clone(), settings.buffers, endpoint.local.burst_limits());
            let moving = Moving { endpoint: quic, bind, buffers, limits, dscp, roaming: Roaming::default() };
            let moving = Arc::new(moving);
            // An address that was asked for stays: whoever asked knows where it is.
            if bind.ip().is_unspecified() {
                endpoint.accepting.push(tokio::spawn(Arc::clone(&moving).follow()));
            }
            endpoint.moving = Some(moving);
        }
        if let Some((tcp, tunnels)) = tcp.zip(tunnels.clone()) {
            let listener = Listener { tcp, acceptor, tunnels, places: Arc::<Places>::default() };
            endpoint.accepting.push(tokio::spawn(listener.run()));
        }
        endpoint.tunnels = tunnels;
        endpoint.warnings = warnings;
        Ok(endpoint)
    }

    /// The same on a socket of the caller's: a simulated line, or one made by another program.
    ///
    /// # Errors
    /// [`TransportError`] when the socket has no address or TLS cannot be set up.
    pub fn with_socket(config: EndpointConfig, socket: Arc<dyn AsyncUdpSocket>) -> Result<Self, TransportError> {
        let packet_size = PacketSize::UpTo(config.mtu_upper.unwrap_or(EndpointConfig::MTU_DEFAULT));
        Ok(Self::open(config, socket, packet_size)?.0)
    }

    fn open(
        config: EndpointConfig,
        socket: Arc<dyn AsyncUdpSocket>,
        packet_size: PacketSize,
    ) -> Result<(Self, Arc<Acceptor>), TransportError> {
        let settings = config.profile.settings();
        let local = Arc::new(Local {
            identity: config.identity,
            trust: config.trust.clone(),
            alpn: config.alpn,
            settings,
            packet_size,
            congestion: config.congestion,
            precedence: Arc::default(),
            limits: config.limits,
            audit: config.audit,
        });
        let mut quic = reset::endpoint_config(&local.identity)?;
        quic.max_udp_payload_size(packet_size.taken_in())
            .map_err(|e| TransportError::Local { reason: e.to_string() })?;
        quic.rng_seed(config.seed);
        // Newcomers get a verifier and settings of their own; these set the limits until then.
        let verifier =
            PeerVerifier::new(config.trust, Admission::TrustedOnly, super::verifier::Expectation::default())?;
        let transport = local.transport(&Arc::default(), config.bind);
        let server = local.server_config(Arc::new(verifier), Admission::TrustedOnly, transport)?;
        let socket = Arc::new(BurstSocket::new(socket, local.burst_limits()));
        let endpoint = quinn::Endpoint::new_with_abstract_socket(quic, Some(server), socket, Arc::new(TokioRuntime))
            .map_err(|e| TransportError::Bind { address: config.bind, cause: e.into() })?;
        let door = Arc::new(Door::default());
        let (to_accept, sessions) = mpsc::channel(SESSIONS_WAITING_MAX);
        let acceptor = Arc::new(Acceptor {
            endpoint: endpoint.clone(),
            local: Arc::clone(&local),
            door: Arc::clone(&door),
            sessions: to_accept,
        });
        let accepting = vec![tokio::spawn(Arc::clone(&acceptor).run())];
        let (sessions, tunnels, warnings, moving) = (Mutex::new(sessions), None, Vec::new(), None);
        Ok((Self { endpoint, local, door, sessions, accepting, tunnels, warnings, moving }, acceptor))
    }

    /// Waits for the next session of a trusted peer; `None` when the endpoint is closed. Cancel-safe.
    pub async fn accept(&self) -> Option<Session> {
        self.sessions.lock().await.recv().await
    }

    /// Lets strangers connect in order to pair, until the result is dropped.
    #[must_use = "the window closes when this is dropped"]
    pub fn open_pairing(&self) -> PairingWindow {
        self.door.open_pairing()
    }

    /// Whom this endpoint talks to. Changes hold for every handshake after them.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.local.trust
    }

    /// Who this endpoint is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.local.identity
    }

    /// Where the socket listens.
    ///
    /// # Errors
    /// [`TransportError::Local`] when the system does not say.
    pub fn local_address(&self) -> Result<SocketAddr, TransportError> {
        self.endpoint.local_addr().map_err(|e| TransportError::Local { reason: e.to_string() })
    }

    /// Moves all sessions over UDP to a new socket, for a program that is told of a change of network. An endpoint
    /// that only dials, bound to no address of its own, notices within seconds by itself.
    ///
    /// # Errors
    /// [`TransportError::Local`] for an endpoint that others dial, since they know its port;
    /// [`TransportError::Bind`] when no socket opens: the old one stays.
    pub fn rebind(&self) -> Result<(), TransportError> {
        let listens =
            || TransportError::Local { reason: "only an endpoint that dials can change its socket".to_owned() };
        self.moving.as_ref().ok_or_else(listens)?.rebind()
    }

    /// Watches the way to the peer of a session that was dialled.
    pub(super) fn note_dialled(&self, session: &Session) {
        if let Some(moving) = self.moving.as_ref().filter(|_| session.carrier() == Carrier::Udp) {
            moving.roaming.note(session);
        }
    }

    /// What works less well than it should here, with remedies.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// What happened at the door so far.
    #[must_use]
    pub fn accept_counters(&self) -> AcceptCounters {
        self.door.counters()
    }

    /// Closes all sessions at once and accepts no more.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.endpoint.close(code.into(), reason.as_bytes());
        if let Some(tunnels) = &self.tunnels {
            tunnels.close(code.into(), reason);
        }
    }

    /// After [`Endpoint::close`]: waits until the peers have been told, a few round trips at most.
    pub async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
        if let Some(tunnels) = &self.tunnels {
            tunnels.wait_idle().await;
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

/// What an endpoint listens on.
struct Sockets {
    udp: std::net::UdpSocket,
    tcp: Option<tokio::net::TcpListener>,
    warnings: Vec<Warning>,
}

impl Sockets {
    /// Opens both at one port number. A number that was asked for and is taken for TCP costs the fallback; when
    /// any will do, another is tried.
    fn bind(config: &EndpointConfig) -> Result<Self, TransportError> {
        let tries = if config.bind.port() == 0 { PORT_TRIES } else { 1 };
        let mut tried = 0;
        loop {
            tried += 1;
            let (udp, mut warnings) = socket::bind(config.bind, config.profile.settings().buffers)?;
            if config.dscp.is_some() && cfg!(not(target_os = "linux")) {
                warnings.push(Warning::NoDscp);
            }
            if !config.tcp_fallback || config.dial_only {
                return Ok(Self { udp, tcp: None, warnings });
            }
            let address =
                udp.local_addr().map_err(|e| TransportError::Bind { address: config.bind, cause: e.into() })?;
            match listen_tcp(address) {
                Ok(tcp) => return Ok(Self { udp, tcp: Some(tcp), warnings }),
                Err(_) if tried < tries => {}
                Err(warning) => {
                    warnings.push(warning);
                    return Ok(Self { udp, tcp: None, warnings });
                }
            }
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("identity", self.identity())
            .field("local_address", &self.local_address().ok())
            .finish_non_exhaustive()
    }
}
