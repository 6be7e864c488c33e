//! The sender: what is outstanding, what is lost, and what goes next.

use super::cubic::Cubic;
use super::{Ack, Segment};
use crate::units::{to_f64, to_u64, to_usize};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Segments sent later that have to arrive before one counts as lost (RFC 6675's `DupThresh`).
const LATER_ARRIVALS: u64 = 3;
/// Most segments outstanding: 64 MiB, what a well-tuned host allows its sockets.
const OUTSTANDING_MAX: usize = (64 << 20) / 1448;
/// Before there is a sample of the round trip (RFC 6298).
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);
/// What Linux adds to the smoothed round trip at least.
const TIMEOUT_SLACK_MIN: Duration = Duration::from_millis(200);
const TIMEOUT_MAX: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    InFlight,
    Arrived,
    Lost,
}

#[derive(Debug)]
struct Outstanding {
    /// Number of its last transmission.
    serial: u64,
    sent: Instant,
    again: bool,
    state: State,
}

/// Counts of what a sender did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sent {
    pub(super) segments: u64,
    pub(super) retransmitted: u64,
    pub(super) reductions: u64,
    pub(super) timeouts: u64,
}

/// Losses being mended: until everything up to `end` is acknowledged there is no further reduction.
#[derive(Debug)]
struct Recovery {
    end: u64,
    /// After a timeout the window grows anew; else it is reduced in proportion (RFC 6937).
    after_timeout: bool,
    in_flight_before: f64,
    arrived: f64,
    sent: f64,
}

#[derive(Debug)]
pub(super) struct Sender {
    cubic: Cubic,
    /// Number of the first segment in `outstanding`.
    base: u64,
    outstanding: VecDeque<Outstanding>,
    in_flight: usize,
    /// Transmissions in their order, with the segment of each. Those before the newest arrival are gone.
    order: VecDeque<(u64, u64)>,
    next_serial: u64,
    newest_arrival: u64,
    lost: VecDeque<u64>,
    recovery: Option<Recovery>,
    round_end: u64,
    rtt: Rtt,
    timeout_at: Option<Instant>,
    /// Tail loss probe (RFC 8985 7): after two quiet rounds, one segment to provoke an answer.
    probe_at: Option<Instant>,
    /// A few later arrivals and no more: give the missing ones a quarter of a round trip (RFC 8985 6.2).
    reorder_at: Option<Instant>,
    backoff: u32,
    pub(super) sent: Sent,
}

#[derive(Debug, Default)]
struct Rtt {
    smoothed: Option<Duration>,
    variation: Duration,
    shortest: Duration,
}

impl Rtt {
    /// RFC 6298.
    fn add(&mut self, sample: Duration) {
        let Some(smoothed) = self.smoothed else {
            *self = Self { smoothed: Some(sample), variation: sample / 2, shortest: sample };
            return;
        };
        self.variation = (self.variation * 3 + smoothed.abs_diff(sample)) / 4;
        self.smoothed = Some((smoothed * 7 + sample) / 8);
        self.shortest = self.shortest.min(sample);
    }

    fn timeout(&self, backoff: u32) -> Duration {
        let once = self.smoothed.map_or(FIRST_TIMEOUT, |rtt| rtt + (self.variation * 4).max(TIMEOUT_SLACK_MIN));
        once.saturating_mul(1 << backoff.min(10)).min(TIMEOUT_MAX)
    }
}

