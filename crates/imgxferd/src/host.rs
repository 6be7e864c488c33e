//! Answers what the server asks, and notes what it tells.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use imgxfer_core::depot::Depot;
use imgxfer_core::dicom::FrameNumbers;
use imgxfer_core::error::TransferError;
use imgxfer_core::ids::{ManifestRoot, PeerId, StudyUid};
use imgxfer_core::pace::Pace;
use imgxfer_core::priority::Priority;
use imgxfer_core::progress::{Progress, TransferEvent};
use imgxfer_core::receipt::SignedReceipt;
use imgxfer_core::server::{Answered, Asked, AskedBy, AskedFrames, Direction, Host, Published, Rights, TransferWatch};
use imgxfer_core::store::StoreError;
use imgxfer_core::sync::lock;
use imgxfer_core::transport::Session;
use imgxfer_core::wire::message::RefuseCode;
use tokio::sync::Notify;

use crate::audit::{About, Actor, Audit, By, Entry, Event};
use crate::live::{Live, Ticket};
use crate::metrics::Metrics;
use crate::peers::{Peers, UNKNOWN};
use crate::queue::{Past, Queue, cause_of, code_of, fault};
use crate::rates::Rates;

/// The daemon behind its server.
#[derive(Debug, Clone)]
pub(crate) struct DaemonHost {
    pub(crate) peers: Arc<Peers>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) live: Live,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) rates: Arc<Rates>,
    pub(crate) audit: Audit,
    pub(crate) room_wanted: Arc<Notify>,
    pub(crate) depot: Depot,
    /// The folder of the store.
    pub(crate) store: PathBuf,
}

/// Why no work is taken, for the audit.
const NO_WORK: &str = "no work is taken while the audit cannot be written";

/// A refusal in words for the audit.
const fn word(code: RefuseCode) -> &'static str {
    match code {
        RefuseCode::NotAllowed => "no right to this",
        RefuseCode::NotFound => "nothing like that, or nothing that it may see",
        RefuseCode::NoSpace => "no space left",
        RefuseCode::Busy => "too many transfers at once",
        RefuseCode::ShuttingDown => "the site is stopping",
        RefuseCode::Protocol => "not understood",
        RefuseCode::Internal => "the index failed",
        _ => "refused",
    }
}

fn by(asked: &AskedBy) -> By {
    By {
        by: asked.attributes.clone(),
        by_studies: asked.studies.clone(),
        by_series: asked.series.clone(),
        by_instances: asked.instances.clone(),
    }
}

/// Runs of frames that are written down of one request.
const FRAME_RUNS_MAX: usize = 50;

fn frames(asked: &AskedFrames, answer: Answered) -> Event {
    let series = asked.series.as_ref().map(|_| "SeriesInstanceUID");
    let by = By {
        by: ["StudyInstanceUID"].into_iter().chain(series).chain(["SOPInstanceUID"]).collect(),
        by_studies: vec![asked.study.clone()],
        by_series: asked.series.iter().cloned().collect(),
        by_instances: vec![asked.sop_instance.clone()],
    };
    let (given, bytes) = match answer {
        Answered::Frames { given, bytes } => (Some(given), Some(bytes)),
        _ => (None, None),
    };
    let runs = asked.frames.runs();
    let first = FrameNumbers::of_runs(runs.iter().take(FRAME_RUNS_MAX).copied());
    let first = first.map(|first| first.to_string()).unwrap_or_default();
    let frames = if runs.len() > FRAME_RUNS_MAX { format!("{first},...") } else { first };
    Event::Frames { by, frames, given, bytes }
}

impl DaemonHost {
    fn name(&self, session: &Session) -> String {
        self.peers.of_session(session).map_or_else(|| UNKNOWN.to_owned(), |peer| peer.name)
    }

    /// Warns that the disk under the store is full, with what a transfer from `peer` still needs: `to_come` original bytes
    /// at most.
    fn tell_full(&self, peer: &str, to_come: u64) {
        let (depot, store, peer) = (self.depot.clone(), self.store.clone(), peer.to_owned());
        // Asks the file system once. The runtime waits for it when it goes down.
        drop(tokio::task::spawn_blocking(move || {
            let left = depot.records.space_left().unwrap_or(0);
            tracing::warn!(
                peer,
                store = %store.display(),
                left_bytes = left,
                to_come_bytes = to_come,
                missing_bytes = to_come.saturating_sub(left),
                "the disk of the store is full down to its reserve: make room there; the transfer then goes on by itself"
            );
        }));
    }

