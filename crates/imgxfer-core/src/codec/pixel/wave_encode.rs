//! Encoding a plane in waves: a pass over the rows that models, a pass backwards that codes.
//!
//! The coder is rANS (Duda, arXiv:1311.2540) with one state of 32 bits to a lane, which takes and gives
//! 16 bits at a time. As it is a stack, the encoder goes from the last sample to the first.

use super::fit::Fitted;
use super::model::{
    self, CONTEXTS, IDLE, Kind, Loaded, Neighbours, Reference, TOKENS, activity, context, fold, open_bits, token,
};
use super::plane::Geometry;
use super::simd::{LANES, Task, Vector};
use super::tables::{Counts, ENTRIES, SHARE_BITS, Shares};
use super::wave::{LAG, MARGIN, ROWS_AT_ONCE, Wave};

/// The state of a lane before its first sample is encoded, and after its last is decoded.
pub(super) const STATE_START: u32 = 1 << 16;
/// Steps that lanes may be read before their beginning.
const LEAD: usize = LAG * ROWS_AT_ONCE;
/// Entries that a row may be written or read beyond its end.
const SLACK: usize = 2 * LANES;
/// What stands in the margins: nothing to code.
const IDLE_ENTRY: u32 = IDLE * (TOKENS as u32) << 16;

/// What samples are coded as: in the low half the folded difference, above it context and token.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    lanes: Vec<u32>,
    words: Vec<u16>,
    rows: Vec<u16>,
}

/// The code of a plane.
#[derive(Debug)]
pub(super) struct Coded<'a> {
    pub(super) shares: Shares,
    /// States of the lanes at the beginning.
    pub(super) states: [u32; ROWS_AT_ONCE],
    pub(super) words: &'a [u16],
}

/// A row with margins and slack, and the ones above it.
struct Rows<'a> {
    current: &'a [u16],
    north: &'a [u16],
    north_north: &'a [u16],
    /// At the same place in the reference, and above and below it.
    reference: Option<[&'a [u16]; 3]>,
}

/// Encodes a plane with a prediction that was fitted to it.
#[derive(Debug)]
pub(super) struct Encode<'a, const KIND: u8> {
    pub(super) samples: &'a [u16],
    pub(super) geometry: &'a Geometry,
    pub(super) fitted: &'a Fitted,
    pub(super) scratch: &'a mut Scratch,
}

impl<'a, const KIND: u8> Task for Encode<'a, KIND> {
    type Output = Coded<'a>;

    #[inline(always)]
    fn run<S: Vector>(self, s: S) -> Coded<'a> {
        encode::<S, KIND>(s, self)
    }
}

#[inline(always)]
fn encode<S: Vector, const KIND: u8>(s: S, task: Encode<'_, KIND>) -> Coded<'_> {
    let Encode { samples, geometry, fitted, scratch } = task;
    let wave = Wave::over(geometry);
    let stride = LEAD + wave.steps.next_multiple_of(LANES) + SLACK;
    scratch.lanes.clear();
    scratch.lanes.resize(stride * ROWS_AT_ONCE, IDLE_ENTRY);
    let mut counts = [[0; ENTRIES]; 4];
    model_rows::<S, KIND>(s, samples, geometry, fitted, &wave, stride, scratch, &mut counts);
    let [mut total, rest @ ..] = counts;
    for (to, from) in rest.iter().flat_map(|counts| (0..).zip(counts)) {
        let to: usize = to;
        total[to] += from;
    }
    total[IDLE as usize * TOKENS..].fill(0);
    let shares = Shares::of(&total);
    let capacity = 2 * geometry.samples() + 4 * LANES;
    if scratch.words.len() < capacity {
        scratch.words = vec![0; capacity];
    }
    let table = shares.for_encoding();
    let (states, begin) = code(s, &scratch.lanes, stride, &wave, &table, &mut scratch.words);
    Coded { shares, states, words: &scratch.words[begin..] }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "one step of encode, apart for its length")]
