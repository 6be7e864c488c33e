//! Drives a [`Sender`]: pages are built ahead, records encoded on all cores, sent on a few streams.
//!
//! Everything that is ahead of the line is bounded: one page, and records worth [`RECORDS_AHEAD`].

use std::collections::{HashMap, VecDeque};
use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::choose::Chooser;
use super::dispatch::{Dispatch, Dispatched};
use super::encode::Coding;
use super::files::NoSuchPath;
use super::lanes::Lanes;
use super::order::Ordered;
use super::plan::{OfferedPage, Plan, bytes_outside, plans};
use super::source::{Source, SourceInstance, SourceItem, Totals};
use crate::codec::{CodecId, LevelChoice, Registry};
use crate::effort::Effort;
use crate::error::TransferError;
use crate::ids::TransferId;
use crate::manifest::{InstanceAt, PageBuilder};
use crate::pace::{Pace, RateLimit};
use crate::priority::Priority;
use crate::progress::{Observer, Progress, Remark, TransferEvent};
use crate::proto::{InstanceFailure, ProtocolError, Sender, SenderOutput};
use crate::transfer::{GAVE_WAY, LineWatch, Notice, Pulse, log_failure, name_transfer, refuse, transfer_span};
use crate::transport::{ControlReceiver, ControlSender, Session, TransportError};
use crate::units::to_usize;
use crate::wire::message::{Body, FailCode, ReceiptBody};
use crate::work::{blocking, ended};

/// Records being encoded or waiting for a stream, above the number of cores. Each is up to 1 MiB.
const RECORDS_AHEAD: usize = 6;
/// The same until the line's rate is known, and with it the level that suits.
const RECORDS_AHEAD_BLINDLY: usize = 2;
/// How often progress is told and the connection looked at.
const TICK: Duration = Duration::from_millis(50);

/// Settings of a sending transfer.
#[derive(Debug, Clone, Default)]
pub(crate) struct SendSettings {
    /// Priority on the wire: 0 routine, 1 STAT, 2 background.
    pub(crate) priority: u32,
    /// Who chooses the level.
    pub(crate) level: LevelChoice,
    /// Codecs that a puller said it decodes, ahead of accepting.
    pub(crate) codecs: Option<Vec<CodecId>>,
    /// Codecs.
    pub(crate) registry: Registry,
    /// How fast it may go.
    pub(crate) pace: Pace,
    /// Says when its place has to be given up.
    pub(crate) notice: Notice,
    /// Whether the receiver is to read back what it has.
    pub(crate) prove: bool,
}

/// How a sending transfer ended.
#[derive(Debug)]
pub(crate) struct SendOutcome {
    /// The receiver's signed word; not yet checked.
    pub(crate) receipt: ReceiptBody,
    /// What was sent.
    pub(crate) progress: Progress,
    /// The machine that sent: knows which manifest a receipt may be for.
    pub(crate) sender: Sender,
    /// The transfer.
    pub(crate) transfer: TransferId,
}

/// What the page builder hands back.
struct Built {
    source: Ordered,
    builder: PageBuilder,
    pending: VecDeque<SourceInstance>,
    events: Vec<TransferEvent>,
    /// Copies that were met since it was asked last, and their bytes.
    copies: (u64, u64),
    page: Option<OfferedPage>,
    /// Whether there is nothing for now.
    waits: bool,
    end: bool,
}

impl Built {
    fn of(source: Box<dyn Source>) -> Self {
        Self {
            source: Ordered::new(source),
            builder: PageBuilder::default(),
            pending: VecDeque::new(),
            events: Vec::new(),
            copies: (0, 0),
            page: None,
            waits: false,
            end: false,
        }
    }
}

/// Reads instances until a page is full, and counts that work. Blocks.
fn build_page(mut built: Built, effort: &Effort) -> io::Result<Built> {
    effort.count(|| fill_page(&mut built))?;
    Ok(built)
}

fn fill_page(built: &mut Built) -> io::Result<()> {
    built.waits = false;
    while built.page.is_none() && !built.end && !built.waits {
        let item = built.source.next_item()?;
        crate::effort::note(1);
        let complete = match item {
            Some(SourceItem::Instance(instance)) => {
                built.events.extend(remarks(&instance));
                let page = built.builder.push(instance.entry.clone());
                built.pending.push_back(*instance);
                page
            }
            Some(SourceItem::Nothing) => {
                built.waits = true;
                built.builder.take()
            }
            Some(SourceItem::Copy { label, len }) => {
                (built.copies.0, built.copies.1) = (built.copies.0 + 1, built.copies.1.saturating_add(len));
                built.events.push(TransferEvent::Remarked { label, remark: Remark::Copy });
                None
            }
            Some(SourceItem::Skipped { label, reason }) => {
                built.events.push(TransferEvent::Skipped { label, reason });
                None
            }
            Some(SourceItem::Failed { label, reason }) => {
                built.events.push(TransferEvent::Failed { label, reason });
                None
            }
            None => {
                built.end = true;
                built.builder.take()
            }
        };
        built.page = complete.map(|page| {
            let instances = built.pending.drain(..page.instances.len()).collect();
            OfferedPage { page, instances }
        });
    }
    Ok(())
}

