//! Connects to a peer: finds its addresses, tries them, and checks who answers.

use crate::ids::PeerId;
use crate::limits::HANDSHAKE_DEADLINE;
use crate::transport::door::explain;
use crate::transport::endpoint::Local;
use crate::transport::precedence::Steering;
use crate::transport::tunnel::{TunnelDial, Tunnels};
use crate::transport::verifier::{Admission, Expectation, PeerVerifier};
use crate::transport::{Carrier, Endpoint, PeerRefusal, Protocol, Session, TransportError};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// The next address is tried when the one before has been silent for this long (RFC 8305, 8).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// An address where UDP has been silent for this long is tried over TCP as well. Over UDP a handshake is one round
/// trip, and a first packet that was lost goes out again after 0.3 and 0.9 s: this leaves it two more chances.
const UDP_SILENT_AFTER: Duration = Duration::from_secs(1);
/// How far ahead UDP starts where it was silent before. Three round trips that TCP needs do the rest.
const UDP_AHEAD: Duration = Duration::from_millis(50);
/// UDP still wins when it is done so much later than TCP: it is the better carrier for hours to come.
const UDP_PREFERRED_FOR: Duration = Duration::from_millis(100);
/// Addresses of one name that are tried; a name server may list any number.
const ADDRESSES_MAX: usize = 8;

/// Whom to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    address: String,
    peer: Option<PeerId>,
    name: Option<String>,
}

impl Dial {
    /// Connects to `address`, a host name or IP address with a port, and takes any trusted peer there.
    ///
    /// With a hospital's authorities configured that is any site they vouch for as a server: say which
    /// one is meant by [`Dial::with_peer`] or [`Dial::with_name`].
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), peer: None, name: None }
    }

    /// Takes only the holder of this key, and takes it even if it is not pinned.
    #[must_use]
    pub fn with_peer(mut self, peer: PeerId) -> Self {
        self.peer = Some(peer);
        self
    }

    /// A certificate that an authority vouches for must be for this host name or IP address.
    /// A pinned key needs no name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl From<SocketAddr> for Dial {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.to_string())
    }
}

/// One attempt's share of what all attempts need.
#[derive(Clone)]
struct Attempt {
    endpoint: quinn::Endpoint,
    local: Arc<Local>,
    expected: Expectation,
    admission: Admission,
    protocol: Protocol,
    address: String,
    tunnels: Option<Arc<Tunnels>>,
}

impl Attempt {
    /// Over UDP, and over TCP where UDP is silent.
    async fn connect(self, to: SocketAddr) -> Result<Session, TransportError> {
        let Some(tunnels) = self.tunnels.clone() else { return self.connect_udp(to).await };
        let blocked = tunnels.detours.is_known(to);
        let deadline = Instant::now() + HANDSHAKE_DEADLINE;
        let tcp = TunnelDial {
            local: Arc::clone(&self.local),
            tunnels: Arc::clone(&tunnels),
            expected: self.expected.clone(),
            admission: self.admission,
            protocol: self.protocol,
        };
        let unreachable = TransportError::Unreachable { address: self.address.clone(), tcp: true };
        let mut udp = pin!(self.clone().connect_udp(to));
        let mut udp_is_over = false;
        // An answer over UDP, be it a refusal, is an answer.
        match timeout(if blocked { UDP_AHEAD } else { UDP_SILENT_AFTER }, &mut udp).await {
            Ok(Err(TransportError::Unreachable { .. })) => udp_is_over = true,
            Ok(answered) => {
                tunnels.detours.forget(to);
                return answered;
            }
            Err(_) => {}
        }
        let mut tcp = pin!(timeout_at(deadline, Box::pin(tcp.connect(to))));
        let over_tcp = tokio::select! {
            answered = &mut udp, if !udp_is_over => match answered {
                Err(TransportError::Unreachable { .. }) => {
                    udp_is_over = true;
                    tcp.await
                }
                answered => {
                    tunnels.detours.forget(to);
                    return answered;
                }
            },
            over_tcp = &mut tcp => over_tcp,
        };
        let late = async move { if udp_is_over { Err(unreachable) } else { udp.await } };
        let failed = match over_tcp {
            Ok(Ok(session)) => {
                if let Ok(Ok(better)) = timeout(UDP_PREFERRED_FOR, late).await {
                    tunnels.detours.forget(to);
                    return Ok(better);
                }
                tunnels.detours.remember(to);
                tracing::info!(address = %to, "UDP is silent: connected over TCP");
                return Ok(session);
            }
            Ok(Err(error)) => error,
            Err(_) => TransportError::Unreachable { address: self.address, tcp: true },
        };
        // Whoever answered has spoken for the site.
        let answered = matches!(
            failed,
            TransportError::Peer(_) | TransportError::RefusedByPeer | TransportError::Version | TransportError::Busy
        );
        if answered {
            return timeout(UDP_PREFERRED_FOR, late).await.unwrap_or(Err(failed));
        }
        match (late.await, failed) {
            (Err(TransportError::Unreachable { address, .. }), TransportError::Unreachable { .. }) => {
                Err(TransportError::Unreachable { address, tcp: true })
            }
            (Err(TransportError::Unreachable { .. }), failed) => Err(failed),
            (answered, _) => answered,
        }
    }

