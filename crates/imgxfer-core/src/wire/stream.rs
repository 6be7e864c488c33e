//! What heads a data stream: format, version and transfer. Records follow.

use bytes::{BufMut, Bytes, BytesMut};

use crate::ids::TransferId;

/// Format and version.
const MAGIC: [u8; 4] = *b"IXP1";
/// Length of the head.
pub(crate) const STREAM_HEAD_BYTES: usize = 20;

/// The head of a stream of `transfer`.
pub(crate) fn stream_head(transfer: TransferId) -> Bytes {
    let mut head = BytesMut::with_capacity(STREAM_HEAD_BYTES);
    head.put_slice(&MAGIC);
    head.put_slice(transfer.as_bytes());
    head.into()
}

/// Whose stream it is; `None` when it is no such head.
pub(crate) fn read_stream_head(head: &[u8; STREAM_HEAD_BYTES]) -> Option<TransferId> {
    let transfer = head.strip_prefix(&MAGIC)?;
    TransferId::from_slice(transfer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_the_vector() {
        let digits = include_str!("../../tests/vectors/wire/stream-head-v1.hex").trim();
        let transfer = TransferId::from_bytes([0x22; 16]);
        let head = stream_head(transfer);
        assert_eq!(data_encoding::HEXLOWER.encode(&head), digits);
        assert_eq!(head.as_ref().try_into().ok().and_then(read_stream_head), Some(transfer));
    }
}
