//! Random lists of operations against the two machines, with the line and the store of a model between
//! them.
//!
//! While both sides are honest, nothing fails; and when the list is at its end and everything left is
//! carried out, the transfer is over, its receipt names a root that was announced, and every instance has
//! come to exactly one end. Once a message from outside the protocol has been put in, a machine may
//! refuse, but not panic.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use imgxfer_core::chunk::ChunkClass;
use imgxfer_core::codec::CodecId;
use imgxfer_core::ids::{
    ChunkId, InstanceHash, ManifestRoot, PackId, PageHash, SeriesUid, SopInstanceUid, StudyUid, TransferId,
};
use imgxfer_core::manifest::{ChunkEntry, InstanceAt, InstanceEntry, Page};
use imgxfer_core::proto::{
    InstanceFailure, Lookup, Receiver, ReceiverOutput, Sender, SenderOutput, Unproven, VerifyJob,
};
use imgxfer_core::store::{ChunkAt, RecordAt};
use imgxfer_core::wire::message::{Body, FailCode, ReceiptBody, Start};

/// Pages of one transfer: enough for every state, and little enough to come to an end.
const PAGES_MAX: usize = 12;
/// Chunks that differ: few, so that instances share them.
const CHUNKS: u8 = 12;

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }
}

fn place_in_store() -> ChunkAt {
    ChunkAt { record: RecordAt { pack: PackId::from_bytes([1; 16]), offset: 0, len: 100 }, slot: 0 }
}

/// A page of one to four instances of up to three chunks each.
fn page(input: &mut Input<'_>, number: usize) -> Page {
    let shape = input.byte();
    let uid = |place: u8| format!("1.2.{number}.{place}");
    let instance = |place: u8, input: &mut Input<'_>| {
        let chunks: Vec<_> = (0..input.byte() % 4)
            .map(|_| ChunkEntry {
                id: ChunkId::from_bytes([input.byte() % CHUNKS; 32]),
                len: 10,
                class: ChunkClass::Header,
            })
            .collect();
        InstanceEntry {
            study: StudyUid::new(&format!("1.{}", shape >> 6)).expect("digits"),
            series: SeriesUid::new("1.2.3").expect("digits"),
            sop_instance: SopInstanceUid::new(&uid(place)).expect("digits"),
            sop_class: None,
            transfer_syntax: None,
            name: Vec::new(),
            len: 10 * chunks.len() as u64,
            hash: InstanceHash::from_bytes([place; 32]),
            chunks,
        }
    };
    Page { instances: (0..shape % 4 + 1).map(|place| instance(place, input)).collect() }
}

struct Model {
    sender: Sender,
    receiver: Option<Receiver>,
    /// Messages on their way.
    to_receiver: VecDeque<Body>,
    to_sender: VecDeque<Body>,
    pages: Vec<Page>,
    /// Chunks that the sender was told to send: instance that each is for, and its name.
    sending: VecDeque<(InstanceAt, ChunkId)>,
    found: VecDeque<(u32, PageHash)>,
    lookups: VecDeque<(u32, usize, usize)>,
    verifying: VecDeque<VerifyJob>,
    verified: Vec<InstanceAt>,
    settled: Option<ManifestRoot>,
    finished: bool,
    receipt: Option<ReceiptBody>,
    /// What the sender has been told of each instance.
    ends: BTreeMap<InstanceAt, &'static str>,
    forgotten: BTreeSet<u32>,
    honest: bool,
    /// A machine has ended the transfer.
    broken: bool,
}

impl Model {
    fn new() -> Self {
        Self {
            sender: Sender::new(TransferId::from_bytes([9; 16]), 0, 0, 0),
            receiver: None,
            to_receiver: VecDeque::new(),
            to_sender: VecDeque::new(),
            pages: Vec::new(),
            sending: VecDeque::new(),
            found: VecDeque::new(),
            lookups: VecDeque::new(),
            verifying: VecDeque::new(),
            verified: Vec::new(),
            settled: None,
            finished: false,
            receipt: None,
            ends: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            honest: true,
            broken: false,
        }
    }

    fn check<E: std::fmt::Debug>(&mut self, what: &str, result: Result<(), E>) {
        if let Err(error) = result {
            assert!(!self.honest, "honest sides disagree over {what}: {error:?}");
            self.broken = true;
        }
    }

    fn end(&mut self, at: InstanceAt, how: &'static str) {
        let earlier = self.ends.insert(at, how);
        assert!(earlier.is_none() || !self.honest, "{at:?} is {how} and was {earlier:?}");
    }

