//! The protocol without sockets, files or clock: a sender and a receiver handed from one to the other.
//!
//! This is how a program with a transport of its own would use the state machines.

#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::collections::HashMap;

use imgxfer_core::chunk::ChunkClass;
use imgxfer_core::codec::CodecId;
use imgxfer_core::ids::{ChunkId, InstanceHash, SeriesUid, SopInstanceUid, StudyUid, TransferId};
use imgxfer_core::manifest::{ChunkEntry, InstanceEntry, Page};
use imgxfer_core::proto::{Lookup, Receiver, ReceiverOutput, Sender, SenderOutput};
use imgxfer_core::store::{ChunkAt, MemRecords, RecordStore};
use imgxfer_core::wire::message::{Body, ReceiptBody};
use imgxfer_core::wire::record::{Record, RecordChunk};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = b"what a file would hold".to_vec();
    let chunk = ChunkEntry { id: ChunkId::of(&file), len: u32::try_from(file.len())?, class: ChunkClass::Opaque };
    let page = Page {
        instances: vec![InstanceEntry {
            study: StudyUid::new("1.2.3")?,
            series: SeriesUid::new("1.2.3.4")?,
            sop_instance: SopInstanceUid::new("1.2.3.4.5")?,
            sop_class: None,
            transfer_syntax: None,
            name: Vec::new(),
            len: u64::from(chunk.len),
            hash: InstanceHash::from_bytes(*blake3::hash(&file).as_bytes()),
            chunks: vec![chunk],
        }],
    };
    let chunks = HashMap::from([(chunk.id, file)]);

    let records = MemRecords::default();
    let mut pack = records.create_pack(imgxfer_core::ids::PeerId::of_key(b"the sender's key"))?;
    let mut sender = Sender::new(TransferId::from_bytes([7; 16]), 0, 1, u64::from(chunk.len));
    let mut receiver: Option<Receiver> = None;
    let mut offered = false;
    loop {
        if sender.wants_page() && !offered {
            offered = true;
            sender.offer(&page);
            sender.finish(true);
        }
        while let Some(output) = sender.poll_output() {
            match output {
                SenderOutput::Send(Body::Start(start)) => {
                    receiver = Some(Receiver::accept(&start, &[CodecId::STORE])?);
                }
                SenderOutput::Send(message) => {
                    receiver.as_mut().ok_or("a transfer begins with its start")?.handle_message(message)?;
                }
                SenderOutput::Chunks { .. } => {
                    // Here there is one chunk on one page. It travels as a record, and is verified on arrival.
                    let list = [RecordChunk { id: chunk.id, len: chunk.len }];
                    let record = Record::encode(CodecId::STORE, chunk.class, &list, &chunks[&chunk.id]);
                    assert_eq!(ChunkId::of(record.payload()), chunk.id, "the receiver trusts nothing");
                    let at = ChunkAt { record: pack.append(&record)?, slot: 0 };
                    receiver.as_mut().ok_or("no receiver")?.handle_chunk(&chunk.id, chunk.len, at);
                }
                SenderOutput::Committed { page, places } => println!("page {page}, instances {places:?}: committed"),
                SenderOutput::Receipt(_) => {
                    println!("done: the receiver has signed for {}", sender.root());
                    return Ok(());
                }
                _ => {}
            }
        }
        let receiver = receiver.as_mut().ok_or("no receiver")?;
        while let Some(output) = receiver.poll_output() {
            match output {
                ReceiverOutput::Send(message) => sender.handle_message(message)?,
                ReceiverOutput::Lookup { index, .. } => receiver.handle_lookup(index, &Lookup::default()),
                ReceiverOutput::Verify(job) => {
                    receiver.handle_verified(job.at, Ok(()));
                    pack.sync()?;
                    receiver.handle_committed(&[job.at]);
                }
                ReceiverOutput::Settled { .. } => receiver.handle_receipt(ReceiptBody::default()),
                _ => {}
            }
        }
    }
}
