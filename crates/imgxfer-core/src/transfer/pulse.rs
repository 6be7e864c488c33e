//! Whether a transfer is alive: silence, standstill, and the signs of work that keep both ends patient.
//!
//! Two deadlines. **Silence**: the peer says nothing and this end has nothing to do. **Standstill**: the peer
//! says that it works, or this end works, but no count moves. Signs of work go out only while there is work.

use tokio::time::Instant;

use crate::effort::Effort;
use crate::error::TransferError;
use crate::limits::{PROGRESS_DEADLINE, STANDSTILL_DEADLINE, WORKING_INTERVAL};
use crate::wire::message::{Body, Working};

/// Keeps the time of one transfer at one end.
#[derive(Debug)]
pub(crate) struct Pulse {
    effort: Effort,
    effort_seen: u64,
    peer_seen: u64,
    heard: Instant,
    moved: Instant,
    told: Instant,
}

impl Pulse {
    pub(crate) fn new(effort: Effort) -> Self {
        let now = Instant::now();
        Self { effort, effort_seen: 0, peer_seen: 0, heard: now, moved: now, told: now }
    }

    /// The peer said something. A sign of work that counts no more than the last breaks silence, not standstill.
    pub(crate) fn heard(&mut self, body: &Body) {
        match body {
            Body::Working(Working { done }) if *done <= self.peer_seen => self.heard = Instant::now(),
            Body::Working(Working { done }) => {
                self.peer_seen = *done;
                self.moved();
            }
            _ => self.moved(),
        }
    }

    /// Something was done or arrived.
    pub(crate) fn moved(&mut self) {
        self.heard = Instant::now();
        self.moved = self.heard;
    }

    /// Looks at this end's own work, which excuses the peer's silence while it lasts. Returns what to tell the
    /// peer, if it `hears` and it is time.
    pub(crate) fn look(&mut self, works: bool, hears: bool) -> Option<Body> {
        let done = self.effort.done();
        if done > self.effort_seen {
            self.effort_seen = done;
            self.moved();
        }
        if !works {
            return None;
        }
        self.heard = Instant::now();
        let due = hears && self.told.elapsed() >= WORKING_INTERVAL;
        due.then(|| {
            self.told = Instant::now();
            Body::Working(Working { done })
        })
    }

    /// # Errors
    /// [`TransferError::Stalled`] when a deadline has passed.
    pub(crate) fn check(&self) -> Result<(), TransferError> {
        let silent = self.heard.elapsed() > PROGRESS_DEADLINE;
        let still = self.moved.elapsed() > STANDSTILL_DEADLINE;
        if silent || still { Err(TransferError::Stalled) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Seconds until the pulse gives up, of at most 2000; `each` is called every second.
    async fn lasts(each: impl Fn(u64, &mut Pulse, &Effort)) -> u64 {
        let effort = Effort::default();
        let mut pulse = Pulse::new(effort.clone());
        for second in 0..2000 {
            each(second, &mut pulse, &effort);
            if pulse.check().is_err() {
                return second;
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        2000
    }

    fn works(done: u64) -> Body {
        Body::Working(Working { done })
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_standstill_have_their_deadlines() {
        assert_eq!(lasts(|_, _, _| {}).await, 121, "silence");
        assert_eq!(lasts(|_, pulse, _| pulse.heard(&works(7))).await, 601, "the peer beats, and counts no further");
        assert_eq!(lasts(|second, pulse, _| pulse.heard(&works(second))).await, 2000, "the peer works");
        assert_eq!(lasts(|_, pulse, _| drop(pulse.look(true, true))).await, 601, "this end works, and nothing moves");
        let own = |_, pulse: &mut Pulse, effort: &Effort| {
            effort.add(1);
            drop(pulse.look(true, true));
        };
        assert_eq!(lasts(own).await, 2000, "this end works");
    }

    #[tokio::test(start_paused = true)]
    async fn signs_go_out_every_few_seconds_of_work_to_a_peer_that_hears() {
        let mut pulse = Pulse::new(Effort::default());
        let mut told = Vec::new();
        for second in 0..20 {
            let (works, hears) = (second < 12, second != 5);
            told.extend(pulse.look(works, hears).map(|_| second));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(told, [6, 11]);
    }
}
