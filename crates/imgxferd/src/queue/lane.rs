//! Sends the jobs of one peer, one at a time; those of the site itself are put into its own store.
//!
//! Each peer has two lanes, and so has the site: one takes jobs of any priority, the most urgent first; the other only takes
//! STAT jobs, so that an emergency does not wait for the end of a study that is under way.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use imgxfer_core::client::{Client, PushOptions, PushReport, RetryPolicy};
use imgxfer_core::codec::LevelChoice;
use imgxfer_core::depot::Depot;
use imgxfer_core::error::{Fault, Retry, TransferError};
use imgxfer_core::ids::StudyUid;
use imgxfer_core::pace::Pace;
use imgxfer_core::priority::Priority;
use imgxfer_core::progress::TransferEvent;
use imgxfer_core::send::KnownFiles;
use imgxfer_core::server::Direction;
use imgxfer_core::sync::lock;
use imgxfer_core::transport::Dial;
use imgxfer_core::work::blocking;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::outcome::write_down;
use super::source::Sent;
use super::{Claim, Job, JobFile, JobSource, Outcome, Past, Queue, QueueError, SentFile, Stamp, backoff, code_of};
use crate::audit::{About, Actor, Audit, Entry, Event};
use crate::config::SELF;
use crate::live::{Live, Running, Ticket};
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::rates::Rates;

/// Which jobs a lane takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneKind {
    Any,
    StatOnly,
}

/// Tries of a job some of whose files cannot be sent, before an operator is asked.
pub(super) const PARTIAL_TRIES: u32 = 5;

/// How often it is looked whether the audit can be written again, where nothing is sent without one.
const AUDIT_LOOK: Duration = Duration::from_secs(1);

/// One try ends when nothing moved for this long; the job waits then, and others get their turn.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// What all lanes share.
#[derive(Debug, Clone)]
pub(crate) struct PushParts {
    pub(crate) queue: Arc<Queue>,
    pub(crate) client: Client,
    pub(crate) depot: Depot,
    pub(crate) peers: Arc<Peers>,
    pub(crate) live: Live,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) rates: Arc<Rates>,
    pub(crate) audit: Audit,
    /// True when no new job may begin.
    pub(crate) stopping: watch::Receiver<bool>,
    /// True when running jobs must end at once.
    pub(crate) aborting: watch::Receiver<bool>,
    /// Told of each inbox with a job that is done.
    pub(crate) done: mpsc::UnboundedSender<PathBuf>,
    pub(crate) seed: u64,
}

/// One lane of one peer, or of the site itself.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) parts: PushParts,
    /// Its name; [`SELF`] for the site's own store.
    pub(crate) peer: String,
    pub(crate) kind: LaneKind,
    /// What the files of the newest job were found to hold: the next try of it need not read them again.
    pub(crate) known: (i64, KnownFiles),
}

/// Why a job cannot be sent at all.
const NO_PEER: &str = "no-peer: the peer was removed, or has no address any more; pair again and retry, or dismiss";

/// What came of a push.
enum Pushed {
    Ended(Box<Result<PushReport, TransferError>>),
    /// The peer is none any more, or has no address.
    NoPeer,
    Stopped,
    Cancelled,
}

/// How a try ended.
pub(super) enum End {
    Done,
    /// The line or the peer is at fault: other jobs would fare no better for so long.
    Hold(Duration),
    /// Nothing was wrong with the line.
    Next,
}

