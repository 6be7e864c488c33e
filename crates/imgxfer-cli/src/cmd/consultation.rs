//! `imgxfer consultation`: tells the daemon that a consultation by video is on the line.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::admin::{Admin, AdminArgs};
use crate::exit::Exit;
use crate::output::Output;
use crate::places::Places;
use crate::table::{terminal_width, wrap};

/// Arguments of `consultation`.
#[derive(Debug, Args)]
pub(crate) struct ConsultationArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// It begins, or goes on: all transfers but emergencies make room for it
    Start {
        /// It ends by itself after so many minutes, 240 at most [default: what the daemon's configuration says, or 30]
        #[arg(long)]
        minutes: Option<u64>,
        /// What transfers share meanwhile, each way [default: what the daemon's configuration says, or 1]
        #[arg(long, value_name = "MBIT/S")]
        limit: Option<f64>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// It is over
    End {
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// Tells the daemon.
pub(crate) async fn run(args: &ConsultationArgs, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    match &args.what {
        What::Start { minutes, limit, admin } => {
            let mut body = json!({});
            if let Some(minutes) = minutes {
                body["minutes"] = json!(minutes);
            }
            if let Some(limit) = limit {
                body["mbps"] = json!(limit);
            }
            let answer = Admin::new(admin, places)?.post("/consultation/start", &body).await?;
            output.object(&answer)?;
            output.lines(&wrap("", &told(&answer["consultation"]), terminal_width()))?;
        }
        What::End { admin } => {
            let answer = Admin::new(admin, places)?.post("/consultation/end", &json!({})).await?;
            output.object(&answer)?;
            let was_on = answer["was_on"].as_bool().unwrap_or(true);
            output.line(if was_on {
                "consultation over; transfers go at their usual pace"
            } else {
                "there was none"
            })?;
        }
    }
    Ok(Exit::Done)
}

/// What holds while it lasts.
pub(crate) fn told(consultation: &Value) -> String {
    let mbps = consultation["limit_mbps"].as_f64().unwrap_or(0.0);
    let minutes = consultation["seconds_left"].as_u64().unwrap_or(0).div_ceil(60);
    let stat = match consultation["stat_limit_mbps"].as_f64() {
        Some(mbps) => format!("emergencies (stat) {mbps} Mbit/s"),
        None => "emergencies (stat) as the line carries them".to_owned(),
    };
    format!("consultation on: transfers share {mbps} Mbit/s each way, {stat}; ends by itself in {minutes} min")
}