    async fn connect_udp(self, to: SocketAddr) -> Result<Session, TransportError> {
        let verifier = Arc::new(PeerVerifier::new(self.local.trust.clone(), self.admission, self.expected)?);
        let verdict = verifier.verdict();
        let gauge = Arc::default();
        let config = self.local.client_config(verifier, self.protocol, self.local.transport(&gauge, to))?;
        let unreachable = || TransportError::Unreachable { address: self.address.clone(), tcp: false };
        // The name goes nowhere: the verifier knows whom it wants, and TLS sends none.
        let connecting = self.endpoint.connect_with(config, to, "imgxfer").map_err(|e| match e {
            quinn::ConnectError::InvalidRemoteAddress(_) => unreachable(),
            quinn::ConnectError::EndpointStopping => TransportError::LocallyClosed,
            other => TransportError::Local { reason: other.to_string() },
        })?;
        let connection = match timeout(HANDSHAKE_DEADLINE, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(quinn::ConnectionError::TimedOut)) | Err(_) => return Err(unreachable()),
            Ok(Err(error)) => return Err(explain(&verdict, error)),
        };
        let finding = verdict.get().ok_or(PeerRefusal::Malformed)??;
        let protocol = self.local.protocol_of(&connection)?;
        let steering = Steering::new(gauge, &self.local.precedence);
        Ok(Session::new(connection, finding, protocol, Carrier::Udp, None, steering)
            .receiving_up_to(self.local.receive_window_max()))
    }
}

/// How much an error tells about a failed dial; the most telling one of all addresses is reported.
fn weight(error: &TransportError) -> u8 {
    match error {
        TransportError::Unreachable { .. } => 0,
        TransportError::Peer(_) => 2,
        _ => 1,
    }
}

impl Endpoint {
    /// Connects to a trusted peer. All addresses of a name are tried; the first to succeed is taken.
    ///
    /// The peer judges this side only after this side's handshake is done, so that its refusal
    /// ([`TransportError::RefusedByPeer`]) shows at the first use of the session. Cancel-safe.
    ///
    /// # Errors
    /// [`TransportError`]: `UnknownHost`, `Unreachable`, `Peer` when this side refuses whoever answered,
    /// `Version`, `Busy`.
    pub async fn connect(&self, dial: &Dial) -> Result<Session, TransportError> {
        self.dial(dial, Admission::TrustedOnly, Protocol::Transfer).await
    }

    /// Connects in order to pair: takes any key at the other end, unless `dial` names one.
    ///
    /// Hand the result to [`crate::transport::pairing::join`]. Cancel-safe.
    ///
    /// # Errors
    /// As [`Endpoint::connect`]; [`TransportError::NotOpenForPairing`] when the other side has no invitation open.
    pub async fn connect_to_pair(&self, dial: &Dial) -> Result<Session, TransportError> {
        self.dial(dial, Admission::AnyKey, Protocol::Pairing).await.map_err(|error| match error {
            // There is one version of pairing: who does not take it has closed its window.
            TransportError::Version => TransportError::NotOpenForPairing { address: dial.address.clone() },
            error => error,
        })
    }

    async fn dial(&self, dial: &Dial, admission: Admission, protocol: Protocol) -> Result<Session, TransportError> {
        let attempt = Attempt {
            endpoint: self.endpoint.clone(),
            local: Arc::clone(&self.local),
            expected: Expectation { peer: dial.peer, name: dial.name.clone() },
            admission,
            protocol,
            address: dial.address.clone(),
            tunnels: self.tunnels.clone(),
        };
        let addresses = lookup(&dial.address).await?;
        let mut waiting = addresses.into_iter();
        let mut attempts = JoinSet::new();
        let mut worst = TransportError::Unreachable { address: dial.address.clone(), tcp: false };
        loop {
            // A failed attempt makes room for the next at once; a silent one after a while.
            if let Some(address) = waiting.next() {
                attempts.spawn(attempt.clone().connect(address));
            }
            let more = waiting.len() > 0;
            tokio::select! {
                done = attempts.join_next() => match done {
                    Some(Ok(Ok(session))) => {
                        self.note_dialled(&session);
                        return Ok(session);
                    }
                    Some(Ok(Err(error))) => {
                        if weight(&error) >= weight(&worst) {
                            worst = error;
                        }
                    }
                    // An attempt never panics and is never aborted while this waits for it.
                    Some(Err(_)) => {}
                    None => return Err(worst),
                },
                () = sleep(NEXT_ADDRESS_AFTER), if more => {}
            }
        }
    }
}

async fn lookup(address: &str) -> Result<Vec<SocketAddr>, TransportError> {
    let unknown = |cause| TransportError::UnknownHost { host: address.to_owned(), cause };
    let found = timeout(HANDSHAKE_DEADLINE, tokio::net::lookup_host(address)).await;
    let found = found.map_err(|_| unknown(std::io::ErrorKind::TimedOut.into()))?.map_err(|e| unknown(e.into()))?;
    let addresses: Vec<_> = found.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() { Err(unknown(std::io::ErrorKind::NotFound.into())) } else { Ok(addresses) }
}
