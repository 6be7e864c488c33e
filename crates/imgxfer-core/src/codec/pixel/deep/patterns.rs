//! What stood behind the same neighbourhood the last time: for screens, text and palettes.

use super::predict::Neighbours;

/// Neighbourhoods looked up: a wide one and a narrow one.
pub(super) const LOOKUPS: usize = 2;
const SLOTS: usize = 1 << 16;
/// How often a value must have come again to count for most.
pub(super) const SURE: u8 = 4;
/// Distances to the prediction that are told apart, either way.
const REACH: i32 = 255;

/// A sample and how often in a row it was the one.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    sample: u16,
    times: u8,
}

/// A sample that may come again; `times` is at most [`SURE`], and 0 when there is none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Guess {
    pub(super) sample: u32,
    pub(super) times: usize,
}

/// Where the neighbourhoods of the sample to come are kept.
pub(super) type Keys = [usize; LOOKUPS];

/// The samples that followed neighbourhoods, by hash; a clash costs bits and nothing else.
#[derive(Debug)]
pub(super) struct Patterns {
    seen: [Vec<Seen>; LOOKUPS],
}

impl Patterns {
    pub(super) fn new() -> Self {
        Self { seen: std::array::from_fn(|_| vec![Seen::default(); SLOTS]) }
    }

    pub(super) fn keys(near: &Neighbours) -> Keys {
        [
            hash(&[near.w, near.n, near.nw, near.ne, near.ww, near.nn, near.nee, near.nnw]),
            hash(&[near.w, near.n, near.nw, near.ne]),
        ]
    }

    /// Context of each lookup: 0 for nothing seen, else how far what was seen is from `floor`, and how sure it is.
    pub(super) fn contexts(&self, keys: &Keys, floor: i32) -> [usize; LOOKUPS] {
        std::array::from_fn(|lookup| {
            let Seen { sample, times } = self.seen[lookup][keys[lookup]];
            if times == 0 {
                return 0;
            }
            let distance = (i32::from(sample) - floor + REACH).clamp(0, 2 * REACH) as usize;
            1 + distance * usize::from(SURE) + usize::from(times - 1)
        })
    }

    /// The sample that the wide neighbourhood, or else the narrow one, had, and how often in a row.
    pub(super) fn guess(&self, keys: &Keys) -> Guess {
        let wide = self.seen[0][keys[0]];
        let Seen { sample, times } = if wide.times > 0 { wide } else { self.seen[1][keys[1]] };
        Guess { sample: u32::from(sample), times: usize::from(times) }
    }

    pub(super) fn learn(&mut self, keys: &Keys, sample: u16) {
        for (seen, key) in self.seen.iter_mut().zip(keys) {
            let seen = &mut seen[*key];
            if seen.sample == sample && seen.times > 0 {
                seen.times = (seen.times + 1).min(SURE);
            } else {
                *seen = Seen { sample, times: 1 };
            }
        }
    }
}

fn hash(values: &[i32]) -> usize {
    let mixed =
        values.iter().fold(0_u32, |hash, value| (hash ^ *value as u32).wrapping_mul(0x9E37_79B1).rotate_left(15));
    (mixed.wrapping_mul(0x9E37_79B1) >> 16) as usize
}
