//! `imgxfer audit show`: who did what, one line each.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use imgxfer_core::units::human_bytes;
use imgxferd::audit::{AUDIT_FILE, Record, read_line};
use jiff::civil::DateTime;
use serde_json::Value;

use super::{configured, folder_of, listed, unreadable};
use crate::cmd::audit::ShowArgs;
use crate::exit::Exit;
use crate::output::{Output, safe};

/// How often more is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// UIDs of one kind that are named in a line.
const UIDS_SHOWN: usize = 2;
/// Events that nobody looks for.
const CHECKPOINT: &str = "checkpoint";

/// Reads a day or a time, UTC, into the beginning of a record's time.
pub(crate) fn time(text: &str) -> Result<String, String> {
    let bare = text.trim_end_matches('Z').replace(' ', "T");
    let is_time = match bare.len() {
        10 => format!("{bare}T00:00").parse::<DateTime>().is_ok(),
        16 | 19 => bare.as_bytes()[10] == b'T' && bare.parse::<DateTime>().is_ok(),
        _ => false,
    };
    if is_time { Ok(bare) } else { Err("expected a day such as 2026-01-31, or 2026-01-31T08:00".to_owned()) }
}

/// Shows what is there, and what comes where that is wanted.
pub(crate) fn run(args: &ShowArgs, output: &Output) -> anyhow::Result<Exit> {
    let path = match &args.file {
        Some(path) => path.clone(),
        None => folder_of(&configured(&args.daemon.config)?)?,
    };
    let files = if path.is_dir() { listed(&path)? } else { vec![path] };
    output.line(HEADING)?;
    let mut bad = 0;
    let mut open = None;
    for file in files {
        let mut tail = Tail::open(file)?;
        bad += tail.show(args, output)?;
        open = Some(tail);
    }
    while args.follow
        && let Some(tail) = &mut open
    {
        std::thread::sleep(LOOK_EVERY);
        bad += tail.show(args, output)?;
        if tail.has_turned() {
            // What came between the last look and the turn.
            bad += tail.show(args, output)?;
            *tail = Tail::open(tail.path.clone())?;
        }
    }
    if bad == 0 {
        return Ok(Exit::Done);
    }
    output.warn(&format!("{bad} lines are no records, or were changed: imgxfer audit verify says which"));
    Ok(Exit::Integrity)
}

/// A file that may grow.
struct Tail {
    path: PathBuf,
    reader: BufReader<File>,
    inode: u64,
    /// The beginning of a line that is being written.
    begun: Vec<u8>,
}

impl Tail {
    fn open(path: PathBuf) -> anyhow::Result<Self> {
        let open = || {
            let file = File::open(&path)?;
            let inode = file.metadata()?.ino();
            Ok((BufReader::with_capacity(1 << 16, file), inode))
        };
        let (reader, inode) = open().map_err(|error: std::io::Error| unreadable(&path, &error))?;
        Ok(Self { path, reader, inode, begun: Vec::new() })
    }

    /// Shows what has come; returns how many lines were no records.
    fn show(&mut self, args: &ShowArgs, output: &Output) -> anyhow::Result<u64> {
        let mut bad = 0;
        loop {
            let read = self.reader.read_until(b'\n', &mut self.begun).map_err(|e| unreadable(&self.path, &e))?;
            if read == 0 || self.begun.last() != Some(&b'\n') {
                return Ok(bad);
            }
            self.begun.pop();
            match read_line(&self.begun) {
                Some(record) if wanted(&record, args) => {
                    output.line(&row(&record))?;
                    output.object(record.fields())?;
                }
                Some(_) => {}
                None => bad += 1,
            }
            self.begun.clear();
        }
    }

    /// Whether another file has its name now.
    fn has_turned(&self) -> bool {
        let is_current = self.path.file_name().is_some_and(|name| name == AUDIT_FILE);
        let now = |path: &Path| path.metadata().map(|metadata| metadata.ino()).ok();
        is_current && now(&self.path).is_some_and(|inode| inode != self.inode)
    }
}

fn wanted(record: &Record, args: &ShowArgs) -> bool {
    let event = record.text("event");
    let is_event = if args.event.is_empty() { event != CHECKPOINT } else { args.event.iter().any(|e| e == event) };
    let time = record.text("time");
    let from = args.from.as_ref().is_none_or(|from| time >= from.as_str());
    let to = args.to.as_ref().is_none_or(|to| time.get(..to.len()).is_none_or(|time| time <= to.as_str()));
    is_event
        && from
        && to
        && args.study.as_ref().is_none_or(|study| is_about(record, study.as_str()))
        && args.peer.as_ref().is_none_or(|peer| is_of(record, peer))
}

fn is_about(record: &Record, study: &str) -> bool {
    ["studies", "by_studies"].into_iter().any(|name| {
        let studies = record.fields().get(name).and_then(Value::as_array);
        studies.is_some_and(|studies| studies.iter().any(|uid| uid == study))
    })
}

