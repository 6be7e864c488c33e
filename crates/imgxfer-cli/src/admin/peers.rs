//! The daemon's peers, a few lines each: as a table they are wider than any terminal.

use serde_json::Value;

use super::render::flow;
use crate::output::safe;

/// Lines for each peer of a status, none wider than `width` unless a single word is.
pub(crate) fn lines(status: &Value, width: Option<usize>) -> Vec<String> {
    let peers = status["peers"].as_array().map(Vec::as_slice).unwrap_or_default();
    peers.iter().flat_map(|peer| one(peer, width)).collect()
}

fn one(peer: &Value, width: Option<usize>) -> Vec<String> {
    let mut lines = flow("  ", &heading(peer), width);
    lines.extend(flow("    ", &[key(peer)], width));
    lines.extend(flow("    ", &rights(peer), width));
    for connection in peer["connections"].as_array().into_iter().flatten() {
        lines.extend(flow("    ", &figures(connection), width));
    }
    lines
}

/// `cloud`, `cloud.example:11120`, `connected`, `priority routine`, `level auto`, `limit 4 Mbit/s`
fn heading(peer: &Value) -> Vec<String> {
    let word = |key: &str| peer[key].as_str().map(safe);
    let mut parts = vec![word("name").unwrap_or_default()];
    parts.push(word("address").unwrap_or_else(|| "no address".to_owned()));
    parts.push(if peer["connected"].as_bool() == Some(true) { "connected" } else { "not connected" }.to_owned());
    parts.extend(word("priority").map(|priority| format!("priority {priority}")));
    parts.extend(word("level").map(|level| format!("level {level}")));
    parts.extend(peer["limit_mbps"].as_f64().map(|mbps| format!("limit {mbps} Mbit/s")));
    parts
}

fn key(peer: &Value) -> String {
    let of = |kind: &str| peer["key"][kind].as_str().map(safe);
    of("fingerprint").or_else(|| of("subject").map(|name| format!("subject {name}"))).unwrap_or_default()
}

fn rights(peer: &Value) -> Vec<String> {
    let rights = peer["rights"].as_array().into_iter().flatten();
    let mut rights: Vec<String> = rights.filter_map(Value::as_str).map(safe).collect();
    match rights.first_mut() {
        Some(first) => first.insert_str(0, "may "),
        None => rights.push("has no rights here".to_owned()),
    }
    match &peer["sees"] {
        Value::String(whose) if whose == "all" => rights.push("sees everything".to_owned()),
        Value::String(_) => rights.push("sees what it sent".to_owned()),
        Value::Array(names) => {
            let names: Vec<String> = names.iter().filter_map(Value::as_str).map(safe).collect();
            rights.push(format!("sees what it and {} sent", names.join(" and ")));
        }
        // An older daemon does not say.
        _ => {}
    }
    rights
}

/// `over UDP with 192.0.2.7:53412`, `RTT 31 ms`, `queue 4 ms`, `loss 0.1 %`, `packets of 1452 bytes`
fn figures(connection: &Value) -> Vec<String> {
    let address = connection["address"].as_str().map(safe).unwrap_or_default();
    let figure = |key: &str| connection[key].as_f64();
    let tunnelled = connection["carrier"].as_str() == Some("tls");
    let mut parts = vec![format!("over {} with {address}", if tunnelled { "TLS" } else { "UDP" })];
    if tunnelled {
        parts.push("since UDP does not pass".to_owned());
    }
    parts.extend(figure("rtt_ms").map(|ms| format!("RTT {} ms", ms.round())));
    parts.extend(figure("queue_ms").map(|ms| format!("queue {} ms", ms.round())));
    // What the datagrams in a tunnel are like says nothing of the line.
    if !tunnelled {
        parts.extend(figure("loss_percent").map(|percent| format!("loss {percent:.1} %")));
        parts.extend(figure("packet_bytes").map(|bytes| format!("packets of {bytes} bytes")));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status() -> Value {
        let udp = json!({ "address": "192.0.2.7:53412", "carrier": "udp", "rtt_ms": 31.4, "queue_ms": 3.6,
            "loss_percent": 0.12, "packet_bytes": 8952, "sent_bytes": 5 });
        let tls = json!({ "address": "192.0.2.7:53413", "carrier": "tls", "rtt_ms": 31.4, "packet_bytes": 16_000 });
        json!({ "peers": [
            { "name": "cloud", "address": "cloud.example:11120", "connected": true, "priority": "routine",
              "level": "auto", "limit_mbps": 4.0, "key": { "fingerprint": "ix-abc" },
              "rights": ["send", "query"], "connections": [udp, tls] },
            { "name": "ward\u{1b}", "address": null, "connected": false, "key": { "subject": "CN=w" }, "rights": [] },
        ] })
    }

    #[test]
    fn a_peer_and_its_connections_are_told_in_words() {
        assert_eq!(
            lines(&status(), None),
            [
                "  cloud, cloud.example:11120, connected, priority routine, level auto, limit 4 Mbit/s",
                "    ix-abc",
                "    may send, query",
                "    over UDP with 192.0.2.7:53412, RTT 31 ms, queue 4 ms, loss 0.1 %, packets of 8952 bytes",
                "    over TLS with 192.0.2.7:53413, since UDP does not pass, RTT 31 ms",
                "  ward\\u{1b}, no address, not connected",
                "    subject CN=w",
                "    has no rights here",
            ]
        );
        // An older daemon says less.
        assert_eq!(lines(&json!({ "peers": [{}] }), Some(80)).len(), 3);
        assert!(lines(&json!({}), None).is_empty());
    }

    #[test]
    fn every_line_fits_the_terminal() {
        for width in [60, 80, 100] {
            let shown = lines(&status(), Some(width));
            assert!(shown.iter().all(|line| line.len() <= width), "{width}: {shown:#?}");
        }
    }
}
