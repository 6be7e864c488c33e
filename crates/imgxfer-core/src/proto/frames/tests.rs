//! What an asker takes, and what it refuses, of answers that a store gives and of those that nobody honest gives.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the report")]

use std::sync::Arc;

use super::*;
use crate::chunk::ChunkClass;
use crate::depot::{Depot, FramesError, PutOptions};
use crate::dicom::scan;
use crate::limits::RECORD_RAW_BYTES_MAX;
use crate::sim::studies::{StudySpec, Syntax};
use crate::store::{MemIndex, MemRecords, Provenance, Scope};
use crate::testing::{noise, record_of};

fn small() -> StudySpec {
    StudySpec::new(3).with_instances(1, 1).with_size(8, 6).with_modality("MR")
}

fn in_memory() -> Depot {
    Depot::new(Arc::new(MemRecords::default()), Arc::new(MemIndex::default()), Registry::default())
}

/// A depot with one instance, the instance, and a request for these frames of it.
fn kept(bytes: &[u8], frames: &str) -> (Depot, FrameRequest) {
    let depot = in_memory();
    let entry = depot.put(&bytes, &PutOptions::of(Provenance::of("inbox:/in"))).unwrap().entry;
    (depot, FrameRequest::new(entry.study, entry.sop_instance, frames.parse().unwrap()))
}

/// The whole answer of a store, as messages.
fn answer(depot: &Depot, request: &FrameRequest) -> Result<(FramesStart, Vec<FramesRecord>), FramesError> {
    let (asked, accepted) = FrameRequest::from_wire(&request.to_wire(&depot.registry.ids())).unwrap();
    let mut parts = depot.frames(&Scope::All, &asked, accepted)?;
    let records = std::iter::from_fn(|| parts.next_record()).map(|record| record.unwrap().bytes().clone());
    let records = records.map(|record| FramesRecord { record }).collect();
    Ok((parts.start().clone(), records))
}

fn take(request: &FrameRequest, start: &FramesStart, records: &[FramesRecord]) -> Result<Frames, ProtocolError> {
    let mut taking = FramesReceiver::new(request.clone(), Registry::default());
    taking.handle_start(start)?;
    for record in records {
        taking.handle_record(record.clone())?;
    }
    taking.finish()
}

/// The frames of a file, by the scanner's table.
fn expected(file: &[u8], numbers: &FrameNumbers) -> Vec<Vec<u8>> {
    let table = scan(&file).unwrap().frame_table().unwrap();
    let bytes = |number: u32| {
        let range = table.range(number - 1).unwrap();
        let bytes = &file[to_usize(range.start)..to_usize(range.end)];
        if table.is_encapsulated() { join_fragments(bytes).unwrap() } else { bytes.to_vec() }
    };
    numbers.iter().map(bytes).collect()
}

#[test]
fn frames_of_every_transfer_syntax_come_as_they_stand() {
    for syntax in Syntax::ALL.into_iter().filter(|syntax| *syntax != Syntax::Deflated) {
        let file = small().with_size(40, 30).with_syntax(syntax).with_frames(9).instance(1, 1).bytes;
        for asked in ["1", "9", "2,4-6,9", "1-9"] {
            let (depot, request) = kept(&file, asked);
            let (start, records) = answer(&depot, &request).unwrap();
            let frames = take(&request, &start, &records).unwrap();
            let bytes: Vec<_> = frames.frames.iter().map(|frame| frame.bytes.to_vec()).collect();
            assert_eq!(bytes, expected(&file, &request.frames), "{syntax:?} {asked}");
            let numbers: Vec<_> = frames.frames.iter().map(|frame| frame.number).collect();
            assert_eq!(numbers, request.frames.iter().collect::<Vec<_>>());
            let shape = frames.shape.unwrap();
            assert_eq!((shape.rows, shape.columns, frames.count), (40, 30, 9));
            assert_eq!(frames.transfer_syntax.unwrap().as_str(), syntax.uid());
            assert_eq!((frames.encapsulated, frames.rest), (syntax.is_encapsulated(), None));
        }
    }
}

