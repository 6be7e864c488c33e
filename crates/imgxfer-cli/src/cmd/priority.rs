//! `imgxfer priority`: gives a job that waits in the daemon's queue another priority.

use clap::Args;
use serde_json::json;

use crate::admin::{Admin, AdminArgs};
use crate::args::PriorityArgument;
use crate::exit::Exit;
use crate::output::Output;
use crate::places::Places;

/// Arguments of `priority`.
#[derive(Debug, Args)]
pub(crate) struct PriorityArgs {
    /// Number of the job, as `imgxfer status` shows it
    job: u64,
    /// Its new priority
    #[arg(value_enum)]
    priority: PriorityArgument,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Tells the daemon.
pub(crate) async fn run(args: &PriorityArgs, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    let admin = Admin::new(&args.admin, places)?;
    let priority: imgxfer_core::priority::Priority = args.priority.into();
    let answer = admin.post(&format!("/queue/{}/priority", args.job), &json!({ "priority": priority })).await?;
    output.object(&answer)?;
    output.line(&format!("job {} is {}", args.job, answer["priority"].as_str().unwrap_or_default()))?;
    Ok(Exit::Done)
}
