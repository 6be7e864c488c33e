//! A set of chunk entries of one page, one bit each, lowest bit first.

use bytes::Bytes;

/// A set of positions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bitmap {
    bits: Vec<u8>,
}

impl Bitmap {
    /// No position set, room for `len`.
    #[must_use]
    pub fn empty(len: usize) -> Self {
        Self { bits: vec![0; len.div_ceil(8)] }
    }

    /// Reads a peer's bitmap for `len` positions: shorter ones are filled up with zeros; `None` when a
    /// position at or behind `len` is set.
    #[must_use]
    pub fn from_wire(bytes: &[u8], len: usize) -> Option<Self> {
        let mut map = Self::empty(len);
        if bytes.len() > map.bits.len() {
            return None;
        }
        map.bits[..bytes.len()].copy_from_slice(bytes);
        (map.iter().last().is_none_or(|last| last < len)).then_some(map)
    }

    /// For the wire, without trailing zero bytes.
    #[must_use]
    pub fn to_wire(&self) -> Bytes {
        let used = self.bits.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        Bytes::copy_from_slice(&self.bits[..used])
    }

    /// Adds a position that is within the room.
    pub fn set(&mut self, at: usize) {
        self.bits[at / 8] |= 1 << (at % 8);
    }

    /// Whether a position is in the set.
    #[must_use]
    pub fn get(&self, at: usize) -> bool {
        self.bits.get(at / 8).is_some_and(|b| b >> (at % 8) & 1 == 1)
    }

    /// Whether no position is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|b| *b == 0)
    }

    /// The positions, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.bits.len() * 8).filter(|at| self.get(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_bounds() {
        let mut map = Bitmap::empty(20);
        for at in [0, 7, 8, 19] {
            map.set(at);
        }
        assert_eq!(map.to_wire().len(), 3);
        assert_eq!(Bitmap::from_wire(&map.to_wire(), 20), Some(map.clone()));
        assert_eq!(map.iter().collect::<Vec<_>>(), [0, 7, 8, 19]);
        assert_eq!(Bitmap::from_wire(&map.to_wire(), 19), None, "a position behind the end");
        assert_eq!(Bitmap::from_wire(&[0, 0, 0, 0], 20), None, "too long");
        assert!(Bitmap::from_wire(&[], 20).is_some_and(|m| m.is_empty()));
        assert!(Bitmap::empty(9).to_wire().is_empty());
    }
}
