//! Puts the files of jobs that are for the site itself into its own store, two at a time, so that they share commits.
//!
//! A file counts as committed once the store has read it back and it is durable there, and only if it was the same
//! before, after and while it was read. Nothing of a file that changed meanwhile is stored.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use imgxfer_core::depot::{Depot, Put, PutError, PutOptions, PutOutcome};
use imgxfer_core::dicom::{self, NotDicom, ReadAt};
use imgxfer_core::progress::Progress;
use imgxfer_core::server::Direction;
use imgxfer_core::store::{FileBytes, Provenance, StoreError};
use imgxfer_core::sync::lock;
use imgxfer_core::units::to_u64;
use imgxfer_core::work::{WorkError, blocking};
use tokio::sync::watch;

use super::error::causes;
use super::lane::{End, Lane, PARTIAL_TRIES, all_gone, count_derived, only_sent, studies};
use super::{Job, JobFile, Outcome, Past, Queue, QueueError, SentFile, Stamp, backoff};
use crate::audit::{About, Actor, Entry, Event};
use crate::config::SELF;
use crate::live::{Live, Ticket};

/// The source of what an operator has put, and no inbox.
const BY_HAND: &str = "user:admin";

/// Why a try ended before all files were looked at.
enum Cut {
    /// The daemon stops.
    Stopped,
    /// An operator does not want the job to go on.
    Cancelled,
    /// The store takes nothing now.
    Store(Arc<StoreError>),
    /// A defect was met.
    Defect,
}

/// What became of the files of a job in one try.
#[derive(Default)]
struct Tried {
    files: Vec<SentFile>,
    progress: Progress,
    /// Instances that were not in the store before, and are now.
    stored: u64,
    cut: Option<Cut>,
}

/// One try of a job.
struct Putting {
    depot: Depot,
    options: PutOptions,
    all_files: bool,
    aborting: watch::Receiver<bool>,
    live: Live,
    ticket: Ticket,
    /// Who says whether the job is still wanted.
    queue: Option<(Arc<Queue>, i64)>,
    left: Mutex<std::vec::IntoIter<PathBuf>>,
    tried: Mutex<Tried>,
}

impl Lane {
    /// Puts the files of a job into the site's own store.
    pub(super) async fn put(&self, job: &Job, files: Vec<JobFile>) -> End {
        let (id, parts) = (job.id, &self.parts);
        let ticket = parts.live.begin(SELF.to_owned(), Direction::In, Some(id), job.priority);
        let expected = Progress { instances_expected: job.files, bytes_expected: job.bytes, ..Progress::default() };
        let files: Vec<PathBuf> = files.into_iter().map(|file| file.path).collect();
        let putting = Arc::new(Putting {
            depot: parts.depot.clone(),
            options: PutOptions::of(Provenance::of(source_of(job))),
            all_files: job.all_files,
            aborting: parts.aborting.clone(),
            live: parts.live.clone(),
            ticket,
            queue: Some((Arc::clone(&parts.queue), id)),
            left: Mutex::new(files.into_iter()),
            tried: Mutex::new(Tried { progress: expected, ..Tried::default() }),
        });
        let worker = || {
            let putting = Arc::clone(&putting);
            blocking("put files into the store", move || putting.work())
        };
        let (first, second) = tokio::join!(worker(), worker());
        let mut tried = std::mem::take(&mut *lock(&putting.tried));
        if let Err(error) = first.and(second) {
            tried.cut = Some(match error {
                WorkError::Stopping => Cut::Stopped,
                _ => Cut::Defect,
            });
        }
        let seconds = parts.live.end(ticket).map_or(0.0, |running| running.since.elapsed().as_secs_f64());
        let end = match tried.cut.take() {
            None => self.put_all(job, tried, seconds).await,
            Some(cut) => self.put_some(job, tried, cut).await,
        };
        self.written_or_held(end)
    }

