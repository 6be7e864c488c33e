//! What the operating system said, kept so that errors can be compared and copied.

use std::{fmt, io};

/// An error of the operating system: its kind and its own words.
///
/// [`io::Error`] can be neither compared nor cloned, and its kind alone says nothing of many errors, names that
/// cannot be resolved among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemError {
    kind: io::ErrorKind,
    words: String,
}

impl SystemError {
    /// Which kind of error it is.
    #[must_use]
    pub const fn kind(&self) -> io::ErrorKind {
        self.kind
    }
}

impl From<&io::Error> for SystemError {
    fn from(error: &io::Error) -> Self {
        Self { kind: error.kind(), words: error.to_string() }
    }
}

impl From<io::Error> for SystemError {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}

impl From<io::ErrorKind> for SystemError {
    fn from(kind: io::ErrorKind) -> Self {
        io::Error::from(kind).into()
    }
}

impl fmt::Display for SystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_quoted_where_there_is_no_kind_for_what_it_says() {
        // ENOTUNIQ, which the standard library has no kind for.
        let error = io::Error::from_raw_os_error(76);
        assert_eq!(error.kind().to_string(), "uncategorized error");
        let kept = SystemError::from(error);
        assert!(kept.to_string().contains("os error 76"), "{kept}");
        assert!(!kept.to_string().contains("uncategorized"), "{kept}");
    }
}
