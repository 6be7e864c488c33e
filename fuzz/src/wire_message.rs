//! Control messages as a peer might send them: framed, to fresh machines and to ones in mid-transfer.
//! Whatever is read writes back to the same message; no machine panics.

use bytes::Bytes;
use imgxfer_core::codec::{CodecId, Registry};
use imgxfer_core::dicom::Level;
use imgxfer_core::ids::TransferId;
use imgxfer_core::manifest::Page;
use imgxfer_core::proto::{FrameRequest, FramesReceiver, Lookup, Receiver, ReceiverOutput, Sender};
use imgxfer_core::store::search::messages::{
    AnswerFromWire, RowsToWire, criteria_from_wire, criteria_to_wire, find_from_wire, find_to_wire,
};
use imgxfer_core::testing::{Sample, peer};
use imgxfer_core::wire::message::{Accept, Body, Start};

/// Length (two bytes, little endian) and message, again and again.
fn messages(mut data: &[u8]) -> Vec<Body> {
    let mut found = Vec::new();
    while let Some((len, rest)) = data.split_first_chunk::<2>() {
        let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
        let (message, behind) = rest.split_at(len);
        if let Ok(body) = Body::from_bytes(Bytes::copy_from_slice(message)) {
            let again = Body::from_bytes(body.clone().into_bytes().into());
            assert_eq!(again.as_ref(), Ok(&body));
            found.push(body);
        }
        data = behind;
    }
    found
}

fn receiver() -> Receiver {
    let start = Start { transfer: Bytes::from_static(&[7; 16]), ..Start::default() };
    Receiver::accept(&start, &[CodecId::STORE]).expect("the id is whole")
}

/// Answers what a receiver asks of its store: nothing is there.
fn answer(receiver: &mut Receiver) {
    while let Some(output) = receiver.poll_output() {
        match output {
            ReceiverOutput::FindPage { index, .. } => {
                receiver.handle_page_found(index, None).expect("nothing was found");
            }
            ReceiverOutput::Lookup { index, page } => {
                let lookup = Lookup { chunks: vec![None; page.chunk_count()], ..Lookup::default() };
                receiver.handle_lookup(index, &lookup);
            }
            ReceiverOutput::Verify(job) => {
                receiver.handle_verified(job.at, Ok(()));
                receiver.handle_committed(&[job.at]);
            }
            _ => {}
        }
    }
}

/// See the module.
pub fn check(data: &[u8]) {
    let messages = messages(data);
    let mut fresh = Sender::new(TransferId::from_bytes([7; 16]), 0, 1, 1);
    let mut busy = Sender::new(TransferId::from_bytes([7; 16]), 0, 1, 1);
    busy.handle_message(Body::Accept(Accept { codecs: vec![0, 1], ..Accept::default() })).expect("a first accept");
    let instances = (0..4).map(|sop| Sample::new(peer(1), 1, 1, sop, 3500).entry()).collect();
    busy.offer(&Page { instances });
    busy.finish(true);
    let (mut fresh_ok, mut busy_ok, mut receiver_ok) = (true, true, true);
    let mut receiver = receiver();
    let (mut found, mut answer_ok) = (AnswerFromWire::default(), true);
    let mut frames = None;
    for message in messages {
        fresh_ok = fresh_ok && fresh.handle_message(message.clone()).is_ok();
        busy_ok = busy_ok && busy.handle_message(message.clone()).is_ok();
        match &message {
            Body::Start(start) => drop(Receiver::accept(start, &[])),
            // What is understood of a question says the same when it is passed on.
            Body::Find(find) => {
                if let Ok(search) = find_from_wire(find) {
                    assert_eq!(find_from_wire(&find_to_wire(&search)).as_ref(), Ok(&search));
                }
            }
            Body::Fetch(fetch) => {
                if let Ok(search) = criteria_from_wire(Level::Instance, &fetch.by) {
                    assert_eq!(criteria_from_wire(Level::Instance, &criteria_to_wire(&search)).as_ref(), Ok(&search));
                }
            }
            Body::FetchFrames(fetch) => {
                if let Ok((request, codecs)) = FrameRequest::from_wire(fetch) {
                    let again = FrameRequest::from_wire(&request.to_wire(&codecs));
                    assert_eq!(again, Ok((request.clone(), codecs)));
                    frames = Some(FramesReceiver::new(request, Registry::default()));
                }
            }
            Body::FramesStart(start) => {
                frames = frames.take().and_then(|mut taking| taking.handle_start(start).is_ok().then_some(taking));
            }
            Body::FramesRecord(record) => {
                let taken = frames.take().map(|mut taking| (taking.handle_record(record.clone()), taking));
                frames = match taken {
                    Some((Ok(false), taking)) => Some(taking),
                    Some((Ok(true), taking)) => {
                        drop(taking.finish());
                        None
                    }
                    _ => None,
                };
            }
            Body::Row(row) => answer_ok = answer_ok && found.row(row).is_some(),
            Body::FindEnd(end) => {
                let answer = std::mem::take(&mut found).end(end);
                let mut rows = RowsToWire::default();
                answer.rows.iter().for_each(|found| drop(rows.row(found)));
            }
            _ => {}
        }
        receiver_ok = receiver_ok && receiver.handle_message(message).is_ok();
        while fresh.poll_output().is_some() || busy.poll_output().is_some() {}
        if receiver_ok {
            answer(&mut receiver);
        }
    }
}
