//! By which ways instances came that the site itself owns.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::commit::Sql;
use super::query::malformed;
use crate::clock::UnixSeconds;
use crate::store::{Arrival, Provenance, StoredInstance};

/// Notes by which way an instance came, by row number.
pub(super) const ARRIVE: &str = "INSERT INTO arrivals (instance, source, at) VALUES (?1, ?2, ?3)
     ON CONFLICT (instance, source) DO UPDATE SET at = min(at, excluded.at)";

/// The row number of a provenance, made when it has none.
pub(super) fn source_id(tx: &Transaction<'_>, provenance: &Provenance) -> Sql<i64> {
    let encoded = provenance.encode();
    let mut find = tx.prepare_cached("SELECT id FROM sources WHERE provenance = ?1")?;
    if let Some(id) = find.query_row([&encoded], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    tx.prepare_cached("INSERT INTO sources (provenance) VALUES (?1)")?.insert([&encoded])
}

pub(super) fn of(c: &Connection, instance: &StoredInstance) -> Sql<Vec<Arrival>> {
    let mut rows = c.prepare_cached(
        "SELECT at, provenance FROM owners JOIN studies ON studies.owner = owners.id
         JOIN series ON series.study = studies.id JOIN instances i ON i.series = series.id
         JOIN arrivals ON arrivals.instance = i.id JOIN sources ON sources.id = arrivals.source
         WHERE peer = ?1 AND studies.uid = ?2 AND series.uid = ?3 AND sop_instance = ?4 AND hash = ?5",
    )?;
    let entry = &instance.entry;
    let key = params![
        instance.owner.as_bytes(),
        entry.study.as_str(),
        entry.series.as_str(),
        entry.sop_instance.as_str(),
        entry.hash.as_bytes()
    ];
    let mut rows = rows.query(key)?;
    let mut arrivals = Vec::new();
    while let Some(row) = rows.next()? {
        let provenance = Provenance::decode(row.get_ref(1)?.as_blob()?).map_err(|_| malformed(1))?;
        arrivals.push(Arrival { at: UnixSeconds(row.get(0)?), provenance });
    }
    arrivals.sort_unstable();
    Ok(arrivals)
}
