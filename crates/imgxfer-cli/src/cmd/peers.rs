//! `imgxfer peers`: the known peers.

use clap::{Args, Subcommand};
use imgxfer_core::ids::PeerId;
use serde_json::json;

use crate::exit::{Exit, problem};
use crate::output::{Output, safe};
use crate::peers::{Peer, Peers, check_address, check_name};
use crate::places::Places;
use crate::table::{Column, lines, terminal_width};

/// Arguments of `peers`.
#[derive(Debug, Args)]
pub(crate) struct PeersArgs {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the known peers
    List,
    /// Make a peer known
    Add {
        /// What to call it here
        #[arg(value_parser = name)]
        name: String,
        /// Where it answers
        #[arg(long, value_name = "HOST:PORT", value_parser = address)]
        address: String,
        /// Its fingerprint, as `imgxfer id` or the daemon prints it there
        #[arg(long, value_name = "FINGERPRINT", value_parser = crate::site::parse_key)]
        key: PeerId,
    },
    /// Forget a peer
    Remove {
        /// What it is called
        name: String,
    },
    /// Call a peer something else
    Rename {
        /// What it is called
        from: String,
        /// What to call it
        #[arg(value_parser = name)]
        to: String,
    },
}

fn name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

fn address(text: &str) -> Result<String, String> {
    check_address(text).map(|()| text.to_owned())
}

/// Lists or changes the peers.
pub(crate) fn run(args: PeersArgs, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    let mut peers = Peers::load(places)?;
    match args.action.unwrap_or(Action::List) {
        Action::List => return list(&peers, output),
        Action::Add { name, address, key } => {
            let new = Peer { address, key };
            if peers.0.get(&name).is_some_and(|old| *old != new) {
                let message = format!("a peer is called {name} already: remove or rename it first");
                return Err(problem(Exit::Usage, message));
            }
            peers.0.insert(name, new);
        }
        Action::Remove { name } => {
            peers.0.remove(&name).ok_or_else(|| unknown(&name))?;
        }
        Action::Rename { from, to } => {
            if peers.0.contains_key(&to) {
                return Err(problem(Exit::Usage, format!("a peer is called {to} already")));
            }
            let peer = peers.0.remove(&from).ok_or_else(|| unknown(&from))?;
            peers.0.insert(to, peer);
        }
    }
    peers.save(places)?;
    output.object(&json!({ "event": "done", "peers": peers.0.len() }))?;
    Ok(Exit::Done)
}

fn unknown(name: &str) -> anyhow::Error {
    problem(Exit::NotFound, format!("no peer is called {}", safe(name)))
}

fn list(peers: &Peers, output: &Output) -> anyhow::Result<Exit> {
    for (name, peer) in &peers.0 {
        output.object(&json!({ "name": name, "address": peer.address, "key": peer.key.fingerprint() }))?;
    }
    if peers.0.is_empty() {
        output.say("no peer is known yet: `imgxfer pair` or `imgxfer peers add` makes one known");
        return Ok(Exit::Done);
    }
    let columns = [Column::left("NAME"), Column::left("ADDRESS"), Column::left("KEY")];
    let row = |(name, peer): (&String, &Peer)| vec![name.clone(), peer.address.clone(), peer.key.fingerprint()];
    for line in lines(&columns, &peers.0.iter().map(row).collect::<Vec<_>>(), terminal_width()) {
        output.line(&line)?;
    }
    Ok(Exit::Done)
}
