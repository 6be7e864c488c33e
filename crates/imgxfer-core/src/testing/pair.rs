//! A sender and a receiver face to face in memory: no sockets, no clock, one delivery at a time.
//!
//! A [`Drive`] is one connection. Whatever can happen next (a message arrives, a record arrives, a page is
//! looked up, a group is committed, a record is made) is a **step**; a seed decides which step comes next,
//! so that every order comes up sooner or later and any of them can be had again. A drive can be cut
//! before any step: both machines are dropped with all that was on the way, and the next drive finds what
//! the [`Site`] holds. Data streams may overtake each other; control messages keep their order. When the site's store
//! fails, the receiver refuses, as it does on the network, and the drive ends.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::{Seeded, peer, record_of};
use crate::chunk;
use crate::chunk::ChunkClass;
use crate::codec::{CodecId, Registry};
use crate::depot::Depot;
use crate::dicom;
use crate::ids::{ChunkId, InstanceHash, ManifestRoot, PageHash, PeerId, TransferId, opaque_uids};
use crate::limits::{CHUNK_BYTES_MAX, RECORD_RAW_BYTES_MAX};
use crate::manifest::{ChunkEntry, InstanceAt, InstanceEntry, Page};
use crate::proto::{InstanceFailure, Lookup, ProtocolError, Receiver, ReceiverOutput, Sender, SenderOutput, VerifyJob};
use crate::receive::{DepotIntake, Intake, Staged};
use crate::store::search::Search;
use crate::store::{ChunkAt, Held, InstancesOf, MemIndex, MemRecords, Scope, StoreError, StoredReader};
use crate::units::{to_u32, to_u64, to_usize};
use crate::wire::message::{Body, ReceiptBody, RefuseCode};
use crate::wire::record::{RECORD_FIXED_BYTES, Record, RecordChunk, RecordFixed};

/// Records that may be on the line at once.
const WINDOW: usize = 4;
/// Steps after which a drive is taken to run in a circle.
const STEPS_MAX: u64 = 1_000_000;

/// One instance to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its manifest entry.
    pub entry: InstanceEntry,
    /// The file.
    pub bytes: Vec<u8>,
}

impl Item {
    /// A file that is not DICOM, in chunks of `chunk_len` bytes.
    #[must_use]
    pub fn opaque(bytes: &[u8], chunk_len: usize) -> Self {
        let hash = InstanceHash::from_bytes(*blake3::hash(bytes).as_bytes());
        let (study, series, sop_instance) = opaque_uids(&hash);
        let chunks = bytes.chunks(chunk_len.max(1)).map(|chunk| entry_of(chunk, ChunkClass::Opaque)).collect();
        let entry = InstanceEntry {
            study,
            series,
            sop_instance,
            sop_class: None,
            transfer_syntax: None,
            name: b"file.bin".to_vec(),
            len: to_u64(bytes.len()),
            hash,
            chunks,
        };
        Self { entry, bytes: bytes.to_vec() }
    }

    /// A DICOM file, cut as the product cuts it.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn dicom(bytes: Vec<u8>) -> Self {
        let scan = dicom::scan(&bytes).expect("a DICOM file");
        let identity = scan.identity.clone().expect("a file with UIDs");
        let cuts = chunk::cut(&bytes, Some(&scan)).expect("memory can be read");
        let chunk_of = |cut: &chunk::Cut| {
            let start = to_usize(cut.offset);
            entry_of(&bytes[start..start + to_usize(u64::from(cut.len))], cut.class)
        };
        let entry = InstanceEntry {
            study: identity.study,
            series: identity.series,
            sop_instance: identity.sop_instance,
            sop_class: scan.sop_class,
            transfer_syntax: scan.transfer_syntax,
            name: Vec::new(),
            len: to_u64(bytes.len()),
            hash: InstanceHash::from_bytes(*blake3::hash(&bytes).as_bytes()),
            chunks: cuts.iter().map(chunk_of).collect(),
        };
        Self { entry, bytes }
    }

    fn chunk(&self, number: usize) -> &[u8] {
        let before: u64 = self.entry.chunks[..number].iter().map(|c| u64::from(c.len)).sum();
        let start = to_usize(before);
        &self.bytes[start..start + to_usize(u64::from(self.entry.chunks[number].len))]
    }
}

