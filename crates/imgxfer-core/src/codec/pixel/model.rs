//! The model that encoder and decoder share: neighbours, prediction, context, token.
//!
//! A sample is predicted from neighbours that are already coded; the difference is folded to a number
//! `z >= 0`, small for good predictions. `z` is coded as a token under a context, with what the token
//! leaves open as plain bits. The context is the local activity: differences among neighbours, and the
//! `z` of the two nearest. All arithmetic is on 32-bit integers that wrap.

use super::simd::Lanes;

/// Contexts by activity.
pub(super) const CONTEXTS: usize = 31;
/// The context of margins, where there is nothing to code.
pub(super) const IDLE: u32 = 31;
/// Tokens of a context.
pub(super) const TOKENS: usize = 64;
/// Classes of neighbourhood, each with its own weights: five of activity by three of direction.
pub(super) const CLASSES: usize = 15;
/// The class of samples without a reference.
pub(super) const CLASS_ALONE: usize = 15;
/// Fraction bits of weights.
pub(super) const WEIGHT_BITS: u32 = 13;
/// Most neighbours of a prediction.
pub(super) const NEIGHBOURS: usize = 15;

/// How samples are predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The median edge detector of JPEG-LS (ITU-T T.87).
    Median,
    /// Weights for six neighbours, the same everywhere.
    Six,
    /// Weights for ten neighbours, by class.
    Ten,
    /// Weights for ten neighbours and five of the reference, by class.
    Reference,
}

impl Kind {
    /// As in a payload.
    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Median),
            1 => Some(Self::Six),
            2 => Some(Self::Ten),
            3 => Some(Self::Reference),
            _ => None,
        }
    }

    /// As in a payload.
    pub(super) const fn byte(self) -> u8 {
        self as u8
    }

    /// Neighbours with a weight.
    pub(super) const fn neighbours(self) -> usize {
        match self {
            Self::Median => 0,
            Self::Six => 6,
            Self::Ten => 10,
            Self::Reference => 15,
        }
    }

    /// Classes with weights of their own.
    pub(super) const fn classes(self) -> usize {
        match self {
            Self::Median => 0,
            Self::Six => 1,
            Self::Ten => CLASSES,
            Self::Reference => CLASSES + 1,
        }
    }
}

/// Weights by neighbour and class, and what tells the classes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weights {
    /// By neighbour, by class; in units of 2^-13.
    pub(super) of: [[u32; 16]; NEIGHBOURS],
    /// Three times the class of activity by the position of its highest bit.
    pub(super) activity: [u32; 16],
}

impl Weights {
    pub(super) const NONE: Self = Self { of: [[0; 16]; NEIGHBOURS], activity: [0; 16] };

    /// Sets the classes of activity by the highest bits at which the next class begins.
    pub(super) fn set_bounds(&mut self, bounds: [u8; 4]) {
        for (bit, class) in (0u8..).zip(&mut self.activity) {
            *class = 3 * bounds.iter().map(|bound| u32::from(*bound <= bit)).sum::<u32>();
        }
    }
}

/// What a prediction looks at. West is the sample before; the north row is one above.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neighbours<V> {
    pub(super) w: V,
    pub(super) ww: V,
    pub(super) n: V,
    pub(super) nw: V,
    pub(super) nww: V,
    pub(super) ne: V,
    pub(super) nee: V,
    pub(super) nn: V,
    pub(super) nnw: V,
    pub(super) nne: V,
}

/// The same place in the reference, and four samples round it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reference<V, M> {
    pub(super) here: V,
    pub(super) w: V,
    pub(super) e: V,
    pub(super) n: V,
    pub(super) s: V,
    /// Where there is none.
    pub(super) missing: M,
}

/// Weights where a path wants them.
pub(super) struct Loaded<S: Lanes> {
    /// By class.
    of: [S::Table; NEIGHBOURS],
    /// Of class 0, for the kind that has no other.
    first: [S::V; SIX],
    activity: S::Table,
    max: S::V,
}

const SIX: usize = Kind::Six.neighbours();