#[test]
fn frames_of_single_bits_say_where_they_begin() {
    let mut file = small().with_size(5, 5).with_bits(8, 8).with_frames(4).instance(1, 1).bytes;
    let at = |file: &[u8], what: &[u8]| file.windows(what.len()).position(|window| window == what).unwrap();
    for (element, value) in [(0x00, 1), (0x01, 1), (0x02, 0)] {
        let value_at = at(&file, &[0x28, 0, element, 1, b'U', b'S']) + 8;
        file[value_at] = value;
    }
    // 100 bits, in whole words.
    let pixels = at(&file, &[0xe0, 0x7f, 0x10, 0x00]);
    file.truncate(pixels + 12 + 14);
    file[pixels + 8..pixels + 12].copy_from_slice(&14u32.to_le_bytes());
    let (depot, request) = kept(&file, "1-4");
    let (start, records) = answer(&depot, &request).unwrap();
    let frames = take(&request, &start, &records).unwrap();
    let begins: Vec<_> = frames.frames.iter().map(|frame| frame.bit_offset).collect();
    assert_eq!(begins, [0, 1, 2, 3]);
    let bytes: Vec<_> = frames.frames.iter().map(|frame| frame.bytes.to_vec()).collect();
    assert_eq!(bytes, expected(&file, &request.frames));
}

#[test]
fn a_long_frame_comes_in_several_chunks_and_small_ones_in_few_bytes() {
    let long = StudySpec::new(4).with_instances(1, 1).with_size(1200, 1000).with_frames(3).instance(1, 1).bytes;
    let (depot, request) = kept(&long, "2");
    let (start, records) = answer(&depot, &request).unwrap();
    assert!(start.chunks.len() > 1 && start.chunks.len() < 5, "{}", start.chunks.len());
    let frames = take(&request, &start, &records).unwrap();
    assert_eq!(frames.frames[0].bytes, expected(&long, &request.frames)[0]);
    // Of a record that frames share, one frame is taken out when it is little of it.
    let short = StudySpec::new(4).with_instances(1, 1).with_size(180, 182).with_frames(30).instance(1, 1).bytes;
    let (depot, request) = kept(&short, "17");
    let (start, records) = answer(&depot, &request).unwrap();
    assert_eq!((start.chunks.len(), records.len()), (1, 1));
    assert!(to_u64(records[0].record.len()) <= 256 << 10);
    assert_eq!(take(&request, &start, &records).unwrap().frames[0].bytes, expected(&short, &request.frames)[0]);
}

#[test]
fn who_decodes_no_codec_gets_bytes_as_they_are() {
    let file = small().with_size(64, 64).with_frames(3).instance(1, 1).bytes;
    let (depot, request) = kept(&file, "1-3");
    let mut parts = depot.frames(&Scope::All, &request, vec![CodecId::STORE]).unwrap();
    while let Some(record) = parts.next_record() {
        assert_eq!(record.unwrap().header().codec, CodecId::STORE);
    }
}

#[test]
fn what_is_not_there_is_told_apart() {
    let file = small().with_frames(3).instance(1, 1).bytes;
    let (depot, request) = kept(&file, "4");
    assert!(matches!(answer(&depot, &request), Err(FramesError::OutOfRange { count: 3 })));
    let other = StudyUid::new("1.2.3").unwrap();
    let elsewhere = FrameRequest { study: other, ..request.clone() };
    assert!(matches!(answer(&depot, &elsewhere), Err(FramesError::NoInstance)));
    let another = request.clone().with_hash(InstanceHash::from_bytes([7; 32]));
    assert!(matches!(answer(&depot, &another), Err(FramesError::NoInstance)));
    let another = request.with_series(SeriesUid::new("1.2.3").unwrap());
    assert!(matches!(answer(&depot, &another), Err(FramesError::NoInstance)));
    let cut = file[..file.len() - 10].to_vec();
    let (depot, request) = kept(&cut, "1");
    assert!(matches!(answer(&depot, &request), Err(FramesError::NotKnown)), "the end of a cut file is not known");
    let scope = Scope::owner(crate::testing::peer(9));
    assert!(matches!(depot.frames(&scope, &request, vec![CodecId::STORE]), Err(FramesError::NoInstance)));
}

