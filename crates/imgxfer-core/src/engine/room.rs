//! What a transfer gives up when others need it: its place, and room for manifest pages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::limits::PAGE_BYTES_SHARED_MAX;
use crate::units::{to_u32, to_usize};

/// Says that a transfer has to end, so that another gets its place, and hears what is done in it here. By default nobody
/// says so.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notice {
    told: Option<watch::Receiver<bool>>,
    done: Arc<AtomicU64>,
}

impl Notice {
    /// Given when `told` holds `true`; `done` is kept up to date.
    pub(crate) const fn new(told: watch::Receiver<bool>, done: Arc<AtomicU64>) -> Self {
        Self { told: Some(told), done }
    }

    /// So much has been done at this end, as an [`Effort`](crate::effort::Effort) counts it.
    pub(crate) fn has_done(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
    }

    /// Resolves when it is given.
    pub(crate) async fn given(&mut self) {
        if let Some(told) = &mut self.told
            && told.wait_for(|told| *told).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

/// Room for the manifest pages that transfers of one peer hold at once, in bytes as encoded. In memory a page of many
/// small chunks takes some seven times that.
#[derive(Debug)]
pub(crate) struct PageRoom(Arc<Semaphore>);

impl Default for PageRoom {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PAGE_BYTES_SHARED_MAX)))
    }
}

/// What one transfer holds of it.
#[derive(Debug)]
pub(crate) struct PagesHeld {
    room: Arc<PageRoom>,
    held: Option<OwnedSemaphorePermit>,
}

impl PagesHeld {
    pub(crate) const fn new(room: Arc<PageRoom>) -> Self {
        Self { room, held: None }
    }

    /// Takes room for `bytes` more, if there is.
    pub(crate) fn try_take(&mut self, bytes: u64) -> bool {
        let taken = Arc::clone(&self.room.0).try_acquire_many_owned(permits(bytes));
        taken.map(|permit| self.add(permit)).is_ok()
    }

    /// Waits for room for `bytes` more, to be [added](Self::add).
    pub(crate) fn take(&self, bytes: u64) -> impl Future<Output = Option<OwnedSemaphorePermit>> + Send + Sync + use<> {
        let room = Arc::clone(&self.room.0);
        async move { room.acquire_many_owned(permits(bytes)).await.ok() }
    }

    pub(crate) fn add(&mut self, permit: OwnedSemaphorePermit) {
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
    }

    /// Gives back all but what `bytes` take.
    pub(crate) fn keep(&mut self, bytes: u64) {
        if let Some(held) = &mut self.held {
            let excess = held.num_permits().saturating_sub(to_usize(bytes));
            drop(held.split(excess));
        }
    }
}

fn permits(bytes: u64) -> u32 {
    to_u32(to_usize(bytes).min(PAGE_BYTES_SHARED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_shared_and_given_back() {
        let room = Arc::new(PageRoom::default());
        let (mut one, mut other) = (PagesHeld::new(Arc::clone(&room)), PagesHeld::new(room));
        let most = u64::try_from(PAGE_BYTES_SHARED_MAX).unwrap();
        assert!(one.try_take(most - 10) && other.try_take(10) && !other.try_take(1));
        one.keep(most - 11);
        assert!(other.try_take(1));
        drop(one);
        let permit = other.take(most - 11).await.unwrap();
        other.add(permit);
        assert!(!other.try_take(1));
    }
}
