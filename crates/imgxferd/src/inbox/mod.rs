//! Watched folders: a study that settles in one becomes a job, and its files wait untouched until exactly they are
//! committed, at the other end or in this site's own store.
//!
//! The system tells of changes where it can; the folder is also read through from time to time, since
//! network shares tell nothing. Symbolic links are not followed. What is not DICOM is left where it is and
//! reported once. Names of files never go into the log: they may be names of people.

mod after;
mod settle;
mod whole;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use imgxfer_core::clock::Stopwatch;
use imgxfer_core::dicom;
use imgxfer_core::store::FileBytes;
use imgxfer_core::work::{WorkError, blocking};
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{Notify, watch};

use crate::audit::{Actor, Audit, Entry, Event};
use crate::config::{Inbox, SELF};
use crate::files;
use crate::metrics::Metrics;
use crate::queue::{NewJob, Queue, QueueError, Stamp, backoff};
use after::Ends;
use settle::{Group, Kind, Settler};

/// After a change the folder is read at most this often.
const READ_AT_MOST_EVERY: Duration = Duration::from_millis(500);

/// What an inbox tells: jobs, what became of files, and how many wait.
type Told = (Arc<Queue>, Audit, Arc<Metrics>);

/// One watched folder. Its methods block.
#[derive(Debug)]
struct Watched {
    inbox: Inbox,
    queue: Arc<Queue>,
    audit: Audit,
    metrics: Arc<Metrics>,
    settler: Settler,
    known: HashMap<PathBuf, Stamp>,
    clock: Stopwatch,
    /// Jobs whose files could not all be moved or deleted: tries so far, and when the next is due.
    again: HashMap<i64, (u32, Duration)>,
    /// Whether the folder could be read last time, so that trouble is told once.
    readable: bool,
}

impl Watched {
    fn new(inbox: Inbox, (queue, audit, metrics): Told) -> Result<Self, QueueError> {
        let known = queue.known_files(&inbox.path)?;
        let settler = Settler::new(inbox.settle, inbox.hold);
        let clock = Stopwatch::start();
        Ok(Self { inbox, queue, audit, metrics, settler, known, clock, again: HashMap::new(), readable: true })
    }

    /// Does for committed files what the inbox says, unless that could not be written down and must be.
    fn finish_jobs(&mut self) -> Result<(), QueueError> {
        if !self.audit.takes_work() {
            return Ok(());
        }
        let jobs = self.queue.unsettled(&self.inbox.path)?;
        if jobs.is_empty() {
            return Ok(());
        }
        let now = self.clock.elapsed();
        self.again.retain(|job, _| jobs.contains(job));
        for job in jobs {
            let (tries, due) = self.again.get(&job).copied().unwrap_or_default();
            if due > now {
                continue;
            }
            let ends = after::apply(&self.queue, &self.inbox, job)?;
            self.tell(job, ends);
            if ends.left == 0 {
                self.again.remove(&job);
                continue;
            }
            if tries == 0 {
                tracing::warn!(job, files = ends.left, inbox = %self.inbox.path.display(), "committed files are not moved or deleted yet: they are open for writing, or permissions or space are missing; tried again with growing pauses");
            }
            // Each try reads the files through.
            let wait = backoff(u64::try_from(job).unwrap_or(0), tries + 3).max(self.inbox.poll);
            self.again.insert(job, (tries + 1, self.clock.elapsed() + wait));
        }
        self.known = self.queue.known_files(&self.inbox.path)?;
        Ok(())
    }

    /// Writes down what became of a job's files.
    fn tell(&self, job: i64, ends: Ends) {
        if ends.is_something() {
            let Ends { moved, deleted, kept, gone, left } = ends;
            let event = Event::InboxEmptied { job, moved, deleted, kept, gone, left };
            self.audit.tell(&Entry::new(Actor::Inbox(self.inbox.path.clone()), event));
        }
    }

