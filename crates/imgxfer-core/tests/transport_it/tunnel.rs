//! Where UDP is blocked, sessions stand over TLS, and are the same otherwise. Real sockets on loopback.

use crate::relay::Relay;
use crate::site::{ALPN, pinned};
use bytes::Bytes;
use imgxfer_core::transport::pairing::{Invitation, PairingCode, invite, join};
use imgxfer_core::transport::{
    AcceptLimits, Carrier, CloseCode, Dial, Endpoint, EndpointConfig, Identity, PeerRefusal, Refused, Session,
    TransportError, Trust, Warning,
};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// A hospital behind a firewall, and a cloud.
struct Pair {
    hospital: Endpoint,
    cloud: Endpoint,
    relay: Relay,
    refused: Arc<Mutex<Vec<Refused>>>,
}

impl Pair {
    async fn new(hospital: (Identity, Trust), cloud: (Identity, Trust), limits: AcceptLimits) -> Self {
        let refused = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&refused);
        let config = |(identity, trust)| EndpointConfig::new(LOOPBACK.into(), identity, trust, ALPN);
        let audit = move |r: &Refused| seen.lock().unwrap().push(r.clone());
        let cloud = Endpoint::bind(config(cloud).with_limits(limits).with_audit(audit)).unwrap();
        let hospital = Endpoint::bind(config(hospital).dial_only()).unwrap();
        let relay = Relay::before(cloud.local_address().unwrap(), false).await;
        Self { hospital, cloud, relay, refused }
    }

    async fn known_with(limits: AcceptLimits) -> Self {
        let (a, b) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let trust = (pinned(&[b.peer_id()]), pinned(&[a.peer_id()]));
        Self::new((a, trust.0), (b, trust.1), limits).await
    }

    async fn known() -> Self {
        Self::known_with(AcceptLimits::default()).await
    }

    async fn strangers() -> Self {
        let site = || (Identity::generate().unwrap(), Trust::new());
        Self::new(site(), site(), AcceptLimits::default()).await
    }

    fn dial(&self) -> Dial {
        Dial::from(self.relay.address)
    }

    async fn session(&self) -> (Session, Session) {
        let dial = self.dial();
        let (dialled, accepted) = tokio::join!(self.hospital.connect(&dial), self.cloud.accept());
        let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
        assert_eq!((dialled.carrier(), accepted.carrier()), (Carrier::Tls, Carrier::Tls));
        (dialled, accepted)
    }

    fn errors(&self) -> Vec<TransportError> {
        self.refused.lock().unwrap().iter().map(|r| r.error.clone()).collect()
    }

    /// Waits until the cloud has turned away so many.
    async fn errors_after(&self, count: usize) -> Vec<TransportError> {
        while self.errors().len() < count {
            tokio::task::yield_now().await;
        }
        self.errors()
    }
}

fn pattern(seed: u32, bytes: usize) -> Bytes {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out.into()
}

async fn transfer(from: &Session, to: &Session, bytes: usize) {
    let sending = async {
        let mut out = from.open_data().await.unwrap();
        out.send(pattern(1, bytes)).await.unwrap();
        out.finish().unwrap();
        out.received().await.unwrap();
    };
    let receiving = async {
        let mut data = to.accept_data().await.unwrap();
        assert_eq!(data.read_bytes(bytes).await.unwrap().unwrap(), pattern(1, bytes));
        assert_eq!(data.read_bytes(1).await, Ok(None));
    };
    tokio::join!(sending, receiving);
}

#[tokio::test]
async fn blocked_udp_is_noticed_and_remembered() {
    let pair = Pair::known().await;
    let start = Instant::now();
    let (a, b) = pair.session().await;
    assert!(start.elapsed() >= Duration::from_secs(1), "UDP had its chance: {:?}", start.elapsed());
    assert_eq!(a.peer(), pair.cloud.identity().peer_id());
    assert_eq!(b.peer(), pair.hospital.identity().peer_id());
    assert_eq!(a.peer_address(), pair.relay.address);
    assert!(format!("{a:?}").contains("Tls"), "{a:?}");
    let start = Instant::now();
    let again = pair.session().await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let counters = pair.cloud.accept_counters();
    assert_eq!((counters.sessions, counters.tunnelled, counters.half_open, counters.failed), (2, 2, 0, 0));
    drop(again);
}

#[tokio::test]
async fn where_udp_passes_it_is_taken() {
    let pair = Pair::known().await;
    let dial = Dial::from(pair.cloud.local_address().unwrap());
    let (dialled, accepted) = tokio::join!(pair.hospital.connect(&dial), pair.cloud.accept());
    assert_eq!((dialled.unwrap().carrier(), accepted.unwrap().carrier()), (Carrier::Udp, Carrier::Udp));
    assert_eq!(pair.cloud.accept_counters().tunnelled, 0);
}

