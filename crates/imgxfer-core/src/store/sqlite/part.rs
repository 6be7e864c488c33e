//! A study of which only what came by some sources is seen: described from that alone.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, Row};

use super::commit::Sql;
use super::query::{malformed, unsigned};
use super::within::Within;
use crate::clock::UnixSeconds;
use crate::ids::{ContentId, InstanceHash, SeriesUid};
use crate::store::search::FoundSeries;
use crate::store::summary::{self, Header, Summary};
use crate::store::versions::{Claim, current, is_conflict};
use crate::store::{Order, StudyRow, recipe};
use crate::units::to_u64;
use crate::wire::bytes::Reader;

/// What the seen instances of a study come to.
#[derive(Default)]
struct Part {
    first: Option<Order>,
    instances: u64,
    contents: u64,
    conflicts: u64,
    bytes: u64,
    /// Of each header, the current instances that have it and the newest that has it.
    headers: HashMap<i64, (u64, Order)>,
}

/// A content of a SOP Instance UID.
struct Content {
    claim: Claim,
    kind: (ContentId, String),
    bytes: u64,
    header: i64,
}

impl Content {
    fn read(row: &Row<'_>) -> Sql<Self> {
        let stated = row.get::<_, Option<i64>>(6)?.map(|order| Order(unsigned(order)));
        let (hash, order) = (InstanceHash::from_bytes(row.get(1)?), Order(unsigned(row.get(5)?)));
        Ok(Self {
            claim: Claim { cut: row.get(7)?, stated, order, hash },
            kind: (ContentId::from_bytes(row.get(2)?), row.get(3)?),
            bytes: unsigned(row.get(4)?),
            header: row.get(8)?,
        })
    }
}

impl Part {
    /// Walks over the instances that are seen, by SOP Instance UID.
    fn read(c: &Connection, within: &Within<'_>, study: i64) -> Sql<Self> {
        let mut rows = c.prepare_cached(&format!(
            "SELECT i.sop_instance, i.hash, i.content, i.transfer_syntax, i.bytes, i.ordered, i.stated, i.cut, i.header
             FROM instances i WHERE i.study = ?1 AND {} ORDER BY i.sop_instance, i.id",
            within.came("i")
        ))?;
        let mut rows = rows.query([study])?;
        let mut part = Self::default();
        let mut last: Option<String> = None;
        let mut of_one: Vec<Content> = Vec::new();
        while let Some(row) = rows.next()? {
            let sop = row.get_ref(0)?.as_str()?;
            if last.as_deref() != Some(sop) {
                last = Some(sop.to_owned());
                part.add(&std::mem::take(&mut of_one));
            }
            of_one.push(Content::read(row)?);
        }
        part.add(&of_one);
        Ok(part)
    }

    /// Takes in the contents of one SOP Instance UID.
    fn add(&mut self, contents: &[Content]) {
        let claims: Vec<Claim> = contents.iter().map(|content| content.claim).collect();
        let Some(chosen) = current(&claims) else { return };
        let kinds: Vec<_> = contents.iter().map(|content| (content.kind.0, content.kind.1.as_str())).collect();
        self.instances += 1;
        self.contents += to_u64(contents.len());
        self.conflicts += u64::from(is_conflict(&kinds));
        self.bytes += contents[chosen].bytes;
        for (place, Content { claim, header, .. }) in contents.iter().enumerate() {
            self.first = Some(self.first.map_or(claim.order, |first| first.min(claim.order)));
            let of_header = self.headers.entry(*header).or_default();
            of_header.0 += u64::from(place == chosen);
            of_header.1 = of_header.1.max(claim.order).max(claim.stated.unwrap_or_default());
        }
    }

    /// The headers of the instances that are seen, by the row number of their series.
    fn by_series(&self, c: &Connection, study: i64) -> Sql<BTreeMap<i64, Vec<Header>>> {
        let mut by_series: BTreeMap<i64, Vec<Header>> = BTreeMap::new();
        let mut rows = c.prepare_cached("SELECT id, series, attributes FROM headers WHERE study = ?1")?;
        let mut rows = rows.query([study])?;
        while let Some(row) = rows.next()? {
            if let Some((instances, newest)) = self.headers.get(&row.get(0)?).copied() {
                let mut reader = Reader::new(row.get_ref(2)?.as_blob()?);
                let attributes = recipe::take_attributes(&mut reader).map_err(|_| malformed(2))?;
                by_series.entry(row.get(1)?).or_default().push(Header { attributes, instances, newest });
            }
        }
        Ok(by_series)
    }
}

/// The row of a study as if what is seen of it were all: without a version, and last changed when the newest of that
/// came.
pub(super) fn row(c: &Connection, within: &Within<'_>, id: i64, all: StudyRow, updated: UnixSeconds) -> Sql<StudyRow> {
    let part = Part::read(c, within, id)?;
    let by_series = part.by_series(c, id)?;
    let series = by_series.values().filter(|headers| headers.iter().any(|header| header.instances > 0)).count();
    let Summary { attributes, patients, modalities, sop_classes } =
        summary::of_study(by_series.into_values().flatten().collect());
    Ok(StudyRow {
        study: all.study,
        owner: all.owner,
        first: part.first.unwrap_or_default(),
        attributes,
        patients,
        modalities,
        sop_classes,
        series: to_u64(series),
        instances: part.instances,
        contents: part.contents,
        conflicts: part.conflicts,
        bytes: part.bytes,
        version: 0,
        arriving: false,
        root: None,
        published: Order(0),
        updated,
    })
}

/// The series of what is seen of a study, by UID.
pub(super) fn series(c: &Connection, within: &Within<'_>, study: i64) -> Sql<Vec<FoundSeries>> {
    let mut by_series = Part::read(c, within, study)?.by_series(c, study)?;
    let mut found = Vec::new();
    let mut rows = c.prepare_cached("SELECT id, uid FROM series WHERE study = ?1 ORDER BY uid")?;
    let mut rows = rows.query([study])?;
    while let Some(row) = rows.next()? {
        let Some(headers) = by_series.remove(&row.get(0)?) else { continue };
        let (attributes, instances) = summary::of_series(headers);
        if instances > 0 {
            let series = SeriesUid::new(row.get_ref(1)?.as_str()?).map_err(|_| malformed(1))?;
            found.push(FoundSeries { series, attributes, instances });
        }
    }
    Ok(found)
}
