//! Giving back the room of what was removed.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::Depot;
use super::moving::{Moving, Needed, OwnedStudy};
use super::recode::Worth;
use crate::clock::UnixSeconds;
use crate::codec::PixelShape;
use crate::ids::{InstanceHash, PackId, PeerId};
use crate::store::{Note, PackInfo, RecordAt, Scope, StoreError, retell};

/// What became of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compacted {
    /// It is gone; what is needed of it stands elsewhere.
    Gone {
        /// Its length.
        bytes: u64,
        /// Of those, the bytes that stand elsewhere now.
        moved: u64,
    },
    /// It is in use: another time.
    InUse,
    /// There is no room for what is needed of it.
    NoRoom {
        /// Bytes that are needed of it.
        needed: u64,
    },
    /// Something in it is damaged: it stays until that is repaired.
    Damaged,
    /// Nothing in it takes long to read.
    Fast,
    /// It was cut short; nothing has changed.
    Stopped,
}

/// What the notes of a pack tell.
#[derive(Default)]
struct Told {
    /// Notes of versions and removals, in order.
    notes: Vec<Vec<u8>>,
    instances: HashSet<(PeerId, InstanceHash)>,
    studies: BTreeSet<OwnedStudy>,
    /// Whether one is damaged that something stands behind.
    damaged: bool,
    /// Whether the last thing in the pack is a note that is torn or damaged.
    torn: bool,
    /// Where the last of them ends.
    end: u64,
    /// Where what takes long to read is coded anew: the shapes of pixels.
    fast: Option<HashMap<RecordAt, PixelShape>>,
}

