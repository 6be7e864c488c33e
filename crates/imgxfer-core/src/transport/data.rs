//! Data streams: bytes in one direction, with an end that cannot be mistaken.

use crate::transport::{CloseCode, TransportError};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::fmt;

/// Packets taken from a stream at one look: some 40 kB of what waits there anyway.
const PACKETS_AT_ONCE: usize = 32;
/// What a packet carries at the least, while there is much to carry.
const PACKET_BYTES: usize = 1100;

/// Taken over for sending at once. quinn counts a piece against the send window until all of it is acknowledged: one of a
/// megabyte would fill the window of a slow line alone, and leave the line idle at its end.
const SLICE_BYTES: usize = 32 << 10;

/// The sending end of a data stream.
///
/// Dropped before [`DataSender::finish`], it resets the stream, so that a pack cut short never looks whole.
pub struct DataSender {
    stream: quinn::SendStream,
    state: SenderState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SenderState {
    Open,
    /// A send is under way, or was cancelled: how much went out is unknown.
    Sending,
    Ended,
}

impl DataSender {
    pub(super) fn new(stream: quinn::SendStream) -> Self {
        Self { stream, state: SenderState::Open }
    }

    /// Sends `bytes` without copying them; waits while the peer or the line takes no more.
    ///
    /// Not cancel-safe: if dropped half-way, the stream can only be given up.
    ///
    /// # Errors
    /// [`TransportError::Reset`] when the peer wants no more, or why the session ended.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), TransportError> {
        if self.state != SenderState::Open {
            return Err(TransportError::StreamClosed);
        }
        self.state = SenderState::Sending;
        let mut rest = bytes;
        while !rest.is_empty() {
            let slice = rest.split_to(rest.len().min(SLICE_BYTES));
            self.stream.write_chunk(slice).await?;
        }
        self.state = SenderState::Open;
        Ok(())
    }

    /// Says that the stream is whole. What was sent is still on its way then.
    ///
    /// # Errors
    /// [`TransportError::StreamClosed`] if it has ended before, or a send was cancelled.
    pub fn finish(&mut self) -> Result<(), TransportError> {
        if self.state != SenderState::Open {
            return Err(TransportError::StreamClosed);
        }
        self.state = SenderState::Ended;
        self.stream.finish().map_err(|_| TransportError::StreamClosed)
    }

    /// After [`DataSender::finish`]: waits until the peer's system has received all. It says nothing
    /// about the peer's disk. Cancel-safe.
    ///
    /// # Errors
    /// [`TransportError::Reset`] when the peer stopped reading, or why the session ended.
    pub async fn received(&mut self) -> Result<(), TransportError> {
        all_received(&self.stream).await
    }

    /// Gives up the stream with a reason; what the peer has not got is lost.
    pub fn reset(&mut self, code: CloseCode) {
        self.state = SenderState::Ended;
        // Ended before: nothing left to give up.
        let _ = self.stream.reset(code.into());
    }

    /// How urgent this stream is beside the others of its session: higher goes first; 0 at the start.
    /// Acts on what is not yet in a packet.
    pub fn set_priority(&mut self, priority: i32) {
        let _ = self.stream.set_priority(priority);
    }
}

impl Drop for DataSender {
    fn drop(&mut self) {
        if self.state != SenderState::Ended {
            self.reset(CloseCode::Cancelled);
        }
    }
}

/// Waits until a finished stream is acknowledged whole.
pub(super) async fn all_received(stream: &quinn::SendStream) -> Result<(), TransportError> {
    match stream.stopped().await {
        Ok(None) => Ok(()),
        Ok(Some(code)) => Err(super::error::reset(code)),
        Err(quinn::StoppedError::ConnectionLost(e)) => Err(e.into()),
        Err(quinn::StoppedError::ZeroRttRejected) => Err(TransportError::StreamClosed),
    }
}

/// The receiving end of a data stream. Dropping it tells the sender that no more is wanted.
pub struct DataReceiver {
    stream: quinn::RecvStream,
    /// What was taken from the stream and not yet handed out, as it came in packets.
    arrived: VecDeque<Bytes>,
    arrived_len: usize,
}

impl DataReceiver {
    pub(super) fn new(stream: quinn::RecvStream) -> Self {
        Self { stream, arrived: VecDeque::new(), arrived_len: 0 }
    }