fn entry_of(bytes: &[u8], class: ChunkClass) -> ChunkEntry {
    assert!(bytes.len() <= to_usize(u64::from(CHUNK_BYTES_MAX)), "a chunk is at most 1 MiB");
    ChunkEntry { id: ChunkId::of(bytes), len: to_u32(bytes.len()), class }
}

/// A receiving site in memory.
#[derive(Debug, Clone)]
pub struct Site {
    /// Its records.
    pub records: MemRecords,
    /// Records and index.
    pub depot: Depot,
    /// Who sends to it.
    pub sender: PeerId,
}

impl Default for Site {
    fn default() -> Self {
        let records = MemRecords::default();
        let depot = Depot::new(Arc::new(records.clone()), Arc::new(MemIndex::default()), Registry::default());
        Self { records, depot, sender: peer(1) }
    }
}

impl Site {
    /// Contents of all instances that a reader sees, each read back and hashed as a whole.
    ///
    /// # Panics
    /// When one of them is not byte for byte what its entry says.
    #[must_use]
    pub fn visible(&self) -> BTreeSet<[u8; 32]> {
        let mut found = BTreeSet::new();
        for (_, study) in self.depot.index.study_keys(None, usize::MAX).expect("memory does not fail") {
            let instances =
                self.depot.index.instances(&Scope::All, &InstancesOf::all_versions(study), None, usize::MAX);
            for instance in instances.expect("memory does not fail") {
                let hash = *instance.entry.hash.as_bytes();
                let reader = StoredReader::of(Arc::clone(&self.depot.records), self.depot.registry.clone(), instance);
                reader.expect("every chunk has a place").verify().expect("what is visible is whole");
                found.insert(hash);
            }
        }
        found
    }

    fn knows(&self, entry: &InstanceEntry) -> bool {
        let own = Scope::owner(self.sender);
        self.depot.index.has(&own, &entry.study, &[entry.hash]).expect("memory does not fail")[0] != Held::Absent
    }
}

/// What came of a drive.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Steps taken.
    pub steps: u64,
    /// Root and completeness, as the receiver settled it, when the sender got the receipt.
    pub settled: Option<(ManifestRoot, bool)>,
    /// Why the drive ended early, other than by a cut.
    pub error: Option<ProtocolError>,
    /// Records put on the line.
    pub records: u64,
    /// Bytes of those records.
    pub payload_bytes: u64,
    /// Original bytes of the chunks in those records.
    pub chunk_bytes: u64,
    /// Original bytes of the chunks in records that were on the line when it was cut.
    pub lost_bytes: u64,
    /// Bytes of control messages, both ways.
    pub control_bytes: u64,
    /// Records in which the receiver wanted nothing.
    pub unwanted: u64,
    /// Instances that the sender knows to be committed.
    pub committed: BTreeSet<InstanceAt>,
    /// Instances that the sender knows not to arrive, with the reasons.
    pub failed: Vec<(InstanceAt, InstanceFailure)>,
}

/// Something that goes wrong on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mishap {
    /// The first record that carries this chunk arrives with a byte of its payload flipped.
    DamageOnce(ChunkId),
    /// Every record that carries this chunk does.
    DamageAlways(ChunkId),
    /// From this step on, the file behind an instance is another.
    Changed(u64, InstanceAt),
    /// At this step the sender takes an instance back, if it has offered it.
    Withdraw(u64, InstanceAt),
}

/// One connection: see the module.
#[derive(Debug)]
pub struct Drive<'a> {
    site: &'a Site,
    pages: &'a [Vec<Item>],
    chance: Seeded,
    cut_at: Option<u64>,
    mishaps: Vec<Mishap>,
    watched: bool,
}

impl<'a> Drive<'a> {
    /// Will send `pages` to `site`, in the order that `seed` says.
    #[must_use]
    pub const fn new(site: &'a Site, pages: &'a [Vec<Item>], seed: u64) -> Self {
        Self { site, pages, chance: Seeded::new(seed), cut_at: None, mishaps: Vec::new(), watched: true }
    }

    /// Does not compare what readers see at each commit: for a site that holds damaged instances, or whose readers
    /// see what others commit.
    #[must_use]
    pub const fn unwatched(mut self) -> Self {
        self.watched = false;
        self
    }

    /// Cuts the line before the step with this number, from 0.
    #[must_use]
    pub const fn cut_at(mut self, step: u64) -> Self {
        self.cut_at = Some(step);
        self
    }

