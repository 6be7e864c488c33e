//! Takes connections in, under limits, so that no stranger can exhaust this side.
//!
//! One task accepts; every handshake runs in a task of its own under a deadline, so that a slow one
//! holds up nobody. Sessions come out of a bounded channel.

use crate::ids::PeerId;
use crate::limits::HANDSHAKE_DEADLINE;
use crate::sync::lock;
use crate::transport::endpoint::Local;
use crate::transport::precedence::Steering;
use crate::transport::tunnel::Tunnels;
use crate::transport::udp::route;
use crate::transport::verifier::{Admission, Expectation, PeerVerifier, Verdict};
use crate::transport::{Carrier, CloseCode, PeerRefusal, Protocol, Session, TransportError};
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What strangers and peers may take up at this endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptLimits {
    /// With more handshakes than this under way, newcomers must first prove their address, which costs
    /// this side no memory (Retry, RFC 9000, 8.1.2). Default 64.
    pub retry_above: usize,
    /// Handshakes under way at once; beyond it packets of newcomers are ignored. About 40 KB each.
    /// Default 1,024.
    pub half_open_max: usize,
    /// Sessions of one peer. Those of a killed process count until they have been silent for
    /// [`IDLE_TIMEOUT`](crate::limits::IDLE_TIMEOUT), so that there must be room for a few of them. Default 8.
    pub per_peer_max: usize,
    /// Sessions of all peers. Multiply by the profile's windows for the memory. Default 256.
    pub sessions_max: usize,
    /// A handshake takes no longer than this. Default [`HANDSHAKE_DEADLINE`].
    pub handshake_deadline: Duration,
}

impl Default for AcceptLimits {
    fn default() -> Self {
        Self {
            retry_above: 64,
            half_open_max: 1024,
            per_peer_max: 8,
            sessions_max: 256,
            handshake_deadline: HANDSHAKE_DEADLINE,
        }
    }
}

/// A connection that this side turned away, for the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// Where it came from. Not proven to be a person's or a site's.
    pub address: SocketAddr,
    /// Why.
    pub error: TransportError,
}

/// What happened at the door of an endpoint since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AcceptCounters {
    /// Handshakes under way now.
    pub half_open: usize,
    /// Accepted sessions that stand now.
    pub sessions: usize,
    /// Newcomers told to prove their address first.
    pub retried: u64,
    /// Newcomers ignored or turned away for lack of room.
    pub turned_away: u64,
    /// Handshakes that failed or ended in a refusal.
    pub failed: u64,
    /// Accepted sessions that TLS over TCP carries, for want of UDP; since the endpoint was opened.
    pub tunnelled: u64,
}

/// Called once for every connection that was turned away after its handshake began.
pub(in crate::transport) type Audit = Arc<dyn Fn(&Refused) + Send + Sync>;

/// The counts behind the limits.
#[derive(Debug, Default)]
pub(in crate::transport) struct Door {
    half_open: AtomicUsize,
    sessions: Mutex<HashMap<PeerId, usize>>,
    sessions_total: AtomicUsize,
    retried: AtomicU64,
    turned_away: AtomicU64,
    failed: AtomicU64,
    tunnelled: AtomicU64,
    /// Where pairing sessions go while a window is open.
    pairing: Mutex<Option<mpsc::Sender<Session>>>,
}

impl Door {
    pub(in crate::transport) fn counters(&self) -> AcceptCounters {
        AcceptCounters {
            half_open: self.half_open.load(Ordering::Relaxed),
            sessions: self.sessions_total.load(Ordering::Relaxed),
            retried: self.retried.load(Ordering::Relaxed),
            turned_away: self.turned_away.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            tunnelled: self.tunnelled.load(Ordering::Relaxed),
        }
    }

    fn pairing(&self) -> Option<mpsc::Sender<Session>> {
        lock(&self.pairing).clone()
    }

    fn set_pairing(&self, to: Option<mpsc::Sender<Session>>) {
        *lock(&self.pairing) = to;
    }

    /// Opens the window for strangers. A second one takes the place of the first.
    pub(in crate::transport) fn open_pairing(self: &Arc<Self>) -> PairingWindow {
        let (to, sessions) = mpsc::channel(PAIRINGS_WAITING_MAX);
        self.set_pairing(Some(to));
        PairingWindow { door: Arc::clone(self), sessions }
    }

