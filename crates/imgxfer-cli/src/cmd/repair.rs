//! `imgxfer repair`: mends a store from a peer that holds the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::Depot;
use imgxfer_core::repair::{INSTANCES_MAX, Outcome, RepairReport, renew_notes, repair};
use imgxfer_core::store::{FsOptions, FsRecords, Index as _, RetellReport, SqliteIndex, StoreError, StoredInstance};
use imgxfer_core::transport::CloseCode;
use imgxfer_core::units::{human_bytes, to_u64};
use serde_json::json;

use crate::args::{PeerKey, TransferArgs};
use crate::exit::{Exit, problem};
use crate::output::Output;
use crate::places::Places;
use crate::progress::Reporter;
use crate::site::{Site, ToldPeer as _, close};
use crate::stop;
use crate::verify::store::{self, INDEX_FILE, counts};

/// Arguments of `repair`.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// The store of a daemon that is stopped: the folder that holds its packs and its index
    #[arg(long, value_name = "PATH")]
    store: PathBuf,
    /// Fetch what is damaged from this peer: a name, or HOST:PORT. Without it what is damaged is listed
    #[arg(long, value_name = "PEER")]
    from: Option<String>,
    #[command(flatten)]
    peer_key: PeerKey,
    /// First read, decode and hash everything, as `verify --store --read-data` does. Without it what is known to be
    /// damaged is dealt with
    #[arg(long)]
    read_data: bool,
    #[command(flatten)]
    transfer: TransferArgs,
}

/// Lists what is damaged, and mends it.
pub(crate) async fn run(args: &RepairArgs, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    let folder = &args.store;
    if !folder.join(INDEX_FILE).is_file() {
        let message = format!("{} is no store: there is no {INDEX_FILE} in it", folder.display());
        return Err(problem(Exit::NotFound, message));
    }
    let opening = || format!("open the store {}", folder.display());
    let depot = match Depot::open(folder, FsOptions::default(), Registry::default()) {
        Ok((depot, _)) => depot,
        Err(StoreError::Locked) if args.from.is_none() => return list_beside(args, output),
        Err(StoreError::Locked) => {
            let message = format!(
                "a daemon has the store {} open: stop it, repair, and start it again. `imgxfer repair --store` \
                 without --from lists what is damaged meanwhile",
                folder.display()
            );
            return Err(problem(Exit::Temporary, message));
        }
        Err(error) => return Err(error).with_context(opening),
    };
    look(&depot, args.read_data, output)?;
    let Some(from) = &args.from else {
        let damaged = depot.index.damaged(INSTANCES_MAX).context("list what is damaged")?;
        let notes = renew_notes(&depot).context("write notes anew")?;
        tell_damaged(&damaged, args.read_data, output)?;
        return conclude(&Done { damaged: damaged.len(), notes: Some(notes), ..Done::default() }, output);
    };
    let site = Site::open(places)?;
    let target = site.find(&args.peer_key.of(from))?;
    let options = args.transfer.pull_options();
    let (client, endpoint) = site.client()?;
    let reporter = Reporter::new(output);
    let repairing = Box::pin(repair(&client, &target.dial, &depot, &options, &reporter));
    let repaired = stop::unless_stopped(repairing).await?;
    reporter.finish();
    let Some(repaired) = repaired else {
        close(&endpoint, CloseCode::Cancelled).await;
        return stop::resumable(output);
    };
    close(&endpoint, CloseCode::Done).await;
    let report = repaired.told("repair from", &target)?;
    let notes = renew_notes(&depot).context("write notes anew")?;
    tell_repaired(&report, output)?;
    let payload_bytes = report.payload_bytes;
    let (damaged, healed) = (report.instances.len(), report.healed());
    conclude(&Done { damaged, healed, payload_bytes, notes: Some(notes) }, output)
}

/// Looks for damage, if that is asked for: what is found is noted in the index.
fn look(depot: &Depot, read_data: bool, output: &Output) -> anyhow::Result<()> {
    if read_data {
        store::look(&depot.records, depot.index.as_ref(), true, output)?;
    }
    Ok(())
}

