//! `imgxfer status`: what the daemon of this machine does.

use clap::Args;

use crate::admin::{Admin, AdminArgs, render};
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
    let status = Admin::new(&args.admin, places)?.get("/status").await?;
    output.object(&status)?;
    for line in render::text(&status, terminal_width()) {
        output.line(&line)?;
    }
    Ok(Exit::Done)
}
