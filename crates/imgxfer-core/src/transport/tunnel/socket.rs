//! A tunnel as quinn sees it: a socket for datagrams, with one peer.

use super::end::End;
use super::frame::{self, BadLength, FRAME_BYTES_MAX};
use super::peer_error;
use crate::sync::lock;
use crate::transport::TransportError;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Bytes that wait for the writing task, beyond which quinn has to wait: two datagrams. As much again is being
/// written. More would only queue before urgent data.
pub(super) const WAITING_BYTES_MAX: usize = 32 << 10;
/// What is read from TLS and not yet handed over: some records.
const READ_BYTES_MAX: usize = 64 << 10;
const _: () = assert!(READ_BYTES_MAX >= 2 * FRAME_BYTES_MAX);
/// Given to the last words of a connection, such as why it was closed, to be written.
const LINGER: Duration = Duration::from_secs(2);

/// The writing side, between quinn and the writing task.
#[derive(Debug, Default)]
struct Outgoing {
    state: Mutex<Waiting>,
    filled: Notify,
    closed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Tasks that wait for room: those of the connections, of which a tunnel has one.
    wakers: Vec<Waker>,
    closed: bool,
}

impl Outgoing {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.state)
    }

    /// Takes all that waits, in exchange for an empty buffer; `None` after the end.
    async fn take(&self, empty: Vec<u8>) -> Option<Vec<u8>> {
        let mut empty = empty;
        loop {
            {
                let mut state = self.lock();
                if !state.bytes.is_empty() {
                    std::mem::swap(&mut state.bytes, &mut empty);
                    state.wakers.drain(..).for_each(Waker::wake);
                    return Some(empty);
                }
                if state.closed {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Takes no more; what waits is written.
    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.wakers.drain(..).for_each(Waker::wake);
        drop(state);
        self.filled.notify_one();
        self.closed.notify_one();
    }
}

/// The reading side: bytes from `start` to `end` are not handed over yet.
struct Incoming<S> {
    tls: ReadHalf<S>,
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<S: AsyncRead> Incoming<S> {
    /// Copies the next whole datagram into `to` and returns its length.
    fn next(&mut self, to: &mut [u8]) -> Result<Option<usize>, BadLength> {
        let waiting = self.bytes.get(self.start..self.end).unwrap_or_default();
        let Some(datagram) = frame::first(waiting)? else { return Ok(None) };
        let length = datagram.len();
        // One that is longer than quinn's buffer is cut, as a socket would; quinn then drops it.
        let taken = length.min(to.len());
        to[..taken].copy_from_slice(&datagram[..taken]);
        self.start += frame::HEAD_BYTES + length;
        Ok(Some(taken))
    }

    /// Reads more; `Ok(0)` is the end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.start == self.end || self.bytes.len() - self.start < FRAME_BYTES_MAX {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let mut buffer = ReadBuf::new(&mut self.bytes[self.end..]);
        std::task::ready!(Pin::new(&mut self.tls).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        self.end += read;
        Poll::Ready(Ok(read))
    }
}

/// One TLS connection as a socket for datagrams.
pub(super) struct TunnelSocket<S> {
    local: SocketAddr,
    remote: SocketAddr,
    incoming: Mutex<Incoming<S>>,
    outgoing: Arc<Outgoing>,
    end: Arc<End>,
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> TunnelSocket<S> {
    /// Takes over a TLS connection between two addresses. Must be called within a tokio runtime, which then
    /// writes; it stops when the socket is dropped or the connection ends, which shows in `end`.
    pub(super) fn new(tls: S, local: SocketAddr, remote: SocketAddr, end: Arc<End>) -> Self {
        let (read, write) = tokio::io::split(tls);
        let outgoing = Arc::new(Outgoing::default());
        tokio::spawn(write_out(write, Arc::clone(&outgoing), Arc::clone(&end)));
        let bytes = vec![0; READ_BYTES_MAX].into();
        let incoming = Mutex::new(Incoming { tls: read, bytes, start: 0, end: 0 });
        Self { local, remote, incoming, outgoing, end }
    }
}

/// Writes what waits until the end, and then some last words.
async fn write_out<S: AsyncRead + AsyncWrite>(mut tls: WriteHalf<S>, outgoing: Arc<Outgoing>, end: Arc<End>) {
    let writing = async {
        let mut bytes = Vec::new();
        while let Some(full) = outgoing.take(bytes).await {
            bytes = full;
            if tls.write_all(&bytes).await.is_err() || tls.flush().await.is_err() {
                return end.set(TransportError::Cut);
            }
            bytes.clear();
        }
        // A peer that does not hear it finds the connection cut.
        drop(tls.shutdown().await);
    };
    let mut writing = pin!(writing);
    tokio::select! {
        () = &mut writing => {}
        () = end.wait() => {}
        // The connection may stand still with a full buffer, and nobody is left to notice.
        () = outgoing.closed.notified() => drop(timeout(LINGER, writing).await),
    }
    end.set(TransportError::Cut);
    outgoing.close();
}

impl<S> Drop for TunnelSocket<S> {
    fn drop(&mut self) {
        self.outgoing.close();
    }
}

impl<S> fmt::Debug for TunnelSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelSocket").field("remote", &self.remote).field("end", &self.end).finish_non_exhaustive()
    }
}

/// Waits for room among what waits to be written.
#[derive(Debug)]
struct Room(Arc<Outgoing>);

impl UdpPoller for Room {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if state.closed || state.bytes.len() < WAITING_BYTES_MAX {
            return Poll::Ready(Ok(()));
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> AsyncUdpSocket for TunnelSocket<S> {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room(Arc::clone(&self.outgoing)))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut state = self.outgoing.lock();
        // After the end datagrams vanish; the connection learns of it from its endpoint.
        if state.closed {
            return Ok(());
        }
        if state.bytes.len() >= WAITING_BYTES_MAX {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for datagram in transmit.contents.chunks(size) {
            frame::put(datagram, &mut state.bytes);
        }
        drop(state);
        self.outgoing.filled.notify_one();
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut incoming = lock(&self.incoming);
        let mut count = 0;
        while !self.end.is_set() {
            let (Some(buf), Some(meta)) = (bufs.get_mut(count), meta.get_mut(count)) else { break };
            match incoming.next(buf) {
                Ok(Some(len)) => {
                    *meta = RecvMeta { addr: self.remote, len, stride: len, ecn: None, dst_ip: None };
                    count += 1;
                    continue;
                }
                Ok(None) if count > 0 => break,
                Ok(None) => {}
                Err(BadLength(length)) => {
                    let reason = format!("a datagram of {length} bytes in a tunnel");
                    self.end.set(TransportError::Protocol { reason });
                    break;
                }
            }
            match std::task::ready!(incoming.poll_more(cx)) {
                Ok(0) => self.end.set(TransportError::Cut),
                Ok(_) => {}
                Err(error) => self.end.set(peer_error(&error).unwrap_or(TransportError::Cut)),
            }
        }
        // After the end there is nothing to wait for: the driver that called is ended.
        if count == 0 { Poll::Pending } else { Poll::Ready(Ok(count)) }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn addresses() -> (SocketAddr, SocketAddr) {
        (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into())
    }

    fn send(socket: &TunnelSocket<tokio::io::DuplexStream>, contents: &[u8], size: Option<usize>) -> io::Result<()> {
        let destination = addresses().1;
        socket.try_send(&Transmit { destination, ecn: None, contents, segment_size: size, src_ip: None })
    }

    /// The lengths of what comes at once.
    async fn receive(socket: &TunnelSocket<tokio::io::DuplexStream>) -> Vec<usize> {
        let mut space = vec![[0; 16_000]; 4];
        let mut meta = [RecvMeta::default(); 4];
        let count = poll_fn(|cx| {
            let mut bufs: Vec<_> = space.iter_mut().map(|bytes| IoSliceMut::new(bytes)).collect();
            socket.poll_recv(cx, &mut bufs, &mut meta)
        });
        let count = count.await.unwrap();
        meta[..count].iter().map(|meta| meta.len).collect()
    }

    fn over(stream: tokio::io::DuplexStream) -> (Arc<TunnelSocket<tokio::io::DuplexStream>>, Arc<End>) {
        let end = Arc::new(End::default());
        let (here, there) = addresses();
        (Arc::new(TunnelSocket::new(stream, here, there, Arc::clone(&end))), end)
    }

    #[tokio::test]
    async fn datagrams_cross_and_bursts_are_split() {
        let (near, far) = tokio::io::duplex(1000);
        let ((near, _), (far, _)) = (over(near), over(far));
        send(&near, &[1; 2500], Some(1200)).unwrap();
        send(&near, &[2; 16_000], None).unwrap();
        let mut lengths = Vec::new();
        while lengths.len() < 4 {
            lengths.extend(receive(&far).await);
        }
        assert_eq!(lengths, [1200, 1200, 100, 16_000]);
    }

    #[tokio::test]
    async fn a_full_tunnel_pushes_back_until_there_is_room() {
        let (near, mut far) = tokio::io::duplex(1000);
        let (near, _) = over(near);
        let mut sent = 0;
        loop {
            // The writing task takes what it can between two.
            tokio::task::yield_now().await;
            match send(&near, &[1; 10_000], None) {
                Ok(()) => sent += 10_002,
                Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert!(sent <= 3 * WAITING_BYTES_MAX, "{sent}");
        let mut poller = Arc::clone(&near).create_io_poller();
        let mut read = vec![0; sent];
        let reading = tokio::io::AsyncReadExt::read_exact(&mut far, &mut read);
        let (room, read) = tokio::join!(poll_fn(|cx| poller.as_mut().poll_writable(cx)), reading);
        room.unwrap();
        assert_eq!(read.unwrap(), sent);
    }

    #[tokio::test]
    async fn a_bad_length_ends_the_tunnel() {
        for length in [0_u16, 16_001, u16::MAX] {
            let (near, mut far) = tokio::io::duplex(1000);
            let (near, end) = over(near);
            far.write_all(&[1, 0, 7]).await.unwrap();
            far.write_all(&length.to_le_bytes()).await.unwrap();
            assert_eq!(receive(&near).await, [1]);
            tokio::select! {
                more = receive(&near) => panic!("{more:?}"),
                () = end.wait() => {}
            }
            assert!(matches!(end.cause(), Some(TransportError::Protocol { .. })), "{:?}", end.cause());
        }
    }

    #[tokio::test]
    async fn the_end_of_the_stream_is_the_end() {
        let (near, far) = tokio::io::duplex(1000);
        let (near, end) = over(near);
        drop(far);
        tokio::select! {
            more = receive(&near) => panic!("{more:?}"),
            () = end.wait() => {}
        }
        assert_eq!(end.cause(), Some(TransportError::Cut));
        send(&near, &[1; 100], None).unwrap();
    }
}
