//! Writing down how a try ended, however long the disk makes one wait.

use std::sync::Arc;

use imgxfer_core::work::{WorkError, blocking};
use tokio::sync::watch;

use super::{Queue, QueueError, backoff};

/// The pause grows with each try up to the one after so many.
const PAUSES_MAX: u32 = 5;

/// Writes the outcome of a job, again and again until the queue takes it: a full disk or a failing one must not leave a
/// job `running` that is not, nor lose a receipt. Meanwhile the queue is not sound, which `/readyz` tells.
///
/// # Errors
/// The last one, once `aborting`: the job is queued again at the next start then, and what was sent is found there.
pub(super) async fn write_down<T: Send + 'static>(
    queue: &Arc<Queue>,
    seed: u64,
    mut aborting: watch::Receiver<bool>,
    write: impl Fn(&Queue) -> Result<T, QueueError> + Send + Sync + 'static,
) -> Result<T, QueueError> {
    let write = Arc::new(write);
    let mut trouble = None;
    for tries in 1.. {
        let (queue_now, write) = (Arc::clone(queue), Arc::clone(&write));
        let written = blocking("write to the queue", move || write(&queue_now)).await;
        let error = match written.unwrap_or_else(|e| Err(e.into())) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if trouble.is_none() {
            tracing::error!(%error, "the queue cannot be written to, and the outcome of a transfer waits to be: make room, or look at the disk");
            trouble = Some(queue.in_trouble());
        }
        tokio::select! {
            () = tokio::time::sleep(backoff(seed, tries.min(PAUSES_MAX))) => {}
            _ = aborting.wait_for(|abort| *abort) => return Err(error),
        }
    }
    Err(WorkError::Stopping.into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::queue::{Claim, JobState, LaneKind, NewJob, Ordered};

    fn claimed(folder: &tempfile::TempDir) -> (Arc<Queue>, i64) {
        let queue = Arc::new(Queue::open(&folder.path().join("queue.db")).unwrap());
        let id = queue.push(&NewJob::new("cloud", Vec::new())).unwrap();
        assert!(matches!(queue.claim("cloud", LaneKind::Any).unwrap(), Claim::Job(..)));
        (queue, id)
    }

    #[tokio::test(start_paused = true)]
    async fn an_outcome_waits_for_room_and_needs_no_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (queue, id) = claimed(&folder);
        queue.refuse_writes(true);
        let tries = AtomicU32::new(0);
        let write = move |queue: &Queue| {
            match tries.fetch_add(1, Ordering::Relaxed) {
                0 => assert!(queue.is_sound()),
                3 => queue.refuse_writes(false),
                _ => assert!(!queue.is_sound(), "what waits to be written is told of"),
            }
            queue.fail(id, "partial")
        };
        let (_abort, aborting) = watch::channel(false);
        write_down(&queue, 1, aborting, write).await.unwrap();
        assert!(queue.is_sound());
        assert_eq!(queue.job(id).unwrap().unwrap().state, JobState::Failed);
        assert_eq!(queue.retry(id).unwrap(), Ordered::Yes, "an operator can go on from there");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let (queue, id) = claimed(&folder);
        queue.refuse_writes(true);
        let (abort, aborting) = watch::channel(false);
        abort.send_replace(true);
        write_down(&queue, 1, aborting, move |queue: &Queue| queue.fail(id, "partial")).await.unwrap_err();
        queue.refuse_writes(false);
        assert_eq!(queue.job(id).unwrap().unwrap().state, JobState::Running);
    }
}
