//! The receiving side of one transfer.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::bitmap::Bitmap;
use super::event::ProtocolError;
use super::{Shortfall, Totals};
use crate::codec::CodecId;
use crate::ids::{ChunkId, ManifestRoot, PageHash, StudyUid, TransferId};
use crate::limits::{
    CHUNK_TRIES_MAX, CHUNKS_IN_FLIGHT_MAX, PAGE_BYTES_MAX, PAGES_IN_FLIGHT_MAX, STUDIES_PER_TRANSFER_MAX, WITHDRAWN_MAX,
};
use crate::manifest::{self, InstanceAt, InstanceEntry, Page};
use crate::places::ChunkAt;
use crate::units::{to_u32, to_u64, to_usize};
use crate::wire::message::{
    Accept, Body, Committed, End, FailCode, Failed, Feature, Need, PageBody, PageKnown, PageRef, ReceiptBody, Received,
    Start,
};

/// What the caller's store has of a page. See [`Receiver::handle_lookup`].
#[derive(Debug, Clone, Default)]
pub struct Lookup {
    /// Per instance of the page: whether exactly this content is committed, where the sender may know it.
    pub committed: Vec<bool>,
    /// Per chunk entry of the page: where it stands already, where the sender may know it.
    pub chunks: Vec<Option<ChunkAt>>,
    /// Per instance of the page: whether it is to be refused as [`FailCode::Unwanted`]. Empty for none.
    pub unwanted: Vec<bool>,
}

/// All chunks of an instance are there: it is to be read back, hashed as a whole and scanned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyJob {
    /// Which instance of the transfer.
    pub at: InstanceAt,
    /// What the manifest says of it.
    pub entry: InstanceEntry,
    /// Where its chunks stand.
    pub chunks: Vec<ChunkAt>,
}

/// Why an instance, all of whose chunks are there, could not be proven. See [`Receiver::handle_verified`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unproven {
    /// It is not what the manifest says.
    Failed(FailCode),
    /// These of its chunks, counted from 0, are no longer what they were where they stand: they are asked for again.
    Damaged(Vec<usize>),
}

/// What the caller is to do. See [`Receiver::poll_output`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ReceiverOutput {
    /// Send a control message.
    Send(Body),
    /// Look for the page with this hash among those committed; answer with
    /// [`Receiver::handle_page_found`].
    FindPage {
        /// Number of the page.
        index: u32,
        /// Its hash.
        hash: PageHash,
    },
    /// Look up what the store has of this page; answer with [`Receiver::handle_lookup`].
    Lookup {
        /// Number of the page.
        index: u32,
        /// The page.
        page: Arc<Page>,
    },
    /// Read an instance back and check it; answer with [`Receiver::handle_verified`].
    Verify(VerifyJob),
    /// All instances of this page are committed: it may be recorded as known.
    PageCommitted {
        /// Its hash.
        hash: PageHash,
        /// Its encoding.
        encoded: Bytes,
    },
    /// Everything of the manifest is settled. Publish the studies if `complete`, sign a receipt for
    /// `root`, and hand it to [`Receiver::handle_receipt`].
    Settled {
        /// Root of the manifest.
        root: ManifestRoot,
        /// Whether these are whole studies: nothing withdrawn, nothing failed.
        complete: bool,
    },
    /// The transfer is over. Nothing follows.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InstanceState {
    /// So many of its chunk entries are missing.
    Waiting(usize),
    Verifying,
    Verified,
    Committed,
    Withdrawn,
    Failed,
}

#[derive(Debug)]
struct InstanceSlot {
    state: InstanceState,
    first_chunk: usize,
}

#[derive(Debug)]
struct ReceivedPage {
    hash: PageHash,
    encoded: Bytes,
    page: Arc<Page>,
    instances: Vec<InstanceSlot>,
    /// Where each chunk entry stands, once known.
    chunks: Vec<Option<ChunkAt>>,
    /// Whether the sender has been told what is needed of it.
    answered: bool,
}

/// A chunk that has been asked for.
#[derive(Debug, Default)]
struct Wanted {
    /// Chunk entries that wait for it: page, place in the page.
    waiters: Vec<(u32, usize)>,
    tries: u32,
}

