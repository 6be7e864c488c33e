//! Control streams: whole messages, both ways, in order.
//!
//! On the wire a message is its length, `u32` little-endian, and its bytes.

use crate::limits::PROGRESS_DEADLINE;
use crate::pace::Pace;
use crate::transport::error::{TransportError, reset};
use crate::transport::{CloseCode, data};
use crate::units::{to_u64, to_usize};
use bytes::{Buf as _, Bytes, BytesMut};
use std::fmt;

/// Bytes of the length before each message.
const LENGTH_BYTES: usize = 4;
/// Control goes before all data: what it says keeps data flowing.
const CONTROL_PRIORITY: i32 = 100;
/// Pieces of a long message: quinn counts a piece as buffered until all of it is acknowledged (docs/quinn.md).
const PIECE_BYTES_MAX: usize = 32 << 10;
/// A receiver takes in at most this at once.
const READ_BYTES_MAX: usize = 64 << 10;

/// A stream of messages in both directions.
#[derive(Debug)]
pub struct ControlStream {
    sender: ControlSender,
    receiver: ControlReceiver,
}

/// The half of a control stream that sends. Dropping it finishes the stream after the last whole message.
pub struct ControlSender {
    stream: quinn::SendStream,
    /// What a cancelled [`ControlSender::send`] left over: goes first next time.
    unsent: Bytes,
}

/// The half of a control stream that receives. Dropping it tells the peer to send no more.
pub struct ControlReceiver {
    stream: quinn::RecvStream,
    /// What arrived of messages not yet handed out.
    arrived: BytesMut,
}

impl ControlStream {
    pub(super) fn new(send: quinn::SendStream, receive: quinn::RecvStream) -> Self {
        // A stream that has ended already has nothing to hurry.
        drop(send.set_priority(CONTROL_PRIORITY));
        Self {
            sender: ControlSender { stream: send, unsent: Bytes::new() },
            receiver: ControlReceiver { stream: receive, arrived: BytesMut::new() },
        }
    }

    /// Sends one message. See [`ControlSender::send`].
    ///
    /// # Errors
    /// As [`ControlSender::send`].
    pub async fn send(&mut self, message: &[u8]) -> Result<(), TransportError> {
        self.sender.send(message).await
    }

    /// Receives one message. See [`ControlReceiver::recv`].
    ///
    /// # Errors
    /// As [`ControlReceiver::recv`].
    pub async fn recv(&mut self, limit: usize) -> Result<Option<Bytes>, TransportError> {
        self.receiver.recv(limit).await
    }

    /// Makes two halves that can be used at the same time.
    #[must_use]
    pub fn into_split(self) -> (ControlSender, ControlReceiver) {
        (self.sender, self.receiver)
    }

    /// Says that no further message follows. See [`ControlSender::finish`].
    ///
    /// # Errors
    /// As [`ControlSender::finish`].
    pub fn finish(&mut self) -> Result<(), TransportError> {
        self.sender.finish()
    }

    /// Gives up both directions with a reason.
    pub fn reset(&mut self, code: CloseCode) {
        self.sender.reset(code);
        self.receiver.stop(code);
    }
}

