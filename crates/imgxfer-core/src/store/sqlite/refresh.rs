//! What a study and its series add up to, brought up to date in the transaction that changed their instances.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Transaction, params};

use super::commit::Sql;
use super::contents::Step;
use super::query::{malformed, signed, unsigned};
use super::stored::{decode_aside, encode_aside};
use crate::clock::UnixSeconds;
use crate::dicom::{Tag, tags};
use crate::ids::PeerId;
use crate::store::search::pieces;
use crate::store::summary::{self, Header, Summary};
use crate::store::{Order, recipe};
use crate::units::to_u64;
use crate::wire::bytes::Reader;

/// Attributes of a study that are looked up as they stand, each under its number.
pub(super) const KEYS: [(i64, Tag); 3] = [(1, tags::PATIENT_ID), (2, tags::ACCESSION_NUMBER), (3, tags::STUDY_ID)];

/// Brings a study's row, its series' rows, and what it is found by up to date.
pub(super) fn study(tx: &Transaction<'_>, study: i64, step: &Step, at: UnixSeconds) -> Sql<()> {
    let series = describe(tx, study, false)?;
    tx.prepare_cached(
        "UPDATE studies SET series_count = ?2, instance_count = instance_count + ?3,
             content_count = content_count + ?4, conflict_count = conflict_count + ?5, bytes = bytes + ?6, updated = ?7
         WHERE id = ?1",
    )?
    .execute(params![
        study,
        signed(to_u64(series)),
        step.instances,
        step.contents,
        step.conflicts,
        step.bytes,
        at.0
    ])?;
    if step.bytes == 0 {
        return Ok(());
    }
    let owned = "UPDATE owners SET owned = owned + ?2 WHERE id = (SELECT owner FROM studies WHERE studies.id = ?1)";
    tx.prepare_cached(owned)?.execute(params![study, step.bytes]).map(drop)
}

/// Brings what headers say of a study and its series up to date, and what the study is found by: that where it
/// changed, or where it is to be written `anew` whatever it was. Returns how many series the study has.
pub(super) fn describe(tx: &Transaction<'_>, study: i64, anew: bool) -> Sql<usize> {
    let mut by_series: BTreeMap<i64, Vec<Header>> = BTreeMap::new();
    let mut rows =
        tx.prepare_cached("SELECT series, attributes, instance_count, newest FROM headers WHERE study = ?1")?;
    let mut rows = rows.query([study])?;
    while let Some(row) = rows.next()? {
        let mut reader = Reader::new(row.get_ref(1)?.as_blob()?);
        let attributes = recipe::take_attributes(&mut reader).map_err(|_| malformed(1))?;
        let (instances, newest) = (unsigned(row.get(2)?), Order(unsigned(row.get(3)?)));
        by_series.entry(row.get(0)?).or_default().push(Header { attributes, instances, newest });
    }
    let all: Vec<Header> = by_series.values().flatten().cloned().collect();
    let series = by_series.values().filter(|headers| headers.iter().any(|header| header.instances > 0)).count();
    for (id, headers) in by_series {
        let (attributes, instances) = summary::of_series(headers);
        let mut encoded = Vec::new();
        recipe::put_attributes(&mut encoded, &attributes);
        tx.prepare_cached(
            "UPDATE series SET attributes = ?2, instance_count = ?3
             WHERE id = ?1 AND (attributes <> ?2 OR instance_count <> ?3)",
        )?
        .execute(params![id, encoded, signed(instances)])?;
    }
    let known = Searched::of(tx, study)?;
    let summary = summary::of_study(all.clone());
    // Of what a peer sent nobody sees a part.
    let aside = if known.is_own { summary::aside(&all, &summary) } else { Vec::new() };
    let (encoded, aside_encoded) = (summary.encode(), encode_aside(&aside));
    if encoded != known.summary || aside_encoded != known.aside || anew {
        tx.prepare_cached("UPDATE studies SET summary = ?2, aside = ?3, date = ?4 WHERE id = ?1")?.execute(params![
            study,
            encoded,
            aside_encoded,
            summary.attributes.get(tags::STUDY_DATE)
        ])?;
        find_by(tx, study, &known.by()?, &summary.with(&aside), anew)?;
    }
    Ok(series)
}

