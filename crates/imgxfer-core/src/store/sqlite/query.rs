//! Reading: instances of a study, what is there already, and the rows of studies.

use rusqlite::{CachedStatement, Connection, Row, params};

use super::commit::Sql;
use super::part;
use super::stored::join;
use super::within::{Extent, Seen, Within, list};
use crate::clock::UnixSeconds;
use crate::ids::{InstanceHash, ManifestRoot, PeerId, SopInstanceUid, StudyUid};
use crate::store::search::Counts;
use crate::store::summary::Summary;
use crate::store::versions::is_conflict;
use crate::store::{Held, IndexTotals, InstancesOf, Order, StoredInstance, StudyRow, Versions, recipe};
use crate::units::to_u64;
use crate::wire::bytes::Reader;

/// A count or length as SQLite keeps it, saturating: no real one comes near.
pub(super) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Back again; what is negative was never written.
pub(super) fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// The value in a column is not what this program writes.
pub(super) fn malformed(column: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(column, "malformed".to_owned(), rusqlite::types::Type::Blob)
}

/// The newest place in the order of things.
pub(super) fn newest(c: &Connection) -> Sql<Order> {
    c.query_row("SELECT newest FROM clock", [], |row| row.get(0)).map(|newest| Order(unsigned(newest)))
}

/// Something with this place in the order of things is told.
pub(super) fn tick(c: &Connection, newest: u64) -> Sql<()> {
    c.prepare_cached("UPDATE clock SET newest = ?1 WHERE newest < ?1")?.execute([signed(newest)]).map(drop)
}

pub(super) fn totals(c: &Connection) -> Sql<IndexTotals> {
    let sql = "SELECT count(*), coalesce(sum(instance_count), 0), coalesce(sum(conflict_count), 0),
                      coalesce(sum(bytes), 0) FROM studies";
    c.query_row(sql, [], |row| {
        let count = |column: usize| row.get(column).map(unsigned);
        Ok(IndexTotals { studies: count(0)?, instances: count(1)?, conflicts: count(2)?, bytes: count(3)? })
    })
}

/// A list of row numbers for a statement.
fn ids(rows: &[Seen]) -> String {
    list(&rows.iter().map(|seen| seen.id).collect::<Vec<_>>())
}

/// The columns of an instance that [`instance`] reads, behind which comes whether it is current.
const COLUMNS_BUT_CURRENT: &str = "i.recipe, headers.attributes, i.ordered, i.stated";
/// The columns of an instance that [`instance`] reads.
pub(super) const COLUMNS: &str = "i.recipe, headers.attributes, i.ordered, i.stated, i.current";

pub(super) fn instance(row: &Row<'_>, owner: PeerId) -> Sql<StoredInstance> {
    let mut found = recipe::decode(owner, row.get_ref(0)?.as_blob()?).map_err(|_| malformed(0))?;
    let mut reader = Reader::new(row.get_ref(1)?.as_blob()?);
    let header = recipe::take_attributes(&mut reader).map_err(|_| malformed(1))?;
    join(&mut found, &header);
    found.order = Order(unsigned(row.get(2)?));
    found.stated = row.get::<_, Option<i64>>(3)?.map(|order| Order(unsigned(order)));
    found.current = row.get(4)?;
    Ok(found)
}

/// What hides an instance from one who sees several owners: another of them had its SOP Instance UID first.
fn hidden_by(within: &Within<'_>, rows: &[Seen]) -> String {
    format!(
        "EXISTS (SELECT 1 FROM instances o WHERE o.sop_instance = i.sop_instance AND o.study IN ({ids})
             AND o.study <> i.study AND (o.ordered, o.study) <
                 (SELECT min(m.ordered), m.study FROM instances m
                  WHERE m.sop_instance = i.sop_instance AND m.study = i.study AND {m}) AND {o})",
        ids = ids(rows),
        m = within.is_seen("m", rows),
        o = within.is_seen("o", rows)
    )
}

/// The conditions by which the instances that are asked for are picked from one row of several that are seen, and by
/// which they are current.
struct Picked {
    condition: String,
    current: String,
}

impl Picked {
    fn of(within: &Within<'_>, of: &InstancesOf, seen: &Seen, rows: &[Seen]) -> Self {
        let current = within.is_current("i", seen.is_part);
        let mut conditions = Vec::new();
        if seen.is_part {
            conditions.push(within.came("i"));
        }
        if of.versions == Versions::Current {
            conditions.push(current.clone());
            if rows.len() > 1 {
                conditions.push(format!("NOT {}", hidden_by(within, rows)));
            }
        }
        let condition = if conditions.is_empty() { "1".to_owned() } else { conditions.join(" AND ") };
        Self { condition, current }
    }
}

