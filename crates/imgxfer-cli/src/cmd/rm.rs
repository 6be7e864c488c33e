//! `imgxfer rm`: removes a study, or a part of one.

use clap::Args;
use imgxfer_core::depot::Unwanted;
use imgxfer_core::ids::{SeriesUid, SopInstanceUid, StudyUid};
use imgxfer_core::transport::CloseCode;
use imgxfer_core::units::human_bytes;
use serde_json::{Value, json};

use crate::admin::{Admin, AdminArgs};
use crate::args::{PeerKey, parse_uids, parts};
use crate::ask;
use crate::exit::{Exit, problem};
use crate::output::{Output, safe};
use crate::places::Places;
use crate::site::{Site, ToldPeer as _, close};

/// Arguments of `rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Study Instance UID
    #[arg(value_parser = crate::args::study_uid)]
    study: StudyUid,
    /// These series alone, by Series Instance UID; several with commas
    #[arg(long, value_name = "UID", value_parser = parse_uids)]
    series: Option<String>,
    /// These instances alone, by SOP Instance UID; several with commas
    #[arg(long, value_name = "UID", value_parser = parse_uids)]
    instance: Option<String>,
    /// At this peer, what this site has sent there; by default in the store of this machine's daemon
    #[arg(long, value_name = "PEER")]
    from: Option<String>,
    #[command(flatten)]
    peer_key: PeerKey,
    /// Only what these have sent here, by name; `self` for the site's own; several with commas. Default: all of it
    #[arg(long, value_name = "NAME", conflicts_with = "from")]
    owner: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

impl RmArgs {
    fn unwanted(&self) -> anyhow::Result<Unwanted> {
        let series = parts(self.series.as_deref()).iter().map(|uid| SeriesUid::new(uid)).collect::<Result<_, _>>()?;
        let instances = parts(self.instance.as_deref());
        let instances = instances.iter().map(|uid| SopInstanceUid::new(uid)).collect::<Result<_, _>>()?;
        Ok(Unwanted { study: self.study.clone(), series, instances })
    }

    /// What is meant, in words.
    fn words(&self) -> &'static str {
        match (&self.series, &self.instance) {
            (None, None) => "the study",
            (Some(_), None) => "these series of the study",
            _ => "these instances of the study",
        }
    }

    /// Whether to go on.
    async fn agreed(&self, what: &str) -> anyhow::Result<bool> {
        if self.yes {
            return Ok(true);
        }
        ask::somebody_is_there("look at what would be removed, with `imgxfer ls`,")?;
        Ok(ask::yes(format!("Remove {what}, for good?")).await)
    }
}

/// Asks, and removes.
pub(crate) async fn run(args: &RmArgs, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    match &args.from {
        Some(peer) => at_peer(args, peer, places, output).await,
        None => here(args, places, output).await,
    }
}

async fn at_peer(args: &RmArgs, peer: &str, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    let site = Site::open(places)?;
    let target = site.find(&args.peer_key.of(peer))?;
    let unwanted = args.unwanted()?;
    if !args.agreed(&format!("{} {} at {}", args.words(), args.study, safe(peer))).await? {
        output.say("nothing is removed");
        return Ok(Exit::Interrupted);
    }
    let (client, endpoint) = site.client()?;
    let removed = client.remove(&target.dial, &unwanted).await;
    close(&endpoint, CloseCode::Done).await;
    let removed = removed.told("remove at", &target)?;
    output.object(&json!({
        "removed": true,
        "peer": peer,
        "contents": removed.contents,
        "bytes": removed.bytes,
        "left": removed.left,
    }))?;
    output.line(&format!("removed {} at {}, {}", files(removed.contents), safe(peer), human_bytes(removed.bytes)))?;
    if removed.left > 0 {
        output.warn(&format!("{} of the same stay there: others have sent them as well", files(removed.left)));
    }
    Ok(Exit::Done)
}

async fn here(args: &RmArgs, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    let admin = Admin::new(&args.admin, places)?;
    let wish = |dry_run: bool| {
        json!({
            "study": args.study.as_str(),
            "series": parts(args.series.as_deref()),
            "instances": parts(args.instance.as_deref()),
            "owners": parts(args.owner.as_deref()),
            "dry_run": dry_run,
        })
    };
    if !args.yes {
        let found = admin.post("/studies/remove", &wish(true)).await?;
        let owners = found["owners"].as_array().map(Vec::as_slice).unwrap_or_default();
        owners.iter().for_each(|owner| output.say(&format!("  {}", row(owner))));
        if !args.agreed(&format!("{} {}", args.words(), args.study)).await? {
            output.say("nothing is removed");
            return Ok(Exit::Interrupted);
        }
    }
    let removed = admin.post("/studies/remove", &wish(false)).await?;
    let Some(contents) = removed["contents"].as_u64() else {
        return Err(problem(Exit::Failed, "the daemon's answer makes no sense: is it of the same version?"));
    };
    output.object(&removed)?;
    output.line(&format!(
        "removed {}, {}; the room is given back by and by",
        files(contents),
        human_bytes(removed["bytes"].as_u64().unwrap_or_default())
    ))?;
    Ok(Exit::Done)
}

fn row(owner: &Value) -> String {
    let name = owner["owner"].as_str().map(safe).unwrap_or_default();
    let figure = |key: &str| owner[key].as_u64().unwrap_or_default();
    format!("{} from {name}, {}", files(figure("contents")), human_bytes(figure("bytes")))
}

fn files(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}
