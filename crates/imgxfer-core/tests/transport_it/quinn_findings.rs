//! What quinn does today that this project works around: `docs/quinn.md` explains each. Every test shows the
//! behaviour as it is. One that fails after an upgrade says which workaround may go.

use bytes::Bytes;
use imgxfer_core::sim::line::{LineParams, LineProfile, VirtualNet};
use imgxfer_core::transport::AsyncUdpSocket;
use quinn::congestion::{Controller, ControllerFactory};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, MtuDiscoveryConfig, Runtime, ServerConfig, TokioRuntime,
    TransportConfig, UdpPoller, VarInt,
};
use std::any::Any;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A window that never changes, so that nothing but what is shown plays a part.
#[derive(Debug, Clone, Copy)]
struct Constant(u64);

impl ControllerFactory for Constant {
    fn build(self: Arc<Self>, _now: Instant, _mtu: u16) -> Box<dyn Controller> {
        Box::new(*self)
    }
}

impl Controller for Constant {
    fn on_congestion_event(&mut self, _now: Instant, _sent: Instant, _persistent: bool, _lost: u64) {}
    fn on_mtu_update(&mut self, _mtu: u16) {}
    fn window(&self) -> u64 {
        self.0
    }
    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(*self)
    }
    fn initial_window(&self) -> u64 {
        self.0
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Sees every datagram that the sender sends, with its number, and says whether it may pass.
type Watch = Box<dyn FnMut(usize, usize) -> bool + Send>;

struct Watched {
    inner: Arc<dyn AsyncUdpSocket>,
    watch: Mutex<(usize, Watch)>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

impl AsyncUdpSocket for Watched {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let (count, watch) = &mut *self.watch.lock().unwrap();
        let Transmit { destination, ecn, src_ip, .. } = *transmit;
        for contents in transmit.contents.chunks(transmit.segment_size.unwrap_or(transmit.contents.len())) {
            *count += 1;
            if watch(*count, contents.len()) {
                self.inner.try_send(&Transmit { destination, ecn, contents, segment_size: None, src_ip })?;
            }
        }
        Ok(())
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
}

/// Two endpoints of quinn alone, and a connection between them: the client's end, and the server's.
struct Ends {
    client: Connection,
    server: Connection,
    _endpoints: [Endpoint; 2],
}

async fn connect(
    (client, server): (Arc<dyn AsyncUdpSocket>, Arc<dyn AsyncUdpSocket>),
    transport: TransportConfig,
    datagram_bytes_max: u16,
) -> Ends {
    let key = rcgen::generate_simple_self_signed(vec!["quinn.example".to_owned()]).unwrap();
    let certificate = key.cert.der().clone();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let transport = Arc::new(transport);
    let mut server_config = ServerConfig::with_single_cert(vec![certificate], private).unwrap();
    server_config.transport_config(Arc::clone(&transport));
    let mut client_config = ClientConfig::with_root_certificates(Arc::new(roots)).unwrap();
    client_config.transport_config(transport);
    let address = server.local_addr().unwrap();
    let open = |socket, server| {
        let mut config = EndpointConfig::default();
        config.max_udp_payload_size(datagram_bytes_max).unwrap();
        Endpoint::new_with_abstract_socket(config, server, socket, Arc::new(TokioRuntime)).unwrap()
    };
    let (client, server) = (open(client, None), open(server, Some(server_config)));
    let connecting = client.connect_with(client_config, address, "quinn.example").unwrap();
    let accepting = async { server.accept().await.unwrap().await.unwrap() };
    let (dialled, accepted) = tokio::join!(connecting, accepting);
    Ends { client: dialled.unwrap(), server: accepted, _endpoints: [client, server] }
}

/// Over a line in virtual time; `watch` sees what the client sends.
async fn over(line: LineParams, transport: TransportConfig, watch: Watch) -> Ends {
    let net = VirtualNet::new(LineProfile::symmetric(line), 1);
    let client = Arc::new(Watched { inner: net.hospital(), watch: Mutex::new((0, watch)) });
    connect((client, net.cloud()), transport, 1472).await
}

/// What is common to the tests: a constant window and no search for the packet size, so that packets are 1,200 bytes.
fn plain(window: u64) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.congestion_controller_factory(Arc::new(Constant(window))).mtu_discovery_config(None);
    transport
}

async fn send(connection: &Connection, priority: i32, bytes: usize) {
    let mut stream = connection.open_uni().await.unwrap();
    stream.set_priority(priority).unwrap();
    stream.write_chunk(Bytes::from(vec![7; bytes])).await.unwrap();
    stream.finish().unwrap();
}

/// Reads the next streams to their ends; which of them, by length, ended when.
async fn receive(connection: &Connection, count: usize) -> Vec<(usize, tokio::time::Instant)> {
    let mut reading = tokio::task::JoinSet::new();
    for _ in 0..count {
        let mut stream = connection.accept_uni().await.unwrap();
        reading.spawn(async move {
            let length = stream.read_to_end(usize::MAX).await.unwrap().len();
            (length, tokio::time::Instant::now())
        });
    }
    let mut ended = reading.join_all().await;
    ended.sort_by_key(|(_, at)| *at);
    ended
}

const ADSL: u64 = 8_000_000;

#[tokio::test]
async fn bursts_over_64_kib_are_taken_for_a_black_hole() {
    let socket = || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let buffers = socket2::SockRef::from(&socket);
        buffers.set_recv_buffer_size(4 << 20).unwrap();
        buffers.set_send_buffer_size(4 << 20).unwrap();
        TokioRuntime.wrap_udp_socket(socket).unwrap()
    };
    let (client, server) = (socket(), socket());
    if client.max_transmit_segments() < 10 {
        return; // This system sends each datagram by itself.
    }
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(8952);
    let mut transport = TransportConfig::default();
    transport.congestion_controller_factory(Arc::new(Constant(400_000))).mtu_discovery_config(Some(mtu));
    let ends = connect((client, server), transport, 8952).await;
    let discard = async {
        while let Ok(mut stream) = ends.server.accept_uni().await {
            while let Ok(Some(_)) = stream.read_chunk(usize::MAX, true).await {}
        }
    };
    let fill = async {
        let mut stream = ends.client.open_uni().await.unwrap();
        for _ in 0..200 {
            stream.write_chunk(Bytes::from(vec![7; 1 << 20])).await.unwrap();
            if ends.client.stats().path.black_holes_detected > 0 {
                break;
            }
        }
    };
    tokio::select! {
        () = discard => {}
        () = fill => {}
    }
    let path = ends.client.stats().path;
    assert!(
        path.black_holes_detected > 0,
        "quinn sends bursts over 64 KiB without harm now: remove BurstSocket::send_in_pieces in transport/udp/burst.rs ({path:?})"
    );
    assert_eq!(path.current_mtu, 1200);
}

