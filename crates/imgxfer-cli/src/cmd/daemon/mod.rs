//! `imgxfer daemon`: what an operator does with the daemon of this machine while it runs.

pub(crate) mod pairing;
mod peers;
pub(crate) mod queue;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::admin::{Admin, AdminArgs};
use crate::exit::Exit;
use crate::output::{Output, safe};
use crate::places::Places;

/// Arguments of `daemon`.
#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make another site's daemon, or a user elsewhere, a peer of this daemon
    Pair(pairing::PairArgs),
    /// List the daemon's peers, or remove one
    Peers(peers::PeersArgs),
    /// Change what a peer may do here, and whose studies it sees
    Rights(peers::RightsArgs),
    /// List what is to be sent, and where it stands; of one job also its files
    Queue(queue::QueueArgs),
    /// Try a job that failed, waits or was cancelled again, at once
    Retry(JobArgs),
    /// End a job, also while it is being sent; its files stay
    Cancel(JobArgs),
    /// Be done with a job that failed or was cancelled; what is committed of it is moved or deleted as its inbox says
    Dismiss(JobArgs),
    /// Have the daemon read its configuration anew
    Reload,
}

/// A job of the queue.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// Number of the job, as `imgxfer daemon queue` shows it
    #[arg(value_name = "JOB")]
    job: u64,
}

/// Does it.
pub(crate) async fn run(args: DaemonArgs, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    let admin = Admin::new(&args.admin, places)?;
    match args.action {
        Action::Pair(args) => pairing::run(&args, &admin, output).await,
        Action::Peers(args) => peers::run(&args, &admin, output).await,
        Action::Rights(args) => peers::rights(&args, &admin, output).await,
        Action::Queue(args) => queue::run(&args, &admin, output).await,
        Action::Retry(args) => order(&args, "retry", &admin, output).await,
        Action::Cancel(args) => order(&args, "cancel", &admin, output).await,
        Action::Dismiss(args) => order(&args, "dismiss", &admin, output).await,
        Action::Reload => reload(&admin, output).await,
    }
}

async fn order(args: &JobArgs, what: &str, admin: &Admin, output: &Output) -> anyhow::Result<Exit> {
    let answer = admin.post(&format!("/queue/{}/{what}", args.job), &json!({})).await?;
    output.object(&answer)?;
    output.line(&format!("job {} is {}", args.job, answer["state"].as_str().map(safe).unwrap_or_default()))?;
    Ok(Exit::Done)
}

async fn reload(admin: &Admin, output: &Output) -> anyhow::Result<Exit> {
    let answer = admin.post("/reload", &json!({})).await?;
    output.object(&answer)?;
    let keys = |name: &str| {
        let keys = answer[name].as_array().into_iter().flatten();
        keys.filter_map(Value::as_str).map(safe).collect::<Vec<_>>().join(", ")
    };
    for (name, what) in [("taken", "taken"), ("waits_for_restart", "changed too, and waiting for a restart")] {
        match keys(name) {
            none if none.is_empty() => {}
            keys => output.line(&format!("{what}: {keys}"))?,
        }
    }
    if keys("taken").is_empty() && keys("waits_for_restart").is_empty() {
        output.line("nothing has changed")?;
    }
    Ok(Exit::Done)
}