    fn drain(&mut self) {
        while let Some(output) = self.sender.poll_output() {
            match output {
                SenderOutput::Send(body) => self.to_receiver.push_back(body),
                SenderOutput::Chunks { page, chunks, .. } => {
                    let Some(offered) = self.pages.get(page as usize) else { panic!("page {page} was never offered") };
                    assert!(!self.forgotten.contains(&page), "a page is needed after it was forgotten");
                    let entries = (0..).zip(&offered.instances).flat_map(|(place, instance)| {
                        instance.chunks.iter().map(move |chunk| (InstanceAt { page, place }, chunk.id))
                    });
                    self.sending.extend(entries.enumerate().filter(|(at, _)| chunks.get(*at)).map(|(_, entry)| entry));
                }
                SenderOutput::Committed { page, places } => {
                    for place in places {
                        // One that was withdrawn meanwhile has come to its end already.
                        if self.ends.get(&InstanceAt { page, place }) != Some(&"withdrawn") {
                            self.end(InstanceAt { page, place }, "committed");
                        }
                    }
                }
                SenderOutput::Failed { at, why } => {
                    let withdrawn = matches!(why, InstanceFailure::Changed | InstanceFailure::Unreadable(_));
                    if withdrawn || self.ends.get(&at) != Some(&"withdrawn") {
                        self.end(at, if withdrawn { "withdrawn" } else { "failed" });
                    }
                }
                SenderOutput::Forget(page) => assert!(self.forgotten.insert(page), "page {page} is forgotten twice"),
                SenderOutput::Receipt(receipt) => {
                    assert!(self.receipt.is_none(), "there is one receipt");
                    self.receipt = Some(receipt);
                }
                _ => {}
            }
        }
        let Some(receiver) = &mut self.receiver else { return };
        while let Some(output) = receiver.poll_output() {
            match output {
                ReceiverOutput::Send(body) => self.to_sender.push_back(body),
                ReceiverOutput::FindPage { index, hash } => self.found.push_back((index, hash)),
                ReceiverOutput::Lookup { index, page } => {
                    self.lookups.push_back((index, page.instances.len(), page.chunk_count()));
                }
                ReceiverOutput::Verify(job) => {
                    assert_eq!(job.chunks.len(), job.entry.chunks.len());
                    self.verifying.push_back(job);
                }
                ReceiverOutput::Settled { root, .. } => {
                    assert!(self.settled.is_none(), "a transfer settles once");
                    self.settled = Some(root);
                }
                _ => {}
            }
        }
    }

    fn offer(&mut self, input: &mut Input<'_>) -> bool {
        if !self.sender.wants_page() || self.pages.len() >= PAGES_MAX {
            return false;
        }
        let repeat = input.byte();
        // Now and then the page before once more: the same bytes twice in one transfer.
        let page = match self.pages.last() {
            Some(last) if repeat > 240 => last.clone(),
            _ => page(input, self.pages.len()),
        };
        self.pages.push(page.clone());
        self.sender.offer(&page);
        true
    }

    fn finish(&mut self, complete: bool) -> bool {
        if self.finished {
            return false;
        }
        self.finished = true;
        self.sender.finish(complete);
        true
    }

    fn withdraw(&mut self, choice: u8, lose: bool) -> bool {
        if self.pages.is_empty() || self.receipt.is_some() {
            return false;
        }
        let page = usize::from(choice >> 2).min(self.pages.len() - 1);
        let at = InstanceAt { page: u32::try_from(page).expect("few pages"), place: u32::from(choice & 3) };
        let result = self.sender.withdraw(at, InstanceFailure::Changed);
        self.check("a withdrawal", result);
        self.drain();
        if lose && self.ends.get(&at) == Some(&"withdrawn") {
            self.sending.retain(|(of, _)| *of != at);
        }
        true
    }

    fn deliver_to_receiver(&mut self) -> bool {
        let Some(body) = self.to_receiver.pop_front() else { return false };
        match (&mut self.receiver, body) {
            (None, Body::Start(start)) => self.start(&start),
            (None, _) => self.broken = true,
            (Some(receiver), body) => {
                let result = receiver.handle_message(body);
                self.check("a message to the receiver", result);
            }
        }
        true
    }

    fn start(&mut self, start: &Start) {
        match Receiver::accept(start, &[CodecId::STORE, CodecId::ZSTD]) {
            Ok(receiver) => self.receiver = Some(receiver),
            Err(_) => self.broken = true,
        }
    }

    fn deliver_to_sender(&mut self) -> bool {
        let Some(body) = self.to_sender.pop_front() else { return false };
        let result = self.sender.handle_message(body);
        self.check("a message to the sender", result);
        true
    }

    fn answer_found(&mut self, known: bool) -> bool {
        let (Some((index, hash)), Some(receiver)) = (self.found.pop_front(), &mut self.receiver) else { return false };
        let encoded = self.pages.iter().map(Page::encode).find(|encoded| Page::hash_of(encoded) == hash);
        let result = receiver.handle_page_found(index, encoded.filter(|_| known).map(Bytes::from));
        self.check("a page that was found", result);
        true
    }

