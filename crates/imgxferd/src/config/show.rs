//! The effective settings, as `--check` prints them.

use std::fmt;

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
