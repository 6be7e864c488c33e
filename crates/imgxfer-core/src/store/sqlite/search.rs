//! Answering questions: narrowing by what is kept sorted, then comparing row by row.

use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::commit::Sql;
use super::part;
use super::query::{self, counts, malformed, unsigned};
use super::refill;
use super::refresh::KEYS;
use super::within::{Seen, Within, list};
use crate::dicom::{Level, Match, tags};
use crate::ids::{SeriesUid, StudyUid};
use crate::store::search::{Answer, Collector, Found, FoundInstance, FoundSeries, FoundStudy, Search, merge, pieces};
use crate::store::summary::{self, headers_of};
use crate::store::{InstancesOf, Scope, StoredInstance, StudyRow, Versions, recipe};
use crate::units::{to_u64, to_usize};
use crate::wire::bytes::Reader;

/// Up to so many rows that may match are looked up and sorted by date; more are met on a walk over all by date.
const FEW: usize = 3_000;
/// So many of the newest studies are looked at before pieces are asked: they hold enough of what is common.
const NEWEST: usize = 400;
/// Instances read at once.
const INSTANCES_AT_ONCE: usize = 256;

pub(super) fn find(c: &Connection, within: &Within<'_>, search: &Search) -> Sql<Answer> {
    Ok(Answer { incomplete: refill::is_stale(c)?, ..found(c, within, search)? })
}

fn found(c: &Connection, within: &Within<'_>, search: &Search) -> Sql<Answer> {
    let mut asking = Asking { c, within, search, rows: Collector::new(search), owners: owners(c, within.scope())? };
    if asking.owners.as_ref().is_some_and(Vec::is_empty) && within.sources().is_empty() {
        return Ok(asking.rows.finish());
    }
    if let Some(total) = asking.total()? {
        let answer = found(c, within, &Search { count: false, ..search.clone() })?;
        return Ok(Answer { total: Some(total), ..answer });
    }
    match asking.candidates()? {
        Candidates::Few(uids) => asking.sorted(uids)?,
        Candidates::Any => drop(asking.walk(&Among::All, usize::MAX)?),
        Candidates::ByPieces(question) => {
            if !search.count && !pieces::are_few(search) && asking.walk(&Among::All, NEWEST)? {
                return Ok(asking.rows.finish());
            }
            asking.rows = Collector::new(search);
            let among = asking.by_pieces(&question)?;
            asking.walk(&among, usize::MAX)?;
        }
    }
    Ok(asking.rows.finish())
}

/// Row numbers of the owners within a scope; `None` for all.
fn owners(c: &Connection, scope: &Scope) -> Sql<Option<Vec<i64>>> {
    let Scope::Of { owners, .. } = scope else { return Ok(None) };
    let mut find = c.prepare_cached("SELECT id FROM owners WHERE peer = ?1")?;
    let mut ids = Vec::new();
    for owner in owners {
        let mut rows = find.query([owner.as_bytes()])?;
        if let Some(row) = rows.next()? {
            ids.push(row.get(0)?);
        }
    }
    Ok(Some(ids))
}

/// The studies that may match.
enum Candidates {
    /// These.
    Few(Vec<StudyUid>),
    /// Those that have these pieces.
    ByPieces(String),
    /// Nothing narrows them.
    Any,
}

/// The rows of studies that a walk looks at.
enum Among {
    /// All.
    All,
    /// These, few enough to be looked up.
    Few(Vec<i64>),
    /// These.
    Many(RowSet),
}

/// Row numbers, a bit each.
struct RowSet(Vec<u64>);

impl RowSet {
    fn of(rows: &[i64]) -> Self {
        let place = |row: i64| (to_usize(unsigned(row) / 64), unsigned(row) % 64);
        let len = rows.iter().map(|row| place(*row).0 + 1).max().unwrap_or(0);
        let mut bits = vec![0; len];
        for row in rows {
            let (word, bit) = place(*row);
            bits[word] |= 1 << bit;
        }
        Self(bits)
    }

