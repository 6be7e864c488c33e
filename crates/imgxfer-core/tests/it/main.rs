//! Whole transfers: real sessions, real stores, real files.

mod golden_wire;
mod harness;
mod hostile;
mod in_memory;
mod push_pull;
