//! Exchanges as they were recorded, played to today's sender and to today's receiver: each takes what the other said
//! then, and says the same. See `tests/fixtures/README.md`.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use imgxfer_core::chunk::ChunkClass;
use imgxfer_core::codec::CodecId;
use imgxfer_core::dicom::tags;
use imgxfer_core::ids::{ChunkId, InstanceHash, PackId, SeriesUid, SopInstanceUid, StandardUid, StudyUid, TransferId};
use imgxfer_core::manifest::{ChunkEntry, InstanceAt, InstanceEntry, Page};
use imgxfer_core::proto::{
    InstanceFailure, Lookup, Receiver, ReceiverOutput, Sender, SenderOutput, Unproven, VerifyJob,
};
use imgxfer_core::store::{ChunkAt, RecordAt};
use imgxfer_core::wire::message::{Body, FailCode, Fetch, ReceiptBody, Value};

/// A message on its way.
#[derive(Debug, Clone)]
enum Said {
    BySender(Body),
    ByReceiver(Body),
}

/// What happens besides messages, the same each time.
#[derive(Default)]
struct Script {
    pages: Vec<Page>,
    /// Asked for in front of it, where it is a pull.
    fetch: Option<Fetch>,
    /// Contents that the receiver has committed before, and pages of them that it knows by their hash.
    committed: Vec<InstanceHash>,
    known: Vec<usize>,
    /// A chunk that arrives damaged once.
    damaged: Option<ChunkId>,
    /// An instance that is not what the manifest says.
    unproven: Option<InstanceAt>,
    /// One that the sender takes back as soon as it has offered it.
    withdrawn: Option<InstanceAt>,
}

/// A page of small instances of one study, with these numbers.
fn page(numbers: std::ops::Range<u32>) -> Page {
    let instance = |n: u32| {
        let chunk = |what: &str, len, class| {
            let id = ChunkId::of(format!("{what} {n}").as_bytes());
            ChunkEntry { id, len, class }
        };
        InstanceEntry {
            study: StudyUid::new("1.2.3").unwrap(),
            series: SeriesUid::new("1.2.3.4").unwrap(),
            sop_instance: SopInstanceUid::new(&format!("1.2.3.4.{n}")).unwrap(),
            sop_class: Some(StandardUid::new("1.2.840.10008.5.1.4.1.1.2").unwrap()),
            transfer_syntax: Some(StandardUid::new("1.2.840.10008.1.2.1").unwrap()),
            name: Vec::new(),
            len: 300 + 1000 + 8000,
            hash: InstanceHash::from_bytes([u8::try_from(n).unwrap(); 32]),
            chunks: vec![
                chunk("meta", 300, ChunkClass::Meta),
                chunk("header", 1000, ChunkClass::Header),
                chunk("pixels", 8000, ChunkClass::Pixels),
            ],
        }
    };
    Page { instances: numbers.map(instance).collect() }
}

/// Everything is new; a record comes damaged, an instance is withdrawn, and another is not what it should be.
fn push() -> Script {
    let pages = vec![page(1..4), page(4..6), page(6..7)];
    Script {
        damaged: Some(pages[0].instances[1].chunks[2].id),
        withdrawn: Some(InstanceAt { page: 1, place: 0 }),
        unproven: Some(InstanceAt { page: 1, place: 1 }),
        pages,
        ..Script::default()
    }
}

/// A study of which the first two pages are there, and one instance of the third.
fn pull() -> Script {
    let pages = vec![page(11..14), page(14..16), page(16..19)];
    let there = pages[..2].iter().flat_map(|page| &page.instances).chain(&pages[2].instances[..1]);
    Script {
        fetch: Some(Fetch {
            by: vec![Value { tag: tags::STUDY_INSTANCE_UID.number(), value: "1.2.3".to_owned(), exact: false }],
            priority: 1,
            codecs: vec![0, 1],
            level: 2,
            ..Fetch::default()
        }),
        committed: there.map(|instance| instance.hash).collect(),
        known: vec![1],
        pages,
        ..Script::default()
    }
}

struct SenderSide<'a> {
    script: &'a Script,
    sender: Sender,
    offered: usize,
    finished: bool,
    receipt: bool,
}

impl<'a> SenderSide<'a> {
    fn new(script: &'a Script) -> Self {
        let count = script.pages.iter().map(|page| page.instances.len()).sum::<usize>() as u64;
        let sender = Sender::new(TransferId::from_bytes([0x22; 16]), 1, count, count * 9000);
        Self { script, sender, offered: 0, finished: false, receipt: false }
    }

