//! Hosts in memory with a line each way between them.

use super::call::Call;
use super::pipe::Shared;
use super::socket::Receives;
use super::tcp::Tcp;
use super::traffic::Source;
use super::world::{Parcel, World};
use super::{CallParams, CallReport, Direction, Flow, LineControl, LineProfile, ShapedSocket, TcpParams, TcpReport};
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
/// computes. With endpoints that draw from a seed ([`EndpointConfig::with_seed`]) a run repeats to the packet: what
/// is left of TLS' randomness changes contents, not sizes.
///
/// [`EndpointConfig::with_seed`]: crate::transport::EndpointConfig::with_seed
#[derive(Debug)]
pub struct VirtualNet {
    world: Shared,
    up: LineControl,
    down: LineControl,
    seed: u64,
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
        let line = |direction| LineControl::new(world.clone(), direction);
        Self { up: line(Direction::Up), down: line(Direction::Down), world, seed }
    }

    /// What chance follows: of the lines, and of endpoints that are to repeat with them.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
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

    /// Starts a TCP connection whose data goes in `direction`, between hosts of its own.
    #[must_use]
    pub fn start_tcp(&self, direction: Direction, params: TcpParams) -> TcpFlow {
        TcpFlow(self.start(direction, |now| Source::Tcp(Box::new(Tcp::new(params, now)))))
    }

    /// Starts a video call that is watched in `direction`, between hosts of its own.
    #[must_use]
    pub fn start_call(&self, direction: Direction, params: CallParams) -> CallFlow {
        CallFlow(self.start(direction, |now| Source::Call(Box::new(Call::new(params, now)))))
    }

    fn start(&self, direction: Direction, source: impl FnOnce(Instant) -> Source) -> Started {
        let (mut world, now) = self.world.lock();
        let port = TRAFFIC_PORT.saturating_add(u16::try_from(world.traffic_len()).unwrap_or(u16::MAX));
        let [hospital, cloud] = [Self::HOSPITAL, Self::CLOUD].map(|host| SocketAddr::new(host.ip(), port));
        let flow = match direction {
            Direction::Up => Flow::new(hospital, cloud),
            Direction::Down => Flow::new(cloud, hospital),
        };
        let index = world.add_traffic(direction, flow, source(now));
        Started { world: self.world.clone(), flow, index }
    }

    /// Sends a datagram to the first cloud as if it came from `from`: for tests of hostile traffic.
    pub fn inject_to_cloud(&self, from: SocketAddr, datagram: &[u8]) {
        let flow = Flow::new(from, Self::CLOUD);
        self.up.send(Parcel { flow, ecn: None, bytes: Bytes::copy_from_slice(datagram) });
    }
}

/// Port of the first competing traffic, the same at both ends.
const TRAFFIC_PORT: u16 = 5_000;

#[derive(Debug, Clone)]
struct Started {
    world: Shared,
    flow: Flow,
    index: usize,
}

/// A TCP connection that competes for the line. It lives as long as the network.
#[derive(Debug, Clone)]
pub struct TcpFlow(Started);

impl TcpFlow {
    /// Its data, for [`LineControl::flow`].
    #[must_use]
    pub fn flow(&self) -> Flow {
        self.0.flow
    }

    /// What it has done so far.
    #[must_use]
    pub fn report(&self) -> TcpReport {
        let (mut world, now) = self.0.world.lock();
        world.tcp_report(now, self.0.index)
    }
}

/// A video call beside other traffic. It lives as long as the network.
#[derive(Debug, Clone)]
pub struct CallFlow(Started);

impl CallFlow {
    /// Its datagrams, for [`LineControl::flow`].
    #[must_use]
    pub fn flow(&self) -> Flow {
        self.0.flow
    }

    /// How it has fared so far.
    #[must_use]
    pub fn report(&self) -> CallReport {
        self.0.world.lock().0.call_report(self.0.index)
    }
}

fn socket(address: SocketAddr, out: &LineControl, into: &LineControl) -> Arc<dyn AsyncUdpSocket> {
    let receives = Receives::FromLine(into.outlet(Some(address)));
    Arc::new(ShapedSocket { address, out: out.clone(), receives })
}

#[cfg(test)]
mod tests;
