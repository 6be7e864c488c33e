//! Whole transfers: real sessions, real stores, real files.

mod harness;
mod in_memory;
mod push_pull;
