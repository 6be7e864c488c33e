//! Bytes on the wire and at rest, and back: values in, values out, nothing else.

pub mod bytes;
pub mod convert;
pub mod message;
pub mod record;
