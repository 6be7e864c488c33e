//! The model of one direction of a line. Knows no sockets and no clock: time is an argument.

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

/// One direction of a line.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LineParams {
    /// Bits a second, of IP packets. `None`: as fast as they come.
    pub rate_bps: Option<u64>,
    /// Time on the way, besides queue and transmission.
    pub delay: Duration,
    /// Up to this much more, evenly distributed; packets keep their order.
    pub jitter: Duration,
    /// Share of packets lost on the way, 0 to 1, when the line is full.
    pub loss: f64,
    /// Packets lost together, on average, on a full line. 1: each by itself. A burst is a span of time,
    /// so that a sender that has slowed down loses fewer in it.
    pub loss_burst: f64,
    /// Longest wait in the queue before the line; packets that would wait longer are dropped.
    pub queue: Duration,
    /// Largest IP packet; larger ones are dropped.
    pub mtu_bytes: usize,
    /// When the line is cut.
    pub outages: Vec<Outage>,
}

impl Default for LineParams {
    /// No limit of rate, no delay, no loss, Ethernet packets.
    fn default() -> Self {
        Self {
            rate_bps: None,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            loss_burst: 1.0,
            queue: Duration::from_millis(100),
            mtu_bytes: 1500,
            outages: Vec::new(),
        }
    }
}

impl LineParams {
    /// A line of `rate_bps` bits a second with `delay` one way and a queue of 100 ms.
    #[must_use]
    pub fn new(rate_bps: u64, delay: Duration) -> Self {
        Self { rate_bps: Some(rate_bps), delay, ..Self::default() }
    }

    /// Loses this share of packets, `burst` of them together on average.
    #[must_use]
    pub fn with_loss(mut self, share: f64, burst: f64) -> Self {
        self.loss = share;
        self.loss_burst = burst;
        self
    }

    /// Longest wait in the queue.
    #[must_use]
    pub fn with_queue(mut self, queue: Duration) -> Self {
        self.queue = queue;
        self
    }

    /// Delay that varies by up to this.
    #[must_use]
    pub fn with_jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Cuts the line once more.
    #[must_use]
    pub fn with_outage(mut self, outage: Outage) -> Self {
        self.outages.push(outage);
        self
    }
}

/// One cut of a line: what is sent or on the way meanwhile is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outage {
    /// When it begins.
    pub start: OutageStart,
    /// How long it lasts.
    pub lasts: Duration,
}

impl Outage {
    /// A cut.
    #[must_use]
    pub fn new(start: OutageStart, lasts: Duration) -> Self {
        Self { start, lasts }
    }
}

/// When an outage begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutageStart {
    /// This long after the line's first packet.
    After(Duration),
    /// With the packet that brings the bytes offered to the line (IP) to this.
    AtBytes(u64),
}

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
}

impl Line {
    /// A line with nothing on it. Packets must come in order of time.
    #[must_use]
    pub fn new(params: LineParams, seed: u64, now: Instant) -> Self {
        Self {
            params,
            rng: Rng::new(seed),
            first: None,
            offered_bytes: 0,
            free_at: now,
            last_arrival: now,
            lossy_until: None,
            cuts: Vec::new(),
        }
    }

    /// Bytes of the IP packet around a UDP payload.
    #[must_use]
    pub fn packet_bytes(payload_bytes: usize) -> usize {
        payload_bytes + HEADER_BYTES
    }

    /// Time until the queue is empty.
    #[must_use]
    pub fn queued(&self, now: Instant) -> Duration {
        self.free_at.saturating_duration_since(now)
    }

    /// Sends a datagram of `payload_bytes` at `now` and says what becomes of it.
    pub fn send(&mut self, now: Instant, payload_bytes: usize) -> Fate {
        let bytes = Self::packet_bytes(payload_bytes);
        if bytes > self.params.mtu_bytes {
            return Fate::Dropped(Dropped::Size);
        }
        self.begin_outages(now, to_u64(bytes));
        if self.cut_at(now) {
            return Fate::Dropped(Dropped::Outage);
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
        let meets_cut = self.cuts.iter().any(|cut| now < cut.until && arrival >= cut.from);
        if meets_cut { Fate::Dropped(Dropped::Outage) } else { Fate::Arrives(arrival) }
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
                OutageStart::After(_) | OutageStart::AtBytes(_) => continue,
            };
            self.cuts.push(Cut { from, until: from + outage.lasts });
        }
    }

    fn cut_at(&self, now: Instant) -> bool {
        self.cuts.iter().any(|cut| cut.from <= now && now < cut.until)
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
