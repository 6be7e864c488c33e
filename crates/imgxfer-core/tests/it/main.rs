//! Whole transfers: real sessions, real stores, real files.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the report")]

mod bad_input;
mod cuts;
mod golden_wire;
mod harness;
mod hostile;
mod in_memory;
mod push_pull;
mod virtual_time;
