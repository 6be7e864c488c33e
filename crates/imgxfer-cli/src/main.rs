//! `imgxfer`: pushes, pulls, lists and verifies DICOM studies.

mod admin;
mod args;
mod ask;
mod audit;
mod bench;
mod cmd;
mod config;
mod dates;
mod demo;
mod exit;
mod files;
mod intakes;
mod listing;
mod log;
mod meter;
mod output;
mod peers;
mod places;
mod progress;
mod quote;
mod rates;
mod receipts;
mod site;
mod stop;
mod summary;
mod table;
mod verify;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;

use args::{Cli, Command};
use exit::{Exit, OutputClosed};
use output::{Manner, Output};
use places::Places;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(Manner { json: cli.global.json, quiet: cli.global.quiet });
    log::start(&cli.global);
    run(cli, &output).unwrap_or_else(|error| tell(&error, &output)).into()
}

fn run(cli: Cli, output: &Output) -> anyhow::Result<Exit> {
    let places = || Places::find(cli.global.config_dir.clone(), cli.global.state_dir.clone());
    match cli.command {
        Command::Init(args) => cmd::init::run(&args, &places()?, output),
        Command::Id => cmd::id::run(&places()?, output),
        Command::Peers(args) => cmd::peers::run(args, &places()?, output),
        Command::Verify(args) => cmd::verify::run(&args, output),
        Command::Repair(args) => wait(cmd::repair::run(&args, &places()?, output)),
        Command::Audit(args) => cmd::audit::run(&args, output),
        Command::Receipt(args) => cmd::receipt::run(&args, output),
        Command::Receipts(args) => wait(cmd::receipts::run(&args, &places()?, output)),
        Command::Bench(args) => wait(cmd::bench::run(&args, output)),
        Command::Demo(args) => wait(cmd::demo::run(&args, output)),
        Command::Consultation(args) => wait(cmd::consultation::run(&args, &places()?, output)),
        Command::Daemon(args) => wait(cmd::daemon::run(args, &places()?, output)),
        Command::Priority(args) => wait(cmd::priority::run(&args, &places()?, output)),
        Command::Status(args) => wait(cmd::status::run(&args, &places()?, output)),
        Command::Pair(args) => wait(cmd::pair::run(args, &places()?, output)),
        Command::Rm(args) => wait(cmd::rm::run(&args, &places()?, output)),
        Command::Ls(args) => wait(cmd::ls::run(&args, &places()?, output)),
        Command::Push(args) => wait(cmd::push::run(args, &places()?, output)),
        Command::Pull(args) => wait(cmd::pull::run(args, &places()?, output)),
    }
}

/// Runs what waits for the network.
fn wait<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("cannot start threads")?;
    let result = runtime.block_on(work);
    // A thread that reads a dead disk must not keep the program.
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

/// The error in words, and its exit code.
fn tell(error: &anyhow::Error, output: &Output) -> Exit {
    if error.is::<OutputClosed>() {
        return Exit::Done;
    }
    let exit = exit::of(error);
    let text = output::safe(&format!("{error:#}"));
    let object = serde_json::json!({ "event": "error", "exit": exit.code(), "error": text });
    // Where standard output is gone, standard error still tells.
    let _told: anyhow::Result<()> = output.object(&object);
    output.error(&text);
    exit
}
