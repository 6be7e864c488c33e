//! Several peers at one site: what each may do and see, and that none learns of another.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use imgxfer_core::ALPN;
use imgxfer_core::client::{Client, PullOptions, PullTarget, PushOptions, RetryPolicy};
use imgxfer_core::codec::{CodecId, Level, LevelChoice, Registry};
use imgxfer_core::depot::Depot;
use imgxfer_core::error::{Fault, Retry, TransferError};
use imgxfer_core::ids::{PeerId, StudyUid, TransferId};
use imgxfer_core::priority::Priority;
use imgxfer_core::progress::{Progress, TransferEvent};
use imgxfer_core::proto::ProtocolError;
use imgxfer_core::receive::DepotIntake;
use imgxfer_core::send::{FileSource, OtherFiles};
use imgxfer_core::server::{Direction, Host, Rights, TransferWatch};
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::search::{Answer, Search};
use imgxfer_core::store::{MemIndex, MemRecords, Scope};
use imgxfer_core::testing::pair;
use imgxfer_core::transport::{Endpoint, EndpointConfig, Identity, Session, TransportError, Trust};
use imgxfer_core::wire::message::RefuseCode;

use crate::harness::{Site, client_of, client_with, push, rows};

/// Each peer may do everything, with what it sent itself.
struct OwnOnly;

impl Host for OwnOnly {
    fn rights(&self, session: &Session) -> Rights {
        Rights::all().with_scope(Scope::owner(session.peer()))
    }
}

fn memory() -> Depot {
    Depot::new(Arc::new(MemRecords::default()), Arc::new(MemIndex::default()), Registry::default())
}

fn start(host: impl Host) -> Site {
    Site::start_with(Identity::generate().unwrap(), memory(), Arc::new(host))
}

fn client(site: &Site) -> (Client, PeerId) {
    let identity = Identity::generate().unwrap();
    site.trust.pin(identity.peer_id());
    (client_with(identity.clone()), identity.peer_id())
}

fn nothing(_: &TransferEvent) {}

/// Pushes a study; returns the payload bytes that it took.
async fn push_study(client: &Client, site: &Site, spec: &StudySpec) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    spec.write_to(folder.path()).unwrap();
    let paths = [folder.path().to_owned()];
    let source = || Box::new(FileSource::new(&paths, OtherFiles::Skip)) as _;
    let options = PushOptions::default().with_level(LevelChoice::Fixed(Level::STRONG));
    let report = client.push(&site.dial, source, &options, &nothing).await.unwrap();
    assert!(report.receipt.complete);
    let progress = report.progress;
    assert_eq!((progress.bytes_arrived, progress.bytes_committed), (progress.bytes_expected, progress.bytes_expected));
    assert_eq!(progress.bytes_present == progress.bytes_expected, progress.payload_bytes == 0, "{progress:?}");
    progress.payload_bytes
}

async fn pull_study(client: &Client, site: &Site, study: &StudyUid) -> Result<BTreeSet<[u8; 32]>, TransferError> {
    let here = pair::Site::default();
    let depot = here.depot.clone();
    let intake = move |peer| Ok(Arc::new(DepotIntake::new(&depot, peer, Scope::owner(peer))?) as _);
    let target = PullTarget::study(study.clone());
    let mut options = PullOptions::default();
    options.retry = RetryPolicy::once();
    client.pull(&site.dial, &target, intake, &options, &nothing).await?.complete().unwrap();
    Ok(here.visible())
}

fn hashes(spec: &StudySpec) -> BTreeSet<[u8; 32]> {
    spec.instances().map(|instance| *blake3::hash(&instance.bytes).as_bytes()).collect()
}

fn study(seed: u64) -> StudySpec {
    StudySpec::new(seed).with_instances(1, 6).with_size(64, 64)
}

#[tokio::test]
async fn the_same_study_from_two_peers_is_two_studies_and_tells_neither_of_the_other() {
    let site = start(OwnOnly);
    let ((first, first_id), (second, second_id)) = (client(&site), client(&site));
    let spec = study(31);
    let alone = push_study(&first, &site, &spec).await;
    let after_the_other = push_study(&second, &site, &spec).await;
    assert_eq!(alone, after_the_other, "that a study is here already must not show");
    for (client, id) in [(&first, first_id), (&second, second_id)] {
        let rows = client.find(&site.dial, &Search::default()).await.unwrap().rows;
        assert_eq!(rows.len(), 1);
        let found = &rows[0].study;
        assert_eq!(found.owners.iter().map(|owner| owner.owner).collect::<Vec<_>>(), [id]);
        assert_eq!((found.instances, found.contents, found.conflicts, found.arriving), (6, 6, 0, false));
        assert_eq!(pull_study(client, &site, &spec.study_uid()).await.unwrap(), hashes(&spec));
    }
    assert_eq!(push_study(&second, &site, &spec).await, 0);
    site.stop().await;
}

