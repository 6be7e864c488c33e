//! The daemon's running transfers, a few words each: as a table they are wider than any terminal.

use std::time::Duration;

use imgxfer_core::units::{human_bytes, to_f64};
use serde_json::Value;

use super::SELF;
use super::render::flow;
use crate::output::safe;
use crate::rates::{human_rate, human_time};

/// Two lines for each transfer of a status, and more where `width` asks for it.
pub(crate) fn lines(status: &Value, width: Option<usize>) -> Vec<String> {
    let transfers = status["transfers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |transfer| [flow("  ", &heading(transfer), width), flow("    ", &figures(transfer), width)];
    transfers.iter().flat_map(of).flatten().collect()
}

fn text<'a>(transfer: &'a Value, key: &str) -> &'a str {
    transfer[key].as_str().unwrap_or_default()
}

fn number(transfer: &Value, key: &str) -> u64 {
    transfer[key].as_u64().unwrap_or(0)
}

/// Whether it is no transfer over a line, but files that are put into the site's own store.
fn is_put(transfer: &Value) -> bool {
    text(transfer, "peer") == SELF
}

/// `to cloud, stat, job 7: 12 of 300 instances, 6.29 MB of 157 MB, 3 min 20 s left`
fn heading(transfer: &Value) -> Vec<String> {
    let way = if text(transfer, "direction") == "in" { "from" } else { "to" };
    let mut whose = safe(text(transfer, "priority"));
    if let Some(job) = transfer["job"].as_i64() {
        whose += &format!(", job {job}");
    }
    let (instances, expected) = (number(transfer, "instances_committed"), number(transfer, "instances_expected"));
    let (bytes, bytes_expected) = (number(transfer, "bytes_arrived"), number(transfer, "bytes_expected"));
    let place = match is_put(transfer) {
        true => "to this site's store".to_owned(),
        false => format!("{way} {}", safe(text(transfer, "peer"))),
    };
    let mut parts = vec![
        place,
        format!("{whose}: {instances} of {} instances", expected.max(instances)),
        format!("{} of {}", human_bytes(bytes), human_bytes(bytes_expected.max(bytes))),
    ];
    let left = transfer["seconds_left"].as_u64();
    parts.extend(left.map(|left| format!("{} left", human_time(Duration::from_secs(left)))));
    parts
}

/// `7.60 Mbit/s line, 30.4 Mbit/s original, RTT 31 ms, queue 4 ms, loss 0.1 %, pixel level 4, limit 8 Mbit/s`
fn figures(transfer: &Value) -> Vec<String> {
    let rate = |key| human_rate(to_f64(number(transfer, key)) * 8.0);
    let mut parts = vec![format!("{} original", rate("bytes_per_second"))];
    if !is_put(transfer) {
        parts.insert(0, format!("{} line", rate("line_bytes_per_second")));
    }
    let figure = |key: &str| transfer[key].as_f64();
    parts.extend(figure("rtt_ms").map(|ms| format!("RTT {} ms", ms.round())));
    parts.extend(figure("queue_ms").map(|ms| format!("queue {} ms", ms.round())));
    parts.extend(figure("loss_percent").map(|percent| format!("loss {percent:.1} %")));
    match (transfer["codec"].as_str(), transfer["level"].as_u64()) {
        (Some(codec), Some(level)) => parts.push(format!("{} level {level}", safe(codec))),
        (Some(codec), None) => parts.push(safe(codec)),
        (None, _) => {}
    }
    if text(transfer, "carrier") == "tls" {
        parts.push("over TLS, since UDP does not pass".to_owned());
    }
    parts.extend(figure("limit_mbps").map(|mbps| format!("limit {mbps} Mbit/s")));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_transfer_is_two_lines() {
        let transfer = json!({
            "peer": "cloud", "direction": "out", "priority": "stat", "job": 7,
            "instances_committed": 12, "instances_expected": 300,
            "bytes_arrived": 6_290_000, "bytes_expected": 157_000_000, "seconds_left": 200,
            "line_bytes_per_second": 950_000, "bytes_per_second": 3_800_000,
            "rtt_ms": 31.4, "queue_ms": 3.6, "loss_percent": 0.12,
            "codec": "pixel", "level": 4, "carrier": "udp", "limit_mbps": 8.0,
        });
        let shown = lines(&json!({ "transfers": [transfer] }), None);
        assert_eq!(
            shown,
            [
                "  to cloud, stat, job 7: 12 of 300 instances, 6.29 MB of 157 MB, 3 min 20 s left",
                "    7.60 Mbit/s line, 30.4 Mbit/s original, RTT 31 ms, queue 4 ms, loss 0.1 %, pixel level 4, \
                 limit 8 Mbit/s"
            ]
        );
        let put = json!({
            "peer": "self", "direction": "in", "priority": "routine", "job": 3, "bytes_per_second": 3_800_000,
            "instances_committed": 2, "instances_expected": 5, "bytes_arrived": 1_000_000, "bytes_expected": 2_500_000,
        });
        let shown = lines(&json!({ "transfers": [put] }), None);
        let expected = [
            "  to this site's store, routine, job 3: 2 of 5 instances, 1.00 MB of 2.50 MB",
            "    30.4 Mbit/s original",
        ];
        assert_eq!(shown, expected);
        // An older daemon says less.
        let shown = lines(&json!({ "transfers": [{ "peer": "a\u{1b}", "direction": "in", "carrier": "tls" }] }), None);
        assert!(shown[0].starts_with("  from a\\u{1b}, ") && shown[1].contains("over TLS"), "{shown:?}");
        assert!(lines(&json!({}), None).is_empty());
    }
}
