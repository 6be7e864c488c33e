//! Data streams: bytes in one direction, with an end that cannot be mistaken.

use crate::transport::{CloseCode, TransportError};
use bytes::{Bytes, BytesMut};
use std::fmt;

/// A receiver sets aside at most this before the bytes have come.
const RESERVE_BYTES_MAX: usize = 64 << 10;

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
        self.stream.write_chunk(bytes).await?;
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
    /// What arrived of a read that is not complete.
    partial: BytesMut,
}

impl DataReceiver {
    pub(super) fn new(stream: quinn::RecvStream) -> Self {
        Self { stream, partial: BytesMut::new() }
    }

    /// Receives exactly `n` bytes, or `None` when the stream has ended before the first of them.
    ///
    /// No copy is made when they arrived in one packet. The memory used is bounded by what has arrived
    /// (twice that, and 64 KiB), but `n` should be checked against a limit first. Cancel-safe: what
    /// arrived is kept; the next read may ask for another number.
    ///
    /// # Errors
    /// [`TransportError::Truncated`] when the stream ends within them, [`TransportError::Reset`] when
    /// the sender gave up, or why the session ended.
    pub async fn read_bytes(&mut self, n: usize) -> Result<Option<Bytes>, TransportError> {
        while self.partial.len() < n {
            let missing = n - self.partial.len();
            let Some(chunk) = self.stream.read_chunk(missing, true).await? else {
                return if self.partial.is_empty() { Ok(None) } else { Err(TransportError::Truncated) };
            };
            if self.partial.is_empty() && chunk.bytes.len() == n {
                return Ok(Some(chunk.bytes));
            }
            if self.partial.is_empty() {
                self.partial.reserve(n.min(RESERVE_BYTES_MAX));
            }
            self.partial.extend_from_slice(&chunk.bytes);
        }
        Ok(Some(self.partial.split_to(n).freeze()))
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
