//! From connection to connection, until it is done or hopeless.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::RetryPolicy;
use crate::error::{Retry, TransferError};
use crate::progress::{Observer, Progress, TransferEvent};
use crate::sync::lock;
use crate::transport::TransportError;

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
    /// Whether a connection has stood, or somebody answered.
    reached: bool,
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
            reached: false,
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
        let patience = match &error {
            TransferError::Transport(TransportError::UnknownHost { .. }) if !self.reached => Duration::ZERO,
            TransferError::Transport(TransportError::Unreachable { .. }) if !self.reached => {
                self.policy.reach_within.min(self.policy.give_up_after)
            }
            _ => {
                self.reached = true;
                self.policy.give_up_after
            }
        };
        let hopeless = error.retry() == Retry::Never || patience.is_zero();
        if hopeless || state.arrived_at.elapsed() + self.wait > patience {
            return Err(error);
        }
        let retry_in_ms = u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX);
        let reason = error.to_string();
        self.observer.on_event(&match self.reached {
            true => TransferEvent::Interrupted { reason, retry_in_ms },
            false => TransferEvent::Unreached { reason, retry_in_ms },
        });
        self.arrived_before = state.most_arrived;
        self.earlier = state.newest;
        self.connections += 1;
        let wait = self.wait;
        self.wait = (wait * 2).min(self.policy.wait_max);
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable() -> TransferError {
        TransportError::Unreachable { address: "a:1".to_owned(), tcp: true }.into()
    }

    fn lost() -> TransferError {
        TransportError::TimedOut.into()
    }

    /// Tries, each of which fails after ten seconds with what `error` gives, until there is no next one: how many, and
    /// what was told.
    async fn tried(policy: RetryPolicy, error: impl Fn(u32) -> TransferError) -> (u32, Vec<TransferEvent>) {
        let told = Mutex::new(Vec::new());
        let observer = |event: &TransferEvent| lock(&told).push(event.clone());
        let mut attempts = Attempts::new(policy, &observer);
        loop {
            tokio::time::sleep(Duration::from_secs(10)).await;
            match attempts.next(error(attempts.connections)) {
                Ok(wait) => tokio::time::sleep(wait).await,
                Err(_) => break,
            }
        }
        let connections = attempts.connections;
        (connections, told.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_answered_is_soon_given_up() {
        let (connections, told) = tried(RetryPolicy::default(), |_| unreachable()).await;
        assert_eq!(connections, 2);
        assert!(matches!(&told[..], [TransferEvent::Unreached { .. }]), "{told:?}");
        let once = RetryPolicy::default().reaching_within(Duration::ZERO);
        assert_eq!(tried(once, |_| unreachable()).await.0, 1);
        let unknown =
            |_| TransportError::UnknownHost { host: "a:1".to_owned(), cause: std::io::ErrorKind::NotFound.into() };
        assert_eq!(tried(RetryPolicy::default(), |n| unknown(n).into()).await.0, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_answered_once_is_waited_for() {
        let error = |connection| if connection == 1 { lost() } else { unreachable() };
        let (connections, told) = tried(RetryPolicy::default(), error).await;
        assert!(connections > 20, "{connections}");
        assert!(told.iter().all(|event| matches!(event, TransferEvent::Interrupted { .. })), "{told:?}");
    }
}