    /// What it says when it has heard something, or at the beginning.
    fn say(&mut self, heard: Option<Body>) -> Vec<Body> {
        if let Some(heard) = heard {
            self.sender.handle_message(heard).unwrap();
        }
        while self.sender.wants_page() && !self.finished {
            match self.script.pages.get(self.offered) {
                Some(page) => {
                    let index = self.sender.offer(page);
                    self.offered += 1;
                    if let Some(at) = self.script.withdrawn.filter(|at| at.page == index) {
                        self.sender.withdraw(at, InstanceFailure::Changed).unwrap();
                    }
                }
                None => {
                    self.finished = true;
                    self.sender.finish(true);
                }
            }
        }
        let mut said = Vec::new();
        while let Some(output) = self.sender.poll_output() {
            match output {
                SenderOutput::Send(body) => said.push(body),
                SenderOutput::Receipt(_) => self.receipt = true,
                _ => {}
            }
        }
        said
    }
}

struct ReceiverSide<'a> {
    script: &'a Script,
    receiver: Option<Receiver>,
    came_damaged: bool,
    over: bool,
}

impl<'a> ReceiverSide<'a> {
    fn new(script: &'a Script) -> Self {
        Self { script, receiver: None, came_damaged: false, over: false }
    }

    /// What it says when it has heard something. All that it asks for arrives at once.
    fn say(&mut self, heard: Body) -> Vec<Body> {
        match (&mut self.receiver, heard) {
            (Some(receiver), heard) => receiver.handle_message(heard).unwrap(),
            (none, Body::Start(start)) => {
                *none = Some(Receiver::accept_on(&start, &[CodecId::STORE, CodecId::ZSTD], 4).unwrap());
            }
            (None, other) => panic!("a transfer begins with {other:?}"),
        }
        let mut said = Vec::new();
        while let Some(output) = self.receiver.as_mut().and_then(Receiver::poll_output) {
            if let ReceiverOutput::Send(body) = output {
                said.push(body);
            } else {
                self.carry_out(output);
            }
        }
        said
    }

    fn carry_out(&mut self, output: ReceiverOutput) {
        let (script, receiver) = (self.script, self.receiver.as_mut().unwrap());
        match output {
            ReceiverOutput::FindPage { index, hash } => {
                let encoded = script.known.iter().map(|n| script.pages[*n].encode());
                let found = encoded.into_iter().find(|encoded| Page::hash_of(encoded) == hash);
                receiver.handle_page_found(index, found.map(Bytes::from)).unwrap();
            }
            ReceiverOutput::Lookup { index, page } => {
                let committed = page.instances.iter().map(|i| script.committed.contains(&i.hash)).collect();
                let chunks = page.instances.iter().flat_map(|i| &i.chunks).map(|_| None).collect();
                receiver.handle_lookup(index, &Lookup { committed, chunks, unwanted: Vec::new() });
                for chunk in page.instances.iter().flat_map(|instance| &instance.chunks) {
                    if script.damaged == Some(chunk.id) && !self.came_damaged {
                        self.came_damaged = true;
                        receiver.handle_damaged(&chunk.id);
                    }
                    if receiver.wants(&chunk.id) {
                        receiver.handle_chunk(&chunk.id, chunk.len, somewhere());
                    }
                }
                receiver.report();
            }
            ReceiverOutput::Verify(VerifyJob { at, .. }) => {
                let wrong = script.unproven == Some(at);
                let result = if wrong { Err(Unproven::Failed(FailCode::Identity)) } else { Ok(()) };
                receiver.handle_verified(at, result);
                if !wrong {
                    receiver.handle_committed(&[at]);
                }
            }
            ReceiverOutput::Settled { .. } => {
                let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
                let (text, certificate, signature) = (bytes("text"), bytes("certificate"), bytes("signature"));
                receiver.handle_receipt(ReceiptBody { text, scheme: 0x0807, certificate, signature });
            }
            ReceiverOutput::Over => self.over = true,
            _ => {}
        }
    }
}

fn somewhere() -> ChunkAt {
    ChunkAt { record: RecordAt { pack: PackId::from_bytes([1; 16]), offset: 96, len: 100 }, slot: 0 }
}

/// Both of today, one message at a time.
fn converse(script: &Script) -> Vec<Said> {
    let (mut sender, mut receiver) = (SenderSide::new(script), ReceiverSide::new(script));
    let mut said: Vec<Said> = script.fetch.iter().map(|fetch| Said::ByReceiver(Body::Fetch(fetch.clone()))).collect();
    let mut on_the_way: VecDeque<Said> = sender.say(None).into_iter().map(Said::BySender).collect();
    while let Some(message) = on_the_way.pop_front() {
        said.push(message.clone());
        match message {
            Said::BySender(body) => on_the_way.extend(receiver.say(body).into_iter().map(Said::ByReceiver)),
            Said::ByReceiver(body) => on_the_way.extend(sender.say(Some(body)).into_iter().map(Said::BySender)),
        }
    }
    assert!(sender.receipt && receiver.over, "the exchange comes to its end");
    said
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("exchange-{name}-v2.txt"))
}