impl<S: Lanes> Loaded<S> {
    #[inline(always)]
    pub(super) fn new(s: S, weights: &Weights, max: u16) -> Self {
        let mut of = [s.table(&weights.of[0]); NEIGHBOURS];
        for (to, from) in of.iter_mut().zip(&weights.of) {
            *to = s.table(from);
        }
        let mut first = [s.splat(0); SIX];
        for (to, from) in first.iter_mut().zip(&weights.of) {
            *to = s.splat(from[0]);
        }
        Self { of, first, activity: s.table(&weights.activity), max: s.splat(u32::from(max)) }
    }
}

#[inline(always)]
fn distance<S: Lanes>(s: S, a: S::V, b: S::V) -> S::V {
    s.sub(s.max_i(a, b), s.min_i(a, b))
}

/// Differences among neighbours: the two steps down and right, and how they compare.
#[derive(Debug, Clone, Copy)]
pub(super) struct Activity<V> {
    across: V,
    down: V,
    sum: V,
}

/// Looks at the neighbours.
#[inline(always)]
pub(super) fn activity<S: Lanes>(s: S, x: &Neighbours<S::V>) -> Activity<S::V> {
    let down = distance(s, x.w, x.nw);
    let across = distance(s, x.n, x.nw);
    Activity { across, down, sum: s.add(s.add(down, across), distance(s, x.n, x.ne)) }
}

/// The context: by the activity and the `z` of the sample before and of the one above.
#[inline(always)]
pub(super) fn context<S: Lanes>(s: S, activity: &Activity<S::V>, z_w: S::V, z_n: S::V) -> S::V {
    let energy = s.shr::<1>(s.add(s.add(activity.sum, z_w), z_n));
    let energy = s.add(s.min_i(energy, s.splat(65_534)), s.splat(1));
    // Two contexts to each doubling: twice the position of the highest bit, and the bit behind it.
    let log = s.ilog2(energy);
    let two = s.add(s.add(log, log), s.and(s.shr_by(s.add(energy, energy), log), s.splat(1)));
    let next = s.sub(two, s.splat(1));
    s.max_i(next, s.splat(0))
}

/// The class of the neighbourhood.
#[inline(always)]
fn class<S: Lanes>(s: S, x: &Neighbours<S::V>, activity: &Activity<S::V>, levels: &S::Table) -> S::V {
    let horizontal = s.add(distance(s, x.w, x.ww), activity.across);
    let vertical = s.add(activity.down, distance(s, x.n, x.nn));
    let log = s.min_i(s.ilog2(s.add(activity.sum, s.splat(1))), s.splat(15));
    let level = s.lookup(levels, log);
    let two = s.splat(2);
    let level = s.add(level, two);
    let level = s.select(steep(s, vertical, horizontal), s.sub(level, s.splat(1)), level);
    s.select(steep(s, horizontal, vertical), s.sub(level, two), level)
}

/// A neighbour by its weight.
#[inline(always)]
fn weighed<S: Lanes, const KIND: u8>(s: S, weights: &Loaded<S>, class: S::V, which: usize, v: S::V) -> S::V {
    let weight = if KIND == Kind::Six.byte() { weights.first[which] } else { s.lookup(&weights.of[which], class) };
    s.mul(weight, v)
}

#[inline(always)]
fn steep<S: Lanes>(s: S, a: S::V, b: S::V) -> S::M {
    s.gt_i(a, s.add(s.add(b, b), s.splat(2)))
}

