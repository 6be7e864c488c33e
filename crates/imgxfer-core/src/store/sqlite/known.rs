//! An instance that is there already, and what changes of its row when it comes again or its header is read again.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::commit::Sql;
use super::query::malformed;
use crate::dicom::{Attributes, CATALOGUE_VERSION, FrameTable};
use crate::ids::PeerId;
use crate::store::{RecordAt, StoredInstance, recipe};

/// The row of an instance.
pub(super) struct Known {
    pub(super) id: i64,
    pub(super) study: i64,
    pub(super) series: i64,
    header: i64,
    damaged: bool,
    /// The catalogue that its attributes were read with, or that of the program that tried.
    catalogue: u16,
    unreadable: bool,
    /// By its recipe: with its own attributes alone.
    instance: StoredInstance,
    changed: bool,
}

impl Known {
    fn read(row: &Row<'_>, owner: PeerId) -> Sql<Self> {
        Ok(Self {
            id: row.get(0)?,
            study: row.get(1)?,
            series: row.get(2)?,
            header: row.get(3)?,
            damaged: row.get(4)?,
            catalogue: row.get(5)?,
            unreadable: row.get(6)?,
            instance: recipe::decode(owner, row.get_ref(7)?.as_blob()?).map_err(|_| malformed(7))?,
            changed: false,
        })
    }

    /// The one that holds the same as `instance` in a series, by its row number.
    pub(super) fn of(tx: &Transaction<'_>, series: i64, instance: &StoredInstance) -> Sql<Self> {
        let mut find = tx.prepare_cached(
            "SELECT id, study, series, header, damaged, catalogue, unreadable, recipe FROM instances
             WHERE series = ?1 AND sop_instance = ?2 AND hash = ?3",
        )?;
        let entry = &instance.entry;
        let key = params![series, entry.sop_instance.as_str(), entry.hash.as_bytes()];
        find.query_row(key, |row| Self::read(row, instance.owner))
    }

    /// The same, if it is there.
    pub(super) fn find(tx: &Transaction<'_>, instance: &StoredInstance) -> Sql<Option<Self>> {
        let mut find = tx.prepare_cached(
            "SELECT series.id FROM owners JOIN studies ON studies.owner = owners.id
             JOIN series ON series.study = studies.id WHERE peer = ?1 AND studies.uid = ?2 AND series.uid = ?3",
        )?;
        let entry = &instance.entry;
        let key = params![instance.owner.as_bytes(), entry.study.as_str(), entry.series.as_str()];
        let series: Option<i64> = find.query_row(key, |row| row.get(0)).optional()?;
        series.map_or(Ok(None), |series| Self::of(tx, series, instance).optional())
    }

    /// Whether its header need not be read by this program.
    pub(super) const fn is_fresh(&self) -> bool {
        self.catalogue == CATALOGUE_VERSION && !self.unreadable
    }

    /// It came again, as `brought`. Returns whether it stands there then; records that it has left are `wasted`.
    pub(super) fn heal(
        &mut self,
        brought: &StoredInstance,
        newest: bool,
        proven: bool,
        wasted: &mut BTreeSet<RecordAt>,
    ) -> bool {
        let stands = self.damaged || newest;
        if stands {
            let moved = self.instance.chunks != brought.chunks;
            self.changed |= moved || self.damaged && proven || self.instance.slow != brought.slow;
            self.damaged &= !moved && !proven;
            let stands: BTreeSet<RecordAt> = brought.chunks.iter().map(|chunk| chunk.record).collect();
            let stood = self.instance.chunks.iter().map(|chunk| chunk.record);
            wasted.extend(stood.filter(|at| !stands.contains(at)));
            self.instance.chunks.clone_from(&brought.chunks);
            self.instance.slow = brought.slow;
        }
        stands
    }

    /// Takes over what its header says by the catalogue of this program: attributes of its own, the row number of what
    /// it shares, and frames where none were known.
    pub(super) fn refill(&mut self, own: &Attributes, frames: Option<&FrameTable>, header: i64) {
        self.instance.attributes = own.clone();
        self.instance.frames = self.instance.frames.take().or_else(|| frames.cloned());
        self.instance.catalogue = CATALOGUE_VERSION;
        (self.header, self.catalogue, self.unreadable, self.changed) = (header, CATALOGUE_VERSION, false, true);
    }

    /// This program could not read its header where `tried` says. One that stands elsewhere by now is to be tried again.
    pub(super) fn give_up(&mut self, tried: &StoredInstance) {
        if self.instance.chunks == tried.chunks {
            (self.catalogue, self.unreadable, self.changed) = (CATALOGUE_VERSION, true, true);
        }
    }

    /// Writes what changed.
    pub(super) fn write(&self, tx: &Transaction<'_>) -> Sql<()> {
        if !self.changed {
            return Ok(());
        }
        let mut write = tx.prepare_cached(
            "UPDATE instances SET header = ?2, damaged = ?3, catalogue = ?4, unreadable = ?5, recipe = ?6 WHERE id = ?1",
        )?;
        let recipe = recipe::encode(&self.instance);
        write.execute(params![self.id, self.header, self.damaged, self.catalogue, self.unreadable, recipe]).map(drop)
    }
}
