//! The sending side of one transfer.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ops::Range;

use bytes::Bytes;

use super::Shortfall;
use super::bitmap::Bitmap;
use super::event::{InstanceFailure, ProtocolError};
use crate::codec::CodecId;
use crate::ids::{ManifestRoot, PageHash, TransferId};
use crate::limits::{CHUNKS_IN_FLIGHT_MAX, PAGES_IN_FLIGHT_MAX, WITHDRAWN_MAX};
use crate::manifest::{self, InstanceAt, Page};
use crate::units::{to_u32, to_usize};
use crate::wire::message::{
    Accept, Body, Committed, End, FailCode, Failed, Feature, Need, PageBody, PageKnown, PageRef, ReceiptBody, Received,
    Start, Withdraw,
};

/// What the caller is to do. See [`Sender::poll_output`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SenderOutput {
    /// Send a control message.
    Send(Body),
    /// The receiver takes this. Comes before the first `Chunks`.
    Accepted {
        /// Codecs that it decodes; use no other.
        codecs: Vec<CodecId>,
        /// Workers that it decodes with; 0 if it does not say.
        workers: u32,
    },
    /// Send these chunks of a page on data streams, in any order; none when the receiver has all of it.
    /// `plain` asks for no compression: they arrived damaged before.
    Chunks {
        /// The page.
        page: u32,
        /// Positions of the chunk entries, counted through the page.
        chunks: Bitmap,
        /// Whether to leave compression out.
        plain: bool,
    },
    /// The receiver has verified this much since the start.
    Received {
        /// Chunks.
        chunks: u64,
        /// Their original bytes.
        bytes: u64,
        /// Bytes of records a second that it wishes for at most; 0 for no limit.
        rate_max: u64,
    },
    /// Instances of a page would survive loss of power at the receiver.
    Committed {
        /// The page.
        page: u32,
        /// Their places on it.
        places: Range<u32>,
    },
    /// An instance will not arrive.
    Failed {
        /// Which.
        at: InstanceAt,
        /// Why.
        why: InstanceFailure,
    },
    /// Nothing of this page will be asked for again.
    Forget(u32),
    /// The transfer is over and this is the receiver's word for it. Nothing follows.
    Receipt(ReceiptBody),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InstanceState {
    Open,
    Settled,
}

#[derive(Debug)]
struct SentPage {
    /// The page as it travels, until it has been sent.
    body: Option<PageBody>,
    /// Per instance: its chunk entries' positions in the page, and what became of it.
    instances: Vec<(Range<usize>, InstanceState)>,
    chunk_count: usize,
    answered: bool,
}

impl SentPage {
    fn is_settled(&self) -> bool {
        self.answered && self.instances.iter().all(|(_, state)| *state == InstanceState::Settled)
    }
}

/// How pages are offered: the last answer says what to expect of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offering {
    /// The first page has gone in full; its answer decides.
    First,
    /// The receiver lacked something: send pages in full.
    Full,
    /// The receiver lacked nothing: ask by hash.
    Asking,
}

/// Sends one transfer.
///
/// Order of calls: drain [`poll_output`](Self::poll_output) after every call. While
/// [`wants_page`](Self::wants_page), give the next page to [`offer`](Self::offer); after the last one call
/// [`finish`](Self::finish). Give every control message to [`handle_message`](Self::handle_message).
/// When an instance turns out to be unsendable, call [`withdraw`](Self::withdraw). The transfer is over
/// when `Receipt` comes out or a call fails.
///
/// Memory: page bodies in flight, 32 bytes for each page of the transfer, about 60 for each withdrawn instance.
#[derive(Debug)]
pub struct Sender {
    pages: BTreeMap<u32, SentPage>,
    hashes: Vec<PageHash>,
    chunks_in_flight: usize,
    withdrawn: BTreeSet<InstanceAt>,
    offering: Offering,
    /// What the receiver understands, once it has accepted.
    accepted: Option<Vec<u32>>,
    /// Whether the receiver was asked to read back what it has.
    proves: bool,
    finished: Option<bool>,
    shortfall: Shortfall,
    /// Every root that has been announced: a receipt may cross with a withdrawal, and name an earlier one.
    announced: HashSet<ManifestRoot>,
    over: bool,
    out: VecDeque<SenderOutput>,
}