/// Pulls a study at a level; returns the payload bytes and the codec of the last record.
async fn pull_at(client: &Client, site: &Site, spec: &StudySpec, level: LevelChoice) -> (u64, CodecId) {
    let here = pair::Site::default();
    let depot = here.depot.clone();
    let intake = move |peer| Ok(Arc::new(DepotIntake::new(&depot, peer, Scope::owner(peer))?) as _);
    let options = PullOptions::default().with_level(level).with_retry(RetryPolicy::once());
    let target = PullTarget::study(spec.study_uid());
    let report = client.pull(&site.dial, &target, intake, &options, &nothing).await.unwrap();
    assert_eq!(here.visible(), hashes(spec));
    let progress = report.progress;
    assert_eq!(progress.payload_raw_bytes, progress.bytes_expected);
    (progress.payload_bytes, progress.coded.unwrap().codec)
}

#[tokio::test]
async fn a_puller_has_its_level_unless_the_site_set_another() {
    struct Stored;
    impl Host for Stored {
        fn rights(&self, _: &Session) -> Rights {
            Rights::all().with_level(LevelChoice::Fixed(Level::STORE))
        }
    }
    let spec = study(37);
    let folder = tempfile::tempdir().unwrap();
    spec.write_to(folder.path()).unwrap();
    for (site, obeys) in [(start(OwnOnly), true), (start(Stored), false)] {
        let (client, _) = client(&site);
        let paths = [folder.path().to_owned()];
        let source = || Box::new(FileSource::new(&paths, OtherFiles::Skip)) as _;
        let plain = PushOptions::default().with_level(LevelChoice::Fixed(Level::STORE));
        let pushed = client.push(&site.dial, source, &plain, &nothing).await.unwrap().progress;
        assert_eq!(pushed.coded.unwrap().level, Some(Level::STORE));
        let stored = pull_at(&client, &site, &spec, LevelChoice::Fixed(Level::STORE)).await;
        assert_eq!(stored, (pushed.payload_bytes, CodecId::STORE), "as it was stored");
        let small = pull_at(&client, &site, &spec, LevelChoice::Fixed(Level::COPPER)).await;
        assert_eq!(small.0 < stored.0 && small.1 != CodecId::STORE, obeys, "{small:?} {stored:?}");
        site.stop().await;
    }
}

#[tokio::test]
async fn two_peers_push_the_same_study_at_once() {
    let site = start(OwnOnly);
    let ((first, _), (second, _)) = (client(&site), client(&site));
    let spec = study(32);
    let (a, b) = tokio::join!(push_study(&first, &site, &spec), push_study(&second, &site, &spec));
    assert_eq!(a, b);
    let rows = rows(site.depot.index.as_ref());
    assert_eq!(rows.iter().map(|row| (row.instances, row.conflicts)).collect::<Vec<_>>(), [(6, 0), (6, 0)]);
    for client in [&first, &second] {
        assert_eq!(pull_study(client, &site, &spec.study_uid()).await.unwrap(), hashes(&spec));
    }
    site.stop().await;
}

/// What was told of each transfer.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<OneTold>>>);

/// Of one: what began in it, and the instances that it ended with.
#[derive(Default)]
struct OneTold {
    began: Vec<TransferId>,
    ended: Vec<u64>,
}

struct Listener {
    told: Told,
    at: usize,
}

impl Host for Told {
    fn rights(&self, _: &Session) -> Rights {
        Rights::all()
    }

    fn begin(&self, _: &Session, _: Direction, _: Priority) -> Box<dyn TransferWatch> {
        let mut all = self.0.lock().unwrap();
        all.push(OneTold::default());
        Box::new(Listener { told: self.clone(), at: all.len() - 1 })
    }
}

impl TransferWatch for Listener {
    fn on_event(&self, event: &TransferEvent) {
        if let TransferEvent::Started { transfer } = event {
            self.told.0.lock().unwrap()[self.at].began.push(*transfer);
        }
    }

    fn on_end(&self, result: Result<&Progress, &TransferError>) {
        self.told.0.lock().unwrap()[self.at].ended.push(result.unwrap().instances_committed);
    }
}