    /// Adds a mishap.
    #[must_use]
    pub fn with(mut self, mishap: Mishap) -> Self {
        self.mishaps.push(mishap);
        self
    }

    /// Runs to the receipt, the cut, or an error.
    ///
    /// # Panics
    /// When nothing can happen any more although the transfer is not over, when the sender is told of a
    /// commit that did not happen, and when something is visible that was not committed.
    #[must_use]
    pub fn run(self) -> Outcome {
        match Run::new(self) {
            Ok(mut run) => {
                while run.goes_on() {}
                run.end()
            }
            Err(error) => Outcome { error: Some(error), ..Outcome::default() },
        }
    }

    /// Runs beside another drive to the same site, which begins after so many steps of this one.
    ///
    /// # Panics
    /// As [`Drive::run`]; but what the other commits may become visible at any time.
    #[must_use]
    pub fn run_beside(self, other: Self, after: u64) -> [Outcome; 2] {
        let mut first = Run::new(self.unwatched());
        for _ in 0..after {
            let _: Result<bool, _> = first.as_mut().map(Run::goes_on);
        }
        let mut runs = [first, Run::new(other.unwatched())];
        let mut turn = Seeded::new(after);
        let mut go_on = [true; 2];
        while go_on != [false; 2] {
            let which = turn.below(2);
            go_on[which] = go_on[which] && runs[which].as_mut().is_ok_and(Run::goes_on);
        }
        runs.map(|run| run.map_or_else(|error| Outcome { error: Some(error), ..Outcome::default() }, Run::end))
    }
}

/// What a receiver says whose own store has failed.
fn refusal(error: &StoreError) -> ProtocolError {
    let code = if matches!(error, StoreError::Full { .. }) { RefuseCode::NoSpace } else { RefuseCode::Internal };
    ProtocolError::Refused { code, remedy: error.to_string() }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Offer,
    ToReceiver,
    ToSender,
    Encode,
    Record(usize),
    Work(usize),
    Commit,
    Settle,
}

#[derive(Debug)]
enum Work {
    FindPage(u32, PageHash),
    Lookup(u32, Arc<Page>),
    LookedUp(u32, Lookup),
    Verify(Box<VerifyJob>),
    Committed(Vec<InstanceAt>),
}

/// A chunk to be sent: its instance, its number there, and whether without compression.
type Due = (InstanceAt, usize, bool);

struct Run<'a> {
    drive: Drive<'a>,
    sender: Sender,
    receiver: Option<Receiver>,
    intake: DepotIntake,
    to_receiver: VecDeque<Vec<u8>>,
    to_sender: VecDeque<Vec<u8>>,
    due: VecDeque<Due>,
    line: Vec<Bytes>,
    work: Vec<Work>,
    staged: Vec<Staged>,
    pages_done: Vec<(PageHash, Bytes)>,
    settle: Option<(ManifestRoot, bool)>,
    settled: Option<(ManifestRoot, bool)>,
    offered: usize,
    finished: bool,
    over: bool,
    /// What a reader sees, where nobody else commits.
    visible: Option<BTreeSet<[u8; 32]>>,
    withdrawn: HashSet<InstanceAt>,
    outcome: Outcome,
}

fn raw_len(record: &Bytes) -> u64 {
    let len: [u8; 4] = record[12..16].try_into().expect("four bytes");
    u64::from(u32::from_le_bytes(len))
}

impl<'a> Run<'a> {
    fn new(drive: Drive<'a>) -> Result<Self, ProtocolError> {
        let intake = DepotIntake::new(&drive.site.depot, drive.site.sender, Scope::owner(drive.site.sender));
        let items = drive.pages.iter().flatten();
        let bytes = items.clone().map(|item| item.entry.len).sum();
        let sender = Sender::new(TransferId::from_bytes([7; 16]), 0, to_u64(items.count()), bytes);
        Ok(Self {
            visible: drive.watched.then(|| drive.site.visible()),
            drive,
            sender,
            receiver: None,
            intake: intake.map_err(|e| refusal(&e))?,
            to_receiver: VecDeque::new(),
            to_sender: VecDeque::new(),
            due: VecDeque::new(),
            line: Vec::new(),
            work: Vec::new(),
            staged: Vec::new(),
            pages_done: Vec::new(),
            settle: None,
            settled: None,
            offered: 0,
            finished: false,
            over: false,
            withdrawn: HashSet::new(),
            outcome: Outcome::default(),
        })
    }

