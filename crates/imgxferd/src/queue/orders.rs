//! What an operator may want of a job: try it again, put it off, end it, be done with it.

use std::collections::BTreeSet;

use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::priority::Priority;
use imgxfer_core::sync::lock;
use rusqlite::{OptionalExtension as _, params};

use super::{JobState, Queue, QueueError, rank};

/// What came of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ordered {
    /// It holds, durably.
    Yes,
    /// It makes no sense for a job that stands here.
    No(JobState),
    /// There is no such job.
    Unknown,
}

impl Queue {
    /// A job that failed, waits or was cancelled is tried again at once.
    ///
    /// # Errors
    /// [`QueueError`]; nothing has changed then.
    pub fn retry(&self, job: i64) -> Result<Ordered, QueueError> {
        let update = "UPDATE job SET state = 'queued', finished = NULL, next_try = NULL \
                      WHERE id = ? AND state IN ('failed', 'waiting', 'cancelled')";
        let ordered = self.order(job, update)?;
        if ordered == Ordered::Yes {
            lock(&self.due).remove(&job);
            self.hurry.send_modify(|n| *n += 1);
            self.tell();
        }
        Ok(ordered)
    }

    /// A job is not sent, or not any further: what runs is cut short. Its files stay as they are, and are not queued
    /// again unless they change. It can still be tried again, or dismissed.
    ///
    /// # Errors
    /// [`QueueError`]; nothing has changed then.
    pub fn cancel(&self, job: i64) -> Result<Ordered, QueueError> {
        let now = UnixSeconds::now().0;
        let update = format!(
            "UPDATE job SET state = 'cancelled', finished = {now}, next_try = NULL \
             WHERE id = ? AND state IN ('queued', 'running', 'waiting', 'failed')"
        );
        let ordered = self.order(job, &update)?;
        if ordered == Ordered::Yes {
            self.cut(job);
        }
        Ok(ordered)
    }

    /// A job that failed or was cancelled is done with. Files of it that are committed are moved or deleted as their inbox
    /// says; all others stay where they are.
    ///
    /// # Errors
    /// [`QueueError`]; nothing has changed then.
    pub fn dismiss(&self, job: i64) -> Result<Ordered, QueueError> {
        let now = UnixSeconds::now().0;
        let update = format!(
            "UPDATE job SET state = 'dismissed', finished = {now} WHERE id = ? AND state IN ('failed', 'cancelled')"
        );
        let ordered = self.order(job, &update)?;
        if ordered == Ordered::Yes {
            self.tell();
        }
        Ok(ordered)
    }

    /// Gives a job that is not being sent another priority.
    ///
    /// # Errors
    /// [`QueueError`]; nothing has changed then.
    pub fn set_priority(&self, job: i64, priority: Priority) -> Result<Ordered, QueueError> {
        let update = format!(
            "UPDATE job SET priority = {} WHERE id = ? AND state IN ('queued', 'waiting', 'failed', 'cancelled')",
            rank(priority)
        );
        let ordered = self.order(job, &update)?;
        if ordered == Ordered::Yes {
            self.tell();
        }
        Ok(ordered)
    }

    /// Nothing goes to a peer any more: its open jobs fail with this reason. Returns how many.
    pub(crate) fn orphan(&self, peer: &str, why: &str) -> Result<usize, QueueError> {
        let mut db = lock(&self.db);
        let transaction = db.transaction()?;
        let open = "peer = ? AND state IN ('queued', 'running', 'waiting')";
        let jobs: Vec<i64> = transaction
            .prepare(&format!("SELECT id FROM job WHERE {open}"))?
            .query_map([peer], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let update = format!("UPDATE job SET state = 'failed', next_try = NULL, last_error = ?2 WHERE {open}");
        transaction.execute(&update.replacen("peer = ?", "peer = ?1", 1), params![peer, why])?;
        transaction.commit()?;
        lock(&self.cuts).extend(&jobs);
        drop(db);
        self.tell();
        Ok(jobs.len())
    }

    fn order(&self, job: i64, update: &str) -> Result<Ordered, QueueError> {
        let db = lock(&self.db);
        if db.execute(update, [job])? > 0 {
            return Ok(Ordered::Yes);
        }
        let state =
            db.query_row("SELECT state FROM job WHERE id = ?", [job], |row| row.get::<_, String>(0)).optional()?;
        Ok(state.map_or(Ordered::Unknown, |state| Ordered::No(JobState::from_name(&state))))
    }

    fn cut(&self, job: i64) {
        lock(&self.due).remove(&job);
        lock(&self.cuts).insert(job);
        self.tell();
    }

    /// Whether a job that was claimed must end at once.
    pub(crate) fn is_cut(&self, job: i64) -> bool {
        lock(&self.cuts).contains(&job)
    }

    /// Waits until a job that was claimed must end at once.
    pub(crate) async fn until_cut(&self, job: i64) {
        let mut changes = self.changes();
        while !self.is_cut(job) {
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// Jobs that run and must not.
pub(super) type Cuts = BTreeSet<i64>;
