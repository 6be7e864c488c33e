//! The imgxfer daemon, as a library: programs and tests run whole sites in-process.
pub mod config;
mod files;
mod inbox;
mod live;
mod metrics;
pub mod peers;
pub mod queue;
