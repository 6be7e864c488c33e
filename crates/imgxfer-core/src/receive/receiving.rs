//! Drives a [`Receiver`]: records are verified on all cores, kept, read back, and committed in groups.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::intake::{Intake, Staged};
use super::room::{PageRoom, PagesHeld};
use super::router::{Route, Router};
use crate::chunk::ChunkClass;
use crate::clock::UnixSeconds;
use crate::codec::{CodecId, Registry};
use crate::effort::Effort;
use crate::error::TransferError;
use crate::ids::{ChunkId, ManifestRoot, PageHash, StudyUid};
use crate::limits::ROOM_DEADLINE;
use crate::manifest::InstanceAt;
use crate::pace::{Joined, Pace};
use crate::progress::{Coded, Observer, Progress, TransferEvent};
use crate::proto::{Lookup, ProtocolError, Receiver, ReceiverOutput, Shortfall, Unproven, VerifyJob};
use crate::receipt::{Receipt, SignedReceipt};
use crate::scratch;
use crate::store::search::Search;
use crate::store::{ChunkAt, CommitPace, RecordAt, StoreError};
use crate::sync::lock;
use crate::transfer::{
    FAREWELL, GAVE_WAY, LineWatch, Notice, Pulse, instance_span, log_failure, name_transfer, refuse, transfer_span,
};
use crate::transport::{ControlReceiver, ControlSender, DataReceiver, Identity, Session, TransportError};
use crate::units::{to_u32, to_u64, to_usize};
use crate::wire::message::{Body, FailCode, Start};
use crate::wire::record::{RECORD_FIXED_BYTES, Record, RecordFixed, RecordHeader};
use crate::work::{WorkError, blocking, ended, guarded};

/// Records being verified at once, above the number of cores: each holds up to 2 MiB.
const RECORDS_AHEAD: usize = 4;
/// Threads that read instances back, at the least.
const CHECKERS_MIN: usize = 2;
/// Instances that one of them reads back before it reports, so that small ones do not cost a turn each ...
const CHECKS_AT_ONCE: usize = 32;
/// ... up to this many bytes.
const CHECK_BYTES: u64 = 4 << 20;
/// A record is read in pieces of this: each is a sign of life, where a whole record takes minutes.
const READ_BYTES_MAX: usize = 16 << 10;
/// How often the sender is told of progress.
const TICK: Duration = Duration::from_millis(50);
/// Records without a single wanted chunk that a transfer may send: a few cross with a withdrawal.
const UNWANTED_RECORDS_MAX: u64 = 10_000;

/// What a receiving transfer runs on.
#[derive(Debug, Clone)]
pub(crate) struct ReceiveSettings {
    /// Codecs.
    pub(crate) registry: Registry,
    /// Signs the receipt.
    pub(crate) identity: Identity,
    /// How fast it may go.
    pub(crate) pace: Pace,
    /// What was asked for; everything, where the sender chose.
    pub(crate) asked: Search,
    /// Says when its place has to be given up.
    pub(crate) notice: Notice,
    /// Room for pages, shared with other transfers of the peer.
    pub(crate) room: Arc<PageRoom>,
}

/// How a receiving transfer ended.
#[derive(Debug)]
pub(crate) struct ReceiveOutcome {
    /// The receipt that was signed and sent.
    pub(crate) receipt: Receipt,
    /// The studies that it was about.
    pub(crate) studies: Vec<StudyUid>,
    /// What was received.
    pub(crate) progress: Progress,
    /// Why this is not all that was asked for.
    pub(crate) shortfall: Shortfall,
}

/// What the tasks tell.
#[derive(Debug)]
enum Work {
    Kept { header: RecordHeader, at: RecordAt },
    Damaged { header: RecordHeader },
    Unwanted,
    StoreFailed(StoreError),
    Broke(WorkError),
    StreamFailed(ProtocolError),
    Found { index: u32, page: Option<Bytes> },
    LookedUp { index: u32, lookup: Lookup },
    Checked(Vec<(InstanceAt, Result<Staged, Unproven>)>),
}