/// What a source says of itself at the start.
#[derive(Clone, Copy)]
struct Opening {
    totals: Totals,
    others: u64,
    follows: bool,
}

/// What is to be said of an instance that is sent.
fn remarks(instance: &SourceInstance) -> impl Iterator<Item = TransferEvent> {
    let label = &instance.label;
    let truncated = instance.truncated.then_some(Remark::Truncated);
    let derived = instance.entry.has_derived_uid().then_some(Remark::DerivedUid);
    truncated.into_iter().chain(derived).map(|remark| TransferEvent::Remarked { label: label.clone(), remark })
}

struct Sending<'a> {
    sender: Sender,
    pages: HashMap<u32, Arc<OfferedPage>>,
    queue: VecDeque<Plan>,
    running: JoinSet<Result<Dispatched, TransportError>>,
    dispatch: Dispatch,
    /// The limit that the receiver wishes for.
    wished: RateLimit,
    coding: Coding,
    codecs: Option<Vec<CodecId>>,
    workers: usize,
    observer: &'a dyn Observer,
    progress: Progress,
    source_failed: bool,
    receipt: Option<ReceiptBody>,
    outbox: VecDeque<Body>,
}

impl<'a> Sending<'a> {
    fn new(
        transfer: TransferId,
        start: Opening,
        settings: SendSettings,
        (lanes, wished): (Arc<Lanes>, RateLimit),
        observer: &'a dyn Observer,
    ) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
        let totals = start.totals;
        let progress =
            Progress { instances_expected: totals.instances, bytes_expected: totals.bytes, ..Progress::default() };
        Self {
            sender: Sender::new(transfer, settings.priority, totals.instances, totals.bytes)
                .with_proof(settings.prove)
                .with_others(start.others)
                .following(start.follows),
            pages: HashMap::new(),
            queue: VecDeque::new(),
            running: JoinSet::new(),
            dispatch: Dispatch::new(lanes, Chooser::new(settings.level, workers), workers),
            wished,
            coding: Coding::new(settings.registry),
            codecs: settings.codecs,
            workers,
            observer,
            progress,
            source_failed: false,
            receipt: None,
            outbox: VecDeque::new(),
        }
    }
}

