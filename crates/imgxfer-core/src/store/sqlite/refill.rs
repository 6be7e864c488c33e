//! Attributes that were read with the catalogue of another version of the program, and what is read again.

use std::collections::BTreeSet;

use rusqlite::{Connection, Transaction, params};

use super::commit::{Sql, header_id};
use super::known::Known;
use super::query::{COLUMNS, instance, signed, unsigned};
use super::{arrivals, refresh};
use crate::dicom::CATALOGUE_VERSION;
use crate::ids::PeerId;
use crate::store::{Refill, Stale, StoredInstance, summary};
use crate::units::to_u64;

/// No more instances are listed at once when they have this many chunks together.
const CHUNKS_AT_ONCE: usize = 100_000;

/// Whether there is anything to be read again.
pub(super) fn is_stale(c: &Connection) -> Sql<bool> {
    // Each is one step in an index.
    let mut ends = c.prepare_cached(
        "SELECT coalesce((SELECT min(catalogue) FROM instances) <> ?1, 0)
             OR coalesce((SELECT max(catalogue) FROM instances) <> ?1, 0)",
    )?;
    ends.query_row([CATALOGUE_VERSION], |row| row.get(0))
}

/// Other catalogues that rows are of.
fn others(c: &Connection) -> Sql<Vec<u16>> {
    let mut next = c.prepare_cached("SELECT min(catalogue) FROM instances WHERE catalogue > ?1")?;
    let mut others = Vec::new();
    let mut last = -1;
    while let Some(catalogue) = next.query_row([last], |row| row.get::<_, Option<u16>>(0))? {
        last = i64::from(catalogue);
        others.push(catalogue);
    }
    others.retain(|catalogue| *catalogue != CATALOGUE_VERSION);
    Ok(others)
}

pub(super) fn stale(c: &Connection) -> Sql<Stale> {
    let mut count = c.prepare_cached("SELECT count(*) FROM instances WHERE catalogue = ?1")?;
    let mut left = 0;
    for catalogue in others(c)? {
        left += count.query_row([catalogue], |row| row.get(0).map(unsigned))?;
    }
    let unreadable = "SELECT count(*) FROM instances WHERE unreadable AND catalogue = ?1";
    let unreadable = c.prepare_cached(unreadable)?.query_row([CATALOGUE_VERSION], |row| row.get(0).map(unsigned))?;
    Ok(Stale { left, unreadable })
}

pub(super) fn instances(c: &Connection, limit: usize) -> Sql<Vec<StoredInstance>> {
    let mut found: Vec<StoredInstance> = Vec::new();
    let Some(catalogue) = others(c)?.into_iter().next() else { return Ok(found) };
    let mut rows = c.prepare_cached(&format!(
        "SELECT {COLUMNS}, peer FROM instances i JOIN headers ON headers.id = i.header
         JOIN studies ON studies.id = i.study JOIN owners ON owners.id = studies.owner
         WHERE i.catalogue = ?1 AND i.study = (SELECT min(study) FROM instances WHERE catalogue = ?1) LIMIT ?2"
    ))?;
    let mut rows = rows.query(params![catalogue, signed(to_u64(limit))])?;
    let mut chunks = 0;
    while let Some(row) = rows.next()? {
        let one = instance(row, PeerId::from_bytes(row.get(5)?))?;
        chunks += one.chunks.len();
        found.push(one);
        if chunks >= CHUNKS_AT_ONCE {
            break;
        }
    }
    Ok(found)
}

pub(super) fn refill(tx: &Transaction<'_>, refills: &[Refill]) -> Sql<()> {
    let mut studies = BTreeSet::new();
    for refill in refills {
        let (Refill::Read(read) | Refill::Unreadable(read)) = refill;
        let Some(mut known) = Known::find(tx, read)? else { continue };
        match refill {
            Refill::Read(_) => {
                let (shared, own) = summary::divide(read);
                let header = header_id(tx, known.study, known.series, &shared)?;
                known.refill(&own, read.frames.as_ref(), header);
            }
            Refill::Unreadable(_) => known.give_up(read),
        }
        known.write(tx)?;
        studies.insert(known.study);
    }
    studies.into_iter().try_for_each(|study| settle(tx, study))
}

/// Brings a study up to date whose instances have other attributes than before.
pub(super) fn settle(tx: &Transaction<'_>, study: i64) -> Sql<()> {
    recount(tx, study)?;
    arrivals::recount(tx, study)?;
    let mut left = tx.prepare_cached("SELECT 1 FROM instances WHERE catalogue = ?1 AND study = ?2")?;
    let mut is_done = true;
    for catalogue in others(tx)? {
        is_done &= !left.exists(params![catalogue, study])?;
    }
    // What a study is found by is made by other rules, too, by a program of another version.
    refresh::describe(tx, study, is_done).map(drop)
}

/// Counts anew which instances of a study have which header, and takes headers and series away that have none any more.
pub(super) fn recount(tx: &Transaction<'_>, study: i64) -> Sql<()> {
    let mut all = tx.prepare_cached(
        "SELECT header, sum(current), max(max(ordered, coalesce(stated, 0))) FROM instances WHERE study = ?1
         GROUP BY header",
    )?;
    let mut count = tx.prepare_cached("UPDATE headers SET instance_count = ?2, newest = ?3 WHERE id = ?1")?;
    let mut rows = all.query([study])?;
    while let Some(row) = rows.next()? {
        let header: (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        count.execute(header)?;
    }
    for unused in [
        "DELETE FROM headers WHERE study = ?1 AND id NOT IN (SELECT header FROM instances WHERE study = ?1)",
        "DELETE FROM series WHERE study = ?1 AND id NOT IN (SELECT series FROM instances WHERE study = ?1)",
    ] {
        tx.prepare_cached(unused)?.execute([study])?;
    }
    Ok(())
}
