//! Who sees what by the source that it came by.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use imgxfer_core::client::{Client, PullOptions, PullTarget, RetryPolicy};
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::{Depot, Unwanted};
use imgxfer_core::dicom::Level;
use imgxfer_core::error::TransferError;
use imgxfer_core::ids::{InstanceHash, PeerId, StudyUid};
use imgxfer_core::receive::DepotIntake;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::search::{Answer, Search};
use imgxfer_core::store::{InstancesOf, MemIndex, MemRecords, Scope};
use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Trust};
use imgxferd::Daemon;
use imgxferd::config::{Inbox, PeerConfig, PeerRights, Seen, Sees};
use imgxferd::queue::JobState;

use crate::support::{all_in, ask, get, jobs, site, start};

fn nothing(_: &imgxfer_core::progress::TransferEvent) {}

/// Somebody with a key, who asks a daemon.
struct Asker {
    client: Client,
    dial: Dial,
}

impl Asker {
    fn new(identity: &Identity, daemon: &Daemon) -> Self {
        let address = "127.0.0.1:0".parse().unwrap();
        let config = EndpointConfig::new(address, identity.clone(), Trust::new(), imgxfer_core::ALPN);
        let client = Client::new(Endpoint::bind(config).unwrap());
        Self { client, dial: Dial::from(daemon.quic_address()).with_peer(daemon.peer_id()) }
    }

    async fn find(&self, level: Level) -> Answer {
        let search = Search { level, count: true, ..Search::default() };
        self.client.find(&self.dial, &search).await.unwrap()
    }

    /// What comes of a study when it is pulled.
    async fn pull(&self, study: &StudyUid) -> Result<Vec<InstanceHash>, TransferError> {
        let depot = Depot::new(Arc::new(MemRecords::default()), Arc::new(MemIndex::default()), Registry::default());
        let into = depot.clone();
        let intake = move |peer| Ok(Arc::new(DepotIntake::new(&into, peer, Scope::owner(peer))?) as _);
        let options = PullOptions::default().with_retry(RetryPolicy::once());
        self.client
            .pull(&self.dial, &PullTarget::study(study.clone()), intake, &options, &nothing)
            .await?
            .complete()?;
        let got = depot.index.instances(&Scope::All, &InstancesOf::study(study.clone()), None, 10_000).unwrap();
        let mut hashes: Vec<InstanceHash> = got.into_iter().map(|instance| instance.entry.hash).collect();
        hashes.sort();
        Ok(hashes)
    }
}

/// The files of a study, and their hashes.
fn files(spec: &StudySpec, folder: &Path) -> Vec<(PathBuf, InstanceHash)> {
    spec.write_to(folder).unwrap();
    let hash = |path: &PathBuf| InstanceHash::from_bytes(*blake3::hash(&std::fs::read(path).unwrap()).as_bytes());
    let mut paths = below(folder);
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), hash(&path))).collect()
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
}