    /// Each file was looked at: is all of it in the store?
    async fn put_all(&self, job: &Job, tried: Tried, seconds: f64) -> Result<End, QueueError> {
        let id = job.id;
        let Tried { files, progress, stored, .. } = tried;
        self.parts.metrics.transfer_done(Direction::In, &progress, seconds);
        self.parts.metrics.derived(Direction::In, count_derived(&files));
        let (committed, failed) = (progress.instances_committed, progress.instances_failed);
        let told = stored_by(job, &files, &progress);
        let mut past = Past::new(SELF, Direction::In, &studies(&files), &progress, seconds);
        past.job = Some(id);
        if committed > 0 && failed == 0 && to_u64(files.len()) == job.files {
            self.write_down(move |queue| queue.complete_here(id, &files, committed)).await?;
            self.parts.audit.tell(&told);
            tracing::info!(
                instances = committed,
                stored,
                bytes = progress.bytes_committed,
                seconds,
                "put into the store"
            );
            self.remember(past).await;
            self.tell_inbox(job);
            return Ok(End::Done);
        }
        let problem = match (committed, failed) {
            (0, 0) => "nothing-to-put: none of the files is DICOM".to_owned(),
            (0, _) => "none-taken: none of the files can be read and taken".to_owned(),
            _ => format!("partial: {failed} of {} files are not in the store; the files are kept", job.files),
        };
        let problem = all_gone(&files).map_or(problem, str::to_owned);
        tracing::warn!(%problem, attempts = job.attempts, "a job is not complete");
        self.parts.audit.tell(&told.failed(problem.clone()));
        past.problem = Some(problem.clone());
        self.remember(past).await;
        self.write_down(move |queue| {
            queue.note(id, &files)?;
            queue.note_part(id, SELF, None, &only_sent(&files))
        })
        .await?;
        self.again(job, problem, job.attempts < PARTIAL_TRIES).await?;
        Ok(End::Next)
    }

    /// A try ended early.
    async fn put_some(&self, job: &Job, tried: Tried, cut: Cut) -> Result<End, QueueError> {
        let id = job.id;
        let (problem, result) = match &cut {
            Cut::Stopped => ("stopped", "stopped"),
            Cut::Cancelled => ("cancelled", "stopped"),
            Cut::Store(error) if matches!(**error, StoreError::Full { .. }) => {
                ("store-full: make room on the disk of this site's store", "local")
            }
            Cut::Store(_) => ("store: this site's store failed; look at its log and disk", "local"),
            Cut::Defect => ("defect: look at the log of this site for its place, and report it", "local"),
        };
        self.parts.metrics.transfer_failed(Direction::In, result);
        if tried.stored > 0 {
            self.parts.audit.tell(&stored_by(job, &tried.files, &tried.progress).failed(problem));
        }
        if matches!(cut, Cut::Cancelled) {
            return Ok(End::Next);
        }
        if matches!(cut, Cut::Stopped) {
            self.write_down(move |queue| queue.put_back(id)).await?;
            return Ok(End::Hold(backoff(self.parts.seed, 1)));
        }
        self.write_down(move |queue| queue.note(id, &tried.files)).await?;
        let Cut::Store(error) = cut else {
            tracing::error!(
                problem,
                attempts = job.attempts,
                "files could not be put into the store; it needs an operator"
            );
            self.again(job, problem.to_owned(), false).await?;
            return Ok(End::Next);
        };
        let (cause, attempts) = (causes(error.as_ref()), job.attempts);
        if error.is_transient() {
            tracing::warn!(problem, cause, attempts, "files could not be put into the store; it will be tried again");
        } else {
            tracing::error!(problem, cause, attempts, "the store failed; files will be put into it again later");
        }
        // Other jobs would fare no better.
        Ok(End::Hold(self.again(job, problem.to_owned(), true).await?))
    }
}

/// Where the files of a job come from, as arrivals name it.
fn source_of(job: &Job) -> String {
    job.inbox.as_ref().map_or_else(|| BY_HAND.to_owned(), |inbox| format!("inbox:{}", inbox.display()))
}

