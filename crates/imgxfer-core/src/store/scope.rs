//! Whose instances a question is about.

use crate::ids::PeerId;

/// Whose instances a question is about. All that an answer says, it says of what is within the scope alone: of a study
/// that is partly within it, patients, attributes, counts and which contents are current come of that part; the part
/// has no version, and was last changed when the newest of it came.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// Everything in the store.
    All,
    /// What belongs to one of `owners`, and what belongs to the site itself ([`PeerId::SELF`]) and came by one of
    /// `sources`, whatever other ways it came by, too.
    Of {
        /// Peers.
        owners: Vec<PeerId>,
        /// Sources, each the whole of a [`Provenance::source`](super::Provenance::source) as it is kept.
        sources: Vec<String>,
    },
}

impl Scope {
    /// Nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self::Of { owners: Vec::new(), sources: Vec::new() }
    }

    /// What belongs to one owner.
    #[must_use]
    pub fn owner(owner: PeerId) -> Self {
        Self::owners([owner])
    }

    /// What belongs to these owners.
    #[must_use]
    pub fn owners(owners: impl IntoIterator<Item = PeerId>) -> Self {
        Self::Of { owners: owners.into_iter().collect(), sources: Vec::new() }
    }

    /// What belongs to the site itself and came by one of these sources.
    #[must_use]
    pub fn sources<S: Into<String>>(sources: impl IntoIterator<Item = S>) -> Self {
        Self::none().with_sources(sources)
    }

    /// The same, and what belongs to the site itself and came by one of these sources.
    #[must_use]
    pub fn with_sources<S: Into<String>>(mut self, more: impl IntoIterator<Item = S>) -> Self {
        if let Self::Of { sources, .. } = &mut self {
            sources.extend(more.into_iter().map(Into::into));
        }
        self
    }

    /// Whether all that belongs to `owner` is within it.
    #[must_use]
    pub fn admits(&self, owner: &PeerId) -> bool {
        match self {
            Self::All => true,
            Self::Of { owners, .. } => owners.contains(owner),
        }
    }

    /// The sources that decide what of the site's own is within it; none where that is all or nothing.
    pub(crate) fn deciding_sources(&self) -> &[String] {
        match self {
            Self::Of { sources, .. } if !self.admits(&PeerId::SELF) => sources,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn peer(number: u8) -> PeerId {
        PeerId::from_bytes([number; PeerId::LEN])
    }

    #[test]
    fn sources_say_what_of_the_sites_own_is_seen_where_nothing_else_does() {
        let by_source = Scope::owner(peer(1)).with_sources(["inbox:/a"]);
        assert!(by_source.admits(&peer(1)) && !by_source.admits(&peer(2)) && !by_source.admits(&PeerId::SELF));
        assert_eq!(by_source.deciding_sources(), ["inbox:/a"]);
        let whole = Scope::owner(PeerId::SELF).with_sources(["inbox:/a"]);
        assert!(whole.deciding_sources().is_empty(), "all of it is seen");
        assert_eq!(Scope::All.with_sources(["inbox:/a"]), Scope::All);
        assert_eq!(Scope::sources(["inbox:/a"]), Scope::none().with_sources(["inbox:/a"]));
        assert!(!Scope::none().admits(&PeerId::SELF));
    }
}
