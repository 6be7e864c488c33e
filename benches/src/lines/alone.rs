//! One flow that has a line to itself.

use std::any::Any;
use std::time::Duration;

use imgxfer_core::sim::line::{Direction, Flow, LineParams, LineProfile, TcpFlow, TcpParams, VirtualNet};
use imgxfer_core::transport::Congestion;
use imgxfer_core::units::to_f64;
use tokio::time::sleep;

use super::bulk::{Bulk, Joined, flow, pack_for, quinn_bulk};
use super::{in_virtual_time, ms};

/// Who sends.
#[derive(Debug, Clone)]
pub(super) enum Who {
    /// Ours, with this congestion control.
    Ours(Congestion),
    /// quinn as it comes.
    QuinnDefaults,
    /// TCP with Cubic: the model.
    Tcp,
}

/// What is looked at: from when, until when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) from: Duration,
    pub(super) to: Duration,
}

impl Window {
    pub(super) fn new(from: Duration, length: Duration) -> Self {
        Self { from, to: from + length }
    }

    pub(super) fn seconds(&self) -> f64 {
        (self.to - self.from).as_secs_f64()
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    /// Payload delivered, bits a second.
    pub(super) bps: f64,
    /// The same as a share of the line's rate; 0 where that has none.
    pub(super) of_line: f64,
    /// Bytes of IP packets sent for a byte of payload.
    pub(super) wire: f64,
    /// Packets dropped by the queue since the start, of all sent.
    pub(super) queue_drops: f64,
    /// Time in the queue, ms: what 95 % of the time it did not exceed, and the longest.
    pub(super) queue_p95_ms: f64,
    pub(super) queue_longest_ms: f64,
}

/// What hospitals may send, bits a second.
pub(super) fn rate_of(line: &LineParams) -> Option<u64> {
    let policed = line.policer.map(|policer| policer.rate_bps);
    [line.rate_bps, policed].into_iter().flatten().min()
}

/// Runs `who` alone from the hospital to the cloud.
pub(super) fn alone(line: &LineProfile, who: &Who, window: Window, seed: u64) -> anyhow::Result<Outcome> {
    in_virtual_time(async {
        let net = VirtualNet::new(line.clone(), seed);
        let sender = Sender::start(&net, line, who).await?;
        sleep(window.from).await;
        let before = sender.count(&net);
        sleep(window.to - window.from).await;
        let after = sender.count(&net);
        let bps = to_f64(after.payload - before.payload) * 8.0 / window.seconds();
        let total = net.up().counters();
        let queue = net.up().queue_over_time();
        Ok(Outcome {
            bps,
            of_line: rate_of(&line.up).map_or(0.0, |rate| bps / to_f64(rate)),
            wire: to_f64(after.wire - before.wire) / to_f64((after.payload - before.payload).max(1)),
            queue_drops: to_f64(total.dropped_queue) / to_f64(total.offered_packets.max(1)),
            queue_p95_ms: ms(queue.percentile(0.95)),
            queue_longest_ms: ms(total.longest_queue),
        })
    })
}

struct Count {
    payload: u64,
    wire: u64,
}

/// What counts the payload of a flow of any kind.
enum Payload {
    Bulk(Bulk),
    Tcp(TcpFlow),
}

/// A flow of any kind.
struct Sender {
    payload: Payload,
    flow: Flow,
    /// Endpoints, without which the connection would end.
    _kept: Box<dyn Any>,
}

impl Sender {
    async fn start(net: &VirtualNet, line: &LineProfile, who: &Who) -> anyhow::Result<Self> {
        Ok(match who {
            Who::Ours(congestion) => {
                let joined = Joined::new(net, 0, congestion.clone()).await?;
                Self::bulk(joined.bulk(pack_for(line)), Box::new(joined))
            }
            Who::QuinnDefaults => {
                let (bulk, endpoints) = quinn_bulk(net, pack_for(line)).await?;
                Self::bulk(bulk, Box::new(endpoints))
            }
            Who::Tcp => {
                let tcp = net.start_tcp(Direction::Up, TcpParams::default());
                Self { flow: tcp.flow(), payload: Payload::Tcp(tcp), _kept: Box::new(()) }
            }
        })
    }

    fn bulk(bulk: Bulk, kept: Box<dyn Any>) -> Self {
        Self { flow: flow(0), payload: Payload::Bulk(bulk), _kept: kept }
    }

    fn count(&self, net: &VirtualNet) -> Count {
        let payload = match &self.payload {
            Payload::Bulk(bulk) => bulk.taken(),
            Payload::Tcp(tcp) => tcp.report().delivered_bytes,
        };
        Count { payload, wire: net.up().flow(self.flow).offered_bytes }
    }
}
