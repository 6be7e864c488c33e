//! The decoder's loop over vectors: sixteen lanes at once, twice a step.

use super::model::{self, IDLE, Kind, Loaded, Neighbours, Reference, activity, context, unfold};
use super::plane::{Geometry, Malformed};
use super::simd::{LANES, Vector};
use super::tables::{SHARE_BITS, SLOTS};
use super::wave::{LAG, MARGIN, ROWS_AT_ONCE, Wave};
use super::wave_decode::{Coming, Scratch, WORDS_A_STEP};
use super::wave_encode::STATE_START;

const GROUPS: usize = ROWS_AT_ONCE / LANES;
/// Steps that lanes may be written before their beginning.
const LEAD: usize = LAG * ROWS_AT_ONCE;

/// Sixteen lanes on their way.
#[derive(Debug, Clone, Copy)]
struct Group<V> {
    state: V,
    /// Column, from -2 on; lanes that have not begun are further left.
    column: V,
    row: V,
    row_in_frame: V,
    x: Neighbours<V>,
    z: V,
    /// Folded differences of the row above, as they came one and two steps ago.
    z_north: [V; 2],
}

/// Decodes a plane into `samples`. Returns the states of the lanes, and how many words were taken.
#[expect(clippy::needless_pass_by_value, reason = "the same on every path")]
#[inline(always)]
pub(super) fn decode<S: Vector, const KIND: u8>(
    s: S,
    coming: Coming<'_>,
    samples: &mut [u16],
) -> Result<([u32; ROWS_AT_ONCE], usize), Malformed> {
    let Coming { coded, geometry, words, scratch: Scratch { lanes, folded } } = coming;
    let wave = Wave::over(geometry);
    let stride = LEAD + wave.steps.next_multiple_of(LANES) + 2 * LANES;
    // What is left from another plane is never looked at: each cell is written before it is read.
    if lanes.len() < stride * ROWS_AT_ONCE {
        lanes.resize(stride * ROWS_AT_ONCE, 0);
    }
    folded.clear();
    folded.resize(wave.steps.next_multiple_of(LANES), 0);
    let mut run = Run {
        s,
        geometry,
        wave,
        stride,
        weights: Loaded::new(s, coded.weights, geometry.max),
        table: coded.table,
        words,
        position: 0,
        lanes,
        folded,
    };
    let states = run.all::<KIND>(&coded.states, words.len() - WORDS_A_STEP)?;
    let taken = run.position;
    for (row, to) in samples.chunks_exact_mut(geometry.width).enumerate() {
        let (lane, start) = wave.start_of(row);
        let at = lane * stride + LEAD + start;
        to.copy_from_slice(&lanes[at..at + geometry.width]);
    }
    Ok((states, taken))
}

struct Run<'a, S: Vector> {
    s: S,
    geometry: &'a Geometry,
    wave: Wave,
    stride: usize,
    weights: Loaded<S>,
    table: &'a [u32; SLOTS],
    words: &'a [u16],
    position: usize,
    /// Samples by lane; a lane's begin `LEAD` behind its stride.
    lanes: &'a mut [u16],
    /// Folded differences of the last lane, by step.
    folded: &'a mut [u16],
}

