//! The model of one direction of a line. Knows no sockets and no clock: time is an argument.

use super::params::{LineParams, Outage, OutageStart, RouteChange};
use super::rng::Rng;
use crate::units::{to_f64, to_u64};
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of IPv4 and UDP headers before each payload.
const HEADER_BYTES: usize = 28;
/// Bytes of a full packet, by which bursts of loss are measured.
const FULL_PACKET_BYTES: f64 = 1500.0;
/// Line time of a full packet where no rate is set.
const PACKET_TIME_UNLIMITED: Duration = Duration::from_micros(12);

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dropped {
    /// The queue was full.
    Queue,
    /// Noise on the line.
    Loss,
    /// The line was cut.
    Outage,
    /// Larger than the line's packets.
    Size,
    /// More than the policer allows.
    Policer,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// It arrives then, unless the line is cut by hand before.
    Arrives(Instant),
    /// It never arrives.
    Dropped(Dropped),
}

/// A span of time in which the line is cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    from: Instant,
    until: Instant,
}

/// The state of one direction of a line. The same seed and the same packets give the same fates.
#[derive(Debug)]
pub struct Line {
    params: LineParams,
    rng: Rng,
    first: Option<Instant>,
    offered_bytes: u64,
    /// When the last packet admitted has left the queue.
    free_at: Instant,
    last_arrival: Instant,
    lossy_until: Option<Instant>,
    cuts: Vec<Cut>,
    /// Bytes in the policer's bucket, and when they were counted.
    tokens: (f64, Instant),
}

impl Line {
    /// A line with nothing on it. Packets must come in order of time.
    #[must_use]
    pub fn new(params: LineParams, seed: u64, now: Instant) -> Self {
        let bucket = params.policer.map_or(0.0, |p| to_f64(p.bucket_bytes));
        Self {
            params,
            rng: Rng::new(seed),
            first: None,
            offered_bytes: 0,
            free_at: now,
            last_arrival: now,
            lossy_until: None,
            cuts: Vec::new(),
            tokens: (bucket, now),
        }
    }

    /// Bytes of the IP packet around a UDP payload.
    #[must_use]
    pub fn packet_bytes(payload_bytes: usize) -> usize {
        payload_bytes + HEADER_BYTES
    }

    /// When the queue is empty, if nothing more comes.
    pub(super) fn free_at(&self) -> Instant {
        self.free_at
    }

    /// Time until the queue is empty.
    #[must_use]
    pub fn queued(&self, now: Instant) -> Duration {
        self.free_at.saturating_duration_since(now)
    }

    /// Sends a datagram of `payload_bytes` at `now` and says what becomes of it.
    pub fn send(&mut self, now: Instant, payload_bytes: usize) -> Fate {
        self.send_packet(now, Self::packet_bytes(payload_bytes))
    }

    /// Sends an IP packet of `bytes` at `now` and says what becomes of it.
    pub fn send_packet(&mut self, now: Instant, bytes: usize) -> Fate {
        if bytes > self.params.mtu_bytes {
            return Fate::Dropped(Dropped::Size);
        }
        self.begin_outages(now, to_u64(bytes));
        if self.cut_at(now) {
            return Fate::Dropped(Dropped::Outage);
        }
        self.change_route(now);
        if !self.policer_admits(now, to_f64(to_u64(bytes))) {
            return Fate::Dropped(Dropped::Policer);
        }
        let on_line = self.time_on_line(to_f64(to_u64(bytes)));
        if !on_line.is_zero() && self.queued(now) + on_line > self.params.queue.max(on_line) {
            return Fate::Dropped(Dropped::Queue);
        }
        self.free_at = self.free_at.max(now) + on_line;
        if self.lost(self.free_at) {
            return Fate::Dropped(Dropped::Loss);
        }
        let jitter = self.params.jitter.mul_f64(self.rng.unit());
        let arrival = (self.free_at + self.params.delay + jitter).max(self.last_arrival);
        self.last_arrival = arrival;
        // Whatever is on the way when the line is cut is lost with it.
        if self.cut_between(now, arrival) { Fate::Dropped(Dropped::Outage) } else { Fate::Arrives(arrival) }
    }

