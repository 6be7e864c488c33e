//! How fast transfers may go: limits by peer and hour, one for the whole site, and one while a consultation by
//! video is on the line.
//!
//! Each holds for what is sent and for what is received, apart from each other: lines are full duplex, and seldom
//! the same both ways. An emergency is above the limits of the hours; while a consultation lasts it has its own,
//! if one is configured. Nothing of this survives a restart.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use imgxfer_core::pace::{Pace, RateLimit};
use imgxfer_core::priority::Priority;
use imgxfer_core::server::Direction;
use imgxfer_core::sync::lock;
use imgxfer_core::units::mbit_of_bytes;
use jiff::civil::DateTime;
use serde::Serialize;
use tokio::time::Instant;

use crate::config::{Config, Consultation, PeerConfig, Schedule};

/// Hours begin and consultations end within this time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One limit each way.
#[derive(Debug, Default)]
struct BothWays {
    incoming: RateLimit,
    outgoing: RateLimit,
}

impl BothWays {
    fn set(&self, rate: Option<u64>) {
        self.incoming.set(rate);
        self.outgoing.set(rate);
    }

    fn of(&self, direction: Direction) -> RateLimit {
        if direction == Direction::In { self.incoming.clone() } else { self.outgoing.clone() }
    }
}

/// All limits of a daemon.
#[derive(Debug)]
pub(crate) struct Rates {
    site: BothWays,
    site_schedule: RwLock<Schedule>,
    /// By the peers' names; as many as there are in the configuration.
    peers: Mutex<HashMap<String, BothWays>>,
    call: BothWays,
    call_stat: BothWays,
    running: Mutex<Option<Call>>,
    consultation: RwLock<Consultation>,
}

#[derive(Debug, Clone, Copy)]
struct Call {
    until: Instant,
    bytes_a_second: u64,
}

/// A consultation as the status shows it.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct CallShown {
    /// Time until it ends by itself.
    pub(crate) seconds_left: u64,
    /// What transfers share meanwhile, each way, emergencies aside.
    pub(crate) limit_mbps: f64,
    /// What emergencies share; none when they go as the line carries them.
    stat_limit_mbps: Option<f64>,
}

impl Rates {
    /// The limits of a configuration, as they are at `now`.
    pub(crate) fn new(config: &Config, now: DateTime) -> Self {
        let rates = Self {
            site: BothWays::default(),
            site_schedule: RwLock::default(),
            peers: Mutex::default(),
            call: BothWays::default(),
            call_stat: BothWays::default(),
            running: Mutex::default(),
            consultation: RwLock::new(config.consultation),
        };
        rates.reload(config, now);
        rates
    }

    /// Takes the limits of a new configuration. A consultation that is on goes on.
    pub(crate) fn reload(&self, config: &Config, now: DateTime) {
        *self.site_schedule.write().unwrap_or_else(PoisonError::into_inner) = config.rates.clone();
        *self.consultation.write().unwrap_or_else(PoisonError::into_inner) = config.consultation;
        self.look(&config.peers, now);
    }

    /// Sets every limit to what the hour says.
    pub(crate) fn look(&self, peers: &[PeerConfig], now: DateTime) {
        self.site.set(self.site_schedule.read().unwrap_or_else(PoisonError::into_inner).at(now));
        {
            let mut limits = lock(&self.peers);
            for peer in peers {
                limits.entry(peer.name.clone()).or_default().set(peer.limits.at(now));
            }
            // Who is in no list any more is limited by none of its own.
            for (name, limit) in limits.iter() {
                if !peers.iter().any(|peer| peer.name == *name) {
                    limit.set(None);
                }
            }
        }
        let mut running = lock(&self.running);
        if running.is_some_and(|call| Instant::now() >= call.until) {
            *running = None;
            self.lift();
            drop(running);
            tracing::info!("the consultation's time is over; transfers go at their usual pace");
        }
    }

    /// The limits that a transfer goes under.
    pub(crate) fn pace(&self, peer: &str, direction: Direction, priority: Priority) -> Pace {
        if priority == Priority::Stat {
            return Pace::under([self.call_stat.of(direction)]);
        }
        let own = lock(&self.peers).get(peer).map(|limit| limit.of(direction));
        Pace::under(own.into_iter().chain([self.site.of(direction), self.call.of(direction)]))
    }

    /// The limit of a peer in force, in bytes a second.
    pub(crate) fn of_peer(&self, peer: &str) -> Option<u64> {
        lock(&self.peers).get(peer).and_then(|limit| limit.outgoing.rate())
    }

