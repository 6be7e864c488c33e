//! Whole transfers: real sessions, real stores, real files.

mod harness;
mod push_pull;
