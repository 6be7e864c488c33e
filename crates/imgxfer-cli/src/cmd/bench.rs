//! `imgxfer bench`: how fast this machine hashes, cuts and compresses files of yours.

use std::path::PathBuf;

use clap::Args;
use imgxfer_core::codec::Level;

use crate::bench::{codec, parts};
use crate::exit::Exit;
use crate::output::Output;

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Files and folders to measure with
    #[arg(required = true, value_name = "PATH")]
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
    /// Most megabytes to read [default: 128; with --codec all]
    #[arg(long, value_name = "MB")]
    limit: Option<u64>,
}

/// Measures, on one core.
pub(crate) fn run(args: &BenchArgs, output: &Output) -> anyhow::Result<Exit> {
    let limit = args.limit.map(|limit| limit.saturating_mul(1_000_000));
    if args.codec {
        codec::run(&args.paths, args.level.map(Level::new), limit, output)
    } else {
        parts::run(&args.paths, limit, output)
    }
}
