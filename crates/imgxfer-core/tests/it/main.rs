//! Whole transfers: real sessions, real stores, real files.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the report")]

mod harness;
mod push_pull;
