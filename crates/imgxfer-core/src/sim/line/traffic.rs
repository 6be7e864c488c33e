//! Traffic that competes for a line: made by the line's world itself, with no sockets, tasks or timers.
//!
//! It happens at its exact moments, however coarsely tokio's timers tick: whenever somebody sends, or asks
//! for counters, everything up to then is played first.

use super::call::Call;
use super::tcp::{Ack, Segment, Tcp};
use super::way::FlowIndex;
use super::{CallReport, Direction, Flow, TcpReport};
use crate::units::to_u64;
use std::collections::VecDeque;
use tokio::time::Instant;

/// What a packet of such traffic carries.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load {
    Segment(Segment),
    Ack(Ack),
    Datagram { sent: Instant },
}

/// A packet that is to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// In the direction of the data, not of acknowledgements.
    pub(super) forward: bool,
    /// Of the IP packet.
    pub(super) bytes: usize,
    pub(super) load: Load,
}

/// A packet on the way.
#[derive(Debug)]
struct Coming {
    at: Instant,
    flow: FlowIndex,
    bytes: usize,
    load: Load,
}

#[derive(Debug)]
pub(super) enum Source {
    Tcp(Box<Tcp>),
    Call(Box<Call>),
}

/// Both hosts of one source.
#[derive(Debug)]
pub(super) struct Traffic {
    direction: Direction,
    flow: Flow,
    source: Source,
    forward: VecDeque<Coming>,
    back: VecDeque<Coming>,
}

/// What has come out of the line.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) direction: Direction,
    pub(super) flow: FlowIndex,
    pub(super) bytes: usize,
}

impl Traffic {
    pub(super) fn new(direction: Direction, flow: Flow, source: Source) -> Self {
        Self { direction, flow, source, forward: VecDeque::new(), back: VecDeque::new() }
    }

    /// When something happens next.
    pub(super) fn next(&self) -> Option<Instant> {
        let timer = match &self.source {
            Source::Tcp(tcp) => tcp.next_timer(),
            Source::Call(call) => call.next_timer(),
        };
        let arrivals = [self.forward.front(), self.back.front()].map(|coming| coming.map(|c| c.at));
        arrivals.into_iter().chain([timer]).flatten().min()
    }

    /// Does what is due at `now`: one arrival, or what timers ask for. Packets to send go to `out`.
    pub(super) fn step(&mut self, now: Instant, out: &mut Vec<Outgoing>) -> Option<Arrived> {
        let due = |queue: &mut VecDeque<Coming>| queue.pop_front_if(|coming| coming.at <= now);
        let forward = due(&mut self.forward);
        let direction = if forward.is_some() { self.direction } else { self.direction.opposite() };
        let Some(coming) = forward.or_else(|| due(&mut self.back)) else {
            match &mut self.source {
                Source::Tcp(tcp) => tcp.on_timer(now, out),
                Source::Call(call) => call.on_timer(out),
            }
            return None;
        };
        match (&mut self.source, coming.load) {
            (Source::Tcp(tcp), Load::Segment(segment)) => tcp.on_segment(now, segment, out),
            (Source::Tcp(tcp), Load::Ack(ack)) => tcp.on_ack(now, &ack, out),
            (Source::Call(call), Load::Datagram { sent }) => call.on_datagram(now, sent),
            (Source::Tcp(_), Load::Datagram { .. }) | (Source::Call(_), Load::Segment(_) | Load::Ack(_)) => {}
        }
        Some(Arrived { direction, flow: coming.flow, bytes: coming.bytes })
    }

    /// Direction and flow of a packet.
    pub(super) fn way_of(&self, packet: &Outgoing) -> (Direction, Flow) {
        if packet.forward {
            (self.direction, self.flow)
        } else {
            (self.direction.opposite(), Flow::new(self.flow.to, self.flow.from))
        }
    }

    pub(super) fn push(&mut self, at: Instant, flow: FlowIndex, packet: &Outgoing) {
        let queue = if packet.forward { &mut self.forward } else { &mut self.back };
        queue.push_back(Coming { at, flow, bytes: packet.bytes, load: packet.load });
    }

    /// Loses all that is on the way in one direction.
    pub(super) fn lose(&mut self, direction: Direction) -> Vec<FlowIndex> {
        let queue = if direction == self.direction { &mut self.forward } else { &mut self.back };
        queue.drain(..).map(|coming| coming.flow).collect()
    }

    pub(super) fn tcp_report(&mut self, now: Instant) -> TcpReport {
        match &mut self.source {
            Source::Tcp(tcp) => tcp.report(now),
            Source::Call(_) => TcpReport::default(),
        }
    }

    pub(super) fn call_report(&self) -> CallReport {
        match &self.source {
            Source::Call(call) => call.report(to_u64(self.forward.len())),
            Source::Tcp(_) => CallReport::default(),
        }
    }
}