    /// Takes one step. Whether there is another.
    fn goes_on(&mut self) -> bool {
        if self.over || self.outcome.error.is_some() || self.drive.cut_at == Some(self.outcome.steps) {
            return false;
        }
        let taken = self.one_step();
        self.outcome.error = taken.err();
        self.outcome.error.is_none()
    }

    fn one_step(&mut self) -> Result<(), ProtocolError> {
        self.drain_sender();
        self.take_back()?;
        let steps = self.possible();
        assert!(!steps.is_empty(), "nothing can happen any more, and the transfer is not over: {:?}", self.outcome);
        assert!(self.outcome.steps < STEPS_MAX, "the transfer runs in a circle: {:?}", self.outcome);
        let step = steps[self.drive.chance.below(steps.len())];
        self.take(step)?;
        self.outcome.steps += 1;
        Ok(())
    }

    fn end(mut self) -> Outcome {
        for record in &self.line {
            self.outcome.lost_bytes += raw_len(record);
        }
        self.outcome
    }

    fn possible(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut when = |possible: bool, step: Step| {
            if possible {
                steps.push(step);
            }
        };
        when(!self.finished && (self.sender.wants_page() || self.offered == self.drive.pages.len()), Step::Offer);
        when(!self.to_receiver.is_empty(), Step::ToReceiver);
        when(!self.to_sender.is_empty(), Step::ToSender);
        when(!self.due.is_empty() && self.line.len() < WINDOW, Step::Encode);
        when(!self.staged.is_empty() || !self.pages_done.is_empty(), Step::Commit);
        when(self.settle.is_some() && self.staged.is_empty() && self.pages_done.is_empty(), Step::Settle);
        steps.extend((0..self.line.len()).map(Step::Record));
        steps.extend((0..self.work.len()).map(Step::Work));
        steps
    }

    fn take(&mut self, step: Step) -> Result<(), ProtocolError> {
        match step {
            Step::Offer => self.offer(),
            Step::ToReceiver => self.message_to_receiver()?,
            Step::ToSender => {
                let message = self.to_sender.pop_front().expect("there is one");
                self.sender.handle_message(Body::from_bytes(message.into())?)?;
            }
            Step::Encode => self.encode()?,
            Step::Record(at) => {
                let record = self.line.swap_remove(at);
                self.take_record(&record)?;
            }
            Step::Work(at) => {
                let work = self.work.swap_remove(at);
                self.do_work(work)?;
            }
            Step::Commit => self.commit()?,
            Step::Settle => {
                let (root, complete) = self.settle.take().expect("there is one");
                let studies: Vec<_> = self.receiver().studies().iter().cloned().collect();
                self.intake.settle(&studies, root, complete).map_err(|e| refusal(&e))?;
                self.settled = Some((root, complete));
                self.receiver().handle_receipt(ReceiptBody::default());
            }
        }
        self.drain_receiver();
        self.drain_sender();
        Ok(())
    }

    fn receiver(&mut self) -> &mut Receiver {
        self.receiver.as_mut().expect("a transfer has begun")
    }

    fn offer(&mut self) {
        let Some(items) = self.drive.pages.get(self.offered) else {
            self.finished = true;
            return self.sender.finish(true);
        };
        self.sender.offer(&Page { instances: items.iter().map(|item| item.entry.clone()).collect() });
        self.offered += 1;
    }

    fn message_to_receiver(&mut self) -> Result<(), ProtocolError> {
        let message = self.to_receiver.pop_front().expect("there is one");
        let body = Body::from_bytes(message.into())?;
        if let Some(receiver) = &mut self.receiver {
            return receiver.handle_message(body);
        }
        let Body::Start(start) = body else { return Err(ProtocolError::Unexpected("something other than a start")) };
        self.receiver = Some(Receiver::accept(&start, &[CodecId::STORE, CodecId::ZSTD])?);
        Ok(())
    }

