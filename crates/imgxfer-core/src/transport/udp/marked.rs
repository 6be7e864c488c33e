//! A UDP socket whose packets carry a DSCP.
//!
//! quinn-udp 0.5.16 states the bits of congestion notification of every packet in a control message (`src/unix.rs`,
//! `prepare_msg`), and Linux takes the whole byte from there: a mark that was set on the socket never leaves the
//! machine. So this socket sends by itself, with mark and bits in one byte. All else is quinn-udp's.

#![expect(clippy::host_endian_bytes, reason = "the kernel reads control messages in the order of the machine")]

use super::Dscp;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use rustix::io::Errno;
use socket2::{MsgHdr, SockAddr, SockRef};
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::Interest;

/// Levels and kinds of control messages, the same on every Linux (ip(7), ipv6(7), udp(7)).
const IP_TOS: (i32, i32) = (0, 1);
const IP_PKTINFO: (i32, i32) = (0, 8);
const IPV6_TCLASS: (i32, i32) = (41, 67);
const IPV6_PKTINFO: (i32, i32) = (41, 50);
const UDP_SEGMENT: (i32, i32) = (17, 103);

/// Room for the byte of marks, the size of segments and an IPv6 source address.
const CONTROL_BYTES_MAX: usize = 96;

/// Control messages as the kernel reads them: length, level, kind, value, and zeros up to a whole word (cmsg(3)).
struct Control {
    bytes: [u8; CONTROL_BYTES_MAX],
    length: usize,
}

impl Control {
    const HEAD_BYTES: usize = size_of::<usize>() + 2 * size_of::<i32>();

    const fn new() -> Self {
        Self { bytes: [0; CONTROL_BYTES_MAX], length: 0 }
    }

    fn push(&mut self, (level, kind): (i32, i32), parts: &[&[u8]]) {
        let value: usize = parts.iter().map(|part| part.len()).sum();
        let (length, level, kind) = ((Self::HEAD_BYTES + value).to_ne_bytes(), level.to_ne_bytes(), kind.to_ne_bytes());
        let head: [&[u8]; 3] = [&length, &level, &kind];
        for part in head.iter().chain(parts) {
            self.bytes[self.length..self.length + part.len()].copy_from_slice(part);
            self.length += part.len();
        }
        self.length = self.length.next_multiple_of(size_of::<usize>());
    }

    fn of(transmit: &Transmit<'_>, dscp: Dscp) -> Self {
        let mut control = Self::new();
        let byte = i32::from(dscp.byte(transmit.ecn.map_or(0, ecn_bits))).to_ne_bytes();
        let ipv4 = transmit.destination.ip().to_canonical().is_ipv4();
        control.push(if ipv4 { IP_TOS } else { IPV6_TCLASS }, &[&byte]);
        let segment = transmit.segment_size.filter(|size| *size < transmit.contents.len());
        if let Some(size) = segment.and_then(|size| u16::try_from(size).ok()) {
            control.push(UDP_SEGMENT, &[&size.to_ne_bytes()]);
        }
        // The index of the interface is left to the system.
        match transmit.src_ip {
            Some(IpAddr::V4(ip)) => control.push(IP_PKTINFO, &[&[0; 4], &ip.octets(), &[0; 4]]),
            Some(IpAddr::V6(ip)) => control.push(IPV6_PKTINFO, &[&ip.octets(), &[0; 4]]),
            None => {}
        }
        control
    }
}

const fn ecn_bits(ecn: EcnCodepoint) -> u8 {
    match ecn {
        EcnCodepoint::Ect0 => 0b10,
        EcnCodepoint::Ect1 => 0b01,
        EcnCodepoint::Ce => 0b11,
    }
}

/// See the module.
pub(in crate::transport) struct MarkedSocket {
    io: tokio::net::UdpSocket,
    state: UdpSocketState,
    dscp: Dscp,
    /// The system has refused segments: each datagram goes by itself.
    single: AtomicBool,
}

impl MarkedSocket {
    /// Must be called within a tokio runtime.
    pub(in crate::transport) fn new(socket: std::net::UdpSocket, dscp: Dscp) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let io = tokio::net::UdpSocket::from_std(socket)?;
        Ok(Self { io, state, dscp, single: AtomicBool::new(false) })
    }

    fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let control = Control::of(transmit, self.dscp);
        let address = SockAddr::from(transmit.destination);
        let contents = [IoSlice::new(transmit.contents)];
        let message = MsgHdr::new().with_addr(&address).with_buffers(&contents);
        let message = message.with_control(&control.bytes[..control.length]);
        loop {
            match SockRef::from(&self.io).sendmsg(&message, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.judge(error),
            }
        }
    }

    /// As quinn-udp does: whatever does not arrive is lost, and QUIC sees to it. Only a full socket is waited for.
    fn judge(&self, error: io::Error) -> io::Result<()> {
        let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
        if error.kind() == io::ErrorKind::WouldBlock {
            return Err(error);
        }
        if is(Errno::IO) || is(Errno::INVAL) {
            self.single.store(true, Ordering::Relaxed);
        }
        // A probe of the path's packet size may be too large.
        if !is(Errno::MSGSIZE) {
            tracing::debug!(%error, "a datagram was not sent");
        }
        Ok(())
    }
}

