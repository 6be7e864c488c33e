//! What is wrong with a text of TOML, in words of an operator: which key, what was found, and what is allowed.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::origin::{ConfigError, Place};

/// Longest piece of the text that is quoted.
const FOUND_CHARS_MAX: usize = 60;

/// The step that the TOML library puts into a path for a value whose place is kept.
const SPAN_STEP: &str = "$__serde_spanned_private_value";

/// Reads a whole file's `text`; `path` is for the message alone.
///
/// # Errors
/// [`ConfigError`] with the line and key of the first thing that is wrong, what was found there, and what is allowed.
pub fn read_toml<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    parse(&Place::File(Arc::new(path.to_owned()), text.into()), text)
}

pub(super) fn parse<T: DeserializeOwned>(place: &Place, text: &str) -> Result<T, ConfigError> {
    let deserializer = toml::Deserializer::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let (key, problem) = syntax(error.message(), found(text, &span), &line_at(text, span.start));
        ConfigError::new(place.at(span), key, problem)
    })?;
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let key = key_of(&error.path().to_string());
        let error = error.into_inner();
        let span = error.span().unwrap_or(0..0);
        let problem = problem(&key, error.message(), &found(text, &span));
        ConfigError::new(place.at(span), plain_key(&key), problem)
    })
}

/// A path of the library's as a dotted key: `listen.mtu`, `peers[0].name`.
fn key_of(path: &str) -> String {
    path.split('.').filter(|step| !step.is_empty() && *step != SPAN_STEP).fold(String::new(), |key, step| {
        let step = step.strip_prefix(SPAN_STEP).unwrap_or(step);
        if key.is_empty() || step.starts_with('[') { key + step } else { key + "." + step }
    })
}

/// The same without the numbers of list elements: the line tells which is meant.
fn plain_key(key: &str) -> String {
    let mut plain = String::new();
    let mut inside = false;
    for c in key.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => plain.push(c),
            _ => {}
        }
    }
    plain
}

fn shortened(text: &str) -> String {
    let text = text.lines().next().unwrap_or("").trim();
    let short: String = text.chars().take(FOUND_CHARS_MAX).collect();
    if short.len() < text.len() { format!("{short}...") } else { short }
}

/// What stands at `span`, shortened.
fn found(text: &str, span: &Range<usize>) -> String {
    shortened(text.get(span.clone()).unwrap_or(""))
}

/// The line that byte `at` is in, shortened.
fn line_at(text: &str, at: usize) -> String {
    let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
    shortened(text.get(start..).unwrap_or(""))
}

/// The key and the problem of a text that is no TOML.
fn syntax(message: &str, found: String, line: &str) -> (String, String) {
    match message {
        "duplicate key" => (found, "is written twice; keep one of the two".to_owned()),
        _ => {
            let message = message.replace('\n', ", ");
            (String::new(), format!("the line `{line}` is not TOML ({message}); write KEY = VALUE or [TABLE]"))
        }
    }
}

/// The problem of a text that is TOML and not what is wanted. `key` still has the numbers of list elements.
fn problem(key: &str, message: &str, found: &str) -> String {
    if let Some((table, _)) = key.split_once('[')
        && !table.is_empty()
        && !LISTS.contains(&plain_key(table).as_str())
    {
        return format!("is a table and no list: write [{table}], once");
    }
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let (name, allowed) = rest.split_once(", ").unwrap_or((rest, "nothing is expected"));
        let allowed =
            allowed.strip_prefix("expected one of ").or_else(|| allowed.strip_prefix("expected ")).unwrap_or(allowed);
        return format!("there is no setting {name} here; correct its spelling, or remove it. Allowed are {allowed}");
    }
    if let Some(name) = message.strip_prefix("missing field ") {
        return format!("{name} is missing; add it");
    }
    if let Some((_, allowed)) = message.strip_prefix("unknown variant ").and_then(|rest| rest.split_once(", expected "))
    {
        return format!("{found} is not allowed; it must be {allowed}");
    }
    let typed = message.starts_with("invalid type") || message.starts_with("invalid value");
    let allowed = message.strip_prefix("expected ");
    let allowed = allowed.or_else(|| message.rsplit_once(", expected ").filter(|_| typed).map(|(_, allowed)| allowed));
    match allowed {
        Some(allowed) => format!("{found} is not allowed; it must be {}", words(key, allowed)),
        None => message.replace('\n', ", "),
    }
}

/// Settings whose value is a list.
const LISTS: [&str; 7] =
    ["peers", "inbox", "limits.rates", "admin.hosts", "peers.limits", "peers.rights", "peers.sees"];

/// What the library wants, in words.
fn words(key: &str, wanted: &str) -> String {
    match wanted {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i64" => "a whole number".to_owned(),
        "f64" => "a number".to_owned(),
        "a string" => "a text in quotes".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" if matches!(key, "peers" | "inbox") => format!("a list: write each as [[{key}]]"),
        "a sequence" => "a list in [ ]".to_owned(),
        "a map" => "a table".to_owned(),
        "struct Limit" => "a table such as { hours = \"08:00-18:00\", mbps = 4 }".to_owned(),
        _ if wanted.starts_with("struct ") => format!("a table: write [{key}], and its settings below"),
        other => other.to_owned(),
    }
}
