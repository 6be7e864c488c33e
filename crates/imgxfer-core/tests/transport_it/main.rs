//! Endpoints against each other over simulated lines, mostly in virtual time.

mod door;
mod handshake;
mod line;
mod pairing;
mod refusals;
mod site;
mod streams;
