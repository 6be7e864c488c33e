//! What `imgxfer bench` measures.

mod clock;
pub(crate) mod codec;
pub(crate) mod parts;
mod tally;
