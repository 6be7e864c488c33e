//! Probabilities of one bit from several contexts: adaptive counters, weighed in the logistic domain.

use super::logistic::{squash, stretch};

/// A probability of 22 bits, its highest bit flipped, above a count of 10. So zero is one half with nothing counted, and
/// a table of new counters is memory that nobody need touch.
pub(super) type Counter = u32;
pub(super) const COUNTER_START: Counter = 0;
const FLIP: u32 = 1 << 31;
const COUNT_MASK: u32 = 1023;
/// From here on a counter forgets as fast as it learns.
const COUNT_MAX: u32 = 500;

/// What each input weighs at first, in either set; a weight of 65536 is one.
const WEIGHT_START: i32 = 7000;
/// Steps of 16 bits over which a set's learning rate falls.
const RATE_STEPS: usize = 256;

/// Moves a counter towards a bit: by 1/1.5 at first, by 1/2.5 then, and so on.
#[inline]
pub(super) fn update(counter: &mut Counter, bit: bool) {
    let count = *counter & COUNT_MASK;
    let probability = i64::from((*counter ^ FLIP) >> 10);
    let target = if bit { (1 << 22) - 1 } else { 0 };
    let change = ((target - probability) * i64::from(RECIPROCALS[count as usize])) >> 16;
    *counter = ((((probability + change) as u32) << 10) ^ FLIP) | (count + u32::from(count < COUNT_MAX));
}

/// The chance of a 1 that a counter stands for, in 65536ths.
#[inline]
pub(super) fn chance(counter: Counter) -> u32 {
    (counter ^ FLIP) >> 16
}

static RECIPROCALS: [u32; COUNT_MASK as usize + 1] = reciprocals();
static RATES: [i32; RATE_STEPS] = rates();

const fn reciprocals() -> [u32; COUNT_MASK as usize + 1] {
    let mut table = [0; COUNT_MASK as usize + 1];
    let mut count = 0;
    while count < table.len() {
        table[count] = 131_072 / (2 * count as u32 + 3);
        count += 1;
    }
    table
}

const fn rates() -> [i32; RATE_STEPS] {
    let mut table = [0; RATE_STEPS];
    let mut step = 0;
    while step < table.len() {
        table[step] = 12 + 4800 / (80 + 16 * step as i32);
        step += 1;
    }
    table
}

/// Weights for `N` inputs, and how many bits they learned from.
#[derive(Debug, Clone)]
struct Set<const N: usize> {
    weights: [i32; N],
    bits: usize,
}

/// Weighs `N` counters: the weight of each is the sum of one from either of two sets.
#[derive(Debug)]
pub(super) struct Mixer<const N: usize> {
    first: Vec<Set<N>>,
    second: Vec<[i32; N]>,
}

impl<const N: usize> Mixer<N> {
    pub(super) fn new(first: usize, second: usize) -> Self {
        let weights = [WEIGHT_START; N];
        Self { first: vec![Set { weights, bits: 0 }; first], second: vec![weights; second] }
    }

    /// Codes a bit with `code`, which gets the probability and returns the bit; learns from it.
    #[inline]
    pub(super) fn bit(
        &mut self,
        counters: &mut [Counter],
        slots: [usize; N],
        select: [usize; 2],
        code: impl FnOnce(u32) -> bool,
    ) -> bool {
        // Plain loops: a `map` of an array is not always inlined.
        let mut inputs = [0; N];
        for (input, slot) in inputs.iter_mut().zip(slots) {
            *input = stretch(chance(counters[slot]));
        }
        let set = &mut self.first[select[0]];
        let second = &mut self.second[select[1]];
        let mut sum = 0_i64;
        for ((input, a), b) in inputs.iter().zip(&set.weights).zip(second.iter()) {
            sum += i64::from(a.wrapping_add(*b)) * i64::from(*input);
        }
        let probability = squash(sum >> 16);
        let bit = code(probability);
        let target = if bit { 65535 } else { 0 };
        let error = i64::from((target - probability as i32) * RATES[set.bits / 16]);
        set.bits = (set.bits + 1).min(RATE_STEPS * 16 - 1);
        for ((input, a), b) in inputs.iter().zip(&mut set.weights).zip(second.iter_mut()) {
            let change = ((i64::from(*input) * error + (1 << 19)) >> 20) as i32;
            *a = a.wrapping_add(change);
            *b = b.wrapping_add(change);
        }
        for slot in slots {
            update(&mut counters[slot], bit);
        }
        bit
    }
}