#[tokio::test(start_paused = true)]
async fn many_gaps_on_one_stream_end_the_connection() {
    let mut transport = plain(32 << 20);
    transport.stream_receive_window(VarInt::from_u32(16 << 20)).send_window(32 << 20);
    // From when the handshake is over, every second datagram is lost.
    let watch = Box::new(|count: usize, bytes: usize| count < 20 || bytes < 1000 || count.is_multiple_of(2));
    let line = LineParams::new(1_000_000_000, Duration::from_millis(40)).with_queue(Duration::from_secs(1));
    let ends = over(line, transport, watch).await;
    send(&ends.client, 0, 12 << 20).await;
    let silent = tokio::time::timeout(Duration::from_secs(5), ends.server.closed()).await;
    let error =
        silent.expect("quinn bears 2,048 gaps on a stream now: stream windows in transport/profile.rs may grow");
    assert!(error.to_string().contains("too many"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn no_burst_is_shorter_than_ten_packets() {
    // As much as the line holds: 25 packets, so that the pacer lets one go every 1 ms on average.
    let (line, transport) = (LineParams::new(ADSL, Duration::from_millis(15)), plain(30_000));
    let sent = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sent);
    let watch = move |_, bytes| {
        if bytes > 1000 {
            seen.lock().unwrap().push(tokio::time::Instant::now());
        }
        true
    };
    let ends = over(line.with_queue(Duration::from_secs(1)), transport, Box::new(watch)).await;
    tokio::join!(send(&ends.client, 0, 100_000), receive(&ends.server, 1));
    tokio::time::sleep(Duration::from_secs(1)).await;
    sent.lock().unwrap().clear();
    tokio::join!(send(&ends.client, 0, 24_000), receive(&ends.server, 1));
    let sent = sent.lock().unwrap();
    let first = sent.iter().take_while(|at| **at == sent[0]).count();
    assert!(
        first >= 10,
        "quinn paces from the first packet now: a smaller queue target in transport/congestion may hold ({first} at once)"
    );
}

#[tokio::test(start_paused = true)]
async fn by_default_a_stream_gets_1_25_mb_a_round_trip() {
    let mut transport = TransportConfig::default();
    transport.congestion_controller_factory(Arc::new(Constant(32 << 20)));
    let line = LineParams::new(1_000_000_000, Duration::from_millis(40)).with_queue(Duration::from_secs(1));
    let ends = over(line, transport, Box::new(|_, _| true)).await;
    let start = tokio::time::Instant::now();
    let bytes = 10_000_000;
    tokio::join!(send(&ends.client, 0, bytes), receive(&ends.server, 1));
    let took = start.elapsed();
    // 10 MB are 80 ms of this line, and 7 round trips more by windows of 1.25 MB.
    assert!(
        took > Duration::from_millis(7 * 80),
        "quinn's default windows fill a long line now: see whether transport/profile.rs still has to set them ({took:?})"
    );
}

/// Sends streams of these priorities and lengths one after the other over 8 Mbit/s; the order in which they were complete.
async fn order(fair: bool, watch: Watch, streams: &[(i32, usize)]) -> Vec<usize> {
    let mut transport = plain(60_000);
    transport.send_fairness(fair);
    let line = LineParams::new(ADSL, Duration::from_millis(15)).with_queue(Duration::from_secs(1));
    let ends = over(line, transport, watch).await;
    let sending = async {
        for (priority, bytes) in streams {
            send(&ends.client, *priority, *bytes).await;
            // Long enough for one packet, so that the stream is begun.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let ((), ended) = tokio::join!(sending, receive(&ends.server, streams.len()));
    ended.into_iter().map(|(length, _)| length).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_waits_behind_streams_that_came_later() {
    let one_lost = || -> Watch {
        let mut large = 0;
        // One packet of the first stream.
        Box::new(move |_, bytes| {
            large += usize::from(bytes >= 1200);
            large != 10
        })
    };
    let streams = [(0, 20_000), (0, 300_000), (0, 300_001)];
    assert_eq!(order(true, one_lost(), &streams).await[0], 20_000, "with fairness");
    assert_eq!(
        order(false, one_lost(), &streams).await,
        [300_000, 300_001, 20_000],
        "quinn sends again what was lost before newer streams: streams in order may be relied on (docs/quinn.md)"
    );
}

#[tokio::test(start_paused = true)]
async fn an_urgent_stream_waits_for_the_one_that_was_begun() {
    let streams = [(0, 300_000), (100, 1_000)];
    assert_eq!(order(true, Box::new(|_, _| true), &streams).await, [1_000, 300_000], "with fairness");
    assert_eq!(
        order(false, Box::new(|_, _| true), &streams).await,
        [300_000, 1_000],
        "quinn lets urgent streams overtake without fairness now: a session of their own is not needed (docs/quinn.md)"
    );
}

/// How long a megabyte takes on 8 Mbit/s, handed over in pieces of so many bytes with a send window of 256 KiB.
async fn in_pieces_of(bytes: usize) -> Duration {
    let line = LineParams::new(8_000_000, Duration::from_millis(15));
    let mut transport = plain(40 * 1_200);
    transport.send_window(256 << 10);
    let ends = over(line, transport, Box::new(|_, _| true)).await;
    let began = tokio::time::Instant::now();
    let sending = async {
        let mut stream = ends.client.open_uni().await.unwrap();
        for _ in 0..(1 << 20) / bytes {
            stream.write_chunk(Bytes::from(vec![7; bytes])).await.unwrap();
        }
        stream.finish().unwrap();
    };
    let (_, received) = tokio::join!(sending, receive(&ends.server, 1));
    assert_eq!(received[0].0, 1 << 20);
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_piece_fills_the_send_window_until_its_last_byte_is_acknowledged() {
    let (small, large) = (in_pieces_of(32 << 10).await, in_pieces_of(256 << 10).await);
    assert!(
        large > small.mul_f64(1.05),
        "quinn counts only what is unacknowledged now: data need not be sent in pieces (docs/quinn.md): {small:?}, {large:?}"
    );
}
