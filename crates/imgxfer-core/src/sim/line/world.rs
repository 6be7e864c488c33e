//! Everything between the hosts: both directions of a line, and who waits for what is on the way.
//!
//! A packet's fate is known as soon as it is sent, so it goes straight to its receiver's inbox, with the
//! moment from which it may be taken out.

use super::traffic::{Outgoing, Source, Traffic};
use super::way::{FlowIndex, Way};
use super::{CallReport, Dropped, Flow, Line, LineParams, TcpReport};
use bytes::Bytes;
use quinn::udp::EcnCodepoint;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::Waker;
use tokio::time::Instant;

/// Datagrams that may be on the way to one host, whatever the line's rate and delay: about 100 MB.
const IN_FLIGHT_MAX: usize = 1 << 16;

/// Which way packets go over a pair of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Direction {
    /// From the hospital.
    Up,
    /// To the hospital.
    Down,
}

impl Direction {
    pub(super) fn opposite(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// One datagram.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub(super) flow: Flow,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) bytes: Bytes,
}

/// What arrives for one socket.
#[derive(Debug)]
struct Inbox {
    direction: Direction,
    /// Datagrams to this address; `None`: all of the direction.
    address: Option<SocketAddr>,
    /// A later socket with the same address gets what comes; a closed one nothing.
    open: bool,
    coming: VecDeque<(Instant, FlowIndex, Parcel)>,
    waker: Option<Waker>,
}

#[derive(Debug)]
pub(super) struct World {
    up: Way,
    down: Way,
    inboxes: Vec<Inbox>,
    traffic: Vec<Traffic>,
    /// What a source wants to send, empty between its steps.
    outgoing: Vec<Outgoing>,
}

impl World {
    pub(super) fn new(up: (LineParams, u64), down: (LineParams, u64), now: Instant) -> Self {
        Self {
            up: Way::new(up.0, up.1, now),
            down: Way::new(down.0, down.1, now),
            inboxes: Vec::new(),
            traffic: Vec::new(),
            outgoing: Vec::new(),
        }
    }

    /// Plays the competing traffic up to `now`, each event at its own moment. Comes before anything else.
    pub(super) fn play(&mut self, now: Instant) {
        let next = |world: &Self| {
            let events = world.traffic.iter().enumerate().filter_map(|(index, t)| Some((t.next()?, index)));
            events.min().filter(|(at, _)| *at <= now)
        };
        while let Some((at, index)) = next(self) {
            let mut out = std::mem::take(&mut self.outgoing);
            if let Some(arrived) = self.traffic[index].step(at, &mut out) {
                self.way(arrived.direction).count_delivery(arrived.flow, arrived.bytes);
            }
            for packet in out.drain(..) {
                let (direction, flow) = self.traffic[index].way_of(&packet);
                let way = self.way(direction);
                let flow = way.flow_index(flow);
                if let Some(arrival) = way.offer(at, flow, packet.bytes, true) {
                    self.traffic[index].push(arrival, flow, &packet);
                }
            }
            self.outgoing = out;
        }
    }

    /// Adds competing traffic whose data goes in `direction`, and says which it is.
    pub(super) fn add_traffic(&mut self, direction: Direction, flow: Flow, source: Source) -> usize {
        self.traffic.push(Traffic::new(direction, flow, source));
        self.traffic.len() - 1
    }

    pub(super) fn tcp_report(&mut self, now: Instant, traffic: usize) -> TcpReport {
        self.traffic[traffic].tcp_report(now)
    }

    pub(super) fn call_report(&self, traffic: usize) -> CallReport {
        self.traffic[traffic].call_report()
    }

    pub(super) fn traffic_len(&self) -> usize {
        self.traffic.len()
    }

    pub(super) fn way(&mut self, direction: Direction) -> &mut Way {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    /// Opens an inbox for `address`, in place of an earlier one.
    pub(super) fn open(&mut self, direction: Direction, address: Option<SocketAddr>) -> usize {
        for inbox in self.inboxes.iter_mut().filter(|i| i.direction == direction && i.address == address) {
            inbox.open = false;
        }
        self.inboxes.push(Inbox { direction, address, open: true, coming: VecDeque::new(), waker: None });
        self.inboxes.len() - 1
    }

    pub(super) fn close(&mut self, inbox: usize) {
        let inbox = &mut self.inboxes[inbox];
        (inbox.open, inbox.waker) = (false, None);
        inbox.coming = VecDeque::new();
    }

    /// Sends a datagram. Returns whom to wake: one who waits for nothing yet.
    pub(super) fn send(&mut self, now: Instant, direction: Direction, parcel: Parcel) -> Option<Waker> {
        let to = parcel.flow.to;
        let inbox = self
            .inboxes
            .iter()
            .position(|i| i.open && i.direction == direction && i.address.is_none_or(|address| address == to));
        let room = inbox.is_none_or(|inbox| self.inboxes[inbox].coming.len() < IN_FLIGHT_MAX);
        let bytes = Line::packet_bytes(parcel.bytes.len());
        let way = self.way(direction);
        let flow = way.flow_index(parcel.flow);
        let arrival = way.offer(now, flow, bytes, room)?;
        let Some(inbox) = inbox else {
            // It comes out of the line, to nobody.
            way.count_delivery(flow, bytes);
            return None;
        };
        let inbox = &mut self.inboxes[inbox];
        inbox.coming.push_back((arrival, flow, parcel));
        if inbox.coming.len() == 1 { inbox.waker.take() } else { None }
    }

    /// Takes the next datagram that has arrived, if `fits` lets it.
    pub(super) fn take_due(&mut self, now: Instant, inbox: usize, fits: impl Fn(&Parcel) -> bool) -> Option<Parcel> {
        let inbox = &mut self.inboxes[inbox];
        let (at, _, parcel) = inbox.coming.front()?;
        if *at > now || !fits(parcel) {
            return None;
        }
        let (_, flow, parcel) = inbox.coming.pop_front()?;
        let direction = inbox.direction;
        self.way(direction).count_delivery(flow, Line::packet_bytes(parcel.bytes.len()));
        Some(parcel)
    }

    /// When the next datagram arrives. `waker` is called when one is sent where none was on the way.
    pub(super) fn next_due(&mut self, inbox: usize, waker: &Waker) -> Option<Instant> {
        let inbox = &mut self.inboxes[inbox];
        inbox.waker = Some(waker.clone());
        inbox.coming.front().map(|(at, ..)| *at)
    }

    /// Cuts one direction, with all that is on the way.
    pub(super) fn cut(&mut self, now: Instant, direction: Direction) {
        let mut lost = Vec::new();
        for inbox in self.inboxes.iter_mut().filter(|i| i.direction == direction) {
            let arrived = inbox.coming.partition_point(|(at, ..)| *at <= now);
            lost.extend(inbox.coming.drain(arrived..).map(|(_, flow, _)| flow));
        }
        lost.extend(self.traffic.iter_mut().flat_map(|traffic| traffic.lose(direction)));
        let way = self.way(direction);
        way.cut = true;
        lost.into_iter().for_each(|flow| way.count_drop(flow, Dropped::Outage));
    }
}