/// What a study's row says that it is searched by.
struct Searched {
    summary: Vec<u8>,
    aside: Vec<u8>,
    /// Whether it belongs to the site itself.
    is_own: bool,
}

impl Searched {
    fn of(tx: &Transaction<'_>, study: i64) -> Sql<Self> {
        let mut find = tx.prepare_cached(
            "SELECT summary, aside, peer FROM studies JOIN owners ON owners.id = studies.owner WHERE studies.id = ?1",
        )?;
        find.query_row([study], |row| {
            let is_own = PeerId::from_bytes(row.get(2)?) == PeerId::SELF;
            Ok(Self { summary: row.get(0)?, aside: row.get(1)?, is_own })
        })
    }

    fn by(&self) -> Sql<Summary> {
        let aside = decode_aside(&self.aside).map_err(|_| malformed(1))?;
        Summary::decode(&self.summary).map(|summary| summary.with(&aside)).map_err(|_| malformed(0))
    }
}

/// What a study is found by as it stands.
pub(super) fn keys(summary: &Summary) -> BTreeSet<(i64, String)> {
    let all = || summary.patients.iter().map(|patient| &patient.attributes).chain([&summary.attributes]);
    let values = KEYS.iter().flat_map(|(field, tag)| all().map(|values| (*field, values.get(*tag).to_owned())));
    values.filter(|(_, value)| !value.is_empty()).collect()
}

/// Replaces what a study is found by.
fn find_by(tx: &Transaction<'_>, study: i64, old: &Summary, new: &Summary, anew: bool) -> Sql<()> {
    let (before, after) = (keys(old), keys(new));
    let mut take = tx.prepare_cached("DELETE FROM study_keys WHERE field = ?1 AND value = ?2 AND study = ?3")?;
    for (field, value) in before.difference(&after) {
        take.execute(params![field, value, study])?;
    }
    let mut add = tx.prepare_cached("INSERT OR IGNORE INTO study_keys (field, value, study) VALUES (?1, ?2, ?3)")?;
    for (field, value) in after.iter().filter(|key| anew || !before.contains(key)) {
        add.execute(params![field, value, study])?;
    }
    let pieces = |s: &Summary| pieces::of_study(&s.attributes, &s.patients, &s.modalities);
    let (before, after) = (pieces(old), pieces(new));
    if before != after || anew {
        tx.prepare_cached("DELETE FROM study_pieces WHERE rowid = ?1")?.execute([study])?;
        tx.prepare_cached("INSERT INTO study_pieces (rowid, pieces) VALUES (?1, ?2)")?
            .execute(params![study, after])?;
    }
    Ok(())
}

/// Takes away a study that holds nothing any more.
pub(super) fn forget_study(tx: &Transaction<'_>, study: i64) -> Sql<()> {
    let old = Searched::of(tx, study)?.by()?;
    let mut take = tx.prepare_cached("DELETE FROM study_keys WHERE field = ?1 AND value = ?2 AND study = ?3")?;
    for (field, value) in keys(&old) {
        take.execute(params![field, value, study])?;
    }
    for sql in [
        "UPDATE owners SET owned = owned - (SELECT bytes FROM studies WHERE studies.id = ?1)
         WHERE id = (SELECT owner FROM studies WHERE studies.id = ?1)",
        "DELETE FROM study_pieces WHERE rowid = ?1",
        "DELETE FROM study_sources WHERE study = ?1",
        "DELETE FROM headers WHERE study = ?1",
        "DELETE FROM series WHERE study = ?1",
        "DELETE FROM studies WHERE id = ?1",
    ] {
        tx.prepare_cached(sql)?.execute([study])?;
    }
    Ok(())
}