pub(super) fn instances(
    c: &Connection,
    within: &Within<'_>,
    of: &InstancesOf,
    after: Option<&StoredInstance>,
    limit: usize,
) -> Sql<Vec<StoredInstance>> {
    let rows = within.rows(c, &of.study)?;
    let mut found = Vec::new();
    for seen in &rows {
        // Several owners may hold the same instance: they stand in the order of their ids.
        let inclusive = after.is_some_and(|last| last.owner < seen.owner);
        let picked = Picked::of(within, of, seen, &rows);
        found.extend(of_one_owner(c, (seen.id, seen.owner), of, &picked, (after, inclusive), limit)?);
    }
    if rows.len() > 1 {
        found.sort_by(|a, b| {
            let place =
                |i: &StoredInstance| (i.entry.series.clone(), i.entry.sop_instance.clone(), i.entry.hash, i.owner);
            place(a).cmp(&place(b))
        });
    }
    found.truncate(limit);
    Ok(found)
}

/// Up to `limit` instances of one owner's study behind `after`. Walks series by series, so that each
/// step follows an index.
fn of_one_owner(
    c: &Connection,
    (study, owner): (i64, PeerId),
    of: &InstancesOf,
    picked: &Picked,
    (after, inclusive): (Option<&StoredInstance>, bool),
    limit: usize,
) -> Sql<Vec<StoredInstance>> {
    let mut found = Vec::new();
    let first_series = after.map_or("", |last| last.entry.series.as_str());
    let mut all_series = c.prepare_cached(
        "SELECT id, uid FROM series WHERE study = ?1 AND uid >= ?2 AND (?3 IS NULL OR uid = ?3) ORDER BY uid",
    )?;
    let only = of.series.as_ref().map(|uid| uid.as_str());
    let mut all_series = all_series.query(params![study, first_series, only])?;
    let sop_only = of.sop_instance.as_ref().map(|uid| uid.as_str());
    let narrowed = if sop_only.is_some() { "i.sop_instance = ?6" } else { "?6 IS NULL" };
    let Picked { condition, current } = picked;
    let mut rows = c.prepare_cached(&format!(
        "SELECT {COLUMNS_BUT_CURRENT}, {current} FROM instances i JOIN headers ON headers.id = i.header
         WHERE i.series = ?1
             AND ((i.sop_instance, i.hash) > (?2, ?3) OR (?4 AND i.sop_instance = ?2 AND i.hash = ?3))
             AND {narrowed} AND {condition}
         ORDER BY i.sop_instance, i.hash LIMIT ?5"
    ))?;
    while let Some(series) = all_series.next()? {
        let (series, uid): (i64, String) = (series.get(0)?, series.get(1)?);
        let last = after.filter(|last| last.entry.series.as_str() == uid);
        let sop = last.map_or("", |last| last.entry.sop_instance.as_str());
        let hash = last.map_or(&[][..], |last| last.entry.hash.as_bytes());
        let left = signed(to_u64(limit - found.len()));
        let mut rows = rows.query(params![series, sop, hash, inclusive, left, sop_only])?;
        while let Some(row) = rows.next()? {
            found.push(instance(row, owner)?);
        }
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
}

pub(super) fn studies_with(c: &Connection, within: &Within<'_>, sop: &SopInstanceUid) -> Sql<Vec<StudyUid>> {
    let came = if within.sources().is_empty() { "0".to_owned() } else { within.came("i") };
    let mut statement = c.prepare_cached(&format!(
        "SELECT DISTINCT uid, peer, {came} FROM instances i JOIN studies ON studies.id = i.study
         JOIN owners ON owners.id = studies.owner WHERE sop_instance = ?1 ORDER BY uid, peer"
    ))?;
    let mut rows = statement.query([sop.as_str()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let owner = PeerId::from_bytes(row.get(1)?);
        if within.scope().admits(&owner) || owner == PeerId::SELF && row.get(2)? {
            found.push(StudyUid::new(row.get_ref(0)?.as_str()?).map_err(|_| malformed(0))?);
        }
    }
    found.dedup();
    Ok(found)
}

pub(super) fn has(c: &Connection, within: &Within<'_>, study: &StudyUid, hashes: &[InstanceHash]) -> Sql<Vec<Held>> {
    let rows = within.rows(c, study)?;
    let find = |seen: &Seen| {
        let came = if seen.is_part { within.came("i") } else { "1".to_owned() };
        c.prepare_cached(&format!(
            "SELECT max({}) FROM instances i WHERE study = ?1 AND hash = ?2 AND NOT damaged AND {came}",
            within.is_current("i", seen.is_part)
        ))
    };
    let mut found = vec![Held::Absent; hashes.len()];
    for seen in &rows {
        let mut find = find(seen)?;
        for (hash, held) in hashes.iter().zip(&mut found).filter(|(_, held)| **held != Held::Current) {
            match find.query_row(params![seen.id, hash.as_bytes()], |row| row.get::<_, Option<bool>>(0))? {
                Some(true) => *held = Held::Current,
                Some(false) => *held = Held::Older,
                None => {}
            }
        }
    }
    Ok(found)
}

pub(super) fn study_keys(
    c: &Connection,
    after: Option<&(PeerId, StudyUid)>,
    limit: usize,
) -> Sql<Vec<(PeerId, StudyUid)>> {
    let mut statement = c.prepare_cached(
        "SELECT peer, uid FROM studies JOIN owners ON owners.id = studies.owner
         WHERE (uid, peer) > (?1, ?2) ORDER BY uid, peer LIMIT ?3",
    )?;
    let (peer, uid) = after.map_or((&[][..], ""), |(peer, uid)| (peer.as_bytes(), uid.as_str()));
    let mut rows = statement.query(params![uid, peer, signed(to_u64(limit))])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let uid = StudyUid::new(row.get_ref(1)?.as_str()?).map_err(|_| malformed(1))?;
        keys.push((PeerId::from_bytes(row.get(0)?), uid));
    }
    Ok(keys)
}

/// The rows of a study, with the columns that [`study_row`] reads.
pub(super) const STUDY_ROWS: &str = "SELECT studies.uid, peer, summary, first, series_count, instance_count, \
     content_count, conflict_count, bytes, version, arriving, root, updated, published, studies.id \
     FROM studies JOIN owners ON owners.id = studies.owner WHERE uid = ?1 ORDER BY peer";

pub(super) fn study(c: &Connection, within: &Within<'_>, study: &StudyUid) -> Sql<Vec<StudyRow>> {
    study_rows(c, &mut c.prepare_cached(STUDY_ROWS)?, within, study.as_str())
}

/// The same by [`STUDY_ROWS`] that was prepared before.
pub(super) fn study_rows(
    c: &Connection,
    statement: &mut CachedStatement<'_>,
    within: &Within<'_>,
    study: &str,
) -> Sql<Vec<StudyRow>> {
    let mut rows = statement.query([study])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get(14)?;
        match within.extent(c, id, &PeerId::from_bytes(row.get(1)?))? {
            Some(Extent::Owned) => found.push(study_row(row)?),
            Some(Extent::Whole(updated)) => found.push(StudyRow { updated, ..study_row(row)? }),
            Some(Extent::Part(updated)) => found.push(part::row(c, within, id, study_row(row)?, updated)?),
            None => {}
        }
    }
    Ok(found)
}

