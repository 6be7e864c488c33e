//! How fast transfers may go where somebody has set a limit.
//!
//! A [`RateLimit`] is a token bucket that any number of transfers share: those of one peer, or of a whole site.
//! A transfer goes at a [`Pace`]: under none, one or several limits, each of which may be set, changed and lifted
//! while it runs. What goes over the line is cut into slices of about 10 ms of the limit, so that a limited
//! transfer leaves gaps for others instead of bursts. Where no limit is in force, nothing is cut or waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::units::{to_f64, to_u64, to_usize};

/// What was not used for this long may be made up for: timers tick in milliseconds, and wake late.
const CATCH_UP: Duration = Duration::from_millis(20);
/// A slice is what the limit lets through in a hundredth of a second ...
const SLICES_A_SECOND: u64 = 100;
/// ... but no less than one packet carries, ...
const SLICE_BYTES_MIN: u64 = 1200;
/// ... and no more than this: at some 50 Mbit/s and above, slices are shorter than the timer's tick anyway.
const SLICE_BYTES_MAX: usize = 64 << 10;

/// A limit that the transfers under it share. Clones are the same limit. Without a rate it limits nothing.
#[derive(Debug, Clone, Default)]
pub struct RateLimit(Arc<Limit>);

#[derive(Debug, Default)]
struct Limit {
    /// Bytes a second; 0 for no limit.
    rate: watch::Sender<u64>,
    /// Transfers that go under it and have said so.
    users: AtomicU64,
    /// Held by whoever waits for its turn: turns are given in the order of asking.
    bucket: Mutex<Bucket>,
}

impl RateLimit {
    /// A limit of so many bytes a second.
    #[must_use]
    pub fn of(bytes_a_second: u64) -> Self {
        let limit = Self::default();
        limit.set(Some(bytes_a_second));
        limit
    }

    /// Sets the limit, in bytes a second, or lifts it. Holds at once, also for what waits. A limit of 0 is one of 1.
    pub fn set(&self, bytes_a_second: Option<u64>) {
        let rate = bytes_a_second.map_or(0, |rate| rate.max(1));
        self.0.rate.send_if_modified(|old| std::mem::replace(old, rate) != rate);
    }

    /// The limit in force, in bytes a second.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        Some(*self.0.rate.borrow()).filter(|rate| *rate > 0)
    }

    /// Waits until `bytes` may go. Cancel-safe: whoever gives up waiting has taken nothing.
    async fn take(&self, bytes: u64) {
        if self.rate().is_none() {
            return;
        }
        let mut bucket = self.0.bucket.lock().await;
        let mut changes = self.0.rate.subscribe();
        loop {
            let rate = *changes.borrow_and_update();
            if rate == 0 {
                return;
            }
            let Err(wait) = bucket.take(bytes, rate, Instant::now()) else { return };
            // The limit cannot go away while it is borrowed here, so that an error does not occur.
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = changes.changed() => {}
            }
        }
    }
}

/// What has gone ahead of the limit.
#[derive(Debug, Default)]
struct Bucket {
    /// Bytes that the limit has not earned yet; below zero, what may be caught up.
    owed: f64,
    /// When that was, and the limit since then.
    since: Option<(Instant, f64)>,
}

impl Bucket {
    /// Takes `bytes`, or says how long they must wait.
    fn take(&mut self, bytes: u64, rate: u64, now: Instant) -> Result<(), Duration> {
        let rate = to_f64(rate);
        let earned = |(at, rate): (Instant, f64)| rate * now.saturating_duration_since(at).as_secs_f64();
        self.owed = (self.owed - self.since.map_or(0.0, earned)).max(-rate * CATCH_UP.as_secs_f64());
        self.since = Some((now, rate));
        // Less than a byte is an error of rounding, for which no timer is short enough.
        if self.owed >= 1.0 {
            return Err(Duration::try_from_secs_f64(self.owed / rate).unwrap_or(Duration::MAX));
        }
        self.owed += to_f64(bytes);
        Ok(())
    }
}

/// The limits that one transfer is under. The default is none.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    limits: Vec<RateLimit>,
}

impl Pace {
    /// Under all of these limits at once.
    #[must_use]
    pub fn under(limits: impl IntoIterator<Item = RateLimit>) -> Self {
        Self { limits: limits.into_iter().collect() }
    }

    /// Under one more.
    #[must_use]
    pub fn and(mut self, limit: RateLimit) -> Self {
        self.limits.push(limit);
        self
    }

    /// Counts as one of those who share the limits, until what is returned is dropped.
    pub(crate) fn join(&self) -> Joined {
        for limit in &self.limits {
            limit.0.users.fetch_add(1, Ordering::Relaxed);
        }
        Joined(self.limits.clone())
    }

    /// An even share of the lowest limit in force, in bytes a second, among those who joined.
    pub(crate) fn share(&self) -> Option<u64> {
        let share = |limit: &RateLimit| Some((limit.rate()? / limit.0.users.load(Ordering::Relaxed).max(1)).max(1));
        self.limits.iter().filter_map(share).min()
    }