impl Sending<'_> {
    fn drain(&mut self) {
        while let Some(output) = self.sender.poll_output() {
            match output {
                SenderOutput::Send(body) => self.outbox.push_back(body),
                SenderOutput::Accepted { codecs, workers } => self.accepted(codecs, workers),
                SenderOutput::Chunks { page, chunks, plain } => {
                    let Some(offered) = self.pages.get(&page) else { continue };
                    let plans = plans(page, offered, &chunks, plain);
                    let raw_bytes = plans.iter().map(Plan::raw_len).sum();
                    self.dispatch.queued(raw_bytes);
                    // What was damaged holds up its instance: it goes first.
                    if plain {
                        self.dispatch.again(raw_bytes);
                        plans.into_iter().for_each(|plan| self.queue.push_front(plan));
                    } else {
                        let present = bytes_outside(&offered.page, &chunks);
                        self.progress.bytes_present += present;
                        self.progress.bytes_arrived += present;
                        self.queue.extend(plans);
                    }
                }
                SenderOutput::Received { bytes, rate_max, .. } => {
                    self.wished.set((rate_max > 0).then_some(rate_max));
                    self.dispatch.received(bytes);
                    let arrived = self.progress.bytes_present.saturating_add(bytes);
                    self.progress.bytes_arrived = self.progress.bytes_arrived.max(arrived);
                }
                SenderOutput::Committed { page, places } => {
                    let Some(offered) = self.pages.get(&page) else { continue };
                    for place in places {
                        let len = offered.page.instances.get(to_usize(u64::from(place))).map_or(0, |i| i.len);
                        self.progress.instances_committed += 1;
                        self.progress.bytes_committed += len;
                    }
                }
                SenderOutput::Failed { at, why } => self.instance_failed(at, &why),
                SenderOutput::Forget(page) => {
                    drop(self.pages.remove(&page));
                }
                SenderOutput::Receipt(receipt) => self.receipt = Some(receipt),
            }
        }
        let committed = self.progress.bytes_committed;
        self.progress.bytes_arrived = self.progress.bytes_arrived.max(committed);
    }

    fn accepted(&mut self, mut codecs: Vec<CodecId>, workers: u32) {
        narrow(&mut codecs, self.codecs.as_deref());
        self.coding.accepted = codecs;
        self.dispatch.peer_workers(to_usize(u64::from(workers)));
    }

    fn instance_failed(&mut self, at: InstanceAt, why: &InstanceFailure) {
        // Nothing has failed: a receiver that mends takes what it lacks alone.
        if *why == InstanceFailure::Refused(FailCode::Unwanted) {
            return;
        }
        self.progress.instances_failed += 1;
        let place = to_usize(u64::from(at.place));
        let page = self.pages.get(&at.page);
        if let Some(entry) = page.and_then(|page| page.page.instances.get(place)) {
            log_failure(self.progress.instances_failed, Some(entry), why_in_log(why));
        }
        let label = page.and_then(|p| p.instances.get(place)).map(|i| i.label.clone());
        let label = label.unwrap_or_else(|| format!("instance {} of page {}", at.place, at.page));
        self.observer.on_event(&TransferEvent::Failed { label, reason: why.to_string() });
    }

    fn offer(&mut self, page: OfferedPage) {
        let index = self.sender.offer(&page.page);
        self.pages.insert(index, Arc::new(page));
        self.drain();
    }

    /// Starts records while there is room ahead of the line. Of those, as many encode at once as there are
    /// cores; the others are ready, and wait for the line.
    fn start_records(&mut self) {
        let ahead = if self.dispatch.knows_line() { RECORDS_AHEAD } else { RECORDS_AHEAD_BLINDLY };
        while self.running.len() < self.workers + ahead {
            let Some(plan) = self.queue.pop_front() else { return };
            self.running.spawn(self.dispatch.clone().run(plan, self.coding.clone()).in_current_span());
        }
    }

    fn dispatched(&mut self, dispatched: Dispatched) -> Result<(), TransferError> {
        self.progress.payload_bytes += dispatched.sent.bytes;
        self.progress.payload_raw_bytes += dispatched.sent.raw_bytes;
        self.progress.coded = dispatched.coded.or(self.progress.coded);
        for (at, why) in dispatched.withdrawn {
            self.sender.withdraw(at, why)?;
            // The receiver wants no more of it, and takes only so much that it does not want.
            self.queue.iter_mut().for_each(|plan| plan.drop_instance(at));
            self.queue.retain(|plan| !plan.chunks.is_empty());
        }
        self.drain();
        Ok(())
    }

    /// Copies, and their bytes, are not sent.
    fn less_is_expected(&mut self, (copies, bytes): (u64, u64)) {
        let progress = &mut self.progress;
        progress.instances_expected = progress.instances_expected.saturating_sub(copies);
        progress.bytes_expected = progress.bytes_expected.saturating_sub(bytes);
    }

    fn events(&mut self, events: Vec<TransferEvent>) {
        for event in events {
            if let TransferEvent::Failed { reason, .. } = &event {
                self.source_failed = true;
                self.progress.instances_failed += 1;
                log_failure(self.progress.instances_failed, None, reason);
            }
            self.observer.on_event(&event);
        }
    }
}

/// Why a source gives nothing more.
fn source_error(error: io::Error) -> TransferError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<NoSuchPath>()) {
        Some(NoSuchPath(path)) => TransferError::NoSuchPath(path.clone()),
        None => TransferError::Source(error),
    }
}

/// Why an instance failed, without what the system says of its file.
const fn why_in_log(why: &InstanceFailure) -> &'static str {
    match why {
        InstanceFailure::Changed => "the file changed while it was being sent",
        InstanceFailure::Unreadable(_) => "the file could not be read any more",
        InstanceFailure::Defect => "a defect of this program keeps it from being sent",
        InstanceFailure::Refused(code) => code.reason(),
    }
}

/// Sends everything that `source` gives over a control stream that is open, or has just been opened.
///
/// Cancel-safe in the sense that matters: dropping the future stops all work and resets its streams, and a
/// new transfer of the same source sends only what the receiver lacks.
///
/// # Errors
/// [`TransferError`]; what was committed before stays so.
pub(crate) async fn send(
    session: &Session,
    mut control: (ControlSender, ControlReceiver),
    source: Box<dyn Source>,
    settings: SendSettings,
    observer: &dyn Observer,
) -> Result<SendOutcome, TransferError> {
    let mut notice = settings.notice.clone();
    let work = async {
        let result = tokio::select! {
            result = run(session, &mut control, source, settings, observer) => result,
            () = notice.given() => Err(GAVE_WAY),
        };
        if let Err(error) = &result {
            refuse(&mut control.0, error, 0).await;
        }
        result
    };
    work.instrument(transfer_span("out")).await
}