/// Receives one transfer.
///
/// Order of calls: drain [`poll_output`](Self::poll_output) after every call, and carry each output out.
/// Control messages go to [`handle_message`](Self::handle_message). Of each record that arrives, the caller
/// drops those without a [`wanted`](Self::wants) chunk, verifies the rest chunk by chunk, stores the record and
/// reports with [`handle_chunk`](Self::handle_chunk) or [`handle_damaged`](Self::handle_damaged).
/// Verified instances are made durable, then reported with [`handle_committed`](Self::handle_committed).
///
/// Memory: the pages in flight, about 150 bytes for each of their chunk entries, and 32 bytes for each page.
#[derive(Debug)]
pub struct Receiver {
    transfer: TransferId,
    expected_instances: u64,
    expected_bytes: u64,
    peer_hears_work: bool,
    /// The one study that was asked for, if it was one.
    only: Vec<StudyUid>,
    pages: BTreeMap<u32, ReceivedPage>,
    /// Pages asked about by hash whose body has not come.
    asked: BTreeMap<u32, PageHash>,
    hashes: Vec<PageHash>,
    chunks_in_flight: usize,
    wanted: HashMap<ChunkId, Wanted>,
    /// How often chunks were found damaged where they stood.
    decayed: HashMap<ChunkId, u32>,
    withdrawn: BTreeSet<InstanceAt>,
    failed: u64,
    committed: u64,
    committed_bytes: u64,
    studies: HashSet<StudyUid>,
    present_bytes: u64,
    received_chunks: u64,
    received_bytes: u64,
    reported_chunks: u64,
    /// The limit that the sender was told last, and the one that it is to be told.
    rate_told: u64,
    rate_wished: u64,
    end: Option<(ManifestRoot, bool)>,
    shortfall: Shortfall,
    over: bool,
    out: VecDeque<ReceiverOutput>,
}

/// Original bytes that a receiver has of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrived {
    /// Were here before.
    pub present_bytes: u64,
    /// Arrived and were verified since.
    pub received_bytes: u64,
}

impl Receiver {
    /// Accepts a transfer that `start` announces, naming the codecs that this side decodes.
    ///
    /// # Errors
    /// [`ProtocolError`] when the announcement is not whole.
    pub fn accept(start: &Start, codecs: &[CodecId]) -> Result<Self, ProtocolError> {
        Self::accept_on(start, codecs, 0)
    }

    /// The same, saying how many records this side decodes at once; 0 for not saying.
    ///
    /// # Errors
    /// [`ProtocolError`] when the announcement is not whole.
    pub fn accept_on(start: &Start, codecs: &[CodecId], workers: u32) -> Result<Self, ProtocolError> {
        let transfer = TransferId::from_slice(&start.transfer).ok_or(ProtocolError::Invalid("a transfer id"))?;
        let codecs = codecs.iter().map(|c| u32::from(c.0)).collect();
        let accept = Accept { codecs, workers, features: Feature::all() };
        Ok(Self {
            transfer,
            expected_instances: start.instances,
            expected_bytes: start.bytes,
            only: Vec::new(),
            peer_hears_work: Feature::Working.is_in(&start.features),
            pages: BTreeMap::new(),
            asked: BTreeMap::new(),
            hashes: Vec::new(),
            chunks_in_flight: 0,
            wanted: HashMap::new(),
            decayed: HashMap::new(),
            withdrawn: BTreeSet::new(),
            failed: 0,
            committed: 0,
            committed_bytes: 0,
            studies: HashSet::new(),
            present_bytes: 0,
            received_chunks: 0,
            received_bytes: 0,
            reported_chunks: 0,
            rate_told: 0,
            rate_wished: 0,
            end: None,
            shortfall: Shortfall::default(),
            over: false,
            out: VecDeque::from([ReceiverOutput::Send(Body::Accept(accept))]),
        })
    }

    /// The next thing to do, oldest first.
    pub fn poll_output(&mut self) -> Option<ReceiverOutput> {
        self.out.pop_front()
    }

    /// The transfer's id, which heads its data streams.
    #[must_use]
    pub const fn transfer(&self) -> TransferId {
        self.transfer
    }

    /// Takes instances of these studies, where any is named, and refuses those of others. Before the first message.
    #[must_use]
    pub fn with_only(mut self, studies: Vec<StudyUid>) -> Self {
        self.only = studies;
        self
    }

    /// Whether the sender has said that it understands [`Body::Working`].
    #[must_use]
    pub const fn peer_hears_work(&self) -> bool {
        self.peer_hears_work
    }

