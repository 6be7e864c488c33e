//! What stands in each pack, and which packs go.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Transaction, params};

use super::commit::Sql;
use super::query::{malformed, signed, unsigned};
use crate::ids::{PackId, PeerId};
use crate::store::{RecordAt, StoredInstance, recipe};
use crate::units::to_u64;

/// Nothing runs at the start: no transfer, and no removal of a pack.
pub(super) fn forget_running(tx: &Transaction<'_>) -> Sql<()> {
    tx.execute("UPDATE studies SET arriving = 0 WHERE arriving > 0", [])?;
    tx.execute("DELETE FROM packs WHERE doomed AND noted = 0 AND extent = 0", [])?;
    tx.execute("UPDATE packs SET doomed = 0 WHERE doomed", []).map(drop)
}

/// Notes that instances of a study stand in a pack.
pub(super) fn uses(tx: &Transaction<'_>, study: i64, packs: &BTreeSet<PackId>) -> Sql<()> {
    let mut add = tx.prepare_cached("INSERT OR IGNORE INTO pack_uses (pack, study) VALUES (?1, ?2)")?;
    packs.iter().try_for_each(|pack| add.execute(params![pack.as_bytes(), study]).map(drop))
}

/// What may stand in a pack: rows of studies of which something stands in it, or stood.
const IN_PACK: &str = "SELECT recipe, peer FROM pack_uses JOIN instances ON instances.study = pack_uses.study
     JOIN studies ON studies.id = instances.study JOIN owners ON owners.id = studies.owner WHERE pack = ?1";

/// The instance of a row, if it stands in the pack.
fn standing(row: &rusqlite::Row<'_>, pack: PackId) -> Sql<Option<StoredInstance>> {
    let owner = PeerId::from_bytes(row.get(1)?);
    let found = recipe::decode(owner, row.get_ref(0)?.as_blob()?).map_err(|_| malformed(0))?;
    Ok(found.chunks.iter().any(|chunk| chunk.record.pack == pack).then_some(found))
}

/// Whether a committed instance stands in a pack.
fn is_used(tx: &Transaction<'_>, pack: PackId) -> Sql<bool> {
    let mut rows = tx.prepare_cached(IN_PACK)?;
    let mut rows = rows.query([pack.as_bytes()])?;
    while let Some(row) = rows.next()? {
        if standing(row, pack)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn visit(c: &Connection, pack: PackId, visit: &mut dyn FnMut(&StoredInstance)) -> Sql<()> {
    let mut rows = c.prepare_cached(IN_PACK)?;
    let mut rows = rows.query([pack.as_bytes()])?;
    while let Some(row) = rows.next()? {
        if let Some(instance) = standing(row, pack)? {
            visit(&instance);
        }
    }
    Ok(())
}

pub(super) fn doom(tx: &Transaction<'_>, pack: PackId) -> Sql<bool> {
    if is_used(tx, pack)? {
        return Ok(false);
    }
    let sql = "INSERT INTO packs (pack, extent, doomed) VALUES (?1, 0, 1) ON CONFLICT (pack) DO UPDATE SET doomed = 1";
    tx.prepare_cached(sql)?.execute([pack.as_bytes()])?;
    Ok(true)
}

pub(super) fn spare(tx: &Transaction<'_>, pack: PackId) -> Sql<()> {
    let pack = pack.as_bytes();
    tx.prepare_cached("DELETE FROM packs WHERE pack = ?1 AND doomed AND extent = 0 AND noted = 0")?.execute([pack])?;
    tx.prepare_cached("UPDATE packs SET doomed = 0 WHERE pack = ?1")?.execute([pack]).map(drop)
}

/// The mark stays, for whoever read of the pack before.
pub(super) fn forget(tx: &Transaction<'_>, pack: PackId) -> Sql<()> {
    let pack = pack.as_bytes();
    tx.prepare_cached("DELETE FROM pack_uses WHERE pack = ?1")?.execute([pack])?;
    tx.prepare_cached("UPDATE packs SET doomed = 1, extent = 0, noted = 0, waste = 0, slow = 0 WHERE pack = ?1")?
        .execute([pack])
        .map(drop)
}

pub(super) fn wasteful(c: &Connection, limit: usize) -> Sql<Vec<(PackId, u64)>> {
    let sql = "SELECT pack, waste FROM packs WHERE waste > 0 AND NOT doomed ORDER BY waste DESC, pack LIMIT ?1";
    let row = |row: &rusqlite::Row<'_>| Ok((PackId::from_bytes(row.get(0)?), unsigned(row.get(1)?)));
    c.prepare_cached(sql)?.query_map([signed(to_u64(limit))], row)?.collect()
}

pub(super) fn set_waste(tx: &Transaction<'_>, pack: PackId, bytes: u64) -> Sql<()> {
    let sql = "UPDATE packs SET waste = ?2 WHERE pack = ?1";
    tx.prepare_cached(sql)?.execute(params![pack.as_bytes(), signed(bytes)]).map(drop)
}

pub(super) fn slow(c: &Connection, limit: usize) -> Sql<Vec<(PackId, u64)>> {
    let sql = "SELECT pack, slow FROM packs WHERE slow > 0 AND NOT doomed ORDER BY slow DESC, pack LIMIT ?1";
    let row = |row: &rusqlite::Row<'_>| Ok((PackId::from_bytes(row.get(0)?), unsigned(row.get(1)?)));
    c.prepare_cached(sql)?.query_map([signed(to_u64(limit))], row)?.collect()
}

pub(super) fn set_slow(tx: &Transaction<'_>, pack: PackId, instances: u64) -> Sql<()> {
    let sql = "UPDATE packs SET slow = ?2 WHERE pack = ?1";
    tx.prepare_cached(sql)?.execute(params![pack.as_bytes(), signed(instances)]).map(drop)
}

/// Instances that take long to read stand in these packs now.
pub(super) fn add_slow(tx: &Transaction<'_>, packs: &BTreeMap<PackId, u64>) -> Sql<()> {
    let mut add = tx.prepare_cached("UPDATE packs SET slow = slow + ?2 WHERE pack = ?1")?;
    packs.iter().try_for_each(|(pack, count)| add.execute(params![pack.as_bytes(), signed(*count)]).map(drop))
}

/// Nothing of this owner's study stands in these records any more.
pub(super) fn waste<'a>(tx: &Transaction<'_>, records: impl Iterator<Item = &'a RecordAt>) -> Sql<()> {
    let mut by_pack: BTreeMap<PackId, u64> = BTreeMap::new();
    for at in records {
        *by_pack.entry(at.pack).or_default() += u64::from(at.len);
    }
    let mut add = tx.prepare_cached("UPDATE packs SET waste = waste + ?2 WHERE pack = ?1")?;
    by_pack.iter().try_for_each(|(pack, bytes)| add.execute(params![pack.as_bytes(), signed(*bytes)]).map(drop))
}
