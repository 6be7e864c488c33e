//! Reads headers of stored instances again after an upgrade that keeps more of them, or other things, so that searches
//! find old studies by what is new too.
//!
//! It takes half of one thread's time, and a tenth while transfers run. What is left is known to the index, so that a
//! restart goes on where it stopped.

use std::sync::Arc;
use std::time::Duration;

use imgxfer_core::clock::Stopwatch;
use imgxfer_core::depot::{Backfill, BackfillStep};
use imgxfer_core::store::{Stale, StoreError};
use imgxfer_core::units::to_u64;
use imgxfer_core::work::{WorkError, blocking};

use crate::app::Shared;
use crate::scrub::sleep_unless;

/// Where nothing was left, it looks so often whether there is something again: an index was made anew from the packs.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// After a failure of the medium or the index, and after a defect.
const PAUSE: Duration = Duration::from_mins(1);
/// It rests so many times as long as a step took; while transfers run, the second.
const RESTS: [u32; 2] = [1, 9];

/// Reads what is left until the daemon stops.
pub(crate) async fn backfill(shared: Arc<Shared>) {
    let mut stopping = shared.stopping.subscribe();
    let mut backfiller = Backfiller { shared, backfill: Backfill::default(), running: false, told: false };
    loop {
        // `None`: the runtime goes down.
        let Some(pause) = backfiller.turn().await else { return };
        if *stopping.borrow() || sleep_unless(&mut stopping, pause).await {
            return;
        }
    }
}

struct Backfiller {
    shared: Arc<Shared>,
    backfill: Backfill,
    /// Whether what is left was counted, and is not nothing.
    running: bool,
    /// Whether the present failure was told of.
    told: bool,
}

impl Backfiller {
    /// Does one step; how long to wait behind it, or `None` when the runtime goes down.
    async fn turn(&mut self) -> Option<Duration> {
        let turn = if self.running { self.step().await } else { self.count().await };
        match turn {
            Ok(pause) => {
                self.told = false;
                Some(pause)
            }
            Err(Failure::Store(error)) => {
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!(%error, "headers cannot be read again at present; it is tried every minute");
                }
                Some(PAUSE)
            }
            Err(Failure::Work(error @ WorkError::Panicked(_))) => {
                tracing::error!(%error, "the reading of headers was cut short; it is tried again");
                Some(PAUSE)
            }
            Err(Failure::Work(_)) => None,
        }
    }

    /// Looks how much there is to do.
    async fn count(&mut self) -> Result<Duration, Failure> {
        let depot = self.shared.depot.clone();
        let Stale { left, unreadable } = blocking("count old headers", move || depot.index.stale()).await??;
        self.shared.metrics.backfill.set(left, unreadable);
        self.running = left > 0;
        if !self.running {
            return Ok(LOOK_EVERY);
        }
        tracing::info!(
            instances = left,
            "what is kept of headers has changed: they are read again, and answers are incomplete until then"
        );
        Ok(Duration::ZERO)
    }

    async fn step(&mut self) -> Result<Duration, Failure> {
        let (began, depot) = (Stopwatch::start(), self.shared.depot.clone());
        let mut backfill = std::mem::take(&mut self.backfill);
        let step = move || {
            let step = backfill.step(&depot);
            (backfill, step)
        };
        let (backfill, step) = blocking("read headers again", step).await?;
        self.backfill = backfill;
        match step? {
            BackfillStep::Read { instances, unreadable } => {
                self.shared.metrics.backfill.read(instances, to_u64(unreadable.len()));
                if let Some(first) = unreadable.first() {
                    tracing::warn!(study = ?first.entry.study, instances = unreadable.len(), "headers cannot be read again where they stand; these instances are found by what was kept of them before: send the study again, or stop the daemon and run `imgxfer repair`");
                }
                let transfers = self.shared.live.count() != (0, 0);
                Ok(began.elapsed().saturating_mul(RESTS[usize::from(transfers)]))
            }
            _ => {
                let pause = self.count().await?;
                if !self.running {
                    let (done, unreadable) = self.shared.metrics.backfill.done();
                    tracing::info!(
                        instances = done,
                        unreadable,
                        "all headers have been read again, and answers are complete"
                    );
                }
                Ok(pause)
            }
        }
    }
}

enum Failure {
    Store(StoreError),
    Work(WorkError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<WorkError> for Failure {
    fn from(error: WorkError) -> Self {
        Self::Work(error)
    }
}