    /// What the sender expects to send. For progress only.
    #[must_use]
    pub const fn expected(&self) -> Totals {
        Totals { instances: self.expected_instances, bytes: self.expected_bytes }
    }

    /// What is committed so far.
    #[must_use]
    pub const fn committed(&self) -> Totals {
        Totals { instances: self.committed, bytes: self.committed_bytes }
    }

    /// What is here of it.
    #[must_use]
    pub const fn arrived(&self) -> Arrived {
        Arrived { present_bytes: self.present_bytes, received_bytes: self.received_bytes }
    }

    /// The studies seen so far.
    #[must_use]
    pub const fn studies(&self) -> &HashSet<StudyUid> {
        &self.studies
    }

    /// Why this is not all that was asked for, by the sender's word.
    #[must_use]
    pub const fn shortfall(&self) -> Shortfall {
        self.shortfall
    }

    /// Whether a chunk has been asked for and not yet arrived.
    #[must_use]
    pub fn wants(&self, chunk: &ChunkId) -> bool {
        self.wanted.contains_key(chunk)
    }

    /// Whether chunks that were asked for have not arrived, or pages asked about have not come.
    #[must_use]
    pub fn awaits_chunks(&self) -> bool {
        !self.wanted.is_empty() || !self.asked.is_empty()
    }

    /// Bytes of the pages that are not done, as encoded.
    #[must_use]
    pub fn page_bytes(&self) -> u64 {
        self.pages.values().map(|page| to_u64(page.encoded.len())).sum()
    }

    /// Takes a control message from the sender.
    ///
    /// # Errors
    /// [`ProtocolError`] ends the transfer.
    pub fn handle_message(&mut self, message: Body) -> Result<(), ProtocolError> {
        match message {
            // Said before the sender could know that everything had arrived: the receipt stands.
            Body::Withdraw(_) | Body::End(_) if self.over => Ok(()),
            // Whoever keeps the time looks at it.
            Body::Working(_) => Ok(()),
            _ if self.over => Err(ProtocolError::Unexpected("a message behind the end")),
            Body::Refused(refused) => Err(ProtocolError::refused(&refused)),
            Body::PageRef(page) => self.handle_page_ref(&page),
            Body::Page(page) => self.handle_page(&page),
            Body::Withdraw(withdraw) => self.handle_withdraw(InstanceAt { page: withdraw.page, place: withdraw.place }),
            Body::End(end) => self.handle_end(&end),
            _ => Err(ProtocolError::Unexpected("a message that only a receiver sends")),
        }
    }

    fn check_new_page(&self, index: u32) -> Result<(), ProtocolError> {
        if self.end.is_some() {
            return Err(ProtocolError::Unexpected("a page behind the end"));
        }
        if to_usize(u64::from(index)) != self.hashes.len() {
            return Err(ProtocolError::Invalid("a page number"));
        }
        let in_flight = self.pages.len() + self.asked.len();
        if in_flight >= PAGES_IN_FLIGHT_MAX {
            return Err(ProtocolError::Invalid("more pages at once than allowed"));
        }
        Ok(())
    }

    fn handle_page_ref(&mut self, page: &PageRef) -> Result<(), ProtocolError> {
        self.check_new_page(page.index)?;
        let hash = PageHash::from_slice(&page.hash).ok_or(ProtocolError::Invalid("a page hash"))?;
        self.hashes.push(hash);
        self.asked.insert(page.index, hash);
        self.out.push_back(ReceiverOutput::FindPage { index: page.index, hash });
        Ok(())
    }

    fn handle_page(&mut self, body: &PageBody) -> Result<(), ProtocolError> {
        let len = to_usize(u64::from(body.raw_len));
        if len > PAGE_BYTES_MAX {
            return Err(ProtocolError::Invalid("a page length"));
        }
        // The buffer is the cap: a frame that unpacks to more is an error.
        let encoded =
            crate::codec::zstd::decompress(&body.zstd, len).map_err(|_| ProtocolError::Invalid("a packed page"))?;
        let hash = Page::hash_of(&encoded);
        match self.asked.remove(&body.index) {
            Some(asked) if asked == hash => {}
            Some(_) => return Err(ProtocolError::Invalid("a page that is not the one it named")),
            None => {
                self.check_new_page(body.index)?;
                self.hashes.push(hash);
            }
        }
        self.add_page(body.index, hash, encoded.into())
    }

