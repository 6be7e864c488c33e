//! Whether rows about a study say what its instances say: a flipped bit in a row is no error of any database.

use std::collections::{BTreeMap, HashMap};

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::arrivals;
use super::commit::Sql;
use super::query::{malformed, signed, unsigned};
use super::refresh::keys;
use super::stored::encode_aside;
use crate::dicom::{CATALOGUE_VERSION, tags};
use crate::ids::{ContentId, PeerId, StudyUid};
use crate::store::search::pieces;
use crate::store::summary::{self, Header, Summary};
use crate::store::versions::{Claim, current, is_conflict};
use crate::store::{Order, StoredInstance, recipe};
use crate::units::to_u64;
use crate::wire::bytes::Reader;

/// Pieces that are looked for at a time.
const PIECES_AT_ONCE: usize = 64;

/// What is wrong in the rows of an owner's study, once each.
pub(super) fn of_study(c: &Connection, owner: PeerId, study: &StudyUid) -> Sql<Vec<&'static str>> {
    let mut find = c.prepare_cached(
        "SELECT studies.id, summary, date, series_count, instance_count, content_count, conflict_count, bytes, shared,
             aside
         FROM studies JOIN owners ON owners.id = studies.owner WHERE uid = ?1 AND peer = ?2",
    )?;
    let told = find.query_row(params![study.as_str(), owner.as_bytes()], Told::read).optional()?;
    let Some(told) = told else { return Ok(Vec::new()) };
    let mut look = Look { c, owner, study, id: told.id, sums: Sums::default(), is_stale: false, wrong: Vec::new() };
    match look.all(&told) {
        Ok(()) => {}
        // A value that no program writes is a finding, not a failure.
        Err(rusqlite::Error::InvalidColumnType(_, _, Type::Blob)) => look.wrong("a row of it is malformed"),
        Err(error) => return Err(error),
    }
    Ok(look.wrong)
}

/// What the row of a study says.
struct Told {
    id: i64,
    summary: Vec<u8>,
    date: String,
    sums: Sums,
    shared: bool,
    aside: Vec<u8>,
}

impl Told {
    fn read(row: &Row<'_>) -> Sql<Self> {
        let count = |column: usize| row.get(column).map(unsigned);
        let (series, instances, contents, conflicts, bytes) = (count(3)?, count(4)?, count(5)?, count(6)?, count(7)?);
        let sums = Sums { series, instances, contents, conflicts, bytes };
        let (shared, aside) = (row.get(8)?, row.get(9)?);
        Ok(Self { id: row.get(0)?, summary: row.get(1)?, date: row.get(2)?, sums, shared, aside })
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    series: u64,
    instances: u64,
    contents: u64,
    conflicts: u64,
    bytes: u64,
}

/// Current instances that have a header, and the newest that has it.
type Headers = HashMap<i64, (u64, Order)>;

/// A content of a SOP Instance UID.
struct Content {
    claim: Claim,
    is_current: bool,
    kind: (ContentId, String),
}

struct Look<'a> {
    c: &'a Connection,
    owner: PeerId,
    study: &'a StudyUid,
    id: i64,
    /// By its instances.
    sums: Sums,
    /// Whether attributes were read, and divided, by another version of the program.
    is_stale: bool,
    wrong: Vec<&'static str>,
}

