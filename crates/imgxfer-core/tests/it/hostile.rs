//! A peer that says anything at any moment: typed errors, no panic, bounded memory.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use imgxfer_core::codec::CodecId;
use imgxfer_core::ids::{ChunkId, StudyUid, TransferId};
use imgxfer_core::limits::{PAGE_BYTES_MAX, PAGES_IN_FLIGHT_MAX, STUDIES_PER_TRANSFER_MAX, WITHDRAWN_MAX};
use imgxfer_core::manifest::{InstanceAt, InstanceEntry, Page};
use imgxfer_core::proto::{InstanceFailure, Lookup, ProtocolError, Receiver, ReceiverOutput, Sender, SenderOutput};
use imgxfer_core::testing::noise;
use imgxfer_core::testing::pair::Item;
use imgxfer_core::wire::message::{
    Accept, Body, Committed, End, Failed, Need, PageBody, PageKnown, PageRef, ReceiptBody, Received, RefuseCode,
    Refused, Start, Withdraw,
};

use crate::golden_wire::messages;

fn page_of(seed: u64) -> Page {
    let item = |n: u64, len| Item::opaque(&noise(seed * 10 + n, len), 1000).entry;
    Page { instances: vec![item(0, 2500), item(1, 0), item(2, 900)] }
}

fn body_of(index: u32, page: &Page) -> PageBody {
    let encoded = page.encode();
    PageBody { index, raw_len: encoded.len() as u32, zstd: zstd_of(&encoded) }
}

fn zstd_of(bytes: &[u8]) -> Bytes {
    zstd::bulk::compress(bytes, 1).unwrap().into()
}

/// A sender at each of its states: started, accepted, page offered, page answered, finished, all committed.
fn senders() -> Vec<(&'static str, Sender)> {
    let stages: [&str; 7] = ["started", "accepted", "offered", "answered", "finished", "committed", "over"];
    let build = |stage: usize| {
        let mut sender = Sender::new(TransferId::from_bytes([1; 16]), 0, 3, 3400);
        let told = |sender: &mut Sender, body: Body| sender.handle_message(body).unwrap();
        if stage >= 1 {
            told(&mut sender, Body::Accept(Accept { codecs: vec![0, 1], ..Accept::default() }));
        }
        if stage >= 2 {
            sender.offer(&page_of(1));
        }
        if stage >= 3 {
            told(&mut sender, Body::Need(Need { index: 0, bitmap: Bytes::from_static(&[0xf]) }));
        }
        if stage >= 4 {
            sender.finish(true);
        }
        if stage >= 5 {
            told(&mut sender, Body::Committed(Committed { runs: vec![0, 0, 3] }));
        }
        if stage >= 6 {
            told(&mut sender, Body::Receipt(ReceiptBody::default()));
        }
        while sender.poll_output().is_some() {}
        sender
    };
    stages.iter().enumerate().map(|(stage, name)| (*name, build(stage))).collect()
}

fn start() -> Start {
    Start { transfer: Bytes::copy_from_slice(&[1; 16]), priority: 0, instances: 3, bytes: 3400, ..Start::default() }
}

#[test]
fn a_puller_refuses_instances_of_a_study_that_it_did_not_ask_for() {
    let page = page_of(1);
    let asked = page.instances[0].study.clone();
    let page = Page { instances: vec![page.instances[0].clone()] };
    let give = |only| {
        let mut receiver = Receiver::accept(&start(), &[CodecId::STORE]).unwrap().with_only(vec![only]);
        receiver.handle_message(Body::Page(body_of(0, &page)))
    };
    assert_eq!(give(asked), Ok(()));
    let refused = give(StudyUid::new("1.2.3").unwrap());
    assert_eq!(refused, Err(ProtocolError::Invalid("instances of a study that was not asked for")));
}

