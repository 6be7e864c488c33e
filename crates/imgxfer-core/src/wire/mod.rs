//! Bytes on the wire and at rest, and back: values in, values out, nothing else.

#[cfg(any(feature = "fs", feature = "quic"))]
pub(crate) mod buffers;
pub mod bytes;
mod code;
pub mod message;
pub mod record;
#[cfg(feature = "quic")]
pub(crate) mod stream;