fn sorted<'a>(files: impl IntoIterator<Item = &'a (PathBuf, InstanceHash)>) -> Vec<InstanceHash> {
    let mut hashes: Vec<InstanceHash> = files.into_iter().map(|(_, hash)| *hash).collect();
    hashes.sort();
    hashes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_sees_one_inbox_sees_nothing_of_what_came_by_another() {
    let root = tempfile::tempdir().unwrap();
    let (mut config, _) = site(root.path(), "site");
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    let source = |inbox: &Path| format!("inbox:{}", inbox.display());
    let mut known = |name: &str, entries: &[&str]| {
        let identity = Identity::generate().unwrap();
        let seen = entries.iter().filter_map(|entry| Seen::parse(entry).unwrap()).collect();
        let peer = PeerConfig::pinned(name, identity.peer_id());
        config
            .peers
            .push(peer.with_rights(PeerRights::parse(&["query", "pull", "delete"]).unwrap(), Sees::These(seen)));
        identity
    };
    let narrow = known("narrow", &["own", &source(&a)]);
    let whole = known("whole", &["self"]);
    let other = known("other", &["narrow", "inbox:/nowhere"]);
    for inbox in [&a, &b] {
        let quick = Inbox::into_store(inbox).with_times(Duration::from_millis(50), Duration::from_millis(200));
        std::fs::create_dir_all(inbox).unwrap();
        config.inboxes.push(quick);
    }
    // One study by each inbox, and one by both.
    let spec = |seed| StudySpec::new(seed).with_instances(1, 4).with_size(32, 32);
    let [of_a, of_b, mixed] = [spec(1), spec(2), spec(3)];
    let [files_a, files_b, files_mixed] =
        [&of_a, &of_b, &mixed].map(|spec| files(spec, &root.path().join(spec.study_uid().as_str())));
    let put = |inbox: &Path, files: &[(PathBuf, InstanceHash)]| {
        for (number, (file, hash)) in files.iter().enumerate() {
            std::fs::copy(file, inbox.join(format!("{number}-{hash}"))).unwrap();
        }
    };
    put(&a, &files_a);
    put(&a, &files_mixed[..1]);
    put(&b, &files_b);
    put(&b, &files_mixed[1..]);
    let daemon = start(config).await;
    let stored = |daemon: &Daemon| daemon.depot().index.totals().unwrap().instances;
    jobs(daemon.queue(), |jobs| all_in(JobState::Done)(jobs) && stored(&daemon) == 12).await;

    let asker = Asker::new(&narrow, &daemon);
    let found = asker.find(Level::Study).await;
    let mut studies: Vec<_> = found.rows.iter().map(|row| (row.study.study.clone(), row.study.instances)).collect();
    studies.sort();
    let mut expected = vec![(of_a.study_uid(), 4), (mixed.study_uid(), 1)];
    expected.sort();
    assert_eq!((studies, found.total), (expected, Some(2)), "what came by the inbox");
    assert!(found.rows.iter().all(|row| row.study.owners.len() == 1 && row.study.owners[0].owner == PeerId::SELF));
    assert_eq!(asker.find(Level::Instance).await.rows.len(), 5);
    assert_eq!(asker.pull(&of_a.study_uid()).await.unwrap(), sorted(&files_a));
    assert_eq!(asker.pull(&mixed.study_uid()).await.unwrap(), sorted(&files_mixed[..1]), "its part");
    assert!(asker.pull(&of_b.study_uid()).await.is_err(), "as if it were not there");
    assert!(asker.client.remove(&asker.dial, &Unwanted::study(of_a.study_uid())).await.is_err(), "it did not send it");
    assert_eq!(stored(&daemon), 12, "nothing is removed");

    let asker = Asker::new(&whole, &daemon);
    assert_eq!(asker.find(Level::Instance).await.rows.len(), 12);
    assert_eq!(asker.pull(&mixed.study_uid()).await.unwrap(), sorted(&files_mixed));
    assert!(Asker::new(&other, &daemon).find(Level::Study).await.rows.is_empty());

    let path = format!("/studies/{}", mixed.study_uid());
    assert_eq!(get(&daemon, &path).await.status, 401, "for who runs the site alone");
    let told = ask(&daemon, "GET", &path, "").await.json();
    let owner = &told["owners"][0];
    assert_eq!((&owner["owner"], &owner["contents"]), (&"self".into(), &4.into()), "{told}");
    let mut ways: Vec<_> =
        owner["ways"].as_array().unwrap().iter().map(|way| (&way["source"], &way["contents"])).collect();
    ways.sort_by_key(|(_, contents)| contents.as_u64());
    let (by_a, by_b) = (source(&a).into(), source(&b).into());
    assert_eq!(ways, [(&by_a, &1.into()), (&by_b, &3.into())]);
    assert_eq!(ask(&daemon, "GET", "/studies/1.2.3", "").await.status, 404);
    daemon.stop().await;
}
