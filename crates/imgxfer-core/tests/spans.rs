//! Every log line of a transfer says whose it is, whichever thread it comes from.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the report")]

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use imgxfer_core::ALPN;
use imgxfer_core::client::{Client, PullOptions, PullTarget, PushOptions, RetryPolicy};
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::Depot;
use imgxfer_core::ids::{ManifestRoot, PageHash, StudyUid};
use imgxfer_core::manifest::Page;
use imgxfer_core::proto::{Lookup, Unproven, VerifyJob};
use imgxfer_core::receive::{DepotIntake, Intake, Staged};
use imgxfer_core::send::{Content, FileSource, OtherFiles, Source, SourceItem, Totals};
use imgxfer_core::server::{Host, Rights, Server, ServerLimits};
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::search::Search;
use imgxfer_core::store::{MemIndex, MemRecords, RecordAt, Scope, StoreError};
use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Session, Trust};
use imgxfer_core::wire::record::Record;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// Keeps where each event happened: its own name, and the spans around it with their fields.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeSet<String>>>);

struct Fields(String);

/// Writes fields down, all but texts of events.
impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Seen {
    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, id: &tracing::Id, context: Context<'_, S>) {
        let mut fields = Fields(String::new());
        attributes.record(&mut fields);
        context.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &tracing::Id, values: &tracing::span::Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        values.record(span.extensions_mut().get_mut::<Fields>().unwrap());
    }

    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let mut name = Fields(String::new());
        event.record(&mut name);
        if event.metadata().target() == "spans" {
            let spans = context.event_scope(event).into_iter().flatten();
            let spans: Vec<_> =
                spans.map(|s| format!("{}{}", s.name(), s.extensions().get::<Fields>().unwrap().0)).collect();
            self.0.lock().unwrap().insert(format!("{} <{}", name.0.trim(), spans.join(" <")));
        }
    }
}

fn at(place: &'static str) {
    tracing::info!(target: "spans", at = place);
}

/// Tells where it is when its bytes are read.
#[derive(Debug)]
struct Telling(Arc<dyn Content>);

impl Content for Telling {
    fn read_chunk(&self, index: usize, out: &mut [u8]) -> io::Result<()> {
        at("read");
        self.0.read_chunk(index, out)
    }
}

struct TellingSource(FileSource);

impl Source for TellingSource {
    fn totals(&self) -> Totals {
        self.0.totals()
    }

    fn next_item(&mut self) -> io::Result<Option<SourceItem>> {
        at("source");
        let mut item = self.0.next_item()?;
        if let Some(SourceItem::Instance(instance)) = &mut item {
            instance.content = Arc::new(Telling(Arc::clone(&instance.content)));
        }
        Ok(item)
    }
}

#[derive(Debug)]
struct TellingIntake(DepotIntake);

impl Intake for TellingIntake {
    fn find_page(&self, hash: &PageHash) -> Result<Option<Bytes>, StoreError> {
        self.0.find_page(hash)
    }

    fn look_up(&self, page: &Page) -> Result<Lookup, StoreError> {
        at("look up");
        self.0.look_up(page)
    }

    fn keep(&self, record: &Record) -> Result<RecordAt, StoreError> {
        at("keep");
        self.0.keep(record)
    }

    fn check(&self, job: &VerifyJob, asked: &Search) -> Result<Result<Staged, Unproven>, StoreError> {
        at("check");
        self.0.check(job, asked)
    }

    fn commit(&self, staged: Vec<Staged>, pages: Vec<(PageHash, Bytes)>) -> Result<(), StoreError> {
        at("commit");
        self.0.commit(staged, pages)
    }

    fn uncommitted_bytes(&self) -> u64 {
        self.0.uncommitted_bytes()
    }

    fn settle(&self, studies: &[StudyUid], root: ManifestRoot, complete: bool) -> Result<(), StoreError> {
        at("settle");
        self.0.settle(studies, root, complete)
    }
}

struct Everything;

impl Host for Everything {
    fn rights(&self, _: &Session) -> Rights {
        at("rights");
        Rights::all()
    }
}

fn depot() -> Depot {
    Depot::new(Arc::new(MemRecords::default()), Arc::new(MemIndex::default()), Registry::default())
}

#[tokio::test]
async fn log_lines_say_which_transfer_they_are_of() {
    let seen = Seen::default();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(seen.clone())).unwrap();
    let (here, there) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let (hospital, cloud) = (here.peer_id(), there.peer_id());
    let bind = |identity: Identity, peer| {
        let trust = Trust::new();
        trust.pin(peer);
        Endpoint::bind(EndpointConfig::new("127.0.0.1:0".parse().unwrap(), identity, trust, ALPN)).unwrap()
    };
    let endpoint = bind(there, hospital);
    let dial = Dial::from(endpoint.local_address().unwrap()).with_peer(cloud);
    let server = Server::new(endpoint, depot(), Arc::new(Everything), ServerLimits::default());
    drop(tokio::spawn(async move { server.serve(std::future::pending()).await }));
    let client = Client::new(bind(here, cloud));

    let study = StudySpec::new(3).with_instances(1, 2);
    let folder = tempfile::tempdir().unwrap();
    study.write_to(folder.path()).unwrap();
    let paths = [folder.path().to_owned()];
    let source = || Box::new(TellingSource(FileSource::new(&paths, OtherFiles::Skip))) as Box<dyn Source>;
    let options = PushOptions::default().with_retry(RetryPolicy::once());
    let pushed = client.push(&dial, source, &options, &|_: &_| {}).await.unwrap().receipt.transfer;
    let mine = depot();
    let intake = move |peer| Ok(Arc::new(TellingIntake(DepotIntake::new(&mine, peer, Scope::All)?)) as Arc<dyn Intake>);
    let options = PullOptions::default().with_retry(RetryPolicy::once());
    let target = PullTarget::study(study.study_uid());
    let pulled = client.pull(&dial, &target, intake, &options, &|_: &_| {}).await.unwrap().receipt.transfer;

    let seen = seen.0.lock().unwrap();
    let session = format!("session peer={}", cloud.fingerprint());
    let push = format!("transfer direction=\"out\" transfer={pushed:?} <{session}");
    let pull = format!("transfer direction=\"in\" transfer={pulled:?} <{session}");
    let has = |line: &str| {
        assert!(seen.contains(line), "{line}\nnot in\n{}", Vec::from_iter(seen.iter().map(String::as_str)).join("\n"))
    };
    has(&format!("at=\"source\" <{push}"));
    for place in ["look up", "keep", "commit", "settle"] {
        has(&format!("at=\"{place}\" <{pull}"));
    }
    has(&format!("at=\"rights\" <session peer={}", hospital.fingerprint()));
    let instance = |place: &str, of: &str| {
        let head = format!("at=\"{place}\" <instance study={:?} sop_instance=", study.study_uid());
        let all: Vec<_> = seen.iter().filter(|line| line.starts_with(&head) && line.ends_with(of)).collect();
        assert_eq!(all.len(), 2, "{place}: {seen:?}");
    };
    instance("read", &push);
    instance("check", &pull);
    assert!(!seen.iter().any(|line| line.contains(study.study_uid().as_str())), "digests alone");
}
