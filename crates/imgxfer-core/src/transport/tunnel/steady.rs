//! Congestion control inside a tunnel: none, because TCP does it below.
//!
//! In a tunnel nothing is lost or overtaken, so that there is nothing to learn from losses, and a second
//! controller could only hold back what TCP would have sent. The window is constant and larger than what may be
//! unacknowledged anyway. What holds the sender back is the tunnel, which takes over no more than it can write.
//!
//! What is taken over from the application is a different matter: that should be little more than what the line
//! holds at once. So the rate is measured, and [`send_window`] follows it.

use crate::transport::congestion::{Demand, Gauge};
use crate::transport::tunnel::DATAGRAM_BYTES_MAX;
use crate::units::to_f64;
use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// May be on the way at once: as much as is ever taken over for sending.
const WINDOW: u64 = SEND_WINDOW_MAX;
/// The same while something urgent goes beside it: two datagrams.
const WINDOW_HELD: u64 = 2 * DATAGRAM_BYTES_MAX as u64;
/// Taken over for sending before the rate is known, at least, and at most.
pub(super) const SEND_WINDOW_FIRST: u64 = 1 << 20;
const SEND_WINDOW_MAX: u64 = 16 << 20;
/// The rate is taken over so long, so that one burst of acknowledgements makes no rate.
const INTERVAL: Duration = Duration::from_millis(100);
/// Added to the round trip: what tasks and timers may be late.
const SLACK: Duration = Duration::from_millis(50);

/// Makes a controller for each connection.
#[derive(Debug)]
pub(super) struct Factory(Arc<Gauge>);

impl Factory {
    pub(super) const fn new(gauge: Arc<Gauge>) -> Self {
        Self(gauge)
    }
}

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, _current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Steady { gauge: Arc::clone(&self.0), since: now, delivered: 0, rate: 0, rtt_min: Duration::MAX })
    }
}

/// A constant window; measures what is delivered.
#[derive(Debug, Clone)]
struct Steady {
    gauge: Arc<Gauge>,
    since: Instant,
    delivered: u64,
    /// Bytes a second in the interval before.
    rate: u64,
    rtt_min: Duration,
}

impl Steady {
    /// Four times what the line holds at the rate that was measured, without its queues. A window that was
    /// too small for the line grows by this from one look to the next.
    fn send_window(&self) -> u64 {
        let held = (self.rtt_min.min(INTERVAL * 10) + SLACK).as_millis();
        let window = u64::try_from(4 * u128::from(self.rate) * held / 1000).unwrap_or(u64::MAX);
        window.clamp(SEND_WINDOW_FIRST, SEND_WINDOW_MAX)
    }
}

impl Controller for Steady {
    fn on_ack(&mut self, now: Instant, _sent: Instant, bytes: u64, _app_limited: bool, rtt: &RttEstimator) {
        self.rtt_min = rtt.min();
        self.delivered += bytes;
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= INTERVAL {
            let rate = u128::from(self.delivered) * 1_000_000 / elapsed.as_micros().max(1);
            self.rate = u64::try_from(rate).unwrap_or(u64::MAX);
            (self.since, self.delivered) = (now, 0);
            self.gauge.report(to_f64(self.rate), (rtt.get() - self.rtt_min).as_secs_f64());
        }
    }

    fn on_congestion_event(&mut self, _now: Instant, _sent: Instant, _persistent: bool, _lost_bytes: u64) {}

    fn on_mtu_update(&mut self, _new_mtu: u16) {}

    fn window(&self) -> u64 {
        if self.gauge.demand() == Demand::Held { WINDOW_HELD } else { WINDOW }
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// What a connection in a tunnel should take over for sending.
pub(in crate::transport) fn send_window(connection: &quinn::Connection) -> u64 {
    let controller = connection.congestion_state().into_any().downcast::<Steady>();
    controller.map_or(SEND_WINDOW_FIRST, |steady| steady.send_window())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_send_window_follows_the_rate_within_bounds() {
        let steady = |rate, ms| {
            let rtt_min = Duration::from_millis(ms);
            Steady { gauge: Arc::default(), since: tokio::time::Instant::now().into_std(), delivered: 0, rate, rtt_min }
                .send_window()
        };
        assert_eq!(steady(0, 10), 1 << 20);
        assert_eq!(steady(125_000, 30), 1 << 20, "1 Mbit/s");
        assert_eq!(steady(12_500_000, 50), 5_000_000, "100 Mbit/s");
        assert_eq!(steady(125_000_000, 80), 16 << 20, "1 Gbit/s");
        assert_eq!(steady(u64::MAX, 60_000), 16 << 20);
    }
}