    /// The limit of the whole site in force, in bytes a second.
    pub(crate) fn of_site(&self) -> Option<u64> {
        self.site.outgoing.rate()
    }

    /// A consultation begins, or goes on for so long.
    pub(crate) fn start_call(&self, time: Option<Duration>, bytes_a_second: Option<u64>) {
        let usual = self.usual();
        let bytes_a_second = bytes_a_second.unwrap_or(usual.bytes_a_second);
        let until = Instant::now() + time.unwrap_or(usual.time);
        let mut running = lock(&self.running);
        *running = Some(Call { until, bytes_a_second });
        self.call.set(Some(bytes_a_second));
        self.call_stat.set(usual.stat_bytes_a_second);
        drop(running);
    }

    /// The consultation is over. Returns whether there was one.
    pub(crate) fn end_call(&self) -> bool {
        let was_on = lock(&self.running).take().is_some();
        self.lift();
        was_on
    }

    /// The consultation that is on.
    pub(crate) fn shown_call(&self) -> Option<CallShown> {
        let call = (*lock(&self.running))?;
        Some(CallShown {
            seconds_left: call.until.saturating_duration_since(Instant::now()).as_secs(),
            limit_mbps: mbit_of_bytes(call.bytes_a_second),
            stat_limit_mbps: self.call_stat.outgoing.rate().map(mbit_of_bytes),
        })
    }

    fn lift(&self) {
        self.call.set(None);
        self.call_stat.set(None);
    }

    fn usual(&self) -> Consultation {
        *self.consultation.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time on the wall, by which the limits' hours go.
pub(crate) fn local_time() -> DateTime {
    jiff::Zoned::now().datetime()
}

/// Follows the hours for as long as the daemon runs.
pub(crate) async fn follow_hours(rates: std::sync::Arc<Rates>, peers: std::sync::Arc<crate::peers::Peers>) {
    let mut timer = tokio::time::interval(LOOK_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        rates.look(&peers.all(), local_time());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgxfer_core::ids::PeerId;

    fn noon() -> DateTime {
        jiff::civil::date(2026, 11, 23).at(12, 0, 0, 0)
    }

    fn config() -> Config {
        let mut config = Config::in_folder("unused".as_ref(), "site");
        let peer = |name: &str, n| PeerConfig::pinned(name, PeerId::of_key(&[n]));
        config.peers = vec![peer("slow", 1).with_limits(Schedule::always(4.0)), peer("free", 2)];
        config
    }

    #[test]
    fn a_transfer_goes_under_the_limits_of_peer_and_site() {
        let mut config = config();
        let rates = Rates::new(&config, noon());
        let rate = |peer, priority| rates.pace(peer, Direction::Out, priority).rate();
        let (slow, free) = (rates.pace("slow", Direction::In, Priority::Routine), rate("free", Priority::Routine));
        assert_eq!((slow.rate(), free, rate("slow", Priority::Stat)), (Some(500_000), None, None));
        assert_eq!((rates.of_peer("slow"), rates.of_peer("free"), rates.of_site()), (Some(500_000), None, None));
        // What runs follows a change.
        config.rates = Schedule::always(2.0);
        config.peers.remove(0);
        rates.reload(&config, noon());
        assert_eq!((slow.rate(), rate("free", Priority::Background)), (Some(250_000), Some(250_000)));
        assert_eq!(rates.of_peer("slow"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_consultation_slows_all_but_emergencies_and_ends_by_itself() {
        let mut config = config();
        let rates = Rates::new(&config, noon());
        let routine = rates.pace("slow", Direction::Out, Priority::Routine);
        let stat = rates.pace("slow", Direction::Out, Priority::Stat);
        assert!(rates.shown_call().is_none() && !rates.end_call());
        rates.start_call(Some(Duration::from_secs(60)), None);
        assert_eq!((routine.rate(), stat.rate()), (Some(125_000), None));
        assert_eq!(rates.shown_call().unwrap().seconds_left, 60);
        tokio::time::advance(Duration::from_secs(59)).await;
        rates.look(&config.peers, noon());
        assert_eq!(routine.rate(), Some(125_000));
        tokio::time::advance(Duration::from_secs(1)).await;
        rates.look(&config.peers, noon());
        assert_eq!((routine.rate(), rates.shown_call().is_none()), (Some(500_000), true));

        config.consultation.stat_bytes_a_second = Some(300_000);
        rates.reload(&config, noon());
        rates.start_call(None, Some(50_000));
        assert_eq!((routine.rate(), stat.rate()), (Some(50_000), Some(300_000)));
        assert!(rates.end_call() && routine.rate() == Some(500_000) && stat.rate().is_none());
    }
}
