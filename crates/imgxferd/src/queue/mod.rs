//! The durable queue of what is to be sent.
//!
//! A job is a list of files for one peer, or for this site's own store. It survives restarts and loss of power. One for a
//! peer is done only when the peer's signed receipt for exactly these files is there, and the receipt is kept; one for
//! the store, when each of them is durable there and was read back. Whatever trying again can mend is tried again for ever; a job fails only when somebody has to do something first, and an operator
//! can then put it back. Files are never touched here: what happens to them afterwards is [`crate::inbox`]'s.
//!
//! Calls block on the disk: run them off the network's threads.

mod backoff;
mod error;
mod history;
mod lane;
mod orders;
mod outcome;
mod put;
mod schema;
mod source;
#[cfg(test)]
mod tests;
mod types;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imgxfer_core::clock::{Stopwatch, UnixSeconds};
use imgxfer_core::ids::{InstanceHash, ManifestRoot, PeerId, StudyUid};
use imgxfer_core::priority::Priority;
use imgxfer_core::receipt::{Receipt, SignedReceipt};
use imgxfer_core::sync::lock;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tokio::sync::watch;

pub(crate) use backoff::backoff;
pub use error::QueueError;
pub(crate) use error::{cause_of, code_of};
pub(crate) use history::{HISTORY_MAX, Past};
use lane::studies;
pub(crate) use lane::{Lane, LaneKind, PushParts, fault};
pub use orders::Ordered;
pub(crate) use source::{JobSource, Outcome, SentFile};
pub(crate) use types::JobFile;
pub use types::{FileState, Job, JobState, NewJob, QueueSummary, Stamp};

/// The queue.
#[derive(Debug)]
pub struct Queue {
    db: Mutex<Connection>,
    /// When jobs that wait are due, by a clock that does not jump. Jobs that are not in it are due.
    due: Mutex<HashMap<i64, Duration>>,
    /// Running jobs that must end at once. Changed only by who holds `db`.
    cuts: Mutex<orders::Cuts>,
    clock: Stopwatch,
    changed: watch::Sender<u64>,
    hurry: watch::Sender<u64>,
    /// Outcomes that wait to be written.
    troubles: Arc<AtomicUsize>,
}

/// An outcome that waits to be written, while it lives.
#[derive(Debug)]
pub(crate) struct Trouble(Arc<AtomicUsize>);

impl Drop for Trouble {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a lane may do next.
#[derive(Debug)]
pub(crate) enum Claim {
    Job(Box<Job>, Vec<JobFile>),
    /// Nothing now; something becomes due after so long.
    Wait(Option<Duration>),
}

/// Order in which priorities are served; also their number in the database.
const fn rank(priority: Priority) -> u32 {
    match priority {
        Priority::Stat => 0,
        Priority::Background => 2,
        _ => 1,
    }
}

const JOB_COLUMNS: &str = "id, peer, priority, state, files, bytes, attempts, last_error, created, finished, root, \
                           instances, gone, all_files, inbox, CASE state WHEN 'waiting' THEN next_try END AS next_try";

fn job_of(row: &Row<'_>) -> rusqlite::Result<Job> {
    let priority = match row.get::<_, u32>("priority")? {
        0 => Priority::Stat,
        2 => Priority::Background,
        _ => Priority::Routine,
    };
    let inbox: Option<Vec<u8>> = row.get("inbox")?;
    Ok(Job {
        id: row.get("id")?,
        peer: row.get("peer")?,
        priority,
        state: JobState::from_name(&row.get::<_, String>("state")?),
        files: unsigned(row.get("files")?),
        bytes: unsigned(row.get("bytes")?),
        attempts: row.get("attempts")?,
        last_error: row.get("last_error")?,
        created: row.get("created")?,
        finished: row.get("finished")?,
        root: row.get("root")?,
        instances: row.get::<_, Option<i64>>("instances")?.map(unsigned),
        gone: unsigned(row.get("gone")?),
        next_try: row.get("next_try")?,
        all_files: row.get("all_files")?,
        inbox: inbox.map(|bytes| path_of(&bytes)),
    })
}

/// The stamp in the columns behind the path.
fn stamp_of(row: &Row<'_>) -> rusqlite::Result<Stamp> {
    let inode: i64 = row.get(3)?;
    Ok(Stamp {
        len: unsigned(row.get(1)?),
        modified_ns: row.get(2)?,
        inode: inode.cast_unsigned(),
        changed_ns: row.get(4)?,
    })
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

impl Queue {
    /// Opens the queue in a file, or makes it. Jobs that were running are queued again.
    ///
    /// # Errors
    /// [`QueueError`] when it cannot be read, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self, QueueError> {
        let db = schema::open(path)?;
        db.execute("UPDATE job SET state = 'queued' WHERE state IN ('running', 'waiting')", [])?;
        Ok(Self {
            db: Mutex::new(db),
            due: Mutex::default(),
            cuts: Mutex::default(),
            clock: Stopwatch::start(),
            changed: watch::Sender::new(0),
            hurry: watch::Sender::new(0),
            troubles: Arc::default(),
        })
    }

    /// Whether everything that is to be written down has been.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.troubles.load(Ordering::Acquire) == 0
    }

