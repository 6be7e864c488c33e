//! `imgxfer bench`: how fast this machine hashes, cuts and compresses files of yours, or what they get out of a line.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use clap::builder::PossibleValuesParser;
use imgxfer_core::codec::Level;
use imgxfer_core::sim::line::LineProfile;

use super::demo::{object, table};
use crate::bench::{codec, parts};
use crate::demo::{LineDemo, samples, show};
use crate::exit::{Exit, problem};
use crate::output::Output;
use crate::stop;

/// Seconds that a line is to be kept busy, about, if files become four times smaller.
const LINK_SECONDS: u64 = 10;
const LINK_RATIO: u64 = 4;
/// Bounds of what a line is given to carry.
const LINK_BYTES_MIN: u64 = 3_000_000;
const LINK_BYTES_MAX: u64 = 150_000_000;

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Files and folders to measure with
    #[arg(required_unless_present = "link", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Measure the compression of pixel data: by modality and level, beside zstd, on one core
    ///
    /// Pixel data is grouped into records as in a push; each record is encoded, decoded and compared, byte for
    /// byte. Speeds are original bytes a second of processor time. Sizes are those of the payloads; what a level
    /// does not make smaller counts as it is.
    #[arg(long)]
    codec: bool,
    /// Measure this level alone (0 to 4)
    #[arg(long, value_name = "LEVEL", requires = "codec", value_parser = clap::value_parser!(u8).range(0..=4))]
    level: Option<u8>,
    /// Push and pull over this simulated line, between two sites on loopback: synthetic CT, or one folder
    #[arg(long, value_name = "LINE", conflicts_with_all = ["codec", "level"], value_parser = PossibleValuesParser::new(LineProfile::NAMES))]
    link: Option<String>,
    /// Most megabytes to read [default: 128; with --codec all; with --link what takes the line some seconds]
    #[arg(long, value_name = "MB")]
    limit: Option<u64>,
}

/// Measures, on one core; with a line, on all.
pub(crate) async fn run(args: &BenchArgs, output: &Output) -> anyhow::Result<Exit> {
    let limit = args.limit.map(|limit| limit.saturating_mul(1_000_000));
    match (&args.link, args.paths.as_slice()) {
        (Some(line), []) => link(line, None, limit, output).await,
        (Some(line), [folder]) => link(line, Some(folder), limit, output).await,
        (Some(_), _) => Err(problem(Exit::Usage, "--link takes one folder; put links to the others into it")),
        (None, paths) if args.codec => codec::run(paths, args.level.map(Level::new), limit, output),
        (None, paths) => parts::run(paths, limit, output),
    }
}

async fn link(name: &str, data: Option<&Path>, limit: Option<u64>, output: &Output) -> anyhow::Result<Exit> {
    let profile: LineProfile = name.parse()?;
    let carried = profile.up.rate_bps.map(|rate| rate / 8 * LINK_SECONDS * LINK_RATIO);
    let bytes_max = carried.unwrap_or(LINK_BYTES_MAX).clamp(LINK_BYTES_MIN, LINK_BYTES_MAX);
    let bytes_max = limit.unwrap_or(bytes_max);
    let profile = LineProfile::NAMES.iter().find(|known| **known == name).context("a line without a name")?;
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let (source, data) = (folder.path().join("source"), data.map(Path::to_owned));
    let making = move || samples::make(&source, data.as_deref(), bytes_max, 1);
    let made = tokio::task::spawn_blocking(making).await.context("make the studies")??;
    let demo = LineDemo { profile, what: profile, bytes_max, cut: false, seed: 1 };
    let showing = show(&demo, &made, folder.path(), output);
    let Some(outcomes) = stop::unless_stopped(Box::pin(showing)).await? else {
        return Ok(Exit::Interrupted);
    };
    let outcomes = outcomes?;
    for outcome in &outcomes {
        output.object(&object(outcome))?;
    }
    table(&outcomes, output)?;
    match outcomes.iter().all(|outcome| outcome.verified) {
        true => Ok(Exit::Done),
        false => Err(problem(Exit::Integrity, format!("what came back over {name} differs"))),
    }
}