impl Depot {
    /// Packs of which at least one byte in `share` is needed by nobody, with about how many bytes that are, most first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn wasteful(&self, share: u64) -> Result<Vec<(PackInfo, u64)>, StoreError> {
        let wasteful = self.index.wasteful(WASTEFUL_MAX)?;
        if wasteful.is_empty() {
            return Ok(Vec::new());
        }
        let mut packs: HashMap<PackId, PackInfo> = self.records.packs()?.into_iter().map(|p| (p.id, p)).collect();
        let found = wasteful.into_iter().filter_map(|(id, waste)| {
            let pack = packs.remove(&id)?;
            (waste.saturating_mul(share) >= pack.len).then_some((pack, waste))
        });
        Ok(found.collect())
    }

    /// Gives the room of a pack back: what is needed of it (records, and what its notes tell) is written into another
    /// pack, which is durable before the index knows of it, and then it is removed. `copied` is called with the bytes
    /// of each record that is copied, may wait, and says whether to go on.
    ///
    /// Safe to run beside everything else, and to be cut short anywhere by a crash or loss of power: until the pack is
    /// gone it tells all that it told. Removals that it tells are carried on for ever. Blocks. Memory: some 100 bytes
    /// for each record and each instance of the pack, and one record.
    ///
    /// # Errors
    /// [`StoreError`]: the pack is there, and may be compacted again.
    pub fn compact(&self, pack: PackId, copied: &mut dyn FnMut(u64) -> bool) -> Result<Compacted, StoreError> {
        self.rewrite(pack, None, copied)
    }

    /// Rewrites a pack; where `recode` says when what interrupted transfers left was left too long ago, what takes long to
    /// read is coded anew.
    pub(super) fn rewrite(
        &self,
        pack: PackId,
        recode: Option<UnixSeconds>,
        copied: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Compacted, StoreError> {
        self.own.let_go(pack);
        if self.in_use.contains(&pack) {
            return Ok(Compacted::InUse);
        }
        let Some(info) = self.records.packs()?.into_iter().find(|known| known.id == pack) else {
            return Err(StoreError::NoSuchPack(pack));
        };
        let told = self.told_in(pack)?;
        if told.damaged {
            return Ok(Compacted::Damaged);
        }
        if self.index.noted(pack)?.unwrap_or(0) < told.end {
            // The index is behind it; the next start brings it up.
            return Ok(Compacted::InUse);
        }
        let fast = match recode.map(|left_before| self.is_worth(&info, left_before)).transpose()? {
            Some(Worth::No(why)) => return Ok(why),
            Some(Worth::Yes(fast)) => Some(fast),
            None => None,
        };
        if told.torn {
            // What it may have told is told elsewhere then.
            retell(self.records.as_ref(), self.index.as_ref())?;
        }
        let (needed, mut studies) = self.needed(&BTreeSet::from([pack]), &|_| true)?;
        studies.extend(told.studies.iter().cloned());
        if self.is_damaged(&studies, &needed)? {
            return Ok(Compacted::Damaged);
        }
        let bytes = needed.keys().map(|at| u64::from(at.len)).sum();
        let room = fast.as_ref().map_or(bytes, |fast| fast.bytes_max);
        if room > 0 && self.records.space_left().is_some_and(|left| left < room) {
            return Ok(Compacted::NoRoom { needed: room });
        }
        let told = Told { fast: fast.map(|fast| fast.shapes), ..told };
        if !self.carry_over(&info, told, &studies, &needed, copied)? {
            return Ok(Compacted::Stopped);
        }
        // Whoever begins to use it holds it first and asks whether it is doomed then.
        if !self.index.doom(pack)? {
            return Ok(Compacted::InUse);
        }
        if self.in_use.contains(&pack) {
            self.index.spare(pack)?;
            return Ok(Compacted::InUse);
        }
        self.records.delete(pack)?;
        self.index.forget(pack)?;
        Ok(Compacted::Gone { bytes: info.len, moved: bytes })
    }

    /// Writes what is needed into another pack. Returns whether all of it stands there.
    fn carry_over(
        &self,
        pack: &PackInfo,
        told: Told,
        studies: &BTreeSet<OwnedStudy>,
        needed: &Needed,
        copied: &mut dyn FnMut(u64) -> bool,
    ) -> Result<bool, StoreError> {
        if needed.is_empty() && told.notes.is_empty() && told.instances.is_empty() {
            return Ok(true);
        }
        let moving = match told.fast {
            Some(shapes) => Moving::recoding(self, pack.owner, pack.id, shapes)?,
            None => Moving::new(self, pack.owner, Some(pack.id))?,
        };
        let mut moving = moving.telling(told.instances);
        let copied = self.copy(&mut moving, needed, copied);
        if !matches!(copied, Ok(true)) {
            moving.give_up()?;
            return copied;
        }
        // A pack that tells nothing yet is collected, whatever cuts this short.
        moving.notes(&told.notes)?;
        moving.tell(studies)?;
        Ok(true)
    }

    /// Copies records. Returns whether all of them were.
    fn copy(
        &self,
        moving: &mut Moving<'_>,
        needed: &Needed,
        copied: &mut dyn FnMut(u64) -> bool,
    ) -> Result<bool, StoreError> {
        for (at, kept) in needed {
            let bytes = match moving.record(*at, kept) {
                Err(error @ StoreError::Damaged { .. }) => {
                    self.note_damaged(*at)?;
                    return Err(error);
                }
                read => read?,
            };
            if !copied(bytes) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What a pack tells that is still so.
    fn told_in(&self, pack: PackId) -> Result<Told, StoreError> {
        let mut told = Told::default();
        let whole = self.records.notes(pack, 0, &mut |end, bytes| {
            told.damaged |= std::mem::take(&mut told.torn);
            told.end = end;
            match Note::decode(bytes) {
                Ok(Note::Committed { instances, .. }) => {
                    for instance in instances {
                        told.studies.insert((instance.owner, instance.entry.study.clone()));
                        told.instances.insert((instance.owner, instance.entry.hash));
                    }
                }
                Ok(Note::Published(publication)) => {
                    let mine = Scope::owner(publication.owner);
                    for study in &publication.studies {
                        if !self.index.study(&mine, study)?.is_empty() {
                            told.notes.push(bytes.to_vec());
                            break;
                        }
                    }
                }
                Ok(Note::Removed(_)) => told.notes.push(bytes.to_vec()),
                Err(_) => told.torn = true,
            }
            Ok(())
        })?;
        told.damaged |= told.torn && told.end < whole;
        Ok(told)
    }

    fn is_damaged(&self, studies: &BTreeSet<OwnedStudy>, needed: &Needed) -> Result<bool, StoreError> {
        for (_, study) in studies {
            if self.index.damage(study)?.iter().any(|at| needed.contains_key(at)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Notes a record that cannot be read as damaged, for every study that stands in its pack.
    pub(super) fn note_damaged(&self, at: RecordAt) -> Result<(), StoreError> {
        let (_, studies) = self.needed(&BTreeSet::from([at.pack]), &|known| *known == at)?;
        studies.iter().try_for_each(|(_, study)| self.index.note_damage(study, &[at]).map(drop))
    }
}

/// Wasteful packs looked at in one go.
const WASTEFUL_MAX: usize = 1000;