struct Shared {
    receiver: Mutex<Receiver>,
    intake: Arc<dyn Intake>,
    /// What was asked for.
    asked: Arc<Search>,
    registry: Registry,
    pace: Pace,
    pace_of_commits: CommitPace,
    _joined: Joined,
    /// Bytes of records that were read.
    read: AtomicU64,
    /// What this end has done: verified, read back, committed.
    effort: Effort,
    records: Semaphore,
    /// Buffers of records that were kept, to be used again: no more than there are permits.
    buffers: Mutex<Vec<BytesMut>>,
    work: mpsc::Sender<Work>,
}

impl Shared {
    fn receiver(&self) -> MutexGuard<'_, Receiver> {
        lock(&self.receiver)
    }

    fn buffer(&self) -> BytesMut {
        let mut buffer = lock(&self.buffers).pop().unwrap_or_default();
        buffer.clear();
        buffer
    }

    fn give_back(&self, record: Record) {
        if let Some(buffer) = record.into_buffer() {
            lock(&self.buffers).push(buffer);
        }
    }

    async fn tell(&self, work: Work) {
        // Nobody listens any more only when the transfer has ended.
        drop(self.work.send(work).await);
    }
}

/// Reads one data stream to its end. A stream that ends within a record was cut: no more than that.
async fn read_stream(shared: Arc<Shared>, mut stream: DataReceiver) {
    loop {
        let mut fixed = [0; RECORD_FIXED_BYTES];
        if !matches!(stream.read_exact(&mut fixed).await, Ok(true)) {
            return;
        }
        let Ok(fixed_part) = RecordFixed::decode(&fixed) else {
            return shared.tell(Work::StreamFailed(ProtocolError::Invalid("a record"))).await;
        };
        let Ok(_room) = shared.records.acquire().await else { return };
        let mut bytes = shared.buffer();
        bytes.reserve(RECORD_FIXED_BYTES + fixed_part.rest_len());
        bytes.extend_from_slice(&fixed);
        if !read_paced(&shared, &mut stream, &mut bytes, fixed_part.rest_len()).await {
            return;
        }
        let list = &bytes[RECORD_FIXED_BYTES..RECORD_FIXED_BYTES + fixed_part.list_len()];
        let Ok(header) = fixed_part.with_list(list) else {
            return shared.tell(Work::StreamFailed(ProtocolError::Invalid("a record"))).await;
        };
        let wanted = {
            let receiver = shared.receiver();
            header.chunks.iter().any(|chunk| receiver.wants(&chunk.id))
        };
        if !wanted {
            shared.tell(Work::Unwanted).await;
            continue;
        }
        let worker = Arc::clone(&shared);
        let work = blocking("keep a record", move || verify_record(&worker, header, bytes.freeze())).await;
        shared.tell(work.unwrap_or_else(Work::Broke)).await;
    }
}

/// Reads `len` bytes behind what `out` holds, as fast as the pace allows: what is not read, flow control keeps
/// the sender from sending. Returns whether all came.
async fn read_paced(shared: &Shared, stream: &mut DataReceiver, out: &mut BytesMut, len: usize) -> bool {
    let mut rest = len;
    while rest > 0 {
        let slice = shared.pace.slice(rest.min(READ_BYTES_MAX));
        shared.pace.take(slice).await;
        rest -= slice;
        let mut missing = slice;
        while missing > 0 {
            match stream.read_to(out, missing).await {
                Ok(0) | Err(_) => return false,
                Ok(read) => missing -= read,
            }
        }
        shared.read.fetch_add(to_u64(slice), Ordering::Relaxed);
    }
    true
}

/// Decodes a record, hashes each chunk, and keeps the record if all are what they should be. Blocks.
fn verify_record(shared: &Shared, header: RecordHeader, bytes: Bytes) -> Work {
    let Ok(record) = Record::decode(bytes) else { return Work::Damaged { header } };
    // What a codec breaks on is asked for again, without one.
    if !guarded("decode a record", || is_true(shared, &record)).unwrap_or(false) {
        return Work::Damaged { header };
    }
    let kept = shared.intake.keep(&record);
    shared.give_back(record);
    match kept {
        Ok(at) => Work::Kept { header, at },
        Err(error) => Work::StoreFailed(error),
    }
}

