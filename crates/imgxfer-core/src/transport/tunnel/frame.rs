//! Datagrams in a stream of bytes: each is a length of two bytes, little-endian, and so many bytes.

use super::DATAGRAM_BYTES_MAX;

/// Bytes before each datagram.
pub(super) const HEAD_BYTES: usize = 2;

/// Longest frame.
pub(super) const FRAME_BYTES_MAX: usize = HEAD_BYTES + DATAGRAM_BYTES_MAX as usize;

/// A length that no datagram has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadLength(pub(super) u16);

/// Appends a datagram. One that is empty or too long is left out, as a line would lose it.
pub(super) fn put(datagram: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(datagram.len()).ok().filter(|length| (1..=DATAGRAM_BYTES_MAX).contains(length));
    if let Some(length) = length {
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(datagram);
    }
}

/// The first datagram, when it is there as a whole.
///
/// # Errors
/// [`BadLength`] as soon as the two bytes are there.
pub(super) fn first(bytes: &[u8]) -> Result<Option<&[u8]>, BadLength> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let length = u16::from_le_bytes(*head);
    if !(1..=DATAGRAM_BYTES_MAX).contains(&length) {
        return Err(BadLength(length));
    }
    Ok(rest.get(..usize::from(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_back_as_they_went_in() {
        let mut bytes = Vec::new();
        let sizes = [1, 2, 255, 256, 1200, 15_999, 16_000];
        for size in sizes {
            put(&vec![7; size], &mut bytes);
        }
        assert_eq!(bytes[..4], [1, 0, 7, 2]);
        let mut rest = bytes.as_slice();
        for size in sizes {
            for cut in 0..(HEAD_BYTES + size).min(300) {
                assert_eq!(first(&rest[..cut]), Ok(None), "{size} {cut}");
            }
            assert_eq!(first(rest), Ok(Some([7].repeat(size).as_slice())));
            rest = &rest[HEAD_BYTES + size..];
        }
        assert_eq!(first(rest), Ok(None));
    }

    #[test]
    fn lengths_out_of_bounds_are_neither_sent_nor_taken() {
        let mut bytes = Vec::new();
        put(&[], &mut bytes);
        put(&[0; 16_001], &mut bytes);
        put(&[0; 70_000], &mut bytes);
        assert!(bytes.is_empty());
        for length in [0, 16_001, u16::MAX] {
            assert_eq!(first(&length.to_le_bytes()), Err(BadLength(length)));
        }
        assert_eq!(first(&[0]), Ok(None));
    }
}
