//! What strangers can do to an endpoint: little.

use crate::site::{ALPN, Pair};
use imgxfer_core::sim::line::VirtualNet;
use imgxfer_core::transport::{
    AcceptLimits, AsyncUdpSocket, Endpoint, EndpointConfig, Identity, PeerRefusal, TransportError, Trust,
};
use quinn::udp::{RecvMeta, Transmit};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

fn limits(change: impl FnOnce(&mut AcceptLimits)) -> AcceptLimits {
    let mut limits = AcceptLimits::default();
    change(&mut limits);
    limits
}

/// A socket that keeps what is sent and receives nothing.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Vec<u8>>>);

#[derive(Debug)]
struct Writable;

impl quinn::UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Recorder {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn quinn::UdpPoller>> {
        Box::pin(Writable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len());
        self.0.lock().unwrap().extend(transmit.contents.chunks(segment).map(<[u8]>::to_vec));
        Ok(())
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        _: &mut [io::IoSliceMut<'_>],
        _: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(VirtualNet::HOSPITAL)
    }
}

/// The first flights of some connections that their maker will never hear of again.
async fn first_flights(dials: usize) -> Vec<Vec<u8>> {
    let recorder = Arc::new(Recorder::default());
    let config = EndpointConfig::new(VirtualNet::HOSPITAL, Identity::generate().unwrap(), Trust::new(), ALPN);
    let endpoint = Endpoint::with_socket(config, Arc::<Recorder>::clone(&recorder)).unwrap();
    for _ in 0..dials {
        // Long enough to send, too short to send again.
        let dial = Pair::dial();
        let dialling = timeout(Duration::from_millis(50), endpoint.connect(&dial));
        assert!(dialling.await.is_err());
    }
    std::mem::take(&mut recorder.0.lock().unwrap())
}

/// Sends the datagrams to the cloud, each pair from another forged address.
async fn flood(pair: &Pair, datagrams: &[Vec<u8>]) {
    for (i, flight) in (0..).zip(datagrams.chunks(2)) {
        for datagram in flight {
            pair.net.inject_to_cloud(([203, 0, 113, 9], 1_000 + i).into(), datagram);
        }
    }
    sleep(Duration::from_millis(100)).await;
}

#[tokio::test(start_paused = true)]
async fn half_open_handshakes_beyond_a_number_must_prove_their_address() {
    let pair = Pair::known_with("fibre1g", limits(|l| l.retry_above = 16));
    let flights = first_flights(60).await;
    flood(&pair, &flights).await;
    let counters = pair.cloud.endpoint.accept_counters();
    assert_eq!(counters.half_open, 16, "{counters:?}");
    assert!(counters.retried >= 44, "{counters:?}");
    // No more goes out to forged addresses than three times what came in (RFC 9000, 8.1).
    let (up, down) = (pair.net.up().counters(), pair.net.down().counters());
    assert!(down.offered_bytes <= 3 * up.offered_bytes, "{up:?} {down:?}");

    // A peer that can answer gets in among them, at the cost of one round trip more.
    let start = Instant::now();
    drop(pair.session().await);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(pair.cloud.endpoint.accept_counters().half_open, 16);
}

#[tokio::test(start_paused = true)]
async fn half_open_handshakes_are_bounded_and_end() {
    let bound = |l: &mut AcceptLimits| (l.retry_above, l.half_open_max) = (1_000, 8);
    let pair = Pair::known_with("fibre1g", limits(bound));
    let flights = first_flights(20).await;
    flood(&pair, &flights).await;
    let counters = pair.cloud.endpoint.accept_counters();
    assert_eq!(counters.half_open, 8, "{counters:?}");
    assert!(counters.turned_away >= 12, "{counters:?}");
    sleep(Duration::from_secs(10)).await;
    let counters = pair.cloud.endpoint.accept_counters();
    assert_eq!((counters.half_open, counters.failed, counters.sessions), (0, 8, 0));
    drop(pair.session().await);
}

#[tokio::test(start_paused = true)]
async fn a_first_flight_replayed_is_one_handshake() {
    let pair = Pair::known("fibre1g");
    let flight = first_flights(1).await;
    for _ in 0..1_000 {
        for datagram in &flight {
            pair.net.inject_to_cloud(([203, 0, 113, 9], 1_000).into(), datagram);
        }
    }
    sleep(Duration::from_millis(100)).await;
    let counters = pair.cloud.endpoint.accept_counters();
    assert_eq!((counters.half_open, counters.retried), (1, 0), "{counters:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_has_so_many_sessions_and_no_more() {
    let pair = Pair::known("fibre1g");
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(pair.session().await);
    }
    assert_eq!(pair.cloud.endpoint.accept_counters().sessions, 8);
    assert_eq!(pair.outcome(&Pair::dial()).await.unwrap_err(), TransportError::Busy);
    assert_eq!(pair.cloud.errors(), [TransportError::Busy]);
    drop(sessions.pop());
    pair.outcome(&Pair::dial()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn all_peers_together_have_so_many_sessions() {
    let pair = Pair::known_with("fibre1g", limits(|l| l.sessions_max = 2));
    let _sessions = (pair.session().await, pair.session().await);
    assert_eq!(pair.outcome(&Pair::dial()).await.unwrap_err(), TransportError::Busy);
    assert_eq!(pair.cloud.endpoint.accept_counters().turned_away, 1);
}

#[tokio::test(start_paused = true)]
async fn garbage_is_nothing() {
    let pair = Pair::known("fibre10g");
    let mut noise = vec![0; 1_200];
    let mut reader = blake3::Hasher::new().update(b"noise").finalize_xof();
    for i in 0..20_000_usize {
        reader.fill(&mut noise);
        let from = ([203, 0, 113, 9], 1_000 + u16::try_from(i % 60_000).unwrap()).into();
        pair.net.inject_to_cloud(from, &noise[..1 + i % 1_200]);
        if i % 1_000 == 0 {
            tokio::task::yield_now().await;
        }
    }
    pair.outcome(&Pair::dial()).await.unwrap();
    assert_eq!(pair.cloud.endpoint.accept_counters().half_open, 0);
}

#[tokio::test(start_paused = true)]
async fn an_open_pairing_window_lets_strangers_do_nothing_else() {
    let pair = Pair::strangers();
    let cloud = pair.cloud.endpoint.identity().peer_id();
    let peer = pair.hospital.endpoint.identity().peer_id();
    let dial = Pair::dial().with_peer(cloud);
    let window = pair.cloud.endpoint.open_pairing();
    assert_eq!(pair.outcome(&dial).await.unwrap_err(), TransportError::RefusedByPeer);
    assert_eq!(pair.cloud.errors(), [PeerRefusal::NotPaired { peer }.into()]);
    assert_eq!(pair.cloud.endpoint.accept_counters().sessions, 0);

    drop(window);
    let error = pair.hospital.endpoint.connect_to_pair(&dial).await.unwrap_err();
    assert!(matches!(error, TransportError::NotOpenForPairing { .. }), "{error:?}");
}