    fn in_trouble(&self) -> Trouble {
        self.troubles.fetch_add(1, Ordering::AcqRel);
        Trouble(Arc::clone(&self.troubles))
    }

    /// Fails all writes, as a full disk does, or takes them again.
    #[cfg(test)]
    fn refuse_writes(&self, refuse: bool) {
        lock(&self.db).pragma_update(None, "query_only", refuse).expect("memory does not fail");
    }

    fn tell(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// Changes whenever a job changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Changes when somebody wants jobs to be tried at once.
    pub(crate) fn hurries(&self) -> watch::Receiver<u64> {
        self.hurry.subscribe()
    }

    /// Puts a job into the queue; durable when this returns. Returns its number.
    ///
    /// # Errors
    /// [`QueueError`]; nothing is queued then.
    pub fn push(&self, job: &NewJob) -> Result<i64, QueueError> {
        let mut db = lock(&self.db);
        let transaction = db.transaction()?;
        let bytes = job.files.iter().map(|(_, stamp)| stamp.len).sum();
        transaction.execute(
            "INSERT INTO job (peer, priority, state, files, bytes, created, all_files, inbox) VALUES (?, ?, 'queued', ?, ?, ?, ?, ?)",
            params![
                job.peer,
                rank(job.priority),
                signed(imgxfer_core::units::to_u64(job.files.len())),
                signed(bytes),
                UnixSeconds::now().0,
                job.all_files,
                job.inbox.as_deref().map(bytes_of),
            ],
        )?;
        let id = transaction.last_insert_rowid();
        {
            let mut insert = transaction
                .prepare("INSERT INTO file (job, path, len, modified_ns, inode, changed_ns, state) VALUES (?, ?, ?, ?, ?, ?, 'waiting')")?;
            for (path, stamp) in &job.files {
                insert.execute(params![
                    id,
                    bytes_of(path),
                    signed(stamp.len),
                    stamp.modified_ns,
                    stamp.inode.cast_signed(),
                    stamp.changed_ns
                ])?;
            }
        }
        transaction.commit()?;
        drop(db);
        self.tell();
        Ok(id)
    }

    /// Takes the next job for a peer: the most urgent, then the oldest, of those that are due.
    pub(crate) fn claim(&self, peer: &str, kind: LaneKind) -> Result<Claim, QueueError> {
        let db = lock(&self.db);
        let now = self.clock.elapsed();
        let worst = if kind == LaneKind::StatOnly { rank(Priority::Stat) } else { rank(Priority::Background) };
        let mut open = db.prepare_cached(&format!(
            "SELECT {JOB_COLUMNS} FROM job WHERE peer = ? AND state IN ('queued', 'waiting') AND priority <= ? ORDER BY priority, id"
        ))?;
        let mut rows = open.query(params![peer, worst])?;
        let mut soonest: Option<Duration> = None;
        while let Some(row) = rows.next()? {
            let job = job_of(row)?;
            let wait = lock(&self.due).get(&job.id).map_or(Duration::ZERO, |due| due.saturating_sub(now));
            if !wait.is_zero() {
                soonest = Some(soonest.map_or(wait, |s| s.min(wait)));
                continue;
            }
            let started = "UPDATE job SET state = 'running', attempts = attempts + 1 WHERE id = ?";
            // Read first: a job that is marked as running and given to nobody would stay so until a restart.
            let files = files_of(&db, job.id)?;
            db.execute(started, [job.id])?;
            lock(&self.cuts).remove(&job.id);
            let job = Job { state: JobState::Running, attempts: job.attempts + 1, ..job };
            self.tell();
            return Ok(Claim::Job(Box::new(job), files));
        }
        Ok(Claim::Wait(soonest))
    }

    /// A try has failed; it is made again after `wait`.
    pub(crate) fn wait(&self, job: i64, error: &str, wait: Duration) -> Result<(), QueueError> {
        lock(&self.due).insert(job, self.clock.elapsed().saturating_add(wait));
        let update =
            "UPDATE job SET state = 'waiting', last_error = ?, next_try = ? WHERE id = ? AND state = 'running'";
        lock(&self.db).execute(update, params![error, UnixSeconds::now().plus(wait).0, job])?;
        self.tell();
        Ok(())
    }

    /// A job goes back to where it was, because the daemon stops.
    pub(crate) fn put_back(&self, job: i64) -> Result<(), QueueError> {
        let update =
            "UPDATE job SET state = 'queued', attempts = max(attempts - 1, 0) WHERE id = ? AND state = 'running'";
        lock(&self.db).execute(update, [job])?;
        self.tell();
        Ok(())
    }

    /// A job cannot go on without somebody doing something.
    pub(crate) fn fail(&self, job: i64, error: &str) -> Result<(), QueueError> {
        let update = "UPDATE job SET state = 'failed', last_error = ? WHERE id = ? AND state = 'running'";
        lock(&self.db).execute(update, params![error, job])?;
        self.tell();
        Ok(())
    }

    /// Notes which files could not be sent in a try.
    pub(crate) fn note(&self, job: i64, sent: &[SentFile]) -> Result<(), QueueError> {
        let mut db = lock(&self.db);
        let transaction = db.transaction()?;
        for file in sent {
            let state = match file.outcome {
                Outcome::Failed => FileState::Failed,
                Outcome::Gone => FileState::Gone,
                Outcome::Sent { .. } | Outcome::Skipped => FileState::Waiting,
            };
            transaction.execute(
                "UPDATE file SET state = ? WHERE job = ? AND path = ?",
                params![state.name(), job, bytes_of(&file.path)],
            )?;
        }
        count_gone(&transaction, job)?;
        transaction.commit()?;
        Ok(())
    }

    /// Notes what a try has committed of a job that is not complete: who dismisses the job is done with those files.
    pub(crate) fn note_part(
        &self,
        job: i64,
        peer: &str,
        receipt: Option<(&Receipt, &SignedReceipt)>,
        committed: &[SentFile],
    ) -> Result<(), QueueError> {
        let mut db = lock(&self.db);
        let transaction = db.transaction()?;
        if let Some(receipt) = receipt {
            insert_receipt(&transaction, Some(peer), receipt.0.receiver, receipt, &studies(committed))?;
        }
        mark_files(&transaction, job, committed)?;
        transaction.commit()?;
        Ok(())
    }

    /// Everything of a job is committed at the peer: keeps the receipt and what exactly was sent.
    pub(crate) fn complete(
        &self,
        job: i64,
        peer: &str,
        receipt: (&Receipt, &SignedReceipt),
        sent: &[SentFile],
    ) -> Result<(), QueueError> {
        let mut db = lock(&self.db);
        let transaction = db.transaction()?;
        insert_receipt(&transaction, Some(peer), receipt.0.receiver, receipt, &studies(sent))?;
        mark_done(&transaction, job, sent, (Some(receipt.0.root.to_string()), receipt.0.instances))?;
        transaction.commit()?;
        drop(db);
        self.is_done(job);
        Ok(())
    }

    /// Everything of a job is committed in this site's own store: keeps what exactly was put.
    pub(crate) fn complete_here(&self, job: i64, put: &[SentFile], instances: u64) -> Result<(), QueueError> {
        let mut db = lock(&self.db);
        let transaction = db.transaction()?;
        mark_done(&transaction, job, put, (None, instances))?;
        transaction.commit()?;
        drop(db);
        self.is_done(job);
        Ok(())
    }

    fn is_done(&self, job: i64) {
        lock(&self.due).remove(&job);
        self.tell();
    }

    /// Keeps a receipt that a peer gave for what it pulled from here.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn keep_receipt(
        &self,
        (name, from): (&str, PeerId),
        signed_receipt: &SignedReceipt,
        studies: &[StudyUid],
    ) -> Result<(), QueueError> {
        let Ok((receipt, _)) = signed_receipt.verify(imgxfer_core::transport::verify) else { return Ok(()) };
        let mut db = lock(&self.db);
        let transaction = db.transaction()?;
        insert_receipt(&transaction, Some(name), from, (&receipt, signed_receipt), studies)?;
        transaction.commit()?;
        Ok(())
    }

