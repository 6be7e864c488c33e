//! Bursts as the kernel takes them: quinn hands over up to ten datagrams at once, whatever their size.
//!
//! The kernel sends no more than 64 KiB at once and refuses all of a larger burst, which quinn 0.11 takes for a path
//! that lost its packet size (`docs/quinn.md`, 1). Connections of one endpoint differ in their packet size, so that no
//! number of datagrams is right for all of them: a burst that is too large goes in pieces.

use crate::sync::lock;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

/// What one call into the system takes: the largest payload of UDP over IPv4.
const SEND_BYTES_MAX: usize = 65_507;
/// What one call gives back at most, datagrams of one sender joined: an IP packet has no more.
const RECEIVE_BYTES_MAX: usize = 1 << 16;
/// Length of what proves a packet (RFC 9001, 5.3), at its end. No two packets have the same.
const TAG_BYTES: usize = 16;

/// Bounds of a [`BurstSocket`].
#[derive(Debug, Clone, Copy)]
pub(in crate::transport) struct BurstLimits {
    /// Datagrams sent at once, at most.
    pub(in crate::transport) segments_max: usize,
    /// Largest datagram that is taken in.
    pub(in crate::transport) taken_in: u16,
}

/// A socket that takes bursts of any size and no more datagrams at once than it was told.
#[derive(Debug)]
pub(in crate::transport) struct BurstSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    limits: BurstLimits,
    begun: Mutex<Option<Begun>>,
}

/// A burst that the system took in part before it was full. quinn comes again with all of it, and what was sent
/// must not go twice.
///
/// One is remembered, the newest. When several connections are held up at once, the others repeat what they have sent,
/// which costs the line that much and does no harm: a receiver drops packets that it has had (RFC 9000, 12.3).
#[derive(Debug, PartialEq, Eq)]
struct Begun {
    destination: SocketAddr,
    bytes: usize,
    tag: [u8; TAG_BYTES],
    sent: usize,
}

impl BurstSocket {
    pub(in crate::transport) fn new(inner: Arc<dyn AsyncUdpSocket>, limits: BurstLimits) -> Self {
        Self { inner, limits, begun: Mutex::default() }
    }

    /// Sends a burst of datagrams of `size` bytes, the last one maybe shorter, in pieces.
    fn send_in_pieces(&self, transmit: &Transmit<'_>, size: usize) -> io::Result<()> {
        let piece_bytes = SEND_BYTES_MAX / size * size;
        let tag = transmit.contents.last_chunk().copied().unwrap_or_default();
        let (destination, bytes) = (transmit.destination, transmit.contents.len());
        let mut sent =
            self.take_begun(|begun| (begun.destination, begun.bytes, begun.tag) == (destination, bytes, tag));
        while sent < bytes {
            let contents = &transmit.contents[sent..bytes.min(sent + piece_bytes)];
            let segment_size = (contents.len() > size).then_some(size);
            let piece = Transmit { contents, segment_size, ..transmit.clone() };
            if let Err(error) = self.inner.try_send(&piece) {
                if sent > 0 {
                    self.remember(Begun { destination, bytes, tag, sent });
                }
                return Err(error);
            }
            sent += contents.len();
        }
        Ok(())
    }

    /// How much was sent of the burst that was begun, if it is the same; then it is forgotten.
    fn take_begun(&self, is_same: impl Fn(&Begun) -> bool) -> usize {
        let mut begun = lock(&self.begun);
        begun.take_if(|begun| is_same(begun)).map_or(0, |begun| begun.sent)
    }

    fn remember(&self, begun: Begun) {
        *lock(&self.begun) = Some(begun);
    }
}

