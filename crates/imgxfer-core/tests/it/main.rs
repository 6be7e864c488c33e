//! Whole transfers: real sessions, real stores, real files.

mod cuts;
mod golden_wire;
mod harness;
mod hostile;
mod in_memory;
mod push_pull;
mod virtual_time;
