//! The socket that quinn sees: it sends into a line, and receives from a line or from a real socket.

use super::LineControl;
use super::pipe::Outlet;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Datagrams of one send, as quinn makes them on a real socket.
const SEGMENTS_MAX: usize = 10;

/// Where datagrams come from.
#[derive(Debug)]
pub(super) enum Receives {
    FromLine(Outlet),
    /// With the task that sends what has come through the line.
    FromSocket(Arc<dyn AsyncUdpSocket>, JoinHandle<()>),
}

/// A socket behind a line: see [`ShapedSocket::new`] for one that is real otherwise, and
/// [`super::VirtualNet`] for those without any system beneath.
#[derive(Debug)]
pub struct ShapedSocket {
    pub(super) address: SocketAddr,
    /// The line that it sends into.
    pub(super) out: LineControl,
    pub(super) receives: Receives,
}

impl ShapedSocket {
    fn real(&self) -> Option<&dyn AsyncUdpSocket> {
        match &self.receives {
            Receives::FromLine(_) => None,
            Receives::FromSocket(socket, _) => Some(&**socket),
        }
    }
}

impl Drop for ShapedSocket {
    fn drop(&mut self) {
        if let Receives::FromSocket(_, sending) = &self.receives {
            sending.abort();
        }
    }
}

/// A line takes all that is sent, and drops what is too much.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for ShapedSocket {
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
        match &self.receives {
            Receives::FromLine(outlet) => poll_outlet(outlet, cx, bufs, meta),
            Receives::FromSocket(socket, _) => socket.poll_recv(cx, bufs, meta),
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn max_transmit_segments(&self) -> usize {
        self.real().map_or(SEGMENTS_MAX, |socket| socket.max_transmit_segments())
    }

    fn max_receive_segments(&self) -> usize {
        self.real().map_or(1, |socket| socket.max_receive_segments())
    }

    fn may_fragment(&self) -> bool {
        self.real().is_some_and(|socket| socket.may_fragment())
    }
}

fn poll_outlet(
    outlet: &Outlet,
    cx: &mut Context<'_>,
    bufs: &mut [IoSliceMut<'_>],
    meta: &mut [RecvMeta],
) -> Poll<io::Result<usize>> {
    loop {
        let now = Instant::now();
        let mut received = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta.iter_mut()) {
            let Some(parcel) = outlet.take_due(now, |_| true) else { break };
            // As a real socket does, what does not fit is cut off.
            let len = parcel.bytes.len().min(buf.len());
            buf[..len].copy_from_slice(&parcel.bytes[..len]);
            let dst_ip = Some(parcel.flow.to.ip());
            *meta = RecvMeta { addr: parcel.flow.from, len, stride: len, ecn: parcel.ecn, dst_ip };
            received += 1;
        }
        if received > 0 {
            return Poll::Ready(Ok(received));
        }
        std::task::ready!(outlet.poll_due(cx));
    }
}