    /// Takes one of the peer's places, if there is one.
    fn take_slot(self: &Arc<Self>, peer: PeerId, limits: &AcceptLimits) -> Option<Slot> {
        let mut sessions = lock(&self.sessions);
        let of_peer = sessions.get(&peer).copied().unwrap_or(0);
        if of_peer >= limits.per_peer_max || self.sessions_total.load(Ordering::Relaxed) >= limits.sessions_max {
            return None;
        }
        sessions.insert(peer, of_peer + 1);
        self.sessions_total.fetch_add(1, Ordering::Relaxed);
        Some(Slot { door: Arc::clone(self), peer })
    }
}

/// The place that an accepted session takes up; given back when dropped.
#[derive(Debug)]
pub(in crate::transport) struct Slot {
    door: Arc<Door>,
    peer: PeerId,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut sessions = lock(&self.door.sessions);
        if let Some(count) = sessions.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                sessions.remove(&self.peer);
            }
        }
        self.door.sessions_total.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A handshake under way; counted until dropped.
pub(in crate::transport) struct HalfOpen(Arc<Door>);

impl HalfOpen {
    fn new(door: &Arc<Door>) -> Self {
        door.half_open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(door))
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.0.half_open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Pairings that may wait for the caller.
const PAIRINGS_WAITING_MAX: usize = 4;

/// While this lives, strangers may connect to this endpoint in order to pair, and for nothing else.
pub struct PairingWindow {
    door: Arc<Door>,
    sessions: mpsc::Receiver<Session>,
}

impl PairingWindow {
    /// Waits for the next peer that wants to pair; hand it to [`crate::transport::pairing::invite`].
    /// `None` when another window took this one's place or the endpoint is gone. Cancel-safe.
    pub async fn accept(&mut self) -> Option<Session> {
        self.sessions.recv().await
    }
}

impl Drop for PairingWindow {
    fn drop(&mut self) {
        self.sessions.close();
        let mut pairing = lock(&self.door.pairing);
        // A later window has replaced the sender, and its receiver is open.
        if pairing.as_ref().is_some_and(mpsc::Sender::is_closed) {
            *pairing = None;
        }
    }
}

impl fmt::Debug for PairingWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairingWindow")
    }
}

/// Everything that the accepting task needs.
pub(in crate::transport) struct Acceptor {
    pub(in crate::transport) endpoint: quinn::Endpoint,
    pub(in crate::transport) local: Arc<Local>,
    pub(in crate::transport) door: Arc<Door>,
    pub(in crate::transport) sessions: mpsc::Sender<Session>,
}

impl Acceptor {
    /// Accepts until the endpoint is closed. Dropping the future ends all handshakes under way.
    pub(in crate::transport) async fn run(self: Arc<Self>) {
        let this = self;
        let mut handshakes = JoinSet::new();
        loop {
            let incoming = tokio::select! {
                incoming = this.endpoint.accept() => incoming,
                Some(_) = handshakes.join_next() => continue,
            };
            let Some(incoming) = incoming else { break };
            if let Some(incoming) = this.admit(incoming) {
                let half_open = HalfOpen::new(&this.door);
                let this = Arc::clone(&this);
                handshakes.spawn(async move { this.handshake(incoming, half_open).await });
            }
        }
        this.door.set_pairing(None);
    }

    /// Lets a newcomer begin its handshake, or answers it without keeping anything.
    fn admit(&self, incoming: quinn::Incoming) -> Option<quinn::Incoming> {
        let limits = &self.local.limits;
        let counters = self.door.counters();
        if counters.half_open >= limits.half_open_max {
            // No answer at all: one would go to whoever's address was forged.
            self.door.turned_away.fetch_add(1, Ordering::Relaxed);
            incoming.ignore();
            return None;
        }
        if counters.half_open >= limits.retry_above && !incoming.remote_address_validated() {
            self.door.retried.fetch_add(1, Ordering::Relaxed);
            return match incoming.retry() {
                Ok(()) => None,
                Err(error) => Some(error.into_incoming()),
            };
        }
        if counters.sessions >= limits.sessions_max {
            self.door.turned_away.fetch_add(1, Ordering::Relaxed);
            incoming.refuse();
            return None;
        }
        Some(incoming)
    }

    async fn handshake(&self, incoming: quinn::Incoming, half_open: HalfOpen) {
        let address = incoming.remote_address();
        let deadline = self.local.limits.handshake_deadline;
        let done = timeout(deadline, self.authenticate(incoming, None)).await;
        drop(half_open);
        self.conclude(address, done.unwrap_or(Err(TransportError::TimedOut))).await;
    }