/// Whether a record holds the chunks that it says it holds.
fn is_true(shared: &Shared, record: &Record) -> bool {
    let header = record.header();
    if header.codec == CodecId::STORE {
        return are_chunks(record.payload(), header);
    }
    let mut raw = scratch::take();
    raw.reserve(to_usize(u64::from(header.raw_len())));
    let codec = shared.registry.get(header.codec);
    let decoded = codec.and_then(|codec| codec.decode(record.payload(), header.raw_len(), &mut raw));
    let is_true = decoded.is_ok() && are_chunks(&raw, header);
    scratch::keep(raw);
    is_true
}

fn are_chunks(raw: &[u8], header: &RecordHeader) -> bool {
    let mut rest = raw;
    to_u64(raw.len()) == u64::from(header.raw_len())
        && header.chunks.iter().all(|chunk| {
            let (bytes, behind) = rest.split_at(to_usize(u64::from(chunk.len)));
            rest = behind;
            ChunkId::of(bytes) == chunk.id
        })
}

struct Receiving<'a> {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    staged: Vec<Staged>,
    pages: Vec<(PageHash, Bytes)>,
    /// Instances to be read back.
    to_check: VecDeque<VerifyJob>,
    /// Those that are being read back, and by how many threads.
    checking: usize,
    /// Pages that are being looked up, and threads that read back.
    looking: usize,
    checkers: usize,
    checkers_max: usize,
    commit_due: Option<Instant>,
    committing: Option<JoinHandle<Result<Vec<InstanceAt>, StoreError>>>,
    settled: Option<(ManifestRoot, bool)>,
    over: bool,
    outbox: Vec<Body>,
    progress: Progress,
    unwanted: u64,
    room: PagesHeld,
    crowded: Option<Crowded>,
    observer: &'a dyn Observer,
}

impl<'a> Receiving<'a> {
    fn new(
        shared: Arc<Shared>,
        workers: usize,
        progress: Progress,
        room: PagesHeld,
        observer: &'a dyn Observer,
    ) -> Self {
        Self {
            shared,
            tasks: JoinSet::new(),
            staged: Vec::new(),
            pages: Vec::new(),
            to_check: VecDeque::new(),
            checking: 0,
            looking: 0,
            checkers: 0,
            checkers_max: CHECKERS_MIN.max(workers),
            commit_due: None,
            committing: None,
            settled: None,
            over: false,
            outbox: Vec::new(),
            progress,
            unwanted: 0,
            room,
            crowded: None,
            observer,
        }
    }
}