impl Sender {
    /// Begins a transfer of about `instances` instances and `bytes` original bytes.
    #[must_use]
    pub fn new(transfer: TransferId, priority: u32, instances: u64, bytes: u64) -> Self {
        let transfer = Bytes::copy_from_slice(transfer.as_bytes());
        let start = Start { transfer, priority, instances, bytes, features: Feature::all(), ..Start::default() };
        Self {
            pages: BTreeMap::new(),
            hashes: Vec::new(),
            chunks_in_flight: 0,
            withdrawn: BTreeSet::new(),
            offering: Offering::First,
            accepted: None,
            proves: false,
            finished: None,
            shortfall: Shortfall::default(),
            announced: HashSet::new(),
            over: false,
            out: VecDeque::from([SenderOutput::Send(Body::Start(start))]),
        }
    }

    /// Says how many instances are left out, since they are of other patients than those asked for. Before the first
    /// message is taken.
    #[must_use]
    pub fn with_others(mut self, others: u64) -> Self {
        if let Some(SenderOutput::Send(Body::Start(start))) = self.out.front_mut() {
            start.others = others;
        }
        self
    }

    /// Says that it goes on while studies arrive here. Before the first message is taken.
    #[must_use]
    pub fn following(mut self, follows: bool) -> Self {
        if let Some(SenderOutput::Send(Body::Start(start))) = self.out.front_mut() {
            start.follows = follows;
        }
        self
    }

    /// Asks the receiver to read back what it has already before it counts on it. Before the first output is taken.
    /// A receiver that cannot ends the transfer, with [`ProtocolError::Lacks`].
    #[must_use]
    pub fn with_proof(mut self, proves: bool) -> Self {
        self.proves = proves;
        if let Some(SenderOutput::Send(Body::Start(start))) = self.out.front_mut() {
            start.prove = proves;
        }
        self
    }

    /// The next thing to do, oldest first.
    pub fn poll_output(&mut self) -> Option<SenderOutput> {
        self.out.pop_front()
    }

    /// Whether the receiver has said that it understands [`Body::Working`].
    #[must_use]
    pub fn peer_hears_work(&self) -> bool {
        self.accepted.as_ref().is_some_and(|features| Feature::Working.is_in(features))
    }

    /// Whether a page may be offered now.
    #[must_use]
    pub fn wants_page(&self) -> bool {
        let waits_for_first_answer = self.offering == Offering::First && !self.hashes.is_empty();
        self.finished.is_none()
            && !waits_for_first_answer
            && self.pages.len() < PAGES_IN_FLIGHT_MAX
            && (self.chunks_in_flight < CHUNKS_IN_FLIGHT_MAX || self.pages.is_empty())
    }

    /// Offers a page. Returns its number.
    pub fn offer(&mut self, page: &Page) -> u32 {
        let encoded = page.encode();
        let hash = Page::hash_of(&encoded);
        let index = to_u32(self.hashes.len());
        // Compressing a page cannot fail short of memory; an empty body would be refused, not misread.
        let zstd = crate::codec::zstd::compress(&encoded, 3).unwrap_or_default();
        let mut body = Some(PageBody { index, raw_len: to_u32(encoded.len()), zstd: zstd.into() });
        let message = match self.offering {
            Offering::Asking => Body::PageRef(PageRef { index, hash: Bytes::copy_from_slice(hash.as_bytes()) }),
            Offering::First | Offering::Full => Body::Page(body.take().unwrap_or_default()),
        };
        let mut at = 0;
        let instances = page
            .instances
            .iter()
            .map(|instance| {
                let range = at..at + instance.chunks.len();
                at = range.end;
                (range, InstanceState::Open)
            })
            .collect();
        self.chunks_in_flight += at;
        self.hashes.push(hash);
        self.pages.insert(index, SentPage { body, instances, chunk_count: at, answered: false });
        self.out.push_back(SenderOutput::Send(message));
        index
    }

    /// Says why this is not all that was asked for. Before [`finish`](Self::finish): it makes that incomplete.
    pub const fn falls_short(&mut self, shortfall: Shortfall) {
        self.shortfall = shortfall;
    }

    /// Says that there are no more pages. `complete` tells the receiver whether these are whole studies:
    /// nothing was left out because of an error on this side.
    pub fn finish(&mut self, complete: bool) {
        self.finished = Some(complete);
        self.send_end();
    }

    fn send_end(&mut self) {
        let Some(complete) = self.finished else { return };
        let root = self.root();
        self.announced.insert(root);
        let Shortfall { changed, arriving, unstated } = self.shortfall;
        self.out.push_back(SenderOutput::Send(Body::End(End {
            pages: to_u32(self.hashes.len()),
            root: Bytes::copy_from_slice(root.as_bytes()),
            complete: complete && self.withdrawn.is_empty() && self.shortfall.is_none(),
            changed,
            arriving,
            unstated,
        })));
    }

