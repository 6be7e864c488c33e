//! Whole daemons, in-process and as a binary.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::future_not_send,
    reason = "support code of tests"
)]

mod admin;
mod audit;
mod backfill;
mod binary;
mod inbox;
mod orders;
mod pace;
mod pairing;
mod recode;
mod removal;
mod scrub;
mod seeing;
mod support;
mod transfer;
