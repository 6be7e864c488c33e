//! Committing what many callers bring, each of whom waits for his own: at once where nobody else does, and together
//! where a commit is running already.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::held::{HeldPack, PacksInUse};
use crate::clock::UnixSeconds;
use crate::ids::{PackId, PeerId};
use crate::store::trailer::finish;
use crate::store::{
    CommitBatch, Index, PackWriter, Provenance, RecordAt, RecordStore, StoreError, StoredInstance, note,
};
use crate::sync::lock;
use crate::wire::record::Record;

/// Most that is committed together.
const TOGETHER_MAX: usize = 256;

/// What one caller brings.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) instance: StoredInstance,
    pub(super) provenance: Provenance,
    /// Whether it is there already, and has only come once more.
    pub(super) again: bool,
}

/// How the commit of one caller's instance ended, once it has.
type Ended = Arc<Mutex<Option<Result<(), Arc<StoreError>>>>>;

#[derive(Debug, Default)]
struct Waiting {
    brought: VecDeque<(Brought, Ended)>,
    /// Whether somebody commits.
    committing: bool,
}

/// The commits of one owner's instances that no transfer brings, and the pack that they are written to.
#[derive(Debug)]
pub(super) struct Commits {
    owner: PeerId,
    pack: Mutex<Option<Box<dyn PackWriter>>>,
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// Callers who have begun to bring something.
    bringing: AtomicUsize,
}

/// A caller who brings something, while it lives.
pub(super) struct Bringing<'a>(&'a AtomicUsize);

impl Bringing<'_> {
    /// Whether nobody else does.
    pub(super) fn is_alone(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 1
    }
}

impl Drop for Bringing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Commits {
    pub(super) fn new(owner: PeerId) -> Self {
        let (pack, waiting, changed, bringing) = Default::default();
        Self { owner, pack, waiting, changed, bringing }
    }

    /// Somebody begins to bring something.
    pub(super) fn bringing(&self) -> Bringing<'_> {
        self.bringing.fetch_add(1, Ordering::Relaxed);
        Bringing(&self.bringing)
    }

    /// Runs `write` on the pack that is being written, after another has been begun where that is due. A pack that
    /// failed takes nothing more.
    fn write<T>(
        &self,
        records: &dyn RecordStore,
        write: impl FnOnce(&mut dyn PackWriter) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut pack = lock(&self.pack);
        pack.take_if(|writer| writer.is_full()).into_iter().for_each(finish);
        let writer = match &mut *pack {
            Some(writer) => writer,
            none => none.insert(records.create_pack(self.owner)?),
        };
        let written = write(writer.as_mut());
        if written.is_err() {
            *pack = None;
        }
        written
    }

    /// Appends a record. Its pack is held by whoever is to commit it.
    pub(super) fn append(
        &self,
        records: &dyn RecordStore,
        in_use: &PacksInUse,
        record: &Record,
    ) -> Result<(RecordAt, HeldPack), StoreError> {
        self.write(records, |writer| Ok((writer.append(record)?, in_use.hold(writer.id()))))
    }

    /// Appends notes, and returns where the last of them ends. Their pack is held until the index knows of them.
    pub(super) fn note(
        &self,
        records: &dyn RecordStore,
        in_use: &PacksInUse,
        notes: &[Vec<u8>],
    ) -> Result<((PackId, u64), HeldPack), StoreError> {
        self.write(records, |writer| {
            let held = in_use.hold(writer.id());
            let mut end = writer.len();
            for note in notes {
                end = writer.note(note)?;
            }
            Ok(((writer.id(), end), held))
        })
    }

    /// Makes packs durable. The pack that is being written takes nothing more when that fails.
    pub(super) fn make_durable(&self, records: &dyn RecordStore, ends: &[(PackId, u64)]) -> Result<(), StoreError> {
        records.make_durable(ends).inspect_err(|_| drop(lock(&self.pack).take()))
    }

    /// Writes no more to this pack: the next thing begins another.
    pub(super) fn let_go(&self, pack: PackId) {
        let mut open = lock(&self.pack);
        open.take_if(|writer| writer.id() == pack).into_iter().for_each(finish);
    }

    /// The pack that is being written.
    pub(super) fn pack(&self) -> Option<PackId> {
        lock(&self.pack).as_ref().map(|writer| writer.id())
    }

    /// Commits what was brought, with what others bring meanwhile. When it returns, it survives loss of power.
    pub(super) fn commit(
        &self,
        records: &dyn RecordStore,
        index: &dyn Index,
        in_use: &PacksInUse,
        brought: Brought,
    ) -> Result<(), Arc<StoreError>> {
        let ended = Ended::default();
        let mut waiting = lock(&self.waiting);
        waiting.brought.push_back((brought, Arc::clone(&ended)));
        loop {
            if let Some(result) = lock(&ended).take() {
                return result;
            }
            if waiting.committing {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            waiting.committing = true;
            let count = waiting.brought.len().min(TOGETHER_MAX);
            let together: Vec<_> = waiting.brought.drain(..count).collect();
            drop(waiting);
            let turn = Turn(self);
            let (brought, all): (Vec<_>, Vec<_>) = together.into_iter().unzip();
            let result = self.commit_together(records, index, in_use, brought).map_err(Arc::new);
            for ended in all {
                *lock(&ended) = Some(result.clone());
            }
            drop(turn);
            waiting = lock(&self.waiting);
        }
    }

    fn commit_together(
        &self,
        records: &dyn RecordStore,
        index: &dyn Index,
        in_use: &PacksInUse,
        mut brought: Vec<Brought>,
    ) -> Result<(), StoreError> {
        let orders = index.reserve(brought.len() as u64)?;
        for (place, one) in brought.iter_mut().enumerate().filter(|(_, one)| !one.again) {
            one.instance.order = orders.nth(place);
        }
        let places = brought.iter().flat_map(|one| &one.instance.chunks).map(|chunk| chunk.record);
        let ends: Vec<(PackId, u64)> = places.map(|at| (at.pack, at.offset + u64::from(at.len))).collect();
        self.make_durable(records, &ends)?;
        let at = UnixSeconds::now();
        // Neighbours that came from one source share a note.
        let batches = brought.chunk_by(|a, b| a.provenance == b.provenance).map(|run| CommitBatch {
            instances: run.iter().map(|one| one.instance.clone()).collect(),
            provenance: Some(run[0].provenance.clone()),
            at,
            proven: run.iter().all(|one| !one.again),
            ..CommitBatch::default()
        });
        let mut batches: Vec<CommitBatch> = batches.collect();
        let mut held = Vec::new();
        let mut noted = (PackId::from_bytes([0; 16]), 0);
        for batch in &mut batches {
            let notes = note::committed(self.owner, at, batch.provenance.as_ref(), &batch.instances);
            let (end, pack) = self.note(records, in_use, &notes)?;
            batch.note = Some(end);
            (noted, _) = (end, held.push(pack));
        }
        self.make_durable(records, &[noted])?;
        batches.iter().try_for_each(|batch| index.commit(batch).map(drop))
    }
}

/// Whoever commits gives the turn back, even when it panics.
struct Turn<'a>(&'a Commits);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.0.waiting).committing = false;
        self.0.changed.notify_all();
    }
}