    /// Takes back an instance whose bytes can no longer be sent as promised.
    ///
    /// # Errors
    /// [`ProtocolError::Invalid`] when more instances are withdrawn than a transfer may.
    pub fn withdraw(&mut self, at: InstanceAt, why: InstanceFailure) -> Result<(), ProtocolError> {
        let place = to_usize(u64::from(at.place));
        let Some(sent) = self.pages.get_mut(&at.page) else { return Ok(()) };
        let Some((_, state @ InstanceState::Open)) = sent.instances.get_mut(place) else { return Ok(()) };
        *state = InstanceState::Settled;
        if self.withdrawn.len() >= WITHDRAWN_MAX {
            return Err(ProtocolError::Invalid("too many withdrawn instances"));
        }
        self.withdrawn.insert(at);
        let message = Withdraw { page: at.page, place: at.place };
        self.out.push_back(SenderOutput::Send(Body::Withdraw(message)));
        self.out.push_back(SenderOutput::Failed { at, why });
        self.send_end();
        self.forget_if_settled(at.page);
        Ok(())
    }

    /// Takes a control message from the receiver.
    ///
    /// # Errors
    /// [`ProtocolError`] ends the transfer.
    pub fn handle_message(&mut self, message: Body) -> Result<(), ProtocolError> {
        if self.over {
            return Err(ProtocolError::Unexpected("a message behind the receipt"));
        }
        match message {
            Body::Refused(refused) => Err(ProtocolError::refused(&refused)),
            Body::Accept(accept) if self.accepted.is_none() => self.handle_accept(&accept),
            _ if self.accepted.is_none() => Err(ProtocolError::Unexpected("an answer before accepting")),
            Body::PageKnown(answer) => self.handle_page_known(&answer),
            Body::Need(need) => self.handle_need(&need, false),
            Body::Again(need) => self.handle_need(&need, true),
            Body::Received(received) => {
                let Received { chunks, bytes, rate_max } = received;
                self.out.push_back(SenderOutput::Received { chunks, bytes, rate_max });
                Ok(())
            }
            Body::Committed(committed) => self.handle_committed(&committed),
            Body::Failed(failed) => self.handle_failed(&failed),
            Body::Receipt(receipt) => self.handle_receipt(receipt),
            // Whoever keeps the time looks at it.
            Body::Working(_) => Ok(()),
            _ => Err(ProtocolError::Unexpected("a message that only a sender sends")),
        }
    }

    fn handle_accept(&mut self, accept: &Accept) -> Result<(), ProtocolError> {
        if accept.codecs.len().max(accept.features.len()) > 256 {
            return Err(ProtocolError::Invalid("a list of codecs"));
        }
        if self.proves && !Feature::Prove.is_in(&accept.features) {
            return Err(ProtocolError::Lacks("read back what it has before it counts on it"));
        }
        let mut codecs: Vec<CodecId> =
            accept.codecs.iter().filter_map(|n| u8::try_from(*n).ok()).map(CodecId).collect();
        if !codecs.contains(&CodecId::STORE) {
            codecs.push(CodecId::STORE);
        }
        self.accepted = Some(accept.features.clone());
        self.out.push_back(SenderOutput::Accepted { codecs, workers: accept.workers });
        Ok(())
    }

    fn handle_page_known(&mut self, answer: &PageKnown) -> Result<(), ProtocolError> {
        let page = self.pages.get_mut(&answer.index).ok_or(ProtocolError::Invalid("a page number"))?;
        let body = page.body.take().ok_or(ProtocolError::Unexpected("an answer to a page that was not asked about"))?;
        if !answer.known {
            self.out.push_back(SenderOutput::Send(Body::Page(body)));
        }
        Ok(())
    }

