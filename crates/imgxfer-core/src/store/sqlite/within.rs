//! What is within a scope, in the terms of the tables.

use rusqlite::{Connection, params};

use super::arrivals::source_id;
use super::commit::Sql;
use crate::clock::UnixSeconds;
use crate::ids::{PeerId, StudyUid};
use crate::store::Scope;

/// A scope, with the row numbers of its sources.
pub(super) struct Within<'s> {
    scope: &'s Scope,
    /// Row numbers of the sources by which the site's own is seen, where they decide that.
    sources: Vec<i64>,
}

/// How much of what an owner has of a study is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All, since the owner is within the scope.
    Owned,
    /// All, since all came by sources within the scope; when the newest did.
    Whole(UnixSeconds),
    /// What came by sources within the scope; when the newest did.
    Part(UnixSeconds),
}

/// What an owner has of a study, of which something is seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// Row number of the study.
    pub(super) id: i64,
    pub(super) owner: PeerId,
    pub(super) is_part: bool,
}

impl<'s> Within<'s> {
    pub(super) fn of(c: &Connection, scope: &'s Scope) -> Sql<Self> {
        let mut sources = Vec::new();
        for name in scope.deciding_sources() {
            sources.extend(source_id(c, name)?);
        }
        sources.sort_unstable();
        sources.dedup();
        Ok(Self { scope, sources })
    }

    pub(super) const fn scope(&self) -> &Scope {
        self.scope
    }

    /// Row numbers of the sources by which the site's own is seen, where they decide that.
    pub(super) fn sources(&self) -> &[i64] {
        &self.sources
    }

    /// How much is seen of an owner's study; `None` for nothing.
    pub(super) fn extent(&self, c: &Connection, study: i64, owner: &PeerId) -> Sql<Option<Extent>> {
        if self.scope.admits(owner) {
            return Ok(Some(Extent::Owned));
        }
        if *owner != PeerId::SELF || self.sources.is_empty() {
            return Ok(None);
        }
        let mut by_source = c.prepare_cached(&format!(
            "SELECT sum(contents), max(newest) FROM study_sources WHERE study = ?1 AND source IN ({}) GROUP BY source",
            list(&self.sources)
        ))?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let came: Vec<(i64, i64)> = by_source.query_map([study], row)?.collect::<Sql<_>>()?;
        let Some(newest) = came.iter().map(|(_, newest)| UnixSeconds(*newest)).max() else { return Ok(None) };
        let mut all = c.prepare_cached("SELECT content_count FROM studies WHERE id = ?1")?;
        let all: i64 = all.query_row([study], |row| row.get(0))?;
        let is_whole = if came.iter().any(|(contents, _)| *contents == all) {
            true
        } else if came.iter().map(|(contents, _)| contents).sum::<i64>() < all {
            false
        } else {
            // One content may have come by several.
            let sql = format!("SELECT count(*) FROM instances i WHERE i.study = ?1 AND {}", self.came("i"));
            c.prepare_cached(&sql)?.query_row([study], |row| row.get::<_, i64>(0))? == all
        };
        Ok(Some(if is_whole { Extent::Whole(newest) } else { Extent::Part(newest) }))
    }

    /// The rows of a study of which something is seen, in the order of owners.
    pub(super) fn rows(&self, c: &Connection, study: &StudyUid) -> Sql<Vec<Seen>> {
        let mut statement = c.prepare_cached(
            "SELECT studies.id, peer FROM studies JOIN owners ON owners.id = studies.owner
             WHERE uid = ?1 ORDER BY peer",
        )?;
        let rows = statement.query_map(params![study.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut seen = Vec::new();
        for row in rows {
            let (id, owner): (i64, [u8; 32]) = row?;
            let owner = PeerId::from_bytes(owner);
            if let Some(extent) = self.extent(c, id, &owner)? {
                seen.push(Seen { id, owner, is_part: matches!(extent, Extent::Part(_)) });
            }
        }
        Ok(seen)
    }

    /// The condition that an instance came by one of the sources.
    pub(super) fn came(&self, alias: &str) -> String {
        format!(
            "EXISTS (SELECT 1 FROM arrivals JOIN provenances ON provenances.id = arrivals.provenance
                 WHERE arrivals.instance = {alias}.id AND provenances.source IN ({}))",
            list(&self.sources)
        )
    }

    /// The condition that an instance of one of these rows is seen.
    pub(super) fn is_seen(&self, alias: &str, rows: &[Seen]) -> String {
        match rows.iter().find(|seen| seen.is_part) {
            Some(part) => format!("({alias}.study <> {} OR {})", part.id, self.came(alias)),
            None => "1".to_owned(),
        }
    }

    /// The condition that an instance, which is seen, is current among the contents that are: as
    /// [`current`](crate::store::versions::current) has it.
    pub(super) fn is_current(&self, alias: &str, is_part: bool) -> String {
        if !is_part {
            return format!("{alias}.current");
        }
        let weight = |i: &str| format!("(NOT {i}.cut, coalesce({i}.stated, -1), -{i}.ordered, {i}.hash, {i}.id)");
        format!(
            "NOT EXISTS (SELECT 1 FROM instances b WHERE b.sop_instance = {alias}.sop_instance
                 AND b.study = {alias}.study AND {better} > {own} AND {came})",
            better = weight("b"),
            own = weight(alias),
            came = self.came("b")
        )
    }

    /// The same for instances of several rows.
    pub(super) fn is_current_of(&self, alias: &str, rows: &[Seen]) -> String {
        match rows.iter().find(|seen| seen.is_part) {
            Some(part) => format!(
                "CASE {alias}.study WHEN {} THEN {} ELSE {alias}.current END",
                part.id,
                self.is_current(alias, true)
            ),
            None => format!("{alias}.current"),
        }
    }
}

/// A list of row numbers for a statement, which are not written by anybody else.
pub(super) fn list(ids: &[i64]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
