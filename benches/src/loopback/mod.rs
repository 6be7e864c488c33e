//! Races over loopback, in real time: what both ends cost this machine's processor, without any line.
//!
//! Every contender moves the same bytes from one thread to another, each with a runtime of its own, and all run in turn
//! (A, B, C, A, B, C, ...), so that a machine that grows warm or busy is so for all. Ratios are taken within a round.

mod bounds;
mod disk;
mod ours;
pub mod quic;
mod race;
mod tls_over_tcp;

use anyhow::Context as _;
use imgxfer_core::transport::Congestion;
use serde::Serialize;

use crate::cost::{Sample, median};
use crate::figure::{Bar, Figure};

pub use disk::Files;

/// UDP payload on the internet, and on a network of jumbo frames.
pub const MTU: u16 = 1_452;
/// See [`MTU`].
pub const MTU_JUMBO: u16 = 8_952;

/// One way of moving bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Way {
    /// Copying in memory: nothing is faster.
    Memcpy,
    /// BLAKE3 on one core: what naming each byte costs at each end.
    Blake3,
    /// quinn with windows, buffers and cipher as good as we know them.
    Quinn(u16),
    /// Our sessions and streams, without the protocol.
    Ours(u16),
    /// The same with Cubic in place of our congestion control: what is left of a difference lies elsewhere.
    OursWithCubic(u16),
    /// TLS 1.3 over one TCP connection.
    TlsOverTcp,
    /// A push from disk to disk: read, hash, send, verify, store.
    Push(u16),
}

impl Way {
    /// All of them, slow ones last.
    pub const ALL: [Self; 11] = [
        Self::Memcpy,
        Self::Blake3,
        Self::Quinn(MTU),
        Self::Ours(MTU),
        Self::OursWithCubic(MTU),
        Self::Quinn(MTU_JUMBO),
        Self::Ours(MTU_JUMBO),
        Self::OursWithCubic(MTU_JUMBO),
        Self::TlsOverTcp,
        Self::Push(MTU),
        Self::Push(MTU_JUMBO),
    ];

    /// For the reader.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Memcpy => "memcpy, one core".to_owned(),
            Self::Blake3 => "BLAKE3, one core".to_owned(),
            Self::Quinn(mtu) => format!("tuned quinn, MTU {mtu}"),
            Self::Ours(mtu) => format!("our transport, MTU {mtu}"),
            Self::OursWithCubic(mtu) => format!("our transport with Cubic, MTU {mtu}"),
            Self::TlsOverTcp => "TCP and TLS 1.3".to_owned(),
            Self::Push(mtu) => format!("push, disk to disk, MTU {mtu}"),
        }
    }

    /// Moves `bytes` (a push: what is in `files`).
    ///
    /// # Errors
    /// When not all arrived.
    pub fn run(self, bytes: u64, files: &Files) -> anyhow::Result<Sample> {
        match self {
            Self::Memcpy => Ok(bounds::memcpy(bytes)),
            Self::Blake3 => Ok(bounds::blake3(bytes)),
            Self::Quinn(mtu) => race::run(&quic::Quinn::new(mtu)?, bytes),
            Self::Ours(mtu) => race::run(&ours::Ours::new(mtu, Congestion::Rate)?, bytes),
            Self::OursWithCubic(mtu) => race::run(&ours::Ours::new(mtu, Congestion::Cubic)?, bytes),
            Self::TlsOverTcp => race::run(&tls_over_tcp::TlsOverTcp::new()?, bytes),
            Self::Push(mtu) => disk::push(mtu, files),
        }
        .with_context(|| self.name())
    }
}

/// All runs of one way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoopbackRow {
    /// Which.
    pub way: Way,
    /// Its name.
    pub name: String,
    /// One for each round.
    pub samples: Vec<Sample>,
}

impl LoopbackRow {
    /// The middle of a quantity.
    #[must_use]
    pub fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(&self.samples.iter().map(of).collect::<Vec<_>>())
    }
}

/// Runs all ways in turn, so many rounds.
///
/// # Errors
/// When any did not bring all across.
pub fn rounds(rounds: u32, bytes: u64, files: &Files, told: &dyn Fn(&str)) -> anyhow::Result<Vec<LoopbackRow>> {
    let row = |way: Way| LoopbackRow { way, name: way.name(), samples: Vec::new() };
    let mut rows: Vec<LoopbackRow> = Way::ALL.into_iter().map(row).collect();
    for round in 1..=rounds {
        told(&format!("round {round} of {rounds}"));
        for row in &mut rows {
            row.samples.push(row.way.run(bytes, files)?);
        }
    }
    Ok(rows)
}

/// What is asked of our transport beside the others, round by round.
#[must_use]
pub fn ratios(rows: &[LoopbackRow]) -> Vec<Figure> {
    let samples = |way: Way| rows.iter().find(|row| row.way == way).map_or(&[][..], |row| &row.samples);
    let speed = |a: Way, b: Way, bar: Bar| {
        let pairs = samples(a).iter().zip(samples(b));
        let values = pairs.map(|(a, b)| a.gbit_a_second() / b.gbit_a_second()).collect();
        Figure::new(&a.name(), &format!("speed, times that of {}", b.name()), values, bar)
    };
    let cost = |a: Way, b: Way| {
        let pairs = samples(a).iter().zip(samples(b));
        let values = pairs.map(|(a, b)| a.cpu_seconds_a_gb() / b.cpu_seconds_a_gb()).collect();
        Figure::new(&a.name(), &format!("processor time a byte, times that of {}", b.name()), values, Bar::None)
    };
    let (ours, jumbo) = (Way::Ours(MTU), Way::Ours(MTU_JUMBO));
    vec![
        speed(ours, Way::Quinn(MTU), Bar::AtLeast(0.95)),
        speed(jumbo, Way::Quinn(MTU_JUMBO), Bar::AtLeast(0.95)),
        speed(Way::OursWithCubic(MTU), Way::Quinn(MTU), Bar::None),
        speed(Way::OursWithCubic(MTU_JUMBO), Way::Quinn(MTU_JUMBO), Bar::None),
        speed(jumbo, ours, Bar::AtLeast(3.0)),
        speed(jumbo, Way::TlsOverTcp, Bar::AtLeast(0.9)),
        cost(ours, Way::Quinn(MTU)),
        cost(jumbo, Way::Quinn(MTU_JUMBO)),
        cost(jumbo, ours),
        cost(jumbo, Way::TlsOverTcp),
        cost(Way::Push(MTU), ours),
        speed(Way::Push(MTU), ours, Bar::None),
    ]
}
