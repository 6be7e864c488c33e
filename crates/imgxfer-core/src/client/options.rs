//! Settings of pushes and pulls.

use std::time::Duration;

use crate::codec::LevelChoice;
use crate::pace::Pace;
use crate::priority::Priority;

/// When to give up on a line that keeps breaking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Give up when nothing new has arrived for this long, over however many connections. Default 10 minutes.
    pub give_up_after: Duration,
    /// Give up when no connection has stood yet for this long: the address may be wrong, or nobody there. An address
    /// that is silent is tried for 10 s at a time. A name that leads nowhere is not tried again before a connection
    /// has stood. `give_up_after` holds as well. Default 20 s.
    pub reach_within: Duration,
    /// First wait between connections; doubles up to `wait_max`. Default 500 ms.
    pub wait_min: Duration,
    /// Longest wait between connections. Default 15 s.
    pub wait_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            give_up_after: Duration::from_secs(600),
            reach_within: Duration::from_secs(20),
            wait_min: Duration::from_millis(500),
            wait_max: Duration::from_secs(15),
        }
    }
}

impl RetryPolicy {
    /// One connection, no second try.
    #[must_use]
    pub const fn once() -> Self {
        Self {
            give_up_after: Duration::ZERO,
            reach_within: Duration::ZERO,
            wait_min: Duration::ZERO,
            wait_max: Duration::ZERO,
        }
    }

    /// Gives up when nothing new has arrived for this long.
    #[must_use]
    pub const fn giving_up_after(mut self, after: Duration) -> Self {
        self.give_up_after = after;
        self
    }

    /// Gives up when no connection has stood yet for this long.
    #[must_use]
    pub const fn reaching_within(mut self, within: Duration) -> Self {
        self.reach_within = within;
        self
    }
}

/// Settings of a push.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PushOptions {
    /// How it ranks among other transfers. Default routine.
    pub priority: Priority,
    /// How hard to compress. Default: as the line, this machine and the peer make it pay.
    pub level: LevelChoice,
    /// When to give up.
    pub retry: RetryPolicy,
    /// How fast records may be sent. Default: as the line carries them.
    pub pace: Pace,
    /// Whether the receiver reads back and hashes all that it has already of this before it counts on it, and has
    /// sent again what is damaged. Costs the receiver a read of everything. Default `false`.
    pub prove: bool,
}

impl PushOptions {
    /// Sets whether the receiver reads back what it has.
    #[must_use]
    pub const fn with_proof(mut self, prove: bool) -> Self {
        self.prove = prove;
        self
    }
}

/// Settings of a pull.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PullOptions {
    /// How it ranks among other transfers. Default routine.
    pub priority: Priority,
    /// How hard the sender is asked to compress. Default: as it sees fit.
    pub level: LevelChoice,
    /// When to give up.
    pub retry: RetryPolicy,
    /// How fast records may come. Default: as the line carries them.
    pub pace: Pace,
    /// Whether to end with what is there now. Default: go on while studies of which no version was stated are still
    /// arriving at the peer.
    pub now: bool,
}

impl PullOptions {
    /// Sets whether to end with what is there now.
    #[must_use]
    pub const fn with_now(mut self, now: bool) -> Self {
        self.now = now;
        self
    }
}

/// What pushes and pulls have in common.
macro_rules! common_options {
    ($($options:ty),*) => {$(
        impl $options {
            /// Sets how fast records may cross the line.
            #[must_use]
            pub fn with_pace(mut self, pace: Pace) -> Self {
                self.pace = pace;
                self
            }

            /// Sets the priority.
            #[must_use]
            pub const fn with_priority(mut self, priority: Priority) -> Self {
                self.priority = priority;
                self
            }

            /// Sets how hard to compress.
            #[must_use]
            pub const fn with_level(mut self, level: LevelChoice) -> Self {
                self.level = level;
                self
            }

            /// Sets when to give up.
            #[must_use]
            pub const fn with_retry(mut self, retry: RetryPolicy) -> Self {
                self.retry = retry;
                self
            }
        }
    )*};
}

common_options!(PushOptions, PullOptions);
