//! The daemon's peers: who they are, what they may do, and their end.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::pairing::checked;
use crate::admin::{Admin, pairing, peers};
use crate::exit::{Exit, problem};
use crate::output::{Output, safe};
use crate::peers::check_name;
use crate::table::terminal_width;

/// Arguments of `daemon peers`.
#[derive(Debug, Args)]
pub(crate) struct PeersArgs {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the daemon's peers
    List,
    /// Remove a peer from pairing, at once: its connections end, and jobs for it fail
    Remove {
        /// What it is called
        #[arg(value_parser = name)]
        name: String,
    },
}

/// Arguments of `daemon rights`.
#[derive(Debug, Args)]
pub(crate) struct RightsArgs {
    /// What the peer is called
    #[arg(value_parser = name)]
    name: String,
    /// What it may do here from now on: send, query, pull, delete, with commas, or none
    #[arg(long, value_delimiter = ',', value_parser = ["send", "query", "pull", "delete", "none"])]
    rights: Option<Vec<String>>,
    /// Whose studies it sees here: own (what it sent itself), all, or names of peers with commas
    #[arg(long, value_name = "WHOSE")]
    sees: Option<String>,
}

fn name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

/// Lists or removes.
pub(crate) async fn run(args: &PeersArgs, admin: &Admin, output: &Output) -> anyhow::Result<Exit> {
    match &args.action {
        None | Some(Action::List) => {
            let status = admin.get("/status").await?;
            output.objects(status["peers"].as_array().into_iter().flatten())?;
            let lines = peers::lines(&status, terminal_width());
            if lines.is_empty() {
                output.say("no peer is known yet: `imgxfer daemon pair --invite` makes one known");
            }
            output.lines(&lines)?;
        }
        Some(Action::Remove { name }) => {
            let answer = admin.post(&format!("/peers/{name}/remove"), &json!({})).await?;
            output.object(&answer)?;
            let count = |key: &str| answer[key].as_u64().unwrap_or(0);
            let (ended, failed) = (count("sessions_ended"), count("jobs_failed"));
            output
                .line(&format!("{name} is no peer any more: {ended} connections ended, {failed} jobs for it failed"))?;
        }
    }
    Ok(Exit::Done)
}

/// Changes rights, or shows them.
pub(crate) async fn rights(args: &RightsArgs, admin: &Admin, output: &Output) -> anyhow::Result<Exit> {
    let answer = if args.rights.is_none() && args.sees.is_none() {
        let status = admin.get("/status").await?;
        let mut peers = status["peers"].as_array().into_iter().flatten();
        let peer = peers.find(|peer| peer["name"] == args.name.as_str());
        let peer =
            peer.ok_or_else(|| problem(Exit::NotFound, format!("no peer of the daemon is called {}", args.name)))?;
        json!({ "peer": args.name, "rights": peer["rights"], "sees": peer["sees"] })
    } else {
        let mut body = json!({});
        if let Some(rights) = &args.rights {
            body["rights"] = json!(checked(rights.clone())?);
        }
        if let Some(sees) = &args.sees {
            body["sees"] = pairing::sees(sees);
        }
        admin.post(&format!("/peers/{}/rights", args.name), &body).await?
    };
    output.object(&answer)?;
    output.line(&format!("{} {}", args.name, told(&answer)))?;
    Ok(Exit::Done)
}

/// `may send, query here, and sees what it sent itself`
fn told(peer: &Value) -> String {
    let words =
        |list: &Value| list.as_array().into_iter().flatten().filter_map(Value::as_str).map(safe).collect::<Vec<_>>();
    let rights = words(&peer["rights"]);
    let may = if rights.is_empty() { "nothing".to_owned() } else { rights.join(", ") };
    let sees = match peer["sees"].as_str() {
        Some("all") => "everything".to_owned(),
        Some(_) => "what it sent itself".to_owned(),
        None => format!("what it sent itself and what these sent: {}", words(&peer["sees"]).join(", ")),
    };
    format!("may {may} here, and sees {sees}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_told_in_words() {
        let of = |rights: &[&str], sees: Value| told(&json!({ "rights": rights, "sees": sees }));
        assert_eq!(of(&["send", "pull"], json!("own")), "may send, pull here, and sees what it sent itself");
        assert_eq!(of(&[], json!("all")), "may nothing here, and sees everything");
        assert!(of(&["query"], json!(["a", "b"])).ends_with("and what these sent: a, b"));
    }
}
