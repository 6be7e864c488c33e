//! Giving up a place that another transfer needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::error::TransferError;

/// Why a transfer ends that was told to.
pub(crate) const GAVE_WAY: TransferError =
    TransferError::Crowded("nothing moved in it, and another waited for its place");

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
