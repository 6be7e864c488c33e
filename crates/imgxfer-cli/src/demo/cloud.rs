//! The site that receives and serves: a daemon in this process, with its own embedded store.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use imgxfer_core::ids::PeerId;
use imgxfer_core::sim::line::{LineControl, LineParams, ShapedSocket};
use imgxfer_core::store::{CheckOptions, check};
use imgxfer_core::transport::Dial;
use imgxferd::config::{Config, PeerConfig, PeerRights, Sees};
use imgxferd::{Daemon, Options};

use crate::exit::{Exit, problem};

/// A site that serves in the background until it is dropped.
#[derive(Debug)]
pub(super) struct Cloud {
    /// How to reach it.
    pub(super) dial: Dial,
    /// The line that it sends over.
    pub(super) line: LineControl,
    daemon: Daemon,
}

impl Cloud {
    /// Starts a daemon that keeps everything in `folder`, sends over `line`, and knows `peer`.
    pub(super) async fn start(folder: &Path, line: LineParams, peer: PeerId) -> anyhow::Result<Self> {
        let mut config = Config::in_folder(folder, "cloud");
        config.peers.push(PeerConfig::pinned("hospital", peer).with_rights(PeerRights::all(), Sees::All));
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let socket = ShapedSocket::bind(address, line, 2).context("open the cloud's socket")?;
        let line = socket.line().clone();
        let options = Options::default().with_socket(Arc::new(socket));
        let daemon = Box::pin(Daemon::start(config, options)).await.context("start the cloud's daemon")?;
        let dial = Dial::new(daemon.quic_address().to_string()).with_peer(daemon.peer_id());
        Ok(Self { dial, line, daemon })
    }

    /// Bytes of packets put on the line so far.
    pub(super) fn line_bytes(&self) -> u64 {
        self.line.counters().offered_bytes
    }

    /// Reads, decodes and hashes the whole store; the bytes of its records.
    pub(super) async fn check(&self) -> anyhow::Result<u64> {
        let depot = self.daemon.depot().clone();
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