/// Lists what is damaged while a daemon has the store.
fn list_beside(args: &RepairArgs, output: &Output) -> anyhow::Result<Exit> {
    let (records, index) = open_beside(&args.store)?;
    if args.read_data {
        store::look(&records, &index, true, output)?;
    }
    let damaged = index.damaged(INSTANCES_MAX).context("list what is damaged")?;
    tell_damaged(&damaged, args.read_data, output)?;
    output.say("a daemon has the store open: nothing is changed, and its notes were not looked at");
    conclude(&Done { damaged: damaged.len(), ..Done::default() }, output)
}

fn open_beside(folder: &Path) -> anyhow::Result<(Arc<dyn imgxfer_core::store::RecordStore>, SqliteIndex)> {
    let opening = || format!("open the store {}", folder.display());
    let options = FsOptions { read_only: true, ..FsOptions::default() };
    let records = FsRecords::open(folder, options).with_context(opening)?;
    let index = SqliteIndex::open(&folder.join(INDEX_FILE)).with_context(opening)?;
    Ok((Arc::new(records), index))
}

/// What a repair came to.
#[derive(Debug, Default)]
struct Done {
    damaged: usize,
    healed: usize,
    payload_bytes: u64,
    /// Not known where a daemon has the store.
    notes: Option<RetellReport>,
}

fn tell_instance(instance: &StoredInstance, state: &str, reason: Option<&str>, output: &Output) -> anyhow::Result<()> {
    let entry = &instance.entry;
    let because = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    output.line(&format!("{state}: instance {} of study {}{because}", entry.sop_instance, entry.study))?;
    output.object(&json!({
        "event": "instance",
        "state": state.to_lowercase(),
        "study": entry.study.as_str(),
        "sop_instance": entry.sop_instance.as_str(),
        "hash": entry.hash.to_string(),
        "owner": instance.owner.fingerprint(),
        "bytes": entry.len,
        "reason": reason,
    }))
}

fn tell_damaged(damaged: &[StoredInstance], read_data: bool, output: &Output) -> anyhow::Result<()> {
    damaged.iter().try_for_each(|instance| tell_instance(instance, "damaged", None, output))?;
    if !read_data {
        output.say("this is what is known to be damaged; --read-data reads everything first");
    }
    if !damaged.is_empty() {
        output.say("to mend it from a peer that holds the same: imgxfer repair --store PATH --from PEER");
    }
    Ok(())
}

fn tell_repaired(report: &RepairReport, output: &Output) -> anyhow::Result<()> {
    for mended in &report.instances {
        let reason = match mended.outcome {
            Outcome::Healed => {
                tell_instance(&mended.instance, "healed", None, output)?;
                continue;
            }
            Outcome::NotHeld => "the peer does not have it, or does not let this site see it",
            Outcome::OtherContent => "the peer has another content under its SOP Instance UID, which was not taken",
            _ => "the peer has it and did not give it whole: check the peer's store",
        };
        tell_instance(&mended.instance, "STILL DAMAGED", Some(reason), output)?;
    }
    Ok(())
}

fn conclude(done: &Done, output: &Output) -> anyhow::Result<Exit> {
    let Done { damaged, healed, payload_bytes, notes } = done;
    let still = damaged - healed;
    if let Some(notes) = notes
        && !notes.is_empty()
    {
        output.line(&format!("written anew: notes of {}, which no pack told any more", counts(notes)))?;
    }
    output.line(&match (damaged, still) {
        (0, _) => "nothing is known to be damaged".to_owned(),
        (_, 0) => format!("{healed} instances are whole again; {} came over the line", human_bytes(*payload_bytes)),
        (_, _) => format!("{healed} instances are whole again, {still} are still damaged"),
    })?;
    if *damaged >= INSTANCES_MAX {
        output.warn("there may be more: run the same command again");
    }
    output.object(&json!({
        "event": "done",
        "damaged": to_u64(*damaged),
        "healed": to_u64(*healed),
        "still_damaged": to_u64(still),
        "payload_bytes": payload_bytes,
        "notes_renewed": notes.map(|notes| notes.instances),
        "versions_renewed": notes.map(|notes| notes.versions),
        "removals_renewed": notes.map(|notes| notes.removals),
        "arrivals_renewed": notes.map(|notes| notes.arrivals),
    }))?;
    Ok(if still == 0 { Exit::Done } else { Exit::Integrity })
}
