//! What is damaged, and what stands in it.

use std::collections::HashSet;

use rusqlite::{Connection, Transaction, params};

use super::query::{COLUMNS, instance, malformed, signed, unsigned};
use crate::ids::{PackId, PeerId, StudyUid};
use crate::store::{RecordAt, StoredInstance, recipe};
use crate::units::to_u64;

type Sql<T> = rusqlite::Result<T>;

/// Walks over all instances of the study: damage is rare, and records are shared within one study alone.
pub(super) fn note(tx: &Transaction<'_>, study: &StudyUid, records: &[RecordAt]) -> Sql<u64> {
    let mut rows = tx.prepare_cached(
        "SELECT instances.id, peer, recipe FROM studies JOIN owners ON owners.id = studies.owner
         JOIN instances ON instances.study = studies.id WHERE studies.uid = ?1",
    )?;
    let mut rows = rows.query([study.as_str()])?;
    let mut mark = tx.prepare_cached("UPDATE instances SET damaged = 1 WHERE id = ?1 AND NOT damaged")?;
    let mut note =
        tx.prepare_cached("INSERT OR IGNORE INTO damage (pack, offset, len, study) VALUES (?1, ?2, ?3, ?4)")?;
    let mut newly = 0;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let owner = PeerId::from_bytes(row.get(1)?);
        let instance = recipe::decode(owner, row.get_ref(2)?.as_blob()?).map_err(|_| malformed(2))?;
        let mut hit = false;
        for at in instance.chunks.iter().map(|chunk| chunk.record).filter(|at| records.contains(at)) {
            note.execute(params![at.pack.as_bytes(), signed(at.offset), at.len, study.as_str()])?;
            hit = true;
        }
        if hit {
            newly += to_u64(mark.execute([id])?);
        }
    }
    Ok(newly)
}

pub(super) fn of_study(c: &Connection, study: &StudyUid) -> Sql<HashSet<RecordAt>> {
    let mut rows = c.prepare_cached("SELECT pack, offset, len FROM damage WHERE study = ?1")?;
    let record = |row: &rusqlite::Row<'_>| {
        let pack = PackId::from_bytes(row.get(0)?);
        Ok(RecordAt { pack, offset: unsigned(row.get(1)?), len: row.get(2)? })
    };
    rows.query_map([study.as_str()], record)?.collect()
}

pub(super) fn instances(c: &Connection, limit: usize) -> Sql<Vec<StoredInstance>> {
    let mut rows = c.prepare_cached(&format!(
        "SELECT {COLUMNS}, peer FROM instances i JOIN headers ON headers.id = i.header
         JOIN studies ON studies.id = i.study JOIN owners ON owners.id = studies.owner
         WHERE damaged ORDER BY i.id LIMIT ?1"
    ))?;
    let mut rows = rows.query([signed(to_u64(limit))])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(instance(row, PeerId::from_bytes(row.get(5)?))?);
    }
    Ok(found)
}

/// Forgets damaged records of a study that nothing stands in any more.
pub(super) fn forget(tx: &Transaction<'_>, study: &StudyUid) -> Sql<()> {
    let noted = of_study(tx, study)?;
    if noted.is_empty() {
        return Ok(());
    }
    let mut used = HashSet::new();
    let mut rows = tx.prepare_cached(
        "SELECT recipe FROM instances JOIN studies ON studies.id = instances.study WHERE studies.uid = ?1",
    )?;
    let mut rows = rows.query([study.as_str()])?;
    while let Some(row) = rows.next()? {
        let found = recipe::decode(PeerId::SELF, row.get_ref(0)?.as_blob()?).map_err(|_| malformed(0))?;
        used.extend(found.chunks.iter().map(|chunk| chunk.record));
    }
    let mut take = tx.prepare_cached("DELETE FROM damage WHERE pack = ?1 AND offset = ?2")?;
    for at in noted.difference(&used) {
        take.execute(params![at.pack.as_bytes(), signed(at.offset)])?;
    }
    Ok(())
}