fn study_row(row: &Row<'_>) -> Sql<StudyRow> {
    let study = StudyUid::new(row.get_ref(0)?.as_str()?).map_err(|_| malformed(0))?;
    let Summary { attributes, patients, modalities, sop_classes } =
        Summary::decode(row.get_ref(2)?.as_blob()?).map_err(|_| malformed(2))?;
    let count = |column: usize| row.get(column).map(unsigned);
    Ok(StudyRow {
        study,
        owner: PeerId::from_bytes(row.get(1)?),
        first: Order(count(3)?),
        attributes,
        patients,
        modalities,
        sop_classes,
        series: count(4)?,
        instances: count(5)?,
        contents: count(6)?,
        conflicts: count(7)?,
        bytes: count(8)?,
        version: count(9)?,
        arriving: row.get(10)?,
        root: row.get::<_, Option<_>>(11)?.map(ManifestRoot::from_bytes),
        updated: UnixSeconds(row.get(12)?),
        published: Order(count(13)?),
    })
}

/// What several owners' rows of one study come to, each content counted once.
pub(super) fn counts(c: &Connection, within: &Within<'_>, rows_seen: &[Seen]) -> Sql<Counts> {
    let (all, seen) = (ids(rows_seen), within.is_seen("i", rows_seen));
    let mut counts = Counts::default();
    let mut contents = c.prepare(&format!(
        "SELECT sop_instance, hash, content, transfer_syntax FROM instances i WHERE study IN ({all}) AND {seen}
         GROUP BY sop_instance, hash ORDER BY sop_instance"
    ))?;
    let mut rows = contents.query([])?;
    let mut last: Option<String> = None;
    let mut of_one: Vec<(crate::ids::ContentId, String)> = Vec::new();
    while let Some(row) = rows.next()? {
        let sop: String = row.get(0)?;
        if last.as_ref() != Some(&sop) {
            counts.instances += 1;
            counts.conflicts += u64::from(is_conflict(&of_one));
            of_one.clear();
            last = Some(sop);
        }
        counts.contents += 1;
        of_one.push((crate::ids::ContentId::from_bytes(row.get(2)?), row.get(3)?));
    }
    counts.conflicts += u64::from(is_conflict(&of_one));
    let (hidden, current) = (hidden_by(within, rows_seen), within.is_current_of("i", rows_seen));
    let mut shown = c.prepare(&format!(
        "SELECT count(DISTINCT series.uid), coalesce(sum(i.bytes), 0) FROM instances i
         JOIN series ON series.id = i.series WHERE i.study IN ({all}) AND {seen} AND {current} AND NOT {hidden}"
    ))?;
    (counts.series, counts.bytes) =
        shown.query_row([], |row| Ok((row.get(0).map(unsigned)?, row.get(1).map(unsigned)?)))?;
    Ok(counts)
}
