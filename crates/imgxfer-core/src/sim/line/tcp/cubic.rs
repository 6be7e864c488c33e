//! The congestion window of a Linux-like sender: Cubic (RFC 9438) with `HyStart`. In segments.

use std::time::Duration;
use tokio::time::Instant;

/// RFC 9438 4.1: growth of the cubic function, in segments a second cubed.
const C: f64 = 0.4;
/// RFC 9438 4.6: what is left of the window after a loss.
const BETA: f64 = 0.7;
/// RFC 9438 4.3: growth a round that matches Reno's share in spite of the gentler reduction. As in Linux it stays so;
/// the RFC grows by a whole segment once the old window is reached.
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
/// RFC 6928.
const INITIAL: f64 = 10.0;
const SMALLEST: f64 = 2.0;

#[derive(Debug)]
pub(super) struct Cubic {
    window: f64,
    threshold: f64,
    /// Window before the last reduction, or less by fast convergence.
    w_max: f64,
    epoch: Option<Epoch>,
    hystart: HyStart,
}

/// Congestion avoidance since the last reduction.
#[derive(Debug)]
struct Epoch {
    began: Instant,
    /// Seconds from its beginning until the window is `plateau` again.
    k: f64,
    plateau: f64,
    /// The window that Reno would have.
    reno: f64,
}

impl Cubic {
    pub(super) fn new(now: Instant) -> Self {
        Self { window: INITIAL, threshold: f64::INFINITY, w_max: 0.0, epoch: None, hystart: HyStart::new(now) }
    }

    pub(super) fn window(&self) -> f64 {
        self.window
    }

    /// Window after the last reduction.
    pub(super) fn threshold(&self) -> f64 {
        self.threshold
    }

    pub(super) fn set_window(&mut self, segments: f64) {
        self.window = segments.max(1.0);
    }

    /// A round has ended: all that was outstanding at its beginning is acknowledged.
    pub(super) fn on_round(&mut self, now: Instant) {
        self.hystart.begin_round(now);
    }

    /// `acked` segments have arrived, outside of recovery.
    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        acked: f64,
        rtt: Option<Duration>,
        rtt_min: Duration,
        srtt: Duration,
    ) {
        if self.window < self.threshold {
            self.window = (self.window + acked).min(self.threshold.max(self.window));
            if rtt.is_some_and(|rtt| self.hystart.ends_slow_start(now, self.window, rtt, rtt_min)) {
                self.threshold = self.window;
            }
            return;
        }
        let (window, w_max) = (self.window, self.w_max);
        let epoch = self.epoch.get_or_insert_with(|| Epoch {
            began: now,
            k: ((w_max - window).max(0.0) / C).cbrt(),
            plateau: w_max.max(window),
            reno: window,
        });
        let cubic = |t: f64| C * (t - epoch.k).powi(3) + epoch.plateau;
        let t = (now - epoch.began).as_secs_f64();
        let target = cubic(t + srtt.as_secs_f64()).clamp(window, 1.5 * window);
        let now_cubic = cubic(t);
        epoch.reno += ALPHA * acked / window;
        self.window += (target - window) / window * acked;
        if now_cubic < epoch.reno {
            self.window = self.window.max(epoch.reno);
        }
    }

    /// Something was lost, for the first time in a round.
    pub(super) fn on_loss(&mut self) {
        // RFC 9438 4.7, fast convergence: who has not come back to his old share leaves more to others.
        let shrinking = self.window < self.w_max;
        self.w_max = if shrinking { self.window * (1.0 + BETA) / 2.0 } else { self.window };
        self.threshold = (self.window * BETA).max(SMALLEST);
        self.epoch = None;
    }

    /// Nothing has come back for a whole timeout. As Linux does: from one segment, the past forgotten.
    pub(super) fn on_timeout(&mut self, now: Instant) {
        self.threshold = (self.window * BETA).max(SMALLEST);
        (self.window, self.w_max, self.epoch) = (1.0, 0.0, None);
        self.hystart.begin_round(now);
    }
}