#[tokio::test]
async fn bytes_and_messages_cross_both_ways() {
    let pair = Pair::known().await;
    let (a, b) = pair.session().await;
    tokio::join!(transfer(&a, &b, 20 << 20), transfer(&b, &a, 5 << 20));
    a.adapt_windows();
    let stats = a.stats();
    assert_eq!((stats.mtu_bytes, stats.lost_packets), (16_000, 0), "{stats:?}");
    // Two heads and two tags around 16,000 bytes, and acknowledgements.
    assert!(stats.sent_bytes < (20 << 20) * 102 / 100, "{stats:?}");

    let (mut out, mut answers) = a.open_control().await.unwrap().into_split();
    let sizes = [0, 1, 15_999, 16_000, 16_001, 300_000];
    let there = async {
        for (i, size) in (0..).zip(sizes) {
            out.send(&pattern(i, size)).await.unwrap();
        }
        out.finish().unwrap();
        assert_eq!(answers.recv(16).await.unwrap().unwrap(), b"all here"[..]);
    };
    let here = async {
        let mut control = b.accept_control().await.unwrap();
        for (i, size) in (0..).zip(sizes) {
            assert_eq!(control.recv(300_000).await.unwrap().unwrap(), pattern(i, size));
        }
        control.send(b"all here").await.unwrap();
        control.finish().unwrap();
    };
    tokio::join!(there, here);
}

#[tokio::test]
async fn limits_resets_and_closing_are_typed_as_over_udp() {
    let pair = Pair::known().await;
    let (a, b) = pair.session().await;
    let mut control = a.open_control().await.unwrap();
    control.send(&[0; 100]).await.unwrap();
    let mut heard = b.accept_control().await.unwrap();
    assert_eq!(heard.recv(99).await, Err(TransportError::MessageTooLong { bytes: 100, limit: 99 }));
    heard.reset(CloseCode::Limit);
    assert_eq!(control.recv(1).await, Err(TransportError::Reset { code: CloseCode::Limit }));
    let mut data = a.open_data().await.unwrap();
    data.send(Bytes::from_static(b"short")).await.unwrap();
    drop(data);
    let mut got = b.accept_data().await.unwrap();
    assert_eq!(got.read_bytes(6).await, Err(TransportError::Reset { code: CloseCode::Cancelled }));

    a.close(CloseCode::Stalled, "nothing moved");
    assert_eq!(a.closed().await, TransportError::LocallyClosed);
    let expected = TransportError::PeerClosed { code: CloseCode::Stalled, reason: "nothing moved".to_owned() };
    assert_eq!(b.closed().await, expected);
    let (a, b) = pair.session().await;
    drop(a);
    assert!(matches!(b.closed().await, TransportError::PeerClosed { code: CloseCode::Done, .. }));
}

#[tokio::test]
async fn an_endpoint_that_closes_takes_its_tunnels_with_it() {
    let pair = Pair::known().await;
    let (a, b) = pair.session().await;
    pair.cloud.close(CloseCode::ShuttingDown, "upgrade");
    let expected = TransportError::PeerClosed { code: CloseCode::ShuttingDown, reason: "upgrade".to_owned() };
    assert_eq!(a.closed().await, expected);
    assert_eq!(b.closed().await, TransportError::LocallyClosed);
    pair.cloud.wait_idle().await;
    assert!(pair.cloud.accept().await.is_none());
    pair.hospital.close(CloseCode::Done, "");
    pair.hospital.wait_idle().await;
    assert_eq!(pair.hospital.connect(&pair.dial()).await.unwrap_err(), TransportError::LocallyClosed);
}

#[tokio::test]
async fn a_cut_is_known_at_once_at_both_ends_and_the_next_dial_works() {
    let pair = Pair::known().await;
    let (a, b) = pair.session().await;
    let mut out = a.open_data().await.unwrap();
    out.send(pattern(1, 1000)).await.unwrap();
    let mut data = b.accept_data().await.unwrap();
    pair.relay.cut();
    assert_eq!((a.closed().await, b.closed().await), (TransportError::Cut, TransportError::Cut));
    assert_eq!(out.send(Bytes::from_static(b"more")).await, Err(TransportError::Cut));
    assert!(data.read_bytes(2000).await.is_err());
    drop((a, b, out, data));
    let (a, b) = pair.session().await;
    transfer(&a, &b, 100_000).await;
    drop((a, b));
    pair.hospital.wait_idle().await;
    pair.cloud.wait_idle().await;
    assert_eq!(pair.cloud.accept_counters().sessions, 0);
}

