//! From connection to connection, until it is done or hopeless.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::RetryPolicy;
use crate::error::{Retry, TransferError};
use crate::progress::{Observer, Progress, TransferEvent};
use crate::sync::lock;

/// Goes from connection to connection: remembers the newest progress, and when something new last arrived.
pub(super) struct Attempts<'a> {
    observer: &'a dyn Observer,
    policy: RetryPolicy,
    pub(super) connections: u32,
    wait: Duration,
    /// What earlier connections put on the line.
    pub(super) earlier: Progress,
    state: Mutex<WatchState>,
    arrived_before: u64,
}

#[derive(Clone, Copy)]
struct WatchState {
    newest: Progress,
    most_arrived: u64,
    arrived_at: Instant,
}

impl Observer for Attempts<'_> {
    fn on_event(&self, event: &TransferEvent) {
        let TransferEvent::Progress(progress) = event else { return self.observer.on_event(event) };
        let progress = progress.with_line_of(&self.earlier);
        {
            let mut state = lock(&self.state);
            state.newest = progress;
            if progress.bytes_arrived > state.most_arrived {
                state.most_arrived = progress.bytes_arrived;
                state.arrived_at = Instant::now();
            }
        }
        self.observer.on_event(&TransferEvent::Progress(progress));
    }
}

impl<'a> Attempts<'a> {
    pub(super) fn new(policy: RetryPolicy, observer: &'a dyn Observer) -> Self {
        let state = WatchState { newest: Progress::default(), most_arrived: 0, arrived_at: Instant::now() };
        Self {
            observer,
            policy,
            connections: 1,
            wait: policy.wait_min,
            earlier: Progress::default(),
            state: Mutex::new(state),
            arrived_before: 0,
        }
    }

    /// After a failed connection: how long to wait before the next.
    ///
    /// # Errors
    /// The same error, when another try cannot help or nothing new has arrived for too long.
    pub(super) fn next(&mut self, error: TransferError) -> Result<Duration, TransferError> {
        let state = *lock(&self.state);
        if state.most_arrived > self.arrived_before {
            self.wait = self.policy.wait_min;
        }
        let hopeless = error.retry() == Retry::Never || self.policy.give_up_after.is_zero();
        if hopeless || state.arrived_at.elapsed() + self.wait > self.policy.give_up_after {
            return Err(error);
        }
        let retry_in_ms = u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX);
        self.observer.on_event(&TransferEvent::Interrupted { reason: error.to_string(), retry_in_ms });
        self.arrived_before = state.most_arrived;
        self.earlier = state.newest;
        self.connections += 1;
        let wait = self.wait;
        self.wait = (wait * 2).min(self.policy.wait_max);
        Ok(wait)
    }
}