    fn handle_need(&mut self, need: &Need, plain: bool) -> Result<(), ProtocolError> {
        let forgotten = to_usize(u64::from(need.index)) < self.hashes.len() && !self.pages.contains_key(&need.index);
        if plain && forgotten {
            // Asked before the receiver could know that the last of the page had been withdrawn.
            return Ok(());
        }
        let page = self.pages.get_mut(&need.index).ok_or(ProtocolError::Invalid("a page number"))?;
        if page.body.is_some() {
            return Err(ProtocolError::Unexpected("a need for a page that it has not seen"));
        }
        if page.answered != plain {
            return Err(ProtocolError::Unexpected("a second answer to one page"));
        }
        let mut chunks =
            Bitmap::from_wire(&need.bitmap, page.chunk_count).ok_or(ProtocolError::Invalid("a list of chunks"))?;
        // What belongs to instances that were withdrawn meanwhile is not sent.
        if page.instances.iter().any(|(_, state)| *state == InstanceState::Settled) {
            let open = |at: &usize| {
                page.instances.iter().any(|(range, state)| range.contains(at) && *state == InstanceState::Open)
            };
            let mut kept = Bitmap::empty(page.chunk_count);
            chunks.iter().filter(open).for_each(|at| kept.set(at));
            chunks = kept;
        }
        page.answered = true;
        if !plain {
            self.offering = if chunks.is_empty() { Offering::Asking } else { Offering::Full };
        }
        if !chunks.is_empty() || !plain {
            self.out.push_back(SenderOutput::Chunks { page: need.index, chunks, plain });
        }
        self.forget_if_settled(need.index);
        Ok(())
    }

    fn handle_committed(&mut self, committed: &Committed) -> Result<(), ProtocolError> {
        let (runs, []) = committed.runs.as_chunks::<3>() else {
            return Err(ProtocolError::Invalid("a list of instances"));
        };
        for &[page, first, count] in runs {
            let end =
                first.checked_add(count).filter(|_| count > 0).ok_or(ProtocolError::Invalid("a list of instances"))?;
            for place in first..end {
                if self.settle(InstanceAt { page, place })? {
                    self.note_committed(page, place);
                }
            }
            self.forget_if_settled(page);
        }
        Ok(())
    }

    /// Tells of a committed instance, together with those in front of it.
    fn note_committed(&mut self, page: u32, place: u32) {
        match self.out.back_mut() {
            Some(SenderOutput::Committed { page: last, places }) if *last == page && places.end == place => {
                places.end += 1;
            }
            _ => self.out.push_back(SenderOutput::Committed { page, places: place..place + 1 }),
        }
    }

    fn handle_failed(&mut self, failed: &Failed) -> Result<(), ProtocolError> {
        let at = InstanceAt { page: failed.page, place: failed.place };
        if !self.settle(at)? {
            return Ok(());
        }
        let why = InstanceFailure::Refused(FailCode::from_number(failed.code));
        self.out.push_back(SenderOutput::Failed { at, why });
        self.forget_if_settled(at.page);
        Ok(())
    }

    /// Notes that the receiver is done with an instance; each only once. `false` when it had been
    /// withdrawn, and so told of, before.
    fn settle(&mut self, at: InstanceAt) -> Result<bool, ProtocolError> {
        if self.withdrawn.contains(&at) {
            return Ok(false);
        }
        let page = self.pages.get_mut(&at.page).ok_or(ProtocolError::Invalid("a page number"))?;
        let slot = page.instances.get_mut(to_usize(u64::from(at.place)));
        let (_, state) = slot.ok_or(ProtocolError::Invalid("an instance number"))?;
        if *state == InstanceState::Settled {
            return Err(ProtocolError::Unexpected("a second word on one instance"));
        }
        *state = InstanceState::Settled;
        Ok(true)
    }

    fn forget_if_settled(&mut self, index: u32) {
        if self.pages.get(&index).is_some_and(SentPage::is_settled)
            && let Some(page) = self.pages.remove(&index)
        {
            self.chunks_in_flight -= page.chunk_count;
            self.out.push_back(SenderOutput::Forget(index));
        }
    }

    fn handle_receipt(&mut self, receipt: ReceiptBody) -> Result<(), ProtocolError> {
        if self.finished.is_none() || !self.pages.is_empty() {
            return Err(ProtocolError::Unexpected("a receipt before everything was settled"));
        }
        self.over = true;
        self.out.push_back(SenderOutput::Receipt(receipt));
        Ok(())
    }

    /// Root of the manifest, once [`finish`](Self::finish) was called.
    #[must_use]
    pub fn root(&self) -> ManifestRoot {
        manifest::root(&self.hashes, &self.withdrawn)
    }

    /// Whether a receipt for `root` is one for this transfer: it names what was announced when the receiver
    /// settled, which may have been before the last withdrawal.
    #[must_use]
    pub fn announced(&self, root: &ManifestRoot) -> bool {
        self.announced.contains(root)
    }
}
