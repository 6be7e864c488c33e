//! Codes how far a sample is from its prediction.
//!
//! First on which side of the prediction it is, then in which of 32 buckets the distance falls, walked from where it is
//! expected, then where in the bucket.

use super::mixing::{COUNTER_START, Counter, Mixer, chance, update};
use super::patterns::{Guess, SURE};
use super::range::Coder;

/// Contexts of planes that look like nature, and of planes that repeat patterns.
pub(super) const NATURAL: usize = 6;
pub(super) const PATTERNS: usize = 10;
/// How many contexts there are of each kind.
const CONTEXT_SIZES: [usize; PATTERNS] = [512, 1024, 512, 1024, 2048, 4096, 512, 512, 2048, 2048];

/// Counters of one context: the side, the walk up, the walk down; for patterns the first two bits within each bucket.
const SIDE: usize = 0;
const WALK_UP: usize = 1;
const WALK_DOWN: usize = 32;
const WITHIN: usize = 64;
const WITHIN_SECOND: usize = 96;
const NODES_NATURAL: usize = 64;
const NODES_PATTERNS: usize = 128;
const BUCKETS: u32 = 32;
/// Bits within a bucket are never held for less likely than this, in 65536.
const LEAST: u32 = 64;

/// Sets of mixer weights that an expectation selects from, and kinds of node, each with sets of its own.
pub(super) const SELECTIONS: usize = 64;
const KINDS: usize = 4;

/// Where a sample is expected, and among which ones of its like it counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expectation<const N: usize> {
    /// The largest sample below the prediction, at most the plane's largest.
    pub(super) floor: u32,
    /// Number of the context of each kind.
    pub(super) contexts: [usize; N],
    /// Bucket that about half of the distances reach.
    pub(super) start: u32,
    /// What may come again.
    pub(super) guess: Guess,
    /// Set of mixer weights, below [`SELECTIONS`].
    pub(super) select: usize,
}

/// Where the counters of a sample's contexts begin, and its mixer weights.
#[derive(Clone, Copy)]
struct Place<const N: usize> {
    slots: [usize; N],
    select: usize,
    guess: Guess,
}

/// Adaptive probabilities of residuals.
#[derive(Debug)]
pub(super) struct Residuals<const N: usize> {
    max: u32,
    counters: Vec<Counter>,
    bases: [usize; N],
    mixer: Mixer<N>,
    /// Bits within a bucket, where contexts would not help: the first by bucket and selection, the second by bucket and first.
    within: Vec<Counter>,
    within_second: [[Counter; 2]; BUCKETS as usize],
    /// Whether a low bit is the guess's, by how sure that is.
    agreements: [Counter; SURE as usize + 1],
}

impl<const N: usize> Residuals<N> {
    const MIXES_WITHIN: bool = N == PATTERNS;
    const NODES: usize = if N == PATTERNS { NODES_PATTERNS } else { NODES_NATURAL };

    pub(super) fn new(max: u16) -> Self {
        let mut bases = [0; N];
        let mut total = 0;
        for (base, size) in bases.iter_mut().zip(CONTEXT_SIZES) {
            *base = total;
            total += size * Self::NODES;
        }
        Self {
            max: u32::from(max),
            counters: vec![COUNTER_START; total],
            bases,
            mixer: Mixer::new(NODES_PATTERNS, SELECTIONS * KINDS),
            within: vec![COUNTER_START; SELECTIONS * BUCKETS as usize],
            within_second: [[COUNTER_START; 2]; BUCKETS as usize],
            agreements: [COUNTER_START; SURE as usize + 1],
        }
    }

    /// Codes `sample`; returns it, or what the decoder read.
    pub(super) fn code<C: Coder>(&mut self, coder: &mut C, sample: u32, expect: &Expectation<N>) -> u32 {
        let floor = expect.floor;
        let mut place = Place { slots: self.bases, select: expect.select, guess: expect.guess };
        for (slot, context) in place.slots.iter_mut().zip(expect.contexts) {
            *slot += context * Self::NODES;
        }
        let above = floor < self.max && self.node(coder, &place, SIDE, sample > floor);
        // The decoder's sample means nothing, so what it "wants" may be any number.
        let (limit, distance) = if above {
            (self.max - floor - 1, sample.wrapping_sub(floor + 1))
        } else {
            (floor, floor.wrapping_sub(sample))
        };
        let bucket = self.walk(coder, &place, expect.start, bucket_of(distance), bucket_of(limit));
        let (first, bits) = bucket_range(bucket);
        let mut rest = 0;
        if bits > 0 {
            let guess = place.guess.sample;
            let guessed = if above { guess.wrapping_sub(floor + 1) } else { floor.wrapping_sub(guess) };
            rest = self.within(coder, &place, bucket, [distance.wrapping_sub(first), guessed.wrapping_sub(first)]);
        }
        let distance = (first + rest).min(limit);
        if above { floor + 1 + distance } else { floor - distance }
    }