#[test]
fn a_request_says_the_same_when_it_is_read_again_and_no_other_is_read() {
    let uid = |text: &str| SopInstanceUid::new(text).unwrap();
    let request = FrameRequest::new(StudyUid::new("1.2.3").unwrap(), uid("1.2.4"), "1,5-7".parse().unwrap())
        .with_hash(InstanceHash::from_bytes([5; 32]))
        .with_series(SeriesUid::new("1.2.5").unwrap())
        .with_priority(Priority::Stat);
    let wire = request.to_wire(&[CodecId::STORE, CodecId::ZSTD]);
    assert_eq!(FrameRequest::from_wire(&wire), Ok((request.clone(), vec![CodecId::STORE, CodecId::ZSTD])));
    for runs in [vec![], vec![1], vec![0, 1], vec![2, 1], vec![1, 2, 3, 4], vec![5, 6, 1, 2], vec![1, 4097]] {
        assert!(FrameRequest::from_wire(&FetchFrames { runs: runs.clone(), ..wire.clone() }).is_err(), "{runs:?}");
    }
    assert!(FrameRequest::from_wire(&FetchFrames { runs: vec![1, 4096], ..wire.clone() }).is_ok());
    assert!(FrameRequest::from_wire(&FetchFrames { study: "x".to_owned(), ..wire.clone() }).is_err());
    assert!(FrameRequest::from_wire(&FetchFrames { hash: Bytes::from_static(&[1; 31]), ..wire }).is_err());
    // Of more frames than one may ask for, the first are asked for.
    let many = request.with_frames("3-9000".parse().unwrap());
    assert_eq!(many.to_wire(&[]).runs, [3, 4098]);
}

#[test]
fn more_than_one_request_may_bring_is_told_as_the_rest() {
    // Frames of 4 MiB, of which 16 are the limit.
    let file = StudySpec::new(5).with_instances(1, 1).with_size(2048, 1024).with_frames(18).instance(1, 1).bytes;
    let (depot, request) = kept(&file, "1-18");
    let (start, records) = answer(&depot, &request).unwrap();
    let frames = take(&request, &start, &records).unwrap();
    assert_eq!(frames.frames.len(), 16);
    let rest = frames.rest.unwrap();
    assert_eq!(rest.to_string(), "17-18");
    let (start, records) = answer(&depot, &request.clone().with_frames(rest.clone())).unwrap();
    let frames = take(&request.with_frames(rest.clone()), &start, &records).unwrap();
    assert_eq!(frames.frames[1].bytes, expected(&file, &rest)[1]);
}

/// Changes an honest answer, and returns what the asker says.
fn told(change: impl FnOnce(&mut FramesStart, &mut Vec<FramesRecord>)) -> Result<Frames, ProtocolError> {
    let file = small().with_size(300, 300).with_frames(6).instance(1, 1).bytes;
    let (depot, request) = kept(&file, "2-3,5");
    let (mut start, mut records) = answer(&depot, &request).unwrap();
    change(&mut start, &mut records);
    take(&request, &start, &records)
}

fn refused(what: &'static str, change: impl FnOnce(&mut FramesStart, &mut Vec<FramesRecord>)) {
    let said = told(change);
    assert_eq!(said.err(), Some(ProtocolError::Invalid(what)));
}

#[test]
fn an_answer_about_something_else_is_refused() {
    told(|_, _| {}).unwrap();
    let other = "another instance than was asked for";
    refused(other, |start, _| start.study = "1.2.3".to_owned());
    refused(other, |start, _| start.sop_instance = "1.2.3".to_owned());
    refused("a UID", |start, _| start.series = "../x".to_owned());
    refused("a UID", |start, _| start.transfer_syntax = "../x".to_owned());
    refused("a hash", |start, _| start.hash = Bytes::from_static(&[1; 31]));
    let frames = "other frames than were asked for";
    refused(frames, |start, _| start.frames.clear());
    refused(frames, |start, _| start.frames.push(start.frames[0]));
    refused(frames, |start, _| start.count = 4);
    refused("a beginning within a byte", |start, _| start.frames[0].bit_offset = 8);
}

