//! What the store knows of one pack, above all up to where it is durable.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::Advice;

use super::header::{PACK_HEADER_BYTES, PackHeader};
use super::{dirs, io_error, lock};
use crate::clock::UnixSeconds;
use crate::ids::{PackId, PeerId};
use crate::store::StoreError;
use crate::units::to_u64;

/// One pack of the store. All who make it durable meet here: its writer, a transfer that builds on what another
/// left, and one that builds on what another is writing.
#[derive(Debug)]
pub(super) struct Pack {
    pub(super) owner: PeerId,
    pub(super) created: UnixSeconds,
    pub(super) sequence: u64,
    /// Bytes that may be built on, without a trailer. After a failed sync no more than what was durable before, except
    /// of one that a former process wrote, of which all is still read.
    len: AtomicU64,
    /// Whether somebody was told that its trailer is not believed.
    doubted: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Bytes that survive loss of power.
    durable: u64,
    /// Whether its name does.
    named: bool,
    /// A sync failed: the kernel may have dropped what it could not write, and forget that it did. Nothing behind
    /// `durable` is ever built on.
    failed: bool,
    /// The file as its writer opened it, kept until all of it is durable: a descriptor that was open when a
    /// write-back failed is sure to be told so.
    file: Option<Arc<File>>,
    /// Whether a former process wrote it, so that what is in memory may not be what is on the medium.
    inherited: bool,
}

impl Pack {
    /// A pack that a writer begins.
    pub(super) fn begun(header: &PackHeader, file: &Arc<File>) -> Self {
        let state = State { durable: 0, named: false, failed: false, file: Some(Arc::clone(file)), inherited: false };
        let PackHeader { owner, created, sequence, .. } = *header;
        Self::new(owner, created, sequence, to_u64(PACK_HEADER_BYTES), state)
    }

    /// A pack that was there when the store was opened: nothing of it is taken as durable.
    pub(super) fn found(owner: PeerId, created: UnixSeconds, sequence: u64, len: u64) -> Self {
        let state = State { durable: 0, named: false, failed: false, file: None, inherited: true };
        Self::new(owner, created, sequence, len, state)
    }

    fn new(owner: PeerId, created: UnixSeconds, sequence: u64, len: u64, state: State) -> Self {
        let (len, doubted, state) = (AtomicU64::new(len), AtomicBool::new(false), Mutex::new(state));
        Self { owner, created, sequence, len, doubted, state }
    }

    /// Tells once that the trailer is not believed, and why.
    pub(super) fn doubt(&self, pack: PackId, why: &'static str) {
        if !self.doubted.swap(true, Ordering::Relaxed) {
            tracing::warn!(?pack, why, "a pack's trailer is not believed: the pack is read record by record");
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// The writer has appended up to here.
    pub(super) fn grown_to(&self, len: u64) {
        self.len.store(len, Ordering::Release);
    }

    pub(super) fn has_failed(&self) -> bool {
        lock(&self.state).failed
    }

    /// Makes the first `upto` bytes durable, and with them the name, in the folder of `path`.
    ///
    /// Appending goes on meanwhile. A failure is final for all that was not durable before.
    pub(super) fn make_durable(&self, path: &Path, upto: u64) -> Result<(), StoreError> {
        let mut state = lock(&self.state);
        if state.named && state.durable >= upto {
            return Ok(());
        }
        let len = self.len();
        if state.failed || upto > len {
            return Err(closed());
        }
        let file = match &state.file {
            Some(file) => Arc::clone(file),
            None => Arc::new(File::open(path).map_err(|e| io_error("open a pack", e))?),
        };
        match sync(&file, path, state.named) {
            Ok(()) => {
                (state.durable, state.named) = (len, true);
                Ok(())
            }
            Err(e) => {
                state.failed = true;
                if state.inherited {
                    // Instances in it may be committed: they are still read, and none of it is cut off. Nobody builds
                    // on the rest.
                    return Err(io_error("sync a pack", e));
                }
                self.grown_to(state.durable);
                // So that the next process does not find what may not be on the medium. Should this fail too, it
                // still reads from the medium before it builds on anything.
                drop(File::options().write(true).open(path).and_then(|file| file.set_len(state.durable)));
                Err(io_error("sync a pack", e))
            }
        }
    }

    /// The same for all of it, for somebody who will read it back: what a former process wrote is dropped from
    /// memory, so that reading shows what the medium holds. Returns up to where it may be built on.
    pub(super) fn adopt(&self, path: &Path) -> Result<u64, StoreError> {
        let len = self.len();
        let inherited = {
            let state = lock(&self.state);
            if state.failed {
                return Ok(state.durable);
            }
            state.inherited
        };
        if inherited {
            self.make_durable(path, len)?;
            let file = File::open(path).map_err(|e| io_error("open a pack", e))?;
            // A hint that a file system may not know; then what is in memory is what fdatasync has just written.
            let _: Result<(), _> = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
            lock(&self.state).inherited = false;
        }
        Ok(len)
    }

    /// Closes the file once nobody writes and all is durable.
    pub(super) fn writer_gone(&self) {
        let mut state = lock(&self.state);
        if state.failed || state.durable == self.len() {
            state.file = None;
        }
    }

    /// Takes another file to be synced.
    #[cfg(test)]
    pub(super) fn hold(&self, file: Arc<File>) {
        lock(&self.state).file = Some(file);
    }

    /// Makes durable what a writer that is gone has left, and closes its file.
    pub(super) fn park(&self, path: &Path) -> Result<(), StoreError> {
        if lock(&self.state).file.is_some() {
            self.make_durable(path, self.len())?;
            self.writer_gone();
        }
        Ok(())
    }
}

fn sync(file: &File, path: &Path, named: bool) -> io::Result<()> {
    file.sync_data()?;
    match path.parent() {
        Some(folder) if !named => dirs::sync(folder),
        _ => Ok(()),
    }
}

/// The answer of a pack that failed before.
pub(super) fn closed() -> StoreError {
    StoreError::Io { what: "go on with a pack that failed before", source: io::ErrorKind::BrokenPipe.into() }
}
