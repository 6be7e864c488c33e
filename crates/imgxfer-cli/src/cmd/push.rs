//! `imgxfer push`: sends studies.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use imgxfer_core::client::{Client, PushOptions, PushReport};
use imgxfer_core::ids::StudyUid;
use imgxfer_core::progress::Remark;
use imgxfer_core::send::{KnownFiles, OtherFiles, printable};
use imgxfer_core::sync::lock;
use imgxfer_core::transport::{CloseCode, Dial};
use serde_json::json;

use crate::args::{PeerKey, TransferArgs};
use crate::exit::{Exit, problem};
use crate::files::{LazyFiles, Studies, Survey, survey};
use crate::output::{Output, safe};
use crate::places::Places;
use crate::progress::{Findings, Reporter};
use crate::receipts::{self, Kept};
use crate::site::{Site, ToldPeer as _, close};
use crate::stop;
use crate::summary::Moved;

/// Arguments of `push`.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Folders, files or a DICOMDIR
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where to: a peer's name, or HOST:PORT
    #[arg(long, value_name = "PEER")]
    to: String,
    #[command(flatten)]
    peer_key: PeerKey,
    #[command(flatten)]
    transfer: TransferArgs,
    /// Send files that are not DICOM, too, as they are
    #[arg(long)]
    all_files: bool,
    /// Have the peer read and hash all that it has already before it counts on it; what is damaged there is sent again
    #[arg(long)]
    prove: bool,
}

/// Skipped and failed files that are listed for people; `--json` has them all.
const LISTED_MAX: usize = 20;

/// Sends, and keeps the receipt.
pub(crate) async fn run(args: PushArgs, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    for path in &args.paths {
        check_exists(path)?;
    }
    let site = Site::open(places)?;
    let target = site.find(&args.peer_key.of(&args.to))?;
    let other = if args.all_files { OtherFiles::Send } else { OtherFiles::Skip };
    let options = PushOptions::default()
        .with_priority(args.transfer.priority.into())
        .with_retry(args.transfer.retry())
        .with_level(args.transfer.level)
        .with_pace(args.transfer.pace())
        .with_proof(args.prove);
    let paths: Arc<[PathBuf]> = args.paths.into();
    let found = survey(&paths, other).await?;
    if !found.something {
        return nothing_to_send(&found, output);
    }
    let (client, endpoint) = site.client()?;
    let sent = send(&client, &target.dial, (&paths, other, found), &options, output);
    let Some(sent) = stop::unless_stopped(Box::pin(sent)).await? else {
        close(&endpoint, CloseCode::Cancelled).await;
        return stop::resumable(output);
    };
    close(&endpoint, CloseCode::Done).await;
    let sent = sent.told("push to", &target)?;
    let studies = sent.studies.iter().map(ToString::to_string).collect();
    let kept = Kept { signed: sent.report.signed.clone(), peer: Some(target.name.clone()), studies };
    let kept = receipts::keep(places, &sent.report.receipt.root, &kept)
        .context("everything is committed at the peer, but the receipt could not be kept")?;
    conclude(&sent, &kept, output)
}

fn check_exists(path: &Path) -> anyhow::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(problem(Exit::NotFound, format!("there is no file or folder {}", printable(path))))
        }
        Err(error) => Err(problem(Exit::Failed, format!("cannot look at {}: {error}", printable(path)))),
    }
}

/// Not one file is DICOM: nothing was sent, and whoever sent expected something.
fn nothing_to_send(found: &Survey, output: &Output) -> anyhow::Result<Exit> {
    tell_findings(&found.findings, output);
    for (event, files) in [("skipped", &found.findings.skipped), ("failed", &found.findings.failed)] {
        for (file, reason) in files {
            output.object(&json!({ "event": event, "file": file, "reason": reason }))?;
        }
    }
    let failed = found.findings.failed.len();
    output.object(&json!({
        "event": "done", "instances": 0, "skipped": found.findings.skipped.len(), "failed": failed, "complete": failed == 0,
    }))?;
    Err(match (failed, found.files) {
        (1.., _) => problem(Exit::Partial, format!("nothing could be sent: {failed} failed, each named above")),
        (0, 0) => problem(Exit::NotFound, "there are no files to send"),
        (0, n) => problem(
            Exit::NotFound,
            format!("there is no DICOM among the {n} files; --all-files sends other files, too"),
        ),
    })
}

