//! Which of several contents of one SOP Instance UID is current, and which are at odds.

use std::cmp::Reverse;

use super::Order;
use crate::ids::{ContentId, InstanceHash};

/// What decides between contents of one SOP Instance UID and one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    /// The file ends before its data set does.
    pub(super) cut: bool,
    /// When a published manifest stated it last.
    pub(super) stated: Option<Order>,
    /// When it was committed.
    pub(super) order: Order,
    pub(super) hash: InstanceHash,
}

/// The place of the current content: whole before cut, then the one that was stated last, then the first.
pub(super) fn current(claims: &[Claim]) -> Option<usize> {
    let weight = |claim: &Claim| (!claim.cut, claim.stated, Reverse(claim.order), claim.hash);
    claims.iter().enumerate().max_by_key(|(_, claim)| weight(claim)).map(|(place, _)| place)
}

/// Whether contents are at odds: two of one transfer syntax hold another data set. The same in another encoding is a
/// variant, and with another file meta group an alias.
pub(super) fn is_conflict<S: PartialEq>(contents: &[(ContentId, S)]) -> bool {
    contents.iter().enumerate().any(|(place, (content, syntax))| {
        contents[..place].iter().any(|(other, other_syntax)| content != other && syntax == other_syntax)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(cut: bool, stated: Option<u64>, order: u64) -> Claim {
        Claim { cut, stated: stated.map(Order), order: Order(order), hash: InstanceHash::from_bytes([1; 32]) }
    }

    #[test]
    fn one_content_is_current() {
        let cases: [(&[Claim], usize); 6] = [
            (&[claim(false, None, 1), claim(false, None, 2)], 0),
            (&[claim(false, None, 2), claim(false, None, 1)], 1),
            (&[claim(false, None, 1), claim(false, Some(5), 2)], 1),
            (&[claim(false, Some(9), 1), claim(false, Some(5), 2)], 0),
            (&[claim(true, Some(9), 1), claim(false, None, 2)], 1),
            (&[claim(true, None, 1), claim(true, None, 2)], 0),
        ];
        for (claims, expected) in cases {
            assert_eq!(current(claims), Some(expected), "{claims:?}");
        }
        assert_eq!(current(&[]), None);
    }

    #[test]
    fn aliases_and_variants_are_no_conflict() {
        let id = |n| ContentId::from_bytes([n; 32]);
        assert!(!is_conflict(&[(id(1), "a"), (id(1), "a")]), "the same under another file meta group");
        assert!(!is_conflict(&[(id(1), "a"), (id(2), "b")]), "another encoding");
        assert!(is_conflict(&[(id(1), "a"), (id(2), "b"), (id(3), "a")]));
    }
}
