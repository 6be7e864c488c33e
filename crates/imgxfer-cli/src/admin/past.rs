//! What the daemon has transferred, a line each, and what somebody has to look at.

use std::time::Duration;

use imgxfer_core::units::{human_bytes, to_f64};
use serde_json::Value;

use super::SELF;
use super::render::flow;
use crate::dates::{ago, local};
use crate::output::safe;
use crate::rates::{human_rate, human_time};

/// A line for each past transfer of a status, newest first, and more where `width` asks for it.
pub(crate) fn lines(status: &Value, now: i64, width: Option<usize>) -> Vec<String> {
    let past = status["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    past.iter().flat_map(|past| flow("  ", &parts(past, now), width)).collect()
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// `2026-11-28 14:05 (10 min ago) to cloud`, `1 study of 312 instances`, `157 MB in 20 s`, `62.8 Mbit/s`, `receipt`
fn parts(past: &Value, now: i64) -> Vec<String> {
    let number = |key: &str| past[key].as_u64().unwrap_or(0);
    let ended = past["ended"].as_i64().unwrap_or(0);
    let peer = past["peer"].as_str().map(safe).unwrap_or_default();
    let whom = match past["direction"].as_str() {
        Some("in") if peer == SELF => "into this site's store".to_owned(),
        Some("in") => format!("from {peer}"),
        _ => format!("to {peer}"),
    };
    let studies = count(number("study_count"), "study", "studies");
    let instances = count(number("instances"), "instance", "instances");
    let mut parts = vec![format!("{} ({}) {whom}", local(ended), ago(now, ended)), format!("{studies} of {instances}")];
    let (bytes, seconds) = (number("bytes"), past["seconds"].as_f64().unwrap_or(0.0));
    let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    parts.push(format!("{} in {}", human_bytes(bytes), human_time(time)));
    if seconds > 0.0 && bytes > 0 {
        parts.push(human_rate(to_f64(bytes) * 8.0 / seconds));
    }
    if past["receipt"].as_bool() == Some(true) {
        parts.push("receipt".to_owned());
    }
    match number("instances_failed") {
        0 => {}
        failed => parts.push(format!("{failed} FAILED")),
    }
    parts.extend(past["problem"].as_str().map(|problem| format!("not whole: {}", safe(problem))));
    parts
}

/// What somebody has to look at, with what to do.
pub(crate) fn problems(status: &Value, width: Option<usize>) -> Vec<String> {
    let problems = status["problems"].as_array().map(Vec::as_slice).unwrap_or_default();
    let words = |problem: &Value| {
        let text = |key: &str| problem[key].as_str().map(safe).unwrap_or_default();
        let number = ["jobs", "instances", "files"].iter().find_map(|key| problem[*key].as_u64());
        let number = number.map(|number| format!("{number} ")).unwrap_or_default();
        crate::table::wrap("  ", &format!("{}: {number}{}", text("what"), text("remedy")), width)
    };
    problems.iter().flat_map(words).collect()
}

/// `12 studies, 3400 instances`, `1.20 GB of original files in 600 MB`, `1 CONFLICT`, `34.0 GB free`
pub(crate) fn store(status: &Value, width: Option<usize>) -> Vec<String> {
    let store = &status["store"];
    if !store.is_object() {
        return Vec::new();
    }
    let number = |key: &str| store[key].as_u64().unwrap_or(0);
    let mut parts = vec![
        count(number("studies"), "study", "studies"),
        count(number("instances"), "instance", "instances"),
        format!("{} of original files in {}", human_bytes(number("original_bytes")), human_bytes(number("pack_bytes"))),
    ];
    match number("conflicts") {
        0 => {}
        conflicts => parts.push(count(conflicts, "CONFLICT", "CONFLICTS")),
    }
    match number("waste_bytes") {
        0 => {}
        waste => parts.push(format!("{} of that to be given back", human_bytes(waste))),
    }
    parts.extend(store["space_left_bytes"].as_u64().map(|free| format!("{} free", human_bytes(free))));
    flow("  ", &parts, width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::wide;
    use serde_json::json;

    #[test]
    fn the_past_is_told_in_words() {
        let done = json!({ "ended": 400, "seconds": 20.0, "peer": "cloud", "direction": "out", "study_count": 1,
            "instances": 312, "instances_failed": 0, "bytes": 157_000_000, "receipt": true, "problem": null });
        let cut = json!({ "ended": 100, "seconds": 2.0, "peer": "north", "direction": "in", "study_count": 2,
            "instances": 1, "instances_failed": 3, "bytes": 10_000, "receipt": false, "problem": "line-lost" });
        let status = json!({ "history": [done, cut] });
        let shown = lines(&status, 1_000, None);
        assert!(
            shown[0].ends_with("(10 min ago) to cloud, 1 study of 312 instances, 157 MB in 20 s, 62.8 Mbit/s, receipt")
        );
        assert!(
            shown[1].ends_with(
                "from north, 2 studies of 1 instance, 10.0 kB in 2.0 s, 40.0 kbit/s, 3 FAILED, not whole: line-lost"
            ),
            "{shown:?}"
        );
        assert!(lines(&status, 1_000, Some(80)).iter().all(|line| wide(line) <= 80));
        assert!(lines(&json!({}), 0, None).is_empty() && store(&json!({}), None).is_empty());
    }

    #[test]
    fn problems_come_with_their_remedy() {
        let failed = json!({ "what": "failed", "jobs": 2, "remedy": "jobs failed: imgxfer daemon queue says why" });
        let disk = json!({ "what": "disk", "remedy": "the disk is full down to its reserve: make room" });
        let refused =
            json!({ "what": "refused", "files": 3, "remedy": "files in inboxes are DICOM and cannot be taken" });
        let shown = problems(&json!({ "problems": [failed, disk, refused] }), Some(40));
        assert!(shown[0].starts_with("  failed: 2 jobs failed: imgxfer"), "{shown:?}");
        assert!(shown.iter().any(|line| line.starts_with("  refused: 3 files")), "{shown:?}");
        assert!(shown.iter().all(|line| wide(line) <= 40) && shown.join(" ").contains("make room"), "{shown:?}");
    }

    #[test]
    fn the_store_tells_what_is_free() {
        let store_of = json!({ "store": { "studies": 1, "instances": 3400, "original_bytes": 1_200_000_000_u64,
            "pack_bytes": 600_000_000, "waste_bytes": 0, "space_left_bytes": 34_000_000_000_u64 } });
        let expected = "  1 study, 3400 instances, 1.20 GB of original files in 600 MB, 34.0 GB free";
        assert_eq!(store(&store_of, None), [expected]);
        let mut conflicting = store_of;
        conflicting["store"]["conflicts"] = json!(2);
        assert!(store(&conflicting, None)[0].contains("600 MB, 2 CONFLICTS, 34.0 GB free"));
    }
}
