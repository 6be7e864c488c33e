//! The folder that a pull writes to, opened anew for each connection.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use imgxfer_core::clock::Stopwatch;
use imgxfer_core::codec::Registry;
use imgxfer_core::ids::{PeerId, StudyUid};
use imgxfer_core::receive::{FolderIntake, Intake};
use imgxfer_core::store::StoreError;
use imgxfer_core::sync::lock;

/// Work of a lost connection may still be under way when the next one begins: it ends within this.
const UNWINDING: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Opens the folder for one connection after the other. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Intakes {
    out: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Arc<FolderIntake>>,
    written: Vec<PathBuf>,
    mixed: BTreeMap<StudyUid, usize>,
}

impl Intakes {
    /// For the folder `out`.
    pub(crate) fn new(out: &Path) -> Self {
        Self { out: out.to_owned(), state: Arc::default() }
    }

    /// Opens the folder, once the connection before has let go of it. Blocks.
    pub(crate) fn open(&self, peer: PeerId) -> Result<Arc<dyn Intake>, StoreError> {
        let before = self.let_go();
        let waiting = Stopwatch::start();
        while before.strong_count() > 0 && waiting.elapsed() < UNWINDING {
            std::thread::sleep(LOOK_EVERY);
        }
        let intake = Arc::new(FolderIntake::open(&self.out, peer, Registry::default())?);
        let mut state = lock(&self.state);
        state.current = Some(Arc::clone(&intake));
        Ok(intake)
    }

    /// Files written over all connections, in the order of writing, each once.
    pub(crate) fn written(&self) -> Vec<PathBuf> {
        self.let_go();
        let mut seen = std::collections::HashSet::new();
        let mut written = std::mem::take(&mut lock(&self.state).written);
        written.retain(|path| seen.insert(path.clone()));
        written
    }

    /// Studies of which files of several patients were written, each with their number.
    pub(crate) fn mixed(&self) -> BTreeMap<StudyUid, usize> {
        self.let_go();
        lock(&self.state).mixed.clone()
    }

    fn let_go(&self) -> Weak<FolderIntake> {
        let mut state = lock(&self.state);
        let Some(current) = state.current.take() else { return Weak::new() };
        state.written.extend(current.written());
        state.mixed.extend(current.mixed());
        Arc::downgrade(&current)
    }
}