impl Lane {
    /// Runs until the daemon stops.
    pub(crate) async fn run(mut self) {
        let mut changes = self.parts.queue.changes();
        let mut hurries = self.parts.queue.hurries();
        let mut in_a_row = 0;
        while !*self.parts.stopping.borrow() {
            changes.mark_unchanged();
            if !self.parts.audit.takes_work() {
                tokio::select! {
                    _ = self.parts.stopping.changed() => {}
                    () = tokio::time::sleep(AUDIT_LOOK) => {}
                }
                continue;
            }
            let (peer, kind) = (self.peer.clone(), self.kind);
            let claim = self.blocking(move |queue| queue.claim(&peer, kind)).await;
            let hold = match claim {
                Ok(Claim::Job(job, files)) => match self.carry_out(&job, files).await {
                    End::Done | End::Next => {
                        in_a_row = 0;
                        continue;
                    }
                    End::Hold(wait) => {
                        in_a_row += 1;
                        wait.max(backoff(self.parts.seed, in_a_row))
                    }
                },
                Ok(Claim::Wait(due)) => {
                    let due = due.map(|wait| Instant::now() + wait);
                    tokio::select! {
                        _ = changes.changed() => {}
                        _ = self.parts.stopping.changed() => {}
                        () = sleep_until(due) => {}
                    }
                    continue;
                }
                Err(error) => {
                    tracing::error!(peer = %self.peer, %error, "the queue failed; nothing is sent until it works again");
                    backoff(self.parts.seed, 5)
                }
            };
            tokio::select! {
                _ = hurries.changed() => {}
                _ = self.parts.stopping.changed() => {}
                () = tokio::time::sleep(hold) => {}
            }
        }
    }

