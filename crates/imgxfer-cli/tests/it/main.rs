//! The program as its users run it: arguments in; exit code, standard output and standard error out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says where")]

mod harness;

mod arriving;
mod audit;
mod bench;
mod daemons;
mod demo;
mod listing;
mod local;
mod odd;
mod pairing;
mod removal;
mod repair;
mod stop;
mod tour;
mod transfer;
