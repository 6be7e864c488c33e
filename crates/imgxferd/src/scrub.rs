//! Reads the store over and over, slowly, so that rot is found while somebody still has the originals.
//!
//! Where a pass stands is kept in a small file, so that a restart does not begin anew. While transfers run it goes
//! at a tenth of its rate.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use imgxfer_core::clock::{Stopwatch, UnixSeconds};
use imgxfer_core::ids::{PeerId, StudyUid};
use imgxfer_core::store::{Scrub, ScrubPosition, ScrubStep, StoreError};
use imgxfer_core::units::to_f64;
use imgxfer_core::work::{WorkError, blocking};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::app::Shared;
use crate::files;

/// Name of the file under the state folder that says where a pass stands.
const STATE_FILE: &str = "scrub.json";
/// A pass begins no sooner than so long after the end of the one before.
const PASS_EVERY: Duration = Duration::from_hours(24);
/// After a failure of the medium or the index, and after a defect.
const PAUSE: Duration = Duration::from_mins(1);
/// Where a pass stands is written down so often at most; a restart repeats that much.
const SAVE_EVERY: Duration = Duration::from_secs(30);
/// How much slower it goes while transfers run.
const YIELDING: f64 = 10.0;

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// The study that was read last in this pass, and whose it is.
    owner: Option<String>,
    study: Option<String>,
    /// When a whole pass ended last, in seconds since 1970.
    last_pass: Option<i64>,
}

impl State {
    /// What was written down; a file that cannot be read counts as none.
    fn load(path: &Path) -> Self {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(_) => Self::default(),
        }
    }

    fn save(&self, path: &Path) -> io::Result<()> {
        files::write_private(path, &serde_json::to_vec(self).map_err(io::Error::other)?)
    }

    fn position(&self) -> Option<ScrubPosition> {
        let owner = PeerId::parse(self.owner.as_deref()?).ok()?;
        Some((owner, StudyUid::new(self.study.as_deref()?).ok()?))
    }

    fn set(&mut self, position: Option<&ScrubPosition>) {
        self.owner = position.map(|(owner, _)| owner.fingerprint());
        self.study = position.map(|(_, study)| study.as_str().to_owned());
    }

    /// How long until the next pass may begin.
    fn wait(&self, now: i64) -> Duration {
        if self.study.is_some() {
            return Duration::ZERO;
        }
        let since =
            self.last_pass.map(|last| Duration::from_secs(u64::try_from(now.saturating_sub(last)).unwrap_or(0)));
        since.map_or(Duration::ZERO, |since| PASS_EVERY.saturating_sub(since))
    }
}

/// How long a record of so many bytes takes at this rate.
pub(crate) fn pace(bytes: u64, bytes_a_second: u64, transfers: bool) -> Duration {
    let slower = if transfers { YIELDING } else { 1.0 };
    Duration::from_secs_f64(to_f64(bytes) * slower / to_f64(bytes_a_second.max(1)))
}

/// Reads the store at the configured rate until the daemon stops; does nothing when none is configured.
pub(crate) async fn scrub(shared: Arc<Shared>) {
    let Some(rate) = shared.config.scrub_bytes_a_second else { return };
    let mut stopping = shared.stopping.subscribe();
    let path = shared.config.state_dir.join(STATE_FILE);
    let file = path.clone();
    let Ok(state) = blocking("read where the scrub stands", move || State::load(&file)).await else { return };
    if let Some(last) = state.last_pass {
        shared.metrics.scrub_passed(last);
    }
    let scrub = Some(Scrub::new(state.position()));
    let mut scrubber = Scrubber { shared, rate, path, state, scrub, saved: Stopwatch::start(), told: false };
    loop {
        // `None`: the runtime goes down.
        let Some(pause) = scrubber.turn().await else { return };
        if *stopping.borrow() || sleep_unless(&mut stopping, pause).await {
            break;
        }
    }
    scrubber.save().await;
}

/// Sleeps, or returns `true` at once when the daemon stops.
pub(crate) async fn sleep_unless(stopping: &mut watch::Receiver<bool>, pause: Duration) -> bool {
    if pause.is_zero() {
        return false;
    }
    tokio::select! {
        // An error means that the daemon is gone.
        _ = stopping.wait_for(|stopping| *stopping) => true,
        () = tokio::time::sleep(pause) => false,
    }
}

