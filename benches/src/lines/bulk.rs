//! A transfer that never ends, to load a line with.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use bytes::Bytes;
use imgxfer_core::sim::line::{Flow, LineProfile, VirtualNet};
use imgxfer_core::transport::{Congestion, Dial, Endpoint, Session};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::loopback::quic;
use crate::pump::{Link, receive, send};
use crate::site::Identities;

/// A pack on copper and on fibre.
const PACK_BYTES: (usize, usize) = (256 << 10, 1 << 20);
/// From here on a line counts as fibre.
const FIBRE_BPS: u64 = 80_000_000;

/// A pack for what hospitals send over this line.
pub(super) fn pack_for(line: &LineProfile) -> Bytes {
    let fibre = line.up.rate_bps.is_none_or(|rate| rate >= FIBRE_BPS);
    Bytes::from(vec![7; if fibre { PACK_BYTES.1 } else { PACK_BYTES.0 }])
}

/// A session over a line, with both its endpoints.
#[derive(Debug)]
pub(super) struct Joined {
    hospital: Endpoint,
    cloud: Endpoint,
    dial: Dial,
    pub(super) session: Session,
    accepted: Session,
}

impl Joined {
    /// Hospital `n` dials cloud `n`.
    pub(super) async fn new(net: &VirtualNet, n: u8, congestion: Congestion) -> anyhow::Result<Self> {
        let identities = Identities::generate()?;
        let (hospital, cloud) = (VirtualNet::hospital_address(n), VirtualNet::cloud_address(n));
        let [cloud_seed, hospital_seed] = seeds(net, n);
        let config = identities.cloud(cloud).with_congestion(congestion.clone()).with_seed(cloud_seed);
        let receiver = Endpoint::with_socket(config, net.cloud_at(n))?;
        let config = identities.hospital(hospital).with_congestion(congestion).with_seed(hospital_seed);
        let sender = Endpoint::with_socket(config, net.hospital_at(n))?;
        let dial = Dial::from(cloud).with_peer(identities.cloud.peer_id());
        let (session, accepted) = join(&sender, &receiver, &dial).await?;
        Ok(Self { hospital: sender, cloud: receiver, dial, session, accepted })
    }

    /// One session more between the same endpoints: this side's end, and the cloud's.
    pub(super) async fn another(&self) -> anyhow::Result<(Session, Session)> {
        join(&self.hospital, &self.cloud, &self.dial).await
    }

    /// Sends without end.
    pub(super) fn bulk(&self, pack: Bytes) -> Bulk {
        Bulk::start(self.session.clone(), self.accepted.clone(), pack)
    }
}

/// What the endpoints of host `n` at cloud and hospital draw from: each other numbers.
pub(super) fn seeds(net: &VirtualNet, n: u8) -> [u64; 2] {
    [0, 1].map(|side| net.seed() << 16 | u64::from(n) << 8 | side)
}

async fn join(hospital: &Endpoint, cloud: &Endpoint, dial: &Dial) -> anyhow::Result<(Session, Session)> {
    let (dialled, accepted) = tokio::join!(hospital.connect(dial), cloud.accept());
    Ok((dialled?, accepted.context("the endpoint is closed")?))
}

/// The flow of what hospital `n` sends.
pub(super) fn flow(n: u8) -> Flow {
    Flow::new(VirtualNet::hospital_address(n), VirtualNet::cloud_address(n))
}

/// Sends without end until it is dropped.
#[derive(Debug)]
pub(super) struct Bulk {
    taken: Arc<AtomicU64>,
    /// Ends with what drives it.
    _tasks: JoinSet<()>,
}

impl Bulk {
    pub(super) fn start<L: Link>(from: L, to: L, pack: Bytes) -> Self {
        let taken = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(forget(send(from, pack, None)));
        tasks.spawn(forget(receive(to, Arc::clone(&taken), None)));
        Self { taken, _tasks: tasks }
    }

    /// Payload that has arrived.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

/// A transfer that breaks stops counting; a figure of zero is the report.
async fn forget(work: impl Future<Output = anyhow::Result<()>>) {
    let _ended = work.await;
}

/// The same with raw quinn at its defaults, on one stream, as a program sends that knows no better. The endpoints must live as long as the transfer.
pub(super) async fn quinn_bulk(net: &VirtualNet, pack: Bytes) -> anyhow::Result<(Bulk, [quinn::Endpoint; 2])> {
    let keys = quic::Keys::generate()?;
    let [cloud_seed, hospital_seed] = seeds(net, 0).map(Some);
    let server = quic::server(&keys, quic::Tuning::Defaults)?;
    let cloud = quic::endpoint_on(net.cloud(), Some(server), cloud_seed)?;
    let hospital = quic::endpoint_on(net.hospital(), None, hospital_seed)?;
    let client = quic::client(&keys, quic::Tuning::Defaults)?;
    let dialling = hospital.connect_with(client, VirtualNet::CLOUD, quic::NAME)?;
    let accepting = async { anyhow::Ok(cloud.accept().await.context("closed")?.await?) };
    let (from, to) = tokio::try_join!(async { anyhow::Ok(dialling.await?) }, accepting)?;
    let from = OneStream { sending: Arc::new(Mutex::new(from.open_uni().await?)), connection: from };
    let to = OneStream { sending: Arc::new(Mutex::new(to.open_uni().await?)), connection: to };
    Ok((Bulk::start(from, to, pack), [hospital, cloud]))
}

/// Sends everything on one stream.
#[derive(Clone)]
struct OneStream {
    connection: quinn::Connection,
    sending: Arc<Mutex<quinn::SendStream>>,
}

impl Link for OneStream {
    const LANES: (usize, usize) = (1, 1);

    async fn put(&self, pack: Bytes) -> anyhow::Result<()> {
        Ok(self.sending.lock().await.write_chunk(pack).await?)
    }

    async fn take(&self, taken: &AtomicU64) -> anyhow::Result<()> {
        self.connection.take(taken).await
    }
}