    /// Answers `FindPage`: the encoding of the page if it is committed, or `None`.
    ///
    /// # Errors
    /// [`ProtocolError`] when what was found does not decode: then it had better be sent anew.
    pub fn handle_page_found(&mut self, index: u32, encoded: Option<Bytes>) -> Result<(), ProtocolError> {
        let Some(hash) = self.asked.get(&index).copied() else { return Ok(()) };
        let found = encoded.filter(|bytes| Page::hash_of(bytes) == hash);
        self.out.push_back(ReceiverOutput::Send(Body::PageKnown(PageKnown { index, known: found.is_some() })));
        if let Some(encoded) = found {
            self.asked.remove(&index);
            self.add_page(index, hash, encoded)?;
        }
        Ok(())
    }

    fn add_page(&mut self, index: u32, hash: PageHash, encoded: Bytes) -> Result<(), ProtocolError> {
        let page = Page::decode(&encoded)?;
        let chunk_count = page.chunk_count();
        if self.chunks_in_flight + chunk_count > 2 * CHUNKS_IN_FLIGHT_MAX && !self.pages.is_empty() {
            return Err(ProtocolError::Invalid("more chunks at once than allowed"));
        }
        let is_asked = |study: &StudyUid| self.only.is_empty() || self.only.contains(study);
        if !page.instances.iter().all(|instance| is_asked(&instance.study)) {
            return Err(ProtocolError::Invalid("instances of a study that was not asked for"));
        }
        // While the page was asked about by its hash, instances of it may have been withdrawn.
        let none = InstanceAt { page: index, place: to_u32(page.instances.len()) };
        if self.withdrawn.range(none..).next().is_some_and(|at| at.page == index) {
            return Err(ProtocolError::Invalid("an instance number"));
        }
        let mut at = 0;
        let instances = (0..).zip(&page.instances).map(|(place, instance)| {
            let first_chunk = at;
            at += instance.chunks.len();
            let withdrawn = self.withdrawn.contains(&InstanceAt { page: index, place });
            let state = if withdrawn { InstanceState::Withdrawn } else { InstanceState::Waiting(usize::MAX) };
            InstanceSlot { state, first_chunk }
        });
        let instances: Vec<_> = instances.collect();
        self.studies.extend(page.instances.iter().map(|i| i.study.clone()));
        if self.studies.len() > STUDIES_PER_TRANSFER_MAX {
            return Err(ProtocolError::Invalid("more studies in one transfer than allowed"));
        }
        self.chunks_in_flight += chunk_count;
        let page = Arc::new(page);
        let chunks = vec![None; chunk_count];
        let received = ReceivedPage { hash, encoded, page: Arc::clone(&page), instances, chunks, answered: false };
        self.pages.insert(index, received);
        self.out.push_back(ReceiverOutput::Lookup { index, page });
        Ok(())
    }

