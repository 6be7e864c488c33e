//! Sites to move studies between: each an endpoint on loopback with a store of its own.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use imgxfer_core::ALPN;
use imgxfer_core::client::{Client, PushOptions, PushReport, RetryPolicy};
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::Depot;
use imgxfer_core::error::TransferError;
use imgxfer_core::ids::{PeerId, StudyUid};
use imgxfer_core::progress::TransferEvent;
use imgxfer_core::send::{FileSource, OtherFiles};
use imgxfer_core::server::{Host, Rights, Server, ServerLimits};
use imgxfer_core::store::{FsOptions, Index, InstancesOf, Scope, StoredInstance, StudyRow};
use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Session, Trust};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Grants every peer the same rights.
pub(crate) struct SameRights(pub(crate) Rights);

impl Host for SameRights {
    fn rights(&self, _: &Session) -> Rights {
        self.0.clone()
    }
}

/// A store on disk.
pub(crate) fn depot_at(folder: &Path) -> Depot {
    Depot::open(folder, FsOptions::default(), Registry::default()).unwrap().0
}

/// The row of each owner's study, ordered by owner.
pub(crate) fn rows(index: &dyn Index) -> Vec<StudyRow> {
    let keys = index.study_keys(None, 1000).unwrap();
    keys.iter().flat_map(|(owner, study)| index.study(&Scope::owner(*owner), study).unwrap()).collect()
}

/// Every content of every instance of a study, whoever owns it.
pub(crate) fn all_of(index: &dyn Index, study: &StudyUid) -> Vec<StoredInstance> {
    index.instances(&Scope::All, &InstancesOf::all_versions(study.clone()), None, 1000).unwrap()
}

/// A site that serves.
pub(crate) struct Site {
    pub(crate) depot: Depot,
    pub(crate) dial: Dial,
    pub(crate) address: SocketAddr,
    pub(crate) peer: PeerId,
    pub(crate) trust: Trust,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Site {
    /// Starts serving a store on loopback.
    pub(crate) fn start(identity: Identity, depot: Depot, rights: Rights) -> Self {
        Self::start_with(identity, depot, Arc::new(SameRights(rights)))
    }

    /// The same with a host of the test's own.
    pub(crate) fn start_with(identity: Identity, depot: Depot, host: Arc<dyn Host>) -> Self {
        let trust = Trust::new();
        let id = identity.peer_id();
        let config = EndpointConfig::new("127.0.0.1:0".parse().unwrap(), identity, trust.clone(), ALPN);
        let endpoint = Endpoint::bind(config).unwrap();
        let address = endpoint.local_address().unwrap();
        let dial = Dial::from(address).with_peer(id);
        let server = Server::new(endpoint, depot.clone(), host, ServerLimits::default());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            server.serve(async { drop(stopped.await) }).await;
        });
        Self { depot, dial, address, peer: id, trust, stop: Some(stop), task }
    }

    /// Drains and stops.
    pub(crate) async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.await.unwrap();
    }
}

/// A client that the site trusts.
pub(crate) fn client_of(site: &Site) -> Client {
    let identity = Identity::generate().unwrap();
    site.trust.pin(identity.peer_id());
    client_with(identity)
}

/// A client that is this peer.
pub(crate) fn client_with(identity: Identity) -> Client {
    let config = EndpointConfig::new("127.0.0.1:0".parse().unwrap(), identity, Trust::new(), ALPN);
    Client::new(Endpoint::bind(config).unwrap())
}

/// Pushes paths once and collects what happened.
pub(crate) async fn push(
    client: &Client,
    site: &Site,
    paths: &[PathBuf],
    other: OtherFiles,
) -> (Result<PushReport, TransferError>, Vec<TransferEvent>) {
    let events = Mutex::new(Vec::new());
    let observer = |event: &TransferEvent| {
        if !matches!(event, TransferEvent::Progress(_)) {
            events.lock().unwrap().push(event.clone());
        }
    };
    let source = || Box::new(FileSource::new(paths, other)) as _;
    let options = PushOptions::default().with_retry(RetryPolicy::once());
    let report = client.push(&site.dial, source, &options, &observer).await;
    (report, events.into_inner().unwrap())
}

/// Changes one bit of the byte at an offset.
pub(crate) fn flip(path: &Path, offset: u64) {
    let mut file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
}

/// All files below a folder, by content.
pub(crate) fn contents(folder: &Path) -> Vec<(blake3::Hash, PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                found.push((blake3::hash(&std::fs::read(&path).unwrap()), path))
            }
        }
    }
    found.sort_by_key(|(hash, path)| (*hash.as_bytes(), path.clone()));
    found
}
