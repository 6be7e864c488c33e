//! What runs now: transfers with their progress, and connections. Kept in memory, for the status and metrics.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imgxfer_core::clock::Stopwatch;
use imgxfer_core::ids::{PeerId, TransferId};
use imgxfer_core::priority::Priority;
use imgxfer_core::progress::Progress;
use imgxfer_core::server::Direction;
use imgxfer_core::transport::Session;
use imgxfer_core::units::to_f64;

/// A transfer that runs.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) peer: String,
    pub(crate) direction: Direction,
    pub(crate) transfer: Option<TransferId>,
    pub(crate) job: Option<i64>,
    pub(crate) priority: Priority,
    pub(crate) progress: Progress,
    /// Original bytes per second over about the last two seconds.
    pub(crate) rate: f64,
    /// Bytes per second on the line, both ways, over the same time.
    pub(crate) line_rate: f64,
    pub(crate) since: Stopwatch,
    sampled: Sample,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    at: Duration,
    bytes: u64,
    line_bytes: u64,
}

/// Long enough for the rate to be steady, short enough for it to be news.
const RATE_OVER: Duration = Duration::from_secs(2);

impl Running {
    fn new(peer: String, direction: Direction, job: Option<i64>, priority: Priority) -> Self {
        Self {
            peer,
            direction,
            transfer: None,
            job,
            priority,
            progress: Progress::default(),
            rate: 0.0,
            line_rate: 0.0,
            since: Stopwatch::start(),
            sampled: Sample::default(),
        }
    }

    fn update(&mut self, progress: Progress) {
        self.progress = progress;
        let at = self.since.elapsed();
        let over = at.saturating_sub(self.sampled.at);
        // What the receiver had before has not been moved.
        let moved = progress.bytes_arrived.saturating_sub(progress.bytes_present);
        let fresh = moved.saturating_sub(self.sampled.bytes);
        let fresh_line = progress.line_bytes.saturating_sub(self.sampled.line_bytes);
        if over >= RATE_OVER || (self.sampled.at.is_zero() && !over.is_zero()) {
            self.rate = to_f64(fresh) / over.as_secs_f64();
            self.line_rate = to_f64(fresh_line) / over.as_secs_f64();
        }
        if over >= RATE_OVER {
            self.sampled = Sample { at, bytes: moved, line_bytes: progress.line_bytes };
        }
    }

    /// Seconds for the rest at this rate; `None` when it cannot be told.
    pub(crate) fn seconds_left(&self) -> Option<f64> {
        let left = self.progress.bytes_expected.checked_sub(self.progress.bytes_arrived)?;
        (self.rate >= 1.0).then(|| to_f64(left) / self.rate)
    }
}

/// Names one running transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(u64);

#[derive(Debug, Default)]
struct State {
    running: HashMap<u64, Running>,
    sessions: HashMap<u64, Session>,
}

/// What runs now. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Live {
    state: Arc<Mutex<State>>,
    next: Arc<AtomicU64>,
}

impl Live {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A transfer begins.
    pub(crate) fn begin(&self, peer: String, direction: Direction, job: Option<i64>, priority: Priority) -> Ticket {
        let number = self.number();
        self.state().running.insert(number, Running::new(peer, direction, job, priority));
        Ticket(number)
    }

    /// The transfer got on.
    pub(crate) fn update(&self, ticket: Ticket, transfer: Option<TransferId>, progress: Option<Progress>) {
        if let Some(running) = self.state().running.get_mut(&ticket.0) {
            running.transfer = transfer.or(running.transfer);
            if let Some(progress) = progress {
                running.update(progress);
            }
        }
    }

    /// The transfer ended; what is known of it.
    pub(crate) fn end(&self, ticket: Ticket) -> Option<Running> {
        self.state().running.remove(&ticket.0)
    }

    /// Everything that runs, in the order in which it began.
    pub(crate) fn running(&self) -> Vec<Running> {
        let state = self.state();
        let mut all: Vec<(u64, Running)> = state.running.iter().map(|(n, running)| (*n, running.clone())).collect();
        drop(state);
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, running)| running).collect()
    }

    /// Transfers in and out that run.
    pub(crate) fn count(&self) -> (u64, u64) {
        let state = self.state();
        let of = |direction| {
            imgxfer_core::units::to_u64(state.running.values().filter(|r| r.direction == direction).count())
        };
        (of(Direction::In), of(Direction::Out))
    }

    /// A session that is seen for the first time is remembered until it ends; `ended` is then called.
    pub(crate) fn remember(&self, session: &Session, ended: impl FnOnce(&Session) + Send + 'static) {
        let mut state = self.state();
        // Two connections from one socket of a peer cannot be told apart here; they share one line anyway.
        let same = |known: &Session| known.peer() == session.peer() && known.peer_address() == session.peer_address();
        if state.sessions.values().any(same) {
            return;
        }
        let number = self.number();
        state.sessions.insert(number, session.clone());
        drop(state);
        let live = self.clone();
        let session = session.clone();
        // Ends with the session, which the endpoint ends at the latest.
        drop(tokio::spawn(async move {
            session.closed().await;
            live.state().sessions.remove(&number);
            ended(&session);
        }));
    }

    /// Connections that peers have opened.
    pub(crate) fn sessions(&self) -> Vec<(PeerId, Session)> {
        self.state().sessions.values().map(|session| (session.peer(), session.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_come_and_go() {
        let live = Live::default();
        let first = live.begin("a".to_owned(), Direction::In, None, Priority::Routine);
        let second = live.begin("b".to_owned(), Direction::Out, Some(7), Priority::Stat);
        live.update(second, None, Some(Progress { bytes_arrived: 5, ..Progress::default() }));
        assert_eq!(live.count(), (1, 1));
        let running = live.running();
        assert_eq!((running[0].peer.as_str(), running[1].job), ("a", Some(7)));
        assert_eq!(live.end(second).unwrap().progress.bytes_arrived, 5);
        assert!(live.end(second).is_none());
        live.end(first).unwrap();
        assert_eq!(live.count(), (0, 0));
    }
}
