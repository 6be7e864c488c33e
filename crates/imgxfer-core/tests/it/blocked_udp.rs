//! Whole transfers where no UDP passes: over TLS, cut and resumed, or begun over UDP that dies.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use imgxfer_core::ALPN;
use imgxfer_core::client::{Client, PullOptions, PullTarget, PushOptions, PushReport, RetryPolicy};
use imgxfer_core::codec::{Level, LevelChoice, Registry};
use imgxfer_core::depot::Depot;
use imgxfer_core::error::TransferError;
use imgxfer_core::pace::{Pace, RateLimit};
use imgxfer_core::progress::{Observer, TransferEvent};
use imgxfer_core::receive::DepotIntake;
use imgxfer_core::send::{FileSource, OtherFiles};
use imgxfer_core::server::{Host, Rights};
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::search::Search;
use imgxfer_core::store::{MemIndex, MemRecords, Scope};
use imgxfer_core::testing::pair;
use imgxfer_core::transport::{Carrier, Dial, Endpoint, EndpointConfig, Identity, Session, Trust};

use crate::harness::Site;
use crate::relay::Relay;

/// Lets peers do everything, and keeps what carried their sessions.
#[derive(Default)]
struct Carriers(Mutex<Vec<Carrier>>);

impl Host for Carriers {
    fn rights(&self, session: &Session) -> Rights {
        self.0.lock().unwrap().push(session.carrier());
        Rights::all().with_scope(Scope::owner(session.peer()))
    }
}

/// A cloud, a hospital, and the network between them.
struct Sites {
    cloud: Site,
    client: Client,
    relay: Relay,
    dial: Dial,
    carriers: Arc<Carriers>,
}

impl Sites {
    async fn new(udp: bool) -> Self {
        let carriers = Arc::new(Carriers::default());
        let depot = Depot::new(Arc::new(MemRecords::default()), Arc::new(MemIndex::default()), Registry::default());
        let (identity, hospital) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let peer = identity.peer_id();
        let cloud = Site::start_with(identity, depot, Arc::clone(&carriers) as _);
        cloud.trust.pin(hospital.peer_id());
        let relay = Relay::before(cloud.address, udp).await;
        let config = EndpointConfig::new("127.0.0.1:0".parse().unwrap(), hospital, Trust::new(), ALPN).dial_only();
        let client = Client::new(Endpoint::bind(config).unwrap());
        let dial = Dial::from(relay.address).with_peer(peer);
        Self { cloud, client, relay, dial, carriers }
    }

    async fn push(&self, study: &Study, observer: &dyn Observer) -> Result<PushReport, TransferError> {
        let paths = [PathBuf::from(study.folder.path())];
        let source = || Box::new(FileSource::new(&paths, OtherFiles::Skip)) as _;
        // A second and more, so that it is told of, and can be cut, on the way.
        let pace = Pace::under([RateLimit::of(16_000_000)]);
        let options = PushOptions::default().with_level(LevelChoice::Fixed(Level::STORE)).with_pace(pace);
        self.client.push(&self.dial, source, &options, observer).await
    }

    async fn pull(&self, study: &Study) -> BTreeSet<[u8; 32]> {
        let here = pair::Site::default();
        let depot = here.depot.clone();
        let intake = move |peer| Ok(Arc::new(DepotIntake::new(&depot, peer, Scope::owner(peer))?) as _);
        let target = PullTarget::study(study.spec.study_uid());
        let mut options = PullOptions::default();
        options.retry = RetryPolicy::once();
        let report = self.client.pull(&self.dial, &target, intake, &options, &|_: &_| {}).await.unwrap();
        assert!(report.receipt.complete);
        here.visible()
    }

    fn carriers(&self) -> Vec<Carrier> {
        self.carriers.0.lock().unwrap().clone()
    }
}

struct Study {
    spec: StudySpec,
    folder: tempfile::TempDir,
    bytes: u64,
}

impl Study {
    /// 24 MB: more than sockets and windows hold at once.
    fn write() -> Self {
        let (spec, folder) =
            (StudySpec::new(41).with_instances(2, 24).with_size(512, 512), tempfile::tempdir().unwrap());
        let files = spec.write_to(folder.path()).unwrap();
        let bytes = files.iter().map(|path| path.metadata().unwrap().len()).sum();
        Self { spec, folder, bytes }
    }

    fn hashes(&self) -> BTreeSet<[u8; 32]> {
        self.spec.instances().map(|instance| *blake3::hash(&instance.bytes).as_bytes()).collect()
    }
}

/// Does something once, when a part of the study has arrived.
struct Once<'a> {
    at: u64,
    what: Mutex<Option<Box<dyn FnOnce() + Send + 'a>>>,
}

impl<'a> Once<'a> {
    fn new(at: u64, what: impl FnOnce() + Send + 'a) -> Self {
        Self { at, what: Mutex::new(Some(Box::new(what))) }
    }
}

impl Observer for Once<'_> {
    fn on_event(&self, event: &TransferEvent) {
        if let TransferEvent::Progress(progress) = event
            && progress.bytes_arrived >= self.at
            && let Some(what) = self.what.lock().unwrap().take()
        {
            what();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_goes_and_comes_back_over_tls() {
    let (sites, study) = (Sites::new(false).await, Study::write());
    let report = sites.push(&study, &|_: &_| {}).await.unwrap();
    assert_eq!((report.receipt.complete, report.connections), (true, 1));
    assert_eq!(sites.pull(&study).await, study.hashes());
    let rows = sites.client.find(&sites.dial, &Search::default()).await.unwrap().rows;
    assert_eq!(rows.len(), 1);
    assert!(sites.carriers().iter().all(|carrier| *carrier == Carrier::Tls), "{:?}", sites.carriers());
    sites.cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_resumes_after_the_tcp_connection_is_cut() {
    let (sites, study) = (Sites::new(false).await, Study::write());
    let report = sites.push(&study, &Once::new(study.bytes / 3, || sites.relay.cut())).await.unwrap();
    assert_eq!((report.receipt.complete, report.connections), (true, 2));
    assert!(report.progress.payload_bytes < study.bytes * 3 / 2 + (4 << 20), "{:?}", report.progress);
    assert_eq!(sites.carriers(), [Carrier::Tls, Carrier::Tls]);
    assert_eq!(sites.pull(&study).await, study.hashes());
    sites.cloud.stop().await;
}

/// Takes half a minute: so long a session waits before it takes silence for an end.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_whose_udp_dies_goes_on_over_tls() {
    let (sites, study) = (Sites::new(true).await, Study::write());
    let report = sites.push(&study, &Once::new(study.bytes / 3, || sites.relay.block_udp())).await.unwrap();
    assert_eq!((report.receipt.complete, report.connections), (true, 2));
    assert_eq!(sites.carriers(), [Carrier::Udp, Carrier::Tls]);
    assert_eq!(sites.pull(&study).await, study.hashes());
    sites.cloud.stop().await;
}
