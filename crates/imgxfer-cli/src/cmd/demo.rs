//! `imgxfer demo`: what it does, shown on this machine alone.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use imgxfer_core::units::human_bytes;
use serde_json::json;

use crate::demo::{LineDemo, Outcome, samples, show};
use crate::exit::{Exit, problem};
use crate::output::Output;
use crate::stop;
use crate::table::{Column, lines, terminal_width};

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Take DICOM files from this folder instead of synthetic studies
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Move less, to be done within seconds
    #[arg(long)]
    quick: bool,
}

const WHAT_IS_SIMULATED: &str = "\
Both sites run in this process and talk over loopback: the daemon, the stores, keys, compression and QUIC packets are real. \
Simulated are the lines alone: real packets are delayed, dropped and slowed down to the rate of an ADSL or a fibre line.";

/// Runs both lines and prints the table.
pub(crate) async fn run(args: &DemoArgs, output: &Output) -> anyhow::Result<Exit> {
    output.say(WHAT_IS_SIMULATED);
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let demos = plan(args.quick);
    let mut rows = Vec::new();
    for demo in demos {
        let source = folder.path().join(demo.profile).join("source");
        let data = args.data.clone();
        let (bytes_max, seed) = (demo.bytes_max, demo.seed);
        let target = source.clone();
        let made = tokio::task::spawn_blocking(move || samples::make(&target, data.as_deref(), bytes_max, seed));
        let made = made.await.context("make the studies")??;
        output.say(&format!("\n{}: {} instances, {}", demo.what, made.instances, human_bytes(made.bytes)));
        let work = folder.path().join(demo.profile);
        let showing = show(&demo, &made, &work, output);
        let Some(outcomes) = stop::unless_stopped(Box::pin(showing)).await? else {
            return Ok(Exit::Interrupted);
        };
        for outcome in outcomes.with_context(|| format!("over {}", demo.what))? {
            output.object(&object(&outcome))?;
            rows.push(outcome);
        }
    }
    table(&rows, output)?;
    match rows.iter().find(|outcome| !outcome.verified) {
        None => {
            output.line("every byte that came back was compared with what was sent: all are the same")?;
            Ok(Exit::Done)
        }
        Some(outcome) => Err(problem(Exit::Integrity, format!("what came back over {} differs", outcome.line))),
    }
}

fn plan(quick: bool) -> [LineDemo; 2] {
    let copper = LineDemo {
        profile: "adsl",
        what: "copper, ADSL: 0.8 Mbit/s up, 8 Mbit/s down, cut once",
        bytes_max: if quick { 3_300_000 } else { 9_000_000 },
        cut: true,
        seed: 1,
    };
    let fibre = LineDemo {
        profile: "fibre1g",
        what: "fibre: 1 Gbit/s both ways",
        bytes_max: if quick { 10_000_000 } else { 150_000_000 },
        cut: false,
        seed: 2,
    };
    [copper, fibre]
}

pub(super) fn object(outcome: &Outcome) -> serde_json::Value {
    json!({
        "event": "moved",
        "line": outcome.line,
        "direction": outcome.direction,
        "instances": outcome.instances,
        "bytes": outcome.bytes,
        "line_bytes": outcome.line_bytes,
        "seconds": outcome.seconds,
        "effective_mbit_per_s": outcome.mbit_per_s(),
        "line_multiple": outcome.line_multiple(),
        "sent_again_bytes_max": outcome.sent_again,
        "verified": outcome.verified,
    })
}

pub(super) fn table(rows: &[Outcome], output: &Output) -> anyhow::Result<()> {
    let columns = [
        Column::left("LINE"),
        Column::left("WAY"),
        Column::right("ORIGINAL"),
        Column::right("ON THE LINE"),
        Column::right("SECONDS"),
        Column::right("MBIT/S"),
        Column::right("LINE MULTIPLE"),
        Column::right("SENT AGAIN"),
        Column::left("VERIFIED"),
    ];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.line.to_owned(),
                row.direction.to_owned(),
                human_bytes(row.bytes),
                human_bytes(row.line_bytes),
                format!("{:.1}", row.seconds),
                format!("{:.1}", row.mbit_per_s()),
                format!("{:.2}", row.line_multiple()),
                row.sent_again.map_or_else(|| "-".to_owned(), |bytes| format!("< {}", human_bytes(bytes))),
                if row.verified { "yes" } else { "NO" }.to_owned(),
            ]
        })
        .collect();
    output.line("")?;
    for line in lines(&columns, &cells, terminal_width()) {
        output.line(&line)?;
    }
    output.line(
        "MBIT/S are of original files; SENT AGAIN is what had been sent before the cut and had not arrived, \
         packet headers included",
    )
}