/// A push that is done.
#[derive(Debug)]
pub(crate) struct Sent {
    /// What the client says.
    pub(crate) report: PushReport,
    /// What was left out.
    pub(crate) findings: Findings,
    /// What went over the line, and how fast.
    pub(crate) moved: Moved,
    /// The studies that were sent.
    pub(crate) studies: BTreeSet<StudyUid>,
}

/// Sends what was found under `paths`, telling how far it is.
pub(crate) async fn send(
    client: &Client,
    dial: &Dial,
    (paths, other, found): (&Arc<[PathBuf]>, OtherFiles, Survey),
    options: &PushOptions,
    output: &Output,
) -> anyhow::Result<Sent> {
    let reporter = Reporter::new(output);
    let (known, studies) = (KnownFiles::default(), Studies::default());
    let source =
        || Box::new(LazyFiles::new(Arc::clone(paths), other, found.totals, known.clone(), Arc::clone(&studies))) as _;
    let report = client.push(dial, source, options, &reporter).await;
    let findings = reporter.finish();
    let moved = Moved::new(report.as_ref().map(|report| report.progress).unwrap_or_default(), reporter.elapsed());
    if report.is_err() {
        tell_findings(&findings, output);
    }
    let studies = std::mem::take(&mut *lock(&studies));
    Ok(Sent { report: report?, findings, moved, studies })
}

/// Says what was left out, the first ones by name.
fn tell_findings(findings: &Findings, output: &Output) {
    for (list, what) in [(&findings.skipped, "skipped"), (&findings.failed, "FAILED")] {
        if list.is_empty() {
            continue;
        }
        let tell = |text: &str| if what == "FAILED" { output.warn(text) } else { output.say(text) };
        tell(&format!("{what}: {} {}", list.len(), if list.len() == 1 { "file" } else { "files" }));
        for (file, reason) in list.iter().take(LISTED_MAX) {
            tell(&format!("    {}: {}", safe(file), safe(reason)));
        }
        if list.len() > LISTED_MAX {
            tell(&format!("    and {} more; --json lists all", list.len() - LISTED_MAX));
        }
    }
}

/// Says what is odd of what was sent.
fn tell_remarks(findings: &Findings, output: &Output) {
    for (remark, what) in [
        (Remark::Truncated, "end before their elements do, and were sent as they are"),
        (Remark::DerivedUid, "have no usable Study, Series or SOP Instance UID, and were filed under derived ones"),
    ] {
        let files: Vec<&String> =
            findings.remarks.iter().filter(|(of, _)| *of == remark).map(|(_, file)| file).collect();
        if files.is_empty() {
            continue;
        }
        output.warn(&format!("{} of the instances {what}:", files.len()));
        files.iter().take(LISTED_MAX).for_each(|file| output.warn(&format!("    {}", safe(file))));
        if files.len() > LISTED_MAX {
            output.warn(&format!("    and {} more; --json lists all", files.len() - LISTED_MAX));
        }
    }
    match findings.count(Remark::Copy) {
        0 => {}
        copies => output.say(&format!("copies: {copies} more files hold the same as others, and were not sent again")),
    }
}

fn conclude(sent: &Sent, kept: &Path, output: &Output) -> anyhow::Result<Exit> {
    let Sent { report, findings, moved, .. } = sent;
    let receipt = &report.receipt;
    tell_findings(findings, output);
    tell_remarks(findings, output);
    output.line(&format!("committed     {} instances, {}", receipt.instances, moved.original(receipt.bytes)))?;
    moved.tell(output)?;
    if report.connections > 1 {
        output.line(&format!("connections   {} (interrupted {} times)", report.connections, report.connections - 1))?;
    }
    output.line(&format!("root          {}", receipt.root))?;
    output.line(&format!("receipt       {}", kept.display()))?;
    let mut done = moved.object();
    done["event"] = json!("done");
    done["instances"] = json!(receipt.instances);
    done["bytes"] = json!(receipt.bytes);
    done["connections"] = json!(report.connections);
    done["skipped"] = json!(findings.skipped.len());
    done["failed"] = json!(findings.failed.len());
    done["truncated"] = json!(findings.count(Remark::Truncated));
    done["derived_uids"] = json!(findings.count(Remark::DerivedUid));
    done["copies"] = json!(findings.count(Remark::Copy));
    done["complete"] = json!(receipt.complete && findings.failed.is_empty());
    done["root"] = json!(receipt.root.to_string());
    done["receipt"] = json!(kept.display().to_string());
    output.object(&done)?;
    Ok(match (receipt.complete && findings.failed.is_empty(), receipt.instances) {
        (true, _) => Exit::Done,
        (false, 0) => Exit::Failed,
        (false, _) => Exit::Partial,
    })
}