#[test]
fn a_transfer_of_more_studies_than_allowed_is_refused() {
    let mut receiver = Receiver::accept(&start(), &[CodecId::STORE]).unwrap();
    let entry = page_of(1).instances[1].clone();
    let mut taken = 0;
    let refused = loop {
        let instance = |n| InstanceEntry { study: StudyUid::new(&format!("1.2.{n}")).unwrap(), ..entry.clone() };
        let page = Page { instances: (taken..taken + 250).map(instance).collect() };
        let index = u32::try_from(taken / 250).unwrap();
        if let Err(error) = receiver.handle_message(Body::Page(body_of(index, &page))) {
            break error;
        }
        // Each page is settled at once: those in flight are bounded by themselves.
        receiver.handle_lookup(index, &Lookup { committed: vec![true; 250], ..Lookup::default() });
        while receiver.poll_output().is_some() {}
        taken += 250;
    };
    assert_eq!(refused, ProtocolError::Invalid("more studies in one transfer than allowed"));
    assert_eq!(taken, STUDIES_PER_TRANSFER_MAX);
}

/// A receiver at each of its states: accepted, asked by hash, page looked up, ended, settled.
fn receivers() -> Vec<(&'static str, Receiver)> {
    let stages: [&str; 6] = ["accepted", "asked", "page", "looked up", "ended", "settled"];
    let build = |stage: usize| {
        let mut receiver = Receiver::accept(&start(), &[CodecId::STORE]).unwrap();
        let page = page_of(1);
        let hash = Page::hash_of(&page.encode());
        if stage >= 1 {
            let hash = Bytes::copy_from_slice(hash.as_bytes());
            receiver.handle_message(Body::PageRef(PageRef { index: 0, hash })).unwrap();
            receiver.handle_page_found(0, None).unwrap();
        }
        if stage >= 2 {
            receiver.handle_message(Body::Page(body_of(0, &page))).unwrap();
        }
        if stage >= 3 {
            receiver.handle_lookup(0, &Lookup::default());
        }
        if stage >= 4 {
            let root = imgxfer_core::manifest::root(&[hash], &Default::default());
            let root = Bytes::copy_from_slice(root.as_bytes());
            receiver.handle_message(Body::End(End { pages: 1, root, complete: true, ..End::default() })).unwrap();
        }
        if stage >= 5 {
            let all: Vec<_> = (0..3).map(|place| InstanceAt { page: 0, place }).collect();
            receiver.handle_committed(&all);
        }
        while receiver.poll_output().is_some() {}
        receiver
    };
    stages.iter().enumerate().map(|(stage, name)| (*name, build(stage))).collect()
}

const NUMBERS: [u32; 7] = [0, 1, 2, 3, 255, u32::MAX - 1, u32::MAX];

/// Every message with its numbers at every extreme, and its bytes of every odd length.
fn extremes() -> Vec<Body> {
    let mut all: Vec<Body> = messages().into_iter().map(|(_, body)| body).collect();
    let texts = || [0usize, 1, 16, 31, 32, 33, 5000].map(|len| Bytes::from(vec![0xff; len]));
    for a in NUMBERS {
        let wide = u64::from(a) << 32 | u64::from(a);
        all.push(Body::Received(Received { chunks: wide, bytes: wide, rate_max: wide }));
        all.push(Body::Accept(Accept { codecs: vec![a; 3], workers: a, features: vec![a; 3] }));
        all.push(Body::Accept(Accept { codecs: vec![a; 257], ..Accept::default() }));
        all.push(Body::Refused(Refused { code: a, remedy: "\u{1b}[2J".repeat(1000) }));
        for known in [false, true] {
            all.push(Body::PageKnown(PageKnown { index: a, known }));
        }
        for bytes in texts() {
            all.push(Body::Need(Need { index: a, bitmap: bytes.clone() }));
            all.push(Body::Again(Need { index: a, bitmap: bytes.clone() }));
            all.push(Body::PageRef(PageRef { index: a, hash: bytes.clone() }));
            all.push(Body::End(End { pages: a, root: bytes.clone(), complete: true, ..End::default() }));
            all.push(Body::Page(PageBody { index: 0, raw_len: a, zstd: bytes.clone() }));
            let page = page_of(1).encode();
            all.push(Body::Page(PageBody { index: a, raw_len: page.len() as u32, zstd: zstd_of(&page) }));
            all.push(Body::Page(PageBody { index: 0, raw_len: a, zstd: zstd_of(&page) }));
        }
        for b in NUMBERS {
            all.push(Body::Withdraw(Withdraw { page: a, place: b }));
            for c in NUMBERS {
                all.push(Body::Failed(Failed { page: a, place: b, code: c }));
                all.push(Body::Committed(Committed { runs: vec![a, b, c] }));
                all.push(Body::Committed(Committed { runs: vec![0, a, b, c] }));
                all.push(Body::Committed(Committed { runs: vec![0, 0, 1, a, b, c] }));
            }
        }
    }
    all
}

