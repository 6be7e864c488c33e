//! Simulated lines: rate, delay, loss, queues and outages between two endpoints.
//!
//! A [`Line`] is the model of one direction: given a packet and the time, it says when the packet
//! arrives, or why it never does. Two things carry datagrams over it: [`VirtualNet`] joins two
//! endpoints in memory, for tests in virtual time (`tokio::time::pause`), where a minute of copper
//! takes a second and comes out alike each time; [`ShapedSocket`] slows a real UDP socket down, for
//! demonstrations on one machine.
//!
//! On a [`VirtualNet`] any number of hosts share the line, and beside them traffic that the net makes itself: TCP
//! connections ([`TcpFlow`]) and video calls ([`CallFlow`]).
//!
//! Time is tokio's. Its timers tick once a millisecond, so sockets get their packets in batches of up to that, and
//! quinn sends in such batches. The line reckons exactly all the same, and so does the traffic of its own.

mod call;
mod counters;
mod histogram;
mod model;
mod params;
mod pipe;
mod profile;
mod rng;
mod shaped;
mod socket;
mod tcp;
mod traffic;
mod virtual_net;
mod way;
mod world;

pub use call::{CallParams, CallReport};
pub use counters::{Flow, LineCounters};
pub use histogram::Histogram;
pub use model::{Dropped, Fate, Line};
pub use params::{LineParams, Outage, OutageStart, Policer, RouteChange};
pub use pipe::LineControl;
pub use profile::{LineProfile, UnknownProfile};
pub use socket::ShapedSocket;
pub use tcp::{TcpParams, TcpReport};
pub use virtual_net::{CallFlow, TcpFlow, VirtualNet};
pub use world::Direction;
