//! Frames without the rest of their instance: what comes, to whom, and what the host is told of it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use imgxfer_core::ALPN;
use imgxfer_core::client::{Client, FrameRequest, Frames};
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::{Depot, PutOptions};
use imgxfer_core::dicom::{FrameNumbers, join_fragments, scan};
use imgxfer_core::error::{Retry, TransferError};
use imgxfer_core::ids::{PeerId, StudyUid};
use imgxfer_core::proto::ProtocolError;
use imgxfer_core::send::OtherFiles;
use imgxfer_core::server::{Answered, Asked, Host, Rights};
use imgxfer_core::sim::data::real_data_dir;
use imgxfer_core::sim::studies::{StudySpec, Syntax};
use imgxfer_core::store::{InstancesOf, MemIndex, MemRecords, Provenance, Scope, StoredInstance};
use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Session, TransportError, Trust};
use imgxfer_core::wire::message::{Body, FramesRecord, FramesStart, RefuseCode, Refused};
use tokio::time::Instant;

use crate::harness::{Site, all_of, client_of, client_with, contents, depot_at, flip, push};
use crate::virtual_time::Sites;

fn in_memory() -> Depot {
    Depot::new(Arc::new(MemRecords::default()), Arc::new(MemIndex::default()), Registry::default())
}

fn numbers(text: &str) -> FrameNumbers {
    text.parse().unwrap()
}

/// The frames of a file, by the scanner.
fn expected(file: &[u8], frames: &FrameNumbers) -> Vec<Vec<u8>> {
    let table = scan(&file).unwrap().frame_table().unwrap();
    let bytes = |number: u32| {
        let range = table.range(number - 1).unwrap();
        let bytes = &file[range.start as usize..range.end as usize];
        if table.is_encapsulated() { join_fragments(bytes).unwrap() } else { bytes.to_vec() }
    };
    frames.iter().map(bytes).collect()
}

fn bytes_of(frames: &Frames) -> Vec<Vec<u8>> {
    frames.frames.iter().map(|frame| frame.bytes.to_vec()).collect()
}

/// What a file is asked for by.
fn request(file: &[u8], frames: &str) -> FrameRequest {
    let identity = scan(&file).unwrap().identity.unwrap();
    FrameRequest::new(identity.study, identity.sop_instance, numbers(frames))
}

fn code_of(error: &TransferError) -> Option<RefuseCode> {
    match error {
        TransferError::Protocol(ProtocolError::Refused { code, .. }) => Some(*code),
        _ => None,
    }
}