impl Receiving<'_> {
    /// Runs a blocking look-up in a task; what it returns comes back as work.
    fn look(&mut self, look: impl FnOnce(&dyn Intake) -> Result<Work, StoreError> + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        self.looking += 1;
        let work = async move {
            let (intake, effort) = (Arc::clone(&shared.intake), shared.effort.clone());
            let work = blocking("look up or read back", move || effort.count(|| look(intake.as_ref()))).await;
            shared.tell(work.map_or_else(Work::Broke, |work| work.unwrap_or_else(Work::StoreFailed))).await;
        };
        self.tasks.spawn(work.in_current_span());
    }

    /// Gives instances to threads that are free to read them back.
    fn start_checks(&mut self) {
        while self.checkers < self.checkers_max && !self.to_check.is_empty() {
            let fair = self.to_check.len().div_ceil(self.checkers_max);
            let mut bytes = 0;
            let small = |job: &&VerifyJob| {
                bytes += job.entry.len;
                bytes <= CHECK_BYTES
            };
            let count = self.to_check.iter().take(fair.min(CHECKS_AT_ONCE)).take_while(small).count().max(1);
            let jobs: Vec<VerifyJob> = self.to_check.drain(..count).collect();
            self.checkers += 1;
            self.checking += count;
            let asked = Arc::clone(&self.shared.asked);
            self.look(move |intake| {
                let check = |job: &VerifyJob| {
                    let span = instance_span(&job.entry);
                    let checked = guarded("read back an instance", || span.in_scope(|| intake.check(job, &asked)));
                    let checked = checked.unwrap_or(Ok(Err(Unproven::Failed(FailCode::Other))))?;
                    if let Err(Unproven::Failed(code)) = &checked {
                        log_failure(1, Some(&job.entry), code.reason());
                    }
                    Ok((job.at, checked))
                };
                jobs.iter().map(check).collect::<Result<_, StoreError>>().map(Work::Checked)
            });
        }
    }

    fn checked(&mut self, checked: Vec<(InstanceAt, Result<Staged, Unproven>)>) {
        self.checkers -= 1;
        self.checking -= checked.len();
        for (at, result) in checked {
            let outcome = result.map(|staged| self.staged.push(staged));
            match &outcome {
                Ok(()) => self.something_to_commit(),
                Err(Unproven::Failed(_)) => self.progress.instances_failed += 1,
                Err(Unproven::Damaged(chunks)) => {
                    tracing::warn!(
                        chunks = chunks.len(),
                        "what an earlier transfer left is damaged here, and is asked for again"
                    );
                }
            }
            self.shared.receiver().handle_verified(at, outcome);
        }
    }

    fn drain(&mut self) {
        loop {
            let output = self.shared.receiver().poll_output();
            let Some(output) = output else { break };
            match output {
                ReceiverOutput::Send(body) => self.outbox.push(body),
                ReceiverOutput::FindPage { index, hash } => {
                    self.look(move |intake| Ok(Work::Found { index, page: intake.find_page(&hash)? }));
                }
                ReceiverOutput::Lookup { index, page } => {
                    self.look(move |intake| Ok(Work::LookedUp { index, lookup: intake.look_up(&page)? }));
                }
                ReceiverOutput::Verify(job) => self.to_check.push_back(job),
                ReceiverOutput::PageCommitted { hash, encoded } => self.pages.push((hash, encoded)),
                ReceiverOutput::Settled { root, complete } => self.settled = Some((root, complete)),
                ReceiverOutput::Over => self.over = true,
            }
        }
        self.start_checks();
        let receiver = self.shared.receiver();
        let (committed, arrived) = (receiver.committed(), receiver.arrived());
        self.room.keep(receiver.page_bytes());
        drop(receiver);
        self.progress.instances_committed = committed.instances;
        self.progress.bytes_committed = committed.bytes;
        self.progress.bytes_present = arrived.present_bytes;
        self.progress.bytes_arrived = (arrived.present_bytes + arrived.received_bytes).max(committed.bytes);
    }

    /// Takes what the sender says; a page for which there is no room waits, and nothing more is read meanwhile.
    fn handle_message(&mut self, body: Body) -> Result<(), TransferError> {
        let bytes = page_bytes(&body);
        if bytes > 0 && !self.room.try_take(bytes) {
            self.crowded = Some(Crowded::new(body, &self.room, bytes));
            return Ok(());
        }
        self.shared.receiver().handle_message(body)?;
        self.drain();
        Ok(())
    }

    /// There is room for the page that waits.
    fn let_in(&mut self, permit: OwnedSemaphorePermit) -> Result<(), TransferError> {
        self.room.add(permit);
        if let Some(Crowded { body, .. }) = self.crowded.take() {
            self.shared.receiver().handle_message(body)?;
        }
        self.drain();
        Ok(())
    }

    /// Ends a transfer that waits in vain for room for its first page. That of another page may be taken by pages of its
    /// own, which are being worked on.
    fn check_room(&self) -> Result<(), TransferError> {
        let waits = self.crowded.as_ref().is_some_and(|crowded| crowded.since.elapsed() > ROOM_DEADLINE);
        if waits && self.shared.receiver().page_bytes() == 0 {
            return Err(TransferError::Crowded("other transfers of its sender hold all the room for manifests"));
        }
        Ok(())
    }

    /// Tells the sender how far this side is, and how fast it may go on: flow control alone would slow it in
    /// bursts of whole windows.
    fn report(&mut self) {
        let mut receiver = self.shared.receiver();
        receiver.wish_rate(self.shared.pace.share().unwrap_or(0));
        receiver.report();
        drop(receiver);
        self.drain();
    }

    /// A commit is due in a while, if none is yet.
    fn something_to_commit(&mut self) {
        let due = Instant::now() + self.shared.pace_of_commits.interval;
        self.commit_due.get_or_insert(due);
    }

    fn is_checking(&self) -> bool {
        self.checking > 0 || !self.to_check.is_empty()
    }

    fn outcome(&self, receipt: Receipt) -> ReceiveOutcome {
        let receiver = self.shared.receiver();
        let (studies, shortfall) = (receiver.studies().iter().cloned().collect(), receiver.shortfall());
        ReceiveOutcome { receipt, studies, progress: self.progress, shortfall }
    }

    fn tell_settled(&mut self, root: ManifestRoot, complete: bool) {
        self.progress.bytes_arrived = self.progress.bytes_arrived.max(self.progress.bytes_committed);
        self.observer.on_event(&TransferEvent::Progress(self.progress));
        self.observer.on_event(&TransferEvent::Settled { root, complete });
    }

    /// Whether it is this side that takes its time.
    fn is_working(&self) -> bool {
        self.looking > 0 || self.is_checking() || self.committing.is_some() || self.settled.is_some()
    }

    fn handle_work(&mut self, work: Work) -> Result<(), TransferError> {
        self.shared.effort.add(1);
        if matches!(work, Work::Found { .. } | Work::LookedUp { .. } | Work::Checked(_)) {
            self.looking -= 1;
        }
        match work {
            Work::Kept { header, at } => {
                let mut receiver = self.shared.receiver();
                for (slot, chunk) in (0u16..).zip(&header.chunks) {
                    receiver.handle_chunk(&chunk.id, chunk.len, ChunkAt { record: at, slot });
                }
                drop(receiver);
                self.progress.payload_bytes += u64::from(header.record_len());
                self.progress.payload_raw_bytes += u64::from(header.raw_len());
                if header.class != ChunkClass::Header {
                    self.progress.coded = Some(Coded { codec: header.codec, level: None });
                }
                self.something_to_commit();
            }
            Work::Damaged { header } => {
                tracing::warn!("a record arrived damaged and is asked for again");
                let mut receiver = self.shared.receiver();
                header.chunks.iter().for_each(|chunk| receiver.handle_damaged(&chunk.id));
            }
            Work::Unwanted => {
                self.unwanted += 1;
                if self.unwanted > UNWANTED_RECORDS_MAX {
                    return Err(ProtocolError::Invalid("records that nobody asked for").into());
                }
            }
            Work::StoreFailed(error) => return Err(error.into()),
            Work::Broke(error) => return Err(error.into()),
            Work::StreamFailed(error) => return Err(error.into()),
            Work::Found { index, page } => {
                // What there is no room for is sent, when there is.
                let page = page.filter(|page| self.room.try_take(to_u64(page.len())));
                self.shared.receiver().handle_page_found(index, page)?;
            }
            Work::LookedUp { index, lookup } => self.shared.receiver().handle_lookup(index, &lookup),
            Work::Checked(checked) => self.checked(checked),
        }
        self.drain();
        Ok(())
    }

    /// Starts a commit when one is due: by time, by bytes, or because nothing else is on its way.
    fn start_commit(&mut self) {
        if self.committing.is_some() {
            return;
        }
        let idle = !self.is_checking() && !self.shared.receiver().awaits_chunks();
        let full = self.shared.intake.uncommitted_bytes() >= self.shared.pace_of_commits.bytes;
        let late = self.commit_due.is_some_and(|due| Instant::now() >= due);
        let something = !self.staged.is_empty() || (late && self.shared.intake.uncommitted_bytes() > 0);
        let pages_left = idle && self.settled.is_some() && !self.pages.is_empty();
        if !((something && (idle || full || late)) || pages_left) {
            return;
        }
        self.commit_due = None;
        let staged = std::mem::take(&mut self.staged);
        let pages = std::mem::take(&mut self.pages);
        let intake = Arc::clone(&self.shared.intake);
        let commit = move || {
            let instances = staged.iter().map(|staged| staged.at).collect();
            intake.commit(staged, pages)?;
            Ok(instances)
        };
        let span = tracing::Span::current();
        self.committing = Some(tokio::task::spawn_blocking(move || span.in_scope(commit)));
    }
}

