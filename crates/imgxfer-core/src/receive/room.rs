//! Room for manifest pages, which transfers of one peer share.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::PAGE_BYTES_SHARED_MAX;
use crate::units::{to_u32, to_usize};

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
