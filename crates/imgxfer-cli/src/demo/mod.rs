//! Two sites on loopback, with a simulated line between them.

mod cloud;
mod hospital;
pub(crate) mod samples;

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use imgxfer_core::client::{PullOptions, PullTarget, PushOptions};
use imgxfer_core::clock::Stopwatch;
use imgxfer_core::sim::line::LineProfile;
use imgxfer_core::transport::{Identity, Profile};
use imgxfer_core::units::to_f64;

use crate::cmd::pull;
use crate::output::Output;
use crate::verify::compare;
use cloud::Cloud;
use hospital::Hospital;
use samples::Samples;

/// How long the line stays dead when it is cut.
const CUT: Duration = Duration::from_secs(1);

/// What is shown on one line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineDemo {
    /// The line's name among [`LineProfile::NAMES`].
    pub(crate) profile: &'static str,
    /// In words.
    pub(crate) what: &'static str,
    /// Most original bytes to move.
    pub(crate) bytes_max: u64,
    /// Whether the line is cut, and the sender killed, in the middle.
    pub(crate) cut: bool,
    /// For the synthetic study.
    pub(crate) seed: u64,
}

/// What one way over one line came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// The line.
    pub(crate) line: &'static str,
    /// `push` or `pull`.
    pub(crate) direction: &'static str,
    /// Instances moved.
    pub(crate) instances: u64,
    /// Original bytes.
    pub(crate) bytes: u64,
    /// Bytes of IP packets, both ways, counted by the line.
    pub(crate) line_bytes: u64,
    /// From the first packet to the receipt.
    pub(crate) seconds: f64,
    /// Bytes sent before a cut that the receiver did not keep, packet headers included.
    pub(crate) sent_again: Option<u64>,
    /// Whether what came back is what was sent.
    pub(crate) verified: bool,
}

impl Outcome {
    /// Original megabits a second.
    pub(crate) fn mbit_per_s(&self) -> f64 {
        to_f64(self.bytes) * 8.0 / 1e6 / self.seconds.max(1e-3)
    }

    /// Original bytes moved for each byte on the line.
    pub(crate) fn line_multiple(&self) -> f64 {
        to_f64(self.bytes) / to_f64(self.line_bytes.max(1))
    }
}

/// Pushes from the hospital to the cloud, pulls back, and compares.
pub(crate) async fn show(
    demo: &LineDemo,
    samples: &Samples,
    folder: &Path,
    output: &Output,
) -> anyhow::Result<[Outcome; 2]> {
    let line: LineProfile = demo.profile.parse()?;
    let identity = Identity::generate()?;
    let cloud = Cloud::start(&folder.join("cloud"), line.down.clone(), identity.peer_id()).await?;
    let kind = if demo.cut { Profile::Copper } else { Profile::Fibre };
    let site = || Hospital::open(identity.clone(), line.up.clone(), kind);

    let clock = Stopwatch::start();
    let before_cut = if demo.cut { Some(push_until_cut(&site()?, &cloud, samples, output).await?) } else { None };
    let hospital = site()?;
    let pushed = hospital.push(&cloud, samples, &PushOptions::default(), output).await?;
    let seconds = clock.elapsed().as_secs_f64();
    let line_bytes = hospital.line_bytes() + before_cut.unwrap_or(0) + cloud.line_bytes();
    if demo.cut {
        let there = imgxfer_core::units::human_bytes(pushed.progress.bytes_present);
        output.say(&format!("    the second connection found {there} of the original files there and sent the rest"));
    }
    let kept_records = cloud.check().await?;
    // What the second connection did not have to send was kept from the first.
    let kept_before = kept_records.saturating_sub(pushed.progress.payload_bytes);
    let push = Outcome {
        line: demo.profile,
        direction: "push",
        instances: pushed.receipt.instances,
        bytes: pushed.receipt.bytes,
        line_bytes,
        seconds,
        sent_again: before_cut.map(|sent| sent.saturating_sub(kept_before)),
        verified: false,
    };

    let (clock, lines_before) = (Stopwatch::start(), hospital.line_bytes() + cloud.line_bytes());
    let (out, quiet) = (folder.join("back"), output.aside());
    let (mut instances, mut bytes) = (0, 0);
    for study in &samples.studies {
        let what = PullTarget::study(study.clone());
        let options = PullOptions::default();
        let fetched = pull::fetch(&hospital.client, &cloud.dial, &what, &out, &options, &quiet);
        let fetched = fetched.await.context("pull back")?;
        instances += fetched.report.receipt.instances;
        bytes += fetched.report.receipt.bytes;
    }
    let seconds = clock.elapsed().as_secs_f64();
    let line_bytes = hospital.line_bytes() + cloud.line_bytes() - lines_before;
    let source = samples.folder.clone();
    let verified = tokio::task::spawn_blocking(move || compare::identical(&source, &out)).await??.is_some();
    let pull = Outcome {
        line: demo.profile,
        direction: "pull",
        instances,
        bytes,
        line_bytes,
        seconds,
        sent_again: None,
        verified,
    };
    hospital.close().await;
    Ok([Outcome { verified, ..push }, pull])
}

/// Pushes until about a third has arrived; then the line dies, and the sending program with it. Returns
/// what it had put on the line.
async fn push_until_cut(hospital: &Hospital, cloud: &Cloud, samples: &Samples, output: &Output) -> anyhow::Result<u64> {
    let stop_at = samples.bytes / 3;
    let arrived = hospital.push_until(cloud, samples, stop_at, &output.aside()).await?;
    let arrived = imgxfer_core::units::human_bytes(arrived);
    output.say(&format!("    {arrived} of the original files have arrived: the line is cut, the sender is killed"));
    let sent = hospital.line_bytes();
    tokio::time::sleep(CUT).await;
    cloud.line.restore();
    Ok(sent)
}