    async fn carry_out(&mut self, job: &Job, files: Vec<JobFile>) -> End {
        if self.peer == SELF {
            let span = tracing::info_span!("put", job = job.id);
            return self.put(job, files).instrument(span).await;
        }
        let span = tracing::info_span!("transfer", peer = %self.peer, job = job.id, role = "sender");
        self.send(job, files).instrument(span).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Queue) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        let queue = Arc::clone(&self.parts.queue);
        blocking("use the queue", move || work(&queue)).await?
    }

    /// Writes the outcome of a try, however long that takes.
    pub(super) async fn write_down<T: Send + 'static>(
        &self,
        write: impl Fn(&Queue) -> Result<T, QueueError> + Send + Sync + 'static,
    ) -> Result<T, QueueError> {
        write_down(&self.parts.queue, self.parts.seed, self.parts.aborting.clone(), write).await
    }

    async fn send(&mut self, job: &Job, files: Vec<JobFile>) -> End {
        let id = job.id;
        let (sent, refused) = (Sent::default(), Refused::default());
        let ticket = self.parts.live.begin(self.peer.clone(), Direction::Out, Some(id), job.priority);
        if self.known.0 != id {
            self.known = (id, KnownFiles::default());
        }
        let push = self.prepare(job, files, (&sent, &refused), ticket);
        let mut aborting = self.parts.aborting.clone();
        let pushed = match push {
            None => Pushed::NoPeer,
            Some(push) => tokio::select! {
                pushed = Box::pin(push.run()) => Pushed::Ended(Box::new(pushed)),
                _ = aborting.wait_for(|abort| *abort) => Pushed::Stopped,
                () = self.parts.queue.until_cut(id) => Pushed::Cancelled,
            },
        };
        let running = self.parts.live.end(ticket);
        let seconds = running.as_ref().map_or(0.0, |running| running.since.elapsed().as_secs_f64());
        let sent = std::mem::take(&mut *sent.lock().unwrap_or_else(PoisonError::into_inner));
        let refused = std::mem::take(&mut *lock(&refused));
        let end = match pushed {
            Pushed::NoPeer => self.write_down(move |queue| queue.fail(id, NO_PEER)).await.map(|()| End::Next),
            Pushed::Stopped => {
                self.tell_cut(job, running.as_ref(), &sent, ("stopped", false));
                let back = self.write_down(move |queue| queue.put_back(id)).await;
                back.map(|()| End::Hold(backoff(self.parts.seed, 1)))
            }
            Pushed::Cancelled => {
                // Who wanted that has written it down.
                self.tell_cut(job, running.as_ref(), &sent, ("cancelled", false));
                tracing::info!("cut short, since an operator does not want it any more");
                Ok(End::Next)
            }
            Pushed::Ended(result) => match *result {
                Ok(report) => self.pushed(job, report, (sent, refused), seconds).await,
                Err(error) => {
                    self.parts.metrics.transfer_failed(Direction::Out, fault(&error));
                    self.tell_cut(job, running.as_ref(), &sent, (code_of(&error), !is_tried_again(&error)));
                    if !is_tried_again(&error) {
                        let progress = running.map(|running| running.progress).unwrap_or_default();
                        let mut past = Past::new(&self.peer, Direction::Out, &studies(&sent), &progress, seconds);
                        (past.job, past.problem) = (Some(id), Some(code_of(&error).to_owned()));
                        self.remember(past).await;
                    }
                    self.try_failed(job, &error, sent).await
                }
            },
        };
        self.written_or_held(end)
    }

    /// How a try ended, unless even that could not be written down.
    pub(super) fn written_or_held(&self, end: Result<End, QueueError>) -> End {
        end.unwrap_or_else(|error| {
            // The job is still marked as running, and is queued again at the next start.
            tracing::error!(%error, "the queue failed; the outcome of a job is not written down");
            End::Hold(backoff(self.parts.seed, 5))
        })
    }

    /// Everything for one push; `None` when the peer has no address any more.
    fn prepare(
        &self,
        job: &Job,
        files: Vec<JobFile>,
        (sent, refused): (&Sent, &Refused),
        ticket: Ticket,
    ) -> Option<Push> {
        Some(Push {
            client: self.parts.client.clone(),
            dial: self.parts.peers.dial(&self.peer)?,
            level: self.parts.peers.named(&self.peer)?.level,
            live: self.parts.live.clone(),
            ticket,
            files: files.into_iter().map(|file| (file.path, file.stamp)).collect(),
            all_files: job.all_files,
            priority: job.priority,
            pace: self.parts.rates.pace(&self.peer, Direction::Out, job.priority),
            sent: Arc::clone(sent),
            refused: Arc::clone(refused),
            known: self.known.1.clone(),
        })
    }

    /// A receipt is there, and has been checked: is it for everything?
    async fn pushed(
        &self,
        job: &Job,
        report: PushReport,
        (sent, refused): (Vec<SentFile>, BTreeSet<String>),
        seconds: f64,
    ) -> Result<End, QueueError> {
        let id = job.id;
        self.parts.metrics.transfer_done(Direction::Out, &report.progress, seconds);
        let count = |wanted: fn(&Outcome) -> bool| {
            imgxfer_core::units::to_u64(sent.iter().filter(|file| wanted(&file.outcome)).count())
        };
        self.parts.metrics.derived(Direction::Out, count_derived(&sent));
        let offered = count(|outcome| matches!(outcome, Outcome::Sent { .. }));
        let failed = count(|outcome| matches!(outcome, Outcome::Failed));
        let whole = report.receipt.complete && failed == 0 && report.receipt.instances == offered;
        // What has vanished is no part of the job any more.
        let whole = whole && imgxfer_core::units::to_u64(sent.len()) == job.files;
        let gone = count(|outcome| matches!(outcome, Outcome::Gone));
        let got = Actor::Peer { name: self.peer.clone(), key: report.receipt.receiver };
        self.parts.audit.tell(&Entry::new(got, Event::ReceiptGot(About::of_receipt(&report.receipt))));
        let about = About { studies: studies(&sent), ..About::of_receipt(&report.receipt) };
        let mut past = Past::new(&self.peer, Direction::Out, &about.studies, &report.progress, seconds);
        (past.job, past.root, past.receipt) = (Some(id), about.root.clone(), true);
        if whole && offered > 0 {
            let root = report.receipt.root;
            let (peer, connections, progress) = (self.peer.clone(), report.connections, report.progress);
            self.write_down(move |queue| queue.complete(id, &peer, (&report.receipt, &report.signed), &sent)).await?;
            self.parts.audit.tell(&self.forwarded(job, about));
            tracing::info!(
                instances = offered,
                bytes = progress.bytes_committed,
                line_bytes = progress.line_bytes,
                connections,
                seconds,
                gone,
                root = ?root,
                "committed at the other end"
            );
            self.remember(past).await;
            self.tell_inbox(job);
            return Ok(End::Done);
        }
        let problem = match (offered, failed) {
            (0, 0) => "nothing-to-send: none of the files is DICOM".to_owned(),
            (0, _) => "none-taken: none of the files can be read and taken".to_owned(),
            _ => format!(
                "partial: {} of {} instances are not committed; the files are kept",
                job.files.saturating_sub(report.receipt.instances),
                job.files
            ),
        };
        let problem = all_gone(&sent).map_or(problem, str::to_owned);
        tracing::warn!(%problem, attempts = job.attempts, "a job is not complete");
        self.parts.audit.tell(&self.forwarded(job, about).failed(problem.clone()));
        past.problem = Some(problem.clone());
        self.remember(past).await;
        let (peer, part) = (self.peer.clone(), committed_part(&sent, &refused, report.receipt.instances));
        self.write_down(move |queue| {
            queue.note(id, &sent)?;
            if part.is_empty() {
                return Ok(());
            }
            queue.note_part(id, &peer, Some((&report.receipt, &report.signed)), &part)
        })
        .await?;
        self.again(job, problem, job.attempts < PARTIAL_TRIES).await?;
        Ok(End::Next)
    }

    /// A job is done: its inbox may do with the files what it does.
    pub(super) fn tell_inbox(&self, job: &Job) {
        if let Some(inbox) = &job.inbox {
            // Nobody listens any more only when the daemon stops; the start looks again.
            drop(self.parts.done.send(inbox.clone()));
        }
    }

    fn forwarded(&self, job: &Job, about: About) -> Entry {
        let actor = job.inbox.clone().map_or(Actor::Daemon, Actor::Inbox);
        Entry::new(actor, Event::Forwarded { peer: self.peer.clone(), job: job.id, about })
    }

    /// Remembers what has ended. Without it nothing is lost but a line of the history.
    pub(super) async fn remember(&self, past: Past) {
        if let Err(error) = self.blocking(move |queue| queue.remember(&past)).await {
            tracing::error!(%error, "a transfer is not in the history");
        }
    }

    /// Writes down a try that ended early, if it was the last, or something has left this site in it.
    fn tell_cut(&self, job: &Job, running: Option<&Running>, sent: &[SentFile], (why, last): (&'static str, bool)) {
        let progress = running.map(|running| running.progress).unwrap_or_default();
        if !last && progress.payload_bytes == 0 {
            return;
        }
        let about = About {
            transfer: running.and_then(|running| running.transfer).map(|transfer| transfer.to_string()),
            studies: studies(sent),
            instances: progress.instances_committed,
            bytes: progress.bytes_committed,
            ..About::default()
        };
        self.parts.audit.tell(&self.forwarded(job, about).failed(why));
    }

    async fn try_failed(&self, job: &Job, error: &TransferError, sent: Vec<SentFile>) -> Result<End, QueueError> {
        let id = job.id;
        let problem = code_of(error);
        let again = is_tried_again(error);
        if again {
            tracing::warn!(problem, attempts = job.attempts, "a transfer failed; it will be tried again");
        } else {
            tracing::error!(problem, "a transfer failed for good; it needs an operator");
        }
        self.write_down(move |queue| queue.note(id, &sent)).await?;
        let wait = self.again(job, problem.to_owned(), again).await?;
        let elsewhere = matches!(error.fault(), Fault::Network | Fault::Peer);
        Ok(if again && elsewhere { End::Hold(wait) } else { End::Next })
    }

    /// Puts a job back for another try, or gives it to the operator.
    pub(super) async fn again(&self, job: &Job, problem: String, again: bool) -> Result<Duration, QueueError> {
        let id = job.id;
        let seed = self.parts.seed.wrapping_add(imgxfer_core::units::to_u64(usize::try_from(id).unwrap_or(0)));
        let wait = backoff(seed, job.attempts);
        self.write_down(move |queue| if again { queue.wait(id, &problem, wait) } else { queue.fail(id, &problem) })
            .await?;
        Ok(wait)
    }
}