    /// Receipts for a manifest, newest last: proof of delivery.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn receipts(&self, root: &ManifestRoot) -> Result<Vec<SignedReceipt>, QueueError> {
        let db = lock(&self.db);
        let mut select = db.prepare_cached("SELECT signed FROM receipt WHERE root = ? ORDER BY id")?;
        let texts = select.query_map([root.to_string()], |row| row.get::<_, String>(0))?;
        let mut receipts = Vec::new();
        for text in texts {
            receipts.extend(serde_json::from_str(&text?).ok());
        }
        Ok(receipts)
    }

    /// One job.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn job(&self, id: i64) -> Result<Option<Job>, QueueError> {
        let select = format!("SELECT {JOB_COLUMNS} FROM job WHERE id = ?");
        Ok(lock(&self.db).query_row(&select, [id], job_of).optional()?)
    }

    /// The newest jobs: those that are open or failed first, then those that are over.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn jobs(&self, limit: u32) -> Result<Vec<Job>, QueueError> {
        let db = lock(&self.db);
        let mut select = db.prepare_cached(&format!(
            "SELECT {JOB_COLUMNS} FROM job ORDER BY state IN ('done', 'cancelled', 'dismissed'), priority, id DESC LIMIT ?"
        ))?;
        let jobs = select.query_map([limit], job_of)?.collect::<rusqlite::Result<_>>()?;
        Ok(jobs)
    }

    /// How many jobs stand where, for each peer that has any.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn summary(&self) -> Result<Vec<QueueSummary>, QueueError> {
        let db = lock(&self.db);
        let mut select = db.prepare_cached(
            "SELECT peer, sum(state IN ('queued', 'running', 'waiting')), sum(state = 'failed'), sum(state = 'done'), \
             min(CASE WHEN state IN ('queued', 'running', 'waiting') THEN created END) FROM job GROUP BY peer ORDER BY peer",
        )?;
        let now = UnixSeconds::now().0;
        let of = |row: &Row<'_>| {
            let oldest: Option<i64> = row.get(4)?;
            Ok(QueueSummary {
                peer: row.get(0)?,
                open: unsigned(row.get(1)?),
                failed: unsigned(row.get(2)?),
                done: unsigned(row.get(3)?),
                oldest_age_seconds: oldest.map_or(0, |created| unsigned(now - created)),
            })
        };
        let rows = select.query_map([], of)?.collect::<rusqlite::Result<_>>()?;
        Ok(rows)
    }

    /// The files of a job.
    pub(crate) fn files(&self, job: i64) -> Result<Vec<JobFile>, QueueError> {
        files_of(&lock(&self.db), job)
    }

    /// Jobs of an inbox that are over while something is still to be done with their files.
    pub(crate) fn unsettled(&self, inbox: &Path) -> Result<Vec<i64>, QueueError> {
        let db = lock(&self.db);
        let mut select = db.prepare_cached(
            "SELECT DISTINCT job.id FROM job JOIN file ON file.job = job.id \
             WHERE job.inbox = ? AND job.state IN ('done', 'dismissed') AND file.state = 'committed' ORDER BY job.id",
        )?;
        let ids = select.query_map([bytes_of(inbox)], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(ids)
    }

    /// Notes what was done with a committed file.
    pub(crate) fn settle(&self, job: i64, path: &Path, state: FileState) -> Result<(), QueueError> {
        let update = "UPDATE file SET state = ? WHERE job = ? AND path = ?";
        lock(&self.db).execute(update, params![state.name(), job, bytes_of(path)])?;
        self.tell();
        Ok(())
    }

    /// A file of an inbox is no DICOM and is left alone.
    pub(crate) fn ignore(&self, inbox: &Path, path: &Path, stamp: Stamp) -> Result<(), QueueError> {
        lock(&self.db).execute(
            "INSERT OR REPLACE INTO ignored (inbox, path, len, modified_ns, inode, changed_ns) VALUES (?, ?, ?, ?, ?, ?)",
            params![
                bytes_of(inbox),
                bytes_of(path),
                signed(stamp.len),
                stamp.modified_ns,
                stamp.inode.cast_signed(),
                stamp.changed_ns
            ],
        )?;
        Ok(())
    }

    /// Files of an inbox that are in a job or ignored, as they were then.
    pub(crate) fn known_files(&self, inbox: &Path) -> Result<HashMap<PathBuf, Stamp>, QueueError> {
        let db = lock(&self.db);
        let mut select = db.prepare_cached(
            "SELECT path, len, modified_ns, inode, changed_ns FROM ignored WHERE inbox = ?1 UNION ALL \
             SELECT * FROM (SELECT file.path, file.len, file.modified_ns, file.inode, file.changed_ns FROM file JOIN job ON file.job = job.id \
             WHERE job.inbox = ?1 AND file.state NOT IN ('changed', 'gone') ORDER BY job.id)",
        )?;
        let of = |row: &Row<'_>| {
            let path: Vec<u8> = row.get(0)?;
            Ok((path_of(&path), stamp_of(row)?))
        };
        let known = select.query_map([bytes_of(inbox)], of)?.collect::<rusqlite::Result<_>>()?;
        Ok(known)
    }

    /// Forgets jobs that were over before `before` and whose files are gone or belong to nobody.
    /// Receipts are kept. Returns how many.
    pub(crate) fn prune(&self, before: UnixSeconds) -> Result<usize, QueueError> {
        let old: Vec<i64> = {
            let db = lock(&self.db);
            let mut select = db.prepare_cached(
                "SELECT id FROM job WHERE state IN ('done', 'cancelled', 'dismissed') AND finished < ?",
            )?;
            select.query_map([before.0], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?
        };
        let mut pruned = 0;
        for id in old {
            let files = self.files(id)?;
            let remembered = self.job(id)?.is_some_and(|job| job.inbox.is_some());
            if remembered && files.iter().any(|file| file.path.symlink_metadata().is_ok()) {
                continue;
            }
            lock(&self.db).execute("DELETE FROM job WHERE id = ?", [id])?;
            pruned += 1;
        }
        Ok(pruned)
    }
}

