//! What has gone over a line, in all and by flow.

use super::{Dropped, Histogram};
use crate::units::to_u64;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at the queue.
const SAMPLE_EVERY: Duration = Duration::from_millis(1);

/// Packets from one address to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Flow {
    /// Who sends.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
}

impl Flow {
    /// From one address to another.
    #[must_use]
    pub fn new(from: SocketAddr, to: SocketAddr) -> Self {
        Self { from, to }
    }
}

/// What has gone over one direction of a line. Bytes are of IP packets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LineCounters {
    /// Packets sent into the line.
    pub offered_packets: u64,
    /// Their bytes.
    pub offered_bytes: u64,
    /// Packets that came out.
    pub delivered_packets: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// Packets dropped because the queue was full.
    pub dropped_queue: u64,
    /// Packets dropped by the policer.
    pub dropped_policer: u64,
    /// Packets lost to noise.
    pub dropped_loss: u64,
    /// Packets lost to a cut.
    pub dropped_outage: u64,
    /// Packets too large for the line.
    pub dropped_size: u64,
    /// Longest wait in the queue.
    pub longest_queue: Duration,
    /// How long packets had to wait in the queue, and take to leave it: one entry for each that was let in.
    pub queue: Histogram,
}

impl LineCounters {
    /// Packets that never arrive, for whatever cause.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped_queue + self.dropped_policer + self.dropped_loss + self.dropped_outage + self.dropped_size
    }

    pub(super) fn count_offer(&mut self, bytes: usize) {
        self.offered_packets += 1;
        self.offered_bytes += to_u64(bytes);
    }

    pub(super) fn count_drop(&mut self, why: Dropped) {
        let counter = match why {
            Dropped::Queue => &mut self.dropped_queue,
            Dropped::Policer => &mut self.dropped_policer,
            Dropped::Loss => &mut self.dropped_loss,
            Dropped::Outage => &mut self.dropped_outage,
            Dropped::Size => &mut self.dropped_size,
        };
        *counter += 1;
    }

    pub(super) fn count_delivery(&mut self, bytes: usize) {
        self.delivered_packets += 1;
        self.delivered_bytes += to_u64(bytes);
    }

    pub(super) fn count_queue(&mut self, queued: Duration) {
        self.longest_queue = self.longest_queue.max(queued);
        self.queue.add(queued);
    }
}

/// Looks at a queue once a millisecond, by reckoning: between packets it only gets shorter.
#[derive(Debug)]
pub(super) struct QueueSamples {
    next: Instant,
    pub(super) seen: Histogram,
}

impl QueueSamples {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, seen: Histogram::default() }
    }

    /// Catches up to `now`; the queue has been emptying towards `free_at` since the last call.
    pub(super) fn catch_up(&mut self, now: Instant, free_at: Instant) {
        while self.next <= now && self.next < free_at {
            self.seen.add(free_at - self.next);
            self.next += SAMPLE_EVERY;
        }
        if self.next <= now {
            let idle = (now - self.next).as_micros() / SAMPLE_EVERY.as_micros() + 1;
            let idle = u32::try_from(idle).unwrap_or(u32::MAX);
            self.seen.add_times(Duration::ZERO, u64::from(idle));
            self.next += SAMPLE_EVERY * idle;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_follow_the_queue_as_it_empties() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut samples = QueueSamples::new(start);
        samples.catch_up(start + ms(99), start + ms(50));
        assert_eq!((samples.seen.total(), samples.seen.longest()), (100, ms(50)));
        assert_eq!(samples.seen.percentile(0.5), Duration::ZERO);
        samples.catch_up(start + ms(99), start + ms(50));
        assert_eq!(samples.seen.total(), 100);
        samples.catch_up(start + ms(199), start + ms(300));
        assert_eq!((samples.seen.total(), samples.seen.longest()), (200, ms(200)));
    }
}
