//! Checking a daemon's store.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use imgxfer_core::store::{
    CheckOptions, CheckReport, Finding, FsOptions, FsRecords, Index, RecordStore, RetellReport, SqliteIndex, check,
};
use imgxfer_core::units::human_bytes;
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::json;

use crate::exit::{Exit, problem};
use crate::output::Output;

/// The index, beside the packs.
pub(crate) const INDEX_FILE: &str = "index.db";

/// Checks packs and index against each other; with `read_data` every byte.
pub(crate) fn run(store: &Path, read_data: bool, output: &Output) -> anyhow::Result<Exit> {
    let index_file = store.join(INDEX_FILE);
    if !index_file.is_file() {
        let message = format!("{} is no store: there is no {INDEX_FILE} in it", store.display());
        return Err(problem(Exit::NotFound, message));
    }
    // A daemon may be running on it.
    let options = FsOptions { read_only: true, ..FsOptions::default() };
    let opening = || format!("open the store {}", store.display());
    let records: Arc<dyn RecordStore> = Arc::new(FsRecords::open(store, options).with_context(opening)?);
    let index = SqliteIndex::open(&index_file).with_context(opening)?;
    index.check().context("check the index")?;
    let report = look(&records, &index, read_data, output)?;
    tell(&report, read_data, output)
}

/// Walks over the store, telling how far it is. What is damaged is noted in the index.
pub(crate) fn look(
    records: &Arc<dyn RecordStore>,
    index: &dyn Index,
    read_data: bool,
    output: &Output,
) -> anyhow::Result<CheckReport> {
    let options = CheckOptions { read_data, ..CheckOptions::default() };
    let bar = if output.shows_progress() {
        ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4))
    } else {
        ProgressBar::hidden()
    };
    let report = check(records, index, &options, &mut |report| {
        bar.set_message(format!("{} packs, {} instances", report.packs, report.instances));
        bar.tick();
        true
    });
    bar.finish_and_clear();
    report.context("check the store")
}

fn tell(report: &CheckReport, read_data: bool, output: &Output) -> anyhow::Result<Exit> {
    for finding in &report.findings {
        let (kind, place, what) = words(finding);
        output.line(&format!("{kind}: {place}: {what}"))?;
        output.object(&json!({
            "event": "finding", "kind": kind, "place": place, "reason": what, "loss": finding.is_loss(),
        }))?;
    }
    if report.findings_left_out > 0 {
        output.line(&format!("and {} more findings", report.findings_left_out))?;
    }
    let depth = if read_data { "all read, decoded and hashed" } else { "headers alone; --read-data reads everything" };
    output.line(&format!(
        "{} packs with {} records ({}); {} studies, {} instances ({} of original files); {depth}",
        report.packs,
        report.records,
        human_bytes(report.record_bytes),
        report.studies,
        report.instances,
        human_bytes(report.instance_bytes)
    ))?;
    output.line(match (report.is_clean(), report.is_sound()) {
        (true, _) => "nothing is wrong",
        (false, true) => {
            "nothing is wrong: torn ends are harmless, and so are remains: nothing acknowledged is in them"
        }
        (false, false) => "something is wrong: see above",
    })?;
    output.object(&json!({
        "event": "done",
        "packs": report.packs,
        "records": report.records,
        "record_bytes": report.record_bytes,
        "studies": report.studies,
        "instances": report.instances,
        "bytes": report.instance_bytes,
        "findings": imgxfer_core::units::to_u64(report.findings.len()) + report.findings_left_out,
        "clean": report.is_clean(),
        "sound": report.is_sound(),
        "read_data": read_data,
    }))?;
    Ok(if report.is_sound() { Exit::Done } else { Exit::Integrity })
}

/// What no note tells, in words.
pub(crate) fn counts(untold: &RetellReport) -> String {
    let RetellReport { instances, arrivals, versions, removals, .. } = untold;
    format!("{instances} instances, {arrivals} ways by which they came, {versions} versions and {removals} removals")
}

/// Kind, place and reason of a finding.
fn words(finding: &Finding) -> (&'static str, String, String) {
    match finding {
        Finding::Pack { pack, what } => ("unreadable pack", pack.to_string(), what.clone()),
        Finding::Record { at, what } => ("damaged record", format!("{} at {}", at.pack, at.offset), what.clone()),
        Finding::Remains { at, what } => {
            let what = format!("{what}; nothing needs it any more");
            ("damaged remains", format!("{} at {}", at.pack, at.offset), what)
        }
        Finding::Untold(untold) => {
            let what = "no note in a pack tells them, the index alone: run `imgxfer repair --store`".to_owned();
            ("untold", counts(untold), what)
        }
        Finding::Tail { pack, offset, len } => {
            let what = format!("{len} bytes behind the last whole record, as a crash leaves them");
            ("torn end", format!("{pack} at {offset}"), what)
        }
        Finding::Row { study, what, .. } => {
            let remedy = "stop the daemon, move index.db* aside and start it: the index is made anew from the packs";
            ("wrong index", format!("study {study}"), format!("{what}; {remedy}"))
        }
        Finding::Instance { study, sop_instance, what, .. } => (
            "LOST",
            format!("instance {sop_instance} of study {study}"),
            format!("{what}; it must be sent again, or fetched with `imgxfer repair`"),
        ),
        _ => ("finding", String::new(), format!("{finding:?}")),
    }
}