#[tokio::test]
async fn two_transfers_of_one_peer_are_told_apart() {
    let told = Told::default();
    let site = start(told.clone());
    let (client, _) = client(&site);
    let (one, two) = (study(36).with_instances(1, 2), study(38).with_instances(1, 5));
    tokio::join!(push_study(&client, &site, &one), push_study(&client, &site, &two));
    site.stop().await;
    let mut told = std::mem::take(&mut *told.0.lock().unwrap());
    told.sort_by_key(|told| told.ended[0]);
    assert!(told.iter().all(|told| told.began.len() == 1) && told[0].began != told[1].began);
    assert_eq!(told.iter().map(|told| told.ended.as_slice()).collect::<Vec<_>>(), [[2], [5]]);
}

#[tokio::test]
async fn one_peer_pushes_two_studies_and_pulls_a_third_at_once() {
    let site = start(OwnOnly);
    let (client, _) = client(&site);
    let (one, two, three) = (study(33), study(34), study(35));
    push_study(&client, &site, &three).await;
    let uid = three.study_uid();
    let (_, _, pulled) = tokio::join!(
        push_study(&client, &site, &one),
        push_study(&client, &site, &two),
        pull_study(&client, &site, &uid)
    );
    assert_eq!(pulled.unwrap(), hashes(&three));
    for spec in [one, two] {
        assert_eq!(pull_study(&client, &site, &spec.study_uid()).await.unwrap(), hashes(&spec));
    }
    site.stop().await;
}

#[tokio::test]
async fn one_peer_pushes_one_study_twice_at_once() {
    let site = start(OwnOnly);
    let (client, _) = client(&site);
    let spec = study(36);
    tokio::join!(push_study(&client, &site, &spec), push_study(&client, &site, &spec));
    let rows = rows(site.depot.index.as_ref());
    assert_eq!((rows.len(), rows[0].instances, rows[0].conflicts, rows[0].arriving), (1, 6, 0, false));
    assert_eq!(pull_study(&client, &site, &spec.study_uid()).await.unwrap(), hashes(&spec));
    site.stop().await;
}

fn refusal(error: TransferError) -> (RefuseCode, String) {
    assert_eq!(error.retry(), Retry::Never, "{error}");
    match error {
        TransferError::Protocol(ProtocolError::Refused { code, remedy }) => (code, remedy),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_peer_may_not_do_is_refused() {
    let site = Site::start(Identity::generate().unwrap(), memory(), Rights::none());
    let client = client_of(&site);
    let folder = tempfile::tempdir().unwrap();
    study(37).write_to(folder.path()).unwrap();
    let (pushed, _) = push(&client, &site, &[folder.path().to_owned()], OtherFiles::Skip).await;
    assert_eq!(refusal(pushed.unwrap_err()).0, RefuseCode::NotAllowed);
    let queried = client.find(&site.dial, &Search::default()).await;
    assert_eq!(refusal(queried.unwrap_err()).0, RefuseCode::NotAllowed);
    let pulled = pull_study(&client, &site, &study(37).study_uid()).await;
    assert_eq!(refusal(pulled.unwrap_err()).0, RefuseCode::NotAllowed);
    assert!(site.depot.index.study_keys(None, 10).unwrap().is_empty());
    assert!(site.depot.records.packs().unwrap().is_empty());
    site.stop().await;
}

#[tokio::test]
async fn a_study_of_another_and_one_that_is_not_there_look_alike() {
    let site = start(OwnOnly);
    let ((owner, _), (stranger, _)) = (client(&site), client(&site));
    let spec = study(38);
    push_study(&owner, &site, &spec).await;
    let hidden = refusal(pull_study(&stranger, &site, &spec.study_uid()).await.unwrap_err());
    let missing = refusal(pull_study(&stranger, &site, &study(39).study_uid()).await.unwrap_err());
    assert_eq!(hidden.0, RefuseCode::NotFound);
    assert_eq!(hidden, missing);
    assert_eq!(stranger.find(&site.dial, &Search::default()).await.unwrap(), Answer::default());
    site.stop().await;
}

#[tokio::test]
async fn another_version_of_the_protocol_is_named_as_such() {
    let site = start(OwnOnly);
    let identity = Identity::generate().unwrap();
    site.trust.pin(identity.peer_id());
    assert_ne!(ALPN, b"imgxfer/2");
    let config = EndpointConfig::new("127.0.0.1:0".parse().unwrap(), identity, Trust::new(), b"imgxfer/2");
    let client = Client::new(Endpoint::bind(config).unwrap());
    let error = client.find(&site.dial, &Search::default()).await.unwrap_err();
    assert!(matches!(error, TransferError::Transport(TransportError::Version)), "{error:?}");
    assert_eq!(error.retry(), Retry::Never);
    assert!(error.to_string().contains("newer imgxfer"), "{error}");
    let _: Fault = error.fault();
    site.stop().await;
}
