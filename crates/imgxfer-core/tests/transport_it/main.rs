//! Endpoints against each other over simulated lines, mostly in virtual time.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

mod door;
mod handshake;
mod line;
mod packet_size;
mod pairing;
mod precedence;
mod quinn_findings;
mod refusals;
#[path = "../common/relay.rs"]
mod relay;
mod roaming;
mod site;
mod streams;
mod tunnel;
