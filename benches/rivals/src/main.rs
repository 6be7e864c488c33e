//! Our pixel coder beside other lossless coders, on the same pixels, in one run.
//!
//! JPEG-LS is CharLS, called in this process on one thread; JPEG XL is the command `cjxl`, where it is
//! installed. They get whole frames, as files hold them; our levels get records of up to 1 MiB, as a push
//! makes them. Every result of ours and of CharLS is decoded and compared.

mod corpus;
mod ours;
mod rivals;
mod table;

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Parser;
use imgxfer_core::codec::{Level, Pixel};

use corpus::{Corpus, Modality};
use ours::Ours;
use table::Row;

/// Compares our pixel coder with JPEG-LS, zstd and JPEG XL on DICOM files.
#[derive(Debug, Parser)]
struct Args {
    /// Files and folders
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Most megabytes of pixel data of one modality; files are taken at even distances
    #[arg(long, default_value_t = 16)]
    mb: u64,
    /// How often to measure each speed; the fastest counts
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Instructions to use: one of those that this processor has (plain, AVX2, AVX-512), or all
    #[arg(long, env = "IMGXFER_PATH", default_value = "all")]
    path: String,
    /// Levels to measure
    #[arg(long, value_delimiter = ',', default_value = "1,2,3,4")]
    levels: Vec<u8>,
    /// Leave out what is slow: JPEG XL and zstd-19
    #[arg(long)]
    quick: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut paths = Pixel::paths();
    if args.path != "all" {
        paths.retain(|(name, _)| name.eq_ignore_ascii_case(&args.path));
        if paths.is_empty() {
            bail!("this processor has: {}", Pixel::paths().iter().map(|path| path.0).collect::<Vec<_>>().join(", "));
        }
    }
    let coders: Vec<Ours> = paths
        .into_iter()
        .flat_map(|path| args.levels.iter().map(move |level| Ours::new(path, Level::new(*level))))
        .collect();
    let scratch = tempfile::tempdir().context("no folder for decoded files")?;
    let corpus = Corpus::gather(&args.paths, scratch.path(), args.mb.saturating_mul(1_000_000))?;
    corpus.tell();
    let mut rows = Vec::new();
    for name in corpus.modalities() {
        eprintln!("{name} ...");
        let modality = corpus.read(&name)?;
        rows.push(compare(name, &modality, &coders, &args)?);
    }
    table::print(&rows, &coders);
    Ok(())
}

/// Measures everything on one modality.
fn compare(name: String, modality: &Modality, coders: &[Ours], args: &Args) -> anyhow::Result<Row> {
    let mut row = Row::new(name, modality, coders.len());
    for _ in 0..args.runs.max(1) {
        // In turn, so that what else the machine does meets them alike.
        row.jpeg_ls.add_run(&modality.frames, rivals::jpeg_ls)?;
        for (coder, measure) in coders.iter().zip(&mut row.ours) {
            measure.add_run(&modality.records, |record| coder.run(record))?;
        }
    }
    row.packed = rivals::jpeg_ls_packed(&modality.frames)?;
    if !args.quick {
        row.zstd = Some(rivals::zstd(&modality.frames, 19)?);
        row.jpeg_xl = rivals::jpeg_xl(&modality.frames)?;
    }
    Ok(row)
}