/// `IMGXFER_WRITE_VECTORS=1` writes a recording that is not there, never one that is.
fn write_if_asked(name: &str, script: &Script) {
    if std::env::var_os("IMGXFER_WRITE_VECTORS").is_some() && !file(name).exists() {
        let mut text = String::new();
        for message in converse(script) {
            let (who, body) = match message {
                Said::BySender(body) => ('>', body),
                Said::ByReceiver(body) => ('<', body),
            };
            write!(text, "{who} ").unwrap();
            body.into_bytes().iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
            text.push('\n');
        }
        std::fs::write(file(name), text).unwrap();
    }
}

fn recorded(name: &str) -> Vec<Said> {
    let text = std::fs::read_to_string(file(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let message = |line: &str| {
        let (who, digits) = line.split_once(' ').unwrap();
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        let body = Body::from_bytes(bytes.clone().into()).unwrap();
        assert_eq!(body.clone().into_bytes(), bytes, "{body:?} is encoded otherwise today");
        if who == ">" { Said::BySender(body) } else { Said::ByReceiver(body) }
    };
    text.lines().map(message).collect()
}

/// Where a message lists what its end understands.
fn features_of(body: &mut Body) -> Option<&mut Vec<u32>> {
    match body {
        Body::Start(start) => Some(&mut start.features),
        Body::Accept(accept) => Some(&mut accept.features),
        _ => None,
    }
}

/// The same message, whatever zstd makes of a page today, and whatever an end understands besides.
fn assert_same(today: &Body, then: &Body, what: &str) {
    let (mut today, mut then) = (today.clone(), then.clone());
    if let (Some(now), Some(before)) = (features_of(&mut today), features_of(&mut then)) {
        assert!(before.iter().all(|feature| now.contains(feature)), "{what}: {now:?}, and then {before:?}");
        now.clone_from(before);
    }
    if let (Body::Page(today), Body::Page(then)) = (&today, &then) {
        assert_eq!((today.index, today.raw_len), (then.index, then.raw_len), "{what}");
        let raw = |packed: &[u8]| zstd::bulk::decompress(packed, 1 << 20).unwrap();
        assert_eq!(raw(&today.zstd), raw(&then.zstd), "{what}");
    } else {
        assert_eq!(today, then, "{what}");
    }
}

fn play(name: &str, script: &Script) {
    write_if_asked(name, script);
    let mut then = recorded(name);
    if let Some(fetch) = &script.fetch {
        let Said::ByReceiver(Body::Fetch(asked)) = then.remove(0) else { panic!("{name} begins with a fetch") };
        assert_eq!(asked, *fetch);
    }
    // Today's sender hears what the receiver said then.
    let mut sender = SenderSide::new(script);
    let mut saying: VecDeque<Body> = sender.say(None).into();
    for (number, message) in then.iter().enumerate() {
        match message {
            Said::ByReceiver(body) => saying.extend(sender.say(Some(body.clone()))),
            Said::BySender(body) => {
                let what = format!("{name}: message {number}, of the sender");
                assert_same(&saying.pop_front().unwrap_or_else(|| panic!("{what}: nothing")), body, &what);
            }
        }
    }
    assert_eq!(saying, [], "{name}: the sender says more than then");
    assert!(sender.receipt, "{name}: the sender takes the receipt");
    // Today's receiver hears what the sender said then.
    let mut receiver = ReceiverSide::new(script);
    let mut saying = VecDeque::new();
    for (number, message) in then.iter().enumerate() {
        match message {
            Said::BySender(body) => saying.extend(receiver.say(body.clone())),
            Said::ByReceiver(body) => {
                let what = format!("{name}: message {number}, of the receiver");
                assert_same(&saying.pop_front().unwrap_or_else(|| panic!("{what}: nothing")), body, &what);
            }
        }
    }
    assert_eq!(saying, [], "{name}: the receiver says more than then");
    assert!(receiver.over, "{name}: the receiver comes to its end");
}

#[test]
fn a_recorded_push() {
    play("push", &push());
}

#[test]
fn a_recorded_pull() {
    play("pull", &pull());
}

/// Each message that a transfer knows is in one of them.
#[test]
fn the_recordings_have_everything() {
    let of = |name| {
        recorded(name).into_iter().map(|said| match said {
            Said::BySender(body) | Said::ByReceiver(body) => format!("{body:?}").split('(').next().unwrap().to_owned(),
        })
    };
    let kinds: std::collections::BTreeSet<String> = of("push").chain(of("pull")).collect();
    let expected = [
        "Accept",
        "Again",
        "Committed",
        "End",
        "Failed",
        "Fetch",
        "Need",
        "Page",
        "PageKnown",
        "PageRef",
        "Receipt",
        "Received",
        "Start",
        "Withdraw",
    ];
    assert_eq!(kinds, expected.map(str::to_owned).into());
}
