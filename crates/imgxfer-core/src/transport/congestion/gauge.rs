//! What is shared between a connection and its congestion controller: orders one way, figures the other.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// How much of the line a connection is to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::transport) enum Demand {
    /// All it can get, beside others of its kind.
    #[default]
    Foreground,
    /// What nobody else uses.
    Background,
    /// Almost nothing: something urgent is on its way beside it.
    Held,
}

/// Orders for a controller, and what it found out. Newest values win; no two are read together.
#[derive(Debug, Default)]
pub(in crate::transport) struct Gauge {
    demand: AtomicU8,
    lines: AtomicU64,
    rate_bytes: AtomicU64,
    queue_nanos: AtomicU64,
}

impl Gauge {
    pub(in crate::transport) fn set_demand(&self, demand: Demand) {
        let number = match demand {
            Demand::Foreground => 0,
            Demand::Background => 1,
            Demand::Held => 2,
        };
        self.demand.store(number, Ordering::Relaxed);
    }

    pub(in crate::transport) fn demand(&self) -> Demand {
        match self.demand.load(Ordering::Relaxed) {
            0 => Demand::Foreground,
            1 => Demand::Background,
            _ => Demand::Held,
        }
    }

    /// From now on packets take another way: nothing that was learnt of the old one holds.
    pub(in crate::transport) fn line_changed(&self) {
        self.lines.fetch_add(1, Ordering::Relaxed);
    }

    /// How many times [`Gauge::line_changed`] was called.
    pub(super) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Rate in bytes a second, queue in seconds.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive; a cast of floats saturates")]
    pub(in crate::transport) fn report(&self, rate: f64, queue: f64) {
        self.rate_bytes.store(rate as u64, Ordering::Relaxed);
        self.queue_nanos.store((queue * 1e9) as u64, Ordering::Relaxed);
    }

    /// Bytes a second that get through; 0 before the first round trips.
    pub(in crate::transport) fn rate_bytes(&self) -> u64 {
        self.rate_bytes.load(Ordering::Relaxed)
    }

    /// What the least delayed packet of the last round waited in queues.
    pub(in crate::transport) fn queue_delay(&self) -> Duration {
        Duration::from_nanos(self.queue_nanos.load(Ordering::Relaxed))
    }
}