impl Look<'_> {
    fn wrong(&mut self, what: &'static str) {
        if !self.wrong.contains(&what) {
            self.wrong.push(what);
        }
    }

    fn all(&mut self, told: &Told) -> Sql<()> {
        let counted = self.instances()?;
        let by_series = self.headers(&counted)?;
        let is_there = |headers: &&Vec<Header>| headers.iter().any(|header| header.instances > 0);
        self.sums.series = to_u64(by_series.values().filter(is_there).count());
        if told.sums != self.sums {
            self.wrong("its counts are not those of its instances");
        }
        let others = "SELECT count(*) > 1 FROM studies WHERE uid = ?1";
        if !told.shared && self.c.prepare_cached(others)?.query_row([self.study.as_str()], |row| row.get(0))? {
            self.wrong("it is not marked as one that several owners have");
        }
        if arrivals::kept(self.c, self.id)? != arrivals::by_source(self.c, self.id)? {
            self.wrong("what came of it by which source is counted wrong");
        }
        if self.is_stale {
            return Ok(());
        }
        self.series(&by_series)?;
        let headers: Vec<Header> = by_series.into_values().flatten().collect();
        let summary = summary::of_study(headers.clone());
        let aside = if self.owner == PeerId::SELF { summary::aside(&headers, &summary) } else { Vec::new() };
        if Summary::decode(&told.summary).ok().as_ref() != Some(&summary) || told.aside != encode_aside(&aside) {
            self.wrong("its attributes are not those of its instances");
        }
        if told.date != summary.attributes.get(tags::STUDY_DATE) {
            self.wrong("the date that it is sorted by is not its own");
        }
        if !self.is_found_by(&summary.with(&aside))? {
            self.wrong("it is not found by what it is searched by");
        }
        Ok(())
    }

    /// Walks over the instances, by SOP Instance UID.
    fn instances(&mut self) -> Sql<Headers> {
        let mut counted = Headers::new();
        let mut rows = self.c.prepare_cached(
            "SELECT i.sop_instance, i.hash, content, transfer_syntax, bytes, cut, ordered, stated, current, i.header,
                 recipe, catalogue, unreadable, series.uid
             FROM instances i JOIN series ON series.id = i.series WHERE i.study = ?1 ORDER BY i.sop_instance",
        )?;
        let mut rows = rows.query([self.id])?;
        let mut last: Option<String> = None;
        let mut contents: Vec<Content> = Vec::new();
        while let Some(row) = rows.next()? {
            let instance = recipe::decode(self.owner, row.get_ref(10)?.as_blob()?).map_err(|_| malformed(10))?;
            if !self.repeats(row, &instance)? {
                self.wrong("a row of an instance is not what its recipe says");
            }
            let catalogue: u16 = row.get(11)?;
            self.is_stale |= catalogue != CATALOGUE_VERSION || instance.catalogue != CATALOGUE_VERSION;
            let sop: String = row.get(0)?;
            if last.as_ref() != Some(&sop) {
                self.contents(&contents);
                contents.clear();
                last = Some(sop);
            }
            let (order, is_current) = (Order(unsigned(row.get(6)?)), row.get(8)?);
            let stated = row.get::<_, Option<i64>>(7)?.map(|order| Order(unsigned(order)));
            let of_header = counted.entry(row.get(9)?).or_default();
            of_header.0 += u64::from(is_current);
            of_header.1 = of_header.1.max(order).max(stated.unwrap_or_default());
            self.sums.bytes += if is_current { instance.entry.len } else { 0 };
            let claim = Claim { cut: instance.cut, stated, order, hash: instance.entry.hash };
            contents.push(Content { claim, is_current, kind: (instance.entry.content_id(), row.get(3)?) });
        }
        self.contents(&contents);
        Ok(counted)
    }

    /// Whether the columns of an instance say what its recipe says.
    fn repeats(&self, row: &Row<'_>, instance: &StoredInstance) -> Sql<bool> {
        let entry = &instance.entry;
        let (catalogue, unreadable): (u16, bool) = (row.get(11)?, row.get(12)?);
        Ok(row.get_ref(0)?.as_str()? == entry.sop_instance.as_str()
            && row.get_ref(1)?.as_blob()? == entry.hash.as_bytes()
            && row.get_ref(2)?.as_blob()? == entry.content_id().as_bytes()
            && row.get_ref(3)?.as_str()? == entry.transfer_syntax.as_ref().map_or("", |uid| uid.as_str())
            && row.get::<_, i64>(4)? == signed(entry.len)
            && row.get::<_, bool>(5)? == instance.cut
            && (catalogue == instance.catalogue || unreadable)
            && row.get_ref(13)?.as_str()? == entry.series.as_str()
            && entry.study == *self.study)
    }

    /// Counts the contents of one SOP Instance UID.
    fn contents(&mut self, contents: &[Content]) {
        let claims: Vec<Claim> = contents.iter().map(|content| content.claim).collect();
        let Some(chosen) = current(&claims) else { return };
        if contents.iter().enumerate().any(|(place, content)| content.is_current != (place == chosen)) {
            self.wrong("another content of an instance is current than should be");
        }
        let kinds: Vec<_> = contents.iter().map(|content| content.kind.clone()).collect();
        self.sums.instances += 1;
        self.sums.contents += to_u64(contents.len());
        self.sums.conflicts += u64::from(is_conflict(&kinds));
    }

    /// The headers of each series, with what was counted of them.
    fn headers(&mut self, counted: &Headers) -> Sql<BTreeMap<i64, Vec<Header>>> {
        let mut by_series: BTreeMap<i64, Vec<Header>> = BTreeMap::new();
        let mut rows = self.c.prepare_cached(
            "SELECT id, series, digest, attributes, instance_count, newest FROM headers WHERE study = ?1",
        )?;
        let mut rows = rows.query([self.id])?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            let encoded = row.get_ref(3)?.as_blob()?;
            if row.get_ref(2)?.as_blob()? != &blake3::hash(encoded).as_bytes()[..16] {
                self.wrong("what instances of it share is not what was written");
            }
            let attributes = recipe::take_attributes(&mut Reader::new(encoded)).map_err(|_| malformed(3))?;
            let told = (unsigned(row.get(4)?), Order(unsigned(row.get(5)?)));
            let by_instances = counted.get(&row.get(0)?).copied();
            seen += usize::from(by_instances.is_some());
            let (instances, newest) = by_instances.unwrap_or((0, told.1));
            if told != (instances, newest) {
                self.wrong("its instances are counted wrong");
            }
            by_series.entry(row.get(1)?).or_default().push(Header { attributes, instances, newest });
        }
        if seen != counted.len() {
            self.wrong("what instances of it share is missing");
        }
        Ok(by_series)
    }

    fn series(&mut self, by_series: &BTreeMap<i64, Vec<Header>>) -> Sql<()> {
        let mut rows = self.c.prepare_cached("SELECT id, attributes, instance_count FROM series WHERE study = ?1")?;
        let mut rows = rows.query([self.id])?;
        while let Some(row) = rows.next()? {
            let headers = by_series.get(&row.get(0)?).cloned().unwrap_or_default();
            let (attributes, instances) = summary::of_series(headers);
            let told = recipe::take_attributes(&mut Reader::new(row.get_ref(1)?.as_blob()?)).ok();
            if (told, row.get(2).map(unsigned)?) != (Some(attributes), instances) {
                self.wrong("what is kept of a series is not what its instances say");
            }
        }
        Ok(())
    }

    /// Whether it has each key and piece that it should have. Such as it should not have lead to no wrong answer.
    fn is_found_by(&self, summary: &Summary) -> Sql<bool> {
        let mut key =
            self.c.prepare_cached("SELECT 1 FROM study_keys WHERE field = ?1 AND value = ?2 AND study = ?3")?;
        for (field, value) in keys(summary) {
            if !key.exists(params![field, value, self.id])? {
                return Ok(false);
            }
        }
        let pieces = pieces::of_study(&summary.attributes, &summary.patients, &summary.modalities);
        let pieces: Vec<&str> = pieces.split(' ').filter(|piece| !piece.is_empty()).collect();
        let has = "SELECT 1 FROM study_pieces WHERE study_pieces MATCH ?1 AND rowid = ?2";
        let mut has = self.c.prepare_cached(has)?;
        for some in pieces.chunks(PIECES_AT_ONCE) {
            if !has.exists(params![some.join(" AND "), self.id])? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
