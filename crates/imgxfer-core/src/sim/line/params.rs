//! What can be said of a line: parameters of the model, with when they change.

use std::time::Duration;

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
    /// What the operator allows, before the queue.
    pub policer: Option<Policer>,
    /// When packets begin to take another way.
    pub route_changes: Vec<RouteChange>,
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
            policer: None,
            route_changes: Vec::new(),
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

    /// Cuts the line for `lasts` each `period`, for the first time when a whole period has passed.
    #[must_use]
    pub fn with_outages_every(self, period: Duration, lasts: Duration) -> Self {
        self.with_outage(Outage::new(OutageStart::Every(period), lasts))
    }

    /// Drops what exceeds `rate_bps`, beyond a bucket of `bucket_bytes`.
    #[must_use]
    pub fn with_policer(mut self, rate_bps: u64, bucket_bytes: u64) -> Self {
        self.policer = Some(Policer { rate_bps, bucket_bytes });
        self
    }

    /// Gives packets that are sent from `after` the first one on another delay.
    #[must_use]
    pub fn with_route_change(mut self, after: Duration, delay: Duration) -> Self {
        self.route_changes.push(RouteChange { after, delay, rate_bps: None });
        self
    }

    /// As [`LineParams::with_route_change`], and another rate.
    #[must_use]
    pub fn with_route_and_rate_change(mut self, after: Duration, delay: Duration, rate_bps: u64) -> Self {
        self.route_changes.push(RouteChange { after, delay, rate_bps: Some(rate_bps) });
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
    /// Each time that so much has passed since the line's first packet: again and again.
    Every(Duration),
}

/// A token bucket without a queue, as operators police a contract: bytes trickle into the bucket at
/// `rate_bps`, a packet takes its own out, and one that finds too few is dropped. Put before a faster
/// line, or one of no rate. It delays nothing, so nothing tells of it but loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policer {
    /// Bits a second, of IP packets.
    pub rate_bps: u64,
    /// What the bucket holds; full at first. Below one packet nothing passes.
    pub bucket_bytes: u64,
}

/// Packets take another way from a moment on. What is in the queue or on the way stays as it was, and no
/// packet overtakes another: a shorter way is felt when the longer one has emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteChange {
    /// Since the line's first packet.
    pub after: Duration,
    /// [`LineParams::delay`] from then on.
    pub delay: Duration,
    /// [`LineParams::rate_bps`] from then on; `None`: as before.
    pub rate_bps: Option<u64>,
}