fn files_of(db: &Connection, job: i64) -> Result<Vec<JobFile>, QueueError> {
    let mut select = db.prepare_cached(
        "SELECT path, len, modified_ns, inode, changed_ns, hash, state FROM file WHERE job = ? ORDER BY path",
    )?;
    let of = |row: &Row<'_>| {
        let path: Vec<u8> = row.get(0)?;
        let hash: Option<Vec<u8>> = row.get(5)?;
        Ok(JobFile {
            path: path_of(&path),
            stamp: stamp_of(row)?,
            hash: hash.and_then(|bytes| InstanceHash::from_slice(&bytes)),
            state: FileState::from_name(&row.get::<_, String>(6)?),
        })
    };
    let files = select.query_map([job], of)?.collect::<rusqlite::Result<_>>()?;
    Ok(files)
}

/// A job is done with these outcomes of its files: root of the manifest, where there is one, and instances.
fn mark_done(
    db: &Connection,
    job: i64,
    sent: &[SentFile],
    (root, instances): (Option<String>, u64),
) -> Result<(), QueueError> {
    mark_files(db, job, sent)?;
    count_gone(db, job)?;
    db.execute(
        "UPDATE job SET state = 'done', finished = ?, root = ?, instances = ?, last_error = NULL WHERE id = ?",
        params![UnixSeconds::now().0, root, signed(instances), job],
    )?;
    Ok(())
}