    /// Passes the session on, or tells of the refusal.
    pub(in crate::transport) async fn conclude(
        &self,
        address: SocketAddr,
        done: Result<(Session, mpsc::Sender<Session>), TransportError>,
    ) {
        let (session, to) = match done {
            Ok(accepted) => accepted,
            Err(error) => {
                let address = route::canonical(address);
                self.door.failed.fetch_add(1, Ordering::Relaxed);
                tracing::info!(%address, %error, "refused a connection");
                if let Some(audit) = &self.local.audit {
                    audit(&Refused { address, error });
                }
                return;
            }
        };
        // Waits while the application is busy; the session dies meanwhile if its peer does.
        // Nobody accepts any more: dropping the session closes it.
        drop(to.send(session).await);
    }

    /// Whom handshakes let in now.
    pub(in crate::transport) fn admission(&self) -> Admission {
        admission(self.door.pairing().as_ref())
    }

    /// Counts a newcomer without a place.
    pub(in crate::transport) fn turn_away(&self) {
        self.door.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// A place for a handshake, if there is one.
    pub(in crate::transport) fn half_open(&self) -> Option<HalfOpen> {
        let room = self.door.counters().half_open < self.local.limits.half_open_max;
        room.then(|| HalfOpen::new(&self.door))
    }

    /// As [`Acceptor::admit`] for one that came through a tunnel, which has its place among the handshakes.
    pub(in crate::transport) fn admit_tunnelled(&self, incoming: quinn::Incoming) -> Option<quinn::Incoming> {
        if self.door.counters().sessions < self.local.limits.sessions_max {
            return Some(incoming);
        }
        self.turn_away();
        incoming.refuse();
        None
    }

    /// Shakes hands and decides where the session goes. Nothing of the peer's streams is read. What came
    /// through a tunnel must be the peer that opened it.
    pub(in crate::transport) async fn authenticate(
        &self,
        incoming: quinn::Incoming,
        tunnel: Option<(PeerId, &Tunnels)>,
    ) -> Result<(Session, mpsc::Sender<Session>), TransportError> {
        let window = self.door.pairing();
        let admission = admission(window.as_ref());
        let verifier = Arc::new(PeerVerifier::new(self.local.trust.clone(), admission, Expectation::default())?);
        let verdict = verifier.verdict();
        let gauge = Arc::default();
        let (outer, carrier, transport) = match tunnel {
            Some((outer, tunnels)) => (Some(outer), Carrier::Tls, tunnels.transport(&gauge)),
            None => (None, Carrier::Udp, self.local.transport(&gauge, incoming.remote_address())),
        };
        let config = self.local.server_config(verifier, admission, transport)?;
        let connection = match incoming.accept_with(Arc::new(config)) {
            Ok(connecting) => connecting.await.map_err(|e| explain(&verdict, e))?,
            Err(error) => return Err(error.into()),
        };
        let finding = verdict.get().ok_or(PeerRefusal::Malformed)??;
        let protocol = self.local.protocol_of(&connection)?;
        let refuse = |code: CloseCode, error: TransportError| {
            connection.close(code.into(), b"");
            error
        };
        if let Some(expected) = outer.filter(|outer| *outer != finding.info.peer) {
            let error = PeerRefusal::WrongPeer { expected, found: finding.info.peer };
            return Err(refuse(CloseCode::Refused, error.into()));
        }
        let to = match (protocol, window) {
            (Protocol::Pairing, Some(window)) => window,
            (Protocol::Pairing, None) => return Err(refuse(CloseCode::Version, TransportError::Version)),
            (Protocol::Transfer, _) => self.sessions.clone(),
        };
        if protocol == Protocol::Transfer && finding.refusal.is_some() {
            let error = PeerRefusal::NotPaired { peer: finding.info.peer };
            return Err(refuse(CloseCode::Refused, error.into()));
        }
        let Some(slot) = self.door.take_slot(finding.info.peer, &self.local.limits) else {
            return Err(refuse(CloseCode::Busy, TransportError::Busy));
        };
        if carrier == Carrier::Tls {
            self.door.tunnelled.fetch_add(1, Ordering::Relaxed);
        }
        let steering = Steering::new(gauge, &self.local.precedence);
        let session = Session::new(connection, finding, protocol, carrier, Some(slot), steering);
        Ok((session.receiving_up_to(self.local.receive_window_max()), to))
    }
}

/// While a pairing window is open, strangers may connect.
fn admission(window: Option<&mpsc::Sender<Session>>) -> Admission {
    if window.is_some() { Admission::AnyKey } else { Admission::TrustedOnly }
}

/// The reason for a failed handshake: this side's own verdict on the peer if there is one.
pub(in crate::transport) fn explain(verdict: &Verdict, error: quinn::ConnectionError) -> TransportError {
    match verdict.get() {
        Some(Err(refusal)) => refusal.into(),
        Some(Ok(_)) | None => error.into(),
    }
}