/// What a try has put into the store, for the audit.
fn stored_by(job: &Job, files: &[SentFile], progress: &Progress) -> Entry {
    let actor = job.inbox.clone().map_or(Actor::Daemon, Actor::Inbox);
    let about = About {
        studies: studies(files),
        instances: progress.instances_committed,
        bytes: progress.bytes_committed,
        ..About::default()
    };
    Entry::new(actor, Event::Stored { source: source_of(job), job: job.id, about })
}

impl Putting {
    /// Puts one file after the other until none is left or the try is cut. Blocks.
    fn work(&self) {
        while let Some(path) = self.next() {
            let (outcome, put) = self.put(&path);
            self.note(path, outcome, put.as_ref());
        }
    }

    fn next(&self) -> Option<PathBuf> {
        if lock(&self.tried).cut.is_some() {
            return None;
        }
        let path = lock(&self.left).next()?;
        if self.is_stopping() {
            lock(&self.tried).cut.get_or_insert(Cut::Stopped);
            return None;
        }
        if self.queue.as_ref().is_some_and(|(queue, job)| queue.is_cut(*job)) {
            lock(&self.tried).cut.get_or_insert(Cut::Cancelled);
            return None;
        }
        Some(path)
    }

    /// Whether the daemon wants this to end, or is gone.
    fn is_stopping(&self) -> bool {
        *self.aborting.borrow() || self.aborting.has_changed().is_err()
    }

    /// What became of one file; nothing where that ends the try. What is in the store now is told in any case.
    fn put(&self, path: &Path) -> (Option<Outcome>, Option<Put>) {
        let Some(stamp) = Stamp::at(path) else { return (Some(Outcome::without_stamp(path)), None) };
        let Ok(file) = FileBytes::open_no_follow(path) else { return (Some(Outcome::Failed), None) };
        let source = Unchanging { file, path, stamp, putting: self };
        let mut options = self.options.clone();
        if self.all_files {
            match dicom::scan(&source) {
                // It stands for what it refers to, which is in the job by itself.
                Ok(scan) if scan.is_dicomdir() => return (Some(Outcome::Skipped), None),
                Ok(_) => {}
                Err(NotDicom::Read(_)) => return (self.unread(), None),
                Err(_) => options.opaque = Some(path.file_name().unwrap_or_default().as_encoded_bytes().to_vec()),
            }
        }
        match self.depot.put(&source, &options) {
            Ok(put) if Stamp::at(path) == Some(stamp) && put.entry.len == stamp.len => {
                (Some(Outcome::Sent { hash: put.entry.hash, stamp }), Some(put))
            }
            // It is another file now.
            Ok(put) => (Some(Outcome::Failed), Some(put)),
            Err(PutError::NotDicom(error)) if error.is_dicom() => (Some(Outcome::Failed), None),
            Err(PutError::NotDicom(_) | PutError::Directory) => (Some(Outcome::Skipped), None),
            Err(PutError::Store(error)) => {
                lock(&self.tried).cut.get_or_insert(Cut::Store(error));
                (None, None)
            }
            Err(_) => (self.unread(), None),
        }
    }

    /// A file could not be read to its end: because of the file, or because the daemon stops.
    fn unread(&self) -> Option<Outcome> {
        if !self.is_stopping() {
            return Some(Outcome::Failed);
        }
        lock(&self.tried).cut.get_or_insert(Cut::Stopped);
        None
    }

    fn note(&self, path: PathBuf, outcome: Option<Outcome>, put: Option<&Put>) {
        let mut tried = lock(&self.tried);
        if put.is_some_and(|put| put.outcome == PutOutcome::Stored) {
            tried.stored += 1;
        }
        let Some(outcome) = outcome else { return };
        match (&outcome, put) {
            (Outcome::Sent { .. }, Some(put)) => {
                let progress = &mut tried.progress;
                progress.instances_committed += 1;
                progress.bytes_committed += put.entry.len;
                progress.bytes_arrived += put.entry.len;
                if put.outcome != PutOutcome::Stored {
                    progress.bytes_present += put.entry.len;
                }
            }
            (Outcome::Failed, _) => tried.progress.instances_failed += 1,
            _ => {}
        }
        let derived = put.is_some_and(|put| put.entry.has_derived_uid());
        tried.files.push(SentFile { path, outcome, study: put.map(|put| put.entry.study.clone()), derived });
        self.live.update(self.ticket, None, Some(tried.progress));
    }
}

