//! How urgent a transfer is.

use serde::{Deserialize, Serialize};

/// How a transfer ranks among others on the same line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Priority {
    /// An emergency: goes before everything else.
    Stat,
    /// The ordinary day.
    #[default]
    Routine,
    /// Migration, priors, nightly copies: yields to everything else.
    Background,
}

impl Priority {
    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Routine => 0,
            Self::Stat => 1,
            Self::Background => 2,
        }
    }

    /// The priority with that number; routine for one that this program does not know.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Stat,
            2 => Self::Background,
            _ => Self::Routine,
        }
    }
}