    fn actor(&self, session: &Session) -> Actor {
        Actor::Peer { name: self.name(session), key: session.peer() }
    }
}

impl Host for DaemonHost {
    fn rights(&self, session: &Session) -> Rights {
        let metrics = Arc::clone(&self.metrics);
        self.live.remember(session, move |session| metrics.connection_ended(session.stats().lost_packets));
        self.peers.rights(session)
    }

    fn takes_work(&self) -> bool {
        self.audit.takes_work()
    }

    fn on_session(&self, session: &Session) {
        let address = session.peer_address().to_string();
        self.audit.tell(&Entry::new(self.actor(session), Event::Session { address }));
    }

    fn on_asked(&self, session: &Session, asked: &Asked, answer: Answered) {
        let event = match (asked, answer) {
            (Asked::Send, _) => Event::Send,
            (Asked::Query(asked), Answered::Rows(rows)) => Event::Query { by: by(asked), rows: Some(rows) },
            (Asked::Query(asked), _) => Event::Query { by: by(asked), rows: None },
            (Asked::Frames(asked), answer) => frames(asked, answer),
            (Asked::Pull(asked), _) => Event::PullAsked { by: by(asked), studies: Vec::new() },
            (Asked::Remove(asked), answer) => {
                let (instances, bytes) = match answer {
                    Answered::Removed { contents, bytes } => {
                        self.room_wanted.notify_one();
                        (contents, bytes)
                    }
                    _ => (0, 0),
                };
                let owners = vec![self.name(session)];
                Event::Removed { by: by(asked), owners, instances, bytes, held_at: None }
            }
            _ => Event::Request,
        };
        let entry = Entry::new(self.actor(session), event);
        self.audit.tell(&match answer {
            Answered::Refused(RefuseCode::Busy) if !self.takes_work() => entry.refused(NO_WORK),
            Answered::Refused(code) => entry.refused(word(code)),
            _ => entry,
        });
    }

    fn pace(&self, session: &Session, direction: Direction, priority: Priority) -> Pace {
        self.rates.pace(&self.name(session), direction, priority)
    }

    fn begin(&self, session: &Session, direction: Direction, priority: Priority) -> Box<dyn TransferWatch> {
        let name = self.name(session);
        let ticket = self.live.begin(name.clone(), direction, None, priority);
        let (host, peer, about) = (self.clone(), session.peer(), Mutex::default());
        Box::new(Watch { host, peer, name, direction, priority, ticket, about })
    }
}

/// One transfer that the server runs.
struct Watch {
    host: DaemonHost,
    peer: PeerId,
    /// What the peer was called when it began.
    name: String,
    direction: Direction,
    priority: Priority,
    ticket: Ticket,
    /// What it is about, for the audit.
    about: Mutex<About>,
}

impl Watch {
    /// What the peer did, or was given, for the audit.
    fn entry(&self, event: Event) -> Entry {
        Entry::new(Actor::Peer { name: self.name.clone(), key: self.peer }, event)
    }

    /// Writes down how it ended, with what it has moved.
    fn tell_end(&self, progress: &Progress, error: Option<&TransferError>) {
        let mut about = std::mem::take(&mut *lock(&self.about));
        (about.instances, about.bytes) = (progress.instances_committed, progress.bytes_committed);
        let entry = self.entry(match (self.direction, error) {
            (Direction::In, None) => Event::ReceiptGiven(about),
            (Direction::In, Some(_)) => Event::Received(about),
            _ => Event::Sent(about),
        });
        self.host.audit.tell(&match error {
            Some(error) => entry.failed(code_of(error)),
            None => entry,
        });
    }
}

impl Watch {
    /// Puts it into the history, if anything came of it.
    fn remember(&self, progress: &Progress, error: Option<&TransferError>, seconds: f64) {
        if error.is_some() && progress.instances_committed == 0 {
            return;
        }
        let about = lock(&self.about).clone();
        let mut past = Past::new(&self.name, self.direction, &about.studies, progress, seconds);
        (past.root, past.receipt) = (about.root, error.is_none());
        past.problem = error.map(|error| code_of(error).to_owned());
        let queue = Arc::clone(&self.host.queue);
        // Short and bounded: one row. The runtime waits for it when it goes down.
        drop(tokio::task::spawn_blocking(move || {
            if let Err(error) = queue.remember(&past) {
                tracing::error!(%error, "a transfer is not in the history");
            }
        }));
    }
}