impl Sender {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            cubic: Cubic::new(now),
            base: 0,
            outstanding: VecDeque::new(),
            in_flight: 0,
            order: VecDeque::new(),
            // Serials begin with 1, so that 0 stands for "nothing has arrived".
            next_serial: 1,
            newest_arrival: 0,
            lost: VecDeque::new(),
            recovery: None,
            round_end: 0,
            rtt: Rtt::default(),
            timeout_at: None,
            probe_at: None,
            reorder_at: None,
            backoff: 0,
            sent: Sent::default(),
        }
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        [self.timeout_at, self.probe_at, self.reorder_at].into_iter().flatten().min()
    }

    /// Takes an acknowledgement in. Ask for segments with [`Sender::poll_segment`] afterwards.
    pub(super) fn on_ack(&mut self, now: Instant, ack: &Ack) {
        let mut rtt = None;
        let mut arrived = 0_usize;
        let advanced = ack.next > self.base;
        while self.base < ack.next && !self.outstanding.is_empty() {
            arrived += usize::from(self.settle(now, 0, &mut rtt));
            self.outstanding.pop_front();
            self.base += 1;
        }
        for (from, to) in ack.ranges {
            for seq in from.max(self.base)..to.min(self.next_seq()) {
                arrived += usize::from(self.settle(now, to_usize(seq - self.base), &mut rtt));
            }
        }
        if let Some(rtt) = rtt {
            self.rtt.add(rtt);
        }
        if advanced {
            self.backoff = 0;
        }
        if self.base >= self.round_end {
            self.round_end = self.next_seq();
            self.cubic.on_round(now);
        }
        self.end_recovery();
        let lost = self.find_lost(LATER_ARRIVALS);
        self.react(now, lost, to_f64(to_u64(arrived)), rtt);
        self.set_reorder_timer(now);
        if arrived > 0 || self.outstanding.is_empty() {
            self.set_timers(now);
        }
    }

    /// A segment has arrived for the first time: true. Adds a sample of the round trip where it is certain.
    fn settle(&mut self, now: Instant, index: usize, rtt: &mut Option<Duration>) -> bool {
        let Some(segment) = self.outstanding.get_mut(index) else { return false };
        if segment.state == State::Arrived {
            return false;
        }
        if segment.state == State::InFlight {
            self.in_flight -= 1;
        }
        segment.state = State::Arrived;
        self.newest_arrival = self.newest_arrival.max(segment.serial);
        if !segment.again {
            let sample = now - segment.sent;
            *rtt = Some(rtt.map_or(sample, |other| other.min(sample)));
        }
        true
    }

    /// Marks as lost what was sent `later` transmissions before the newest that has arrived.
    fn find_lost(&mut self, later: u64) -> bool {
        let mut found = false;
        while let Some(&(serial, seq)) = self.order.front() {
            if self.is_in_flight(serial, seq) {
                if serial + later > self.newest_arrival {
                    break;
                }
                self.mark_lost(seq);
                found = true;
            }
            self.order.pop_front();
        }
        found
    }

    fn is_in_flight(&self, serial: u64, seq: u64) -> bool {
        let index = seq.checked_sub(self.base).map(to_usize);
        let segment = index.and_then(|index| self.outstanding.get(index));
        segment.is_some_and(|s| s.serial == serial && s.state == State::InFlight)
    }

    fn mark_lost(&mut self, seq: u64) {
        self.outstanding[to_usize(seq - self.base)].state = State::Lost;
        self.in_flight -= 1;
        self.lost.push_back(seq);
    }

    fn end_recovery(&mut self) {
        let Some(recovery) = &self.recovery else { return };
        if self.base < recovery.end {
            return;
        }
        if !recovery.after_timeout {
            self.cubic.set_window(self.cubic.threshold());
        }
        self.recovery = None;
    }

    /// Sets the window by what an acknowledgement told.
    fn react(&mut self, now: Instant, lost: bool, arrived: f64, rtt: Option<Duration>) {
        if lost && self.recovery.is_none() {
            let before = self.cubic.window();
            self.begin_recovery(false, before);
            self.cubic.on_loss();
            self.sent.reductions += 1;
        }
        let in_flight = to_f64(to_u64(self.in_flight));
        match &mut self.recovery {
            Some(recovery) if !recovery.after_timeout => {
                let threshold = self.cubic.threshold();
                recovery.arrived += arrived;
                let more = if in_flight > threshold {
                    (recovery.arrived * threshold / recovery.in_flight_before).ceil() - recovery.sent
                } else {
                    (threshold - in_flight).min((recovery.arrived - recovery.sent).max(arrived) + 1.0)
                };
                // The first retransmission goes out at once.
                let at_least = if recovery.sent > 0.0 { 0.0 } else { 1.0 };
                self.cubic.set_window(in_flight + more.max(at_least));
            }
            _ if arrived > 0.0 => {
                let smoothed = self.rtt.smoothed.unwrap_or(FIRST_TIMEOUT);
                self.cubic.on_ack(now, arrived, rtt, self.rtt.shortest, smoothed);
            }
            _ => {}
        }
    }

    fn begin_recovery(&mut self, after_timeout: bool, in_flight_before: f64) {
        let end = self.next_seq();
        self.recovery = Some(Recovery { end, after_timeout, in_flight_before, arrived: 0.0, sent: 0.0 });
    }

    /// The next segment to send, if the window has room: what is lost first, then new data if there is any.
    pub(super) fn poll_segment(&mut self, now: Instant, has_data: bool) -> Option<Segment> {
        if to_f64(to_u64(self.in_flight)) + 1.0 > self.cubic.window() {
            return None;
        }
        while let Some(seq) = self.lost.pop_front() {
            let index = seq.checked_sub(self.base).map(to_usize);
            if index.and_then(|i| self.outstanding.get(i)).is_some_and(|s| s.state == State::Lost) {
                return Some(self.transmit(now, seq));
            }
        }
        let new = has_data && self.outstanding.len() < OUTSTANDING_MAX;
        new.then(|| self.transmit(now, self.next_seq()))
    }

    fn next_seq(&self) -> u64 {
        self.base + to_u64(self.outstanding.len())
    }

    fn transmit(&mut self, now: Instant, seq: u64) -> Segment {
        let serial = self.next_serial;
        self.next_serial += 1;
        let again = seq < self.next_seq();
        let segment = Outstanding { serial, sent: now, again, state: State::InFlight };
        if again {
            let index = to_usize(seq - self.base);
            let was_in_flight = self.outstanding[index].state == State::InFlight;
            self.in_flight -= usize::from(was_in_flight);
            self.outstanding[index] = segment;
            self.sent.retransmitted += 1;
        } else {
            self.outstanding.push_back(segment);
        }
        self.in_flight += 1;
        self.order.push_back((serial, seq));
        self.sent.segments += 1;
        if let Some(recovery) = &mut self.recovery {
            recovery.sent += 1.0;
        }
        if self.timeout_at.is_none() {
            self.set_timers(now);
        }
        Segment { seq }
    }

    fn set_timers(&mut self, now: Instant) {
        let waiting = !self.outstanding.is_empty();
        self.timeout_at = waiting.then(|| now + self.rtt.timeout(self.backoff));
        let may_probe = waiting && self.recovery.is_none() && self.backoff == 0;
        self.probe_at = self.rtt.smoothed.filter(|_| may_probe).map(|smoothed| {
            // A single segment may be waiting for its delayed acknowledgement.
            now + smoothed * 2 + if self.in_flight == 1 { TIMEOUT_SLACK_MIN } else { Duration::ZERO }
        });
    }

    fn set_reorder_timer(&mut self, now: Instant) {
        let missing = self.order.front().is_some_and(|(serial, _)| *serial < self.newest_arrival);
        let at = self.reorder_at.unwrap_or(now + self.rtt.shortest / 4);
        self.reorder_at = missing.then_some(at);
    }

    /// A timer has run out. Returns a segment that goes whatever the window says.
    pub(super) fn on_timer(&mut self, now: Instant, has_data: bool) -> Option<Segment> {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.reorder_at) {
            self.reorder_at = None;
            let lost = self.find_lost(1);
            self.react(now, lost, 0.0, None);
            return None;
        }
        if due(self.timeout_at) {
            self.time_out(now);
            return None;
        }
        if due(self.probe_at) {
            self.probe_at = None;
            self.timeout_at = Some(now + self.rtt.timeout(self.backoff));
            let last = self.next_seq() - 1;
            let probe = if has_data && self.outstanding.len() < OUTSTANDING_MAX { last + 1 } else { last };
            return Some(self.transmit(now, probe));
        }
        None
    }

    /// RFC 6298 5.4 to 5.6, with all that is not known to have arrived taken for lost.
    fn time_out(&mut self, now: Instant) {
        self.sent.timeouts += 1;
        if self.recovery.as_ref().is_none_or(|r| !r.after_timeout) {
            self.cubic.on_timeout(now);
        } else {
            self.cubic.set_window(1.0);
        }
        self.begin_recovery(true, 0.0);
        self.lost.clear();
        for index in 0..self.outstanding.len() {
            let segment = &mut self.outstanding[index];
            if segment.state != State::Arrived {
                segment.state = State::Lost;
                self.lost.push_back(self.base + to_u64(index));
            }
        }
        self.in_flight = 0;
        self.order.clear();
        self.reorder_at = None;
        self.backoff += 1;
        self.set_timers(now);
    }
}
