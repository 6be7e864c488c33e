//! Removing what a site holds.

use std::collections::BTreeSet;

use super::Depot;
use super::moving::{INSTANCES_AT_ONCE, Moving};
use crate::clock::UnixSeconds;
use crate::ids::{PackId, PeerId, SeriesUid, SopInstanceUid, StudyUid};
use crate::manifest::InstanceEntry;
use crate::store::{InstancesOf, RecordAt, Removal, Removed, Scope, StoreError, StoredInstance, What, note};

/// What of a study is not wanted any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwanted {
    /// The study.
    pub study: StudyUid,
    /// Of these series alone; of all where none is named.
    pub series: Vec<SeriesUid>,
    /// These instances alone, each with all of its contents; all where none is named.
    pub instances: Vec<SopInstanceUid>,
}

impl Unwanted {
    /// A whole study.
    #[must_use]
    pub const fn study(study: StudyUid) -> Self {
        Self { study, series: Vec::new(), instances: Vec::new() }
    }

    fn names(&self, entry: &InstanceEntry) -> bool {
        (self.series.is_empty() || self.series.contains(&entry.series))
            && (self.instances.is_empty() || self.instances.contains(&entry.sop_instance))
    }
}

/// Why something is not removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// A transfer runs that adds to the study.
    #[error("a transfer of this study is running: remove it when that has ended")]
    Arriving,
    /// It belongs to the site itself, and who asks sees it by the source that it came by: others may have brought it, too.
    #[error("it is seen here by how it came, and belongs to the site itself: ask its operator to remove it")]
    BySource,
    /// The store failed.
    #[error("the store could not remove it")]
    Store(#[from] StoreError),
}

impl Depot {
    /// The contents of what is unwanted that are within `scope`, and their original bytes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn count_unwanted(&self, scope: &Scope, unwanted: &Unwanted) -> Result<(u64, u64), StoreError> {
        let (mut count, mut last) = ((0, 0), None);
        let of = InstancesOf::all_versions(unwanted.study.clone());
        loop {
            let page: Vec<StoredInstance> = self.index.instances(scope, &of, last.as_ref(), INSTANCES_AT_ONCE)?;
            for instance in page.iter().filter(|instance| unwanted.names(&instance.entry)) {
                count = (count.0 + 1, count.1 + instance.entry.len);
            }
            if page.len() < INSTANCES_AT_ONCE {
                return Ok(count);
            }
            last = page.into_iter().next_back();
        }
    }

    /// Removes what the owners within `scope` have of what is unwanted. What is seen by its source is not removed: other
    /// sources may have brought the same, and it is not to be taken away from them.
    ///
    /// # Errors
    /// [`RemoveError`]; with [`RemoveError::BySource`] nothing is removed.
    pub fn remove_within(&self, scope: &Scope, unwanted: &Unwanted) -> Result<Removed, RemoveError> {
        let rows = self.index.study(scope, &unwanted.study)?;
        if rows.iter().any(|row| row.arriving) {
            return Err(RemoveError::Arriving);
        }
        let owners: Vec<PeerId> = rows.into_iter().map(|row| row.owner).collect();
        let by_source = Scope::sources(scope.deciding_sources().iter().cloned());
        if !owners.iter().all(|owner| scope.admits(owner)) && self.count_unwanted(&by_source, unwanted)?.0 > 0 {
            return Err(RemoveError::BySource);
        }
        let mut all = Removed::default();
        for owner in owners.into_iter().filter(|owner| scope.admits(owner)) {
            let Removed { instances, bytes, records } = self.remove_unwanted(owner, unwanted)?;
            all.instances += instances;
            all.bytes += bytes;
            all.records.extend(records);
        }
        all.records.sort_unstable();
        all.records.dedup();
        Ok(all)
    }

    /// Removes what an owner has of what is unwanted, as [`Depot::remove`] does. Nothing is removed where there is
    /// nothing.
    ///
    /// # Errors
    /// [`RemoveError`].
    pub fn remove_unwanted(&self, owner: PeerId, unwanted: &Unwanted) -> Result<Removed, RemoveError> {
        let mine = Scope::owner(owner);
        let Some(row) = self.index.study(&mine, &unwanted.study)?.pop() else { return Ok(Removed::default()) };
        if row.arriving {
            return Err(RemoveError::Arriving);
        }
        if unwanted.series.is_empty() && unwanted.instances.is_empty() {
            return Ok(self.remove(owner, &unwanted.study, What::All)?);
        }
        let mut hashes = Vec::new();
        self.each_of(&(owner, unwanted.study.clone()), &mut |instance| {
            hashes.extend(unwanted.names(&instance.entry).then_some(instance.entry.hash));
            Ok(())
        })?;
        if hashes.is_empty() {
            return Ok(Removed::default());
        }
        Ok(self.remove(owner, &unwanted.study, What::Contents(hashes))?)
    }

    /// Removes what an owner has of a study. When it returns, no start shows it again, and none brings it back from an
    /// older index; it may be sent again. Where it shared records with what stays, what stays is moved out of them, so
    /// that no record of what is left holds any of it. The room is given back by [`Depot::compact`]. Works on a full
    /// disk, too. Blocks.
    ///
    /// # Errors
    /// [`StoreError`]. When removing itself failed, it may be removed or not, and may be removed again; when moving
    /// what stays failed, it is removed, and calling again does not move.
    pub fn remove(&self, owner: PeerId, study: &StudyUid, what: What) -> Result<Removed, StoreError> {
        let order = self.index.reserve(1)?.first;
        let removal = Removal { owner, study: study.clone(), what, at: UnixSeconds::now(), order };
        let told = note::removed(&removal);
        match self.own.note(self.records.as_ref(), &self.in_use, std::slice::from_ref(&told)) {
            Ok((end, _held)) => {
                self.records.make_durable(&[end]).inspect_err(|_| self.own.let_go(end.0))?;
                self.finish(&removal, end)
            }
            Err(StoreError::Full { .. }) => {
                let mut writer = self.records.create_pack_to_make_room(owner, None)?;
                let _held = self.hold(writer.id());
                let end = (writer.id(), writer.note(&told)?);
                writer.sync()?;
                self.finish(&removal, end)
            }
            Err(error) => Err(error),
        }
    }

    /// The index is told what a durable note says.
    fn finish(&self, removal: &Removal, (pack, end): (PackId, u64)) -> Result<Removed, StoreError> {
        let removed = self.index.remove(removal)?;
        self.index.note(pack, end)?;
        self.cut_out(removal.owner, &removed.records)?;
        Ok(removed)
    }

    /// Moves what others need out of the records that something removed stood in.
    fn cut_out(&self, owner: PeerId, records: &[RecordAt]) -> Result<(), StoreError> {
        let packs: BTreeSet<PackId> = records.iter().map(|at| at.pack).collect();
        let (shared, studies) = self.needed(&packs, &|at| records.binary_search(at).is_ok())?;
        if shared.is_empty() {
            return Ok(());
        }
        let mut moving = Moving::new(self, owner, None)?;
        for (at, kept) in &shared {
            moving.record(*at, kept)?;
        }
        moving.tell(&studies).map(drop)
    }
}
