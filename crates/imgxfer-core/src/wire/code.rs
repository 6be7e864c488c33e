//! Numbers in control messages: why something is refused or fails, and what an end understands. They are for ever.

/// Why a receiver does not take an instance. Numbers are for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailCode {
    /// Its chunks kept arriving damaged, or did not make up the file that the manifest names.
    Integrity,
    /// The file says it is another instance than the manifest says.
    Identity,
    /// The receiver asked for a study to mend what is damaged, and this instance is not.
    Unwanted,
    /// Some reason that this program does not know.
    Other,
}

impl FailCode {
    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Other => 0,
            Self::Integrity => 1,
            Self::Identity => 2,
            Self::Unwanted => 3,
        }
    }

    /// What it means, and where to look.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Integrity => {
                "its bytes did not arrive as they were sent: look for faulty memory or a faulty disk at either end"
            }
            Self::Identity => {
                "the file names another instance than the manifest: it may have changed while it was sent"
            }
            Self::Unwanted => "it mends other instances, and did not ask for this one",
            Self::Other => "the other site gave a reason that this version does not know",
        }
    }

    /// The code with that number.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Integrity,
            2 => Self::Identity,
            3 => Self::Unwanted,
            _ => Self::Other,
        }
    }
}

/// Why something was refused. Numbers are for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefuseCode {
    /// The peer has no right to this.
    NotAllowed,
    /// Nothing matches, or nothing that the peer may see.
    NotFound,
    /// No space left at the receiver.
    NoSpace,
    /// Too much at once: try again later.
    Busy,
    /// The site is shutting down: try again later.
    ShuttingDown,
    /// A message broke the protocol or a limit.
    Protocol,
    /// The site failed in itself.
    Internal,
    /// Some reason that this program does not know.
    Other,
}

impl RefuseCode {
    const ALL: [(Self, u32); 8] = [
        (Self::Other, 0),
        (Self::NotAllowed, 1),
        (Self::NotFound, 2),
        (Self::NoSpace, 3),
        (Self::Busy, 4),
        (Self::ShuttingDown, 5),
        (Self::Protocol, 6),
        (Self::Internal, 7),
    ];

    /// Its number on the wire.
    #[must_use]
    pub fn number(self) -> u32 {
        Self::ALL.iter().find(|(code, _)| *code == self).map_or(0, |(_, n)| *n)
    }

    /// The code with that number.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        Self::ALL.iter().find(|(_, n)| *n == number).map_or(Self::Other, |(code, _)| *code)
    }
}

/// What an end of a transfer understands beyond the basics, as listed in the first message each way.
/// Numbers are for ever; unknown ones are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feature {
    /// The message [`Working`](super::message::Working).
    Working,
    /// As a receiver of a push: reads back what it has already, where [`Start::prove`](super::message::Start::prove) asks for it.
    Prove,
}

impl Feature {
    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Working => 1,
            Self::Prove => 2,
        }
    }

    /// All that this program understands.
    #[must_use]
    pub fn all() -> Vec<u32> {
        vec![Self::Working.number(), Self::Prove.number()]
    }

    /// Whether a peer listed it.
    #[must_use]
    pub fn is_in(self, listed: &[u32]) -> bool {
        listed.contains(&self.number())
    }
}
