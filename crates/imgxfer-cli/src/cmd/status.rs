//! `imgxfer status`: what the daemon of this machine does.

use std::time::Duration;

use clap::Args;
use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::ids::StudyUid;
use serde_json::Value;

use super::consultation;
use super::daemon::queue;
use crate::admin::render::flow;
use crate::admin::{Admin, AdminArgs, came, past, peers, transfers};
use crate::dates::expiry;
use crate::exit::Exit;
use crate::output::{Output, safe};
use crate::places::Places;
use crate::rates::human_time;
use crate::table::{terminal_width, wrap};

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Whose this study is here, and how it came, in place of all else; by Study Instance UID
    #[arg(long, value_name = "UID", value_parser = crate::args::study_uid)]
    study: Option<StudyUid>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Asks and prints.
pub(crate) async fn run(args: &StatusArgs, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    let admin = Admin::new(&args.admin, places)?;
    if let Some(study) = &args.study {
        let told = admin.get(&format!("/studies/{study}")).await?;
        output.object(&told)?;
        output.lines(&came::lines(&told))?;
        return Ok(Exit::Done);
    }
    let status = admin.get("/status").await?;
    output.object(&status)?;
    output.lines(&told(&status, UnixSeconds::now().0, terminal_width()))?;
    Ok(Exit::Done)
}

/// What a daemon says of itself, for people.
fn told(status: &Value, now: i64, width: Option<usize>) -> Vec<String> {
    let mut lines = site(status, width);
    let over = status["queue"]["jobs"].as_array().into_iter().flatten();
    let open: Vec<&Value> = over.filter(|job| !queue::is_over(job)).collect();
    let running = status["transfers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let jobs = if open.is_empty() { Vec::new() } else { queue::told(&open, running, now, width) };
    for (part, title, without) in [
        (past::problems(status, width), "PROBLEMS", "no problem is known"),
        (past::store(status, width), "STORE", "no store"),
        (jobs, "QUEUE", "the queue is empty"),
        (peers::lines(status, width), "PEERS", "no peer is known"),
        (transfers::lines(status, width), "TRANSFERS", "no transfer is running"),
        (past::lines(status, now, width), "HISTORY", "nothing was transferred yet"),
    ] {
        lines.push(String::new());
        lines.push(if part.is_empty() { without } else { title }.to_owned());
        lines.extend(part);
    }
    lines
}

/// Who it is, and what holds for all of it.
fn site(status: &Value, width: Option<usize>) -> Vec<String> {
    let text = |key: &str| status[key].as_str().map(safe);
    let mut heading = vec![text("site").unwrap_or_default()];
    heading.extend(text("version").map(|version| format!("imgxferd {version}")));
    heading.extend(text("listen").map(|address| format!("at {address}")));
    let up = status["uptime_seconds"].as_u64();
    heading.extend(up.map(|seconds| format!("up {}", human_time(Duration::from_secs(seconds)))));
    heading.extend(status["limit_mbps"].as_f64().map(|mbps| format!("limit {mbps} Mbit/s")));
    if status["stopping"] == true {
        heading.push("STOPPING".to_owned());
    }
    let mut lines = flow("", &heading, width);
    lines.extend(text("fingerprint"));
    match status["certificate_expires"].as_i64().map(expiry) {
        Some(expires) if expires != "never" => lines.push(format!("its certificate runs out {expires}")),
        _ => {}
    }
    match text("pairing") {
        Some(state) if matches!(&*state, "waiting" | "asking") => lines.push(format!("pairing: {state}")),
        _ => {}
    }
    match status["refused_connections"].as_u64() {
        None | Some(0) => {}
        Some(refused) => lines.push(format!("{refused} connections were refused since it started")),
    }
    if status["consultation"].is_object() {
        lines.extend(wrap("", &consultation::told(&status["consultation"]), width));
    }
    lines.extend(backfill(&status["backfill"]).iter().flat_map(|line| wrap("", line, width)));
    lines
}

/// How far the reading of old headers is, where there is anything to say.
fn backfill(progress: &Value) -> Option<String> {
    let [left, done, unreadable] =
        ["instances_left", "instances_done", "instances_unreadable"].map(|key| progress[key].as_u64().unwrap_or(0));
    let cannot = match unreadable {
        0 => String::new(),
        _ => format!("; {unreadable} cannot be read and keep what was known of them"),
    };
    match (left, unreadable) {
        (0, 0) => None,
        (0, _) => Some(format!("headers read again after an upgrade: all that can be{cannot}")),
        _ => Some(format!(
            "headers read again after an upgrade: {done} done, {left} left{cannot}; searches may miss something until then"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_fits_eighty_columns() {
        let job = json!({ "id": 7, "peer": "self", "state": "failed", "priority": "background", "files": 12_345,
            "bytes": 157_000_000_000_u64, "attempts": 5, "gone": 2,
            "last_error": "partial: 3 of 12345 instances are not committed; the files are kept" });
        let status = json!({
            "site": "St Elsewhere, Department of Radiology", "version": "0.1.0", "listen": "[::]:11120",
            "fingerprint": format!("ix{}", "-abcd".repeat(13)), "uptime_seconds": 7_500, "certificate_expires": 0,
            "pairing": "waiting", "refused_connections": 3, "limit_mbps": 20.0,
            "consultation": { "limit_mbps": 1.0, "seconds_left": 60 },
            "backfill": { "instances_left": 5, "instances_done": 7, "instances_unreadable": 0 },
            "queue": { "jobs": [job, { "id": 8, "state": "done" }] },
            "store": { "studies": 12, "instances": 34_000, "original_bytes": 1, "pack_bytes": 1, "waste_bytes": 9,
                "space_left_bytes": 5 },
            "problems": [{ "what": "failed", "jobs": 1, "remedy": "jobs failed: imgxfer daemon queue says why; then retry or dismiss them" }],
            "history": [{ "ended": 1, "peer": "self", "direction": "in", "seconds": 1.0, "bytes": 5, "study_count": 1 }],
        });
        let shown = told(&status, 100, Some(80));
        assert!(shown.iter().all(|line| crate::table::wide(line) <= 80), "{shown:#?}");
        let text = shown.join("\n");
        for part in
            ["up 2 h 5 min", "own store", "into this site's store", "QUEUE", "HISTORY", "PROBLEMS", "runs out 1970"]
        {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
        assert!(!text.contains("\n  8  done"), "{text}");
        let quiet = told(&json!({}), 0, Some(80)).join("\n");
        assert!(quiet.contains("the queue is empty") && quiet.contains("no problem is known"), "an older daemon");
    }

    #[test]
    fn a_backfill_is_told_while_there_is_something_to_tell() {
        let told = |left: u64, unreadable: u64| {
            backfill(&json!({ "instances_left": left, "instances_done": 7, "instances_unreadable": unreadable }))
        };
        assert_eq!(told(0, 0), None);
        assert!(told(5, 0).is_some_and(|line| line.contains("7 done, 5 left;")));
        assert!(told(0, 2).is_some_and(|line| line.contains("2 cannot be read")));
        assert_eq!(backfill(&json!({})), None, "an older daemon");
    }
}
