//! Removing what a site holds.

use std::collections::BTreeSet;

use super::Depot;
use super::moving::Moving;
use crate::clock::UnixSeconds;
use crate::ids::{PackId, PeerId, StudyUid};
use crate::store::{RecordAt, Removal, Removed, StoreError, What, note};

impl Depot {
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
        let studies = self.studies_in(packs.into_iter())?;
        let shared = self.needed(&studies, &|at| records.binary_search(at).is_ok())?;
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