    fn contains(&self, row: i64) -> bool {
        let row = unsigned(row);
        self.0.get(to_usize(row / 64)).is_some_and(|word| word & (1 << (row % 64)) != 0)
    }
}

struct Asking<'a> {
    c: &'a Connection,
    within: &'a Within<'a>,
    search: &'a Search,
    rows: Collector<'a>,
    owners: Option<Vec<i64>>,
}

impl Asking<'_> {
    /// The narrowest choice of studies by what is kept sorted.
    fn candidates(&self) -> Sql<Candidates> {
        let search = self.search;
        if !search.studies.is_empty() {
            return Ok(Candidates::Few(search.studies.clone()));
        }
        let named: [(&str, Vec<&str>); 2] = [
            (
                "SELECT studies.uid FROM series JOIN studies ON studies.id = series.study WHERE series.uid = ?1",
                search.series.iter().map(SeriesUid::as_str).collect(),
            ),
            (
                "SELECT studies.uid FROM instances JOIN studies ON studies.id = instances.study
                 WHERE instances.sop_instance = ?1",
                search.instances.iter().map(|uid| uid.as_str()).collect(),
            ),
        ];
        for (sql, uids) in named {
            if !uids.is_empty() {
                let mut studies = Vec::new();
                for uid in uids {
                    studies.extend(self.uids(sql, [Value::Text(uid.to_owned())])?);
                }
                return Ok(Candidates::Few(studies));
            }
        }
        for (field, tag) in KEYS {
            if let Some(value) = search.exact(tag) {
                let sql = "SELECT uid FROM study_keys JOIN studies ON studies.id = study_keys.study
                           WHERE field = ?1 AND value = ?2";
                return Ok(Candidates::Few(self.uids(sql, [Value::Integer(field), Value::Text(value.to_owned())])?));
            }
        }
        Ok(pieces::question(search).map_or(Candidates::Any, Candidates::ByPieces))
    }

    fn by_pieces(&self, question: &str) -> Sql<Among> {
        // What is asked of a study that several owners have may be so of one by one row and of another by another.
        let shared = if self.sees_one_row() { "" } else { "UNION ALL SELECT id FROM studies WHERE shared" };
        let sql = format!("SELECT rowid FROM study_pieces WHERE study_pieces MATCH ?1 {shared}");
        let mut matching = self.c.prepare_cached(&sql)?;
        let rows: Vec<i64> = matching.query_map([question], |row| row.get(0))?.collect::<Sql<_>>()?;
        Ok(if rows.len() > FEW { Among::Many(RowSet::of(&rows)) } else { Among::Few(rows) })
    }

    /// How many rows there are, where that need not be found out row by row.
    fn total(&self) -> Sql<Option<u64>> {
        if !self.search.count || !self.search.is_universal() || self.search.level > Level::Study {
            return Ok(None);
        }
        let count = |row: &rusqlite::Row<'_>| row.get(0).map(unsigned);
        match (self.owners.as_deref(), self.within.sources()) {
            (None, _) => self.c.query_row("SELECT count(DISTINCT uid) FROM studies", [], count).map(Some),
            (Some([owner]), []) => {
                self.c.query_row("SELECT count(*) FROM studies WHERE owner = ?1", [owner], count).map(Some)
            }
            (Some([]), sources) => {
                let sources = list(sources);
                let sql = format!("SELECT count(DISTINCT study) FROM study_sources WHERE source IN ({sources})");
                self.c.query_row(&sql, [], count).map(Some)
            }
            (Some(_), _) => Ok(None),
        }
    }

    /// Whether of each study no more than one owner's row is seen.
    fn sees_one_row(&self) -> bool {
        let by_source = usize::from(!self.within.sources().is_empty());
        self.owners.as_ref().is_some_and(|owners| owners.len() + by_source == 1)
    }

    fn uids<const N: usize>(&self, sql: &str, values: [Value; N]) -> Sql<Vec<StudyUid>> {
        let mut statement = self.c.prepare_cached(sql)?;
        let uids = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(0))?;
        uids.map(|uid| StudyUid::new(&uid?).map_err(|_| malformed(0))).collect()
    }

    /// Looks at few studies, and sorts what is admitted.
    fn sorted(&mut self, mut uids: Vec<StudyUid>) -> Sql<()> {
        uids.sort_unstable();
        uids.dedup();
        let mut studies = Vec::new();
        for uid in &uids {
            let rows = query::study(self.c, self.within, uid)?;
            studies.extend(self.merged(rows)?.filter(|study| self.search.admits_study(study)));
        }
        studies.sort_by(|a, b| (&b.date, &a.study).cmp(&(&a.date, &b.study)));
        for study in studies {
            if !self.study(study)? {
                break;
            }
        }
        Ok(())
    }

    /// Walks over studies, newest first, until there are rows enough, or `most` were looked at. Returns whether it came
    /// to an end of its own.
    fn walk(&mut self, among: &Among, most: usize) -> Sql<bool> {
        let (sql, values) = self.by_date(among);
        let mut order = self.c.prepare(&sql)?;
        let mut order = order.query(params_from_iter(values))?;
        let mut rows_of = self.c.prepare_cached(query::STUDY_ROWS)?;
        // Rows of one study and one date stand behind each other.
        let mut last = (String::new(), String::new());
        let mut looked_at = 0;
        while let Some(next) = order.next()? {
            let place = (next.get_ref(1)?.as_str()?, next.get_ref(2)?.as_str()?);
            let id: i64 = next.get(0)?;
            let is_among = if let Among::Many(rows) = among { rows.contains(id) } else { true };
            if !is_among || place == (last.0.as_str(), last.1.as_str()) {
                continue;
            }
            if looked_at == most {
                return Ok(false);
            }
            looked_at += 1;
            last = (place.0.to_owned(), place.1.to_owned());
            let Some(study) = self.merged(query::study_rows(self.c, &mut rows_of, self.within, &last.0)?)? else {
                continue;
            };
            if study.date == last.1 && self.search.admits_study(&study) && !self.study(study)? {
                break;
            }
        }
        Ok(true)
    }

    /// The studies of which something may be seen, by date, newest first: row number, UID and date. A study of which
    /// a part is seen comes with each date that instances of the part say.
    fn by_date(&self, among: &Among) -> (String, Vec<Value>) {
        let mut conditions = Vec::new();
        let mut values = Vec::new();
        let mut is_date = |operator: &str, date: &str| {
            values.push(Value::Text(date.to_owned()));
            conditions.push(format!("date {operator} ?{}", values.len()));
        };
        // A study is met at the row whose date it is sorted by.
        let dates = self.search.criteria.iter().filter(|criterion| criterion.attribute.tag == tags::STUDY_DATE);
        for criterion in dates {
            let (from, to) = match &criterion.matching {
                Match::One(date) => (Some(date), Some(date)),
                Match::Range { from, to } => (from.as_ref(), to.as_ref()),
                _ => (None, None),
            };
            from.into_iter().for_each(|date| is_date(">=", date));
            to.into_iter().for_each(|date| is_date("<=", date));
        }
        if let Some(after) = self.search.after.as_ref().filter(|_| !self.search.count) {
            is_date("<=", &after.date);
        }
        // A few are looked up by their numbers, by no other index, and then sorted.
        let (few, by_number, no_index) = match among {
            Among::Few(rows) => (Some(format!("studies.id IN ({})", list(rows))), "NOT INDEXED", "+"),
            Among::All | Among::Many(_) => (None, "", ""),
        };
        let filter = |of: &str, only: Option<String>| {
            let dates = conditions.iter().map(|condition| format!("{of}.{condition}"));
            let all: Vec<String> = only.into_iter().chain(few.clone()).chain(dates).collect();
            if all.is_empty() { String::new() } else { format!("WHERE {}", all.join(" AND ")) }
        };
        let owners = self.owners.as_ref().map(|owners| format!("studies.owner IN ({})", list(owners)));
        let mut parts = Vec::new();
        if self.owners.as_ref().is_none_or(|owners| !owners.is_empty()) {
            parts.push(format!("SELECT id, uid, date, owner FROM studies {by_number} {}", filter("studies", owners)));
        }
        // Each source by itself, so that each is walked over in its order.
        parts.extend(self.within.sources().iter().map(|source| {
            let only = filter("came", Some(format!("{no_index}came.source = {source}")));
            format!(
                "SELECT studies.id, uid, came.date AS date, owner FROM study_sources came
                 JOIN studies ON studies.id = came.study {only}"
            )
        }));
        (format!("{} ORDER BY date DESC, uid, owner", parts.join(" UNION ALL ")), values)
    }

    fn merged(&self, rows: Vec<StudyRow>) -> Sql<Option<FoundStudy>> {
        merge(rows, |rows| match rows.first() {
            Some(row) => counts(self.c, self.within, &self.within.rows(self.c, &row.study)?),
            None => Ok(Default::default()),
        })
    }

    /// Takes what is asked for of an admitted study. Returns whether more is wanted.
    fn study(&mut self, study: FoundStudy) -> Sql<bool> {
        let search = self.search;
        if search.level > Level::Study {
            return self.parts(&Arc::new(study));
        }
        if !search.names_no_part() && !self.holds_named(&study)? {
            return Ok(true);
        }
        Ok(self.rows.push(Found { study: Arc::new(study), series: None, instance: None }))
    }

    /// Whether a study holds one of the series and instances that are named.
    fn holds_named(&self, study: &FoundStudy) -> Sql<bool> {
        for series in self.series(study)? {
            let named = self.search.series.is_empty() || self.search.series.contains(&series.series);
            let is_named = |instance: &StoredInstance| self.search.instances.contains(&instance.entry.sop_instance);
            if named && (self.search.instances.is_empty() || self.all_instances(study, &series)?.iter().any(is_named)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The series of a study, by UID.
    fn series(&self, study: &FoundStudy) -> Sql<Vec<FoundSeries>> {
        let seen = self.within.rows(self.c, &study.study)?;
        let mut found: Vec<FoundSeries> = Vec::new();
        let mut rows = self.c.prepare_cached(
            "SELECT uid, attributes, instance_count FROM series WHERE study = ?1 AND instance_count > 0 ORDER BY uid",
        )?;
        for Seen { id, is_part, .. } in &seen {
            if *is_part {
                found.extend(part::series(self.c, self.within, *id)?);
                continue;
            }
            let mut rows = rows.query([id])?;
            while let Some(row) = rows.next()? {
                let series = SeriesUid::new(row.get_ref(0)?.as_str()?).map_err(|_| malformed(0))?;
                let mut reader = Reader::new(row.get_ref(1)?.as_blob()?);
                let attributes = recipe::take_attributes(&mut reader).map_err(|_| malformed(1))?;
                found.push(FoundSeries { series, attributes, instances: unsigned(row.get(2)?) });
            }
        }
        if seen.len() > 1 {
            self.join_owners(study, &mut found)?;
        }
        Ok(found)
    }

    /// Series that several owners have are one: counted, and described, by the instances that are shown.
    fn join_owners(&self, study: &FoundStudy, found: &mut Vec<FoundSeries>) -> Sql<()> {
        found.sort_by(|a, b| a.series.cmp(&b.series));
        found.dedup_by(|a, b| a.series == b.series);
        for series in found.iter_mut() {
            let instances = self.all_instances(study, series)?;
            series.instances = to_u64(instances.len());
            (series.attributes, _) = summary::of_series(headers_of(&instances));
        }
        found.retain(|series| series.instances > 0);
        Ok(())
    }

    fn all_instances(&self, study: &FoundStudy, series: &FoundSeries) -> Sql<Vec<StoredInstance>> {
        let of = InstancesOf {
            study: study.study.clone(),
            series: Some(series.series.clone()),
            sop_instance: None,
            versions: Versions::Current,
        };
        let mut all: Vec<StoredInstance> = Vec::new();
        loop {
            let page = query::instances(self.c, self.within, &of, all.last(), INSTANCES_AT_ONCE)?;
            let last = page.len() < INSTANCES_AT_ONCE;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// The instances of a series that are admitted, by UID.
    fn instances(&self, study: &FoundStudy, series: &FoundSeries) -> Sql<Vec<FoundInstance>> {
        let all = self.all_instances(study, series)?;
        let found = all.iter().map(|instance| (FoundInstance::of(instance), &instance.attributes));
        Ok(found
            .filter(|(found, all)| self.search.admits_instance(study, found, all))
            .map(|(found, _)| found)
            .collect())
    }

    /// Takes series or instances of a study.
    fn parts(&mut self, study: &Arc<FoundStudy>) -> Sql<bool> {
        for series in self.series(study)? {
            if !self.search.admits_series(&series) {
                continue;
            }
            let series_alone = self.search.level == Level::Series;
            if series_alone && self.search.instances.is_empty() && self.is_one_patient(study) {
                let found = Found { study: Arc::clone(study), series: Some(Arc::new(series)), instance: None };
                if !self.rows.push(found) {
                    return Ok(false);
                }
                continue;
            }
            let instances = self.instances(study, &series)?;
            let series = Arc::new(series);
            if series_alone {
                let found = Found { study: Arc::clone(study), series: Some(series), instance: None };
                if !instances.is_empty() && !self.rows.push(found) {
                    return Ok(false);
                }
                continue;
            }
            for instance in instances {
                let (study, series) = (Arc::clone(study), Some(Arc::clone(&series)));
                if !self.rows.push(Found { study, series, instance: Some(instance) }) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether each series of a study is of the patient that was asked for.
    fn is_one_patient(&self, study: &FoundStudy) -> bool {
        !self.search.is_of_patient() || study.patients.len() < 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PeerId;
    use crate::store::sqlite::schema;

    /// How SQLite goes about the walk by date.
    fn plan(scope: &Scope, search: &Search, among: &Among) -> String {
        let mut c = Connection::open_in_memory().unwrap();
        schema::migrate(&mut c).unwrap();
        c.execute_batch("INSERT INTO sources (name) VALUES ('inbox:/a'), ('ae:B')").unwrap();
        c.execute("INSERT INTO owners (peer) VALUES (?1)", [[1u8; PeerId::LEN]]).unwrap();
        let within = Within::of(&c, scope).unwrap();
        let owners = owners(&c, scope).unwrap();
        let asking = Asking { c: &c, within: &within, search, rows: Collector::new(search), owners };
        let (sql, values) = asking.by_date(among);
        let mut plan = c.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let lines = plan.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn studies_are_met_by_an_index_and_in_its_order() {
        let dated = Search::default().by(tags::STUDY_DATE, "20200101-20201231").unwrap();
        for search in [&Search::default(), &dated] {
            for scope in [Scope::sources(["inbox:/a"]), Scope::sources(["inbox:/a", "ae:B"])] {
                let plan = plan(&scope, search, &Among::All);
                assert!(plan.contains("study_sources_by_date (source=?"), "{plan}");
                assert!(!plan.contains("SCAN"), "not all studies: {plan}");
                assert!(!plan.contains("USE TEMP B-TREE FOR ORDER BY"), "not all of the source: {plan}");
            }
            let mixed = plan(&Scope::owner(PeerId::from_bytes([1; 32])).with_sources(["ae:B"]), search, &Among::All);
            assert!(mixed.contains("study_sources_by_date") && mixed.contains("studies_by_date"), "{mixed}");
            assert!(plan(&Scope::All, search, &Among::All).contains("studies_by_date"));
            let few = Among::Few(vec![3, 1, 2]);
            for scope in [
                Scope::All,
                Scope::sources(["inbox:/a"]),
                Scope::owner(PeerId::from_bytes([1; 32])).with_sources(["ae:B"]),
            ] {
                let plan = plan(&scope, search, &few);
                assert!(plan.contains("SEARCH studies USING INTEGER PRIMARY KEY"), "{plan}");
                assert!(!plan.contains("SCAN") && !plan.contains("by_date"), "{plan}");
            }
        }
    }
}
