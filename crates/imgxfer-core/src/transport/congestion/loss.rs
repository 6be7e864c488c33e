//! Tells loss that we cause from loss that is there anyway: noise does not care how much is sent.

use std::collections::VecDeque;
use std::time::Instant;

/// How much was in flight when a packet was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Less than the pipe holds.
    Low,
    /// The ordinary window.
    Cruising,
    /// A probe for more.
    High,
}

/// Packets sent at a level, and how many of them were lost. They fade with time.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    packets: f64,
    lost: f64,
}

impl Tally {
    fn share(self) -> f64 {
        if self.packets > 0.0 { self.lost / self.packets } else { 0.0 }
    }

    fn fade(&mut self, keep: f64) {
        self.packets *= keep;
        self.lost *= keep;
    }
}

/// Levels remembered: more than can be on the way.
const LEVELS_MAX: usize = 64;
/// What is kept of the tallies from cycle to cycle.
const KEEP: f64 = 0.85;
/// So much more loss than at the low level, and so many times what chance explains, is ours.
const MARGIN: f64 = 0.005;
const DEVIATIONS: f64 = 1.5;
const LOST_MIN: f64 = 3.0;
const LOW_PACKETS_MIN: f64 = 4.0;
/// More noise than this is not made up for.
const NOISE_MAX: f64 = 0.10;

/// Loss by the level at which the packets were sent.
#[derive(Debug, Clone, Default)]
pub(super) struct LossByLevel {
    levels: VecDeque<(Instant, Level)>,
    tallies: [Tally; 3],
}

impl LossByLevel {
    /// From `now` on packets are sent at `level`.
    pub(super) fn level_from(&mut self, now: Instant, level: Level) {
        if self.levels.back().is_some_and(|(_, newest)| *newest == level) {
            return;
        }
        self.levels.push_back((now, level));
        if self.levels.len() > LEVELS_MAX {
            self.levels.pop_front();
        }
    }

    fn tally_of(&mut self, sent: Instant) -> Option<&mut Tally> {
        let (_, level) = *self.levels.iter().rev().find(|(from, _)| *from <= sent)?;
        Some(self.tally_mut(level))
    }

    const fn tally_mut(&mut self, level: Level) -> &mut Tally {
        &mut self.tallies[level as usize]
    }

    const fn tally(&self, level: Level) -> Tally {
        self.tallies[level as usize]
    }

    /// A packet sent then has arrived.
    pub(super) fn acked(&mut self, sent: Instant) {
        if let Some(tally) = self.tally_of(sent) {
            tally.packets += 1.0;
        }
    }

    /// Packets are lost, the newest of them sent then.
    pub(super) fn lost(&mut self, sent: Instant, packets: f64) {
        if let Some(tally) = self.tally_of(sent) {
            tally.packets += packets;
            tally.lost += packets;
        }
    }

    /// Share of packets that is lost however little is sent.
    pub(super) fn noise(&self) -> f64 {
        let mut all = Tally::default();
        for tally in &self.tallies {
            all.packets += tally.packets;
            all.lost += tally.lost;
        }
        self.tally(Level::Low).share().min(all.share()).min(NOISE_MAX)
    }

    /// Whether more is lost at `level` than at the low one, and not by chance.
    pub(super) fn more_at(&self, level: Level) -> bool {
        let (low, here) = (self.tally(Level::Low), self.tally(level));
        if here.lost < LOST_MIN || low.packets < LOW_PACKETS_MIN {
            return false;
        }
        let pooled = (here.lost + low.lost) / (here.packets + low.packets);
        let chance = (pooled * (1.0 - pooled) * (1.0 / here.packets + 1.0 / low.packets)).sqrt();
        here.share() - low.share() > MARGIN + DEVIATIONS * chance
    }

    /// A cycle has passed.
    pub(super) fn age(&mut self) {
        self.tallies.iter_mut().for_each(|tally| tally.fade(KEEP));
    }

    /// Something was done about the loss at `level`: what was seen before counts little.
    pub(super) fn forget_most(&mut self, level: Level) {
        self.tally_mut(level).fade(0.3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Sends 1,000 packets a level and loses some.
    fn lose(low: u32, cruising: u32) -> LossByLevel {
        let mut loss = LossByLevel::default();
        let start = now();
        for (seconds, level, lost) in [(0, Level::Low, low), (1, Level::Cruising, cruising)] {
            let sent = start + Duration::from_secs(seconds);
            loss.level_from(sent, level);
            loss.lost(sent, f64::from(lost));
            (lost..1_000).for_each(|_| loss.acked(sent));
        }
        loss
    }

    #[test]
    fn noise_is_no_reason_to_slow_down() {
        let loss = lose(30, 35);
        assert!(!loss.more_at(Level::Cruising));
        assert!((loss.noise() - 0.03).abs() < 1e-9);
    }

    #[test]
    fn loss_that_follows_the_window_is_ours() {
        assert!(lose(0, 30).more_at(Level::Cruising));
        assert!(lose(30, 80).more_at(Level::Cruising));
        assert!(lose(0, 30).noise() < 1e-9);
    }

    #[test]
    fn a_few_packets_prove_nothing() {
        let mut loss = LossByLevel::default();
        let now = now();
        loss.level_from(now, Level::Low);
        loss.acked(now);
        loss.level_from(now + Duration::from_millis(1), Level::Cruising);
        loss.lost(now + Duration::from_millis(2), 2.0);
        assert!(!loss.more_at(Level::Cruising));
    }
}
