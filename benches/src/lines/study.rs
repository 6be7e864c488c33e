//! Whole pushes of a study over each named line, beside plain sending: its files as they are, over one TCP connection
//! with Cubic, which is what copying a folder, or DICOM over TLS at its best, comes to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use imgxfer_core::client::Client;
use imgxfer_core::sim::line::{Direction, LineProfile, ShapedSocket, TcpParams, VirtualNet};
use imgxfer_core::transport::{Congestion, Dial, Endpoint, EndpointConfig};
use imgxfer_core::units::to_f64;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::alone::rate_of;
use super::bulk::seeds;
use super::in_virtual_time;
use crate::cost::median;
use crate::site::{Identities, depot_in_memory, push, serve};

/// A folder of files to push.
#[derive(Debug, Clone)]
pub struct Study<'a> {
    /// What it is, for the reader.
    pub name: String,
    /// Where its files are.
    pub folder: &'a Path,
    /// How many there are.
    pub files: u64,
    /// What they hold together.
    pub bytes: u64,
}

/// How one way of sending did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Taken {
    /// From dialling to the receipt.
    pub seconds: f64,
    /// Bytes of IP packets that the hospital sent.
    pub line_bytes: u64,
}

/// One study over one line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StudyRow {
    /// The study.
    pub study: String,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The line's name.
    pub line: String,
    /// What the hospital may send, bits a second; `None`: no limit.
    pub line_bps: Option<u64>,
    /// Ours, in virtual time.
    pub ours: Taken,
    /// Ours with Cubic, in virtual time.
    pub cubic: Taken,
    /// Plain sending.
    pub plain: Taken,
    /// Ours in real time on this machine, both ends, over a socket slowed down to this line; on fibre only, where the
    /// processor may be what holds it up.
    pub real_seconds: Option<f64>,
}

impl StudyRow {
    /// The slower of what the line and what this machine allow.
    #[must_use]
    pub fn ours_seconds(&self) -> f64 {
        self.ours.seconds.max(self.real_seconds.unwrap_or(0.0))
    }

    /// How much sooner it is there than by plain sending.
    #[must_use]
    pub fn times_plain(&self) -> f64 {
        self.plain.seconds / self.ours_seconds()
    }

    /// Original bits a second, as a multiple of the line's rate.
    #[must_use]
    pub fn line_multiple(&self) -> Option<f64> {
        self.line_bps.map(|bps| to_f64(self.bytes) * 8.0 / self.ours_seconds() / to_f64(bps))
    }
}

/// From this rate on the machine is measured, too.
const REAL_FROM_BPS: u64 = 80_000_000;
/// Runs of it, of which the middle counts.
const REAL_RUNS: usize = 3;

/// Pushes a study over every named line.
///
/// # Errors
/// When a push does not arrive whole.
pub fn studies(study: &Study<'_>, told: &dyn Fn(&str)) -> anyhow::Result<Vec<StudyRow>> {
    LineProfile::NAMES
        .iter()
        .map(|name| {
            told(name);
            row(study, name)
        })
        .collect()
}

fn row(study: &Study<'_>, name: &str) -> anyhow::Result<StudyRow> {
    let line: LineProfile = name.parse()?;
    let pushed = |congestion| in_virtual_time(over(&line, study, congestion));
    let fast = line.up.rate_bps.is_some_and(|rate| rate >= REAL_FROM_BPS);
    Ok(StudyRow {
        study: study.name.clone(),
        files: study.files,
        bytes: study.bytes,
        line: name.to_owned(),
        line_bps: rate_of(&line.up),
        ours: pushed(Congestion::Rate)?,
        cubic: pushed(Congestion::Cubic)?,
        plain: in_virtual_time(plain(&line, study.bytes))?,
        real_seconds: if fast { Some(in_real_time(&line, study)?) } else { None },
    })
}

async fn over(line: &LineProfile, study: &Study<'_>, congestion: Congestion) -> anyhow::Result<Taken> {
    let net = VirtualNet::new(line.clone(), 1);
    let seconds = push_over(&net, study.folder, congestion).await?;
    Ok(Taken { seconds, line_bytes: net.up().counters().offered_bytes })
}

/// Pushes a folder from the first hospital to the first cloud: the seconds from dialling to the receipt.
///
/// # Errors
/// When not every byte arrives.
pub(super) async fn push_over(net: &VirtualNet, folder: &Path, congestion: Congestion) -> anyhow::Result<f64> {
    let identities = Identities::generate()?;
    let with = |config: EndpointConfig, seed| config.with_congestion(congestion.clone()).with_seed(seed);
    let [cloud_seed, hospital_seed] = seeds(net, 0);
    let cloud = with(identities.cloud(VirtualNet::CLOUD), cloud_seed);
    serve(Endpoint::with_socket(cloud, net.cloud())?, depot_in_memory());
    let hospital = with(identities.hospital(VirtualNet::HOSPITAL), hospital_seed);
    let hospital = Endpoint::with_socket(hospital, net.hospital())?;
    let dial = Dial::from(VirtualNet::CLOUD).with_peer(identities.cloud.peer_id());
    let begun = Instant::now();
    push(&Client::new(hospital), &dial, folder.to_owned()).await?.complete()?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Looked at so often whether TCP is done.
const LOOK_EVERY: Duration = Duration::from_millis(10);

async fn plain(line: &LineProfile, bytes: u64) -> anyhow::Result<Taken> {
    let net = VirtualNet::new(line.clone(), 1);
    let begun = Instant::now();
    // Its handshake, and that of TLS, are two round trips.
    sleep(4 * line.up.delay).await;
    let tcp = net.start_tcp(Direction::Up, TcpParams::default());
    while tcp.report().delivered_bytes < bytes {
        sleep(LOOK_EVERY).await;
    }
    Ok(Taken { seconds: begun.elapsed().as_secs_f64(), line_bytes: net.up().flow(tcp.flow()).offered_bytes })
}

fn in_real_time(line: &LineProfile, study: &Study<'_>) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let once = |_| runtime.block_on(over_shaped(line, study));
    let seconds = (0..REAL_RUNS).map(once).collect::<anyhow::Result<Vec<f64>>>()?;
    Ok(median(&seconds))
}

async fn over_shaped(line: &LineProfile, study: &Study<'_>) -> anyhow::Result<f64> {
    let identities = Identities::generate()?;
    let any = ([127, 0, 0, 1], 0).into();
    let cloud = Arc::new(ShapedSocket::bind(any, line.down.clone(), 1)?);
    let cloud = Endpoint::with_socket(identities.cloud(any), cloud)?;
    let dial = Dial::from(cloud.local_address()?).with_peer(identities.cloud.peer_id());
    serve(cloud, depot_in_memory());
    let hospital = Arc::new(ShapedSocket::bind(any, line.up.clone(), 2)?);
    let hospital = Endpoint::with_socket(identities.hospital(any), hospital)?;
    let begun = Instant::now();
    push(&Client::new(hospital), &dial, study.folder.to_owned()).await?.complete()?;
    Ok(begun.elapsed().as_secs_f64())
}
