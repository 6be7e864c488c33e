//! Hosts in memory with a line each way between them.

use super::pipe::Shared;
use super::socket::Receives;
use super::world::{Parcel, World};
use super::{Direction, Flow, LineControl, LineProfile, ShapedSocket};
use bytes::Bytes;
use quinn::AsyncUdpSocket;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::time::Instant;

/// A network of hospitals and clouds, with one line each way that they all share.
///
/// Each host has an address of its own; whoever opens its socket anew gets what comes from then on. What
/// comes for a host without a socket leads nowhere.
///
/// Use it under `tokio::time::pause` on a current-thread runtime: time then passes as fast as the machine
/// computes. Randomness of TLS remains, so that two runs differ in packet contents, but not in what the
/// lines do to the nth packet.
#[derive(Debug)]
pub struct VirtualNet {
    up: LineControl,
    down: LineControl,
}

const fn address(host: u8, side: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 99, host, side)), 4433)
}

impl VirtualNet {
    /// Address of the first hospital.
    pub const HOSPITAL: SocketAddr = Self::hospital_address(0);
    /// Address of the first cloud.
    pub const CLOUD: SocketAddr = Self::cloud_address(0);

    /// Address of hospital `n`.
    #[must_use]
    pub const fn hospital_address(n: u8) -> SocketAddr {
        address(n, 2)
    }

    /// Address of cloud `n`.
    #[must_use]
    pub const fn cloud_address(n: u8) -> SocketAddr {
        address(n, 1)
    }

    /// Lays the lines.
    #[must_use]
    pub fn new(profile: LineProfile, seed: u64) -> Self {
        let world = Shared::new(World::new((profile.up, seed), (profile.down, !seed), Instant::now()));
        Self { up: LineControl::new(world.clone(), Direction::Up), down: LineControl::new(world, Direction::Down) }
    }

    /// The line from the hospitals to the clouds.
    #[must_use]
    pub fn up(&self) -> &LineControl {
        &self.up
    }

    /// The line from the clouds to the hospitals.
    #[must_use]
    pub fn down(&self) -> &LineControl {
        &self.down
    }

    /// Cuts both directions.
    pub fn cut(&self) {
        self.up.cut();
        self.down.cut();
    }

    /// Mends both directions.
    pub fn restore(&self) {
        self.up.restore();
        self.down.restore();
    }

    /// The first hospital's socket.
    #[must_use]
    pub fn hospital(&self) -> Arc<dyn AsyncUdpSocket> {
        self.hospital_at(0)
    }

    /// The first cloud's socket.
    #[must_use]
    pub fn cloud(&self) -> Arc<dyn AsyncUdpSocket> {
        self.cloud_at(0)
    }

    /// The socket of hospital `n`.
    #[must_use]
    pub fn hospital_at(&self, n: u8) -> Arc<dyn AsyncUdpSocket> {
        socket(Self::hospital_address(n), &self.up, &self.down)
    }

    /// The socket of cloud `n`.
    #[must_use]
    pub fn cloud_at(&self, n: u8) -> Arc<dyn AsyncUdpSocket> {
        socket(Self::cloud_address(n), &self.down, &self.up)
    }

    /// Sends a datagram to the first cloud as if it came from `from`: for tests of hostile traffic.
    pub fn inject_to_cloud(&self, from: SocketAddr, datagram: &[u8]) {
        let flow = Flow::new(from, Self::CLOUD);
        self.up.send(Parcel { flow, ecn: None, bytes: Bytes::copy_from_slice(datagram) });
    }
}

fn socket(address: SocketAddr, out: &LineControl, into: &LineControl) -> Arc<dyn AsyncUdpSocket> {
    let receives = Receives::FromLine(into.outlet(Some(address)));
    Arc::new(ShapedSocket { address, out: out.clone(), receives })
}

#[cfg(test)]
mod tests;
