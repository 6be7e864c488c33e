//! `imgxfer status`: what the daemon of this machine does.

use clap::Args;
use serde_json::Value;

use super::consultation;
use crate::admin::{Admin, AdminArgs, SELF, peers, render, transfers};
use crate::dates::expiry;
use crate::exit::Exit;
use crate::output::Output;
use crate::places::Places;
use crate::table::terminal_width;

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    admin: AdminArgs,
}

/// Asks and prints.
pub(crate) async fn run(args: &StatusArgs, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    let mut status = Admin::new(&args.admin, places)?.get("/status").await?;
    output.object(&status)?;
    if status["consultation"].is_object() {
        output.line(&consultation::told(&status["consultation"]))?;
        output.line("")?;
    }
    let width = terminal_width();
    let (known, running) = (peers::lines(&status, width), transfers::lines(&status, width));
    if let Some(expires) = status["certificate_expires"].as_i64() {
        status["certificate_expires"] = expiry(expires).into();
    }
    name_the_store(&mut status);
    if let Some(status) = status.as_object_mut() {
        status.remove("consultation");
        status.remove("peers");
        status.remove("transfers");
        if let Some(line) = status.remove("backfill").as_ref().and_then(backfill) {
            output.line(&line)?;
            output.line("")?;
        }
    }
    for line in render::text(&status, width) {
        output.line(&line)?;
    }
    for (lines, title, without) in
        [(known, "PEERS", "no peer is known"), (running, "TRANSFERS", "no transfer is running")]
    {
        output.line("")?;
        output.line(if lines.is_empty() { without } else { title })?;
        for line in lines {
            output.line(&line)?;
        }
    }
    Ok(Exit::Done)
}

/// Jobs for the site itself go to its own store.
fn name_the_store(status: &mut Value) {
    for list in ["peers", "jobs"] {
        let rows = status["queue"][list].as_array_mut();
        for row in rows.into_iter().flatten().filter(|row| row["peer"] == SELF) {
            row["peer"] = "this site's store".into();
        }
    }
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
    fn the_store_is_named_where_jobs_go() {
        let mut status = json!({ "queue": { "peers": [{ "peer": "self" }], "jobs": [{ "peer": "cloud" }] } });
        name_the_store(&mut status);
        assert_eq!(status["queue"]["peers"][0]["peer"], "this site's store");
        assert_eq!(status["queue"]["jobs"][0]["peer"], "cloud");
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