    /// Which bucket: from the expected one up or down, at most `last`.
    #[inline]
    fn walk<C: Coder>(&mut self, coder: &mut C, place: &Place<N>, start: u32, wanted: u32, last: u32) -> u32 {
        let mut bucket = start.min(last);
        if bucket == 0 || self.node(coder, place, WALK_UP + bucket as usize - 1, wanted >= bucket) {
            while bucket < last && self.node(coder, place, WALK_UP + bucket as usize, wanted > bucket) {
                bucket += 1;
            }
        } else {
            bucket -= 1;
            while bucket > 0 && !self.node(coder, place, WALK_DOWN + bucket as usize, wanted >= bucket) {
                bucket -= 1;
            }
        }
        bucket
    }

    /// Where in a bucket; `rest` and what is guessed to be it.
    #[inline]
    fn within<C: Coder>(&mut self, coder: &mut C, place: &Place<N>, bucket: u32, [rest, guess]: [u32; 2]) -> u32 {
        let (_, bits) = bucket_range(bucket);
        let at = bucket as usize;
        let bit = (rest >> (bits - 1)) & 1 != 0;
        let high = if Self::MIXES_WITHIN {
            self.node(coder, place, WITHIN + at, bit)
        } else {
            code_plain(coder, &mut self.within[place.select * BUCKETS as usize + at], bit, LEAST)
        };
        let mut value = u32::from(high);
        if bits > 1 {
            let bit = (rest >> (bits - 2)) & 1 != 0;
            let second = if Self::MIXES_WITHIN {
                self.node(coder, place, WITHIN_SECOND + at, bit)
            } else {
                code_plain(coder, &mut self.within_second[at][usize::from(high)], bit, LEAST)
            };
            value = value * 2 + u32::from(second);
        }
        let mut low = bits.saturating_sub(2);
        if Self::MIXES_WITHIN && place.guess.times > 0 {
            // As long as the guess holds.
            while low > 0 && guess >> low == value {
                low -= 1;
                let guessed = (guess >> low) & 1;
                let agrees = (rest >> low) & 1 == guessed;
                let agrees = code_plain(coder, &mut self.agreements[place.guess.times], agrees, LEAST);
                value = value * 2 + (guessed ^ u32::from(!agrees));
            }
        }
        if low > 0 {
            value = (value << low) | coder.raw(rest & ((1 << low) - 1), low);
        }
        value
    }

    #[inline]
    fn node<C: Coder>(&mut self, coder: &mut C, place: &Place<N>, node: usize, bit: bool) -> bool {
        let kind = match node {
            SIDE => 0,
            WALK_UP..WALK_DOWN => 1,
            WALK_DOWN..WITHIN => 2,
            _ => 3,
        };
        let mut slots = place.slots;
        for slot in &mut slots {
            *slot += node;
        }
        self.mixer.bit(&mut self.counters, slots, [node, place.select * KINDS + kind], |one| coder.bit(bit, one))
    }
}

/// Codes a bit by one counter alone, neither value held for less likely than `least` in 65536.
#[inline]
pub(super) fn code_plain<C: Coder>(coder: &mut C, counter: &mut Counter, bit: bool, least: u32) -> bool {
    let bit = coder.bit(bit, chance(*counter).clamp(least, 65536 - least));
    update(counter, bit);
    bit
}

/// 0 to 3 alone, then two buckets an octave.
#[inline]
pub(super) fn bucket_of(distance: u32) -> u32 {
    if distance < 4 {
        return distance;
    }
    let octave = distance.ilog2();
    (2 * octave + ((distance >> (octave - 1)) & 1)).min(BUCKETS - 1)
}

/// First distance of a bucket, and bits to tell its distances apart.
#[inline]
fn bucket_range(bucket: u32) -> (u32, u32) {
    if bucket < 4 {
        return (bucket, 0);
    }
    let bits = bucket / 2 - 1;
    ((2 + bucket % 2) << bits, bits)
}
