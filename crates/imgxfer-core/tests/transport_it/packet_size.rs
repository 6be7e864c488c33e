//! How large packets get over the machine's own loopback, which carries 64 KiB.

use crate::site::{ALPN, line, pinned};
use bytes::Bytes;
use imgxfer_core::sim::line::VirtualNet;
use imgxfer_core::transport::{AsyncUdpSocket, Dial, Dscp, Endpoint, EndpointConfig, Identity, Session};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{Runtime as _, TokioRuntime, UdpPoller};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, timeout};

type Setup = fn(EndpointConfig) -> EndpointConfig;

/// Two sites on loopback and a session from the first to the second.
struct Sites {
    _endpoints: [Endpoint; 2],
    dialled: Session,
    accepted: Session,
}

impl Sites {
    async fn new(here: &str, [a, b]: [Setup; 2]) -> Self {
        let (one, two) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let trust = pinned(&[one.peer_id(), two.peer_id()]);
        let open = |identity, setup: Setup| {
            let config = EndpointConfig::new(here.parse().unwrap(), identity, trust.clone(), ALPN);
            Endpoint::bind(setup(config)).unwrap()
        };
        let (a, b) = (open(one, a), open(two, b));
        let dial = Dial::from(b.local_address().unwrap());
        let (dialled, accepted) = tokio::join!(a.connect(&dial), b.accept());
        Self { dialled: dialled.unwrap(), accepted: accepted.unwrap(), _endpoints: [a, b] }
    }

    /// Sends both ways until both ends have found `bytes`.
    async fn settle_at(&self, bytes: u16) {
        let sizes = || [&self.dialled, &self.accepted].map(|session| session.stats().mtu_bytes);
        let talk = async {
            while sizes() != [bytes; 2] {
                send(&self.dialled, &self.accepted, 200_000).await;
                send(&self.accepted, &self.dialled, 200_000).await;
            }
        };
        timeout(Duration::from_secs(30), talk).await.unwrap_or_else(|_| panic!("{:?} and not {bytes}", sizes()));
    }
}

async fn send(from: &Session, to: &Session, bytes: usize) {
    let sending = async {
        let mut out = from.open_data().await.unwrap();
        out.send(Bytes::from(vec![7; bytes])).await.unwrap();
        out.finish().unwrap();
    };
    let receiving = async {
        let mut data = to.accept_data().await.unwrap();
        assert_eq!(data.read_bytes(bytes).await.unwrap().unwrap(), vec![7; bytes]);
    };
    tokio::join!(sending, receiving);
}

const AUTO: Setup = |config| config;
const SMALL: Setup = |config| config.with_mtu_upper(EndpointConfig::MTU_DEFAULT);