impl ControlSender {
    /// Sends one message, waiting while the peer takes no more.
    ///
    /// Cancel-safe in this sense: once polled, the message goes out whole, by itself or ahead of the
    /// next one sent; but it may stay behind until then.
    ///
    /// # Errors
    /// [`TransportError::MessageTooLong`] beyond 4 GiB, or why the stream or the session ended.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), TransportError> {
        self.send_all(std::iter::once(message)).await
    }

    /// Sends several messages in one go, which spares small ones a packet each. Cancel-safe as
    /// [`ControlSender::send`]. Holds a copy of all of them: for a bounded number.
    ///
    /// # Errors
    /// As [`ControlSender::send`].
    pub async fn send_all(
        &mut self,
        messages: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<(), TransportError> {
        self.flush().await?;
        let mut framed = BytesMut::new();
        for message in messages {
            let message = message.as_ref();
            let length = u32::try_from(message.len())
                .map_err(|_| TransportError::MessageTooLong { bytes: to_u64(message.len()), limit: u32::MAX.into() })?;
            framed.extend_from_slice(&length.to_le_bytes());
            framed.extend_from_slice(message);
        }
        self.unsent = framed.freeze();
        self.flush().await
    }

    /// Sends one long message no faster than `pace` allows, in slices, so that what else is on the line is not held up.
    /// Cancel-safe as [`ControlSender::send`].
    pub(crate) async fn send_at(&mut self, message: &[u8], pace: &Pace) -> Result<(), TransportError> {
        self.flush().await?;
        let length = u32::try_from(message.len())
            .map_err(|_| TransportError::MessageTooLong { bytes: to_u64(message.len()), limit: u32::MAX.into() })?;
        let mut framed = BytesMut::with_capacity(LENGTH_BYTES + message.len());
        framed.extend_from_slice(&length.to_le_bytes());
        framed.extend_from_slice(message);
        self.unsent = framed.freeze();
        while !self.unsent.is_empty() {
            let len = pace.slice(self.unsent.len().min(PIECE_BYTES_MAX));
            pace.take(len).await;
            let mut piece = self.unsent.slice(..len);
            while !piece.is_empty() {
                let before = piece.len();
                // Takes from `piece` exactly what it has accepted.
                let write = self.stream.write_chunks(std::slice::from_mut(&mut piece));
                tokio::time::timeout(PROGRESS_DEADLINE, write).await.map_err(|_| TransportError::TimedOut)??;
                self.unsent.advance(before - piece.len());
            }
        }
        Ok(())
    }

    /// Sends what a cancelled [`ControlSender::send`] left. Cancel-safe.
    ///
    /// # Errors
    /// [`TransportError::TimedOut`] when the peer took nothing for 120 s, or why the stream or the session ended.
    pub async fn flush(&mut self) -> Result<(), TransportError> {
        while !self.unsent.is_empty() {
            // Takes from `unsent` exactly what it has accepted.
            let write = self.stream.write_chunks(std::slice::from_mut(&mut self.unsent));
            tokio::time::timeout(PROGRESS_DEADLINE, write).await.map_err(|_| TransportError::TimedOut)??;
        }
        Ok(())
    }

    /// Says that no further message follows.
    ///
    /// # Errors
    /// [`TransportError::StreamClosed`] if that was said before, or a message is only half sent.
    pub fn finish(&mut self) -> Result<(), TransportError> {
        if !self.unsent.is_empty() {
            return Err(TransportError::StreamClosed);
        }
        self.stream.finish().map_err(|_| TransportError::StreamClosed)
    }

    /// After [`ControlSender::finish`]: waits until the peer's system has received all. Cancel-safe.
    ///
    /// # Errors
    /// [`TransportError::Reset`] when the peer stopped reading, or why the session ended.
    pub async fn received(&mut self) -> Result<(), TransportError> {
        data::all_received(&self.stream).await
    }

    /// Gives up the stream with a reason; what the peer has not got is lost.
    pub fn reset(&mut self, code: CloseCode) {
        self.unsent = Bytes::new();
        // Finished or reset before: nothing left to give up.
        let _ = self.stream.reset(code.into());
    }

    /// How urgent this stream is beside the others of its session: higher goes first; 0 at the start.
    pub fn set_priority(&mut self, priority: i32) {
        let _ = self.stream.set_priority(priority);
    }
}

impl Drop for ControlSender {
    fn drop(&mut self) {
        // quinn would finish the stream; half a message must not look like an orderly end.
        if !self.unsent.is_empty() {
            self.reset(CloseCode::Cancelled);
        }
    }
}

impl ControlReceiver {
    /// Receives the next message, or `None` when the peer has finished.
    ///
    /// The memory used is bounded by what has arrived (twice that, and 64 KiB), never by what a peer
    /// announces. Cancel-safe: a message that has arrived in part is kept for the next call.
    ///
    /// # Errors
    /// [`TransportError::MessageTooLong`] when more than `limit` bytes are announced,
    /// [`TransportError::Truncated`] when the stream ends within a message, or why it ended.
    pub async fn recv(&mut self, limit: usize) -> Result<Option<Bytes>, TransportError> {
        loop {
            if let Some(message) = self.take_message(limit)? {
                return Ok(Some(message));
            }
            match self.stream.read_chunk(READ_BYTES_MAX, true).await? {
                Some(chunk) => self.arrived.extend_from_slice(&chunk.bytes),
                None if self.arrived.is_empty() => return Ok(None),
                None => return Err(TransportError::Truncated),
            }
        }
    }

