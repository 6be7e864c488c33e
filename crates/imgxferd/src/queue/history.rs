//! What was transferred, the newest thousand, and the receipts with the studies that they are of.

use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::ids::{PeerId, StudyUid};
use imgxfer_core::progress::Progress;
use imgxfer_core::receipt::SignedReceipt;
use imgxfer_core::server::Direction;
use imgxfer_core::sync::lock;
use imgxfer_core::units::to_u64;
use rusqlite::{Row, params};
use serde::Serialize;

use super::{Queue, QueueError, signed, unsigned};

/// Transfers that are remembered.
pub(crate) const HISTORY_MAX: u32 = 1_000;
/// Studies of one transfer that are remembered by name; all are counted.
const STUDIES_MAX: usize = 100;

/// A transfer that has ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Past {
    /// Seconds since 1970.
    pub(crate) ended: i64,
    pub(crate) seconds: f64,
    /// Name of the peer, `self` for this site's own store.
    pub(crate) peer: String,
    /// `in` or `out`.
    pub(crate) direction: String,
    pub(crate) job: Option<i64>,
    /// Study Instance UIDs, the first hundred.
    pub(crate) studies: Vec<String>,
    pub(crate) study_count: u64,
    /// Instances that are committed.
    pub(crate) instances: u64,
    pub(crate) instances_failed: u64,
    /// Original bytes of those.
    pub(crate) bytes: u64,
    pub(crate) line_bytes: u64,
    /// Root of the manifest, hexadecimal.
    pub(crate) root: Option<String>,
    /// Whether a signed receipt was given or got.
    pub(crate) receipt: bool,
    /// What went wrong, in fixed words.
    pub(crate) problem: Option<String>,
}

impl Past {
    /// What has just ended.
    pub(crate) fn new(
        peer: &str,
        direction: Direction,
        studies: &[StudyUid],
        progress: &Progress,
        seconds: f64,
    ) -> Self {
        Self {
            ended: UnixSeconds::now().0,
            seconds,
            peer: peer.to_owned(),
            direction: if direction == Direction::In { "in" } else { "out" }.to_owned(),
            job: None,
            studies: studies.iter().take(STUDIES_MAX).map(ToString::to_string).collect(),
            study_count: to_u64(studies.len()),
            instances: progress.instances_committed,
            instances_failed: progress.instances_failed,
            bytes: progress.bytes_committed,
            line_bytes: progress.line_bytes,
            root: None,
            receipt: false,
            problem: None,
        }
    }
}

/// A receipt with what it is of.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct KeptReceipt {
    root: String,
    /// Name of the peer that signed, as it was then; none for receipts of before names were kept.
    peer: Option<String>,
    /// Fingerprint of the key that signed.
    key: Option<String>,
    /// By the receiver's clock, seconds since 1970.
    at: i64,
    instances: u64,
    bytes: u64,
    complete: Option<bool>,
    /// Study Instance UIDs; none for receipts of before they were kept.
    studies: Vec<String>,
    signed: SignedReceipt,
}

