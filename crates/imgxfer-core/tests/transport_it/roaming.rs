//! Addresses that change under a session: it goes on, and no byte is lost.

use crate::site::{ALPN, line, pinned};
use bytes::Bytes;
use imgxfer_core::sim::line::VirtualNet;
use imgxfer_core::transport::{
    AsyncUdpSocket, Dial, Dscp, Endpoint, EndpointConfig, Identity, Session, TransportError,
};
use quinn::UdpPoller;
use quinn::udp::{RecvMeta, Transmit};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll};

/// Stands before the cloud as an address translator: the hospital shows under another port, and nothing that is sent
/// to a port of before arrives.
#[derive(Debug)]
struct Translator {
    cloud: Arc<dyn AsyncUdpSocket>,
    port: AtomicU16,
}

impl AsyncUdpSocket for Translator {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.cloud).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if transmit.destination.port() != self.port.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Transmit { ecn, contents, segment_size, src_ip, .. } = *transmit;
        self.cloud.try_send(&Transmit { destination: VirtualNet::HOSPITAL, ecn, contents, segment_size, src_ip })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = std::task::ready!(self.cloud.poll_recv(cx, bufs, meta))?;
        for meta in &mut meta[..count] {
            meta.addr.set_port(self.port.load(Ordering::Relaxed));
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.cloud.local_addr()
    }
}

fn pattern(seed: u32, bytes: usize) -> Bytes {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out.into()
}

/// Sends `bytes` from `a` to `b`, and calls `halfway` when half of them are there.
async fn transfer(a: &Session, b: &Session, bytes: usize, halfway: impl FnOnce()) {
    let sending = async {
        let mut out = a.open_data().await.unwrap();
        out.send(pattern(1, bytes)).await.unwrap();
        out.finish().unwrap();
        out.received().await.unwrap();
    };
    let receiving = async {
        let mut data = b.accept_data().await.unwrap();
        let expected = pattern(1, bytes);
        assert_eq!(data.read_bytes(bytes / 2).await.unwrap().unwrap(), expected[..bytes / 2]);
        halfway();
        assert_eq!(data.read_bytes(bytes - bytes / 2).await.unwrap().unwrap(), expected[bytes / 2..]);
    };
    tokio::join!(sending, receiving);
}

#[tokio::test(start_paused = true)]
async fn a_translator_that_forgets_does_not_end_a_transfer() {
    let (hospital, cloud) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let trust = pinned(&[hospital.peer_id(), cloud.peer_id()]);
    for up in [true, false] {
        let net = VirtualNet::new(line("fttc"), 7);
        let translator = Arc::new(Translator { cloud: net.cloud(), port: AtomicU16::new(4000) });
        let open = |address, identity: &Identity, socket| {
            let config = EndpointConfig::new(address, identity.clone(), trust.clone(), ALPN);
            Endpoint::with_socket(config, socket).unwrap()
        };
        let cloud = open(VirtualNet::CLOUD, &cloud, Arc::clone(&translator) as Arc<dyn AsyncUdpSocket>);
        let hospital = open(VirtualNet::HOSPITAL, &hospital, net.hospital());
        let dial = Dial::from(VirtualNet::CLOUD);
        let (dialled, accepted) = tokio::join!(hospital.connect(&dial), cloud.accept());
        let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
        assert_eq!(accepted.peer_address().port(), 4000);
        let forget = || translator.port.store(4001, Ordering::Relaxed);
        let (from, to) = if up { (&dialled, &accepted) } else { (&accepted, &dialled) };
        transfer(from, to, 4 << 20, forget).await;
        assert_eq!(accepted.peer_address().port(), 4001, "up: {up}");
        assert_eq!(cloud.accept_counters().sessions, 1);
    }
}

#[tokio::test]
async fn sessions_move_to_a_new_socket_and_listeners_stay() {
    let (a, b) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let trust = pinned(&[a.peer_id(), b.peer_id()]);
    let loopback: SocketAddr = ([127, 0, 0, 1], 0).into();
    let cloud = Endpoint::bind(EndpointConfig::new(loopback, b, trust.clone(), ALPN)).unwrap();
    let dial = Dial::from(cloud.local_address().unwrap());
    for dscp in [None, Dscp::new(10)] {
        let mut config = EndpointConfig::new(loopback, a.clone(), trust.clone(), ALPN).dial_only();
        if let Some(dscp) = dscp {
            config = config.with_dscp(dscp);
        }
        let hospital = Endpoint::bind(config).unwrap();
        let (dialled, accepted) = tokio::join!(hospital.connect(&dial), cloud.accept());
        let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
        let before = hospital.local_address().unwrap();
        assert_eq!(accepted.peer_address(), before);
        transfer(&dialled, &accepted, 4 << 20, || hospital.rebind().unwrap()).await;
        let after = hospital.local_address().unwrap();
        assert_ne!(before, after);
        assert_eq!(accepted.peer_address(), after);
        transfer(&accepted, &dialled, 100_000, || {}).await;
        let (again, accepted) = tokio::join!(hospital.connect(&dial), cloud.accept());
        assert_eq!((again.unwrap().peer(), accepted.unwrap().peer_address()), (cloud.identity().peer_id(), after));
    }
    let listening = cloud.local_address().unwrap();
    assert!(matches!(cloud.rebind(), Err(TransportError::Local { .. })));
    assert_eq!(cloud.local_address().unwrap(), listening);
}
