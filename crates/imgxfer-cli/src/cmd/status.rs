//! `imgxfer status`: what the daemon of this machine does.

use clap::Args;

use super::consultation;
use crate::admin::{Admin, AdminArgs, render, transfers};
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
    let running = transfers::lines(&status);
    if let Some(status) = status.as_object_mut() {
        status.remove("consultation");
        status.remove("transfers");
    }
    for line in render::text(&status, terminal_width()) {
        output.line(&line)?;
    }
    output.line("")?;
    output.line(if running.is_empty() { "no transfer is running" } else { "TRANSFERS" })?;
    for line in running {
        output.line(&format!("  {line}"))?;
    }
    Ok(Exit::Done)
}