struct Scrubber {
    shared: Arc<Shared>,
    rate: u64,
    path: PathBuf,
    state: State,
    /// `None` after a defect.
    scrub: Option<Scrub>,
    saved: Stopwatch,
    /// Whether the present failure was told of.
    told: bool,
}

impl Scrubber {
    /// Does one step; how long to wait behind it, or `None` when the runtime goes down.
    async fn turn(&mut self) -> Option<Duration> {
        let mut scrub = self.scrub.take().unwrap_or_else(|| Scrub::new(self.state.position()));
        if scrub.current().is_none() {
            let wait = self.state.wait(UnixSeconds::now().0);
            if !wait.is_zero() {
                self.scrub = Some(scrub);
                return Some(wait);
            }
        }
        let (began, depot, current) = (Stopwatch::start(), self.shared.depot.clone(), scrub.current().cloned());
        let step = move || {
            let step = scrub.step(depot.records.as_ref(), depot.index.as_ref());
            (scrub, step)
        };
        match blocking("scrub", step).await {
            Ok((scrub, step)) => {
                self.scrub = Some(scrub);
                let pause = self.took(step).await;
                Some(pause.saturating_sub(began.elapsed()))
            }
            Err(error @ WorkError::Panicked(_)) => {
                tracing::error!(%error, "the scrubbing of a study was cut short; it goes on with the next one");
                if current.is_some() {
                    self.state.set(current.as_ref());
                }
                Some(PAUSE)
            }
            Err(_) => None,
        }
    }

    /// How long the step should take.
    async fn took(&mut self, step: Result<ScrubStep, StoreError>) -> Duration {
        let transfers = self.shared.live.count() != (0, 0);
        self.told &= step.is_err();
        match step {
            Ok(ScrubStep::Whole { bytes }) => {
                self.shared.metrics.scrubbed(bytes);
                pace(bytes, self.rate, transfers)
            }
            Ok(ScrubStep::Damaged { at, study, instances }) => {
                self.shared.metrics.scrubbed(u64::from(at.len));
                self.shared.metrics.scrub_found_damage();
                tracing::warn!(study = ?study, pack = ?at.pack, offset = at.offset, instances, "a record is damaged: send the study again, or stop the daemon and run `imgxfer repair`");
                pace(u64::from(at.len), self.rate, transfers)
            }
            Ok(ScrubStep::Study(key)) => {
                self.state.set(Some(&key));
                if self.saved.elapsed() >= SAVE_EVERY {
                    self.save().await;
                }
                Duration::ZERO
            }
            Ok(_) => {
                let now = UnixSeconds::now().0;
                self.state.set(None);
                self.state.last_pass = Some(now);
                self.shared.metrics.scrub_passed(now);
                tracing::info!("all that is committed in the store has been read");
                self.save().await;
                Duration::ZERO
            }
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!(%error, "the store cannot be scrubbed at present; it is tried again every minute");
                }
                PAUSE
            }
        }
    }

    /// Writes down where the pass stands. One that is not written is repeated after a restart.
    async fn save(&mut self) {
        self.saved = Stopwatch::start();
        let (state, path) = (self.state.clone(), self.path.clone());
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || state.save(&path)).await {
            tracing::warn!(%error, "where the scrubbing stands could not be written down");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_taken_up_where_it_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATE_FILE);
        assert_eq!(State::load(&path), State::default());
        let mut state = State { last_pass: Some(1_000_000), ..State::default() };
        let position = (PeerId::of_key(b"a"), StudyUid::new("1.2.3").unwrap());
        state.set(Some(&position));
        state.save(&path).unwrap();
        assert_eq!(State::load(&path), state);
        assert_eq!(State::load(&path).position(), Some(position));
        assert_eq!(state.wait(1_000_001), Duration::ZERO, "in the middle of a pass");
        state.set(None);
        assert_eq!(state.wait(1_000_000 + 3600), Duration::from_hours(23));
        assert_eq!(state.wait(999_999), PASS_EVERY, "a clock that was put back");
        assert_eq!(state.wait(1_000_000 + 90_000), Duration::ZERO);
        std::fs::write(&path, "{").unwrap();
        assert_eq!(State::load(&path), State::default());
    }

    #[test]
    fn it_goes_no_faster_than_told() {
        assert_eq!(pace(1_000_000, 10_000_000, false), Duration::from_millis(100));
        assert_eq!(pace(1_000_000, 10_000_000, true), Duration::from_secs(1));
    }
}