    fn time_on_line(&self, bytes: f64) -> Duration {
        self.params.rate_bps.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes * 8.0 / to_f64(rate.max(1))))
    }

    /// Fixes the spans of outages as soon as their beginning is known.
    fn begin_outages(&mut self, now: Instant, bytes: u64) {
        let before = self.offered_bytes;
        self.offered_bytes += bytes;
        let at_start = self.first.is_none();
        let first = *self.first.get_or_insert(now);
        for outage in &self.params.outages {
            let from = match outage.start {
                OutageStart::After(time) if at_start => first + time,
                OutageStart::AtBytes(n) if before < n && n <= self.offered_bytes => now,
                OutageStart::After(_) | OutageStart::AtBytes(_) | OutageStart::Every(_) => continue,
            };
            self.cuts.push(Cut { from, until: from + outage.lasts });
        }
    }

    fn cut_at(&self, now: Instant) -> bool {
        self.cut_between(now, now)
    }

    /// Whether the line is cut at any moment from `from` to `to`.
    fn cut_between(&self, from: Instant, to: Instant) -> bool {
        self.cuts.iter().any(|cut| from < cut.until && to >= cut.from)
            || self.params.outages.iter().any(|outage| self.cut_again_between(outage, from, to))
    }

    fn cut_again_between(&self, outage: &Outage, from: Instant, to: Instant) -> bool {
        let (OutageStart::Every(period), Some(first)) = (outage.start, self.first) else { return false };
        // The last cut to begin by `to` is also the last to end.
        let since_first = to.saturating_duration_since(first);
        if since_first < period || period.is_zero() {
            return false;
        }
        let since_cut = since_first.as_nanos() % period.as_nanos();
        since_cut < outage.lasts.as_nanos() + to.saturating_duration_since(from).as_nanos()
    }

    /// Takes a packet's bytes out of the policer's bucket, if they are there.
    fn policer_admits(&mut self, now: Instant, bytes: f64) -> bool {
        let Some(policer) = self.params.policer else { return true };
        let (tokens, counted) = &mut self.tokens;
        let refill = now.saturating_duration_since(*counted).as_secs_f64() * to_f64(policer.rate_bps) / 8.0;
        *tokens = (*tokens + refill).min(to_f64(policer.bucket_bytes));
        *counted = now;
        let admits = *tokens >= bytes;
        if admits {
            *tokens -= bytes;
        }
        admits
    }

    /// Sends all packets from now on another way, as [`RouteChange`] tells.
    pub fn reroute(&mut self, delay: Duration, rate_bps: Option<u64>) {
        self.params.delay = delay;
        self.params.rate_bps = rate_bps.or(self.params.rate_bps);
    }

    /// Makes the changes of route that are due, in the order of their moments.
    fn change_route(&mut self, now: Instant) {
        let Some(first) = self.first else { return };
        let due = |change: &RouteChange| first + change.after <= now;
        while let Some(next) = self.params.route_changes.iter().filter(|c| due(c)).min_by_key(|c| c.after).copied() {
            self.params.route_changes.retain(|change| *change != next);
            self.reroute(next.delay, next.rate_bps);
        }
    }

    /// Whether noise hits a packet that leaves the queue at `at`.
    fn lost(&mut self, at: Instant) -> bool {
        if self.lossy_until.is_some_and(|until| at < until) {
            return true;
        }
        self.lossy_until = None;
        let burst = self.params.loss_burst.max(1.0);
        let loss = self.params.loss.clamp(0.0, 1.0);
        // The share of packets that begin a burst, so that `loss` of all are lost on a full line.
        let begins = loss / (burst * (1.0 - loss) + loss).max(f64::MIN_POSITIVE);
        if self.rng.unit() >= begins {
            return false;
        }
        if burst > 1.0 {
            let packet = self.time_on_line(FULL_PACKET_BYTES);
            let packet = if packet.is_zero() { PACKET_TIME_UNLIMITED } else { packet };
            let rest = packet.mul_f64((burst - 1.0) * self.rng.exponential());
            self.lossy_until = Some(at + packet / 2 + rest);
        }
        true
    }
}

#[cfg(test)]
mod tests;
