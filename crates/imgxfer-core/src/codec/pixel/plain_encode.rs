//! The encoder's loops for single lanes.

use super::model::{
    self, IDLE, Kind, Loaded, Neighbours, Reference, TOKENS, activity, context, fold, open_bits, token,
};
use super::simd::{LANES, Plain};
use super::tables::{ENTRIES, SHARE_BITS};
use super::wave::{LAG, ROWS_AT_ONCE};
use super::wave_encode::{Entries, LEAD, Row, STATE_START};

/// Models a row.
pub(super) fn model_row<const KIND: u8>(
    weights: &Loaded<Plain>,
    row: &Row<'_>,
    folded_north: &[u16],
    folded: &mut [u16],
    to: &mut [u32],
) {
    match row.in_frame {
        0 => model::<KIND, 0>(weights, row, folded_north, folded, to),
        1 => model::<KIND, 1>(weights, row, folded_north, folded, to),
        _ => model::<KIND, 2>(weights, row, folded_north, folded, to),
    }
}

fn model<const KIND: u8, const ROW: u8>(
    weights: &Loaded<Plain>,
    row: &Row<'_>,
    folded_north: &[u16],
    folded: &mut [u16],
    to: &mut [u32],
) {
    let s = Plain;
    // A sample stands in the middle of its window.
    let norths = row.north.array_windows::<5>().zip(row.north_north.array_windows::<5>());
    let windows = row.current.array_windows::<5>().zip(norths);
    let coded = folded_north.iter().zip(folded).zip(&mut to[..row.width]);
    let mut z_w = 0;
    for (column, ((current, (north, north_north)), ((z_n, z), to))) in windows.zip(coded).enumerate() {
        let [ww, w, sample, _, _] = current.map(u32::from);
        let mut x = Neighbours { w, ww, n: w, nw: w, nww: w, ne: w, nee: w, nn: w, nnw: w, nne: w };
        if ROW > 0 {
            [x.nww, x.nw, x.n, x.ne, x.nee] = north.map(u32::from);
            [x.nnw, x.nn, x.nne] = [x.nw, x.n, x.ne];
        }
        if ROW > 1 {
            [_, x.nnw, x.nn, x.nne, _] = north_north.map(u32::from);
        }
        let reference = if KIND == Kind::Reference.byte() { reference(row, column) } else { NO_REFERENCE };
        let activity = activity(s, &x);
        let prediction = model::predict::<Plain, KIND>(s, weights, &x, &activity, &reference);
        let folded = fold(s, sample, prediction);
        let z_n = if ROW == 0 { z_w } else { u32::from(*z_n) };
        let context = context(s, &activity, z_w, z_n);
        let symbol = context * TOKENS as u32 + token(s, folded, open_bits(s, folded));
        *to = symbol << 16 | folded;
        *z = (folded & 0xFFFF) as u16;
        z_w = folded;
    }
}

const NO_REFERENCE: Reference<u32, bool> = Reference { here: 0, w: 0, e: 0, n: 0, s: 0, missing: true };

fn reference(row: &Row<'_>, column: usize) -> Reference<u32, bool> {
    let Some([here, north, south]) = row.reference else { return NO_REFERENCE };
    let at = |row: &[u16], shift: usize| u32::from(row[column + shift]);
    Reference { here: at(here, 2), w: at(here, 1), e: at(here, 3), n: at(north, 2), s: at(south, 2), missing: false }
}

/// Codes all entries from the last to the first.
pub(super) fn code(entries: &Entries<'_>, table: &[u32; ENTRIES], words: &mut [u16]) -> ([u32; ROWS_AT_ONCE], usize) {
    let Entries { lanes, stride, steps } = *entries;
    let mut states = [STATE_START; ROWS_AT_ONCE];
    let mut words = Words { begin: words.len(), words };
    for step in (0..steps).rev() {
        // The words of a group's open bits stand behind those of its tokens.
        for (group, states) in states.as_chunks_mut::<LANES>().0.iter_mut().enumerate().rev() {
            let mut now = [0; LANES];
            for (lane, entry) in now.iter_mut().enumerate() {
                let lane = group * LANES + lane;
                *entry = lanes[lane * (stride - LAG) + LEAD + step];
            }
            for (state, entry) in states.iter_mut().zip(&now).rev() {
                code_open(state, *entry, &mut words);
            }
            for (state, entry) in states.iter_mut().zip(&now).rev() {
                code_token(state, (*entry >> 16) as usize % ENTRIES, table, &mut words);
            }
        }
    }
    (states, words.begin)
}

#[inline(always)]
fn code_open(state: &mut u32, entry: u32, words: &mut Words<'_>) {
    let z = entry & 0xFFFF;
    if z < 16 {
        return;
    }
    let open = open_bits(Plain, z);
    let full = *state >> (32 - open) != 0;
    *state = words.spill(full, *state) << open | z & ((1 << open) - 1);
}

#[inline(always)]
fn code_token(state: &mut u32, symbol: usize, table: &[u32; ENTRIES], words: &mut Words<'_>) {
    if symbol >= IDLE as usize * TOKENS {
        return;
    }
    let (share, before) = (table[symbol] >> SHARE_BITS, table[symbol] & ((1 << SHARE_BITS) - 1));
    let full = *state >> (32 - SHARE_BITS) >= share;
    let rest = words.spill(full, *state);
    // The state is below the share times 2^22 now: the product fits, and the quotient is exact.
    let quotient = (u64::from(rest).wrapping_mul(EXACT[share as usize % EXACT.len()]) >> EXACT_BITS) as u32;
    // The remainder is what is left of the state: that less the quotient's shares.
    *state = rest.wrapping_add(quotient.wrapping_mul((1 << SHARE_BITS) - share)).wrapping_add(before);
}

const EXACT_BITS: u32 = 32 + SHARE_BITS;

/// 2^42 by each share, rounded up.
static EXACT: [u64; 2 << SHARE_BITS] = {
    let mut table = [0; 2 << SHARE_BITS];
    let mut share = 1;
    while share <= 1 << SHARE_BITS {
        table[share] = (1u64 << EXACT_BITS).div_ceil(share as u64);
        share += 1;
    }
    table
};

/// Words, written from the end.
struct Words<'a> {
    words: &'a mut [u16],
    begin: usize,
}

impl Words<'_> {
    /// Where full, puts the low 16 bits and shifts down by 16. There is room for two words a sample, and more.
    #[inline(always)]
    fn spill(&mut self, full: bool, state: u32) -> u32 {
        // Written in any case: whether it stays is as good as random, and no branch would guess it.
        self.words[self.begin - 1] = (state & 0xFFFF) as u16;
        self.begin -= usize::from(full);
        if full { state >> 16 } else { state }
    }
}