    /// Reads the folder once, and puts what has settled into the queue. Returns when to look again at the latest.
    fn look(&mut self) -> Result<Duration, QueueError> {
        self.finish_jobs()?;
        let mut listing = Vec::new();
        let read = list(&self.inbox.path, &mut listing);
        if read.is_err() && self.readable {
            tracing::warn!(inbox = %self.inbox.path.display(), "the folder cannot be read through; check that it is there, and its permissions");
        }
        self.readable = read.is_ok();
        if !self.readable && listing.is_empty() {
            return Ok(self.inbox.poll);
        }
        listing.retain(|(path, stamp)| self.known.get(path) != Some(stamp));
        let now = self.clock.elapsed();
        self.settler.observe(now, listing);
        self.settler.look_again();
        let mut refused = 0;
        for (path, stamp) in self.settler.to_classify() {
            let (kind, unfinished) = self.kind_of(&path);
            refused += usize::from(kind == Kind::Refused);
            self.settler.classify(&path, stamp, kind);
            if unfinished {
                self.settler.unfinished(&path);
            }
        }
        if refused > 0 {
            tracing::warn!(inbox = %self.inbox.path.display(), files = refused, "files that are DICOM and cannot be taken hold what is beside them for hold_seconds; the job fails then and names itself partial: repair or remove them, or send them with all_files = true");
        }
        let rejected = self.settler.rejected(now);
        for (path, stamp) in &rejected {
            self.queue.ignore(&self.inbox.path, path, *stamp)?;
            self.known.insert(path.clone(), *stamp);
        }
        if !rejected.is_empty() {
            tracing::warn!(
                inbox = %self.inbox.path.display(),
                files = rejected.len(),
                "files that are not DICOM are left where they are; all_files = true sends them as well"
            );
        }
        self.settler.taken(rejected.iter().map(|(path, _)| path.as_path()));
        for (_, files) in self.settler.ready(now) {
            for (path, _) in files.iter().filter(|(path, _)| whole::has_writer(path)) {
                self.settler.written(path);
            }
        }
        for (_, files) in self.settler.ready(now) {
            let held = self.settler.held(files.iter().map(|(path, _)| path.as_path()));
            if held > 0 {
                tracing::warn!(inbox = %self.inbox.path.display(), files = held, "files that end before their elements do, or are open for writing, were held for hold_seconds and are sent as they are; such beginnings are never removed");
            }
            let job = NewJob {
                priority: self.inbox.priority,
                all_files: self.inbox.all_files,
                inbox: Some(self.inbox.path.clone()),
                ..NewJob::new(self.inbox.to.as_deref().unwrap_or(SELF), files)
            };
            let id = self.queue.push(&job)?;
            tracing::info!(inbox = %self.inbox.path.display(), job = id, files = job.files.len(), peer = %job.peer, "queued");
            self.settler.taken(job.files.iter().map(|(path, _)| path.as_path()));
            self.known.extend(job.files);
        }
        self.metrics.inboxes.set(&self.inbox.path, self.settler.counts());
        Ok(self.settler.next_due(self.clock.elapsed()).map_or(self.inbox.poll, |due| due.min(self.inbox.poll)))
    }

    /// What a file is, and whether it may be the beginning of a longer one.
    fn kind_of(&self, path: &Path) -> (Kind, bool) {
        let Ok(file) = FileBytes::open_no_follow(path) else { return (Kind::Unreadable, false) };
        let Ok(unfinished) = whole::is_unfinished(&file) else { return (Kind::Unreadable, false) };
        let beside = || Group::Others(path.parent().unwrap_or(&self.inbox.path).to_owned());
        let other = || if self.inbox.all_files { Kind::In(beside()) } else { Kind::NotSent };
        let kind = match dicom::scan(&file) {
            // An index of files that move away from it is of no use to anybody.
            Ok(scan) if scan.is_dicomdir() => Kind::NotSent,
            // One of which nothing says to which study it belongs goes with its folder.
            Ok(scan) => Kind::In(scan.study().map_or_else(beside, Group::Study)),
            Err(dicom::NotDicom::Read(_)) => Kind::Unreadable,
            Err(error) if error.is_dicom() && !self.inbox.all_files => Kind::Refused,
            Err(_) => other(),
        };
        (kind, unfinished)
    }
}

/// Regular files below a folder, without following links. Reads on where it can when a folder fails.
fn list(folder: &Path, out: &mut Vec<(PathBuf, Stamp)>) -> std::io::Result<()> {
    let mut result = Ok(());
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match files::list(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                result = Err(error);
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            // Does not follow a link.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(path);
            } else if let Some(stamp) = Stamp::of(&metadata) {
                out.push((path, stamp));
            }
        }
    }
    result
}

/// Whether an event tells of a change. That files are read, as this program does itself, is none.
fn is_change(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    let closed_by_writer = EventKind::Access(AccessKind::Close(AccessMode::Write));
    !event.kind.is_access() || event.kind == closed_by_writer
}