    fn answer_lookup(&mut self, committed: u8, present: u8) -> bool {
        let (Some((index, instances, chunks)), Some(receiver)) = (self.lookups.pop_front(), &mut self.receiver) else {
            return false;
        };
        let lookup = Lookup {
            committed: (0..instances).map(|at| committed >> (at % 8) & 1 == 1).collect(),
            chunks: (0..chunks).map(|at| (present >> (at % 8) & 1 == 1).then(place_in_store)).collect(),
            unwanted: Vec::new(),
        };
        receiver.handle_lookup(index, &lookup);
        true
    }

    fn carry_chunk(&mut self, choice: u8, damaged: bool) -> bool {
        let Some(receiver) = &mut self.receiver else { return false };
        if self.sending.is_empty() {
            return false;
        }
        let at = usize::from(choice) % self.sending.len();
        let Some((_, chunk)) = self.sending.remove(at) else { return false };
        if !receiver.wants(&chunk) {
            return true;
        }
        if damaged {
            receiver.handle_damaged(&chunk);
        } else {
            receiver.handle_chunk(&chunk, 10, place_in_store());
        }
        true
    }

    fn verify(&mut self, result: Result<(), Unproven>) -> bool {
        let (Some(job), Some(receiver)) = (self.verifying.pop_front(), &mut self.receiver) else { return false };
        if result.is_ok() {
            self.verified.push(job.at);
        }
        receiver.handle_verified(job.at, result);
        true
    }

    fn commit(&mut self) -> bool {
        let Some(receiver) = self.receiver.as_mut().filter(|_| !self.verified.is_empty()) else { return false };
        receiver.handle_committed(&std::mem::take(&mut self.verified));
        true
    }

    fn sign(&mut self) -> bool {
        let (Some(root), Some(receiver)) = (self.settled.take(), &mut self.receiver) else { return false };
        let text = Bytes::copy_from_slice(root.as_bytes());
        receiver.handle_receipt(ReceiptBody { text, ..ReceiptBody::default() });
        true
    }

    /// A message of any content, to one side or the other.
    fn intrude(&mut self, input: &mut Input<'_>) -> bool {
        let choice = input.byte();
        let len = usize::from(choice >> 1).min(input.0.len());
        let (message, rest) = input.0.split_at(len);
        input.0 = rest;
        let Ok(body) = Body::from_bytes(Bytes::copy_from_slice(message)) else { return false };
        self.honest = false;
        let to = if choice & 1 == 0 { &mut self.to_receiver } else { &mut self.to_sender };
        to.push_front(body);
        true
    }

    fn step(&mut self, operation: u8, input: &mut Input<'_>) {
        // Whether there was anything to carry out makes no difference here.
        let _: bool = match operation % 16 {
            0 | 1 => self.offer(input),
            2 => self.finish(input.byte() & 1 == 1),
            3 => {
                let choice = input.byte();
                self.withdraw(choice & 0x7f, choice & 0x80 != 0)
            }
            4 | 5 => self.deliver_to_receiver(),
            6 | 7 => self.deliver_to_sender(),
            8 => self.answer_found(input.byte() & 1 == 1),
            9 => self.answer_lookup(input.byte(), input.byte()),
            10 => self.carry_chunk(input.byte(), false),
            11 => self.carry_chunk(input.byte(), true),
            12 => self.verify(match input.byte() {
                0 => Err(Unproven::Failed(FailCode::Integrity)),
                1 => Err(Unproven::Failed(FailCode::Identity)),
                _ => Ok(()),
            }),
            13 => self.commit(),
            14 => {
                self.receiver.as_mut().into_iter().for_each(Receiver::report);
                self.sign()
            }
            _ => self.intrude(input),
        };
        self.drain();
    }

    /// Carries out whatever is left, until nothing is.
    fn run_to_the_end(&mut self) {
        self.finish(true);
        self.drain();
        for _ in 0..100_000 {
            let moved = self.deliver_to_receiver()
                || self.deliver_to_sender()
                || self.answer_found(true)
                || self.answer_lookup(0, 0)
                || self.carry_chunk(0, false)
                || self.verify(Ok(()))
                || self.commit()
                || self.sign();
            self.drain();
            if self.broken || !moved {
                return;
            }
        }
        assert!(!self.honest, "honest sides come to an end");
    }
}

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let mut model = Model::new();
    model.drain();
    while let Some(operation) = input.next() {
        model.step(operation, &mut input);
        if model.broken {
            return;
        }
    }
    if !model.honest {
        return;
    }
    model.run_to_the_end();
    let receipt = model.receipt.as_ref().expect("an honest transfer ends with a receipt");
    let root = ManifestRoot::from_slice(&receipt.text).expect("the model signs a root");
    assert!(model.sender.announced(&root), "the receipt names a root that was never announced");
    let instances: usize = model.pages.iter().map(|page| page.instances.len()).sum();
    assert_eq!(model.ends.len(), instances, "an instance has come to no end");
    assert_eq!(model.forgotten.len(), model.pages.len(), "a page is still remembered");
}
