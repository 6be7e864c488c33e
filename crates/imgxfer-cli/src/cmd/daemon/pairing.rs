//! Pairing of this machine's daemon, by a code that one person tells the other.

use std::time::Duration;

use clap::Args;
use imgxfer_core::transport::pairing::PairingCode;
use serde_json::json;

use crate::admin::Admin;
use crate::admin::pairing::{Decision, State};
use crate::ask;
use crate::exit::{Exit, problem};
use crate::output::{Output, safe};
use crate::peers::{check_address, check_name};
use crate::stop;

/// Arguments of `daemon pair`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("side").required(true).args(["invite", "accept"])))]
pub(crate) struct PairArgs {
    /// Make a code for another site, show it, and wait for that site
    #[arg(long)]
    invite: bool,
    /// Use the code that another site has made
    #[arg(long, value_name = "CODE", requires = "address")]
    accept: Option<PairingCode>,
    /// Where the other site's daemon answers; with --invite only if this site is to send to it
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    address: Option<String>,
    /// What to call the other site here [default: what it calls itself]
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// What the other site may do here: send, query, pull, delete, with commas, or none [default: asked for; with
    /// --invite and --yes send,query,pull; with --accept and --yes none]
    #[arg(long, value_delimiter = ',', value_parser = ["send", "query", "pull", "delete", "none"])]
    rights: Option<Vec<String>>,
    /// Whose studies the other site sees here: own (what it sent itself), all, or names of peers with commas [default: own]
    #[arg(long, value_name = "WHOSE")]
    sees: Option<String>,
    /// How long the code holds
    #[arg(long, conflicts_with = "accept")]
    minutes: Option<u64>,
    /// Agree without a question: for scripts that compare the fingerprint themselves
    #[arg(long)]
    yes: bool,
}

fn address(text: &str) -> Result<String, String> {
    check_address(text).map(|()| text.to_owned())
}

fn name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

/// What the other site is to be here.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// What it is called; as it calls itself by default.
    pub(crate) name: Option<String>,
    /// What it may do; somebody is asked where nothing is said.
    pub(crate) rights: Option<Vec<String>>,
    /// Whose studies it sees; likewise.
    pub(crate) sees: Option<String>,
    /// Where it is reached.
    pub(crate) address: Option<String>,
    /// Whether to agree without a question.
    pub(crate) yes: bool,
}

/// Between two looks at how far the daemon is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a site that is invited may do unless somebody says otherwise.
const INVITED_MAY: &str = "send,query,pull";

/// Invites or accepts.
pub(crate) async fn run(args: &PairArgs, admin: &Admin, output: &Output) -> anyhow::Result<Exit> {
    if !args.yes {
        ask::somebody_is_there("compare the fingerprint yourself")?;
    }
    let terms = Terms {
        name: args.name.clone(),
        rights: args.rights.clone(),
        sees: args.sees.clone(),
        address: args.address.clone(),
        yes: args.yes,
    };
    match (&args.accept, &args.address) {
        (Some(code), Some(address)) => {
            admin.join(address, &code.to_string()).await?;
            unless_stopped(until_paired(admin, &terms, "none", output), output).await
        }
        _ => invite(admin, &terms, args.minutes, output).await,
    }
}

/// Makes a code, and waits for who has it.
pub(crate) async fn invite(
    admin: &Admin,
    terms: &Terms,
    minutes: Option<u64>,
    output: &Output,
) -> anyhow::Result<Exit> {
    let invited = admin.invite(minutes).await?;
    output.line(&invited.code)?;
    output.object(&json!({ "event": "invited", "code": invited.code, "fingerprint": invited.fingerprint }))?;
    if let Some(fingerprint) = &invited.fingerprint {
        output.say("this site's fingerprint is");
        output.say(&format!("    {}", safe(fingerprint)));
    }
    let minutes = invited.minutes.map_or_else(String::new, |minutes| format!(" within {minutes} minutes"));
    let code = safe(&invited.code);
    output.say(&format!("tell the other person the code, and to run{minutes}, with this site's"));
    output.say("HOST:PORT:");
    output.say(&format!("    imgxfer daemon pair --accept {code} --address HOST:PORT --name NAME"));
    output.say("or, without a daemon:");
    output.say(&format!("    imgxfer pair HOST:PORT {code} --name NAME"));
    unless_stopped(until_paired(admin, terms, INVITED_MAY, output), output).await
}