/// Watches one inbox until the daemon stops. `nudge` is told when a job of the inbox is done.
pub(crate) async fn watch_inbox(inbox: Inbox, told: Told, nudge: Arc<Notify>, mut stopping: watch::Receiver<bool>) {
    let changed = Arc::clone(&nudge);
    let path = inbox.path.clone();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.as_ref().map_or(true, is_change) {
            changed.notify_one();
        }
    });
    let watcher = watcher.and_then(|mut watcher| watcher.watch(&path, RecursiveMode::Recursive).map(|()| watcher));
    if watcher.is_err() {
        tracing::warn!(inbox = %path.display(), poll_seconds = inbox.poll.as_secs(), "the system does not tell of changes here; the folder is read through instead");
    }
    let mut watched: Option<Watched> = None;
    while !*stopping.borrow() {
        let (inbox, told) = (inbox.clone(), told.clone());
        let poll = inbox.poll;
        let look = blocking("look through an inbox", move || {
            let mut watched = match watched {
                Some(watched) => watched,
                None => Watched::new(inbox, told)?,
            };
            let wait = watched.look()?;
            Ok::<_, QueueError>((watched, wait))
        });
        let wait;
        (watched, wait) = match look.await {
            Ok(Ok((watched, wait))) => (Some(watched), wait),
            Ok(Err(error)) => {
                tracing::error!(inbox = %path.display(), %error, "an inbox is not served; it is tried again");
                (None, poll)
            }
            Err(WorkError::Stopping) => return,
            Err(error) => {
                tracing::error!(inbox = %path.display(), %error, "the watching of an inbox begins anew");
                (None, poll)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stopping.changed() => {}
            () = nudge.notified() => {
                tokio::select! {
                    () = tokio::time::sleep(READ_AT_MOST_EVERY.min(wait)) => {}
                    _ = stopping.changed() => {}
                }
            }
        }
    }
    drop(watcher);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::JobState;
    use imgxfer_core::sim::studies::StudySpec;

    fn told(queue: &Arc<Queue>) -> Told {
        (Arc::clone(queue), Audit::none(), Arc::new(Metrics::new(0)))
    }

    fn watched(folder: &Path, inbox: Inbox) -> (Watched, Arc<Queue>) {
        let queue = Arc::new(Queue::open(&folder.join("queue.db")).unwrap());
        (Watched::new(inbox, told(&queue)).unwrap(), queue)
    }

    #[test]
    fn studies_become_jobs_and_the_rest_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        StudySpec::new(1).with_instances(1, 2).with_size(16, 16).write_to(&path.join("a")).unwrap();
        StudySpec::new(2).with_instances(1, 3).with_size(16, 16).write_to(&path.join("b")).unwrap();
        std::fs::write(path.join("note.txt"), "not DICOM").unwrap();
        std::os::unix::fs::symlink(folder.path(), path.join("loop")).unwrap();
        let inbox = Inbox::new(&path, "cloud").with_times(Duration::ZERO, Duration::from_secs(60));
        let (mut inbox_now, queue) = watched(folder.path(), inbox.clone());
        inbox_now.look().unwrap();
        let mut files: Vec<_> = queue.jobs(10).unwrap().iter().map(|job| (job.files, job.state)).collect();
        files.sort_by_key(|(files, _)| *files);
        assert_eq!(files, [(2, JobState::Queued), (3, JobState::Queued)]);
        inbox_now.look().unwrap();
        assert_eq!(queue.jobs(10).unwrap().len(), 2, "nothing is queued twice");
        drop(inbox_now);
        let mut after_restart = Watched::new(inbox, told(&queue)).unwrap();
        after_restart.look().unwrap();
        assert_eq!(queue.jobs(10).unwrap().len(), 2, "nor after a restart");
        std::fs::write(
            path.join("late.dcm"),
            StudySpec::new(1).with_instances(1, 3).with_size(16, 16).instance(1, 3).bytes,
        )
        .unwrap();
        after_restart.look().unwrap();
        assert_eq!(queue.jobs(10).unwrap().len(), 3, "what comes later is another job");
        assert!(path.join("note.txt").exists());
    }

    #[test]
    fn a_beginning_holds_its_study_and_is_never_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        let spec = StudySpec::new(1).with_instances(1, 2).with_size(16, 16);
        let files = spec.write_to(&path).unwrap();
        let whole = std::fs::read(&files[1]).unwrap();
        std::fs::write(&files[1], &whole[..whole.len() - 100]).unwrap();
        let inbox = Inbox::new(&path, "cloud").with_times(Duration::ZERO, Duration::from_secs(60));
        let (mut inbox_now, queue) = watched(folder.path(), inbox);
        inbox_now.look().unwrap();
        assert!(queue.jobs(10).unwrap().is_empty(), "the study waits for its end");
        std::fs::write(&files[1], &whole).unwrap();
        inbox_now.look().unwrap();
        assert_eq!(queue.jobs(10).unwrap()[0].files, 2);
    }

    #[test]
    fn an_open_file_holds_its_study() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        let files = StudySpec::new(1).with_instances(1, 2).with_size(16, 16).write_to(&path).unwrap();
        let inbox = Inbox::new(&path, "cloud").with_times(Duration::ZERO, Duration::from_secs(60));
        let (mut inbox_now, queue) = watched(folder.path(), inbox);
        let writer = std::fs::OpenOptions::new().append(true).open(&files[0]).unwrap();
        inbox_now.look().unwrap();
        assert!(queue.jobs(10).unwrap().is_empty());
        drop(writer);
        inbox_now.look().unwrap();
        assert_eq!(queue.jobs(10).unwrap()[0].files, 2);
    }

    #[test]
    fn a_folder_that_is_not_there_is_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = Inbox::new(folder.path().join("in"), "cloud").with_times(Duration::ZERO, Duration::from_secs(60));
        let (mut watched, queue) = watched(folder.path(), inbox);
        assert_eq!(watched.look().unwrap(), Duration::from_secs(60));
        StudySpec::new(1).with_instances(1, 1).with_size(16, 16).write_to(&folder.path().join("in")).unwrap();
        watched.look().unwrap();
        assert_eq!(queue.jobs(10).unwrap().len(), 1);
    }
}