fn is_of(record: &Record, peer: &str) -> bool {
    let row = record.fields().get("peer");
    let of_row = |name: &str| row.and_then(|row| row.get(name)).is_some_and(|value| value == peer);
    record.text("actor").strip_prefix("peer:") == Some(peer)
        || [record.text("peer"), record.text("key"), record.text("peer_key")].contains(&peer)
        || of_row("name")
        || of_row("key")
}

const HEADING: &str = "   RECORD  TIME (UTC)               EVENT                 WHO                   OUTCOME  ABOUT";

/// A record as a line for people.
fn row(record: &Record) -> String {
    let text = |name: &str| safe(record.text(name));
    let mut line = format!(
        "{:>9}  {:<23}  {:<20}  {:<20}  {:<7}  {}",
        record.seq(),
        text("time").trim_end_matches('Z').replace('T', " "),
        text("event"),
        text("actor"),
        text("outcome"),
        safe(&about(record))
    );
    line.truncate(line.trim_end().len());
    line
}

/// Fields that have columns of their own, or say nothing to people.
const ELSEWHERE: [&str; 22] = [
    "prev",
    "seq",
    "hash",
    "time",
    "actor",
    "key",
    "event",
    "outcome",
    "transfer",
    "bytes",
    "studies",
    "by",
    "by_studies",
    "by_series",
    "by_instances",
    "why",
    "complete",
    "certificate",
    "signature",
    "scheme",
    "before",
    "identity",
];

/// What it was about, in a few words.
fn about(record: &Record) -> String {
    let fields = record.fields();
    let mut words = Vec::new();
    let texts = |name: &str| {
        let list = fields.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let studies = texts("studies");
    if !studies.is_empty() {
        words.push(told_uids(&studies));
    }
    let by = texts("by");
    if !by.is_empty() {
        words.push(format!("by {}", by.join(", ")));
    }
    for (name, of) in [("by_studies", "study"), ("by_series", "series"), ("by_instances", "instance")] {
        let uids = texts(name);
        if !uids.is_empty() {
            words.push(format!("{of} {}", told_uids(&uids)));
        }
    }
    for (name, value) in fields {
        if ELSEWHERE.contains(&name.as_str()) {
            continue;
        }
        let name = name.replace('_', " ");
        match value {
            Value::String(text) if name == "root" || name.ends_with("hash") => {
                words.push(format!("{name} {}", text.chars().take(12).collect::<String>()));
            }
            Value::String(text) if name == "why" || name == "about" => words.push(text.clone()),
            Value::String(text) => words.push(format!("{name} {text}")),
            Value::Number(number) if name == "instances" => words.push(told_instances(record, number)),
            Value::Number(number) => words.push(format!("{name} {number}")),
            Value::Object(peer) => words.push(told_peer(peer)),
            Value::Array(items) if name == "peers" => {
                let names: Vec<&str> = items.iter().filter_map(|peer| peer.get("name")?.as_str()).collect();
                words.push(if names.is_empty() { "no peers".to_owned() } else { format!("peers {}", names.join(" ")) });
            }
            Value::Array(items) => {
                let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                words.push(format!("{name} {}", if items.is_empty() { "none".to_owned() } else { items.join(" ") }));
            }
            Value::Bool(_) | Value::Null => {}
        }
    }
    if fields.get("complete") == Some(&Value::Bool(false)) {
        words.push("not whole".to_owned());
    }
    if !record.text("why").is_empty() {
        words.push(record.text("why").to_owned());
    }
    words.join("; ")
}

fn told_uids(uids: &[&str]) -> String {
    let shown = uids[..uids.len().min(UIDS_SHOWN)].join(", ");
    let more = uids.len().saturating_sub(UIDS_SHOWN);
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn told_instances(record: &Record, number: &serde_json::Number) -> String {
    format!("{number} instances, {}", human_bytes(record.number("bytes").unwrap_or(0)))
}

fn told_peer(peer: &serde_json::Map<String, Value>) -> String {
    let text = |name: &str| peer.get(name).and_then(Value::as_str).unwrap_or_default();
    let list = |name: &str| {
        let list = peer.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
    };
    let rights = list("rights");
    let rights = if rights.is_empty() { "none".to_owned() } else { rights };
    format!("{} ({}): rights {rights}; sees {}", text("name"), text("key"), list("sees"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times_are_read() {
        for (text, read) in [
            ("2026-01-31", "2026-01-31"),
            ("2026-01-31T08:00", "2026-01-31T08:00"),
            ("2026-01-31 08:00:59Z", "2026-01-31T08:00:59"),
        ] {
            assert_eq!(time(text).as_deref(), Ok(read));
        }
        for wrong in ["", "2026", "2026-02-30", "2026-01-31T25:00", "yesterday", "2026-01-31x08:00"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
