//! How fast bytes get through (draft-ietf-ccwg-bbr, 4.5), and how bunched their acknowledgements come.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What was known when packets were sent at an instant.
#[derive(Debug, Clone, Copy)]
struct Mark {
    sent: Instant,
    delivered: f64,
    delivered_at: Instant,
    /// When the newest packet that was acknowledged by then had been sent.
    first_sent: Instant,
    app_limited: bool,
}

/// Marks kept beyond the newest acknowledged: an older packet that is acknowledged late gives no sample.
const MARKS_BEFORE: Duration = Duration::from_secs(2);
/// At one a burst enough for 10 Gbit/s at 250 ms; 900 KB at most.
const MARKS_MAX: usize = 1 << 14;

/// One measure of the rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Bytes a second; `None` when it was taken over too short a time.
    pub(super) rate: Option<f64>,
    /// The application had too little to send: the line may be faster.
    pub(super) app_limited: bool,
    /// Bytes that were delivered when the packet was sent.
    pub(super) delivered_before: f64,
}

/// Counts what is delivered.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    marks: VecDeque<Mark>,
    delivered: f64,
    delivered_at: Instant,
    first_sent: Instant,
    /// Nothing is on the way: the time until the next packet does not count.
    idle: bool,
    /// What is on the way until this much is delivered was limited by the application.
    app_limited_until: f64,
    newest: Option<Mark>,
}

impl Delivery {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            marks: VecDeque::new(),
            delivered: 0.0,
            delivered_at: now,
            first_sent: now,
            idle: true,
            app_limited_until: 0.0,
            newest: None,
        }
    }

    /// Bytes delivered since the start.
    pub(super) const fn delivered(&self) -> f64 {
        self.delivered
    }

    pub(super) fn sent(&mut self, now: Instant) {
        if self.idle {
            (self.delivered_at, self.first_sent, self.idle) = (now, now, false);
        }
        if self.marks.back().is_none_or(|mark| mark.sent != now) {
            if self.marks.len() >= MARKS_MAX {
                self.marks.pop_front();
            }
            self.marks.push_back(Mark {
                sent: now,
                delivered: self.delivered,
                delivered_at: self.delivered_at,
                first_sent: self.first_sent,
                app_limited: self.delivered < self.app_limited_until,
            });
        }
    }

    pub(super) fn acked(&mut self, now: Instant, sent: Instant, bytes: f64) {
        self.delivered += bytes;
        self.delivered_at = now;
        if self.newest.is_some_and(|newest| sent < newest.sent) {
            return;
        }
        let place = self.marks.partition_point(|mark| mark.sent < sent);
        if let Some(mark) = self.marks.get(place).filter(|mark| mark.sent == sent) {
            self.newest = Some(*mark);
        }
    }

    /// All acknowledgements of a packet are in: the sample of the newest packet among them. One that was taken
    /// over less than `shortest` seconds has no rate.
    pub(super) fn end_acks(
        &mut self,
        now: Instant,
        in_flight: f64,
        app_limited: bool,
        shortest: f64,
    ) -> Option<Sample> {
        if app_limited {
            self.app_limited_until = self.delivered + in_flight;
        }
        self.idle |= in_flight == 0.0;
        let mark = self.newest.take()?;
        self.first_sent = self.first_sent.max(mark.sent);
        // Acknowledgements come bunched, and packets too: the longer of both times counts.
        let acks_took = (now - mark.delivered_at).as_secs_f64();
        let sending_took = (mark.sent - mark.first_sent).as_secs_f64();
        let took = acks_took.max(sending_took);
        while self.marks.get(1).is_some_and(|next| next.sent + MARKS_BEFORE < mark.sent) {
            self.marks.pop_front();
        }
        let rate = (took > 0.0 && took >= shortest).then(|| (self.delivered - mark.delivered) / took);
        Some(Sample { rate, app_limited: mark.app_limited, delivered_before: mark.delivered })
    }
}

/// Rounds over which the most bunched acknowledgements count.
const BUNCHING_ROUNDS: usize = 10;

/// How many bytes more than the rate explains are acknowledged at once: radio and busy receivers save
/// acknowledgements up, and a window must bridge that.
#[derive(Debug, Clone)]
pub(super) struct Bunching {
    since: Instant,
    acked: f64,
    batch: f64,
    rounds: VecDeque<f64>,
}

impl Bunching {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, acked: 0.0, batch: 0.0, rounds: VecDeque::from([0.0]) }
    }

    /// The most of the last rounds, bytes.
    pub(super) fn bytes(&self) -> f64 {
        self.rounds.iter().copied().fold(0.0, f64::max)
    }

    pub(super) fn acked(&mut self, bytes: f64) {
        self.batch += bytes;
    }

    pub(super) fn end_acks(&mut self, now: Instant, rate: f64) {
        if self.acked <= rate * (now - self.since).as_secs_f64() {
            (self.acked, self.since) = (0.0, now);
        }
        self.acked += std::mem::take(&mut self.batch);
        let above = self.acked - rate * (now - self.since).as_secs_f64();
        if let Some(newest) = self.rounds.back_mut() {
            *newest = newest.max(above);
        }
    }

    pub(super) fn end_round(&mut self) {
        self.rounds.push_back(0.0);
        if self.rounds.len() > BUNCHING_ROUNDS {
            self.rounds.pop_front();
        }
    }
}