impl TransferWatch for Watch {
    fn pace(&self) -> Pace {
        self.host.rates.pace(&self.name, self.direction, self.priority)
    }

    fn on_event(&self, event: &TransferEvent) {
        match event {
            TransferEvent::Started { transfer } => {
                tracing::debug!(peer = %self.name, direction = ?self.direction, ?transfer, "a transfer began");
                lock(&self.about).transfer = Some(transfer.to_string());
                self.host.live.update(self.ticket, Some(*transfer), None);
            }
            TransferEvent::Progress(progress) => self.host.live.update(self.ticket, None, Some(*progress)),
            _ => {}
        }
    }

    fn on_pull(&self, asked: &AskedBy, studies: &[StudyUid]) {
        studies.clone_into(&mut lock(&self.about).studies);
        self.host.audit.tell(&self.entry(Event::PullAsked { by: by(asked), studies: studies.to_vec() }));
    }

    fn on_published(&self, published: &Published<'_>) {
        let about = About {
            transfer: lock(&self.about).transfer.clone(),
            studies: published.studies.to_vec(),
            instances: published.instances,
            bytes: published.bytes,
            root: Some(published.root.to_string()),
            complete: Some(published.complete),
        };
        // Where it cannot be written, the log and the health tell so; what is committed stays.
        self.host.audit.tell_and_wait(&self.entry(Event::Received(about)));
    }

    fn on_left(&self, studies: &[StudyUid]) {
        studies.clone_into(&mut lock(&self.about).studies);
    }

    fn on_committed(&self, studies: &[StudyUid], root: ManifestRoot) {
        {
            let mut about = lock(&self.about);
            studies.clone_into(&mut about.studies);
            about.root = Some(root.to_string());
        }
        tracing::debug!(peer = %self.name, studies = studies.len(), ?root, "committed");
    }

    fn on_receipt(&self, receipt: &SignedReceipt) {
        if let Ok((said, _)) = receipt.verify(imgxfer_core::transport::verify) {
            self.host.audit.tell(&self.entry(Event::ReceiptGot(About::of_receipt(&said))));
        }
        let (queue, peer, receipt) = (Arc::clone(&self.host.queue), self.peer, receipt.clone());
        let (name, studies) = (self.name.clone(), lock(&self.about).studies.clone());
        // Short and bounded: one row. The runtime waits for it when it goes down.
        drop(tokio::task::spawn_blocking(move || {
            if let Err(error) = queue.keep_receipt((&name, peer), &receipt, &studies) {
                tracing::error!(%error, "a receipt could not be kept");
            }
        }));
    }

    fn on_end(&self, result: Result<&Progress, &TransferError>) {
        let (metrics, direction) = (&self.host.metrics, self.direction);
        let ended = self.host.live.end(self.ticket);
        let known = ended.as_ref().map(|running| running.progress).unwrap_or_default();
        let seconds = ended.map_or(0.0, |running| running.since.elapsed().as_secs_f64());
        self.remember(result.unwrap_or(&known), result.err(), seconds);
        self.tell_end(result.unwrap_or(&known), result.err());
        match result {
            Ok(progress) => {
                metrics.transfer_done(direction, progress, seconds);
                if progress.instances_failed > 0 {
                    tracing::warn!(
                        peer = %self.name,
                        ?direction,
                        failed = progress.instances_failed,
                        instances = progress.instances_committed,
                        "a transfer is done, but for instances that failed; the lines before say why"
                    );
                    return;
                }
                tracing::info!(
                    peer = %self.name,
                    ?direction,
                    instances = progress.instances_committed,
                    bytes = progress.bytes_committed,
                    line_bytes = progress.line_bytes,
                    seconds,
                    "a transfer is complete"
                );
            }
            Err(error) => {
                metrics.transfer_failed(direction, fault(error));
                if matches!(error, TransferError::Store(StoreError::Full { .. })) {
                    return self.host.tell_full(&self.name, known.bytes_expected.saturating_sub(known.bytes_arrived));
                }
                tracing::warn!(peer = %self.name, ?direction, problem = code_of(error), cause = cause_of(error), "a transfer ended early; it can be resumed");
            }
        }
    }
}