async fn unless_stopped(work: impl Future<Output = anyhow::Result<Exit>>, output: &Output) -> anyhow::Result<Exit> {
    if let Some(done) = stop::unless_stopped(Box::pin(work)).await? {
        return done;
    }
    output.warn("interrupted; nobody is paired without a yes from here, and the code runs out by itself");
    Ok(Exit::Interrupted)
}

/// Shows who is at the other end, and asks.
pub(crate) async fn agree(peer: &str, fingerprint: &str, yes: bool, output: &Output) -> bool {
    output.warn(&format!("the other site calls itself {} and has the fingerprint", safe(peer)));
    output.warn(&format!("    {}", safe(fingerprint)));
    yes || ask::yes("Is that the fingerprint the other person sees, and should it be a peer?".to_owned()).await
}

async fn until_paired(admin: &Admin, terms: &Terms, usual: &str, output: &Output) -> anyhow::Result<Exit> {
    let mut decided = None;
    loop {
        match admin.pairing().await? {
            State::Asking { name, fingerprint } if decided.is_none() => {
                let decision = decide(&name, &fingerprint, (terms, usual), output).await?;
                admin.decide(&decision).await?;
                if !decision.accept {
                    return Err(problem(Exit::Refused, "pairing was declined here"));
                }
                decided = Some(decision);
            }
            State::Paired { name, fingerprint } => {
                let may = decided.as_ref().map_or(&[][..], |decision| &decision.rights);
                output.line(&format!("paired with {}", safe(&name)))?;
                let may = if may.is_empty() { "nothing".to_owned() } else { may.join(", ") };
                output.say(&format!("it may {may} here; `imgxfer daemon rights {}` changes that", safe(&name)));
                let rights = decided.as_ref().map(|decision| &decision.rights);
                output.object(&json!({ "event": "paired", "name": name, "key": fingerprint, "rights": rights }))?;
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

async fn decide(
    name: &str,
    fingerprint: &str,
    (terms, usual): (&Terms, &str),
    output: &Output,
) -> anyhow::Result<Decision> {
    let accept = agree(name, fingerprint, terms.yes, output).await;
    let asks = accept && !terms.yes && ask::can_ask();
    let rights = match &terms.rights {
        Some(rights) => rights.clone(),
        None if asks => {
            let asked = ask::word("What may it do here: send, query, pull, delete, or none?", usual).await;
            asked.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
        }
        None => usual.split(',').map(str::to_owned).collect(),
    };
    let rights = checked(rights)?;
    let sees = match &terms.sees {
        Some(sees) => sees.clone(),
        None if asks && !rights.is_empty() => {
            ask::word("Whose studies does it see: own (what it sent), all, or names of peers?", "own").await
        }
        None => "own".to_owned(),
    };
    Ok(Decision { accept, name: terms.name.clone(), rights, sees, address: terms.address.clone() })
}

/// The names of rights; `none` alone is none.
pub(super) fn checked(mut rights: Vec<String>) -> anyhow::Result<Vec<String>> {
    let known = |right: &String| ["send", "query", "pull", "delete"].contains(&right.as_str());
    if rights == ["none"] {
        rights.clear();
    }
    match rights.iter().find(|right| !known(right)) {
        Some(other) => {
            let message = format!("{} is no right: there are send, query, pull and delete, or none", safe(other));
            Err(problem(Exit::Usage, message))
        }
        None => Ok(rights),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_checked() {
        let of = |rights: &[&str]| checked(rights.iter().map(|right| (*right).to_owned()).collect());
        assert_eq!(of(&["send", "pull"]).unwrap(), ["send", "pull"]);
        assert!(of(&["none"]).unwrap().is_empty() && of(&[]).unwrap().is_empty());
        assert!(of(&["none", "send"]).is_err() && of(&["see"]).is_err());
    }
}
