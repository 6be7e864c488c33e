//! `imgxfer pair`: makes another site a peer, by a short code that one person tells the other.

use std::time::Duration;

use clap::Args;
use imgxfer_core::transport::pairing::{PairingCode, PairingOffer, join};
use imgxfer_core::transport::{CloseCode, Dial};
use serde_json::json;

use crate::admin::pairing::{Decision, State};
use crate::admin::{Admin, AdminArgs};
use crate::ask;
use crate::exit::{Exit, problem};
use crate::output::{Output, safe};
use crate::peers::{Peer, Peers, check_address, check_name};
use crate::places::Places;
use crate::site::{Site, close};
use crate::stop;

/// Arguments of `pair`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("side").required(true).args(["invite", "address"])))]
pub(crate) struct PairArgs {
    /// Where the other site's daemon answers
    #[arg(value_name = "HOST:PORT", value_parser = address, requires = "code")]
    address: Option<String>,
    /// The code from the other site
    #[arg(value_name = "CODE", conflicts_with = "invite")]
    code: Option<PairingCode>,
    /// Let another site pair with the daemon of this machine: prints a code for it
    #[arg(long)]
    invite: bool,
    /// What to call the other site here
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// With --invite: what the other site may do
    #[arg(long, value_delimiter = ',', default_value = "send,query,pull", value_parser = ["send", "query", "pull", "delete"])]
    rights: Vec<String>,
    /// With --invite: whose studies it sees
    #[arg(long, default_value = "own", value_parser = ["own", "all"])]
    sees: String,
    /// Agree without a question: for scripts that compare the fingerprint themselves
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Between two looks at how far the daemon is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

fn address(text: &str) -> Result<String, String> {
    check_address(text).map(|()| text.to_owned())
}

fn name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

/// Invites or joins.
pub(crate) async fn run(args: PairArgs, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    if !args.yes {
        ask::somebody_is_there("compare the fingerprint yourself")?;
    }
    match (args.address.clone(), args.code.clone()) {
        (Some(address), Some(code)) => join_site(&args, &address, &code, places, output).await,
        _ => {
            let admin = Admin::new(&args.admin, places)?;
            let inviting = invite(&args, &admin, output);
            match stop::unless_stopped(Box::pin(inviting)).await? {
                Some(done) => done,
                None => {
                    output
                        .warn("interrupted; nobody is paired without a yes from here, and the code runs out by itself");
                    Ok(Exit::Interrupted)
                }
            }
        }
    }
}

/// Shows who is at the other end, and asks.
async fn agree(peer: &str, fingerprint: &str, yes: bool, output: &Output) -> bool {
    output.warn(&format!("the other site calls itself {} and has the fingerprint", safe(peer)));
    output.warn(&format!("    {}", safe(fingerprint)));
    yes || ask::yes("Is that the fingerprint the other person sees, and should it be a peer?".to_owned()).await
}

async fn join_site(
    args: &PairArgs,
    address: &str,
    code: &PairingCode,
    places: &Places,
    output: &Output,
) -> anyhow::Result<Exit> {
    let site = Site::open(places)?;
    if let Some(name) = &args.name {
        check_free(&site.peers, name)?;
    }
    let endpoint = site.endpoint()?;
    output.say(&format!("this site's fingerprint is {}", site.identity.peer_id().fingerprint()));
    let session = endpoint.connect_to_pair(&Dial::new(address)).await?;
    let my_name = site.config.site_name();
    let confirm = async |offer: PairingOffer| agree(&offer.name, &offer.peer.fingerprint(), args.yes, output).await;
    let paired = join(&session, &site.identity, code, &my_name, confirm).await;
    close(&endpoint, CloseCode::Done).await;
    let paired = paired?;
    let name = args.name.clone().unwrap_or_else(|| usable_name(&paired.name, address));
    // Another command may have changed the file while people were talking.
    let mut peers = Peers::load(places)?;
    check_free(&peers, &name)?;
    peers.0.insert(name.clone(), Peer { address: address.to_owned(), key: paired.peer });
    peers.save(places)?;
    output.line(&format!("paired with {name} at {address}"))?;
    output.say(&format!("try: imgxfer ls --from {name}"));
    let key = paired.peer.fingerprint();
    output.object(&json!({ "event": "paired", "name": name, "address": address, "key": key }))?;
    Ok(Exit::Done)
}

fn check_free(peers: &Peers, name: &str) -> anyhow::Result<()> {
    if peers.0.contains_key(name) {
        return Err(problem(Exit::Usage, format!("a peer is called {name} already: choose another --name")));
    }
    Ok(())
}

/// What the site calls itself, as far as it can be a name here; else its host.
fn usable_name(said: &str, address: &str) -> String {
    let usable = |text: &str| {
        let text: String =
            text.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect();
        let text = text.trim_matches('-').to_owned();
        check_name(&text).is_ok().then_some(text)
    };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    usable(said).or_else(|| usable(host)).unwrap_or_else(|| "peer".to_owned())
}

async fn invite(args: &PairArgs, admin: &Admin, output: &Output) -> anyhow::Result<Exit> {
    let invited = admin.invite().await?;
    output.line(&invited.code)?;
    output.object(&json!({ "event": "invited", "code": invited.code, "fingerprint": invited.fingerprint }))?;
    if let Some(fingerprint) = &invited.fingerprint {
        output.say(&format!("this site's fingerprint is {}", safe(fingerprint)));
    }
    let minutes = invited.minutes.map_or_else(String::new, |minutes| format!(" within {minutes} minutes"));
    output.say(&format!("tell the code to the other person, who runs{minutes}:"));
    output.say(&format!("    imgxfer pair HOST:PORT {} --name NAME", safe(&invited.code)));
    let mut decided = false;
    loop {
        match admin.pairing().await? {
            State::Asking { name, fingerprint } if !decided => {
                decided = true;
                let accept = agree(&name, &fingerprint, args.yes, output).await;
                let (rights, sees) = (args.rights.clone(), args.sees.clone());
                admin.decide(&Decision { accept, name: args.name.clone(), rights, sees }).await?;
                if !accept {
                    return Err(problem(Exit::Refused, "pairing was declined here"));
                }
            }
            State::Paired { name } => {
                output.line(&format!("paired with {}", safe(&name)))?;
                output.object(&json!({ "event": "paired", "name": name }))?;
                return Ok(Exit::Done);
            }
            State::Failed { problem: why } => {
                return Err(problem(Exit::Refused, format!("not paired: {}", safe(&why))));
            }
            State::Idle => return Err(problem(Exit::Temporary, "the daemon was restarted: the code is void")),
            State::Waiting | State::Asking { .. } => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found() {
        for (said, expected) in [("North Hospital", "North-Hospital"), ("王", "cloud.example"), ("a", "a")] {
            assert_eq!(usable_name(said, "cloud.example:11120"), expected);
        }
    }
}
