//! What the daemon says of itself, for people: whatever it says, so that a newer one can say more.

use serde_json::{Map, Value};

use crate::output::safe;
use crate::table::{Column, lines, wide};

/// Headings, pairs and tables, one line each.
pub(crate) fn text(value: &Value, width: Option<usize>) -> Vec<String> {
    let mut out = Vec::new();
    match value {
        Value::Object(map) => object(map, "", width, &mut out),
        other => out.push(scalar(other)),
    }
    out
}

fn object(map: &Map<String, Value>, indent: &str, width: Option<usize>, out: &mut Vec<String>) {
    let plain = |value: &Value| !value.is_object() && !is_table(value);
    let longest = map.iter().filter(|(_, value)| plain(value)).map(|(key, _)| key.len()).max().unwrap_or(0);
    for (key, value) in map.iter().filter(|(_, value)| plain(value)) {
        out.push(format!("{indent}{:longest$}  {}", words(key), scalar(value)));
    }
    for (key, value) in map.iter().filter(|(_, value)| !plain(value)) {
        out.push(String::new());
        out.push(format!("{indent}{}", words(key).to_uppercase()));
        let deeper = format!("{indent}  ");
        match value {
            Value::Object(map) => object(map, &deeper, width, out),
            Value::Array(rows) => table(rows, &deeper, width, out),
            _ => {}
        }
    }
}

/// A line of `parts` with commas between them, gone on with on the next, further in, where `width` is reached.
pub(crate) fn flow(indent: &str, parts: &[String], width: Option<usize>) -> Vec<String> {
    let width = width.unwrap_or(usize::MAX);
    let mut lines = Vec::new();
    let mut line = indent.to_owned();
    let mut is_new = true;
    for (at, part) in parts.iter().enumerate() {
        let comma = usize::from(at + 1 < parts.len());
        if !is_new && wide(&line) + 1 + wide(part) + comma > width {
            lines.push(std::mem::replace(&mut line, format!("{indent}  ")));
            is_new = true;
        }
        if !is_new {
            line.push(' ');
        }
        line.push_str(part);
        line.push_str(&","[..comma]);
        is_new = false;
    }
    lines.push(line);
    lines
}

/// A list of objects that are flat.
fn is_table(value: &Value) -> bool {
    value.as_array().is_some_and(|rows| !rows.is_empty() && rows.iter().all(Value::is_object))
}

fn table(rows: &[Value], indent: &str, width: Option<usize>, out: &mut Vec<String>) {
    let mut keys: Vec<&String> = Vec::new();
    for key in rows.iter().filter_map(Value::as_object).flat_map(Map::keys) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let columns = vec![Column::cut("", 6); keys.len()];
    let heading = keys.iter().map(|key| words(key).to_uppercase()).collect();
    let cells = rows.iter().map(|row| keys.iter().map(|key| row.get(*key).map(scalar).unwrap_or_default()).collect());
    let cells: Vec<Vec<String>> = std::iter::once(heading).chain(cells).collect();
    let width = width.map(|width| width.saturating_sub(indent.len()));
    // The first line would be the columns' own names.
    out.extend(lines(&columns, &cells, width).into_iter().skip(1).map(|line| format!("{indent}{line}")));
}

fn words(key: &str) -> String {
    safe(&key.replace('_', " "))
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::String(text) => safe(text),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Array(list) => list.iter().map(scalar).collect::<Vec<_>>().join(", "),
        Value::Object(map) => {
            map.iter().map(|(key, value)| format!("{} {}", words(key), scalar(value))).collect::<Vec<_>>().join(" ")
        }
        Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn any_answer_is_shown() {
        let status = json!({
            "site_name": "north", "ready": true, "peers": [],
            "queue": { "waiting": 2 },
            "transfers": [{ "peer": "cloud\u{1b}", "bytes": 12 }, { "peer": "south", "rate": { "rtt_ms": 1.5 } }],
        });
        let shown = text(&status, None).join("\n");
        let expected = "peers      none\nready      yes\nsite name  north\n\nQUEUE\n  waiting  2\n\nTRANSFERS\n  \
                        BYTES  PEER         RATE\n  12     cloud\\u{1b}\n         south        rtt ms 1.5";
        assert_eq!(shown, expected);
        assert_eq!(text(&json!("x"), None), ["x"]);
    }

    #[test]
    fn a_long_line_goes_on_further_in() {
        let parts = ["one", "two", "three"].map(str::to_owned);
        assert_eq!(flow("  ", &parts, None), ["  one, two, three"]);
        assert_eq!(flow("  ", &parts, Some(17)), ["  one, two, three"]);
        assert_eq!(flow("  ", &parts, Some(16)), ["  one, two,", "    three"]);
        assert_eq!(flow("  ", &parts, Some(1)), ["  one,", "    two,", "    three"]);
    }
}