#[tokio::test]
async fn strangers_learn_nothing_and_reach_no_quic() {
    let pair = Pair::known().await;
    let stranger = Identity::generate().unwrap();
    let peer = stranger.peer_id();
    let cloud = pair.cloud.identity().peer_id();
    let config = EndpointConfig::new(LOOPBACK.into(), stranger, pinned(&[cloud]), ALPN).dial_only();
    let stranger = Endpoint::bind(config).unwrap();
    assert_eq!(stranger.connect(&pair.dial()).await.unwrap_err(), TransportError::RefusedByPeer);
    assert_eq!(pair.errors_after(1).await, [PeerRefusal::Unknown { peer }.into()]);

    let known = pair.hospital.identity().peer_id();
    pair.cloud.trust().block(known);
    assert_eq!(pair.hospital.connect(&pair.dial()).await.unwrap_err(), TransportError::RefusedByPeer);
    assert_eq!(pair.errors_after(2).await[1], PeerRefusal::Blocked { peer: known }.into());
    assert_eq!(pair.cloud.accept_counters().tunnelled, 0);
}

#[tokio::test]
async fn who_answers_over_tcp_is_judged_as_over_udp() {
    let pair = Pair::known().await;
    let expected = Identity::generate().unwrap().peer_id();
    let found = pair.cloud.identity().peer_id();
    let error = pair.hospital.connect(&pair.dial().with_peer(expected)).await.unwrap_err();
    assert_eq!(error, PeerRefusal::WrongPeer { expected, found }.into());
    pair.hospital.trust().unpin(found);
    let error = pair.hospital.connect(&pair.dial()).await.unwrap_err();
    assert_eq!(error, PeerRefusal::Unknown { peer: found }.into());
    // Named when dialling, it needs no pin.
    pair.hospital.connect(&pair.dial().with_peer(found)).await.unwrap();
}

#[tokio::test]
async fn without_a_version_in_common() {
    let (a, b) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let trust = pinned(&[a.peer_id(), b.peer_id()]);
    let cloud = Endpoint::bind(EndpointConfig::new(LOOPBACK.into(), b, trust.clone(), b"imgxfer-test/2")).unwrap();
    let relay = Relay::before(cloud.local_address().unwrap(), false).await;
    let hospital = Endpoint::bind(EndpointConfig::new(LOOPBACK.into(), a, trust, ALPN).dial_only()).unwrap();
    assert_eq!(hospital.connect(&Dial::from(relay.address)).await.unwrap_err(), TransportError::Version);
}

#[tokio::test]
async fn strangers_pair_through_a_tunnel_and_do_nothing_else() {
    let pair = Pair::strangers().await;
    let (cloud, hospital) = (pair.cloud.identity(), pair.hospital.identity());
    let dial = pair.dial().with_peer(cloud.peer_id());
    assert_eq!(pair.hospital.connect_to_pair(&dial).await.unwrap_err(), TransportError::RefusedByPeer);

    let mut window = pair.cloud.open_pairing();
    let session = pair.hospital.connect(&dial).await;
    // The cloud refuses after this side's handshake is done.
    let error = match session {
        Ok(session) => session.closed().await,
        Err(error) => error,
    };
    assert_eq!(error, TransportError::RefusedByPeer);
    assert_eq!(pair.errors_after(2).await[1], PeerRefusal::NotPaired { peer: hospital.peer_id() }.into());

    let dial = pair.dial();
    let (there, here) = tokio::join!(pair.hospital.connect_to_pair(&dial), window.accept());
    let (there, here) = (there.unwrap(), here.unwrap());
    assert_eq!((there.carrier(), here.carrier()), (Carrier::Tls, Carrier::Tls));
    let code: PairingCode = "428-519-063".parse().unwrap();
    let invitation = Invitation::new("428-519-063".parse().unwrap(), Duration::from_secs(600));
    let (inviter, joiner) = tokio::join!(
        invite(&here, cloud, &invitation, "The cloud", |_| async { true }),
        join(&there, hospital, &code, "Ward 7", |_| async { true })
    );
    assert_eq!(inviter.unwrap().peer, hospital.peer_id());
    pair.cloud.trust().pin(hospital.peer_id());
    pair.hospital.trust().pin(joiner.unwrap().peer);
    drop((window, here, there));
    pair.session().await;
}