/// Receives the transfer that `start` began, until its receipt is signed and sent.
///
/// Dropping the future stops it; what was kept stays, and a later transfer of the same needs only the rest.
///
/// # Errors
/// [`TransferError`]; what was committed before stays so.
pub(crate) async fn receive(
    (session, router): (&Session, &Router),
    mut control: (ControlSender, ControlReceiver),
    start: &Start,
    intake: Arc<dyn Intake>,
    settings: ReceiveSettings,
    observer: &dyn Observer,
) -> Result<ReceiveOutcome, TransferError> {
    let mut notice = settings.notice.clone();
    let to_come = AtomicU64::new(start.bytes);
    let noting = |event: &TransferEvent| {
        if let TransferEvent::Progress(progress) = event {
            to_come.store(progress.bytes_expected.saturating_sub(progress.bytes_arrived), Ordering::Relaxed);
        }
        observer.on_event(event);
    };
    let work = async {
        let result = tokio::select! {
            result = run((session, router), &mut control, start, intake, settings, &noting) => result,
            () = notice.given() => Err(GAVE_WAY),
        };
        if let Err(error) = &result {
            refuse(&mut control.0, error, to_come.load(Ordering::Relaxed)).await;
        }
        result
    };
    work.instrument(transfer_span("in")).await
}

