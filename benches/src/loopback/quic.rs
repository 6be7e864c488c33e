//! quinn itself: as it comes, and tuned as well as we know.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, MtuDiscoveryConfig, Runtime as _, TokioRuntime, TransportConfig, UdpPoller, VarInt};
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use socket2::{Domain, Protocol, Socket, Type};

use super::race::{Contender, End};

/// The name in the certificate.
pub const NAME: &str = "bench.example";

/// A certificate that vouches for itself.
#[derive(Debug)]
pub struct Keys {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Keys {
    /// New ones.
    ///
    /// # Errors
    /// When the machine has no entropy.
    pub fn generate() -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(|e| anyhow::anyhow!(e))?;
        Ok(Self { certificate: made.cert.der().clone(), key })
    }
}

/// TLS 1.3 with AES-128 alone, which is the fastest where the processor has AES.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    Arc::new(provider)
}

/// TLS of the side that listens.
///
/// # Errors
/// When the keys do not serve.
pub fn tls_server(keys: &Keys) -> anyhow::Result<rustls::ServerConfig> {
    Ok(rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![keys.certificate.clone()], keys.key.clone_key())?)
}

/// TLS of the side that dials.
///
/// # Errors
/// When the keys do not serve.
pub fn tls_client(keys: &Keys) -> anyhow::Result<rustls::ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(keys.certificate.clone())?;
    Ok(rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// How quinn is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tuning {
    /// As it comes.
    Defaults,
    /// Windows as in our `Auto` profile, and UDP payloads of up to so many bytes. Its own Cubic.
    Tuned(u16),
}

impl Tuning {
    fn transport(self) -> TransportConfig {
        let mut config = TransportConfig::default();
        if let Self::Tuned(mtu) = self {
            let mut discovery = MtuDiscoveryConfig::default();
            discovery.upper_bound(mtu);
            config
                .stream_receive_window(VarInt::from_u32(4 << 20))
                .receive_window(VarInt::from_u32(32 << 20))
                .send_window(32 << 20)
                .max_concurrent_uni_streams(VarInt::from_u32(64))
                .send_fairness(false)
                .datagram_receive_buffer_size(None)
                .mtu_discovery_config(Some(discovery));
        }
        config
    }
}

/// Settings of the side that listens.
///
/// # Errors
/// When the keys do not serve.
pub fn server(keys: &Keys, tuning: Tuning) -> anyhow::Result<quinn::ServerConfig> {
    let crypto = QuicServerConfig::try_from(tls_server(keys)?)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(tuning.transport()));
    Ok(config)
}

/// Settings of the side that dials.
///
/// # Errors
/// When the keys do not serve.
pub fn client(keys: &Keys, tuning: Tuning) -> anyhow::Result<quinn::ClientConfig> {
    let crypto = QuicClientConfig::try_from(tls_client(keys)?)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(tuning.transport()));
    Ok(config)
}

/// An endpoint on a socket, which draws from `seed` if there is one: for lines in virtual time.
///
/// # Errors
/// When the socket has no address.
pub fn endpoint_on(
    socket: Arc<dyn AsyncUdpSocket>,
    server: Option<quinn::ServerConfig>,
    seed: Option<u64>,
) -> anyhow::Result<quinn::Endpoint> {
    let mut config = quinn::EndpointConfig::default();
    config.rng_seed(seed.map(|seed| std::array::from_fn(|i| seed.to_le_bytes()[i % 8])));
    config.max_udp_payload_size(super::MTU_JUMBO)?;
    Ok(quinn::Endpoint::new_with_abstract_socket(config, server, socket, Arc::new(TokioRuntime))?)
}

/// Socket buffers, each way.
const BUFFER_BYTES: usize = 4 << 20;

/// A socket on loopback with large buffers.
fn loopback(mtu: u16) -> anyhow::Result<Arc<dyn AsyncUdpSocket>> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(BUFFER_BYTES)?;
    socket.set_send_buffer_size(BUFFER_BYTES)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    let inner = TokioRuntime.wrap_udp_socket(socket.into())?;
    Ok(Arc::new(Capped { inner, segments_max: SEND_BYTES_MAX / usize::from(mtu) }))
}

/// quinn, tuned.
#[derive(Debug)]
pub(super) struct Quinn {
    keys: Keys,
    mtu: u16,
}

impl Quinn {
    pub(super) fn new(mtu: u16) -> anyhow::Result<Self> {
        Ok(Self { keys: Keys::generate()?, mtu })
    }
}

impl Contender for Quinn {
    type Link = quinn::Connection;
    type Listener = quinn::Endpoint;

    fn listen(&self) -> anyhow::Result<(quinn::Endpoint, SocketAddr)> {
        let endpoint = endpoint_on(loopback(self.mtu)?, Some(server(&self.keys, Tuning::Tuned(self.mtu))?), None)?;
        let address = endpoint.local_addr()?;
        Ok((endpoint, address))
    }

    async fn accept(&self, endpoint: quinn::Endpoint) -> anyhow::Result<End<quinn::Connection>> {
        Ok((endpoint.accept().await.context("closed")?.await?, Box::new(endpoint)))
    }

    async fn dial(&self, to: SocketAddr) -> anyhow::Result<End<quinn::Connection>> {
        let endpoint = endpoint_on(loopback(self.mtu)?, None, None)?;
        let connection = endpoint.connect_with(client(&self.keys, Tuning::Tuned(self.mtu))?, to, NAME)?.await?;
        Ok((connection, Box::new(endpoint)))
    }
}

/// The kernel sends no more in one call; quinn 0.11 takes its refusal for a path that lost its packet size.
const SEND_BYTES_MAX: usize = 65_507;

/// Takes no more datagrams at once than the kernel does.
#[derive(Debug)]
struct Capped {
    inner: Arc<dyn AsyncUdpSocket>,
    segments_max: usize,
}

impl AsyncUdpSocket for Capped {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
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
        self.inner.max_transmit_segments().min(self.segments_max).max(1)
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
