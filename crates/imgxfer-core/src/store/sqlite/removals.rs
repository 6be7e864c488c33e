//! What was removed, so that it does not come back with an older note.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::commit::{Sql, owner_id};
use super::contents::{Contents, Step};
use super::query::{malformed, signed, unsigned};
use super::{arrivals, packs, refill, refresh};
use crate::clock::UnixSeconds;
use crate::ids::{InstanceHash, PeerId, StudyUid};
use crate::store::{Order, RecordAt, Removal, Removed, StoredInstance, What, recipe};
use crate::units::to_u64;

/// The removals of one study.
pub(super) struct Removals(Vec<(Order, What)>);

impl Removals {
    pub(super) fn of(c: &Connection, owner: i64, study: &StudyUid) -> Sql<Self> {
        let mut rows =
            c.prepare_cached("SELECT ordered, everything, hashes FROM removals WHERE study = ?1 AND owner = ?2")?;
        let mut rows = rows.query(params![study.as_str(), owner])?;
        let mut removals = Vec::new();
        while let Some(row) = rows.next()? {
            removals.push((Order(unsigned(row.get(0)?)), what(row.get(1)?, row.get_ref(2)?.as_blob()?)));
        }
        Ok(Self(removals))
    }

    /// Whether an instance was removed after it was committed.
    pub(super) fn include(&self, instance: &StoredInstance) -> bool {
        self.0.iter().any(|(order, what)| {
            let named = what.names(&instance.entry.hash);
            named && *order > instance.order
        })
    }
}

/// Whether all of a study was removed later than `order`.
pub(super) fn is_gone(c: &Connection, owner: i64, study: &StudyUid, order: Order) -> Sql<bool> {
    c.prepare_cached("SELECT 1 FROM removals WHERE study = ?1 AND owner = ?2 AND everything AND ordered > ?3")?
        .exists(params![study.as_str(), owner, signed(order.0)])
}

fn what(everything: bool, hashes: &[u8]) -> What {
    match everything {
        true => What::All,
        false => {
            What::Contents(hashes.as_chunks::<32>().0.iter().map(|hash| InstanceHash::from_bytes(*hash)).collect())
        }
    }
}

fn remember(tx: &Transaction<'_>, owner: i64, removal: &Removal) -> Sql<()> {
    let (everything, hashes) = match &removal.what {
        What::All => (true, Vec::new()),
        What::Contents(hashes) => (false, hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()),
    };
    tx.prepare_cached(
        "INSERT OR IGNORE INTO removals (ordered, owner, study, at, everything, hashes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![signed(removal.order.0), owner, removal.study.as_str(), removal.at.0, everything, hashes])
    .map(drop)
}

pub(super) fn remove(tx: &Transaction<'_>, removal: &Removal) -> Sql<Removed> {
    let owner = owner_id(tx, removal.owner)?;
    remember(tx, owner, removal)?;
    let mut find = tx.prepare_cached("SELECT id FROM studies WHERE uid = ?1 AND owner = ?2")?;
    let study: Option<i64> = find.query_row(params![removal.study.as_str(), owner], |row| row.get(0)).optional()?;
    let Some(study) = study else { return Ok(Removed::default()) };
    let removals = Removals(vec![(removal.order, removal.what.clone())]);
    let mut removed = Removed::default();
    let (mut left_in, mut records): (BTreeSet<RecordAt>, BTreeSet<RecordAt>) = Default::default();
    let mut gone: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    {
        let mut rows = tx.prepare_cached("SELECT id, sop_instance, ordered, recipe FROM instances WHERE study = ?1")?;
        let mut rows = rows.query([study])?;
        while let Some(row) = rows.next()? {
            let found = recipe::decode(removal.owner, row.get_ref(3)?.as_blob()?).map_err(|_| malformed(3))?;
            let instance = StoredInstance { order: Order(unsigned(row.get(2)?)), ..found };
            if removals.include(&instance) {
                removed.instances += 1;
                removed.bytes += instance.entry.len;
                records.extend(instance.chunks.iter().map(|chunk| chunk.record));
                gone.entry(row.get(1)?).or_default().push(row.get(0)?);
            } else {
                left_in.extend(instance.chunks.iter().map(|chunk| chunk.record));
            }
        }
    }
    let mut contents = Contents::new(tx)?;
    let mut sum = Step::default();
    for (sop, rows) in gone {
        let step = contents.remove(tx, study, &sop, &rows)?;
        sum.instances += step.instances;
        sum.contents += step.contents;
        sum.conflicts += step.conflicts;
        sum.bytes += step.bytes;
    }
    drop(contents);
    let left: bool = tx.prepare_cached("SELECT 1 FROM instances WHERE study = ?1")?.exists([study])?;
    if left {
        // What is gone says nothing of what the study is any more, nor how new that is.
        refill::recount(tx, study)?;
        arrivals::recount(tx, study)?;
        refresh::study(tx, study, &sum, removal.at)?;
    } else {
        refresh::forget_study(tx, study)?;
    }
    super::damage::forget(tx, &removal.study)?;
    packs::waste(tx, records.difference(&left_in))?;
    removed.records = records.into_iter().collect();
    Ok(removed)
}

pub(super) fn list(c: &Connection, after: u64, limit: usize) -> Sql<Vec<Removal>> {
    let mut rows = c.prepare_cached(
        "SELECT ordered, peer, study, at, everything, hashes FROM removals JOIN owners ON owners.id = removals.owner
         WHERE ordered > ?1 ORDER BY ordered LIMIT ?2",
    )?;
    let mut rows = rows.query(params![signed(after), signed(to_u64(limit))])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Removal {
            owner: PeerId::from_bytes(row.get(1)?),
            study: StudyUid::new(row.get_ref(2)?.as_str()?).map_err(|_| malformed(2))?,
            what: what(row.get(4)?, row.get_ref(5)?.as_blob()?),
            at: UnixSeconds(row.get(3)?),
            order: Order(unsigned(row.get(0)?)),
        });
    }
    Ok(found)
}