/// Files of a job with these outcomes are committed, left out or gone.
fn mark_files(db: &Connection, job: i64, sent: &[SentFile]) -> Result<(), QueueError> {
    let mut committed = db.prepare_cached(
        "UPDATE file SET state = 'committed', hash = ?, len = ?, modified_ns = ?, inode = ?, changed_ns = ? \
         WHERE job = ? AND path = ?",
    )?;
    let mut other = db.prepare_cached("UPDATE file SET state = ? WHERE job = ? AND path = ?")?;
    for file in sent {
        let path = bytes_of(&file.path);
        match &file.outcome {
            Outcome::Sent { hash, stamp } => {
                let (len, inode) = (signed(stamp.len), stamp.inode.cast_signed());
                let row = params![hash.as_bytes(), len, stamp.modified_ns, inode, stamp.changed_ns, job, path];
                committed.execute(row)?;
            }
            Outcome::Skipped => drop(other.execute(params![FileState::Skipped.name(), job, path])?),
            Outcome::Gone => drop(other.execute(params![FileState::Gone.name(), job, path])?),
            Outcome::Failed => {}
        }
    }
    Ok(())
}

fn count_gone(db: &Connection, job: i64) -> Result<(), QueueError> {
    let count = "UPDATE job SET gone = (SELECT count(*) FROM file WHERE job = ?1 AND state = 'gone') WHERE id = ?1";
    db.prepare_cached(count)?.execute([job])?;
    Ok(())
}

fn insert_receipt(
    db: &Connection,
    peer: Option<&str>,
    id: PeerId,
    (receipt, signed_receipt): (&Receipt, &SignedReceipt),
    studies: &[StudyUid],
) -> Result<(), QueueError> {
    let text = serde_json::to_string(signed_receipt).map_err(|_| QueueError::Receipt)?;
    db.execute(
        "INSERT INTO receipt (root, peer, peer_id, at, instances, bytes, signed) VALUES (?, ?, ?, ?, ?, ?, ?)",
        params![
            receipt.root.to_string(),
            peer,
            id.to_string(),
            receipt.at.0,
            signed(receipt.instances),
            signed(receipt.bytes),
            text
        ],
    )?;
    let number = db.last_insert_rowid();
    let mut insert = db.prepare_cached("INSERT OR IGNORE INTO receipt_study (receipt, study) VALUES (?, ?)")?;
    for study in studies {
        insert.execute(params![number, study.as_str()])?;
    }
    Ok(())
}