#[tokio::test]
async fn sessions_are_bounded_as_over_udp() {
    let mut limits = AcceptLimits::default();
    (limits.per_peer_max, limits.sessions_max) = (2, 3);
    let pair = Pair::known_with(limits).await;
    let mut sessions = vec![pair.session().await, pair.session().await];
    let full = pair.hospital.connect(&pair.dial()).await.unwrap();
    assert_eq!(full.closed().await, TransportError::Busy);
    drop(sessions.pop());
    while pair.cloud.accept_counters().sessions > 1 {
        tokio::task::yield_now().await;
    }
    pair.session().await;
}

#[tokio::test]
async fn nobody_there_over_udp_or_tcp() {
    let (a, b) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let hospital = EndpointConfig::new(LOOPBACK.into(), a, pinned(&[b.peer_id()]), ALPN).dial_only();
    let hospital = Endpoint::bind(hospital).unwrap();
    // Takes connections and says nothing.
    let silent = TcpListener::bind(SocketAddr::from(LOOPBACK)).await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let start = Instant::now();
    let error = hospital.connect(&Dial::new(&address)).await.unwrap_err();
    assert_eq!(error, TransportError::Unreachable { address, tcp: true });
    assert!(error.to_string().contains("neither over UDP nor over TCP"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
}

#[tokio::test]
async fn the_ports_have_one_number_and_a_taken_one_is_a_warning() {
    let bind = |address: SocketAddr, tcp| {
        let config = EndpointConfig::new(address, Identity::generate().unwrap(), Trust::new(), ALPN);
        Endpoint::bind(config.with_tcp_fallback(tcp)).unwrap()
    };
    let no_port = |endpoint: &Endpoint| {
        endpoint.warnings().iter().find(|w| matches!(w, Warning::NoTcpPort { .. })).map(ToString::to_string)
    };
    let first = bind(LOOPBACK.into(), true);
    assert_eq!(no_port(&first), None);
    drop(TcpStream::connect(first.local_address().unwrap()).await.unwrap());

    let taken = TcpListener::bind(SocketAddr::from(LOOPBACK)).await.unwrap();
    let address = taken.local_addr().unwrap();
    let warning = no_port(&bind(address, true)).unwrap();
    assert!(warning.contains(&address.to_string()) && warning.contains("free the port"), "{warning}");

    let off = bind(LOOPBACK.into(), false);
    assert_eq!(no_port(&off), None);
    let error = TcpStream::connect(off.local_address().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

/// Limits under which a test need not wait long for the deadline of a handshake.
fn hasty() -> AcceptLimits {
    let mut limits = AcceptLimits::default();
    limits.handshake_deadline = Duration::from_millis(500);
    limits
}

/// Reads to the end of the connection.
async fn drained(mut stream: TcpStream) -> usize {
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes).await);
    bytes.len()
}

#[tokio::test]
async fn strangers_who_are_silent_hold_few_places_and_not_for_long() {
    let pair = Pair::known_with(hasty()).await;
    let cloud = pair.cloud.local_address().unwrap();
    let mut strangers = Vec::new();
    for _ in 0..500 {
        strangers.push(TcpStream::connect(cloud).await.unwrap());
        assert!(pair.cloud.accept_counters().half_open <= 16);
    }
    // Half a record of a handshake, and no more.
    for stranger in &mut strangers {
        drop(stranger.write_all(&[22, 3, 1, 2]).await);
    }
    // UDP is not affected at all.
    let dial = Dial::from(cloud);
    let (dialled, accepted) = tokio::join!(pair.hospital.connect(&dial), pair.cloud.accept());
    assert_eq!((dialled.unwrap().carrier(), accepted.unwrap().carrier()), (Carrier::Udp, Carrier::Udp));
    for stranger in strangers {
        drained(stranger).await;
    }
    let counters = pair.cloud.accept_counters();
    assert_eq!(counters.half_open, 0, "{counters:?}");
    assert!(counters.turned_away >= 400, "{counters:?}");
    pair.session().await;
}

#[tokio::test]
async fn garbage_ends_a_connection_at_once() {
    let pair = Pair::known().await;
    let cloud = pair.cloud.local_address().unwrap();
    let inputs = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0; 100_000],
        pattern(5, 100_000).to_vec(),
        // A record longer than TLS has.
        vec![22, 3, 1, 0xff, 0xff],
    ];
    for (n, input) in (1..).zip(inputs) {
        let mut stream = TcpStream::connect(cloud).await.unwrap();
        drop(stream.write_all(&input).await);
        assert!(drained(stream).await < 100);
        assert!(matches!(pair.errors_after(n).await[n - 1], TransportError::Tls { .. }), "{:?}", pair.errors());
    }
    pair.session().await;
}
