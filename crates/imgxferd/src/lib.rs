//! The imgxfer daemon.
pub mod config;
