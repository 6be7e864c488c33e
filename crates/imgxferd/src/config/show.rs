//! The effective settings, as `--check` prints them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::Origin;

/// One setting as it is in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// Dotted key.
    pub key: String,
    /// Value, written as in TOML.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

impl Setting {
    pub(super) fn new(key: impl Into<String>, value: impl Into<toml::Value>, origin: Origin) -> Self {
        Self { key: key.into(), value: value.into().to_string(), origin }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  # {}", self.key, self.value, self.origin)
    }
}

/// What reading the configuration anew has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Reloaded {
    /// Keys in effect with their new value.
    pub(crate) taken: Vec<String>,
    /// Keys whose new value waits for a restart.
    #[serde(rename = "waits_for_restart")]
    pub(crate) waiting: Vec<String>,
}

impl Reloaded {
    /// `running` is what the daemon began with, `before` what was read last, `now` what has been read.
    pub(crate) fn between(running: &[Setting], before: &[Setting], now: &[Setting]) -> Self {
        let at_once =
            |key: &String| key.starts_with("peers.") || key.starts_with("consultation.") || key == "limits.rates";
        let taken = differing(before, now).into_iter().filter(at_once).collect();
        let waiting = differing(running, now).into_iter().filter(|key| !at_once(key)).collect();
        Self { taken, waiting }
    }
}

/// Keys whose values, those of all lists' elements together, are not the same.
fn differing(before: &[Setting], now: &[Setting]) -> BTreeSet<String> {
    let values = |settings: &[Setting]| {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for setting in settings {
            values.entry(setting.key.clone()).or_default().push(setting.value.clone());
        }
        values
    };
    let (before, now) = (values(before), values(now));
    before.keys().chain(now.keys()).filter(|key| before.get(*key) != now.get(*key)).cloned().collect()
}
