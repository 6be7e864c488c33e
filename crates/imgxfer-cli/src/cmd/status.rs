//! `imgxfer status`: what the daemon of this machine does.

use clap::Args;

use super::consultation;
use crate::admin::{Admin, AdminArgs, peers, render, transfers};
use crate::dates::expiry;
use crate::exit::Exit;
use crate::output::Output;
use crate::places::Places;
use crate::table::terminal_width;

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    admin: AdminArgs,
}

/// Asks and prints.
pub(crate) async fn run(args: &StatusArgs, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    let mut status = Admin::new(&args.admin, places)?.get("/status").await?;
    output.object(&status)?;
    if status["consultation"].is_object() {
        output.line(&consultation::told(&status["consultation"]))?;
        output.line("")?;
    }
    let width = terminal_width();
    let (known, running) = (peers::lines(&status, width), transfers::lines(&status, width));
    if let Some(expires) = status["certificate_expires"].as_i64() {
        status["certificate_expires"] = expiry(expires).into();
    }
    if let Some(status) = status.as_object_mut() {
        status.remove("consultation");
        status.remove("peers");
        status.remove("transfers");
    }
    for line in render::text(&status, width) {
        output.line(&line)?;
    }
    for (lines, title, without) in
        [(known, "PEERS", "no peer is known"), (running, "TRANSFERS", "no transfer is running")]
    {
        output.line("")?;
        output.line(if lines.is_empty() { without } else { title })?;
        for line in lines {
            output.line(&line)?;
        }
    }
    Ok(Exit::Done)
}