fn is_tried_again(error: &TransferError) -> bool {
    error.retry() != Retry::Never || matches!(error, TransferError::Cancelled)
}

/// What is wrong where not one file of a job is there any more.
pub(super) fn all_gone(sent: &[SentFile]) -> Option<&'static str> {
    let gone = !sent.is_empty() && sent.iter().all(|file| file.outcome == Outcome::Gone);
    gone.then_some("files-gone: none of the files is there any more; dismiss the job")
}

/// The files that were in the manifest, or in this site's store.
pub(super) fn only_sent(sent: &[SentFile]) -> Vec<SentFile> {
    sent.iter().filter(|file| matches!(file.outcome, Outcome::Sent { .. })).cloned().collect()
}

/// The files of an incomplete try that are committed at the peer for certain: those that were offered and not refused by
/// name, and only if the receipt counts as many.
fn committed_part(sent: &[SentFile], refused: &BTreeSet<String>, instances: u64) -> Vec<SentFile> {
    let mut part = only_sent(sent);
    part.retain(|file| !refused.contains(&imgxfer_core::send::printable(&file.path)));
    if imgxfer_core::units::to_u64(part.len()) == instances { part } else { Vec::new() }
}

/// The studies that files belong to.
pub(super) fn studies(sent: &[SentFile]) -> Vec<StudyUid> {
    sent.iter().filter_map(|file| file.study.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Files that have a derived UID.
pub(super) fn count_derived(sent: &[SentFile]) -> u64 {
    imgxfer_core::units::to_u64(sent.iter().filter(|file| file.derived).count())
}

/// One push of one job.
struct Push {
    client: Client,
    dial: Dial,
    live: Live,
    ticket: Ticket,
    files: Vec<(PathBuf, Stamp)>,
    all_files: bool,
    priority: Priority,
    pace: Pace,
    level: LevelChoice,
    sent: Sent,
    refused: Refused,
    known: KnownFiles,
}

/// Names of files that the peer did not take, or that changed, in the present connection.
type Refused = Arc<Mutex<BTreeSet<String>>>;

impl Push {
    async fn run(self) -> Result<PushReport, TransferError> {
        let source = || {
            let (files, sent) = (self.files.clone(), Arc::clone(&self.sent));
            Box::new(JobSource::new(files, self.all_files, sent, self.known.clone())) as _
        };
        let retry = RetryPolicy::default().giving_up_after(GIVE_UP_AFTER);
        let options = PushOptions::default().with_priority(self.priority).with_level(self.level).with_retry(retry);
        let options = options.with_pace(self.pace);
        let observer = |event: &TransferEvent| match event {
            TransferEvent::Started { transfer } => {
                tracing::debug!(?transfer, "a connection stands");
                lock(&self.refused).clear();
                self.live.update(self.ticket, Some(*transfer), None);
            }
            TransferEvent::Progress(progress) => self.live.update(self.ticket, None, Some(*progress)),
            TransferEvent::Failed { label, .. } => drop(lock(&self.refused).insert(label.clone())),
            TransferEvent::Interrupted { retry_in_ms, .. } => tracing::debug!(retry_in_ms, "the connection was lost"),
            _ => {}
        };
        self.client.push(&self.dial, source, &options, &observer).await
    }
}

/// A word for a metric's label.
pub(crate) fn fault(error: &TransferError) -> &'static str {
    match error.fault() {
        Fault::Peer => "peer",
        Fault::Local => "local",
        Fault::Network => "network",
        _ => "stopped",
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
