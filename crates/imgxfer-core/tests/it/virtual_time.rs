//! Two sites on a simulated line in virtual time: a bad day on copper takes a moment.

use std::sync::Arc;
use std::time::Duration;

use imgxfer_core::ALPN;
use imgxfer_core::client::Client;
use imgxfer_core::depot::Depot;
use imgxfer_core::server::{Host, Rights, Server, ServerLimits};
use imgxfer_core::sim::line::{LineProfile, VirtualNet};
use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Trust};
use tokio::task::JoinHandle;

use crate::harness::SameRights;

/// A hospital that dials, a cloud that serves `depot`, and the line between them.
pub(crate) struct Sites {
    pub(crate) net: Arc<VirtualNet>,
    pub(crate) client: Client,
    cloud: Identity,
    hospital: Identity,
    serving: Option<JoinHandle<()>>,
}

impl Sites {
    /// Starts both on the line with this name.
    pub(crate) fn new(profile: &str, depot: &Depot, seed: u64) -> Self {
        let profile: LineProfile = profile.parse().unwrap();
        let net = Arc::new(VirtualNet::new(profile, seed));
        let (hospital, cloud) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let config = EndpointConfig::new(VirtualNet::HOSPITAL, hospital.clone(), trusting(&cloud), ALPN);
        let client = Client::new(Endpoint::with_socket(config, net.hospital()).unwrap());
        let mut sites = Self { net, client, cloud, hospital, serving: None };
        sites.serve(depot);
        sites
    }

    /// Starts the cloud, or starts it anew after [`Sites::kill_cloud`].
    pub(crate) fn serve(&mut self, depot: &Depot) {
        self.serve_by(depot, Arc::new(SameRights(Rights::all())));
    }

    /// The same with a host of the test's own.
    pub(crate) fn serve_by(&mut self, depot: &Depot, host: Arc<dyn Host>) {
        let config = EndpointConfig::new(VirtualNet::CLOUD, self.cloud.clone(), trusting(&self.hospital), ALPN);
        let endpoint = Endpoint::with_socket(config, self.net.cloud()).unwrap();
        let server = Server::new(endpoint, depot.clone(), host, ServerLimits::default());
        self.serving = Some(tokio::spawn(async move { server.serve(std::future::pending()).await }));
    }

    /// Ends the cloud's process as far as one can within this one: all its tasks are dropped.
    pub(crate) async fn kill_cloud(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            drop(serving.await);
        }
    }

    pub(crate) fn dial(&self) -> Dial {
        Dial::new(VirtualNet::CLOUD.to_string()).with_peer(self.cloud.peer_id())
    }

    /// Cuts the line after `after` for so long that both ends take the connection for dead, then mends it.
    pub(crate) fn cut_once(&self, after: Duration) -> JoinHandle<()> {
        let net = Arc::clone(&self.net);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            net.cut();
            tokio::time::sleep(Duration::from_secs(40)).await;
            net.restore();
        })
    }
}

fn trusting(peer: &Identity) -> Trust {
    let trust = Trust::new();
    trust.pin(peer.peer_id());
    trust
}
