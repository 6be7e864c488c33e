//! Whose a study is at a daemon, and by which ways it came there.

use serde_json::Value;

use super::SELF;
use crate::dates::utc;
use crate::output::safe;

/// Whose a study is, and how it came, in lines.
pub(crate) fn lines(told: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| safe(value.as_str().unwrap_or_default());
    let files = |value: &Value| count(value["contents"].as_u64().unwrap_or(0));
    let time = |value: &Value| utc(value.as_i64().unwrap_or(0));
    for owner in list(&told["owners"]) {
        let is_own = owner["owner"] == SELF;
        let whose = if is_own { "this site's own".to_owned() } else { format!("sent by {}", text(&owner["owner"])) };
        lines.push(format!("{whose}: {}, last changed {}", files(&owner), time(&owner["updated"])));
        for way in list(&owner["ways"]) {
            let about = way["about"].as_object().cloned().unwrap_or_default();
            let about: Vec<String> =
                about.iter().map(|(name, value)| format!("{} {}", safe(name), text(value))).collect();
            let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join(", ")) };
            let (first, newest) = (time(&way["first"]), time(&way["newest"]));
            let when = if first == newest { first } else { format!("{first} to {newest}") };
            lines.push(format!("  came by {}{about}, {when}: {}", text(&way["source"]), files(&way)));
        }
    }
    lines
}

fn count(files: u64) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_a_study_came_is_told_by_owner() {
        let told = json!({ "owners": [
            { "owner": "north", "contents": 1, "updated": 1_795_824_000 },
            { "owner": "self", "contents": 5, "updated": 1_795_831_200, "ways": [
                { "source": "inbox:/srv/in", "about": {}, "contents": 4, "first": 1_795_831_200, "newest": 1_795_831_200 },
                { "source": "ae:CT1\u{1b}", "about": { "address": "10.0.0.1" }, "contents": 2, "first": 0, "newest": 60 },
            ] },
        ] });
        let lines = lines(&told);
        assert!(lines[0].starts_with("sent by north: 1 file, last changed 2026-11-28"), "{lines:?}");
        assert!(lines[1].starts_with("this site's own: 5 files, last changed 2026-11-28"), "{lines:?}");
        assert!(
            lines[2].starts_with("  came by inbox:/srv/in, 2026-11-28") && lines[2].ends_with(": 4 files"),
            "{lines:?}"
        );
        assert!(
            lines[3].contains("(address 10.0.0.1), 1970-01-01") && lines[3].contains(" to 1970-01-01"),
            "{lines:?}"
        );
        assert!(!lines[3].contains('\u{1b}'), "nothing that a terminal obeys");
    }
}
