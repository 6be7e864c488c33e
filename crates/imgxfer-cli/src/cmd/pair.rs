//! `imgxfer pair`: makes another site a peer, by a short code that one person tells the other.

use clap::Args;
use imgxfer_core::transport::pairing::{PairingCode, PairingOffer, join};
use imgxfer_core::transport::{CloseCode, Dial};
use serde_json::json;

use super::daemon::pairing::{self, Terms, agree};
use crate::admin::{Admin, AdminArgs};
use crate::ask;
use crate::exit::{Exit, problem};
use crate::output::Output;
use crate::peers::{Peer, Peers, check_address, check_name};
use crate::places::Places;
use crate::site::{Site, close};

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
            let terms = Terms {
                name: args.name.clone(),
                rights: Some(args.rights.clone()),
                sees: Some(args.sees.clone()),
                address: None,
                yes: args.yes,
            };
            pairing::invite(&admin, &terms, None, output).await
        }
    }
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
    output.say("this site's fingerprint is");
    output.say(&format!("    {}", site.identity.peer_id().fingerprint()));
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
