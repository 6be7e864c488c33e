//! A video call: a constant stream of datagrams, and how late they come.

use super::traffic::{Load, Outgoing};
use super::{Histogram, Line};
use crate::units::to_f64;
use std::time::Duration;
use tokio::time::Instant;

/// A stream of one direction of a call. By default 1.5 Mbit/s of payload, without end: three datagrams of 1,250
/// bytes together each 20 ms. It does not adapt, as a real one would after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallParams {
    /// UDP payload of a datagram.
    pub payload_bytes: usize,
    /// Datagrams sent together.
    pub together: u32,
    /// Time from one batch to the next.
    pub every: Duration,
    /// From now.
    pub start: Duration,
    /// From now.
    pub end: Option<Duration>,
}

impl Default for CallParams {
    fn default() -> Self {
        let every = Duration::from_millis(20);
        Self { payload_bytes: 1_250, together: 3, every, start: Duration::ZERO, end: None }
    }
}

impl CallParams {
    /// Begins so much later.
    #[must_use]
    pub fn with_start(mut self, start: Duration) -> Self {
        self.start = start;
        self
    }

    /// Hangs up then.
    #[must_use]
    pub fn with_end(mut self, end: Duration) -> Self {
        self.end = Some(end);
        self
    }
}

/// How a call fared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CallReport {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that arrived.
    pub arrived: u64,
    /// Datagrams that still may.
    pub on_the_way: u64,
    /// Time from sending to arrival.
    pub delay: Histogram,
}

impl CallReport {
    /// Share of datagrams that never arrive, 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f64 {
        to_f64(self.sent - self.arrived - self.on_the_way) / to_f64(self.sent.max(1))
    }
}

#[derive(Debug)]
pub(super) struct Call {
    params: CallParams,
    next: Instant,
    end: Option<Instant>,
    report: CallReport,
}

impl Call {
    pub(super) fn new(params: CallParams, now: Instant) -> Self {
        let end = params.end.map(|end| now + end);
        Self { params, next: now + params.start, end, report: CallReport::default() }
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        Some(self.next).filter(|next| self.end.is_none_or(|end| *next < end))
    }

    pub(super) fn on_timer(&mut self, out: &mut Vec<Outgoing>) {
        let sent = self.next;
        for _ in 0..self.params.together {
            let bytes = Line::packet_bytes(self.params.payload_bytes);
            out.push(Outgoing { forward: true, bytes, load: Load::Datagram { sent } });
        }
        self.report.sent += u64::from(self.params.together);
        self.next += self.params.every.max(Duration::from_micros(1));
    }

    pub(super) fn on_datagram(&mut self, now: Instant, sent: Instant) {
        self.report.arrived += 1;
        self.report.delay.add(now - sent);
    }

    pub(super) fn report(&self, on_the_way: u64) -> CallReport {
        CallReport { on_the_way, ..self.report.clone() }
    }
}
