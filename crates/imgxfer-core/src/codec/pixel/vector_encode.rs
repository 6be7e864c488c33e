//! The encoder's loops over vectors: sixteen columns of a row are modelled at once, sixteen lanes coded.

use super::model::{self, Kind, Loaded, Neighbours, Reference, TOKENS, activity, context, fold, open_bits, token};
use super::simd::{LANES, Vector};
use super::tables::{ENTRIES, SHARE_BITS};
use super::wave::{LAG, ROWS_AT_ONCE};
use super::wave_encode::{Entries, LEAD, RECIPROCALS, Row, STATE_START};

/// Models a row.
#[inline(always)]
pub(super) fn model_row<S: Vector, const KIND: u8>(
    s: S,
    weights: &Loaded<S>,
    row: &Row<'_>,
    folded_north: &[u16],
    folded: &mut [u16],
    to: &mut [u32],
) {
    match row.in_frame {
        0 => model::<S, KIND, 0>(s, weights, row, folded_north, folded, to),
        1 => model::<S, KIND, 1>(s, weights, row, folded_north, folded, to),
        _ => model::<S, KIND, 2>(s, weights, row, folded_north, folded, to),
    }
}

/// Models a row: `ROW` is its number in its frame, 2 for all from 2 on.
#[inline(always)]
fn model<S: Vector, const KIND: u8, const ROW: u8>(
    s: S,
    weights: &Loaded<S>,
    rows: &Row<'_>,
    folded_north: &[u16],
    folded_current: &mut [u16],
    to: &mut [u32],
) {
    let missing = s.mask(if rows.reference.is_some() { 0 } else { 0xFFFF });
    let zero = s.splat(0);
    let mut z_before = zero;
    for column in (0..rows.width).step_by(LANES) {
        let at = |row: &[u16], shift: usize| s.load_u16(sixteen(row, column + shift));
        let w = at(rows.current, 1);
        let mut x =
            Neighbours { w, ww: at(rows.current, 0), n: w, nw: w, nww: w, ne: w, nee: w, nn: w, nnw: w, nne: w };
        if ROW > 0 {
            x.n = at(rows.north, 2);
            x.nw = at(rows.north, 1);
            x.nww = at(rows.north, 0);
            x.ne = at(rows.north, 3);
            x.nee = at(rows.north, 4);
            x.nn = x.n;
            x.nnw = x.nw;
            x.nne = x.ne;
        }
        if ROW > 1 {
            x.nn = at(rows.north_north, 2);
            x.nnw = at(rows.north_north, 1);
            x.nne = at(rows.north_north, 3);
        }
        let mut reference = Reference { here: zero, w: zero, e: zero, n: zero, s: zero, missing };
        if KIND == Kind::Reference.byte()
            && let Some([here, north, south]) = rows.reference
        {
            reference.here = at(here, 2);
            reference.w = at(here, 1);
            reference.e = at(here, 3);
            reference.n = at(north, 2);
            reference.s = at(south, 2);
        }
        let activity = activity(s, &x);
        let prediction = model::predict::<S, KIND>(s, weights, &x, &activity, &reference);
        let z = fold(s, at(rows.current, 2), prediction);
        let z_w = s.shift_from(z_before, z);
        z_before = z;
        s.store_u16(z, sixteen_mut(folded_current, column));
        let z_n = if ROW == 0 { z_w } else { s.load_u16(sixteen(folded_north, column)) };
        let context = context(s, &activity, z_w, z_n);
        let token = token(s, z, open_bits(s, z));
        let symbol = s.add(s.mul(context, s.splat(TOKENS as u32)), token);
        s.store(s.or(s.shl::<16>(symbol), z), sixteen_mut(to, column));
    }
}

/// Codes all samples from the last to the first. Returns the states, and where the words begin.
#[inline(always)]
pub(super) fn code<S: Vector>(
    s: S,
    entries: &Entries<'_>,
    table: &[u32; ENTRIES],
    words: &mut [u16],
) -> ([u32; ROWS_AT_ONCE], usize) {
    const GROUPS: usize = ROWS_AT_ONCE / LANES;
    let Entries { lanes, stride, steps } = *entries;
    let mut states = [s.splat(STATE_START); GROUPS];
    let mut begin = words.len();
    for block in (0..steps.div_ceil(LANES)).rev() {
        let mut entries = [[s.splat(0); LANES]; GROUPS];
        for (group, entries) in entries.iter_mut().enumerate() {
            let mut rows = [s.splat(0); LANES];
            for (lane, row) in (group * LANES..).zip(&mut rows) {
                let at = lane * stride + LEAD + block * LANES - LAG * lane;
                *row = s.load(sixteen(lanes, at));
            }
            *entries = s.transpose(rows);
        }
        for step in (0..LANES).rev() {
            for group in (0..GROUPS).rev() {
                let (state, put) = code_step(s, states[group], entries[group][step], table, words, begin);
                states[group] = state;
                begin -= put;
            }
        }
    }
    let mut out = [0; ROWS_AT_ONCE];
    for (state, to) in states.iter().zip(out.as_chunks_mut::<LANES>().0) {
        s.store(*state, to);
    }
    (out, begin)
}

#[inline(always)]
fn code_step<S: Vector>(
    s: S,
    state: S::V,
    entry: S::V,
    table: &[u32; ENTRIES],
    words: &mut [u16],
    begin: usize,
) -> (S::V, usize) {
    let one = s.splat(1);
    let z = s.and(entry, s.splat(0xFFFF));
    let open = open_bits(s, z);
    let share = s.gather(table, s.shr::<16>(entry));
    let before = s.and(share, s.splat((1 << SHARE_BITS) - 1));
    let share = s.shr::<SHARE_BITS>(share);
    let reciprocal = s.gather(&RECIPROCALS, share);
    // The open bits first, as the decoder takes them last.
    let full = s.lt_u(s.splat(0), s.shr_by(state, s.sub(s.splat(32), open)));
    let (state, put_open) = s.spill(full, state, before_of(words, begin));
    let bits = s.and(z, s.sub(s.shl_by(one, open), one));
    let state = s.or(s.shl_by(state, open), bits);
    let less = s.sub(share, one);
    let full = s.lt_u(less, s.shr::<{ 32 - SHARE_BITS }>(state));
    let (state, put_token) = s.spill(full, state, before_of(words, begin - put_open));
    // The quotient by the reciprocal is right or one too small.
    let quotient = s.mul_high(state, reciprocal);
    let rest = s.sub(state, s.mul(quotient, share));
    let short = s.lt_u(less, rest);
    let quotient = s.select(short, s.add(quotient, one), quotient);
    let rest = s.select(short, s.sub(rest, share), rest);
    (s.add(s.shl::<SHARE_BITS>(quotient), s.add(rest, before)), put_open + put_token)
}

/// Sixteen entries from `at` on. Buffers have slack, so that there always are.
#[inline(always)]
fn sixteen<T>(from: &[T], at: usize) -> &[T; LANES] {
    from[at..].first_chunk().expect("rows and lanes have slack behind them")
}

#[inline(always)]
fn sixteen_mut<T>(from: &mut [T], at: usize) -> &mut [T; LANES] {
    from[at..].first_chunk_mut().expect("rows and lanes have slack behind them")
}

/// The sixteen words before `begin`.
#[inline(always)]
fn before_of(words: &mut [u16], begin: usize) -> &mut [u16; LANES] {
    words[..begin].last_chunk_mut().expect("there is room for two words a sample, and more")
}
