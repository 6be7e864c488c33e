//! Sites that know each other, to measure between.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use imgxfer_core::ALPN;
use imgxfer_core::client::{Client, PushOptions, PushReport, RetryPolicy};
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::Depot;
use imgxfer_core::send::{FileSource, OtherFiles};
use imgxfer_core::server::{Host, Rights, Server, ServerLimits};
use imgxfer_core::store::{MemIndex, MemRecords};
use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Session, Trust};

/// Who hospitals and the cloud are, one key for each kind.
#[derive(Debug, Clone)]
pub struct Identities {
    /// Who sends.
    pub hospital: Identity,
    /// Who receives.
    pub cloud: Identity,
}

impl Identities {
    /// New ones.
    ///
    /// # Errors
    /// When the machine has no entropy.
    pub fn generate() -> anyhow::Result<Self> {
        Ok(Self { hospital: Identity::generate()?, cloud: Identity::generate()? })
    }

    /// Settings of a hospital's endpoint.
    #[must_use]
    pub fn hospital(&self, bind: SocketAddr) -> EndpointConfig {
        EndpointConfig::new(bind, self.hospital.clone(), trusting(&self.cloud), ALPN)
    }

    /// Settings of the cloud's endpoint.
    #[must_use]
    pub fn cloud(&self, bind: SocketAddr) -> EndpointConfig {
        EndpointConfig::new(bind, self.cloud.clone(), trusting(&self.hospital), ALPN)
    }
}

fn trusting(peer: &Identity) -> Trust {
    let trust = Trust::new();
    trust.pin(peer.peer_id());
    trust
}

struct Everybody;

impl Host for Everybody {
    fn rights(&self, _: &Session) -> Rights {
        Rights::all()
    }
}

/// A store that forgets.
#[must_use]
pub fn depot_in_memory() -> Depot {
    Depot::new(Arc::new(MemRecords::default()), Arc::new(MemIndex::default()), Registry::default())
}

/// Serves on `endpoint`, until the runtime ends.
pub fn serve(endpoint: Endpoint, depot: Depot) {
    let server = Server::new(endpoint, depot, Arc::new(Everybody), ServerLimits::default());
    drop(tokio::spawn(async move { server.serve(std::future::pending()).await }));
}

/// Pushes a folder, once and whole.
///
/// # Errors
/// When anything did not arrive.
pub async fn push(client: &Client, dial: &Dial, folder: PathBuf) -> anyhow::Result<PushReport> {
    let paths = [folder];
    let source = || Box::new(FileSource::new(&paths, OtherFiles::Send)) as _;
    let options = PushOptions::default().with_retry(RetryPolicy::once());
    let report = client.push(dial, source, &options, &|_: &_| {}).await.context("push")?;
    ensure!(report.receipt.complete, "not everything arrived");
    Ok(report)
}