#[test]
fn an_answer_with_lies_about_lengths_is_refused() {
    let frame = "the place of a frame";
    refused(frame, |start, _| start.frames[0].len = 0);
    refused(frame, |start, _| start.frames[0].len = u64::MAX);
    refused(frame, |start, _| start.frames[0].offset = u64::MAX);
    refused(frame, |start, _| start.frames.swap(0, 1));
    refused(frame, |start, _| start.len = start.frames[2].offset);
    let chunk = "the place of a chunk";
    refused(chunk, |start, _| start.chunks[0].len = 0);
    refused(chunk, |start, _| start.chunks[0].len = CHUNK_BYTES_MAX + 1);
    refused(chunk, |start, _| start.chunks[0].offset = u64::MAX);
    refused(chunk, |start, _| start.chunks.swap(0, 1));
    refused(chunk, |start, _| start.chunks[0].id = Bytes::new());
    let cover = "chunks that do not make up the frames";
    refused(cover, |start, _| drop(start.chunks.pop()));
    refused(cover, |start, _| start.chunks[0].len -= 1);
    refused(cover, |start, _| (start.chunks[0].offset, start.chunks[0].len) = (start.chunks[0].offset + 1, 100));
    refused(cover, |start, _| start.frames[0].offset -= 1);
    refused("one chunk with two lengths", |start, _| {
        let whole = start.chunks.remove(0);
        let end = ChunkPlace { offset: whole.offset + u64::from(whole.len) - 1, len: 1, ..whole.clone() };
        start.chunks.splice(0..0, [ChunkPlace { len: whole.len - 1, ..whole }, end]);
    });
    refused("more bytes of frames than one request may bring", |start, _| {
        (start.len, start.frames[2].len) = (u64::MAX, FRAMES_BYTES_MAX);
    });
    refused("more bytes of chunks than one request may bring", |start, _| {
        start.len = u64::MAX / 2;
        let chunk = |n: u64| ChunkPlace {
            offset: (1 << 30) + n * 1_048_576,
            len: CHUNK_BYTES_MAX,
            id: start.chunks[0].id.clone(),
        };
        start.chunks.extend((0..64).map(chunk).collect::<Vec<_>>());
    });
    refused("more chunks than one request may bring", |start, _| {
        start.chunks = vec![start.chunks[0].clone(); FRAMES_CHUNKS_MAX + 1];
    });
}

#[test]
fn records_that_do_not_bring_what_they_should_are_refused() {
    let honest = |raw: &[u8]| FramesRecord { record: record_of(&[raw]).bytes().clone() };
    refused("a record that nobody asked for", |_, records| records[0] = honest(&noise(1, 5000)));
    refused("a record that nobody asked for", |_, records| records.push(records[0].clone()));
    refused("a record", |_, records| records[0].record = Bytes::from_static(b"IXR1"));
    refused("a record", |_, records| {
        let mut bytes = records[0].record.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        records[0].record = bytes.into();
    });
    // The right name and length over other bytes, with a check that is right.
    refused("a chunk that is not what it is called", |start, records| {
        let lie = |chunk: &ChunkPlace| crate::wire::record::RecordChunk {
            id: ChunkId::from_slice(&chunk.id).unwrap(),
            len: chunk.len,
        };
        let raw = vec![7; to_usize(u64::from(start.chunks[0].len))];
        let record = Record::encode(CodecId::STORE, ChunkClass::Pixels, &[lie(&start.chunks[0])], &raw);
        records[0].record = record.bytes().clone();
    });
    // A codec that is not known here.
    refused("a record", |start, records| {
        let chunk = &start.chunks[0];
        let list = [crate::wire::record::RecordChunk { id: ChunkId::from_slice(&chunk.id).unwrap(), len: chunk.len }];
        records[0].record = Record::encode(CodecId(77), ChunkClass::Pixels, &list, &[1, 2, 3]).bytes().clone();
    });
    assert!(matches!(told(|_, records| records.truncate(1)), Err(ProtocolError::Unexpected(_))), "cut");
    assert!(const { RECORD_RAW_BYTES_MAX as u64 * 64 <= FRAMES_BYTES_MAX });
}

#[test]
fn fragments_that_are_none_are_refused() {
    let file = small().with_size(64, 64).with_frames(3).with_syntax(Syntax::Encapsulated).instance(1, 1).bytes;
    let (depot, request) = kept(&file, "2");
    let (mut start, records) = answer(&depot, &request).unwrap();
    take(&request, &start, &records).unwrap();
    start.frames[0].len -= 1;
    assert_eq!(take(&request, &start, &records).err(), Some(ProtocolError::Invalid("a frame")));
}
