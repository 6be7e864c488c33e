//! `imgxfer init`: makes the identity and the configuration.

use clap::Args;
use imgxfer_core::transport::Identity;
use serde_json::json;

use crate::config::{Config, host_name, initial};
use crate::dates::expiry;
use crate::exit::Exit;
use crate::output::Output;
use crate::peers::Peers;
use crate::places::{Places, make_private_folder, write_private};

/// Arguments of `init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// What this site calls itself when it pairs [default: the machine's name]
    #[arg(long)]
    name: Option<String>,
}

/// Makes what is missing, and leaves what is there.
pub(crate) fn run(args: &InitArgs, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    make_private_folder(&places.config)?;
    let identity = Identity::load_or_create(&places.config)?;
    if places.config_file().exists() {
        Config::load(places)?;
        if args.name.is_some() {
            output.warn(&format!("{} is there already: change the name in it", places.config_file().display()));
        }
    } else {
        write_private(&places.config_file(), &initial(&args.name.clone().unwrap_or_else(host_name)))?;
    }
    let peers = Peers::load(places)?;
    if !places.peers_file().exists() {
        peers.save(places)?;
    }
    let fingerprint = identity.peer_id().fingerprint();
    output.line(&fingerprint)?;
    output.object(&json!({
        "event": "done",
        "fingerprint": fingerprint,
        "expires": expiry(identity.expires().0),
        "config_dir": places.config.display().to_string(),
    }))?;
    output.say(&format!("this is your fingerprint; the key is kept in {}", places.config.display()));
    output.say("next: `imgxfer pair HOST:PORT CODE --name NAME`, with a code from the other site");
    Ok(Exit::Done)
}
