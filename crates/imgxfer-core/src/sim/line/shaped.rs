//! Real UDP sockets behind a simulated line: what has come through it is handed to the system.

use super::pipe::Outlet;
use super::socket::Receives;
use super::world::Parcel;
use super::{LineControl, LineParams, ShapedSocket};
use quinn::AsyncUdpSocket;
use quinn::udp::Transmit;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::time::Instant;

/// Bytes of one send that the system takes.
const SEND_BYTES_MAX: usize = 65_507;

impl ShapedSocket {
    /// Puts a line before `inner`: what is sent goes over it first, and what is received comes as the real
    /// socket gives it. For a line that is slow both ways, shape the sockets at both ends. Anything that
    /// the line drops is gone; what it delays waits in memory, a bounded queue.
    ///
    /// Must be called within a tokio runtime, which then moves the datagrams.
    ///
    /// # Errors
    /// What the socket says when asked for its address.
    pub fn new(inner: Arc<dyn AsyncUdpSocket>, params: LineParams, seed: u64) -> io::Result<Self> {
        let address = inner.local_addr()?;
        let out = LineControl::alone(params, seed);
        let sending = tokio::spawn(send_when_due(Arc::clone(&inner), out.outlet(None)));
        Ok(Self { address, out, receives: Receives::FromSocket(inner, sending) })
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
        &self.out
    }
}

/// Hands datagrams to the real socket when they have come through the line.
async fn send_when_due(socket: Arc<dyn AsyncUdpSocket>, line: Outlet) {
    let mut writable = Arc::clone(&socket).create_io_poller();
    loop {
        poll_fn(|cx| line.poll_due(cx)).await;
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
    fn take(line: &Outlet, segments_max: usize) -> Option<Self> {
        let now = Instant::now();
        let first = line.take_due(now, |_| true)?;
        let mut contents = first.bytes.to_vec();
        let length = first.bytes.len();
        for _ in 1..segments_max.min(SEND_BYTES_MAX / length.max(1)) {
            let alike = |p: &Parcel| p.flow.to == first.flow.to && p.ecn == first.ecn && p.bytes.len() == length;
            let Some(next) = line.take_due(now, alike) else { break };
            contents.extend_from_slice(&next.bytes);
        }
        Some(Self { first, contents })
    }

    fn transmit(&self) -> Transmit<'_> {
        let several = self.contents.len() > self.first.bytes.len();
        Transmit {
            destination: self.first.flow.to,
            ecn: self.first.ecn,
            contents: &self.contents,
            segment_size: several.then_some(self.first.bytes.len()),
            src_ip: None,
        }
    }
}
