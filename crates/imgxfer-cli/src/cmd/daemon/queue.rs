//! The daemon's queue: what is to be sent, how far it is, and why it is not done.

use std::time::Duration;

use clap::Args;
use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::units::human_bytes;
use serde_json::Value;

use crate::admin::{Admin, SELF};
use crate::exit::Exit;
use crate::output::{Output, safe};
use crate::rates::human_time;
use crate::table::{Column, lines, terminal_width, wrap};

/// Arguments of `daemon queue`.
#[derive(Debug, Args)]
pub(crate) struct QueueArgs {
    /// Show this job with its files
    #[arg(value_name = "JOB")]
    job: Option<u64>,
    /// List what is over as well: done, cancelled, dismissed
    #[arg(long)]
    all: bool,
}

/// Lists.
pub(crate) async fn run(args: &QueueArgs, admin: &Admin, output: &Output) -> anyhow::Result<Exit> {
    let width = terminal_width();
    let now = UnixSeconds::now().0;
    if let Some(job) = args.job {
        let found = admin.get(&format!("/queue/{job}")).await?;
        output.object(&found)?;
        output.lines(&told(&[&found["job"]], &[], now, width))?;
        for file in found["files"].as_array().into_iter().flatten() {
            let text = |key: &str| file[key].as_str().map(safe).unwrap_or_default();
            output.line(&format!("    {:<10}  {}", text("state"), text("path")))?;
        }
        return Ok(Exit::Done);
    }
    let status = admin.get("/status").await?;
    let running = status["transfers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let jobs = status["queue"]["jobs"].as_array().into_iter().flatten();
    let jobs: Vec<&Value> = jobs.filter(|job| args.all || !is_over(job)).collect();
    let with_progress = |job: &&Value| {
        let mut job = (*job).clone();
        if let Some(transfer) = running.iter().find(|transfer| transfer["job"] == job["id"]) {
            job["progress"] = transfer.clone();
        }
        job
    };
    output.objects(jobs.iter().map(with_progress))?;
    if jobs.is_empty() {
        output.say(if args.all { "the queue is empty" } else { "nothing waits; --all lists what is done" });
        return Ok(Exit::Done);
    }
    output.lines(&told(&jobs, running, now, width))?;
    Ok(Exit::Done)
}

pub(crate) fn is_over(job: &Value) -> bool {
    matches!(job["state"].as_str(), Some("done" | "cancelled" | "dismissed"))
}

/// A line for each job, and below it why it is not done and what can be done.
pub(crate) fn told(jobs: &[&Value], running: &[Value], now: i64, width: Option<usize>) -> Vec<String> {
    let columns = [
        Column::right("JOB"),
        Column::left("STATE"),
        Column::cut("TO", 8),
        Column::left("PRIORITY"),
        Column::right("FILES"),
        Column::right("SIZE"),
        Column::left("PROGRESS"),
    ];
    let text = |job: &Value, key: &str| job[key].as_str().unwrap_or_default().to_owned();
    let row = |job: &&Value| {
        let peer = text(job, "peer");
        vec![
            job["id"].to_string(),
            text(job, "state"),
            if peer == SELF { "own store".to_owned() } else { peer },
            text(job, "priority"),
            job["files"].to_string(),
            human_bytes(job["bytes"].as_u64().unwrap_or(0)),
            progress(job, running, now),
        ]
    };
    let table = lines(&columns, &jobs.iter().map(row).collect::<Vec<_>>(), width);
    let mut table = table.into_iter();
    let mut out: Vec<String> = table.next().into_iter().collect();
    for (line, job) in table.zip(jobs) {
        out.push(line);
        out.extend(why(job, width));
    }
    out
}

/// How far a job is, or when it goes on.
fn progress(job: &Value, running: &[Value], now: i64) -> String {
    let transfer = running.iter().find(|transfer| transfer["job"] == job["id"]);
    match (job["state"].as_str(), transfer) {
        (_, Some(transfer)) => {
            let number = |key: &str| transfer[key].as_u64().unwrap_or(0);
            let (arrived, expected) = (number("bytes_arrived"), number("bytes_expected").max(1));
            let percent = u128::from(arrived.min(expected)) * 100 / u128::from(expected);
            let left = transfer["seconds_left"].as_u64();
            let left = left.map(|left| format!(", {} left", human_time(Duration::from_secs(left))));
            format!("{percent} %{}", left.unwrap_or_default())
        }
        (Some("waiting"), None) => match job["next_try"].as_i64() {
            Some(at) if at > now => format!("again in {}", human_time(Duration::from_secs(at.abs_diff(now)))),
            _ => "again now".to_owned(),
        },
        (Some("done"), None) => format!("{} instances", job["instances"]),
        _ => String::new(),
    }
}

/// Why a job is not done, with what an operator can do.
fn why(job: &Value, width: Option<usize>) -> Vec<String> {
    let mut parts: Vec<String> = job["last_error"].as_str().map(safe).into_iter().collect();
    if let Some(gone) = job["gone"].as_u64().filter(|gone| *gone > 0) {
        parts.push(format!("{gone} files had vanished before they were sent"));
    }
    if parts.is_empty() {
        return Vec::new();
    }
    if let Some(tries) = job["attempts"].as_u64().filter(|tries| *tries > 1) {
        parts.push(format!("tried {tries} times"));
    }
    if job["state"] == "failed" {
        parts.push(format!("then `imgxfer daemon retry {0}`, or `dismiss {0}`", job["id"]));
    }
    wrap("     ", &parts.join("; "), width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::wide;
    use serde_json::json;

    #[test]
    fn jobs_fit_the_terminal_and_say_why_they_are_not_done() {
        let job = |id: u32, state: &str, error: Value| {
            json!({ "id": id, "peer": "cloud", "state": state, "priority": "background", "files": 312, "bytes": 157_000_000,
                "attempts": 3, "last_error": error, "next_try": 160, "gone": 0, "instances": 312 })
        };
        let unreachable = "unreachable: check the peer's address, and that UDP or TCP passes to it";
        let jobs = [
            job(1, "running", Value::Null),
            job(2, "waiting", json!(unreachable)),
            job(3, "failed", json!("files-gone: none of the files is there any more; dismiss the job")),
            job(4, "done", Value::Null),
        ];
        let running = [json!({ "job": 1, "bytes_arrived": 50, "bytes_expected": 200, "seconds_left": 90 })];
        let shown = told(&jobs.iter().collect::<Vec<_>>(), &running, 100, Some(80));
        assert!(shown.iter().all(|line| wide(line) <= 80), "{shown:#?}");
        let shown = shown.join("\n");
        assert!(shown.contains("25 %, 1 min 30 s left") && shown.contains("again in 1 min 0 s"), "{shown}");
        assert!(shown.contains("     unreachable: check the peer's") && shown.contains("tried 3 times"), "{shown}");
        assert!(shown.contains("retry 3`") && shown.contains("312 instances"), "{shown}");
    }
}
