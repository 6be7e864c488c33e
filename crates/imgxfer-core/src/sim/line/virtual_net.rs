//! Two endpoints in memory with a line each way between them.

use super::pipe::{Parcel, Timer};
use super::{LineControl, LineProfile};
use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::time::Instant;

/// Datagrams of one send, as quinn makes them on a real socket.
const SEGMENTS_MAX: usize = 10;

/// A network of two hosts: a hospital and a cloud.
///
/// Make one socket of each kind: a line wakes one reader. Use it under `tokio::time::pause` on a current-thread runtime: time
/// then passes as fast as the machine computes. Randomness of TLS remains, so that two runs differ in
/// packet contents, but not in what the lines do to the nth packet.
#[derive(Debug)]
pub struct VirtualNet {
    up: LineControl,
    down: LineControl,
}

impl VirtualNet {
    /// Address of the hospital's socket.
    pub const HOSPITAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 99, 0, 2)), 4433);
    /// Address of the cloud's socket.
    pub const CLOUD: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1)), 4433);

    /// Joins the two hosts.
    #[must_use]
    pub fn new(profile: LineProfile, seed: u64) -> Self {
        Self { up: LineControl::new(profile.up, seed), down: LineControl::new(profile.down, !seed) }
    }

    /// The line from the hospital to the cloud.
    #[must_use]
    pub fn up(&self) -> &LineControl {
        &self.up
    }

    /// The line from the cloud to the hospital.
    #[must_use]
    pub fn down(&self) -> &LineControl {
        &self.down
    }

    /// Cuts both directions.
    pub fn cut(&self) {
        self.up.cut();
        self.down.cut();
    }

    /// Mends both directions.
    pub fn restore(&self) {
        self.up.restore();
        self.down.restore();
    }

    /// The hospital's socket.
    #[must_use]
    pub fn hospital(&self) -> Arc<dyn AsyncUdpSocket> {
        Arc::new(VirtualSocket::new(Self::HOSPITAL, self.up.clone(), self.down.clone()))
    }

    /// The cloud's socket.
    #[must_use]
    pub fn cloud(&self) -> Arc<dyn AsyncUdpSocket> {
        Arc::new(VirtualSocket::new(Self::CLOUD, self.down.clone(), self.up.clone()))
    }

    /// Sends a datagram to the cloud as if it came from `from`: for tests of hostile traffic.
    pub fn inject_to_cloud(&self, from: SocketAddr, datagram: &[u8]) {
        self.up.send(Parcel { from, to: Self::CLOUD, ecn: None, bytes: Bytes::copy_from_slice(datagram) });
    }
}

#[derive(Debug)]
struct VirtualSocket {
    address: SocketAddr,
    out: LineControl,
    into: LineControl,
    timer: Mutex<Timer>,
}

impl VirtualSocket {
    fn new(address: SocketAddr, out: LineControl, into: LineControl) -> Self {
        Self { address, out, into, timer: Mutex::default() }
    }

    /// The next datagram for this host. Answers to forged addresses lead nowhere.
    fn next(&self, now: Instant) -> Option<Parcel> {
        while let Some(parcel) = self.into.take_due(now, |_| true) {
            if parcel.to == self.address {
                return Some(parcel);
            }
        }
        None
    }
}

/// A line takes all that is sent, and drops what is too much.
#[derive(Debug)]
pub(super) struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for VirtualSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.out.transmit(self.address, transmit);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let now = Instant::now();
            let mut received = 0;
            for (buf, meta) in bufs.iter_mut().zip(meta.iter_mut()) {
                let Some(parcel) = self.next(now) else { break };
                // As a real socket does, what does not fit is cut off.
                let len = parcel.bytes.len().min(buf.len());
                buf[..len].copy_from_slice(&parcel.bytes[..len]);
                *meta = RecvMeta { addr: parcel.from, len, stride: len, ecn: parcel.ecn, dst_ip: Some(parcel.to.ip()) };
                received += 1;
            }
            if received > 0 {
                return Poll::Ready(Ok(received));
            }
            let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
            std::task::ready!(self.into.poll_due(cx, &mut timer));
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn max_transmit_segments(&self) -> usize {
        SEGMENTS_MAX
    }

    fn may_fragment(&self) -> bool {
        false
    }
}
