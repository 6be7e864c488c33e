//! Reading: instances of a study, what is there already, and lists of studies.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::error::damaged_row;
use crate::clock::UnixSeconds;
use crate::dicom::{Attributes, Tag, tags};
use crate::ids::{InstanceHash, ManifestRoot, PeerId, StudyUid};
use crate::limits::QUERY_ROWS_MAX;
use crate::store::{Scope, StoreError, StoredInstance, StudyQuery, StudyRow, recipe};
use crate::units::to_u64;

type Sql<T> = rusqlite::Result<T>;

/// A count or length as SQLite keeps it, saturating: no real one comes near.
pub(super) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Back again; what is negative was never written.
pub(super) fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// The rows of a study within `scope`: row number and owner, in the order of owners.
fn study_ids(c: &Connection, scope: &Scope, study: &StudyUid) -> Sql<Vec<(i64, PeerId)>> {
    let mut statement = c.prepare_cached(
        "SELECT studies.id, peer FROM studies JOIN owners ON owners.id = studies.owner WHERE uid = ?1 ORDER BY peer",
    )?;
    let rows = statement.query_map([study.as_str()], |row| Ok((row.get(0)?, PeerId::from_bytes(row.get(1)?))))?;
    let mut ids = rows.collect::<Sql<Vec<_>>>()?;
    ids.retain(|(_, owner)| scope.admits(owner));
    Ok(ids)
}

pub(super) fn instances(
    c: &Connection,
    scope: &Scope,
    study: &StudyUid,
    after: Option<&StoredInstance>,
    limit: usize,
) -> Sql<Result<Vec<StoredInstance>, StoreError>> {
    let mut found = Vec::new();
    for (id, owner) in study_ids(c, scope, study)? {
        // Several owners may hold the same instance: they stand in the order of their ids.
        let inclusive = after.is_some_and(|last| last.owner < owner);
        match of_one_owner(c, (id, owner), after, inclusive, limit)? {
            Ok(more) => found.extend(more),
            Err(e) => return Ok(Err(e)),
        }
    }
    found.sort_by(|a, b| {
        let place = |i: &StoredInstance| (i.entry.series.clone(), i.entry.sop_instance.clone(), i.entry.hash, i.owner);
        place(a).cmp(&place(b))
    });
    found.truncate(limit);
    Ok(Ok(found))
}

/// Up to `limit` instances of one owner's study behind `after`. Walks series by series, so that each
/// step follows an index.
fn of_one_owner(
    c: &Connection,
    (study, owner): (i64, PeerId),
    after: Option<&StoredInstance>,
    inclusive: bool,
    limit: usize,
) -> Sql<Result<Vec<StoredInstance>, StoreError>> {
    let mut found = Vec::new();
    let first_series = after.map_or("", |last| last.entry.series.as_str());
    let mut all_series = c.prepare_cached("SELECT id, uid FROM series WHERE study = ?1 AND uid >= ?2 ORDER BY uid")?;
    let mut all_series = all_series.query(params![study, first_series])?;
    let mut rows = c.prepare_cached(
        "SELECT recipe FROM instances
         WHERE series = ?1 AND ((sop_instance, hash) > (?2, ?3) OR (?4 AND sop_instance = ?2 AND hash = ?3))
         ORDER BY sop_instance, hash LIMIT ?5",
    )?;
    while let Some(series) = all_series.next()? {
        let (series, uid): (i64, String) = (series.get(0)?, series.get(1)?);
        let last = after.filter(|last| last.entry.series.as_str() == uid);
        let sop = last.map_or("", |last| last.entry.sop_instance.as_str());
        let hash = last.map_or(&[][..], |last| last.entry.hash.as_bytes());
        let left = signed(to_u64(limit - found.len()));
        let mut rows = rows.query(params![series, sop, hash, inclusive, left])?;
        while let Some(row) = rows.next()? {
            match recipe::decode(owner, row.get_ref(0)?.as_blob()?) {
                Ok(instance) => found.push(instance),
                Err(_) => return Ok(Err(damaged_row("list instances"))),
            }
        }
        if found.len() >= limit {
            break;
        }
    }
    Ok(Ok(found))
}

