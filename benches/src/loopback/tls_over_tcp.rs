//! TLS 1.3 over one TCP connection: what the kernel's best-kept path does with the same cipher.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::ensure;
use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::quic::{Keys, NAME, tls_client, tls_server};
use super::race::{Contender, End};
use crate::pump::{Link, count};

/// What is read at once.
const READ_BYTES: usize = 256 << 10;

#[derive(Clone)]
pub(super) struct Tls(Arc<Mutex<Inner>>);

struct Inner {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Tls {
    fn new(stream: TlsStream<TcpStream>) -> Self {
        Self(Arc::new(Mutex::new(Inner { stream, buffer: vec![0; READ_BYTES] })))
    }
}

impl Link for Tls {
    const LANES: (usize, usize) = (1, 1);

    async fn put(&self, pack: Bytes) -> anyhow::Result<()> {
        let mut inner = self.0.lock().await;
        inner.stream.write_all(&pack).await?;
        Ok(inner.stream.flush().await?)
    }

    async fn take(&self, taken: &AtomicU64) -> anyhow::Result<()> {
        let mut inner = self.0.lock().await;
        let Inner { stream, buffer } = &mut *inner;
        let bytes = stream.read(buffer).await?;
        ensure!(bytes > 0, "it ended early");
        count(taken, bytes);
        Ok(())
    }
}

pub(super) struct TlsOverTcp {
    keys: Keys,
}

impl TlsOverTcp {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self { keys: Keys::generate()? })
    }
}

impl Contender for TlsOverTcp {
    type Link = Tls;
    type Listener = TcpListener;

    fn listen(&self) -> anyhow::Result<(TcpListener, SocketAddr)> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((TcpListener::from_std(listener)?, address))
    }

    async fn accept(&self, listener: TcpListener) -> anyhow::Result<End<Tls>> {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let stream = TlsAcceptor::from(Arc::new(tls_server(&self.keys)?)).accept(stream).await?;
        Ok((Tls::new(stream.into()), Box::new(listener)))
    }

    async fn dial(&self, to: SocketAddr) -> anyhow::Result<End<Tls>> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::new(tls_client(&self.keys)?));
        let stream = connector.connect(ServerName::try_from(NAME)?, stream).await?;
        Ok((Tls::new(stream.into()), Box::new(())))
    }
}