async fn run(
    session: &Session,
    control: &mut (ControlSender, ControlReceiver),
    source: Box<dyn Source>,
    settings: SendSettings,
    observer: &dyn Observer,
) -> Result<SendOutcome, TransferError> {
    let (control_out, control_in) = (&mut control.0, &mut control.1);
    let transfer = TransferId::from_bytes(crate::transport::random_bytes()?);
    name_transfer(transfer);
    let opening = Opening { totals: source.totals(), others: source.others(), follows: source.follows() };
    let stream_priority = [10, 50, 0][to_usize(u64::from(settings.priority)).min(2)];
    let priority = Priority::from_number(settings.priority);
    let mut rank = Some(session.rank(priority));
    let wished = RateLimit::default();
    let pace = settings.pace.clone().and(wished.clone());
    let notice = settings.notice.clone();
    let lanes = Lanes::new(session.clone(), transfer, stream_priority, pace.clone());
    let mut sending = Sending::new(transfer, opening, settings, (lanes, wished), observer);
    sending.dispatch.look();
    observer.on_event(&TransferEvent::Started { transfer });
    let mut watch = LineWatch::new(session.clone());
    let empty = Built::of(source);
    let effort = Effort::default();
    let build = |built: Built| {
        let effort = effort.clone();
        Box::pin(blocking("read what is sent", move || build_page(built, &effort)))
    };
    let mut building = Some(build(empty));
    let mut built: Option<Built> = None;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut pulse = Pulse::new(effort.clone());
    sending.drain();
    loop {
        while let Some(body) = sending.outbox.pop_front() {
            control_out.send(&body.into_bytes()).await?;
        }
        if let Some(receipt) = sending.receipt.take() {
            watch.look(&mut sending.progress, &pace);
            observer.on_event(&TransferEvent::Progress(sending.progress));
            control_out.finish()?;
            return Ok(SendOutcome { receipt, progress: sending.progress, sender: sending.sender, transfer });
        }
        if let Some(mut done) = built.take() {
            sending.events(std::mem::take(&mut done.events));
            sending.less_is_expected(std::mem::take(&mut done.copies));
            if done.page.is_some() && !sending.sender.wants_page() {
                built = Some(done);
            } else {
                if done.waits && done.page.is_none() {
                    // Who has nothing to send for now holds nobody up.
                    rank = None;
                } else if rank.is_none() {
                    rank = Some(session.rank(priority));
                }
                if let Some(page) = done.page.take() {
                    sending.offer(page);
                }
                if done.end {
                    sending.sender.falls_short(done.source.shortfall());
                    sending.sender.finish(!sending.source_failed);
                    sending.drain();
                } else {
                    building = Some(build(done));
                }
                continue;
            }
        }
        sending.start_records();
        tokio::select! {
            message = control_in.recv(crate::limits::MESSAGE_BYTES_MAX) => {
                let message = message?.ok_or(TransferError::Transport(TransportError::Truncated))?;
                let body = Body::from_bytes(message).map_err(ProtocolError::from)?;
                pulse.heard(&body);
                sending.sender.handle_message(body)?;
                sending.drain();
            }
            result = async { Some(building.as_mut()?.await) }, if building.is_some() => {
                building = None;
                let result = result.ok_or(TransferError::Cancelled)??;
                built = Some(result.map_err(source_error)?);
            }
            Some(record) = sending.running.join_next(), if !sending.running.is_empty() => {
                sending.dispatched(ended("send a record", record)??)?;
                effort.add(1);
                pulse.moved();
            }
            _ = tick.tick() => {
                session.adapt_windows();
                sending.dispatch.look();
                notice.has_done(effort.done());
                watch.look(&mut sending.progress, &pace);
                observer.on_event(&TransferEvent::Progress(sending.progress));
                // A record on its way at a limited pace is no silence.
                if watch.has_moved(sending.dispatch.lanes.taken()) {
                    pulse.moved();
                }
                let works = building.is_some() || sending.dispatch.are_encoding();
                sending.outbox.extend(pulse.look(works, sending.sender.peer_hears_work()));
                pulse.check()?;
            }
        }
    }
}

/// Leaves of what was accepted what a puller had said before, if it had.
fn narrow(accepted: &mut Vec<CodecId>, said: Option<&[CodecId]>) {
    if let Some(said) = said {
        accepted.retain(|codec| *codec == CodecId::STORE || said.contains(codec));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_puller_narrows_what_it_accepts() {
        let check = |said: Option<&[u8]>, left: &[u8]| {
            let mut accepted = [0, 1, 2].map(CodecId).to_vec();
            narrow(&mut accepted, said.map(|said| said.iter().copied().map(CodecId).collect::<Vec<_>>()).as_deref());
            assert_eq!(accepted.iter().map(|codec| codec.0).collect::<Vec<_>>(), left);
        };
        check(None, &[0, 1, 2]);
        check(Some(&[0, 1]), &[0, 1]);
        check(Some(&[2, 9]), &[0, 2]);
    }
}