/// Grants rights by the peer, and writes down what it is told.
#[derive(Clone, Default)]
struct Listener {
    stranger: Arc<Mutex<Option<(PeerId, Rights)>>>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Host for Listener {
    fn rights(&self, session: &Session) -> Rights {
        let stranger = self.stranger.lock().unwrap().clone();
        stranger.filter(|(peer, _)| *peer == session.peer()).map_or_else(Rights::all, |(_, rights)| rights)
    }

    fn on_asked(&self, _: &Session, asked: &Asked, answer: Answered) {
        let words = match asked {
            Asked::Frames(asked) => format!("{} of {}: {answer:?}", asked.frames, asked.sop_instance),
            _ => format!("{asked:?}: {answer:?}"),
        };
        self.heard.lock().unwrap().push(words);
    }
}

#[tokio::test]
async fn frames_of_what_was_pushed_come_without_the_rest() {
    for syntax in [Syntax::Explicit, Syntax::EncapsulatedBasicTable] {
        let (store, input) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let spec = StudySpec::new(7).with_instances(1, 2).with_size(300, 256).with_frames(12).with_syntax(syntax);
        let paths = spec.write_to(input.path()).unwrap();
        let host = Listener::default();
        let site = Site::start_with(Identity::generate().unwrap(), depot_at(store.path()), Arc::new(host.clone()));
        let client = client_of(&site);
        push(&client, &site, &[input.path().to_owned()], OtherFiles::Skip).await.0.unwrap().complete().unwrap();
        let file = std::fs::read(&paths[1]).unwrap();
        let asked = request(&file, "1,5-7,12");
        let frames = client.frames(&site.dial, &asked).await.unwrap();
        assert_eq!(bytes_of(&frames), expected(&file, &asked.frames));
        assert_eq!((frames.count, frames.rest.as_ref(), frames.len), (12, None, file.len() as u64));
        assert_eq!(frames.hash.as_bytes(), blake3::hash(&file).as_bytes());
        assert_eq!(
            (frames.encapsulated, frames.transfer_syntax.unwrap().as_str()),
            (syntax.is_encapsulated(), syntax.uid())
        );
        let shape = frames.shape.unwrap();
        assert_eq!((shape.rows, shape.columns, shape.bits_allocated, shape.bits_stored), (300, 256, 16, 12));
        assert_eq!((shape.samples, shape.photometric.as_str()), (1, "MONOCHROME2"));
        // One after the other over one session, and of this very content.
        let session = client.connect(&site.dial).await.unwrap();
        for number in 1..=12 {
            let one = asked.clone().with_frames(FrameNumbers::one(number).unwrap()).with_hash(frames.hash);
            let frame = client.frames_over(&session, &one).await.unwrap();
            assert_eq!(bytes_of(&frame), expected(&file, &one.frames));
        }
        let beyond = client.frames_over(&session, &asked.clone().with_frames(numbers("12-13"))).await.unwrap_err();
        assert_eq!((code_of(&beyond), beyond.retry()), (Some(RefuseCode::NotFound), Retry::Never));
        assert!(beyond.to_string().contains("12 frames"), "{beyond}");
        site.stop().await;
        let heard = host.heard.lock().unwrap();
        let bytes: usize = expected(&file, &asked.frames).iter().map(Vec::len).sum();
        let told = format!("1,5-7,12 of {}: Frames {{ given: 5, bytes: ", asked.sop_instance);
        assert!(heard[0].starts_with(&told), "{heard:?}");
        assert!(syntax.is_encapsulated() || heard[0].ends_with(&format!("{bytes} }}")), "{heard:?}");
        assert_eq!(heard.len(), 14, "one for each request: {heard:?}");
        assert_eq!(heard[13], format!("12-13 of {}: Refused(NotFound)", asked.sop_instance));
    }
}

#[tokio::test]
async fn one_frame_of_a_long_one_comes_in_pieces_and_a_cut_file_has_none() {
    let depot = in_memory();
    let long = StudySpec::new(4).with_instances(1, 1).with_size(2100, 1000).with_frames(2).instance(1, 1).bytes;
    depot.put(&long, &PutOptions::of(Provenance::of("inbox:/in"))).unwrap();
    let cut = StudySpec::new(5).with_instances(1, 1).with_frames(2).instance(1, 1).bytes;
    let cut = cut[..cut.len() - 100].to_vec();
    depot.put(&cut, &PutOptions::of(Provenance::of("inbox:/in"))).unwrap();
    let site = Site::start(Identity::generate().unwrap(), depot, Rights::all());
    let client = client_of(&site);
    let asked = request(&long, "2");
    let frames = client.frames(&site.dial, &asked).await.unwrap();
    assert_eq!(bytes_of(&frames), expected(&long, &asked.frames));
    let none = client.frames(&site.dial, &request(&cut, "1")).await.unwrap_err();
    assert_eq!(code_of(&none), Some(RefuseCode::NotFound));
    assert!(none.to_string().contains("pull the instance"), "{none}");
    site.stop().await;
}

#[tokio::test]
async fn who_may_not_see_it_hears_what_is_said_of_what_is_not_there() {
    let input = tempfile::tempdir().unwrap();
    let paths = StudySpec::new(8).with_instances(1, 1).with_frames(3).write_to(input.path()).unwrap();
    let file = std::fs::read(&paths[0]).unwrap();
    let host = Listener::default();
    let site = Site::start_with(Identity::generate().unwrap(), in_memory(), Arc::new(host.clone()));
    push(&client_of(&site), &site, &[input.path().to_owned()], OtherFiles::Skip).await.0.unwrap().complete().unwrap();
    let other = Identity::generate().unwrap();
    site.trust.pin(other.peer_id());
    let rights = |rights| *host.stranger.lock().unwrap() = Some((other.peer_id(), rights));
    let client = client_with(other.clone());
    let asked = request(&file, "2");
    rights(Rights::all().with_scope(Scope::owner(other.peer_id())));
    let hidden = client.frames(&site.dial, &asked).await.unwrap_err();
    let absent = FrameRequest::new(StudyUid::new("1.2.3").unwrap(), asked.sop_instance.clone(), numbers("2"));
    let absent = client.frames(&site.dial, &absent).await.unwrap_err();
    assert_eq!((code_of(&hidden), hidden.to_string()), (Some(RefuseCode::NotFound), absent.to_string()));
    rights(Rights::all().with_pull(false));
    let refused = client.frames(&site.dial, &asked).await.unwrap_err();
    assert_eq!(code_of(&refused), Some(RefuseCode::NotAllowed));
    rights(Rights::all());
    assert_eq!(bytes_of(&client.frames(&site.dial, &asked).await.unwrap()), expected(&file, &asked.frames));
    site.stop().await;
}

/// What of a depot is an answer to `asked`.
fn records(depot: &Depot, asked: &FrameRequest) -> Vec<imgxfer_core::wire::record::Record> {
    let mut parts = depot.frames(&Scope::All, asked, Registry::default().ids()).unwrap();
    std::iter::from_fn(|| parts.next_record()).map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_record_that_instances_share_is_not_given_as_a_whole() {
    let (store, input) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Images that a push puts into one record.
    let spec = StudySpec::new(9).with_instances(1, 30).with_size(64, 64);
    let paths = spec.write_to(input.path()).unwrap();
    let site = Site::start(Identity::generate().unwrap(), depot_at(store.path()), Rights::all());
    let client = client_of(&site);
    push(&client, &site, &[input.path().to_owned()], OtherFiles::Skip).await.0.unwrap().complete().unwrap();
    let stored = all_of(site.depot.index.as_ref(), &spec.study_uid());
    let place = |instance: &StoredInstance| instance.chunks.last().unwrap().record;
    assert!(stored.iter().any(|one| stored.iter().filter(|other| place(one) == place(other)).count() > 1));
    for path in &paths {
        let file = std::fs::read(path).unwrap();
        let asked = request(&file, "1");
        let mine = stored.iter().find(|one| one.entry.sop_instance == asked.sop_instance).unwrap();
        for record in records(&site.depot, &asked) {
            for chunk in &record.header().chunks {
                assert!(mine.entry.chunks.iter().any(|own| own.id == chunk.id), "a chunk of another instance");
            }
        }
        assert_eq!(bytes_of(&client.frames(&site.dial, &asked).await.unwrap()), expected(&file, &asked.frames));
    }
    site.stop().await;
}

#[tokio::test]
async fn what_is_damaged_is_refused_and_noted() {
    let store = tempfile::tempdir().unwrap();
    let depot = depot_at(store.path());
    let file = StudySpec::new(4).with_instances(1, 1).with_size(300, 256).with_frames(8).instance(1, 1).bytes;
    let entry = depot.put(&file, &PutOptions::of(Provenance::of("inbox:/in"))).unwrap().entry;
    let of = InstancesOf::study(entry.study.clone());
    let stored = depot.index.instances(&Scope::All, &of, None, 1).unwrap().remove(0);
    let record = stored.chunks.last().unwrap().record;
    let mut packs = contents(&store.path().join("packs")).into_iter().map(|(_, path)| path);
    let pack = packs.find(|path| path.extension().is_some_and(|e| e == "pack")).unwrap();
    flip(&pack, record.offset + u64::from(record.len) - 1);
    let site = Site::start(Identity::generate().unwrap(), depot, Rights::all());
    let client = client_of(&site);
    let damaged = client.frames(&site.dial, &request(&file, "1-8")).await.unwrap_err();
    assert_eq!(code_of(&damaged), Some(RefuseCode::Internal));
    assert_eq!(site.depot.index.damaged(9).unwrap().len(), 1, "it is healed when it is sent again");
    let whole = client.frames(&site.dial, &request(&file, "1")).await.unwrap();
    assert_eq!(bytes_of(&whole), expected(&file, &numbers("1")), "what is whole is given");
    site.stop().await;
}

/// A peer that answers every request with these messages, and a client that knows it.
fn answering(messages: Vec<Bytes>) -> (Dial, Client) {
    let (identity, asker) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let trust = Trust::new();
    trust.pin(asker.peer_id());
    let peer = identity.peer_id();
    let endpoint = Endpoint::bind(EndpointConfig::new("127.0.0.1:0".parse().unwrap(), identity, trust, ALPN)).unwrap();
    let dial = Dial::from(endpoint.local_address().unwrap()).with_peer(peer);
    drop(tokio::spawn(async move {
        let session = endpoint.accept().await.unwrap();
        while let Ok(control) = session.accept_control().await {
            let (mut out, mut asked) = control.into_split();
            drop(asked.recv(1 << 16).await);
            for message in &messages {
                drop(out.send(message).await);
            }
            drop(out.finish());
            drop(out.received().await);
        }
    }));
    (dial, client_with(asker))
}

fn whole_answer(depot: &Depot, asked: &FrameRequest) -> (FramesStart, Vec<Bytes>) {
    let start = depot.frames(&Scope::All, asked, Registry::default().ids()).unwrap().start().clone();
    let of = |record: imgxfer_core::wire::record::Record| {
        Body::FramesRecord(FramesRecord { record: record.bytes().clone() }).into_bytes().into()
    };
    (start, records(depot, asked).into_iter().map(of).collect())
}

#[tokio::test]
async fn an_older_peer_is_told_from_one_that_has_nothing() {
    let refused =
        Refused { code: RefuseCode::Protocol.number(), remedy: "a request that this version does not know".to_owned() };
    let (dial, client) = answering(vec![Body::Refused(refused).into_bytes().into()]);
    let asked = FrameRequest::new(
        StudyUid::new("1.2.3").unwrap(),
        imgxfer_core::ids::SopInstanceUid::new("1.2.4").unwrap(),
        numbers("1"),
    );
    let error = client.frames(&dial, &asked).await.unwrap_err();
    assert!(matches!(error, TransferError::Protocol(ProtocolError::Lacks(_))), "{error}");
    assert!(error.to_string().contains("its version is older"), "{error}");
}

#[tokio::test]
async fn a_hostile_peer_is_believed_in_nothing() {
    let depot = in_memory();
    let file = StudySpec::new(4).with_instances(1, 1).with_size(600, 512).with_frames(8).instance(1, 1).bytes;
    depot.put(&file, &PutOptions::of(Provenance::of("inbox:/in"))).unwrap();
    let asked = request(&file, "2-4");
    let (start, records) = whole_answer(&depot, &asked);
    assert_eq!(records.len(), 3);
    let starting = |start: FramesStart| Bytes::from(Body::FramesStart(start).into_bytes());
    let ask = async |messages: Vec<Bytes>| {
        let (dial, client) = answering(messages);
        client.frames(&dial, &asked).await
    };
    let with = |first: Bytes, records: &[Bytes]| [&[first], records].concat();
    let honest = ask(with(starting(start.clone()), &records)).await.unwrap();
    assert_eq!(bytes_of(&honest), expected(&file, &asked.frames));
    // Another instance than was asked for.
    let other = FramesStart { sop_instance: "1.2.3".to_owned(), ..start.clone() };
    let error = ask(with(starting(other), &records)).await.unwrap_err();
    assert!(matches!(error, TransferError::Protocol(ProtocolError::Invalid(_))), "{error}");
    // Records of another frame.
    let (_, others) = whole_answer(&depot, &request(&file, "5-7"));
    let error = ask(with(starting(start.clone()), &others)).await.unwrap_err();
    assert!(matches!(error, TransferError::Protocol(ProtocolError::Invalid(_))), "{error}");
    // An answer that ends too early, and one that was cut within a message.
    let error = ask(with(starting(start.clone()), &records[..2])).await.unwrap_err();
    assert!(matches!(error, TransferError::Transport(TransportError::Truncated)), "{error}");
    // A message that is longer than a record can be.
    let long = vec![Bytes::from(vec![0; 2 << 20])];
    let error = ask(with(starting(start.clone()), &long)).await.unwrap_err();
    assert!(matches!(error, TransferError::Transport(TransportError::MessageTooLong { .. })), "{error}");
    // Other messages, in either place.
    let end = Bytes::from(Body::End(imgxfer_core::wire::message::End::default()).into_bytes());
    for messages in [vec![end.clone()], vec![starting(start), end]] {
        let error = ask(messages).await.unwrap_err();
        assert!(matches!(error, TransferError::Protocol(ProtocolError::Unexpected(_))), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_costs_one_round_trip() {
    let depot = in_memory();
    // What a connection may send at once that knows nothing of its line.
    let file = StudySpec::new(4).with_instances(1, 1).with_size(48, 64).with_frames(4).instance(1, 1).bytes;
    depot.put(&file, &PutOptions::of(Provenance::of("inbox:/in"))).unwrap();
    let sites = Sites::new("fibre1g-far", &depot, 1);
    let session = sites.client.connect(&sites.dial()).await.unwrap();
    let asked = request(&file, "3");
    // The end of the handshake goes with what is asked first.
    sites.client.frames_over(&session, &asked).await.unwrap();
    let begun = Instant::now();
    let frames = sites.client.frames_over(&session, &asked).await.unwrap();
    let (took, rtt) = (begun.elapsed(), session.stats().rtt);
    assert_eq!(bytes_of(&frames), expected(&file, &asked.frames));
    assert!(took * 2 < rtt * 3, "{took:?} at a round trip of {rtt:?}");
}

#[test]
fn frames_of_real_files_are_those_of_the_scanner() {
    let Some(data) = real_data_dir() else { return eprintln!("skipped: no real files here") };
    let depot = in_memory();
    let mut seen = 0;
    for folder in ["mr-enhanced", "us", "xa-cine-jpeg"] {
        for (_, path) in contents(&data.join(folder)) {
            let file = std::fs::read(&path).unwrap();
            let Some(table) = scan(&file).ok().and_then(|scan| scan.frame_table()) else { continue };
            depot.put(&file, &PutOptions::of(Provenance::of("inbox:/in"))).unwrap();
            let all = FrameNumbers::of_runs([(1, table.len())]).unwrap();
            let asked = request(&file, "1").with_frames(all.clone());
            let mut taking = imgxfer_core::proto::FramesReceiver::new(asked.clone(), Registry::default());
            let hash = imgxfer_core::ids::InstanceHash::from_bytes(*blake3::hash(&file).as_bytes());
            let asked = asked.with_hash(hash);
            let mut parts = depot.frames(&Scope::All, &asked, Registry::default().ids()).unwrap();
            taking.handle_start(parts.start()).unwrap();
            while let Some(record) = parts.next_record() {
                taking.handle_record(FramesRecord { record: record.unwrap().bytes().clone() }).unwrap();
            }
            let frames = taking.finish().unwrap();
            assert_eq!(bytes_of(&frames), expected(&file, &all), "{}", shown(&path));
            assert!(frames.shape.is_some_and(|shape| shape.rows > 0 && !shape.photometric.is_empty()));
            seen += u32::from(table.len() > 1);
        }
    }
    eprintln!("{seen} files with several frames");
}

fn shown(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