    /// The lowest limit in force, in bytes a second.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        self.limits.iter().filter_map(RateLimit::rate).min()
    }

    /// How much of `bytes` to take at once: all of it where no limit is in force.
    pub(crate) fn slice(&self, bytes: usize) -> usize {
        self.rate().map_or(bytes, |rate| {
            let slice = (rate / SLICES_A_SECOND).clamp(SLICE_BYTES_MIN, to_u64(SLICE_BYTES_MAX));
            bytes.min(to_usize(slice))
        })
    }

    /// Waits until all limits let `bytes` pass.
    pub(crate) async fn take(&self, bytes: usize) {
        for limit in &self.limits {
            limit.take(to_u64(bytes)).await;
        }
    }
}

/// One of those who share limits.
#[derive(Debug)]
pub(crate) struct Joined(Vec<RateLimit>);

impl Drop for Joined {
    fn drop(&mut self) {
        for limit in &self.0 {
            limit.0.users.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_lets_through_its_rate_and_a_short_catch_up() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(1_000, 100_000, at(0)), Ok(()));
        assert_eq!(bucket.take(1_000, 100_000, at(0)), Err(Duration::from_millis(10)));
        assert_eq!(bucket.take(1_000, 100_000, at(4)), Err(Duration::from_millis(6)));
        assert_eq!(bucket.take(1_000, 100_000, at(10)), Ok(()));
        // From now on ten times as much: what is owed is earned ten times as fast.
        assert_eq!(bucket.take(1_000, 1_000_000, at(10)), Err(Duration::from_millis(1)));
        assert_eq!(bucket.take(9_000, 1_000_000, at(11)), Ok(()));
        // 20 ms may be caught up, and the slice that goes beyond: a long pause is worth no more than that, and a
        // clock that goes backwards nothing.
        assert_eq!(bucket.take(25_000, 1_000_000, at(60_000)), Ok(()));
        assert_eq!(bucket.take(1, 1_000_000, at(60_000)), Err(Duration::from_millis(5)));
        assert_eq!(bucket.take(1, 1_000_000, at(0)), Err(Duration::from_millis(5)));
    }

    #[test]
    fn slices_are_short_of_a_burst() {
        let slice = |rate, bytes| Pace::under([RateLimit::of(rate)]).slice(bytes);
        assert_eq!(slice(500_000, 1 << 20), 5_000);
        assert_eq!(slice(500_000, 100), 100);
        assert_eq!(slice(0, 1 << 20), 1_200);
        assert_eq!(slice(u64::MAX, 1 << 20), 64 << 10);
        assert_eq!(Pace::default().slice(1 << 20), 1 << 20);
    }

    /// Takes slices until `end`; returns the bytes.
    async fn taken(pace: Pace, end: Instant) -> u64 {
        let mut bytes = 0;
        while tokio::time::timeout_at(end, pace.take(pace.slice(1 << 20))).await.is_ok() {
            bytes += to_u64(pace.slice(1 << 20));
        }
        bytes
    }

    #[tokio::test(start_paused = true)]
    async fn transfers_share_a_limit_evenly_under_the_lowest_of_all() {
        let (shared, own) = (RateLimit::of(500_000), RateLimit::of(50_000));
        let end = Instant::now() + Duration::from_secs(10);
        let free = || tokio::spawn(taken(Pace::under([shared.clone()]), end));
        let (a, b) = (free(), free());
        let c = tokio::spawn(taken(Pace::under([own, shared.clone()]), end));
        let (a, b, c) = (to_f64(a.await.unwrap()), to_f64(b.await.unwrap()), to_f64(c.await.unwrap()));
        assert!(((a + b + c) / 5e6 - 1.0).abs() < 0.02, "{a} {b} {c}");
        assert!((a / b - 1.0).abs() < 0.02, "{a} {b}");
        assert!((c / 5e5 - 1.0).abs() < 0.05, "{c}");
    }

    #[test]
    fn shares_are_even_among_those_who_are_there() {
        let limit = RateLimit::of(900);
        let (a, b) = (Pace::under([limit.clone()]), Pace::under([limit, RateLimit::of(700), RateLimit::default()]));
        let first = a.join();
        let second = b.join();
        assert_eq!((a.share(), b.share(), Pace::default().share()), (Some(450), Some(450), None));
        drop(first);
        assert_eq!(b.share(), Some(700));
        drop(second);
        assert_eq!(a.share(), Some(900));
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_changes_for_whoever_waits() {
        let limit = RateLimit::of(1);
        let pace = Pace::under([limit.clone()]);
        pace.take(1 << 20).await;
        let begun = Instant::now();
        let waiting = tokio::spawn(async move { pace.take(1).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        limit.set(Some(1 << 20));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!waiting.is_finished(), "what was taken is owed still");
        limit.set(None);
        waiting.await.unwrap();
        assert!(begun.elapsed() < Duration::from_millis(1_200));
        assert_eq!(limit.rate(), None);
    }
}
