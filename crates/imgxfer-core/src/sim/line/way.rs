//! One direction of a line with its counters. Knows packets by their flow and size alone.

use super::counters::QueueSamples;
use super::{Dropped, Fate, Flow, Line, LineCounters, LineParams};
use tokio::time::Instant;

/// Flows that are counted by themselves; further ones (forged addresses, say) only in the total.
const FLOWS_MAX: usize = 64;

/// Where a flow's counters are.
#[derive(Debug, Clone, Copy)]
pub(super) struct FlowIndex(Option<usize>);

#[derive(Debug)]
pub(super) struct Way {
    pub(super) line: Line,
    pub(super) cut: bool,
    total: LineCounters,
    flows: Vec<(Flow, LineCounters)>,
    samples: QueueSamples,
}

impl Way {
    pub(super) fn new(params: LineParams, seed: u64, now: Instant) -> Self {
        Self {
            line: Line::new(params, seed, now),
            cut: false,
            total: LineCounters::default(),
            flows: Vec::new(),
            samples: QueueSamples::new(now),
        }
    }

    pub(super) fn flow_index(&mut self, flow: Flow) -> FlowIndex {
        let found = self.flows.iter().position(|(known, _)| *known == flow);
        FlowIndex(found.or_else(|| {
            (self.flows.len() < FLOWS_MAX).then(|| {
                self.flows.push((flow, LineCounters::default()));
                self.flows.len() - 1
            })
        }))
    }

    /// Offers an IP packet to the line; says when it arrives, if it does.
    pub(super) fn offer(&mut self, now: Instant, flow: FlowIndex, bytes: usize, room: bool) -> Option<Instant> {
        self.samples.catch_up(now, self.line.free_at());
        self.count(flow, |counters| counters.count_offer(bytes));
        let fate = match (self.cut, room) {
            (true, _) => Fate::Dropped(Dropped::Outage),
            (false, false) => Fate::Dropped(Dropped::Queue),
            (false, true) => self.line.send_packet(now, bytes),
        };
        match fate {
            Fate::Arrives(at) => {
                let queued = self.line.queued(now);
                self.count(flow, |counters| counters.count_queue(queued));
                Some(at)
            }
            Fate::Dropped(why) => {
                self.count(flow, |counters| counters.count_drop(why));
                None
            }
        }
    }

    pub(super) fn count_delivery(&mut self, flow: FlowIndex, bytes: usize) {
        self.count(flow, |counters| counters.count_delivery(bytes));
    }

    pub(super) fn count_drop(&mut self, flow: FlowIndex, why: Dropped) {
        self.count(flow, |counters| counters.count_drop(why));
    }

    fn count(&mut self, flow: FlowIndex, count: impl Fn(&mut LineCounters)) {
        count(&mut self.total);
        if let Some((_, counters)) = flow.0.and_then(|index| self.flows.get_mut(index)) {
            count(counters);
        }
    }

    pub(super) fn total(&self) -> &LineCounters {
        &self.total
    }

    pub(super) fn flows(&self) -> &[(Flow, LineCounters)] {
        &self.flows
    }

    /// The queue once a millisecond until `now`.
    pub(super) fn samples(&mut self, now: Instant) -> &super::Histogram {
        self.samples.catch_up(now, self.line.free_at());
        &self.samples.seen
    }
}