    fn take_back(&mut self) -> Result<(), ProtocolError> {
        let now = self.outcome.steps;
        let due = |mishap: &Mishap| match mishap {
            Mishap::Withdraw(step, at) if *step <= now => Some(*at),
            _ => None,
        };
        let due: Vec<_> = self.drive.mishaps.iter().filter_map(due).collect();
        for at in due.into_iter().filter(|at| to_usize(u64::from(at.page)) < self.offered) {
            self.sender.withdraw(at, InstanceFailure::Changed)?;
            self.drive.mishaps.retain(|m| !matches!(m, Mishap::Withdraw(_, other) if *other == at));
        }
        self.drain_sender();
        Ok(())
    }

    /// Makes a record of one to three chunks that are due.
    fn encode(&mut self) -> Result<(), ProtocolError> {
        let count = 1 + self.drive.chance.below(3);
        let plain = self.due.front().is_some_and(|(_, _, plain)| *plain);
        let mut chunks: Vec<&[u8]> = Vec::new();
        let mut raw = 0;
        let mut gone = Vec::new();
        while chunks.len() < count
            && let Some(&(at, number, _)) = self.due.front().filter(|(_, _, other)| *other == plain)
        {
            let item = &self.drive.pages[to_usize(u64::from(at.page))][to_usize(u64::from(at.place))];
            raw += item.entry.chunks[number].len;
            if raw > RECORD_RAW_BYTES_MAX {
                break;
            }
            self.due.pop_front();
            let now = self.outcome.steps;
            let changed = |m: &Mishap| matches!(m, Mishap::Changed(from, other) if *other == at && *from <= now);
            if self.drive.mishaps.iter().any(changed) {
                gone.push(at);
            } else {
                chunks.push(item.chunk(number));
            }
        }
        if !chunks.is_empty() {
            let record = if plain { plain_record(&chunks) } else { record_of(&chunks) };
            self.outcome.records += 1;
            self.outcome.payload_bytes += to_u64(record.bytes().len());
            self.outcome.chunk_bytes += raw_len(record.bytes());
            let bytes = self.damage(&record);
            self.line.push(bytes);
        }
        for at in gone {
            self.sender.withdraw(at, InstanceFailure::Changed)?;
        }
        Ok(())
    }

    fn damage(&mut self, record: &Record) -> Bytes {
        let carries = |id: &ChunkId| record.header().chunks.iter().any(|chunk| chunk.id == *id);
        let mishaps = &mut self.drive.mishaps;
        let hit = mishaps.iter().position(|mishap| match mishap {
            Mishap::DamageOnce(id) | Mishap::DamageAlways(id) => carries(id),
            Mishap::Changed(..) | Mishap::Withdraw(..) => false,
        });
        let Some(hit) = hit else { return record.bytes().clone() };
        if matches!(mishaps[hit], Mishap::DamageOnce(_)) {
            mishaps.remove(hit);
        }
        let mut bytes = record.bytes().to_vec();
        let at = bytes.len() - 1 - self.drive.chance.below(record.payload().len());
        bytes[at] ^= 1 << self.drive.chance.below(8);
        bytes.into()
    }

    /// What `receive` does with a record that arrives.
    fn take_record(&mut self, bytes: &Bytes) -> Result<(), ProtocolError> {
        let (fixed, rest) = bytes.split_first_chunk::<RECORD_FIXED_BYTES>().expect("a whole record");
        let fixed = RecordFixed::decode(fixed).expect("the payload alone is damaged");
        let header = fixed.with_list(&rest[..fixed.list_len()]).expect("the payload alone is damaged");
        let receiver = self.receiver.as_mut().expect("a transfer has begun");
        if !header.chunks.iter().any(|chunk| receiver.wants(&chunk.id)) {
            self.outcome.unwanted += 1;
            return Ok(());
        }
        let Ok(record) = Record::decode(bytes.clone()) else {
            header.chunks.iter().for_each(|chunk| receiver.handle_damaged(&chunk.id));
            return Ok(());
        };
        let record_at = self.intake.keep(&record).map_err(|e| refusal(&e))?;
        for (slot, chunk) in (0u16..).zip(&header.chunks) {
            receiver.handle_chunk(&chunk.id, chunk.len, ChunkAt { record: record_at, slot });
        }
        if self.drive.chance.below(4) == 0 {
            receiver.report();
        }
        Ok(())
    }