async fn run(
    (session, router): (&Session, &Router),
    control: &mut (ControlSender, ControlReceiver),
    start: &Start,
    intake: Arc<dyn Intake>,
    settings: ReceiveSettings,
    observer: &dyn Observer,
) -> Result<ReceiveOutcome, TransferError> {
    let (control_out, control_in) = (&mut control.0, &mut control.1);
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let receiver = Receiver::accept_on(start, &settings.registry.ids(), to_u32(workers))?;
    let receiver = receiver.with_only(settings.asked.studies.clone());
    let transfer = receiver.transfer();
    name_transfer(transfer);
    let mut route: Route = router.take(transfer).ok_or(ProtocolError::Invalid("a transfer id that is in use"))?;
    let expected = receiver.expected();
    let (work_in, mut work) = mpsc::channel(256);
    let shared = Arc::new(Shared {
        receiver: Mutex::new(receiver),
        pace_of_commits: intake.commit_pace(),
        asked: Arc::new(settings.asked),
        intake,
        registry: settings.registry,
        _joined: settings.pace.join(),
        pace: settings.pace,
        read: AtomicU64::new(0),
        effort: Effort::default(),
        records: Semaphore::new(workers + RECORDS_AHEAD),
        buffers: Mutex::default(),
        work: work_in,
    });
    let mut watch = LineWatch::new(session.clone());
    let progress =
        Progress { instances_expected: expected.instances, bytes_expected: expected.bytes, ..Progress::default() };
    let room = PagesHeld::new(settings.room);
    let notice = settings.notice;
    let mut receiving = Receiving::new(Arc::clone(&shared), workers, progress, room, observer);
    receiving.observer.on_event(&TransferEvent::Started { transfer });
    receiving.report();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut pulse = Pulse::new(shared.effort.clone());
    receiving.drain();
    loop {
        for body in std::mem::take(&mut receiving.outbox) {
            control_out.send(&body.into_bytes()).await?;
        }
        if receiving.over {
            break;
        }
        receiving.start_commit();
        if let (Some((root, complete)), None) = (receiving.settled, &receiving.committing)
            && receiving.pages.is_empty()
        {
            let settling = settle(&receiving, session, &settings.identity, root, complete);
            let hears = shared.receiver().peer_hears_work();
            let receipt = beating(settling, control_out, &mut pulse, hears).await?;
            finish(&mut receiving, control_out, &settings.identity, &receipt).await?;
            watch.look(&mut receiving.progress, &shared.pace);
            receiving.tell_settled(root, complete);
            // The sender closes its side when it has the receipt; until then the stream must live.
            drop(tokio::time::timeout(FAREWELL, control_in.recv(0)).await);
            return Ok(receiving.outcome(receipt));
        }
        tokio::select! {
            message = control_in.recv(crate::limits::MESSAGE_BYTES_MAX), if receiving.crowded.is_none() => {
                let message = message?.ok_or(TransferError::Transport(TransportError::Truncated))?;
                let body = Body::from_bytes(message).map_err(ProtocolError::from)?;
                pulse.heard(&body);
                receiving.handle_message(body)?;
            }
            permit = async { receiving.crowded.as_mut()?.room.as_mut().await }, if receiving.crowded.is_some() => {
                receiving.let_in(permit.ok_or(TransferError::Cancelled)?)?;
            }
            Some(stream) = route.next() => {
                receiving.tasks.spawn(read_stream(Arc::clone(&shared), stream).in_current_span());
            }
            Some(done) = work.recv() => {
                receiving.handle_work(done)?;
                pulse.moved();
            }
            result = async { Some(receiving.committing.as_mut()?.await) }, if receiving.committing.is_some() => {
                receiving.committing = None;
                let committed = ended("commit", result.ok_or(TransferError::Cancelled)?)??;
                shared.receiver().handle_committed(&committed);
                receiving.drain();
                shared.effort.add(1);
                pulse.moved();
            }
            _ = tick.tick() => {
                while receiving.tasks.try_join_next().is_some() {}
                receiving.report();
                notice.has_done(shared.effort.done());
                watch.look(&mut receiving.progress, &shared.pace);
                observer.on_event(&TransferEvent::Progress(receiving.progress));
                // A record that arrives at a limited pace is no silence.
                if watch.has_moved(shared.read.load(Ordering::Relaxed)) {
                    pulse.moved();
                }
                let hears = shared.receiver().peer_hears_work();
                receiving.outbox.extend(pulse.look(receiving.is_working(), hears));
                receiving.check_room()?;
                pulse.check()?;
            }
        }
    }
    Err(TransferError::Cancelled)
}

