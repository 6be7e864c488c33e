//! The contents that one SOP Instance UID has, and which of them is current.

use rusqlite::{CachedStatement, Transaction, params};

use super::commit::Sql;
use super::query::{signed, unsigned};
use crate::ids::{ContentId, InstanceHash};
use crate::store::versions::{Claim, current, is_conflict};
use crate::store::{Order, StoredInstance};

/// What changes of the sums of a study.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Step {
    pub(super) instances: i64,
    pub(super) contents: i64,
    pub(super) conflicts: i64,
    pub(super) bytes: i64,
}

impl Step {
    /// Whether contents came or went. What only became current is told otherwise.
    pub(super) const fn is_change(&self) -> bool {
        self.contents != 0
    }
}

/// A content of a SOP Instance UID, as its row has it.
struct Row {
    id: i64,
    header: i64,
    content: ContentId,
    transfer_syntax: String,
    bytes: i64,
    current: bool,
    claim: Claim,
}

/// Prepared once for a transaction.
pub(super) struct Contents<'a> {
    of_sop: CachedStatement<'a>,
    count: CachedStatement<'a>,
    turn: CachedStatement<'a>,
    headers: CachedStatement<'a>,
    state: CachedStatement<'a>,
}

impl<'a> Contents<'a> {
    pub(super) fn new(tx: &'a Transaction<'a>) -> Sql<Self> {
        Ok(Self {
            of_sop: tx.prepare_cached(
                "SELECT id, header, hash, content, transfer_syntax, bytes, ordered, stated, current, cut
                 FROM instances WHERE sop_instance = ?2 AND study = ?1",
            )?,
            count: tx.prepare_cached("SELECT count(*) FROM instances WHERE sop_instance = ?2 AND study = ?1")?,
            turn: tx.prepare_cached("UPDATE instances SET current = ?2 WHERE id = ?1")?,
            headers: tx.prepare_cached(
                "UPDATE headers SET instance_count = instance_count + ?2, newest = max(newest, ?3) WHERE id = ?1",
            )?,
            state: tx.prepare_cached(
                "UPDATE instances SET stated = max(coalesce(stated, 0), ?3) WHERE study = ?1 AND hash = ?2
                 RETURNING sop_instance, header",
            )?,
        })
    }

    fn rows(&mut self, study: i64, sop: &str) -> Sql<Vec<Row>> {
        let row = |row: &rusqlite::Row<'_>| {
            let stated: Option<i64> = row.get(7)?;
            let claim = Claim {
                cut: row.get(9)?,
                stated: stated.map(|order| Order(unsigned(order))),
                order: Order(unsigned(row.get(6)?)),
                hash: InstanceHash::from_bytes(row.get(2)?),
            };
            Ok(Row {
                id: row.get(0)?,
                header: row.get(1)?,
                content: ContentId::from_bytes(row.get(3)?),
                transfer_syntax: row.get(4)?,
                bytes: row.get(5)?,
                current: row.get(8)?,
                claim,
            })
        };
        self.of_sop.query_map(params![study, sop], row)?.collect()
    }

    /// Whether a SOP Instance UID has one content in a study.
    pub(super) fn is_alone(&mut self, study: i64, sop: &str) -> Sql<bool> {
        self.count.query_row(params![study, sop], |row| row.get::<_, i64>(0)).map(|count| count < 2)
    }

    /// Takes note of a row that was just added, as current. Returns whether it is alone.
    pub(super) fn add(&mut self, study: i64, header: i64, instance: &StoredInstance, step: &mut Step) -> Sql<bool> {
        let sop = instance.entry.sop_instance.as_str();
        let alone = self.is_alone(study, sop)?;
        step.contents += 1;
        step.bytes += signed(instance.entry.len);
        self.headers.execute(params![header, 1, signed(instance.order.0)])?;
        if alone {
            step.instances += 1;
            return Ok(true);
        }
        let rows = self.rows(study, sop)?;
        let is_new = |row: &&Row| row.claim.hash == instance.entry.hash && row.claim.order == instance.order;
        let before: Vec<_> = rows.iter().filter(|row| !is_new(row)).map(|r| (r.content, &r.transfer_syntax)).collect();
        let after: Vec<_> = rows.iter().map(|row| (row.content, &row.transfer_syntax)).collect();
        step.conflicts += i64::from(is_conflict(&after)) - i64::from(is_conflict(&before));
        self.choose(&rows, step)?;
        Ok(false)
    }

    /// Makes the right one of `rows` current.
    fn choose(&mut self, rows: &[Row], step: &mut Step) -> Sql<()> {
        let claims: Vec<Claim> = rows.iter().map(|row| row.claim).collect();
        let chosen = current(&claims);
        for (place, row) in rows.iter().enumerate() {
            let is_current = Some(place) == chosen;
            if is_current != row.current {
                self.turn.execute(params![row.id, is_current])?;
                let sign = if is_current { 1 } else { -1 };
                self.headers.execute(params![row.header, sign, 0])?;
                step.bytes += sign * row.bytes;
            }
        }
        Ok(())
    }

    /// Contents of a study are stated by a manifest: they become current.
    pub(super) fn state(&mut self, study: i64, hashes: &[InstanceHash], order: Order) -> Sql<Step> {
        let mut step = Step::default();
        for hash in hashes {
            let key = params![study, hash.as_bytes(), signed(order.0)];
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let stated: Vec<(String, i64)> = self.state.query_map(key, row)?.collect::<Sql<_>>()?;
            for (sop, header) in stated {
                self.headers.execute(params![header, 0, signed(order.0)])?;
                let rows = self.rows(study, &sop)?;
                self.choose(&rows, &mut step)?;
            }
        }
        Ok(step)
    }

    /// Takes the rows of one SOP Instance UID out that are named by row number, and says what that changes.
    pub(super) fn remove(&mut self, tx: &Transaction<'_>, study: i64, sop: &str, gone: &[i64]) -> Sql<Step> {
        let rows = self.rows(study, sop)?;
        let (out, left): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| gone.contains(&row.id));
        let contents = |rows: &mut dyn Iterator<Item = &Row>| {
            is_conflict(&rows.map(|row| (row.content, row.transfer_syntax.clone())).collect::<Vec<_>>())
        };
        let conflicts = i64::from(contents(&mut left.iter())) - i64::from(contents(&mut out.iter().chain(left.iter())));
        let mut step = Step { conflicts, ..Step::default() };
        for row in &out {
            step.contents -= 1;
            if row.current {
                step.bytes -= row.bytes;
                self.headers.execute(params![row.header, -1, 0])?;
            }
            tx.prepare_cached("DELETE FROM arrivals WHERE instance = ?1")?.execute([row.id])?;
            tx.prepare_cached("DELETE FROM instances WHERE id = ?1")?.execute([row.id])?;
        }
        if left.is_empty() {
            step.instances -= 1;
        }
        self.choose(&left, &mut step)?;
        Ok(step)
    }
}