impl AsyncUdpSocket for BurstSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match transmit.segment_size {
            Some(size) if (1..=SEND_BYTES_MAX).contains(&size) && transmit.contents.len() > SEND_BYTES_MAX => {
                self.send_in_pieces(transmit, size)
            }
            _ => self.inner.try_send(transmit),
        }
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
        self.inner.max_transmit_segments().min(self.limits.segments_max).max(1)
    }

    /// quinn makes its buffer of this times the largest datagram, 32 times: 64 datagrams of 8,952 bytes would be 18 MB.
    /// The system joins no more than fit an IP packet, so that 8 do, and 2.3 MB.
    fn max_receive_segments(&self) -> usize {
        let fit = RECEIVE_BYTES_MAX.div_ceil(usize::from(self.limits.taken_in.max(1)));
        self.inner.max_receive_segments().min(fit).max(1)
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many calls, then is full for one, and so on.
    #[derive(Debug, Default)]
    struct Kernel {
        room: Mutex<usize>,
        sent: Mutex<Vec<(Option<usize>, Vec<u8>)>>,
    }

    impl Kernel {
        fn with_room(room: usize) -> Arc<Self> {
            Arc::new(Self { room: Mutex::new(room), sent: Mutex::default() })
        }

        fn make_room(&self, calls: usize) {
            *self.room.lock().unwrap() = calls;
        }

        /// Length of each call, and of its segments.
        fn calls(&self) -> Vec<(usize, Option<usize>)> {
            self.sent.lock().unwrap().iter().map(|(size, bytes)| (bytes.len(), *size)).collect()
        }

        fn bytes(&self) -> Vec<u8> {
            self.sent.lock().unwrap().iter().flat_map(|(_, bytes)| bytes.clone()).collect()
        }
    }

    impl AsyncUdpSocket for Kernel {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            unreachable!("nothing waits here")
        }

        fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
            let mut room = self.room.lock().unwrap();
            *room = room.checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?;
            self.sent.lock().unwrap().push((transmit.segment_size, transmit.contents.to_vec()));
            Ok(())
        }

        fn poll_recv(
            &self,
            _cx: &mut Context<'_>,
            _bufs: &mut [IoSliceMut<'_>],
            _meta: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(([127, 0, 0, 1], 1).into())
        }

        fn max_transmit_segments(&self) -> usize {
            64
        }

        fn max_receive_segments(&self) -> usize {
            64
        }
    }

    fn socket(kernel: &Arc<Kernel>, segments_max: usize, taken_in: u16) -> BurstSocket {
        BurstSocket::new(Arc::clone(kernel) as Arc<dyn AsyncUdpSocket>, BurstLimits { segments_max, taken_in })
    }

    /// Bytes that differ from burst to burst and from place to place.
    fn burst(seed: u8, bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| u8::try_from((at / 7 + usize::from(seed) * 31) % 251).unwrap()).collect()
    }

    fn transmit(contents: &[u8], segment: usize) -> Transmit<'_> {
        let segment_size = Some(segment);
        Transmit { destination: ([127, 0, 0, 1], 9).into(), ecn: None, contents, segment_size, src_ip: None }
    }

    #[test]
    fn a_burst_goes_whole_if_the_system_takes_it_and_else_in_pieces() {
        let check = |size: usize, bytes: usize, expected: &[(usize, Option<usize>)]| {
            let kernel = Kernel::with_room(usize::MAX);
            let contents = burst(1, bytes);
            socket(&kernel, usize::MAX, 8952).try_send(&transmit(&contents, size)).unwrap();
            assert_eq!(kernel.calls(), expected, "{bytes} bytes by {size}");
            assert_eq!(kernel.bytes(), contents);
        };
        check(1452, 14_520, &[(14_520, Some(1452))]);
        check(1452, 65_340, &[(65_340, Some(1452))]);
        check(8952, 7 * 8952, &[(62_664, Some(8952))]);
        check(8952, 8 * 8952, &[(62_664, Some(8952)), (8952, None)]);
        check(8952, 9 * 8952 + 100, &[(62_664, Some(8952)), (2 * 8952 + 100, Some(8952))]);
        check(8952, 7 * 8952 + 100, &[(62_764, Some(8952))]);
        check(1300, 64 * 1300, &[(65_000, Some(1300)), (64 * 1300 - 65_000, Some(1300))]);
    }

    #[test]
    fn what_was_sent_before_the_socket_was_full_is_not_sent_again() {
        let kernel = Kernel::with_room(1);
        let socket = socket(&kernel, usize::MAX, 8952);
        let contents = burst(1, 10 * 8952);
        let full = |result: io::Result<()>| assert_eq!(result.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        full(socket.try_send(&transmit(&contents, 8952)));
        full(socket.try_send(&transmit(&contents, 8952)));
        kernel.make_room(1);
        socket.try_send(&transmit(&contents, 8952)).unwrap();
        assert_eq!(kernel.bytes(), contents);
        // The same bytes later are another burst.
        kernel.make_room(2);
        socket.try_send(&transmit(&contents, 8952)).unwrap();
        assert_eq!(kernel.bytes().len(), 2 * contents.len());
    }

    #[test]
    fn of_two_bursts_held_up_at_once_one_is_repeated_and_none_is_cut() {
        let kernel = Kernel::with_room(1);
        let socket = socket(&kernel, usize::MAX, 8952);
        let (a, b) = (burst(1, 10 * 8952), burst(2, 10 * 8952));
        socket.try_send(&transmit(&a, 8952)).unwrap_err();
        kernel.make_room(1);
        socket.try_send(&transmit(&b, 8952)).unwrap_err();
        kernel.make_room(3);
        socket.try_send(&transmit(&a, 8952)).unwrap();
        socket.try_send(&transmit(&b, 8952)).unwrap();
        let cut = 7 * 8952;
        assert_eq!(kernel.bytes(), [&a[..cut], &b[..cut], &a[..], &b[cut..]].concat());
    }

    #[test]
    fn buffers_are_for_what_the_system_joins() {
        let kernel = Kernel::with_room(0);
        for (taken_in, segments) in [(1472, 45), (8952, 8), (u16::MAX, 2), (0, 64)] {
            assert_eq!(socket(&kernel, 4, taken_in).max_receive_segments(), segments);
            assert!(usize::from(taken_in.max(1024)) * segments >= RECEIVE_BYTES_MAX);
        }
        assert_eq!(socket(&kernel, 4, 1472).max_transmit_segments(), 4);
        assert_eq!(socket(&kernel, usize::MAX, 1472).max_transmit_segments(), 64);
    }
}
