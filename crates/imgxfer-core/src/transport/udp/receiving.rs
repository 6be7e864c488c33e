//! How much a peer may have on the way to us: as much as its line can use, and not all that a profile allows.
//!
//! What we have not read yet is held in memory. So a slow line gets a small window, and a reader that stands still
//! stops its sender soon; a fast line gets a large one before it needs it.

use crate::transport::session::WeakSession;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Given to every session from its start: what 1 Gbit/s holds at 30 ms.
pub(in crate::transport) const WINDOW_FIRST: u32 = 4 << 20;
/// How often to look, at most. A sender that starts doubles its rate each round trip.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The window is so many times what came between two looks and a round trip before. A start multiplies its rate by
/// 3.4 until a look has been acted on, at a round trip of 80 ms; the rest is for what waits behind a loss.
const AHEAD: u128 = 8;

/// Follows the rate of a session until it ends.
pub(in crate::transport) async fn follow(session: WeakSession, most: u32) {
    let (mut window, mut seen, mut at) = (WINDOW_FIRST.min(most), 0, Instant::now());
    loop {
        sleep(LOOK_EVERY).await;
        let Some(received) = session.received() else { return };
        let came = received.bytes.saturating_sub(seen);
        let next = wanted(window, came, at.elapsed(), received.rtt, most);
        (seen, at) = (received.bytes, Instant::now());
        if next != window {
            session.set_receive_window(next);
            window = next;
        }
    }
}

/// The window after `came` bytes came within `time`: larger at once, smaller by an eighth a look.
fn wanted(window: u32, came: u64, time: Duration, rtt: Duration, most: u32) -> u32 {
    let (time, span) = (time.as_micros().max(1), (rtt + LOOK_EVERY).as_micros());
    let bytes = AHEAD * u128::from(came) * span / time;
    let wanted = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(WINDOW_FIRST.min(most), most);
    wanted.max(window - window / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_follows_the_rate_within_bounds() {
        let tenth = Duration::from_millis(100);
        let (most, rtt) = (32 << 20, Duration::from_millis(80));
        let next = |window, came| wanted(window, came, tenth, rtt, most);
        assert_eq!(next(WINDOW_FIRST, 0), WINDOW_FIRST);
        assert_eq!(next(WINDOW_FIRST, 100_000), WINDOW_FIRST, "8 Mbit/s");
        assert_eq!(next(WINDOW_FIRST, 1_250_000), 18_000_000, "100 Mbit/s");
        assert_eq!(next(WINDOW_FIRST, 12_500_000), most, "1 Gbit/s");
        assert_eq!(next(most, u64::MAX), most);
        assert_eq!(next(most, 0), most - most / 8);
        let settled = (0..40).fold(most, |window, _| next(window, 0));
        assert_eq!(settled, WINDOW_FIRST);
        assert_eq!(wanted(1 << 20, 0, tenth, rtt, 1 << 20), 1 << 20, "a profile with less");
    }
}