    fn do_work(&mut self, work: Work) -> Result<(), ProtocolError> {
        match work {
            Work::FindPage(index, hash) => {
                let page = self.intake.find_page(&hash).map_err(|e| refusal(&e))?;
                self.receiver().handle_page_found(index, page)?;
            }
            Work::Lookup(index, page) => {
                let lookup = self.intake.look_up(&page).map_err(|e| refusal(&e))?;
                self.work.push(Work::LookedUp(index, lookup));
            }
            Work::LookedUp(index, lookup) => self.receiver().handle_lookup(index, &lookup),
            Work::Verify(job) => {
                let result = self.intake.check(&job, &Search::default()).map_err(|e| refusal(&e))?;
                let result = result.map(|staged| self.staged.push(staged));
                self.receiver().handle_verified(job.at, result);
            }
            Work::Committed(instances) => self.receiver().handle_committed(&instances),
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), ProtocolError> {
        let staged = std::mem::take(&mut self.staged);
        let instances = staged.iter().map(|staged| staged.at).collect();
        if let Some(visible) = &mut self.visible {
            assert_eq!(self.drive.site.visible(), *visible, "visible before the commit");
            visible.extend(staged.iter().map(|staged| *staged.instance.entry.hash.as_bytes()));
        }
        self.intake.commit(staged, std::mem::take(&mut self.pages_done)).map_err(|e| refusal(&e))?;
        if let Some(visible) = &self.visible {
            assert_eq!(self.drive.site.visible(), *visible, "visible after the commit");
        }
        self.work.push(Work::Committed(instances));
        Ok(())
    }

    fn drain_receiver(&mut self) {
        while let Some(output) = self.receiver.as_mut().and_then(Receiver::poll_output) {
            match output {
                ReceiverOutput::Send(body) => {
                    let bytes = body.into_bytes();
                    self.outcome.control_bytes += to_u64(bytes.len());
                    self.to_sender.push_back(bytes);
                }
                ReceiverOutput::FindPage { index, hash } => self.work.push(Work::FindPage(index, hash)),
                ReceiverOutput::Lookup { index, page } => self.work.push(Work::Lookup(index, page)),
                ReceiverOutput::Verify(job) => self.work.push(Work::Verify(Box::new(job))),
                ReceiverOutput::PageCommitted { hash, encoded } => self.pages_done.push((hash, encoded)),
                ReceiverOutput::Settled { root, complete } => self.settle = Some((root, complete)),
                ReceiverOutput::Over => {}
            }
        }
    }

    fn drain_sender(&mut self) {
        while let Some(output) = self.sender.poll_output() {
            match output {
                SenderOutput::Send(body) => {
                    let bytes = body.into_bytes();
                    self.outcome.control_bytes += to_u64(bytes.len());
                    self.to_receiver.push_back(bytes);
                }
                SenderOutput::Chunks { page, chunks, plain } => self.schedule(page, &chunks.iter().collect(), plain),
                SenderOutput::Committed { page, places } => {
                    for place in places {
                        let item = &self.drive.pages[to_usize(u64::from(page))][to_usize(u64::from(place))];
                        assert!(
                            self.drive.site.knows(&item.entry),
                            "the sender is told of a commit that did not happen"
                        );
                        self.outcome.committed.insert(InstanceAt { page, place });
                    }
                }
                SenderOutput::Failed { at, why } => {
                    assert!(self.withdrawn.insert(at), "an instance fails once");
                    self.outcome.failed.push((at, why));
                }
                SenderOutput::Receipt(_) => {
                    self.outcome.settled = self.settled;
                    self.over = true;
                }
                SenderOutput::Accepted { .. } | SenderOutput::Received { .. } | SenderOutput::Forget(_) => {}
            }
        }
    }

    fn schedule(&mut self, page: u32, chunks: &BTreeSet<usize>, plain: bool) {
        let mut position = 0;
        for (place, item) in (0u32..).zip(&self.drive.pages[to_usize(u64::from(page))]) {
            for number in 0..item.entry.chunks.len() {
                if chunks.contains(&position) {
                    let due = (InstanceAt { page, place }, number, plain);
                    if plain { self.due.push_front(due) } else { self.due.push_back(due) }
                }
                position += 1;
            }
        }
    }
}

/// A record of chunks as they are.
fn plain_record(chunks: &[&[u8]]) -> Record {
    let list: Vec<_> = chunks.iter().map(|c| RecordChunk { id: ChunkId::of(c), len: to_u32(c.len()) }).collect();
    Record::encode(CodecId::STORE, ChunkClass::Pixels, &list, &chunks.concat())
}