    /// The first message, if it has arrived whole.
    fn take_message(&mut self, limit: usize) -> Result<Option<Bytes>, TransportError> {
        let Some(length) = self.arrived.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length);
        let bytes = to_usize(length.into());
        if bytes > limit {
            return Err(TransportError::MessageTooLong { bytes: length.into(), limit: to_u64(limit) });
        }
        if self.arrived.len() - LENGTH_BYTES < bytes {
            return Ok(None);
        }
        self.arrived.advance(LENGTH_BYTES);
        Ok(Some(self.arrived.split_to(bytes).freeze()))
    }

    /// Tells the peer to send no more on this stream, and why.
    pub fn stop(&mut self, code: CloseCode) {
        // Ended before: nothing left to stop.
        let _ = self.stream.stop(code.into());
    }

    /// Waits for the peer to give up the stream; resolves with the error then, or `None` if it finished.
    pub async fn reset_by_peer(&mut self) -> Option<TransportError> {
        match self.stream.received_reset().await {
            Ok(Some(code)) => Some(reset(code)),
            Ok(None) => None,
            Err(quinn::ResetError::ConnectionLost(e)) => Some(e.into()),
            Err(quinn::ResetError::ZeroRttRejected) => Some(TransportError::StreamClosed),
        }
    }
}

impl fmt::Debug for ControlSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ControlSender({})", self.stream.id())
    }
}

impl fmt::Debug for ControlReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ControlReceiver({})", self.stream.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::line::{LineParams, LineProfile, VirtualNet};
    use crate::transport::{Dial, Endpoint, EndpointConfig, Identity, Session, Trust};

    /// The two ends of a session, and the endpoints that keep it alive.
    async fn session() -> (Session, Session, [Endpoint; 2]) {
        let net = VirtualNet::new(LineProfile::symmetric(LineParams::default()), 1);
        let trust = Trust::new();
        let open = |address, socket| {
            let identity = Identity::generate().unwrap();
            trust.pin(identity.peer_id());
            Endpoint::with_socket(EndpointConfig::new(address, identity, trust.clone(), b"test"), socket).unwrap()
        };
        let ends = [open(VirtualNet::HOSPITAL, net.hospital()), open(VirtualNet::CLOUD, net.cloud())];
        let dial = Dial::from(VirtualNet::CLOUD);
        let (dialled, accepted) = tokio::join!(ends[0].connect(&dial), ends[1].accept());
        (dialled.unwrap(), accepted.unwrap(), ends)
    }

    /// Sends these bytes as they are, and receives a message.
    async fn recv_raw(bytes: &[u8], limit: usize) -> (Result<Option<Bytes>, TransportError>, usize) {
        let (a, b, _ends) = session().await;
        let mut control = a.open_control().await.unwrap();
        control.sender.stream.write_all(bytes).await.unwrap();
        control.finish().unwrap();
        let mut receiver = b.accept_control().await.unwrap().receiver;
        let received = receiver.recv(limit).await;
        (received, receiver.arrived.capacity())
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_cut_short_is_told() {
        for bytes in [&[1][..], &[0, 1, 0], &[2, 0, 0, 0], &[2, 0, 0, 0, 7]] {
            assert_eq!(recv_raw(bytes, 16).await.0, Err(TransportError::Truncated), "{bytes:?}");
        }
        assert_eq!(recv_raw(&[1, 0, 0, 0, 7], 1).await.0, Ok(Some(Bytes::from_static(&[7]))));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_for_what_arrived_and_not_for_what_was_announced() {
        let (received, capacity) = recv_raw(&[0xff, 0xff, 0xff, 0x7f, 1, 2, 3], usize::MAX).await;
        assert_eq!(received, Err(TransportError::Truncated));
        assert!(capacity <= 64 << 10, "{capacity}");
        let long = TransportError::MessageTooLong { bytes: u32::MAX.into(), limit: 4096 };
        assert_eq!(recv_raw(&[0xff; 9], 4096).await.0, Err(long));
    }
}
