//! By which ways instances came that the site itself owns, and what of its studies came by which source.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{CachedStatement, Connection, OptionalExtension, Transaction, params};

use super::commit::Sql;
use super::query::malformed;
use crate::clock::UnixSeconds;
use crate::dicom::tags;
use crate::store::{Arrival, Provenance, StoredInstance, recipe};
use crate::wire::bytes::Reader;

/// What came of a study by one source, by the row number of that source and the study date that its headers say: how
/// many contents, and when the newest of them came so.
pub(super) type BySource = BTreeMap<(i64, String), (i64, i64)>;

/// Notes arrivals by one way. Prepared once for a transaction.
pub(super) struct Arrivals<'a> {
    provenance: i64,
    source: i64,
    known: CachedStatement<'a>,
    by_source: CachedStatement<'a>,
    arrive: CachedStatement<'a>,
    count: CachedStatement<'a>,
    header: CachedStatement<'a>,
}

impl<'a> Arrivals<'a> {
    pub(super) fn new(tx: &'a Transaction<'a>, provenance: &Provenance) -> Sql<Self> {
        let (provenance, source) = provenance_id(tx, provenance)?;
        Ok(Self {
            provenance,
            source,
            known: tx.prepare_cached("SELECT at FROM arrivals WHERE instance = ?1 AND provenance = ?2")?,
            by_source: tx.prepare_cached(
                "SELECT 1 FROM arrivals JOIN provenances ON provenances.id = arrivals.provenance
                 WHERE instance = ?1 AND source = ?2",
            )?,
            arrive: tx.prepare_cached(
                "INSERT INTO arrivals (instance, provenance, at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (instance, provenance) DO UPDATE SET at = excluded.at",
            )?,
            count: tx.prepare_cached(
                "INSERT INTO study_sources (study, source, date, contents, newest) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (study, source, date)
                 DO UPDATE SET contents = contents + excluded.contents, newest = max(newest, excluded.newest)",
            )?,
            header: tx.prepare_cached(
                "SELECT attributes FROM headers JOIN instances ON instances.header = headers.id WHERE instances.id = ?1",
            )?,
        })
    }

    /// An instance of `study` came, by row number; it is `new`, or was there. Returns whether what came by each source
    /// must be counted anew, since it came earlier than was known.
    pub(super) fn note(
        &mut self,
        study: i64,
        instance: i64,
        new: Option<&StoredInstance>,
        at: UnixSeconds,
    ) -> Sql<bool> {
        let is_new = new.is_some();
        let key = params![instance, self.provenance];
        let known: Option<i64> = if is_new { None } else { self.known.query_row(key, |row| row.get(0)).optional()? };
        if known.is_some_and(|known| known <= at.0) {
            return Ok(false);
        }
        let counted = !is_new && self.by_source.exists(params![instance, self.source])?;
        self.arrive.execute(params![instance, self.provenance, at.0])?;
        if known.is_some() {
            return Ok(true);
        }
        let date = match new {
            Some(new) => new.attributes.get(tags::STUDY_DATE).to_owned(),
            None => self.header.query_row([instance], |row| date(row.get_ref(0)?.as_blob()?))?,
        };
        let contents = i64::from(!counted);
        self.count.execute(params![study, self.source, date, contents, at.0]).map(|_| false)
    }
}

/// The study date that a header says.
fn date(header: &[u8]) -> Sql<String> {
    let attributes = recipe::take_attributes(&mut Reader::new(header)).map_err(|_| malformed(0))?;
    Ok(attributes.get(tags::STUDY_DATE).to_owned())
}

/// The row number of a provenance, and that of its source; made when they have none.
fn provenance_id(tx: &Transaction<'_>, provenance: &Provenance) -> Sql<(i64, i64)> {
    let encoded = provenance.encode();
    let mut find = tx.prepare_cached("SELECT id, source FROM provenances WHERE encoded = ?1")?;
    if let Some(found) = find.query_row([&encoded], |row| Ok((row.get(0)?, row.get(1)?))).optional()? {
        return Ok(found);
    }
    // As it is kept.
    let name = Provenance::decode(&encoded).map_err(|_| malformed(0))?.source;
    let source = match source_id(tx, &name)? {
        Some(source) => source,
        None => tx.prepare_cached("INSERT INTO sources (name) VALUES (?1)")?.insert([&name])?,
    };
    let mut add = tx.prepare_cached("INSERT INTO provenances (source, encoded) VALUES (?1, ?2)")?;
    Ok((add.insert(params![source, encoded])?, source))
}

/// The row number of a source, where anything came by it.
pub(super) fn source_id(c: &Connection, name: &str) -> Sql<Option<i64>> {
    c.prepare_cached("SELECT id FROM sources WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()
}

/// What of a study came by which source, by its arrivals. Cost: a step for each of them.
pub(super) fn by_source(c: &Connection, study: i64) -> Sql<BySource> {
    let mut dates: HashMap<i64, String> = HashMap::new();
    let mut headers = c.prepare_cached("SELECT id, attributes FROM headers WHERE study = ?1")?;
    let mut headers = headers.query([study])?;
    while let Some(row) = headers.next()? {
        dates.insert(row.get(0)?, date(row.get_ref(1)?.as_blob()?)?);
    }
    let mut rows = c.prepare_cached(
        "SELECT source, i.header, count(DISTINCT i.id), max(at) FROM instances i
         JOIN arrivals ON arrivals.instance = i.id JOIN provenances ON provenances.id = arrivals.provenance
         WHERE i.study = ?1 GROUP BY source, i.header",
    )?;
    let mut rows = rows.query([study])?;
    let mut found = BySource::new();
    while let Some(row) = rows.next()? {
        let date = dates.get(&row.get(1)?).cloned().unwrap_or_default();
        let (contents, newest): (i64, i64) = (row.get(2)?, row.get(3)?);
        let sum = found.entry((row.get(0)?, date)).or_insert((0, newest));
        *sum = (sum.0 + contents, sum.1.max(newest));
    }
    Ok(found)
}

/// The same as it is kept.
pub(super) fn kept(c: &Connection, study: i64) -> Sql<BySource> {
    let mut rows = c.prepare_cached("SELECT source, date, contents, newest FROM study_sources WHERE study = ?1")?;
    let row = |row: &rusqlite::Row<'_>| Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?)));
    rows.query_map([study], row)?.collect()
}

/// Keeps anew what of a study came by which source.
pub(super) fn recount(tx: &Transaction<'_>, study: i64) -> Sql<()> {
    tx.prepare_cached("DELETE FROM study_sources WHERE study = ?1")?.execute([study])?;
    let mut add = tx.prepare_cached(
        "INSERT INTO study_sources (study, source, date, contents, newest) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for ((source, date), (contents, newest)) in by_source(tx, study)? {
        add.execute(params![study, source, date, contents, newest])?;
    }
    Ok(())
}

pub(super) fn of(c: &Connection, instance: &StoredInstance) -> Sql<Vec<Arrival>> {
    let mut rows = c.prepare_cached(
        "SELECT at, encoded FROM owners JOIN studies ON studies.owner = owners.id
         JOIN series ON series.study = studies.id JOIN instances i ON i.series = series.id
         JOIN arrivals ON arrivals.instance = i.id JOIN provenances ON provenances.id = arrivals.provenance
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