pub(super) fn has(c: &Connection, scope: &Scope, study: &StudyUid, hashes: &[InstanceHash]) -> Sql<Vec<bool>> {
    let ids = study_ids(c, scope, study)?;
    let mut find = c.prepare_cached("SELECT 1 FROM instances WHERE study = ?1 AND hash = ?2 AND NOT damaged")?;
    let mut has_one = |hash: &InstanceHash| {
        for (id, _) in &ids {
            if find.exists(params![id, hash.as_bytes()])? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    hashes.iter().map(&mut has_one).collect()
}

pub(super) fn study_keys(
    c: &Connection,
    after: Option<&(PeerId, StudyUid)>,
    limit: usize,
) -> Sql<Result<Vec<(PeerId, StudyUid)>, StoreError>> {
    let mut statement = c.prepare_cached(
        "SELECT peer, uid FROM studies JOIN owners ON owners.id = studies.owner
         WHERE (uid, peer) > (?1, ?2) ORDER BY uid, peer LIMIT ?3",
    )?;
    let (peer, uid) = after.map_or((&[][..], ""), |(peer, uid)| (peer.as_bytes(), uid.as_str()));
    let mut rows = statement.query(params![uid, peer, signed(to_u64(limit))])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let Ok(uid) = StudyUid::new(row.get_ref(1)?.as_str()?) else {
            return Ok(Err(damaged_row("list studies")));
        };
        keys.push((PeerId::from_bytes(row.get(0)?), uid));
    }
    Ok(Ok(keys))
}

const STUDY_ATTRIBUTES: [Tag; 10] = [
    tags::PATIENT_ID,
    tags::PATIENT_NAME,
    tags::ACCESSION_NUMBER,
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::STUDY_DESCRIPTION,
    tags::MODALITY,
    tags::SERIES_DESCRIPTION,
    tags::SERIES_NUMBER,
    tags::INSTANCE_NUMBER,
];

const STUDY_COLUMNS: &str = "uid, peer, patient_id, patient_name, accession_number, study_date, study_time, \
    study_description, modality, series_description, series_number, instance_number, modalities, series_count, \
    instance_count, conflict_count, bytes, version, arriving, root, updated";

pub(super) fn studies(c: &Connection, scope: &Scope, query: &StudyQuery) -> Sql<Result<Vec<StudyRow>, StoreError>> {
    let Some((sql, values)) = studies_sql(c, scope, query)? else {
        return Ok(Ok(Vec::new()));
    };
    let mut statement = c.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        match study_row(row)? {
            Some(study) => found.push(study),
            None => return Ok(Err(damaged_row("list studies"))),
        }
    }
    Ok(Ok(found))
}

/// The question in SQL; `None` when nothing can match. Values are bound, never written into it, except
/// row numbers of owners.
fn studies_sql(c: &Connection, scope: &Scope, query: &StudyQuery) -> Sql<Option<(String, Vec<Value>)>> {
    let mut conditions = Vec::new();
    let mut values = Vec::new();
    if let Scope::Owners(owners) = scope {
        let mut find = c.prepare_cached("SELECT id FROM owners WHERE peer = ?1")?;
        let mut ids = Vec::new();
        for owner in owners {
            let mut rows = find.query([owner.as_bytes()])?;
            if let Some(row) = rows.next()? {
                ids.push(row.get::<_, i64>(0)?.to_string());
            }
        }
        if ids.is_empty() {
            return Ok(None);
        }
        conditions.push(format!("owner IN ({})", ids.join(",")));
    }
    let mut narrow = |condition: &str, value: Option<&str>| {
        if let Some(value) = value {
            conditions.push(condition.to_owned());
            values.push(Value::Text(value.to_owned()));
        }
    };
    narrow("uid = ?", query.study.as_ref().map(StudyUid::as_str));
    narrow("patient_id = ?", query.patient_id.as_deref());
    narrow("accession_number = ?", query.accession_number.as_deref());
    narrow("instr('\\' || modalities || '\\', '\\' || ? || '\\') > 0", query.modality.as_deref());
    narrow("study_date >= ?", query.date_from.as_deref());
    narrow("study_date <> '' AND study_date <= ?", query.date_to.as_deref());
    let filter = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    let limit = query.limit.unwrap_or(QUERY_ROWS_MAX);
    let sql = format!(
        "SELECT {STUDY_COLUMNS} FROM studies JOIN owners ON owners.id = studies.owner {filter} \
         ORDER BY study_date DESC, uid, peer LIMIT {limit}"
    );
    Ok(Some((sql, values)))
}

/// `None` when the row does not hold what this program writes.
fn study_row(row: &Row<'_>) -> Sql<Option<StudyRow>> {
    let Ok(study) = StudyUid::new(row.get_ref(0)?.as_str()?) else {
        return Ok(None);
    };
    let mut attributes = Attributes::default();
    for (column, tag) in (2..).zip(STUDY_ATTRIBUTES) {
        attributes.set(tag, row.get::<_, String>(column)?);
    }
    let count = |column: usize| row.get(column).map(unsigned);
    Ok(Some(StudyRow {
        study,
        owner: PeerId::from_bytes(row.get(1)?),
        attributes,
        modalities: row.get(12)?,
        series: count(13)?,
        instances: count(14)?,
        conflicts: count(15)?,
        bytes: count(16)?,
        version: count(17)?,
        arriving: row.get(18)?,
        root: row.get::<_, Option<_>>(19)?.map(ManifestRoot::from_bytes),
        updated: UnixSeconds(row.get(20)?),
    }))
}
