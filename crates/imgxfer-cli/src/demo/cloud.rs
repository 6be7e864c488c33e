//! The site that receives and serves, with its own embedded store.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use imgxfer_core::codec::Registry;
use imgxfer_core::engine::Depot;
use imgxfer_core::ids::PeerId;
use imgxfer_core::server::{Host, Rights, Server, ServerLimits};
use imgxfer_core::sim::line::{LineControl, LineParams, ShapedSocket};
use imgxfer_core::store::{CheckOptions, FsOptions, FsRecords, SqliteIndex, check};
use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Session, Trust};
use tokio::task::JoinHandle;

use crate::exit::{Exit, problem};

/// A site that serves in the background until it is dropped.
#[derive(Debug)]
pub(super) struct Cloud {
    /// How to reach it.
    pub(super) dial: Dial,
    /// The line that it sends over.
    pub(super) line: LineControl,
    depot: Depot,
    serving: JoinHandle<()>,
}

/// The one peer has all rights.
struct AllRights;

impl Host for AllRights {
    fn rights(&self, _: &Session) -> Rights {
        Rights::all()
    }
}

impl Cloud {
    /// Starts a site that keeps everything in `folder`, sends over `line`, and knows `peer`.
    pub(super) fn start(folder: &Path, line: LineParams, peer: PeerId) -> anyhow::Result<Self> {
        let records = FsRecords::open(folder, FsOptions::default())?;
        let index = SqliteIndex::open(&folder.join("index.db"))?;
        let depot = Depot::new(Arc::new(records), Arc::new(index), Registry::default());
        let (identity, trust) = (Identity::generate()?, Trust::new());
        trust.pin(peer);
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let socket = ShapedSocket::bind(address, line, 2).context("open the cloud's socket")?;
        let line = socket.line().clone();
        let key = identity.peer_id();
        let config = EndpointConfig::new(address, identity, trust, imgxfer_core::ALPN);
        let endpoint = Endpoint::with_socket(config, Arc::new(socket))?;
        let dial = Dial::new(endpoint.local_address()?).with_peer(key);
        let server = Server::new(endpoint, depot.clone(), Arc::new(AllRights), ServerLimits::default());
        let serving = tokio::spawn(async move { server.serve(std::future::pending()).await });
        Ok(Self { dial, line, depot, serving })
    }

    /// Bytes of packets put on the line so far.
    pub(super) fn line_bytes(&self) -> u64 {
        self.line.counters().offered_bytes
    }

    /// Reads, decodes and hashes the whole store; the bytes of its records.
    pub(super) async fn check(&self) -> anyhow::Result<u64> {
        let depot = self.depot.clone();
        let options = CheckOptions { read_data: true, ..CheckOptions::default() };
        let checking =
            tokio::task::spawn_blocking(move || check(&depot.records, depot.index.as_ref(), &options, &mut |_| true));
        let report = checking.await?.context("check the cloud's store")?;
        if report.findings.iter().any(imgxfer_core::store::Finding::is_loss) {
            return Err(problem(Exit::Integrity, "the cloud's store lost what it had acknowledged"));
        }
        Ok(report.record_bytes)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