/// A page that waits for room. Nothing behind it is read meanwhile.
struct Crowded {
    body: Body,
    room: Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send + Sync>>,
    since: Instant,
}

impl Crowded {
    fn new(body: Body, held: &PagesHeld, bytes: u64) -> Self {
        Self { body, room: Box::pin(held.take(bytes)), since: Instant::now() }
    }
}

/// Bytes of the page that a message brings.
fn page_bytes(body: &Body) -> u64 {
    if let Body::Page(page) = body { u64::from(page.raw_len) } else { 0 }
}

/// Waits for the last of the work, and tells the sender meanwhile that there is work.
async fn beating<T>(
    work: impl Future<Output = Result<T, TransferError>>,
    control: &mut ControlSender,
    pulse: &mut Pulse,
    hears: bool,
) -> Result<T, TransferError> {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result,
            _ = tick.tick() => {
                if let Some(body) = pulse.look(true, hears) {
                    control.send(&body.into_bytes()).await?;
                }
                pulse.check()?;
            }
        }
    }
}

/// Publishes, and makes the receipt.
async fn settle(
    receiving: &Receiving<'_>,
    session: &Session,
    identity: &Identity,
    root: ManifestRoot,
    complete: bool,
) -> Result<Receipt, TransferError> {
    let studies: Vec<StudyUid> = receiving.shared.receiver().studies().iter().cloned().collect();
    let intake = Arc::clone(&receiving.shared.intake);
    let nothing_left = receiving.shared.receiver().has_all();
    let publish = move || {
        if nothing_left {
            intake.nothing_left()?;
        }
        intake.settle(&studies, root, complete)
    };
    blocking("publish", publish).await??;
    let receiver = receiving.shared.receiver();
    let committed = receiver.committed();
    Ok(Receipt {
        transfer: receiver.transfer(),
        root,
        sender: session.peer(),
        receiver: identity.peer_id(),
        instances: committed.instances,
        bytes: committed.bytes,
        complete,
        at: UnixSeconds::now(),
    })
}

async fn finish(
    receiving: &mut Receiving<'_>,
    control: &mut ControlSender,
    identity: &Identity,
    receipt: &Receipt,
) -> Result<(), TransferError> {
    let body = SignedReceipt::sign(receipt, |domain, text| identity.sign(domain, text))?.to_wire();
    receiving.shared.receiver().handle_receipt(body);
    receiving.drain();
    for body in std::mem::take(&mut receiving.outbox) {
        control.send(&body.into_bytes()).await?;
    }
    control.finish()?;
    Ok(())
}
