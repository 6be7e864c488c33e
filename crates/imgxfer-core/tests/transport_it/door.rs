//! What strangers can do to an endpoint: little.

use crate::site::Pair;
use imgxfer_core::sim::line::VirtualNet;
use imgxfer_core::transport::{AcceptLimits, PeerRefusal, TransportError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

fn limits(change: impl FnOnce(&mut AcceptLimits)) -> AcceptLimits {
    let mut limits = AcceptLimits::default();
    change(&mut limits);
    limits
}

/// Dials many times while no answer comes back, and returns the dials when the first packets are in.
async fn flood(pair: &Pair, dials: usize) -> JoinSet<()> {
    pair.net.down().cut();
    let mut flood = JoinSet::new();
    let endpoint = std::sync::Arc::new(quinn_flood(pair));
    for _ in 0..dials {
        let endpoint = std::sync::Arc::clone(&endpoint);
        flood.spawn(async move {
            drop(endpoint.connect(&Pair::dial()).await);
        });
    }
    sleep_until(Instant::now() + Duration::from_secs(1)).await;
    flood
}

/// A second endpoint at the hospital's address, since the dials outlive the borrow of the first.
fn quinn_flood(pair: &Pair) -> imgxfer_core::transport::Endpoint {
    use imgxfer_core::transport::{Endpoint, EndpointConfig, Identity, Trust};
    let config =
        EndpointConfig::new(VirtualNet::HOSPITAL, Identity::generate().unwrap(), Trust::new(), crate::site::ALPN);
    Endpoint::with_socket(config, pair.net.hospital()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn half_open_handshakes_beyond_a_number_must_prove_their_address() {
    let pair = Pair::known_with("fibre1g", limits(|l| l.retry_above = 16));
    let _flood = flood(&pair, 60).await;
    let counters = pair.cloud.endpoint.accept_counters();
    assert_eq!(counters.half_open, 16);
    assert!(counters.retried >= 44, "{counters:?}");

    // A peer that can answer gets in among them.
    pair.net.down().restore();
    let start = Instant::now();
    drop(pair.session().await);
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn half_open_handshakes_are_bounded_and_end() {
    let bound = |l: &mut AcceptLimits| (l.retry_above, l.half_open_max) = (1_000, 8);
    let pair = Pair::known_with("fibre1g", limits(bound));
    let flood = flood(&pair, 20).await;
    let counters = pair.cloud.endpoint.accept_counters();
    assert_eq!(counters.half_open, 8);
    assert!(counters.turned_away >= 12, "{counters:?}");
    drop(flood);
    sleep_until(Instant::now() + Duration::from_secs(20)).await;
    let counters = pair.cloud.endpoint.accept_counters();
    assert_eq!((counters.half_open, counters.sessions), (0, 0));
    pair.net.down().restore();
    drop(pair.session().await);
}

#[tokio::test(start_paused = true)]
async fn a_peer_has_so_many_sessions_and_no_more() {
    let pair = Pair::known("fibre1g");
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(pair.session().await);
    }
    assert_eq!(pair.cloud.endpoint.accept_counters().sessions, 4);
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
    assert_eq!(error, TransportError::Version);
}
