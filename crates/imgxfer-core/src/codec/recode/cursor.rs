//! Reads numbers and bytes of a payload.

use crate::codec::{CodecError, CodecId};

pub(super) const MALFORMED: CodecError = CodecError::Malformed(CodecId::RECODE.0);

/// What is left of some bytes.
#[derive(Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(MALFORMED)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or(MALFORMED)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, CodecError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<usize, CodecError> {
        Ok(usize::from(u16::from_le_bytes(self.array()?)))
    }

    pub(super) fn u32(&mut self) -> Result<usize, CodecError> {
        usize::try_from(u32::from_le_bytes(self.array()?)).map_err(|_| MALFORMED)
    }

    /// A length and as many bytes.
    pub(super) fn sized(&mut self) -> Result<&'a [u8], CodecError> {
        let len = self.u32()?;
        self.take(len)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Appends a length as four bytes. Whatever a record holds is far below 4 GiB.
pub(super) fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&crate::units::to_u32(len).to_le_bytes());
}

/// Appends a length and the bytes.
pub(super) fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}
