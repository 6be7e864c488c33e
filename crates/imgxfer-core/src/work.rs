//! Work that can meet a defect: a panic in it ends that piece of work, with an error, and nothing else.
//!
//! Whatever decodes what a peer or a file says runs here. What a panic says may be of a patient and is not told on;
//! a program that wants the place of it logged sets a hook (`std::panic::set_hook`).

use crate::sync::lock;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// Panics so far in this process, by work.
static PANICS: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// Why work gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// It panicked.
    #[error("a defect of this program stopped its work ({0}): its place is in the log; please report it")]
    Panicked(&'static str),
    /// The runtime is going down.
    #[error("the program is stopping")]
    Stopping,
}

/// Runs `work`, which `what` names in two or three fixed words. What it shares with others must hold after a panic.
///
/// # Errors
/// [`WorkError::Panicked`], counted in [`panics`].
pub fn guarded<T>(what: &'static str, work: impl FnOnce() -> T) -> Result<T, WorkError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| panicked(what))
}

/// Runs `work` on a thread that may block, likewise, in the span of log lines that is current.
///
/// # Errors
/// [`WorkError`].
#[cfg(feature = "quic")]
pub async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WorkError> {
    let span = tracing::Span::current();
    ended(what, tokio::task::spawn_blocking(move || span.in_scope(work)).await)
}

/// What became of a task, with its panic counted.
///
/// # Errors
/// [`WorkError`].
#[cfg(feature = "quic")]
pub fn ended<T>(what: &'static str, result: Result<T, tokio::task::JoinError>) -> Result<T, WorkError> {
    result.map_err(|error| if error.is_panic() { panicked(what) } else { WorkError::Stopping })
}

/// How often each kind of work has panicked in this process.
#[must_use]
pub fn panics() -> BTreeMap<&'static str, u64> {
    lock(&PANICS).clone()
}

fn panicked(what: &'static str) -> WorkError {
    *lock(&PANICS).entry(what).or_default() += 1;
    WorkError::Panicked(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_is_counted() {
        assert_eq!(guarded("add", || 1 + 1), Ok(2));
        assert_eq!(guarded("divide", || -> u32 { panic!("as it should") }), Err(WorkError::Panicked("divide")));
        assert_eq!(panics().get("divide"), Some(&1));
        assert_eq!(panics().get("add"), None);
    }

    #[cfg(feature = "quic")]
    #[tokio::test]
    async fn a_panic_on_another_thread_is_the_same_error() {
        let result = blocking("multiply", || -> u32 { panic!("as it should") }).await;
        assert_eq!(result, Err(WorkError::Panicked("multiply")));
        assert_eq!(panics().get("multiply"), Some(&1));
    }
}