#[test]
fn a_sender_survives_every_message_in_every_state() {
    let mut said = 0;
    for body in extremes() {
        for (state, mut sender) in senders() {
            let shown = format!("{body:?} to a sender that is {state}");
            let mut outputs = 0;
            let result = catch_unwind(AssertUnwindSafe(|| {
                let result = sender.handle_message(body.clone());
                while sender.poll_output().is_some() {
                    outputs += 1;
                }
                result
            }));
            let result = result.unwrap_or_else(|_| panic!("panicked: {shown}"));
            assert!(outputs <= 8, "{outputs} outputs: {shown}");
            let answer = matches!(
                body,
                Body::Accept(_)
                    | Body::PageKnown(_)
                    | Body::Need(_)
                    | Body::Again(_)
                    | Body::Received(_)
                    | Body::Committed(_)
                    | Body::Failed(_)
                    | Body::Receipt(_)
                    | Body::Working(_)
            );
            assert!(answer || result.is_err(), "taken, although a sender alone says it: {shown}");
            said += 1;
        }
    }
    eprintln!("{said} cases");
}

#[test]
fn a_receiver_survives_every_message_in_every_state() {
    let mut said = 0;
    for body in extremes() {
        for (state, mut receiver) in receivers() {
            let shown = format!("{body:?} to a receiver that is {state}");
            let mut outputs = 0;
            let result = catch_unwind(AssertUnwindSafe(|| {
                let result = receiver.handle_message(body.clone());
                while receiver.poll_output().is_some() {
                    outputs += 1;
                }
                result
            }));
            let result = result.unwrap_or_else(|_| panic!("panicked: {shown}"));
            assert!(outputs <= 8, "{outputs} outputs: {shown}");
            let offer =
                matches!(body, Body::PageRef(_) | Body::Page(_) | Body::Withdraw(_) | Body::End(_) | Body::Working(_));
            assert!(offer || result.is_err(), "taken, although a receiver alone says it: {shown}");
            said += 1;
        }
    }
    eprintln!("{said} cases");
}

