//! Whole transfers: real sessions, real stores, real files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic is the report")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers of tests")]
#![allow(clippy::print_stderr, reason = "figures, and why a test was skipped")]

mod bad_input;
mod blocked_udp;
mod blocking;
mod crowded;
mod cuts;
mod defects;
mod durability;
mod fixture;
mod following;
mod frames;
mod golden_wire;
mod harness;
mod healing;
mod hostile;
mod in_memory;
mod limits;
mod odd_files;
mod odd_writer;
mod patients;
mod peers;
mod props;
mod push_pull;
mod recorded;
#[path = "../common/relay.rs"]
mod relay;
mod removing;
mod repairing;
mod slow_work;
mod told;
mod virtual_time;