/// A file that must not change while it is read, by a reader who may be told to stop.
struct Unchanging<'a> {
    file: FileBytes,
    path: &'a Path,
    stamp: Stamp,
    putting: &'a Putting,
}

impl fmt::Debug for Unchanging<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unchanging").field("stamp", &self.stamp).finish_non_exhaustive()
    }
}

impl ReadAt for Unchanging<'_> {
    fn len(&self) -> u64 {
        self.stamp.len
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if self.putting.is_stopping() {
            return Err(io::Error::other("the daemon is stopping"));
        }
        self.file.read_exact_at(offset, buf)?;
        if Stamp::at(self.path) != Some(self.stamp) {
            return Err(io::Error::other("it changed while it was being read"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use imgxfer_core::codec::Registry;
    use imgxfer_core::ids::PeerId;
    use imgxfer_core::priority::Priority;
    use imgxfer_core::sim::studies::StudySpec;
    use imgxfer_core::store::{InstancesOf, MemIndex, MemRecords, Scope};

    use super::*;

    fn putting(files: Vec<PathBuf>) -> (Putting, watch::Sender<bool>) {
        let (abort, aborting) = watch::channel(false);
        let live = Live::default();
        let ticket = live.begin(SELF.to_owned(), Direction::In, None, Priority::Routine);
        let putting = Putting {
            depot: Depot::new(Arc::new(MemRecords::default()), Arc::new(MemIndex::default()), Registry::default()),
            options: PutOptions::of(Provenance::of("inbox:/in")),
            all_files: false,
            aborting,
            live,
            ticket,
            queue: None,
            left: Mutex::new(files.into_iter()),
            tried: Mutex::default(),
        };
        (putting, abort)
    }

    fn stored(putting: &Putting, spec: &StudySpec) -> usize {
        let mine = Scope::owner(PeerId::SELF);
        let of = InstancesOf::all_versions(spec.study_uid());
        putting.depot.index.instances(&mine, &of, None, 100).unwrap().len()
    }

    #[test]
    fn nothing_is_stored_of_a_file_that_changes_while_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        // One that is held in memory, and one that is not.
        for side in [16, 2_100] {
            let spec = StudySpec::new(1).with_instances(1, 1).with_size(side, side);
            let path = spec.write_to(folder.path()).unwrap().remove(0);
            let (putting, _abort) = putting(Vec::new());
            let stamp = Stamp::at(&path).unwrap();
            let file = FileBytes::open_no_follow(&path).unwrap();
            let source = Unchanging { file, path: &path, stamp, putting: &putting };
            // In another's place, with the same length.
            let bytes = std::fs::read(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, &bytes).unwrap();
            let refused = putting.depot.put(&source, &putting.options).unwrap_err();
            assert!(matches!(refused, PutError::Read(_)), "{refused:?}");
            assert_eq!(stored(&putting, &spec), 0);
            assert!(matches!(putting.put(&path), (Some(Outcome::Sent { .. }), Some(_))));
            assert_eq!(stored(&putting, &spec), 1);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_stop_ends_it_between_files_and_within_one() {
        let folder = tempfile::tempdir().unwrap();
        let spec = StudySpec::new(2).with_instances(1, 2).with_size(16, 16);
        let files = spec.write_to(folder.path()).unwrap();
        let (now, abort) = putting(files.clone());
        abort.send_replace(true);
        assert!(now.next().is_none());
        assert!(matches!(now.put(&files[0]), (None, None)));
        assert!(matches!(lock(&now.tried).cut, Some(Cut::Stopped)));
        let (gone, abort) = putting(files);
        drop(abort);
        gone.work();
        assert!(matches!(lock(&gone.tried).cut, Some(Cut::Stopped)));
        assert_eq!((stored(&now, &spec), stored(&gone, &spec)), (0, 0));
    }
}
