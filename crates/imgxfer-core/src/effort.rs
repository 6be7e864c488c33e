//! How much work this end has done, told from deep inside it.
//!
//! Reading and hashing a huge instance on a slow disk takes longer than a peer waits for silence to end. So that
//! the peer can be told that the work moves, whatever reads or hashes [`note`]s it, and whoever started the work
//! gave its thread an [`Effort`] to count in. Only counts: no names, no content.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the work of one transfer, over all its threads. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Effort(Arc<AtomicU64>);

thread_local! {
    static CURRENT: RefCell<Option<Effort>> = const { RefCell::new(None) };
}

impl Effort {
    /// What has been done so far, in bytes and smaller steps; grows while work moves.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts `amount` more.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Runs `work` on this thread; what it [`note`]s is counted here.
    pub fn count<T>(&self, work: impl FnOnce() -> T) -> T {
        let _within = Within(CURRENT.replace(Some(self.clone())));
        work()
    }
}

/// Restores what was counted in before, after a panic as well.
struct Within(Option<Effort>);

impl Drop for Within {
    fn drop(&mut self) {
        drop(CURRENT.replace(self.0.take()));
    }
}

/// Says that so many bytes were read or hashed. Cheap, and nothing where nobody counts.
///
/// A [`Source`](crate::send::Source) or [`Intake`](crate::receive::Intake) of one's own calls it at least every
/// few seconds while it works on something long, with what really moved.
pub fn note(bytes: u64) {
    CURRENT.with_borrow(|current| {
        if let Some(effort) = current {
            effort.add(bytes);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_where_it_was_begun() {
        let (outer, inner) = (Effort::default(), Effort::default());
        note(1);
        outer.count(|| {
            note(2);
            inner.count(|| note(3));
            note(4);
        });
        note(5);
        assert_eq!((outer.done(), inner.done()), (6, 3));
    }

    #[test]
    fn a_panic_leaves_nothing_behind() {
        let effort = Effort::default();
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| effort.count(|| panic!("as it should"))));
        assert!(run.is_err());
        note(1);
        assert_eq!(effort.done(), 0);
    }
}
