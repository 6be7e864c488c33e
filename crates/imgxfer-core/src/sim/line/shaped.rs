//! A real UDP socket behind a simulated line.

use super::pipe::{Parcel, Timer};
use super::virtual_net::AlwaysWritable;
use super::{LineControl, LineParams};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Bytes of one send that the system takes.
const SEND_BYTES_MAX: usize = 65_507;

/// Sends what is handed to it over a [`LineControl`] first. Receives as the real socket does: for a line
/// that is slow both ways, shape the sockets at both ends.
///
/// Anything that the line drops is gone; what it delays waits in memory, a bounded queue.
#[derive(Debug)]
pub struct ShapedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    line: LineControl,
    address: SocketAddr,
    sending: JoinHandle<()>,
}

impl ShapedSocket {
    /// Puts a line before `inner`. Must be called within a tokio runtime, which then moves the datagrams.
    ///
    /// # Errors
    /// What the socket says when asked for its address.
    pub fn new(inner: Arc<dyn AsyncUdpSocket>, params: LineParams, seed: u64) -> io::Result<Self> {
        let address = inner.local_addr()?;
        let line = LineControl::new(params, seed);
        let sending = tokio::spawn(send_when_due(Arc::clone(&inner), line.clone()));
        Ok(Self { inner, line, address, sending })
    }

    /// Opens a socket on `address` and puts a line before it.
    ///
    /// # Errors
    /// What the system says when the socket is opened.
    pub fn bind(address: SocketAddr, params: LineParams, seed: u64) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(address)?;
        Self::new(quinn::Runtime::wrap_udp_socket(&quinn::TokioRuntime, socket)?, params, seed)
    }

    /// The line, to cut it and to read its counters.
    #[must_use]
    pub fn line(&self) -> &LineControl {
        &self.line
    }
}

impl Drop for ShapedSocket {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

/// Hands datagrams to the real socket when they have come through the line.
async fn send_when_due(socket: Arc<dyn AsyncUdpSocket>, line: LineControl) {
    let mut timer = Timer::default();
    let mut writable = Arc::clone(&socket).create_io_poller();
    loop {
        poll_fn(|cx| line.poll_due(cx, &mut timer)).await;
        while let Some(batch) = Batch::take(&line, socket.max_transmit_segments()) {
            loop {
                match socket.try_send(&batch.transmit()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        if poll_fn(|cx| writable.as_mut().poll_writable(cx)).await.is_err() {
                            break;
                        }
                    }
                    // A datagram that the system does not take is lost, as on any line.
                    Err(_) | Ok(()) => break,
                }
            }
        }
    }
}

/// Datagrams that go out together: of one length, to one place.
struct Batch {
    first: Parcel,
    contents: Vec<u8>,
}

impl Batch {
    fn take(line: &LineControl, segments_max: usize) -> Option<Self> {
        let now = Instant::now();
        let first = line.take_due(now, |_| true)?;
        let mut contents = first.bytes.to_vec();
        let length = first.bytes.len();
        for _ in 1..segments_max.min(SEND_BYTES_MAX / length.max(1)) {
            let alike = |p: &Parcel| p.to == first.to && p.ecn == first.ecn && p.bytes.len() == length;
            let Some(next) = line.take_due(now, alike) else { break };
            contents.extend_from_slice(&next.bytes);
        }
        Some(Self { first, contents })
    }

    fn transmit(&self) -> Transmit<'_> {
        let several = self.contents.len() > self.first.bytes.len();
        Transmit {
            destination: self.first.to,
            ecn: self.first.ecn,
            contents: &self.contents,
            segment_size: several.then_some(self.first.bytes.len()),
            src_ip: None,
        }
    }
}

impl AsyncUdpSocket for ShapedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.line.transmit(self.address, transmit);
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
        Ok(self.address)
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