impl Queue {
    /// Remembers a transfer, and forgets the oldest beyond a thousand.
    pub(crate) fn remember(&self, past: &Past) -> Result<(), QueueError> {
        let mut db = lock(&self.db);
        let transaction = db.transaction()?;
        transaction.execute(
            "INSERT INTO history (ended, seconds, peer, direction, job, studies, study_count, instances, failed, bytes, \
             line_bytes, root, receipt, problem) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                past.ended,
                past.seconds,
                past.peer,
                past.direction,
                past.job,
                past.studies.join(","),
                signed(past.study_count),
                signed(past.instances),
                signed(past.instances_failed),
                signed(past.bytes),
                signed(past.line_bytes),
                past.root,
                past.receipt,
                past.problem,
            ],
        )?;
        let oldest = transaction.last_insert_rowid() - i64::from(HISTORY_MAX);
        transaction.execute("DELETE FROM history WHERE id <= ?", [oldest])?;
        transaction.commit()?;
        Ok(())
    }

    /// The newest transfers, newest first.
    pub(crate) fn history(&self, limit: u32) -> Result<Vec<Past>, QueueError> {
        let db = lock(&self.db);
        let mut select = db.prepare_cached("SELECT * FROM history ORDER BY id DESC LIMIT ?")?;
        let rows = select.query_map([limit], past_of)?.collect::<rusqlite::Result<_>>()?;
        Ok(rows)
    }

    /// Receipts, newest first: all, or those of one study.
    pub(crate) fn receipts_of(&self, study: Option<&StudyUid>, limit: u32) -> Result<Vec<KeptReceipt>, QueueError> {
        let db = lock(&self.db);
        let mut select = db.prepare_cached(
            "SELECT id, root, peer, peer_id, at, instances, bytes, signed FROM receipt WHERE ?1 IS NULL OR id IN \
             (SELECT receipt FROM receipt_study WHERE study = ?1) ORDER BY id DESC LIMIT ?2",
        )?;
        let mut studies = db.prepare_cached("SELECT study FROM receipt_study WHERE receipt = ? ORDER BY study")?;
        let mut rows = select.query(params![study.map(StudyUid::as_str), limit])?;
        let mut receipts = Vec::new();
        while let Some(row) = rows.next()? {
            let Ok(signed) = serde_json::from_str::<SignedReceipt>(&row.get::<_, String>("signed")?) else { continue };
            let said = signed.verify(imgxfer_core::transport::verify).ok();
            let id: i64 = row.get("id")?;
            receipts.push(KeptReceipt {
                root: row.get("root")?,
                peer: row.get("peer")?,
                key: said.as_ref().map(|(receipt, _): &(_, PeerId)| receipt.receiver.fingerprint()),
                at: row.get("at")?,
                instances: unsigned(row.get("instances")?),
                bytes: unsigned(row.get("bytes")?),
                complete: said.map(|(receipt, _)| receipt.complete),
                studies: studies.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?,
                signed,
            });
        }
        Ok(receipts)
    }
}

fn past_of(row: &Row<'_>) -> rusqlite::Result<Past> {
    let studies: String = row.get("studies")?;
    Ok(Past {
        ended: row.get("ended")?,
        seconds: row.get("seconds")?,
        peer: row.get("peer")?,
        direction: row.get("direction")?,
        job: row.get("job")?,
        studies: studies.split(',').filter(|uid| !uid.is_empty()).map(str::to_owned).collect(),
        study_count: unsigned(row.get("study_count")?),
        instances: unsigned(row.get("instances")?),
        instances_failed: unsigned(row.get("failed")?),
        bytes: unsigned(row.get("bytes")?),
        line_bytes: unsigned(row.get("line_bytes")?),
        root: row.get("root")?,
        receipt: row.get("receipt")?,
        problem: row.get("problem")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_thousand_are_remembered_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.db");
        let queue = Queue::open(&path).unwrap();
        let studies: Vec<_> = (1..=101).map(|n| StudyUid::new(&format!("1.2.{n}")).unwrap()).collect();
        let progress = Progress { instances_committed: 7, bytes_committed: 9, ..Progress::default() };
        let mut past = Past::new("cloud", Direction::Out, &studies, &progress, 2.5);
        past.problem = Some("line-lost".to_owned());
        queue.remember(&past).unwrap();
        assert_eq!(queue.history(10).unwrap(), [past.clone()]);
        assert_eq!((past.studies.len(), past.study_count), (100, 101));
        for _ in 0..HISTORY_MAX {
            queue.remember(&Past::new("self", Direction::In, &[], &progress, 0.0)).unwrap();
        }
        drop(queue);
        let all = Queue::open(&path).unwrap().history(2 * HISTORY_MAX).unwrap();
        assert_eq!(all.len(), 1_000);
        assert!(all.iter().all(|past| past.peer == "self" && past.studies.is_empty()), "the first one is forgotten");
    }
}