#[test]
fn damaged_encodings_are_refused_or_read_as_something_else() {
    let mut said = 0;
    for (name, body) in messages() {
        let bytes = body.into_bytes();
        let truncated = (0..bytes.len()).map(|len| bytes[..len].to_vec());
        let flipped = (0..bytes.len() * 8).map(|bit| {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        let mut grown = bytes.clone();
        grown.extend([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        for bytes in truncated.chain(flipped).chain([grown]) {
            let Ok(body) = Body::from_bytes(bytes.into()) else { continue };
            for (_, mut sender) in senders() {
                drop(sender.handle_message(body.clone()));
            }
            for (_, mut receiver) in receivers() {
                drop(receiver.handle_message(body.clone()));
            }
            said += 1;
        }
        assert!(said > 0, "{name}");
    }
    eprintln!("{said} damaged messages could still be read");
}

#[test]
fn each_breach_has_its_error() {
    let at = |stage: usize| senders().swap_remove(stage).1;
    let say = |stage: usize, body: Body| at(stage).handle_message(body).unwrap_err();
    let need = |bitmap: &'static [u8]| Body::Need(Need { index: 0, bitmap: Bytes::from_static(bitmap) });
    assert_eq!(say(0, need(&[1])), ProtocolError::Unexpected("an answer before accepting"));
    assert_eq!(say(1, need(&[1])), ProtocolError::Invalid("a page number"));
    assert_eq!(say(2, need(&[0x10])), ProtocolError::Invalid("a list of chunks"), "beyond the last of four chunks");
    assert_eq!(say(2, need(&[0, 0])), ProtocolError::Invalid("a list of chunks"), "longer than the page has chunks");
    assert_eq!(say(3, need(&[1])), ProtocolError::Unexpected("a second answer to one page"));
    let again = Body::Again(Need { index: 0, bitmap: Bytes::from_static(&[1]) });
    assert_eq!(say(2, again), ProtocolError::Unexpected("a second answer to one page"));
    let committed = |runs: &[u32]| Body::Committed(Committed { runs: runs.to_vec() });
    assert_eq!(say(3, committed(&[1, 0, 1])), ProtocolError::Invalid("a page number"));
    assert_eq!(say(3, committed(&[0, 2, 2])), ProtocolError::Invalid("an instance number"));
    assert_eq!(say(3, committed(&[0, 0, 0])), ProtocolError::Invalid("a list of instances"));
    assert_eq!(say(3, committed(&[0, 0])), ProtocolError::Invalid("a list of instances"));
    assert_eq!(say(3, committed(&[0, 0, 1, 0, 0, 1])), ProtocolError::Unexpected("a second word on one instance"));
    let receipt = || Body::Receipt(ReceiptBody::default());
    for stage in [1, 2, 3, 4] {
        let early = ProtocolError::Unexpected("a receipt before everything was settled");
        assert_eq!(say(stage, receipt()), early, "stage {stage}");
    }
    assert_eq!(say(6, receipt()), ProtocolError::Unexpected("a message behind the receipt"));
    let refused = say(3, Body::Refused(Refused { code: 3, remedy: "make \u{1b}room\n".repeat(100) }));
    let ProtocolError::Refused { code: RefuseCode::NoSpace, remedy } = refused else { panic!("{refused:?}") };
    assert!(remedy.len() <= 300 && !remedy.contains(char::is_control), "{remedy}");
    // An answer to a page that was sent in full.
    let answer = Body::PageKnown(PageKnown { index: 0, known: true });
    assert_eq!(say(2, answer), ProtocolError::Unexpected("an answer to a page that was not asked about"));
}

#[test]
fn pages_that_lie_are_refused() {
    let page = page_of(1);
    let encoded = page.encode();
    let refuse = |body: PageBody| {
        let mut receiver = Receiver::accept(&start(), &[CodecId::STORE]).unwrap();
        receiver.handle_message(Body::Page(body)).unwrap_err()
    };
    let packed = |raw_len, bytes: &[u8]| PageBody { index: 0, raw_len, zstd: zstd_of(bytes) };
    let len = encoded.len() as u32;
    assert_eq!(refuse(packed(len - 1, &encoded)), ProtocolError::Invalid("a packed page"), "longer than it says");
    assert_eq!(refuse(packed(u32::MAX, &encoded)), ProtocolError::Invalid("a page length"));
    assert!(matches!(refuse(packed(0, &[])), ProtocolError::Manifest(_)));
    // A bomb: 100 MB of zeros in a few kilobytes, whatever it says it unpacks to.
    let bomb = zstd_of(&vec![0; 100 << 20]);
    for raw_len in [1, len, PAGE_BYTES_MAX as u32] {
        let body = PageBody { index: 0, raw_len, zstd: bomb.clone() };
        assert_eq!(refuse(body), ProtocolError::Invalid("a packed page"), "{raw_len}");
    }
    // Another page than the one that was named.
    let mut receiver = Receiver::accept(&start(), &[CodecId::STORE]).unwrap();
    let hash = Bytes::copy_from_slice(Page::hash_of(&page_of(2).encode()).as_bytes());
    receiver.handle_message(Body::PageRef(PageRef { index: 0, hash })).unwrap();
    let error = receiver.handle_message(Body::Page(body_of(0, &page))).unwrap_err();
    assert_eq!(error, ProtocolError::Invalid("a page that is not the one it named"));
}

#[test]
fn a_receiver_takes_no_more_pages_than_agreed() {
    let mut receiver = Receiver::accept(&start(), &[CodecId::STORE]).unwrap();
    for index in 0..PAGES_IN_FLIGHT_MAX as u32 {
        receiver.handle_message(Body::Page(body_of(index, &page_of(u64::from(index))))).unwrap();
    }
    let one_more = body_of(PAGES_IN_FLIGHT_MAX as u32, &page_of(999));
    let error = receiver.handle_message(Body::Page(one_more)).unwrap_err();
    assert_eq!(error, ProtocolError::Invalid("more pages at once than allowed"));
}

#[test]
fn withdrawals_are_counted() {
    let mut receiver = Receiver::accept(&start(), &[CodecId::STORE]).unwrap();
    let hash = Bytes::copy_from_slice(&[3; 32]);
    receiver.handle_message(Body::PageRef(PageRef { index: 0, hash })).unwrap();
    let withdraw = |place| Body::Withdraw(Withdraw { page: 0, place });
    for place in 0..WITHDRAWN_MAX as u32 {
        receiver.handle_message(withdraw(place)).unwrap();
    }
    let error = receiver.handle_message(withdraw(u32::MAX)).unwrap_err();
    assert_eq!(error, ProtocolError::Invalid("too many withdrawn instances"));
}

#[test]
fn a_withdrawal_of_an_instance_that_the_page_does_not_have_is_refused() {
    for asked_first in [false, true] {
        let mut receiver = Receiver::accept(&start(), &[CodecId::STORE]).unwrap();
        let page = page_of(1);
        let hash = Bytes::copy_from_slice(Page::hash_of(&page.encode()).as_bytes());
        let messages = match asked_first {
            true => vec![
                Body::PageRef(PageRef { index: 0, hash }),
                Body::Withdraw(Withdraw { page: 0, place: 3 }),
                Body::Page(body_of(0, &page)),
            ],
            false => vec![Body::Page(body_of(0, &page)), Body::Withdraw(Withdraw { page: 0, place: 3 })],
        };
        let result: Result<Vec<()>, _> = messages.into_iter().map(|body| receiver.handle_message(body)).collect();
        assert_eq!(result, Err(ProtocolError::Invalid("an instance number")));
    }
}

#[test]
fn chunks_that_nobody_wanted_change_nothing() {
    let (_, mut receiver) = receivers().swap_remove(3);
    let stranger = ChunkId::of(b"not asked for");
    assert!(!receiver.wants(&stranger));
    let record =
        imgxfer_core::store::RecordAt { pack: imgxfer_core::ids::PackId::from_bytes([0; 16]), offset: 0, len: 1 };
    receiver.handle_chunk(&stranger, u32::MAX, imgxfer_core::store::ChunkAt { record, slot: u16::MAX });
    receiver.handle_damaged(&stranger);
    receiver.report();
    assert_eq!(receiver.poll_output(), None);
}

#[test]
fn a_refused_instance_is_named_with_its_reason() {
    let (_, mut sender) = senders().swap_remove(3);
    sender.handle_message(Body::Failed(Failed { page: 0, place: 1, code: 99 })).unwrap();
    let output = sender.poll_output();
    let why = InstanceFailure::Refused(imgxfer_core::wire::message::FailCode::Other);
    assert_eq!(output, Some(SenderOutput::Failed { at: InstanceAt { page: 0, place: 1 }, why }));
}

#[test]
fn a_start_without_an_id_is_refused() {
    for len in [0, 15, 17] {
        let start = Start { transfer: Bytes::from(vec![1; len]), ..start() };
        let error = Receiver::accept(&start, &[]).unwrap_err();
        assert_eq!(error, ProtocolError::Invalid("a transfer id"));
    }
    let mut receiver = Receiver::accept(&start(), &[CodecId::STORE]).unwrap();
    assert!(matches!(receiver.poll_output(), Some(ReceiverOutput::Send(Body::Accept(_)))));
}

/// One that does not know of a wish would count what it never read.
#[test]
fn a_receiver_that_cannot_prove_is_told_apart() {
    let answer = |features: Vec<u32>| {
        let mut sender = Sender::new(TransferId::from_bytes([1; 16]), 0, 3, 3400).with_proof(true);
        let start = sender.poll_output();
        assert!(
            matches!(&start, Some(SenderOutput::Send(Body::Start(start))) if start.prove && start.features == [1, 2])
        );
        sender.handle_message(Body::Accept(Accept { codecs: vec![0, 1], features, ..Accept::default() }))
    };
    assert_eq!(answer(vec![1, 2]), Ok(()));
    for older in [vec![], vec![1]] {
        let error = answer(older).unwrap_err();
        assert!(matches!(error, ProtocolError::Lacks(_)) && error.to_string().contains("older"), "{error}");
    }
}