fn model_rows<S: Vector, const KIND: u8>(
    s: S,
    samples: &[u16],
    geometry: &Geometry,
    fitted: &Fitted,
    wave: &Wave,
    stride: usize,
    scratch: &mut Scratch,
    counts: &mut [Counts; 4],
) {
    let width = geometry.width;
    let padded = width + 2 * MARGIN + SLACK;
    let weights = Loaded::new::<S, KIND>(s, &fitted.weights, geometry.max);
    // Three rows of samples and two of folded differences, each with margins.
    let Scratch { lanes, rows, .. } = scratch;
    rows.clear();
    rows.resize(8 * padded, 0);
    let (rows, folded) = rows.split_at_mut(6 * padded);
    let mut rows: Vec<&mut [u16]> = rows.chunks_exact_mut(padded).collect();
    let (mut folded_north, mut folded_current) = folded.split_at_mut(padded);
    let reference_rows = if KIND == Kind::Reference.byte() { geometry.reference_rows } else { 0 };
    for (row, own) in samples.chunks_exact(width).enumerate() {
        rows[..3].rotate_right(1);
        let [current, north, north_north, there, there_north, there_south] = &mut rows[..] else { return };
        let left = if row == 0 { 0 } else { north[MARGIN] };
        pad(current, own, left);
        let mut reference = None;
        if reference_rows > 0 && row >= reference_rows {
            let back = row - reference_rows;
            let of = |row: usize| &samples[row * width..(row + 1) * width];
            let left = if back == 0 { 0 } else { samples[(back - 1) * width] };
            pad(there, of(back), left);
            pad(there_south, of(back + 1), 0);
            if back == 0 {
                there_north.fill(0);
            } else {
                pad(there_north, of(back - 1), 0);
            }
            reference = Some([&there[..], &there_north[..], &there_south[..]]);
        }
        let (lane, start) = wave.start_of(row);
        let to = &mut lanes[lane * stride + LEAD + start..];
        let view = Rows { current, north, north_north, reference };
        let row_in_frame = row % geometry.frame_rows;
        if row_in_frame >= 2 {
            model_row::<S, KIND, 2>(s, &weights, &view, folded_north, folded_current, width, to);
        } else if row_in_frame == 1 {
            model_row::<S, KIND, 1>(s, &weights, &view, folded_north, folded_current, width, to);
        } else {
            model_row::<S, KIND, 0>(s, &weights, &view, folded_north, folded_current, width, to);
        }
        to[width..width + LANES].fill(IDLE_ENTRY);
        count(&to[..width], counts);
        std::mem::swap(&mut folded_north, &mut folded_current);
    }
}

/// A row with its margins: on the left the sample above, on the right its own last.
fn pad(to: &mut [u16], row: &[u16], left: u16) {
    to[..MARGIN].fill(left);
    to[MARGIN..MARGIN + row.len()].copy_from_slice(row);
    to[MARGIN + row.len()..].fill(row[row.len() - 1]);
}

#[inline(always)]
fn count(entries: &[u32], counts: &mut [Counts; 4]) {
    let (fours, rest) = entries.as_chunks::<4>();
    for four in fours {
        for (entry, counts) in four.iter().zip(counts.iter_mut()) {
            counts[(entry >> 16) as usize % ENTRIES] += 1;
        }
    }
    for entry in rest {
        counts[0][(entry >> 16) as usize % ENTRIES] += 1;
    }
}

/// Models a row: `ROW` is its number in its frame, 2 for all from 2 on.
#[inline(always)]
fn model_row<S: Vector, const KIND: u8, const ROW: u8>(
    s: S,
    weights: &Loaded<S::V>,
    rows: &Rows<'_>,
    folded_north: &[u16],
    folded_current: &mut [u16],
    width: usize,
    to: &mut [u32],
) {
    let missing = s.mask(if rows.reference.is_some() { 0 } else { 0xFFFF });
    let zero = s.splat(0);
    let mut z_before = zero;
    for column in (0..width).step_by(LANES) {
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
fn code<S: Vector>(
    s: S,
    lanes: &[u32],
    stride: usize,
    wave: &Wave,
    table: &[u32; ENTRIES],
    words: &mut [u16],
) -> ([u32; ROWS_AT_ONCE], usize) {
    const GROUPS: usize = ROWS_AT_ONCE / LANES;
    let reciprocals = reciprocals();
    let mut states = [s.splat(STATE_START); GROUPS];
    let mut begin = words.len();
    for block in (0..wave.steps.div_ceil(LANES)).rev() {
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
                let (state, put) = code_step(s, states[group], entries[group][step], table, &reciprocals, words, begin);
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
    reciprocals: &[u32; 2 << SHARE_BITS],
    words: &mut [u16],
    begin: usize,
) -> (S::V, usize) {
    let one = s.splat(1);
    let z = s.and(entry, s.splat(0xFFFF));
    let open = open_bits(s, z);
    let share = s.gather(table, s.shr::<16>(entry));
    let before = s.and(share, s.splat((1 << SHARE_BITS) - 1));
    let share = s.shr::<SHARE_BITS>(share);
    let reciprocal = s.gather(reciprocals, share);
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

/// 2^32 by each share, rounded down.
fn reciprocals() -> [u32; 2 << SHARE_BITS] {
    let mut table = [u32::MAX; 2 << SHARE_BITS];
    for (share, to) in (0u64..).zip(&mut table).skip(2) {
        *to = u32::try_from((1u64 << 32) / share).unwrap_or(u32::MAX);
    }
    table
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

const _: () = assert!(CONTEXTS as u32 == IDLE);