    /// Answers `Lookup`. Emits the need for the page, and what follows from chunks already there.
    pub fn handle_lookup(&mut self, index: u32, lookup: &Lookup) {
        let Some(received) = self.pages.get_mut(&index) else { return };
        let mut need = Bitmap::empty(received.chunks.len());
        let (mut committed, mut unwanted) = (Vec::new(), Vec::new());
        for (place, entry) in received.page.instances.iter().enumerate() {
            let slot = &mut received.instances[place];
            if slot.state == InstanceState::Withdrawn {
                continue;
            }
            if lookup.unwanted.get(place).copied().unwrap_or(false) {
                unwanted.push(InstanceAt { page: index, place: to_u32(place) });
                self.present_bytes += entry.len;
                continue;
            }
            if lookup.committed.get(place).copied().unwrap_or(false) {
                committed.push(InstanceAt { page: index, place: to_u32(place) });
                self.present_bytes += entry.len;
                continue;
            }
            let mut missing = 0;
            for (n, chunk) in entry.chunks.iter().enumerate() {
                let at = slot.first_chunk + n;
                if let Some(found) = lookup.chunks.get(at).copied().flatten() {
                    received.chunks[at] = Some(found);
                    self.present_bytes += u64::from(chunk.len);
                    continue;
                }
                missing += 1;
                let wanted = self.wanted.entry(chunk.id).or_default();
                // Only the first entry that wants a chunk asks for it.
                if wanted.waiters.is_empty() {
                    need.set(at);
                }
                wanted.waiters.push((index, at));
            }
            slot.state = InstanceState::Waiting(missing);
        }
        received.answered = true;
        let need = Need { index, bitmap: need.to_wire() };
        self.out.push_back(ReceiverOutput::Send(Body::Need(need)));
        let complete: Vec<usize> = self.pages[&index]
            .instances
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.state == InstanceState::Waiting(0))
            .map(|(place, _)| place)
            .collect();
        for place in complete {
            self.start_verifying(index, place);
        }
        for at in unwanted {
            self.fail(at, FailCode::Unwanted);
        }
        // All of it may have been withdrawn meanwhile.
        self.retire_if_settled(index);
        self.handle_committed(&committed);
    }

    fn start_verifying(&mut self, index: u32, place: usize) {
        let Some(received) = self.pages.get_mut(&index) else { return };
        let slot = &mut received.instances[place];
        slot.state = InstanceState::Verifying;
        let entry = received.page.instances[place].clone();
        let from = slot.first_chunk;
        let chunks: Vec<ChunkAt> = received.chunks[from..from + entry.chunks.len()].iter().copied().flatten().collect();
        debug_assert_eq!(chunks.len(), entry.chunks.len(), "an instance is verified when all its chunks are there");
        let at = InstanceAt { page: index, place: to_u32(place) };
        self.out.push_back(ReceiverOutput::Verify(VerifyJob { at, entry, chunks }));
    }

    /// A chunk has arrived, was verified against its identity, and stands at `at` in the store.
    /// One that was not wanted (any more) is ignored.
    pub fn handle_chunk(&mut self, chunk: &ChunkId, len: u32, at: ChunkAt) {
        let Some(wanted) = self.wanted.remove(chunk) else { return };
        self.received_chunks += 1;
        self.received_bytes += u64::from(len);
        let mut complete = Vec::new();
        for (index, place) in wanted.waiters {
            let Some(received) = self.pages.get_mut(&index) else { continue };
            received.chunks[place] = Some(at);
            let owner = received.instances.partition_point(|slot| slot.first_chunk <= place) - 1;
            // Instances without chunks share a first chunk with the next; the last of them owns it.
            if let InstanceState::Waiting(missing) = &mut received.instances[owner].state {
                *missing -= 1;
                if *missing == 0 {
                    complete.push((index, owner));
                }
            }
        }
        for (index, place) in complete {
            self.start_verifying(index, place);
        }
    }

    /// A wanted chunk arrived, but its bytes are not what its identity says. It is asked for again
    /// without compression, and given up after [`CHUNK_TRIES_MAX`] times.
    pub fn handle_damaged(&mut self, chunk: &ChunkId) {
        let Some(wanted) = self.wanted.get_mut(chunk) else { return };
        wanted.tries += 1;
        if wanted.tries < CHUNK_TRIES_MAX {
            let (index, place) = wanted.waiters[0];
            let mut again = Bitmap::empty(place + 1);
            again.set(place);
            let again = Need { index, bitmap: again.to_wire() };
            self.out.push_back(ReceiverOutput::Send(Body::Again(again)));
            return;
        }
        let waiters = self.wanted.remove(chunk).map(|w| w.waiters).unwrap_or_default();
        for (index, place) in waiters {
            let Some(received) = self.pages.get(&index) else { continue };
            let owner = received.instances.partition_point(|slot| slot.first_chunk <= place) - 1;
            self.fail(InstanceAt { page: index, place: to_u32(owner) }, FailCode::Integrity);
        }
    }

    /// Answers `Verify`: the instance, read back from the store, is what the manifest says, or why not.
    pub fn handle_verified(&mut self, at: InstanceAt, result: Result<(), Unproven>) {
        let Some(slot) = self.slot(at) else { return };
        if slot.state != InstanceState::Verifying {
            return;
        }
        match result {
            Ok(()) => slot.state = InstanceState::Verified,
            Err(Unproven::Failed(code)) => self.fail(at, code),
            Err(Unproven::Damaged(chunks)) => self.ask_for_damaged(at, &chunks),
        }
    }

    /// Asks again for chunks of an instance that are damaged where they stand, each [`CHUNK_TRIES_MAX`] times at most.
    fn ask_for_damaged(&mut self, at: InstanceAt, chunks: &[usize]) {
        let Some(received) = self.pages.get_mut(&at.page) else { return };
        let place = to_usize(u64::from(at.place));
        let (slot, entry) = (&mut received.instances[place], &received.page.instances[place]);
        let mut again = Bitmap::empty(received.chunks.len());
        let mut missing = 0;
        for n in chunks.iter().copied().filter(|n| *n < entry.chunks.len()).collect::<BTreeSet<_>>() {
            let chunk = &entry.chunks[n];
            let tries = self.decayed.entry(chunk.id).or_default();
            *tries += 1;
            if *tries >= CHUNK_TRIES_MAX {
                return self.fail(at, FailCode::Integrity);
            }
            received.chunks[slot.first_chunk + n] = None;
            self.present_bytes = self.present_bytes.saturating_sub(u64::from(chunk.len));
            missing += 1;
            let wanted = self.wanted.entry(chunk.id).or_default();
            if wanted.waiters.is_empty() {
                again.set(slot.first_chunk + n);
            }
            wanted.waiters.push((at.page, slot.first_chunk + n));
        }
        if missing == 0 {
            return self.fail(at, FailCode::Integrity);
        }
        slot.state = InstanceState::Waiting(missing);
        if !again.is_empty() {
            let again = Need { index: at.page, bitmap: again.to_wire() };
            self.out.push_back(ReceiverOutput::Send(Body::Again(again)));
        }
    }

    /// These instances are durable, in the store and in the index.
    pub fn handle_committed(&mut self, instances: &[InstanceAt]) {
        let mut runs: Vec<u32> = Vec::new();
        let mut sorted: Vec<InstanceAt> = instances.to_vec();
        sorted.sort_unstable();
        let mut pages = BTreeSet::new();
        for at in sorted {
            let Some(slot) = self.slot(at) else { continue };
            if matches!(slot.state, InstanceState::Committed | InstanceState::Withdrawn | InstanceState::Failed) {
                continue;
            }
            slot.state = InstanceState::Committed;
            self.committed += 1;
            self.committed_bytes += self.entry(at).map_or(0, |entry| entry.len);
            pages.insert(at.page);
            match runs.as_chunks_mut::<3>().0.last_mut() {
                Some([page, first, count]) if *page == at.page && *first + *count == at.place => *count += 1,
                _ => runs.extend([at.page, at.place, 1]),
            }
        }
        if !runs.is_empty() {
            self.out.push_back(ReceiverOutput::Send(Body::Committed(Committed { runs })));
        }
        for page in pages {
            self.retire_if_settled(page);
        }
        self.settle_if_done();
    }

    fn slot(&mut self, at: InstanceAt) -> Option<&mut InstanceSlot> {
        self.pages.get_mut(&at.page)?.instances.get_mut(to_usize(u64::from(at.place)))
    }

    fn entry(&self, at: InstanceAt) -> Option<&InstanceEntry> {
        self.pages.get(&at.page)?.page.instances.get(to_usize(u64::from(at.place)))
    }

    fn fail(&mut self, at: InstanceAt, code: FailCode) {
        let Some(slot) = self.slot(at) else { return };
        if matches!(slot.state, InstanceState::Committed | InstanceState::Withdrawn | InstanceState::Failed) {
            return;
        }
        slot.state = InstanceState::Failed;
        self.failed += 1;
        self.abandon(at);
        let failed = Failed { page: at.page, place: at.place, code: code.number() };
        self.out.push_back(ReceiverOutput::Send(Body::Failed(failed)));
        self.retire_if_settled(at.page);
        self.settle_if_done();
    }

    fn handle_withdraw(&mut self, at: InstanceAt) -> Result<(), ProtocolError> {
        if self.withdrawn.len() >= WITHDRAWN_MAX {
            return Err(ProtocolError::Invalid("too many withdrawn instances"));
        }
        if to_usize(u64::from(at.page)) >= self.hashes.len() || !self.withdrawn.insert(at) {
            return Err(ProtocolError::Invalid("an instance number"));
        }
        // The root changes with what is withdrawn; the sender says the new one next.
        self.end = None;
        if self.pages.contains_key(&at.page) {
            let slot = self.slot(at).ok_or(ProtocolError::Invalid("an instance number"))?;
            if !matches!(slot.state, InstanceState::Committed | InstanceState::Failed) {
                slot.state = InstanceState::Withdrawn;
                self.abandon(at);
            }
            self.retire_if_settled(at.page);
        }
        Ok(())
    }

    /// Drops a page when the sender knows what is needed of it and each of its instances is settled.
    fn retire_if_settled(&mut self, index: u32) {
        let Some(received) = self.pages.get(&index) else { return };
        let settled = received.answered
            && received.instances.iter().all(|slot| {
                matches!(slot.state, InstanceState::Committed | InstanceState::Withdrawn | InstanceState::Failed)
            });
        if !settled {
            return;
        }
        let Some(page) = self.pages.remove(&index) else { return };
        self.chunks_in_flight -= page.chunks.len();
        if page.instances.iter().all(|slot| slot.state == InstanceState::Committed) {
            self.out.push_back(ReceiverOutput::PageCommitted { hash: page.hash, encoded: page.encoded });
        }
    }

    /// Forgets what was wanted for one instance alone; where others wait for the same chunk and this
    /// instance's entry had asked for it, one of them asks in its place.
    fn abandon(&mut self, at: InstanceAt) {
        let Some(received) = self.pages.get(&at.page) else { return };
        let place = to_usize(u64::from(at.place));
        let (Some(slot), Some(entry)) = (received.instances.get(place), received.page.instances.get(place)) else {
            return;
        };
        let own = slot.first_chunk..slot.first_chunk + entry.chunks.len();
        let mut orphans = Vec::new();
        for chunk in &entry.chunks {
            let Some(wanted) = self.wanted.get_mut(&chunk.id) else { continue };
            let is_own = |(page, place): &(u32, usize)| *page == at.page && own.contains(place);
            let asked_here = wanted.waiters.first().is_some_and(is_own);
            wanted.waiters.retain(|waiter| !is_own(waiter));
            if asked_here {
                orphans.push(chunk.id);
            }
        }
        self.ask_anew(&orphans);
    }

    /// Chunks whose asker is gone: others that wait for them ask in its place.
    fn ask_anew(&mut self, chunks: &[ChunkId]) {
        for id in chunks {
            let Some((index, place)) = self.wanted.get(id).and_then(|w| w.waiters.first().copied()) else {
                self.wanted.remove(id);
                continue;
            };
            let mut again = Bitmap::empty(place + 1);
            again.set(place);
            let again = Need { index, bitmap: again.to_wire() };
            self.out.push_back(ReceiverOutput::Send(Body::Again(again)));
        }
    }

    fn handle_end(&mut self, end: &End) -> Result<(), ProtocolError> {
        let root = ManifestRoot::from_slice(&end.root).ok_or(ProtocolError::Invalid("a root"))?;
        if to_usize(u64::from(end.pages)) != self.hashes.len() || root != manifest::root(&self.hashes, &self.withdrawn)
        {
            return Err(ProtocolError::Invalid("a root that is not the manifest's"));
        }
        let End { changed, arriving, unstated, .. } = *end;
        self.shortfall = Shortfall { changed, arriving, unstated };
        self.end = Some((root, end.complete && self.shortfall.is_none()));
        self.settle_if_done();
        Ok(())
    }

    /// Whether none of the instances that were offered has failed or was withdrawn.
    #[must_use]
    pub fn has_all(&self) -> bool {
        self.failed == 0 && self.withdrawn.is_empty()
    }

    fn settle_if_done(&mut self) {
        if self.over || !self.pages.is_empty() || !self.asked.is_empty() {
            return;
        }
        let Some((root, complete)) = self.end else { return };
        self.over = true;
        let complete = complete && self.has_all();
        self.out.push_back(ReceiverOutput::Settled { root, complete });
    }

    /// Sends the signed receipt that `Settled` asked for; the transfer is over then.
    pub fn handle_receipt(&mut self, receipt: ReceiptBody) {
        self.out.push_back(ReceiverOutput::Send(Body::Receipt(receipt)));
        self.out.push_back(ReceiverOutput::Over);
    }

    /// The sender is to send no more than this, in bytes of records a second; 0 for no limit. It is told with
    /// the next [`report`](Self::report).
    pub const fn wish_rate(&mut self, bytes_a_second: u64) {
        self.rate_wished = bytes_a_second;
    }

    /// Tells the sender how much has been verified, if that changed since the last call.
    /// Call it a few times a second: it drives the sender's progress and shows that this side lives.
    pub fn report(&mut self) {
        let rate_max = self.rate_wished;
        if (self.reported_chunks != self.received_chunks || self.rate_told != rate_max) && !self.over {
            self.reported_chunks = self.received_chunks;
            self.rate_told = rate_max;
            let received = Received { chunks: self.received_chunks, bytes: self.received_bytes, rate_max };
            self.out.push_back(ReceiverOutput::Send(Body::Received(received)));
        }
    }
}
