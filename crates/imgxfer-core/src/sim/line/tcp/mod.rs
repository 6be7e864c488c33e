//! A TCP connection as a competitor: Linux-like Cubic, packet by packet on the line.
//!
//! What it is: slow start from ten segments with `HyStart`, Cubic with fast convergence and the Reno-friendly
//! region (RFC 9438), selective acknowledgement of three ranges, loss by three later arrivals of whatever
//! was sent later (so that lost retransmissions are found too) or by time when fewer come, proportional
//! rate reduction (RFC 6937) once a round, tail loss probe, timeouts with back-off, delayed
//! acknowledgements. It sends when acknowledgements come, without pacing.
//!
//! What it is not: there is no handshake, no receive window below 64 MiB, no ECN, no undoing of timeouts that were
//! needless, and no offload in batches, which makes the real thing burstier: on queues of a few packets it does worse
//! than the model. Over a link emulator Linux 6.18
//! reached 0.94 to 1.0 of the model's rate on copper with 1 % loss, 0.66 with 3 %.

mod cubic;
mod receiver;
mod sender;

use super::traffic::{Load, Outgoing};
use crate::units::to_f64;
use receiver::Receiver;
use sender::Sender;
use std::time::Duration;
use tokio::time::Instant;

/// Payload of a full segment, with time stamps.
const SEGMENT_BYTES: u64 = 1_448;
/// IPv4 and TCP headers with time stamps.
const HEADER_BYTES: usize = 52;
/// Between two entries of [`TcpReport::over_time`].
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// Entries of it: an hour.
const REPORTS_MAX: usize = 36_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    seq: u64,
}

/// Everything below `next` has arrived, and these ranges; empty ones mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ack {
    next: u64,
    ranges: [(u64, u64); receiver::RANGES],
}

impl Ack {
    fn bytes(&self) -> usize {
        let ranges = self.ranges.iter().filter(|(from, to)| from < to).count();
        HEADER_BYTES + if ranges > 0 { 4 + 8 * ranges } else { 0 }
    }
}

/// When a TCP connection has something to send. By default from now on, without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TcpParams {
    /// From now.
    pub start: Duration,
    /// From now; what is outstanding then is still brought across.
    pub end: Option<Duration>,
}

impl TcpParams {
    /// Begins so much later.
    #[must_use]
    pub fn with_start(mut self, start: Duration) -> Self {
        self.start = start;
        self
    }

    /// Has nothing more to send from then on.
    #[must_use]
    pub fn with_end(mut self, end: Duration) -> Self {
        self.end = Some(end);
        self
    }
}

/// What a TCP connection has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TcpReport {
    /// Payload that the receiver could read, in order.
    pub delivered_bytes: u64,
    /// The same after each tenth of a second since the connection was asked for; up to an hour.
    pub over_time: Vec<u64>,
    /// Segments of 1,448 bytes that were sent, again or not.
    pub segments: u64,
    /// Those of them that were sent again.
    pub retransmitted: u64,
    /// How often the window was reduced for a loss.
    pub reductions: u64,
    /// How often nothing came back for a whole timeout.
    pub timeouts: u64,
}

impl TcpReport {
    /// Payload a second between two moments since the connection was asked for, in bits.
    #[must_use]
    pub fn rate_bps(&self, from: Duration, to: Duration) -> f64 {
        let until = |time: Duration| {
            let entries = usize::try_from(time.as_millis() / REPORT_EVERY.as_millis()).unwrap_or(usize::MAX);
            let last = entries.min(self.over_time.len());
            last.checked_sub(1).map_or(0, |index| self.over_time[index])
        };
        to_f64((until(to) - until(from)) * 8) / (to - from).as_secs_f64()
    }
}

/// Both ends of a connection.
#[derive(Debug)]
pub(super) struct Tcp {
    start: Instant,
    end: Option<Instant>,
    started: bool,
    sender: Sender,
    receiver: Receiver,
    next_report: Instant,
    over_time: Vec<u64>,
}

impl Tcp {
    pub(super) fn new(params: TcpParams, now: Instant) -> Self {
        let start = now + params.start;
        Self {
            start,
            end: params.end.map(|end| now + end),
            started: false,
            sender: Sender::new(start),
            receiver: Receiver::default(),
            next_report: now + REPORT_EVERY,
            over_time: Vec::new(),
        }
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        if !self.started {
            return Some(self.start);
        }
        [self.sender.next_timer(), self.receiver.next_timer()].into_iter().flatten().min()
    }

    pub(super) fn on_timer(&mut self, now: Instant, out: &mut Vec<Outgoing>) {
        self.started |= self.start <= now;
        if self.receiver.next_timer().is_some_and(|at| at <= now) {
            send_ack(self.receiver.on_timer(), out);
        }
        let has_data = self.has_data(now);
        if let Some(segment) = self.sender.on_timer(now, has_data) {
            send_segment(segment, out);
        }
        self.fill_window(now, out);
    }

    pub(super) fn on_segment(&mut self, now: Instant, segment: Segment, out: &mut Vec<Outgoing>) {
        self.note_until(now);
        if let Some(ack) = self.receiver.on_segment(now, segment.seq) {
            send_ack(ack, out);
        }
    }

    pub(super) fn on_ack(&mut self, now: Instant, ack: &Ack, out: &mut Vec<Outgoing>) {
        self.sender.on_ack(now, ack);
        self.fill_window(now, out);
    }

    pub(super) fn report(&mut self, now: Instant) -> TcpReport {
        self.note_until(now);
        let sent = self.sender.sent;
        TcpReport {
            delivered_bytes: self.delivered_bytes(),
            over_time: self.over_time.clone(),
            segments: sent.segments,
            retransmitted: sent.retransmitted,
            reductions: sent.reductions,
            timeouts: sent.timeouts,
        }
    }

    fn delivered_bytes(&self) -> u64 {
        self.receiver.delivered() * SEGMENT_BYTES
    }

    /// Notes what had arrived at each tenth of a second up to now.
    fn note_until(&mut self, now: Instant) {
        while self.next_report <= now && self.over_time.len() < REPORTS_MAX {
            self.over_time.push(self.delivered_bytes());
            self.next_report += REPORT_EVERY;
        }
    }

    fn has_data(&self, now: Instant) -> bool {
        self.started && self.end.is_none_or(|end| now < end)
    }

    fn fill_window(&mut self, now: Instant, out: &mut Vec<Outgoing>) {
        let has_data = self.has_data(now);
        while let Some(segment) = self.sender.poll_segment(now, has_data) {
            send_segment(segment, out);
        }
    }
}

fn send_segment(segment: Segment, out: &mut Vec<Outgoing>) {
    let bytes = crate::units::to_usize(SEGMENT_BYTES) + HEADER_BYTES;
    out.push(Outgoing { forward: true, bytes, load: Load::Segment(segment) });
}

fn send_ack(ack: Ack, out: &mut Vec<Outgoing>) {
    out.push(Outgoing { forward: false, bytes: ack.bytes(), load: Load::Ack(ack) });
}

#[cfg(test)]
mod tests;