    /// Receives exactly `n` bytes, or `None` when the stream has ended before the first of them.
    ///
    /// No copy is made when they arrived in one packet. The memory used is bounded by what has arrived
    /// (twice that), but `n` should be checked against a limit first. Cancel-safe: what
    /// arrived is kept; the next read may ask for another number.
    ///
    /// # Errors
    /// [`TransportError::Truncated`] when the stream ends within them, [`TransportError::Reset`] when
    /// the sender gave up, or why the session ended.
    pub async fn read_bytes(&mut self, n: usize) -> Result<Option<Bytes>, TransportError> {
        while self.arrived_len < n {
            if !self.take_more(n - self.arrived_len).await? {
                return if self.arrived_len == 0 { Ok(None) } else { Err(TransportError::Truncated) };
            }
        }
        if self.arrived.front().is_some_and(|first| first.len() >= n) {
            return Ok(self.pop(n));
        }
        let mut whole = BytesMut::with_capacity(n);
        self.move_to(&mut whole, n);
        Ok(Some(whole.freeze()))
    }

    /// Puts what has arrived, at most `n` bytes, behind what `out` holds; waits while there is nothing. Returns
    /// how much that was; 0 at the end of the stream, or when `n` is. One copy, of what is in packets still.
    /// Cancel-safe.
    ///
    /// # Errors
    /// As [`DataReceiver::read_bytes`].
    pub(crate) async fn read_to(&mut self, out: &mut BytesMut, n: usize) -> Result<usize, TransportError> {
        if n > 0 && self.arrived_len == 0 && !self.take_more(n).await? {
            return Ok(0);
        }
        Ok(self.move_to(out, n))
    }

    /// What has arrived next, at most `n` bytes, as it came: no copy is made. Waits while there is nothing; `None` when
    /// the stream has ended. Cancel-safe.
    ///
    /// # Errors
    /// As [`DataReceiver::read_bytes`].
    pub async fn read_some(&mut self, n: usize) -> Result<Option<Bytes>, TransportError> {
        if n == 0 || self.arrived_len == 0 && !self.take_more(n).await? {
            return Ok(None);
        }
        Ok(self.pop(n))
    }

    /// Takes from the stream what is there of the next `n` bytes, and little more. `false` at its end.
    async fn take_more(&mut self, n: usize) -> Result<bool, TransportError> {
        // Each look at the stream takes the connection's lock: once for many packets, that is.
        let mut packets: [Bytes; PACKETS_AT_ONCE] = std::array::from_fn(|_| Bytes::new());
        let wanted = n.div_ceil(PACKET_BYTES).clamp(1, PACKETS_AT_ONCE);
        let Some(count) = self.stream.read_chunks(&mut packets[..wanted]).await? else { return Ok(false) };
        for packet in packets.into_iter().take(count) {
            self.arrived_len += packet.len();
            self.arrived.push_back(packet);
        }
        Ok(true)
    }

    /// The first bytes that arrived, up to `n` of those that came together.
    fn pop(&mut self, n: usize) -> Option<Bytes> {
        let first = self.arrived.front_mut()?;
        let taken = if first.len() > n { Some(first.split_to(n)) } else { self.arrived.pop_front() }?;
        self.arrived_len -= taken.len();
        Some(taken)
    }

    fn move_to(&mut self, out: &mut BytesMut, n: usize) -> usize {
        let mut moved = 0;
        while moved < n
            && let Some(bytes) = self.pop(n - moved)
        {
            out.extend_from_slice(&bytes);
            moved += bytes.len();
        }
        moved
    }

    /// Fills `buffer`. Returns `false`, having touched nothing, when the stream has ended before the
    /// first byte. Cancel-safe.
    ///
    /// # Errors
    /// As [`DataReceiver::read_bytes`].
    pub async fn read_exact(&mut self, buffer: &mut [u8]) -> Result<bool, TransportError> {
        let Some(bytes) = self.read_bytes(buffer.len()).await? else {
            return Ok(false);
        };
        buffer.copy_from_slice(&bytes);
        Ok(true)
    }

    /// Tells the sender that no more is wanted, and why.
    pub fn stop(&mut self, code: CloseCode) {
        // Ended before: nothing left to stop.
        let _ = self.stream.stop(code.into());
    }
}

impl fmt::Debug for DataSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataSender({})", self.stream.id())
    }
}

impl fmt::Debug for DataReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataReceiver({})", self.stream.id())
    }
}