impl<S: Vector> Run<'_, S> {
    #[inline(always)]
    fn all<const KIND: u8>(
        &mut self,
        states: &[u32; ROWS_AT_ONCE],
        words: usize,
    ) -> Result<[u32; ROWS_AT_ONCE], Malformed> {
        let s = self.s;
        let mut groups = self.begin(states);
        for block in 0..self.wave.steps.div_ceil(LANES) {
            let mut done = [[s.splat(0); LANES]; GROUPS];
            for step in 0..LANES {
                if self.position > words {
                    return Err(Malformed);
                }
                let now = block * LANES + step;
                let mut above = self.above(now);
                for (group, done) in groups.iter_mut().zip(&mut done) {
                    above = self.step::<KIND>(group, above);
                    done[step] = group.x.w;
                }
                self.folded[now] = (s.last(groups[GROUPS - 1].z) & 0xFFFF) as u16;
            }
            for (group, done) in done.into_iter().enumerate() {
                for (lane, samples) in (group * LANES..).zip(s.transpose(done)) {
                    let at = lane * self.stride + LEAD + block * LANES - LAG * lane;
                    s.store_u16(samples, sixteen_mut(self.lanes, at));
                }
            }
        }
        let mut out = [0; ROWS_AT_ONCE];
        for (group, to) in groups.iter().zip(out.as_chunks_mut::<LANES>().0) {
            s.store(group.state, to);
        }
        Ok(out)
    }

    #[inline(always)]
    fn begin(&self, states: &[u32; ROWS_AT_ONCE]) -> [Group<S::V>; GROUPS] {
        let s = self.s;
        let zero = s.splat(0);
        let x = Neighbours {
            w: zero,
            ww: zero,
            n: zero,
            nw: zero,
            nww: zero,
            ne: zero,
            nee: zero,
            nn: zero,
            nnw: zero,
            nne: zero,
        };
        let state = zero;
        let mut groups =
            [Group { state, column: zero, row: zero, row_in_frame: zero, x, z: zero, z_north: [zero; 2] }; GROUPS];
        let frame_rows = self.geometry.frame_rows;
        for (index, group) in groups.iter_mut().enumerate() {
            let (mut rows, mut columns, mut in_frame, mut state) = ([0; LANES], [0; LANES], [0; LANES], [0; LANES]);
            for lane in 0..LANES {
                let row = index * LANES + lane;
                rows[lane] = number(row);
                in_frame[lane] = number(row % frame_rows);
                columns[lane] = 0u32.wrapping_sub(number(MARGIN + LAG * row));
                state[lane] = states[row];
            }
            group.row = s.load(&rows);
            group.column = s.load(&columns);
            group.row_in_frame = s.load(&in_frame);
            group.state = s.load(&state);
        }
        groups
    }

    /// What lane 0 sees of the rows above it, which the last two lanes have coded: the sample two to the
    /// right in the row above, the one to the right two above, the folded difference two to the right above.
    #[inline(always)]
    fn above(&self, now: usize) -> Above<S::V> {
        let then = |ahead: usize| (now + ahead).checked_sub(self.wave.period);
        let lane = |lane: usize, step: usize| u32::from(self.lanes[lane * self.stride + LEAD + step]);
        let north = then(2).map_or(0, |step| lane(ROWS_AT_ONCE - 1, step));
        let north_north = then(1).map_or(0, |step| lane(ROWS_AT_ONCE - 2, step));
        let z = then(2).map_or(0, |step| u32::from(self.folded[step + LAG * (ROWS_AT_ONCE - 1)]));
        Above { sample: self.s.splat(north), nw: self.s.splat(north_north), z: self.s.splat(z) }
    }

    /// Codes one sample in each lane of a group. Takes what the group above it held before its step, and
    /// returns what this one held.
    #[inline(always)]
    fn step<const KIND: u8>(&mut self, group: &mut Group<S::V>, above: Above<S::V>) -> Above<S::V> {
        let s = self.s;
        let next_above = Above { sample: group.x.w, nw: group.x.nw, z: group.z };
        // The row above is three columns ahead: its last sample is the one two to the right.
        let nee = s.shift_from(above.sample, group.x.w);
        // Its own row above, as it last saw it to the north-west: two above this one, one to the right.
        let nne = s.shift_from(above.nw, group.x.nw);
        let natural = Neighbours {
            w: group.x.w,
            ww: group.x.ww,
            n: group.x.ne,
            nw: group.x.n,
            nww: group.x.nw,
            ne: group.x.nee,
            nee,
            nn: group.x.nne,
            nnw: group.x.nn,
            nne,
        };
        let z_above = s.shift_from(above.z, group.z);
        let mut z_n = group.z_north[1];
        group.z_north = [z_above, group.z_north[0]];
        let zero = s.splat(0);
        let in_row = s.lt_u(group.column, s.splat(number(self.geometry.width)));
        let in_plane = s.lt_u(group.row, s.splat(number(self.geometry.rows)));
        let idle = s.splat(IDLE);

        let mut x = natural;
        let top = s.lt_u(group.row_in_frame, s.splat(2));
        if s.any(top) {
            let first = s.eq(group.row_in_frame, zero);
            x.nn = s.select(top, x.n, x.nn);
            x.nnw = s.select(top, x.nw, x.nnw);
            x.nne = s.select(top, x.ne, x.nne);
            for neighbour in [&mut x.n, &mut x.nw, &mut x.nww, &mut x.ne, &mut x.nee, &mut x.nn, &mut x.nnw, &mut x.nne]
            {
                *neighbour = s.select(first, x.w, *neighbour);
            }
            z_n = s.select(first, group.z, z_n);
        }
        let activity = activity(s, &x);
        let context = context(s, &activity, group.z, z_n);
        let context = s.select(in_row, s.select(in_plane, context, idle), idle);

        let low = s.splat((1 << SHARE_BITS) - 1);
        let slot = s.or(s.shl::<SHARE_BITS>(context), s.and(group.state, low));
        let entry = s.gather(self.table, slot);
        let share = s.add(s.and(entry, low), s.splat(1));
        let within = s.and(s.shr::<SHARE_BITS>(entry), low);
        let state = s.add(s.mul(share, s.shr::<SHARE_BITS>(group.state)), within);
        let state = self.refill(state);
        let open = s.and(s.shr::<{ 2 * SHARE_BITS }>(entry), s.splat(15));
        let before = s.shr::<{ 2 * SHARE_BITS + 4 }>(entry);
        let one = s.splat(1);
        let bits = s.and(state, s.sub(s.shl_by(one, open), one));
        group.state = self.refill(s.shr_by(state, open));
        let z = s.or(s.shl_by(before, open), bits);

        let reference = self.reference::<KIND>(group);
        let prediction = model::predict::<S, KIND>(s, &self.weights, &x, &activity, &reference);
        let sample = unfold(s, z, prediction);
        // Margins: left the sample above, right the last of the row.
        let left = s.eq(group.column, s.splat(0u32.wrapping_sub(number(MARGIN))));
        let margin = s.select(left, natural.nee, natural.w);
        let sample = s.select(in_row, sample, margin);
        group.z = s.select(in_row, z, zero);
        group.x = Neighbours { w: sample, ww: natural.w, ..natural };
        self.advance(group);
        next_above
    }

    /// Takes 16 bits into the states that have become small.
    #[inline(always)]
    fn refill(&mut self, state: S::V) -> S::V {
        let s = self.s;
        let small = s.lt_u(state, s.splat(STATE_START));
        let (state, taken) = s.refill(small, state, sixteen(self.words, self.position));
        self.position += taken;
        state
    }

    /// One column on; from the end of a row to the lane's next.
    #[inline(always)]
    fn advance(&self, group: &mut Group<S::V>) {
        let s = self.s;
        let column = s.add(group.column, s.splat(1));
        let wraps = s.eq(column, s.splat(number(self.wave.period - MARGIN)));
        group.column = column;
        if s.any(wraps) {
            group.column = s.select(wraps, s.splat(0u32.wrapping_sub(number(MARGIN))), column);
            group.row = s.select(wraps, s.add(group.row, s.splat(number(ROWS_AT_ONCE))), group.row);
            let frame_rows = self.geometry.frame_rows;
            let on = s.add(group.row_in_frame, s.splat(number(ROWS_AT_ONCE % frame_rows)));
            let frame_rows = s.splat(number(frame_rows));
            let on = s.select(s.lt_u(on, frame_rows), on, s.sub(on, frame_rows));
            group.row_in_frame = s.select(wraps, on, group.row_in_frame);
        }
    }

    /// The same place in the reference, and what is round it.
    #[inline(always)]
    fn reference<const KIND: u8>(&self, group: &Group<S::V>) -> Reference<S::V, S::M> {
        let s = self.s;
        let zero = s.splat(0);
        let none = s.mask(0);
        if KIND != Kind::Reference.byte() {
            return Reference { here: zero, w: zero, e: zero, n: zero, s: zero, missing: none };
        }
        let back = s.splat(number(self.geometry.reference_rows));
        let missing = s.lt_u(group.row, back);
        let there = s.sub(group.row, back);
        let column = group.column;
        let east = self.at(there, s.add(column, s.splat(1)));
        let here = self.at(there, column);
        let w = self.at(there, s.sub(column, s.splat(1)));
        let n = self.at(s.sub(there, s.splat(1)), column);
        let south = self.at(s.add(there, s.splat(1)), column);
        let clean = |v: S::V| s.select(missing, zero, v);
        let first = s.eq(there, zero);
        Reference {
            here: clean(here),
            w: clean(w),
            e: clean(east),
            n: s.select(first, zero, clean(n)),
            s: clean(south),
            missing,
        }
    }

    /// Samples of rows that are done, by row and column; something in the lanes for others.
    #[inline(always)]
    fn at(&self, row: S::V, column: S::V) -> S::V {
        let s = self.s;
        let lane = s.and(row, s.splat(number(ROWS_AT_ONCE - 1)));
        let turn = s.shr::<5>(row);
        let step = s.add(s.mul(turn, s.splat(number(self.wave.period))), s.add(column, s.splat(number(LEAD + MARGIN))));
        s.gather_u16(self.lanes, s.add(s.mul(lane, s.splat(number(self.stride))), step))
    }
}

/// What the first lane of a group sees of the lane before.
#[derive(Debug, Clone, Copy)]
struct Above<V> {
    sample: V,
    nw: V,
    z: V,
}

/// Sizes of planes and waves, which are below 2^31 by the limits of a plane.
#[inline(always)]
fn number(n: usize) -> u32 {
    n as u32
}

/// Sixteen entries from `at` on.
#[inline(always)]
fn sixteen(from: &[u16], at: usize) -> &[u16; LANES] {
    from[at..].first_chunk().expect("words have slack for a step behind them")
}

#[inline(always)]
fn sixteen_mut(from: &mut [u16], at: usize) -> &mut [u16; LANES] {
    from[at..].first_chunk_mut().expect("lanes have slack behind them")
}