/// The prediction, from 0 to `max`. `R` says whether the reference is used.
#[inline(always)]
pub(super) fn predict<S: Lanes, const KIND: u8>(
    s: S,
    weights: &Loaded<S>,
    x: &Neighbours<S::V>,
    activity: &Activity<S::V>,
    reference: &Reference<S::V, S::M>,
) -> S::V {
    let zero = s.splat(0);
    if KIND == Kind::Median.byte() {
        let (low, high) = (s.min_i(x.w, x.n), s.max_i(x.w, x.n));
        let inner = s.min_i(s.max_i(x.nw, low), high);
        return s.sub(s.add(x.w, x.n), inner);
    }
    let mut class_of = zero;
    if KIND != Kind::Six.byte() {
        class_of = class(s, x, activity, &weights.activity);
    }
    if KIND == Kind::Reference.byte() {
        let alone = s.splat(CLASS_ALONE as u32);
        class_of = s.select(reference.missing, alone, class_of);
    }
    // Three sums, so that they need not wait for one another.
    let a = s.add(weighed::<S, KIND>(s, weights, class_of, 0, x.w), s.splat(1 << (WEIGHT_BITS - 1)));
    let b = s.add(weighed::<S, KIND>(s, weights, class_of, 1, x.n), weighed::<S, KIND>(s, weights, class_of, 2, x.nw));
    let c = s.add(weighed::<S, KIND>(s, weights, class_of, 3, x.ne), weighed::<S, KIND>(s, weights, class_of, 4, x.ww));
    let mut a = s.add(a, weighed::<S, KIND>(s, weights, class_of, 5, x.nn));
    let (mut b, mut c) = (b, c);
    if KIND != Kind::Six.byte() {
        b = s.add(
            b,
            s.add(
                weighed::<S, KIND>(s, weights, class_of, 6, x.nww),
                weighed::<S, KIND>(s, weights, class_of, 7, x.nee),
            ),
        );
        c = s.add(
            c,
            s.add(
                weighed::<S, KIND>(s, weights, class_of, 8, x.nnw),
                weighed::<S, KIND>(s, weights, class_of, 9, x.nne),
            ),
        );
    }
    if KIND == Kind::Reference.byte() {
        a = s.add(a, weighed::<S, KIND>(s, weights, class_of, 10, reference.here));
        b = s.add(
            b,
            s.add(
                weighed::<S, KIND>(s, weights, class_of, 11, reference.w),
                weighed::<S, KIND>(s, weights, class_of, 12, reference.e),
            ),
        );
        c = s.add(
            c,
            s.add(
                weighed::<S, KIND>(s, weights, class_of, 13, reference.n),
                weighed::<S, KIND>(s, weights, class_of, 14, reference.s),
            ),
        );
    }
    let sum = s.sar::<WEIGHT_BITS>(s.add(s.add(a, b), c));
    s.min_i(s.max_i(sum, zero), weights.max)
}

/// Folds a difference of samples: 0, -1, 1, -2, 2 become 0, 1, 2, 3, 4; differences are of 16 bits.
#[inline(always)]
pub(super) fn fold<S: Lanes>(s: S, sample: S::V, prediction: S::V) -> S::V {
    let difference = s.sar::<16>(s.shl::<16>(s.sub(sample, prediction)));
    let folded = s.xor(s.add(difference, difference), s.sar::<31>(difference));
    s.and(folded, s.splat(0xFFFF))
}

/// The sample again, of its low 16 bits.
#[inline(always)]
pub(super) fn unfold<S: Lanes>(s: S, z: S::V, prediction: S::V) -> S::V {
    let sign = s.sub(s.splat(0), s.and(z, s.splat(1)));
    s.and(s.add(prediction, s.xor(s.shr::<1>(z), sign)), s.splat(0xFFFF))
}

/// Number of bits that a token leaves open: for `z` from 16 on, all but the highest three.
#[inline(always)]
pub(super) fn open_bits<S: Lanes>(s: S, z: S::V) -> S::V {
    // max(z, 15) has its highest bit at 3 or above; 3 and less stand for "none".
    let log = s.ilog2(s.max_i(z, s.splat(8)));
    let open = s.sub(log, s.splat(2));
    s.select(s.gt_i(z, s.splat(15)), open, s.splat(0))
}

/// The token of `z`, whose open bits are `open`.
#[inline(always)]
pub(super) fn token<S: Lanes>(s: S, z: S::V, open: S::V) -> S::V {
    // From 16 on: four tokens to each doubling.
    let large = s.add(s.add(s.shl::<2>(open), s.splat(4)), s.shr_by(z, open));
    s.select(s.gt_i(z, s.splat(15)), large, z)
}

/// What a token stands for: the number before its open bits, and how many those are.
pub(super) const fn token_parts(token: u32) -> (u32, u32) {
    if token < 16 { (token, 0) } else { (4 + token % 4, token / 4 - 2) }
}