/// Ends slow start before the queue overflows, as Linux' `tcp_cubic.c` does (Ha and Rhee, 2011): when a round's
/// acknowledgements come in a train longer than half the round trip, or its round trips become longer.
#[derive(Debug)]
struct HyStart {
    round_began: Instant,
    train_until: Instant,
    shortest: Duration,
    samples: u32,
}

impl HyStart {
    const WINDOW_MIN: f64 = 16.0;
    const TRAIN_GAP: Duration = Duration::from_millis(2);
    const SAMPLES: u32 = 8;
    const DELAY_MIN: Duration = Duration::from_millis(4);
    const DELAY_MAX: Duration = Duration::from_millis(16);

    fn new(now: Instant) -> Self {
        Self { round_began: now, train_until: now, shortest: Duration::MAX, samples: 0 }
    }

    fn begin_round(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    fn ends_slow_start(&mut self, now: Instant, window: f64, rtt: Duration, rtt_min: Duration) -> bool {
        if window < Self::WINDOW_MIN {
            return false;
        }
        if now - self.train_until <= Self::TRAIN_GAP {
            self.train_until = now;
            if now - self.round_began > rtt_min / 2 {
                return true;
            }
        }
        self.shortest = self.shortest.min(rtt);
        if self.samples < Self::SAMPLES {
            self.samples += 1;
            return false;
        }
        self.shortest > rtt_min + (rtt_min / 8).clamp(Self::DELAY_MIN, Self::DELAY_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    /// Rounds of the window from 100 segments before a loss.
    fn after_a_loss(rounds: u32) -> Vec<f64> {
        let mut now = Instant::now();
        let mut cubic = Cubic::new(now);
        cubic.set_window(100.0);
        cubic.on_loss();
        cubic.set_window(cubic.threshold());
        let mut windows = vec![cubic.window()];
        for _ in 0..rounds {
            now += RTT;
            let acked = cubic.window();
            cubic.on_ack(now, acked, Some(RTT), RTT, RTT);
            windows.push(cubic.window());
        }
        windows
    }

    #[test]
    fn the_window_is_concave_then_convex() {
        let windows = after_a_loss(100);
        assert!((windows[0] - 70.0).abs() < 1e-9);
        // K = cbrt(30 / 0.4) = 4.2 s: flat at 100 then, and 0.4 * 5.8^3 above it after 10 s.
        assert!((99.0..101.0).contains(&windows[42]), "{}", windows[42]);
        assert!((170.0..180.0).contains(&windows[100]), "{}", windows[100]);
        assert!(windows.is_sorted());
    }

    #[test]
    fn short_rounds_follow_reno() {
        let mut now = Instant::now();
        let rtt = Duration::from_millis(5);
        let mut cubic = Cubic::new(now);
        cubic.set_window(20.0);
        cubic.on_loss();
        cubic.set_window(cubic.threshold());
        for _ in 0..40 {
            now += rtt;
            cubic.on_ack(now, cubic.window(), Some(rtt), rtt, rtt);
        }
        // 40 rounds of 0.53 beside 14. Cubic alone would have 15.5 after these 200 ms.
        assert!((33.0..36.0).contains(&cubic.window()), "{}", cubic.window());
    }

    #[test]
    fn fast_convergence_gives_way() {
        let mut cubic = Cubic::new(Instant::now());
        cubic.set_window(100.0);
        cubic.on_loss();
        cubic.set_window(80.0);
        cubic.on_loss();
        assert!((cubic.w_max - 68.0).abs() < 1e-9, "{}", cubic.w_max);
    }

    #[test]
    fn hystart_sees_a_train_and_a_longer_delay() {
        let start = Instant::now();
        let mut train = HyStart::new(start);
        let us = Duration::from_micros;
        let ended = (0..200).find(|i| train.ends_slow_start(start + us(500) * *i, 20.0, RTT, RTT));
        assert_eq!(ended, Some(101));

        let mut slow = HyStart::new(start);
        let at = |i| start + Duration::from_millis(10) * i;
        assert!((1..20).all(|i| !slow.ends_slow_start(at(i), 20.0, RTT + us(12_000), RTT)));
        slow.begin_round(start);
        let ended = (1..20).find(|i| slow.ends_slow_start(at(*i), 20.0, RTT + us(13_000), RTT));
        assert_eq!(ended, Some(9));
    }
}
