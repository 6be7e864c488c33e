//! Where a setting was written, and what is wrong with it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A file, at this line and column (both from 1).
    File {
        /// The file.
        path: PathBuf,
        /// Line.
        line: usize,
        /// Column, in characters.
        column: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag on the command line.
    Flag(String),
    /// The program that embeds this one.
    Program,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Program => f.write_str("program"),
        }
    }
}

/// A configuration that cannot be used. Its text names the place, the key and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {}{problem}", if key.is_empty() { String::new() } else { format!("{key}: ") })]
#[non_exhaustive]
pub struct ConfigError {
    /// Where it was written.
    pub origin: Origin,
    /// Which setting, for example `listen.quic`; empty when the file as a whole is meant.
    pub key: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl ConfigError {
    pub(crate) fn new(origin: Origin, key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { origin, key: key.into(), problem: problem.into() }
    }
}

/// One text that settings are read from, and how places in it are named.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// A file and its text.
    File(Arc<PathBuf>, Arc<str>),
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl Place {
    pub(super) fn at(&self, span: Range<usize>) -> Origin {
        match self {
            Self::File(path, text) => {
                let before = text.get(..span.start.min(text.len())).unwrap_or(text);
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
                Origin::File { path: path.to_path_buf(), line, column }
            }
            Self::Environment(name) => Origin::Environment(name.clone()),
            Self::Flag(name) => Origin::Flag(name.clone()),
        }
    }

    /// Relative paths written here are relative to this folder; `None` for the working directory.
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Self::File(path, _) => path.parent(),
            Self::Environment(_) | Self::Flag(_) => None,
        }
    }
}
