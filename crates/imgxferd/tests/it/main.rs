//! Whole daemons, in-process and as a binary.

mod admin;
mod binary;
mod pairing;
mod support;
mod transfer;