/// Waits until the socket takes more.
struct Writable {
    socket: Arc<MarkedSocket>,
    waiting: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>,
}

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, waiting } = self.get_mut();
        let wait = waiting.get_or_insert_with(|| {
            let socket = Arc::clone(socket);
            Box::pin(async move { socket.io.writable().await })
        });
        let writable = std::task::ready!(wait.as_mut().poll(cx));
        *waiting = None;
        Poll::Ready(writable)
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl fmt::Debug for MarkedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MarkedSocket").field("io", &self.io).field("dscp", &self.dscp).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for MarkedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { socket: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.io.try_io(Interest::WRITABLE, || self.send(transmit))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            std::task::ready!(self.io.poll_recv_ready(cx))?;
            let receive = || self.state.recv((&self.io).into(), bufs, meta);
            if let Ok(count) = self.io.try_io(Interest::READABLE, receive) {
                return Poll::Ready(Ok(count));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        if self.single.load(Ordering::Relaxed) { 1 } else { self.state.max_gso_segments() }
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Protocol, Socket, Type};
    use std::io::Read as _;
    use std::time::Duration;

    fn transmit<'a>(to: &str, src_ip: Option<&str>, contents: &'a [u8]) -> Transmit<'a> {
        let (destination, src_ip) = (to.parse().unwrap(), src_ip.map(|ip| ip.parse().unwrap()));
        Transmit { destination, ecn: Some(EcnCodepoint::Ect0), contents, segment_size: Some(1200), src_ip }
    }

    fn dscp() -> Dscp {
        Dscp::new(46).unwrap()
    }

    #[test]
    fn control_messages_never_outgrow_their_room() {
        let two = [0; 2400];
        let of = |to, src_ip, contents| {
            let control = Control::of(&transmit(to, src_ip, contents), dscp());
            control.bytes[..control.length].to_vec()
        };
        let words = |count: usize| count * size_of::<usize>();
        if cfg!(target_pointer_width = "64") {
            assert_eq!(of("10.0.0.1:1", None, &two[..1200]).len(), words(3));
            assert_eq!(of("10.0.0.1:1", None, &two).len(), words(6));
            assert_eq!(of("[::1]:1", Some("::1"), &two).len(), words(6 + 5));
        }
        let byte = |bytes: Vec<u8>| bytes[Control::HEAD_BYTES..][..4].to_vec();
        assert_eq!(byte(of("10.0.0.1:1", None, &two)), 0b1011_1010_i32.to_ne_bytes());
        // To an IPv4 address from an IPv6 socket.
        let level = |bytes: Vec<u8>| bytes[size_of::<usize>()..][..4].to_vec();
        assert_eq!(level(of("[::ffff:10.0.0.1]:1", None, &two)), 0_i32.to_ne_bytes());
        assert_eq!(level(of("[fd00::1]:1", None, &two)), 41_i32.to_ne_bytes());
    }

    /// The byte of marks in the first packet to `port`, as it is on the wire.
    fn sniff(wire: &Socket, port: u16) -> u8 {
        let mut packet = [0; 4096];
        loop {
            let length = (&*wire).read(&mut packet).unwrap();
            let (byte, header) = match packet[0] >> 4 {
                4 => (packet[1], 20),
                _ => (packet[0] << 4 | packet[1] >> 4, 40),
            };
            if length > header + 8 && packet[header + 2..header + 4] == port.to_be_bytes() {
                return byte;
            }
        }
    }

    /// Sends two datagrams of 1,200 bytes at once, and looks at them on the wire if this process may.
    async fn check(bind: &str, at: &str, as_seen_from_there: &str, src_ip: Option<&str>) {
        // All protocols; needs the right to see the wire (CAP_NET_RAW).
        let wire = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(i32::from(3_u16.to_be()))));
        let receiver = std::net::UdpSocket::bind(at).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let port = receiver.local_addr().unwrap().port();
        let socket = std::net::UdpSocket::bind(bind).unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = Arc::new(MarkedSocket::new(socket, dscp()).unwrap());
        let mut poller = Arc::clone(&socket).create_io_poller();
        std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
        socket.try_send(&transmit(&format!("{as_seen_from_there}:{port}"), src_ip, &[7; 2400])).unwrap();
        for _ in 0..2 {
            assert_eq!(receiver.recv(&mut [0; 4096]).unwrap(), 1200);
        }
        assert!(!socket.single.load(Ordering::Relaxed));
        if let Ok(wire) = wire {
            wire.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            assert_eq!(sniff(&wire, port), 0b1011_1010);
        }
    }

    #[tokio::test]
    async fn mark_and_congestion_bits_leave_together() {
        check("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1", None).await;
        check("0.0.0.0:0", "127.0.0.1:0", "127.0.0.1", Some("127.0.0.2")).await;
        // Some machines have no IPv6.
        if std::net::UdpSocket::bind("[::1]:0").is_ok() {
            check("[::]:0", "[::1]:0", "[::1]", Some("::1")).await;
            check("[::]:0", "127.0.0.1:0", "[::ffff:127.0.0.1]", None).await;
        }
    }
}