#[tokio::test]
#[cfg(target_os = "linux")]
async fn loopback_is_found_to_carry_jumbo_packets() {
    let sites = Sites::new("127.0.0.1:0", [AUTO, AUTO]).await;
    sites.settle_at(EndpointConfig::MTU_JUMBO).await;
    // Ten datagrams of this size are more than the system takes at once.
    send(&sites.dialled, &sites.accepted, 16 << 20).await;
    let stats = sites.dialled.stats();
    assert_eq!(stats.mtu_bytes, EndpointConfig::MTU_JUMBO, "{stats:?}");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn marked_packets_grow_as_well() {
    let marked: Setup = |config| config.with_dscp(Dscp::new(10).unwrap());
    let sites = Sites::new("127.0.0.1:0", [marked, AUTO]).await;
    sites.settle_at(EndpointConfig::MTU_JUMBO).await;
    send(&sites.dialled, &sites.accepted, 16 << 20).await;
    assert_eq!(sites.dialled.stats().mtu_bytes, EndpointConfig::MTU_JUMBO);
}

#[tokio::test]
async fn a_size_that_was_set_holds_for_both_ends() {
    // It takes in no more than QUIC's default, so that neither end goes beyond what it was set to.
    let sites = Sites::new("127.0.0.1:0", [SMALL, SMALL]).await;
    sites.settle_at(EndpointConfig::MTU_DEFAULT).await;
    let sites = Sites::new("127.0.0.1:0", [SMALL, AUTO]).await;
    send(&sites.accepted, &sites.dialled, 4 << 20).await;
    send(&sites.dialled, &sites.accepted, 4 << 20).await;
    assert!(sites.accepted.stats().mtu_bytes <= 1472, "{:?}", sites.accepted.stats());
    assert!(sites.dialled.stats().mtu_bytes <= EndpointConfig::MTU_DEFAULT, "{:?}", sites.dialled.stats());
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn one_endpoint_serves_peers_of_different_sizes_at_once() {
    let identities = [(); 3].map(|()| Identity::generate().unwrap());
    let trust = pinned(&identities.each_ref().map(Identity::peer_id));
    let open = |identity: &Identity, setup: Setup| {
        let config = EndpointConfig::new(([127, 0, 0, 1], 0).into(), identity.clone(), trust.clone(), ALPN);
        Endpoint::bind(setup(config)).unwrap()
    };
    let [cloud, small, large] = identities.each_ref();
    let (cloud, small, large) = (open(cloud, AUTO), open(small, SMALL), open(large, AUTO));
    let dial = Dial::from(cloud.local_address().unwrap());
    let (dialled, accepted) = tokio::join!(small.connect(&dial), cloud.accept());
    let (to_small, at_small) = (accepted.unwrap(), dialled.unwrap());
    let (dialled, accepted) = tokio::join!(large.connect(&dial), cloud.accept());
    let (to_large, at_large) = (accepted.unwrap(), dialled.unwrap());
    let sizes = || (to_small.stats().mtu_bytes, to_large.stats().mtu_bytes);
    let talk = async {
        while sizes().0 < EndpointConfig::MTU_DEFAULT || sizes().1 < EndpointConfig::MTU_JUMBO {
            tokio::join!(send(&to_small, &at_small, 1 << 20), send(&to_large, &at_large, 1 << 20));
        }
        tokio::join!(send(&to_small, &at_small, 8 << 20), send(&to_large, &at_large, 8 << 20));
    };
    timeout(Duration::from_secs(30), talk).await.unwrap_or_else(|_| panic!("{:?}", sizes()));
    assert!((1_452..=1_472).contains(&sizes().0) && sizes().1 == 8_952, "{:?}", sizes());
}

/// A socket without room every third time, which loopback itself never does.
#[derive(Debug)]
struct Fitful {
    inner: Arc<dyn AsyncUdpSocket>,
    calls: AtomicUsize,
}

impl AsyncUdpSocket for Fitful {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.calls.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_socket_that_is_full_in_the_middle_of_a_burst_sends_nothing_twice() {
    let (one, two) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let trust = pinned(&[one.peer_id(), two.peer_id()]);
    let open = |identity| {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
        let config = EndpointConfig::new(socket.local_addr().unwrap(), identity, trust.clone(), ALPN);
        let inner = TokioRuntime.wrap_udp_socket(socket).unwrap();
        let socket = Arc::new(Fitful { inner, calls: AtomicUsize::new(0) });
        Endpoint::with_socket(config.with_mtu_upper(EndpointConfig::MTU_JUMBO), socket).unwrap()
    };
    let (a, b) = (open(one), open(two));
    let dial = Dial::from(b.local_address().unwrap());
    let (dialled, accepted) = tokio::join!(a.connect(&dial), b.accept());
    let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
    let talk = async {
        while dialled.stats().mtu_bytes < EndpointConfig::MTU_JUMBO {
            send(&dialled, &accepted, 200_000).await;
        }
        send(&dialled, &accepted, 32 << 20).await;
    };
    timeout(Duration::from_secs(30), talk).await.unwrap();
    let (sent, received) = (dialled.stats(), accepted.stats());
    assert_eq!(sent.mtu_bytes, EndpointConfig::MTU_JUMBO, "{sent:?}");
    assert!(received.received_bytes <= sent.sent_bytes, "{sent:?} {received:?}");
}

/// How long `bytes` take over a line of packets of 1,500 bytes between ends that try up to `upper`, and what they found.
async fn over_a_line(name: &str, upper: u16, bytes: usize) -> (Duration, u16) {
    let net = VirtualNet::new(line(name), 1);
    let (one, two) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let trust = pinned(&[one.peer_id(), two.peer_id()]);
    let open = |address, identity, socket| {
        let config = EndpointConfig::new(address, identity, trust.clone(), ALPN).with_mtu_upper(upper);
        Endpoint::with_socket(config, socket).unwrap()
    };
    let hospital = open(VirtualNet::HOSPITAL, one, net.hospital());
    let cloud = open(VirtualNet::CLOUD, two, net.cloud());
    let dial = Dial::from(VirtualNet::CLOUD);
    let (dialled, accepted) = tokio::join!(hospital.connect(&dial), cloud.accept());
    let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
    let start = Instant::now();
    send(&dialled, &accepted, bytes).await;
    (start.elapsed(), dialled.stats().mtu_bytes)
}

#[tokio::test(start_paused = true)]
async fn a_smaller_hop_on_the_way_costs_next_to_nothing() {
    let ms = Duration::from_millis;
    // On the slowest line the probes that are lost are felt, once for each session.
    for (name, bytes, cost) in
        [("adsl", 400_000, ms(500)), ("fibre100", 4 << 20, ms(20)), ("fibre1g-far", 40 << 20, ms(50))]
    {
        let (known, small) = over_a_line(name, EndpointConfig::MTU_DEFAULT, bytes).await;
        let (found, size) = over_a_line(name, EndpointConfig::MTU_JUMBO, bytes).await;
        println!("{name}: {known:?} with {small} bytes, {found:?} with {size} bytes found");
        assert!((1_400..=1_472).contains(&size), "{name}: {size}");
        assert!(found < known + cost, "{name}: {found:?} beside {known:?}");
    }
}
