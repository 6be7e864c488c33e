//! Measures copper and fibre, and writes a page about it:
//!
//! ```text
//! report [--out FOLDER] [--quick] [--study FOLDER] [--only lines|profiles|studies|loopback] [--experiment TEXT]
//!        [--no-criterion]
//! ```
//!
//! `--experiment` computes those of the lines whose name has this text in it. `--study` pushes real files beside the
//! synthetic studies. Without `--no-criterion` the criterion benches `copper_vs_fibre`, `hash` and `scan` run, too, and
//! their pages are copied beside this one.

#![expect(clippy::print_stderr, clippy::print_stdout, reason = "a tool for the command line")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail, ensure};
use imgxfer_benches::figure::{Figure, table};
use imgxfer_benches::lines::{Scale, Study, StudyRow, experiments, profiles, studies};
use imgxfer_benches::loopback::{Files, LoopbackRow, ratios, rounds};
use imgxfer_benches::report::{Machine, Report};
use imgxfer_benches::{ct, mr};
use imgxfer_core::sim::studies::StudySpec;

const GIB: u64 = 1 << 30;

/// What was asked for.
struct Wanted {
    out: PathBuf,
    quick: bool,
    study: Option<PathBuf>,
    only: Option<String>,
    experiment: Option<String>,
    criterion: bool,
}

impl Wanted {
    fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let out = PathBuf::from("target/report");
        let mut wanted = Self { out, quick: false, study: None, only: None, experiment: None, criterion: true };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--out" => wanted.out = value()?.into(),
                "--study" => wanted.study = Some(value()?.into()),
                "--only" => wanted.only = Some(value()?),
                "--experiment" => wanted.experiment = Some(value()?),
                "--quick" => wanted.quick = true,
                "--no-criterion" => wanted.criterion = false,
                unknown => bail!("unknown argument {unknown}; see the head of benches/src/bin/report.rs"),
            }
        }
        let known = ["lines", "profiles", "studies", "loopback"];
        ensure!(wanted.only.iter().all(|part| known.contains(&part.as_str())), "--only takes one of {known:?}");
        Ok(wanted)
    }

    fn part(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == name)
    }

    fn scale(&self) -> Scale {
        Scale { seeds: if self.quick { 2 } else { 5 }, quick: self.quick }
    }
}

fn tell(what: &str) {
    eprintln!("  {what}");
}

/// Measures one part, if it is wanted.
fn part<T: Default>(wanted: &Wanted, name: &str, measure: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    if !wanted.part(name) {
        return Ok(T::default());
    }
    eprintln!("{name}:");
    measure().with_context(|| format!("measuring {name}"))
}

fn folder_size(folder: &Path) -> anyhow::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        let (more_files, more_bytes) =
            if entry.file_type()?.is_dir() { folder_size(&entry.path())? } else { (1, entry.metadata()?.len()) };
        files += more_files;
        bytes += more_bytes;
    }
    Ok((files, bytes))
}

fn study_rows(name: &str, folder: &Path) -> anyhow::Result<Vec<StudyRow>> {
    let (files, bytes) = folder_size(folder)?;
    tell(name);
    studies(&Study { name: name.to_owned(), folder, files, bytes }, &tell)
}

fn synthetic(name: &str, spec: &StudySpec) -> anyhow::Result<Vec<StudyRow>> {
    let folder = tempfile::tempdir()?;
    spec.write_to(folder.path())?;
    study_rows(name, folder.path())
}

fn all_studies(wanted: &Wanted) -> anyhow::Result<Vec<StudyRow>> {
    let share = if wanted.quick { 4 } else { 1 };
    let mut rows = Vec::new();
    if let Some(folder) = &wanted.study {
        rows.extend(study_rows("the given study", folder)?);
    }
    rows.extend(synthetic("CT, synthetic", &ct(40 / share))?);
    rows.extend(synthetic("MR, synthetic", &mr(60 / share))?);
    Ok(rows)
}

fn races(wanted: &Wanted) -> anyhow::Result<Vec<LoopbackRow>> {
    let (bytes, times) = if wanted.quick { (GIB / 4, 2) } else { (GIB / 2, 5) };
    rounds(times, bytes, &Files::write(bytes / 2)?, &tell)
}

/// Runs the criterion benches and copies their pages.
fn criterion(wanted: &Wanted) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["bench", "-p", "imgxfer-benches"]);
    for bench in ["copper_vs_fibre", "hash", "scan"] {
        command.args(["--bench", bench]);
    }
    command.arg("--");
    if wanted.quick {
        command.arg("--quick");
    }
    ensure!(command.status().context("start cargo")?.success(), "the criterion benches failed");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    copy(&target.join("criterion"), &wanted.out.join("criterion"))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

fn show(title: &str, figures: &[Figure]) {
    if !figures.is_empty() {
        println!("## {title}\n\n{}", table(figures));
    }
}

fn run(wanted: &Wanted) -> anyhow::Result<()> {
    let machine = Machine::here();
    let loopback = part(wanted, "loopback", || races(wanted))?;
    let report = Report {
        machine,
        quick: wanted.quick,
        seeds: wanted.scale().seeds,
        controller: part(wanted, "lines", || experiments(wanted.scale(), wanted.experiment.as_deref(), &tell))?,
        profiles: part(wanted, "profiles", || profiles(wanted.scale(), &tell))?,
        studies: part(wanted, "studies", || all_studies(wanted))?,
        ratios: if loopback.is_empty() { Vec::new() } else { ratios(&loopback) },
        loopback,
    };
    show("The congestion controller, in virtual time", &report.controller);
    show("Raw bytes over the named lines, in virtual time", &report.profiles);
    show("Over loopback", &report.ratios);
    if wanted.criterion && wanted.only.is_none() {
        criterion(wanted)?;
    }
    report.write(&wanted.out)?;
    println!("{}", wanted.out.join("index.html").display());
    Ok(())
}

fn main() -> ExitCode {
    match Wanted::parse(std::env::args().skip(1)).and_then(|wanted| run(&wanted)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("report: {error:#}");
            ExitCode::FAILURE
        }
    }
}
