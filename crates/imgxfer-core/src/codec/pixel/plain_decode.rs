//! The decoder's loop for single lanes: samples are written to rows with margins, and neighbours looked up
//! in them.

use super::model::{self, Kind, Loaded, Neighbours, Reference, activity, context, unfold};
use super::plane::{Geometry, Malformed};
use super::simd::{LANES, Plain};
use super::tables::{SHARE_BITS, SLOTS};
use super::wave::{LAG, MARGIN, ROWS_AT_ONCE, Wave};
use super::wave_decode::{Coming, Scratch, WORDS_A_STEP};
use super::wave_encode::STATE_START;

/// Rows above the first, of zeros.
const ABOVE: usize = 2;
const SHARE_MASK: u32 = (1 << SHARE_BITS) - 1;

/// A lane on its way.
#[derive(Debug, Clone, Copy)]
struct Lane {
    state: u32,
    /// Wraps below 0 in the margin on the left, and before the lane begins.
    column: usize,
    /// Columns of the row: none when it is behind the plane's last.
    width: usize,
    row: usize,
    /// Row in its frame; 2 for all from 2 on.
    in_frame: usize,
    /// Where the row's column 0 stands.
    start: usize,
    /// Where folded differences of the row above and of this one stand.
    folded: [usize; 2],
    /// Folded difference of the sample before.
    z_w: u32,
}

/// A sample whose token is known.
#[derive(Debug, Clone, Copy, Default)]
struct Begun {
    lane: usize,
    entry: u32,
    prediction: u32,
}

struct Run<'a> {
    geometry: &'a Geometry,
    wave: Wave,
    /// From one row to the next.
    pitch: usize,
    weights: Loaded<Plain>,
    table: &'a [u32; SLOTS],
    words: &'a [u16],
    position: usize,
    rows: &'a mut [u16],
    folded: &'a mut [u16],
}

/// Decodes a plane into `samples`. Returns the states of the lanes, and how many words were taken.
#[expect(clippy::needless_pass_by_value, reason = "the same on every path")]
pub(super) fn decode<const KIND: u8>(
    coming: Coming<'_>,
    samples: &mut [u16],
) -> Result<([u32; ROWS_AT_ONCE], usize), Malformed> {
    let Coming { coded, geometry, words, scratch: Scratch { lanes: rows, folded } } = coming;
    let wave = Wave::over(geometry);
    let pitch = geometry.width + 2 * MARGIN;
    rows.clear();
    rows.resize((ABOVE + geometry.rows) * pitch, 0);
    folded.clear();
    folded.resize(ROWS_AT_ONCE * geometry.width, 0);
    let weights = Loaded::new(Plain, coded.weights, geometry.max);
    let mut run = Run { geometry, wave, pitch, weights, table: coded.table, words, position: 0, rows, folded };
    let states = run.all::<KIND>(&coded.states)?;
    let taken = run.position;
    for (to, row) in samples.chunks_exact_mut(geometry.width).zip(rows.chunks_exact(pitch).skip(ABOVE)) {
        to.copy_from_slice(&row[MARGIN..MARGIN + geometry.width]);
    }
    Ok((states, taken))
}

impl Run<'_> {
    fn all<const KIND: u8>(&mut self, states: &[u32; ROWS_AT_ONCE]) -> Result<[u32; ROWS_AT_ONCE], Malformed> {
        let mut lanes: [Lane; ROWS_AT_ONCE] = std::array::from_fn(|lane| self.begin(lane, states[lane]));
        for _ in 0..self.wave.steps {
            if self.position > self.words.len() - WORDS_A_STEP {
                return Err(Malformed);
            }
            for group in lanes.as_chunks_mut::<LANES>().0 {
                self.step::<KIND>(group);
            }
        }
        Ok(lanes.map(|lane| lane.state))
    }

    fn begin(&self, lane: usize, state: u32) -> Lane {
        let width = self.geometry.width;
        let above = (lane + ROWS_AT_ONCE - 1) % ROWS_AT_ONCE;
        Lane {
            state,
            column: 0usize.wrapping_sub(MARGIN + LAG * lane),
            width: if lane < self.geometry.rows { width } else { 0 },
            row: lane,
            in_frame: (lane % self.geometry.frame_rows).min(2),
            start: (ABOVE + lane) * self.pitch + MARGIN,
            folded: [above * width, lane * width],
            z_w: 0,
        }
    }

    /// One sample of each lane of a group that is inside a row: first all tokens, then all open bits.
    #[inline(always)]
    fn step<const KIND: u8>(&mut self, lanes: &mut [Lane; LANES]) {
        let mut begun = [Begun::default(); LANES];
        let mut count = 0;
        for (index, lane) in lanes.iter_mut().enumerate() {
            if lane.column < lane.width {
                let (entry, prediction) = self.token::<KIND>(lane);
                begun[count % LANES] = Begun { lane: index, entry, prediction };
                count += 1;
            } else {
                self.rest(lane);
            }
        }
        for begun in &begun[..count] {
            self.finish(&mut lanes[begun.lane % LANES], begun);
        }
    }

    /// Takes a token: its entry in the table, and the prediction.
    #[inline(always)]
    fn token<const KIND: u8>(&mut self, lane: &mut Lane) -> (u32, u32) {
        let s = Plain;
        let x = self.around(lane);
        let activity = activity(s, &x);
        let z_n = match lane.in_frame {
            0 => lane.z_w,
            _ => u32::from(self.folded[lane.folded[0] + lane.column]),
        };
        let slot = context(s, &activity, lane.z_w, z_n) << SHARE_BITS | lane.state & SHARE_MASK;
        let entry = self.table[slot as usize % SLOTS];
        let share = (entry & SHARE_MASK) + 1;
        let within = entry >> SHARE_BITS & SHARE_MASK;
        lane.state = self.refill(share.wrapping_mul(lane.state >> SHARE_BITS).wrapping_add(within));
        let reference = self.reference::<KIND>(lane);
        (entry, model::predict::<Plain, KIND>(s, &self.weights, &x, &activity, &reference))
    }

    /// Takes what a token leaves open: the sample is complete.
    #[inline(always)]
    fn finish(&mut self, lane: &mut Lane, begun: &Begun) {
        let open = begun.entry >> (2 * SHARE_BITS) & 15;
        let before = begun.entry >> (2 * SHARE_BITS + 4);
        let z = before << open | lane.state & ((1 << open) - 1);
        lane.state = self.refill(lane.state >> open);
        lane.z_w = z;
        self.folded[lane.folded[1] + lane.column] = (z & 0xFFFF) as u16;
        let at = lane.start + lane.column;
        let sample = (unfold(Plain, z, begun.prediction) & 0xFFFF) as u16;
        self.rows[at] = sample;
        lane.column += 1;
        if lane.column == self.geometry.width {
            self.rows[at + 1..at + 1 + MARGIN].fill(sample);
        }
    }

    /// Takes 16 bits into a state that has become small.
    #[inline(always)]
    fn refill(&mut self, state: u32) -> u32 {
        let word = u32::from(self.words[self.position]);
        let small = state < STATE_START;
        self.position += usize::from(small);
        if small { state << 16 | word } else { state }
    }

    /// A step in a margin, or before the lane's first row or behind its last.
    fn rest(&mut self, lane: &mut Lane) {
        lane.column = lane.column.wrapping_add(1);
        if lane.column == self.wave.period - MARGIN {
            lane.column = 0usize.wrapping_sub(MARGIN);
            lane.row += ROWS_AT_ONCE;
            lane.in_frame = (lane.row % self.geometry.frame_rows).min(2);
            lane.start += ROWS_AT_ONCE * self.pitch;
            if lane.row >= self.geometry.rows {
                lane.width = 0;
            }
        }
        if lane.column == 0 && lane.width > 0 {
            // The margin on the left is the sample above.
            let above = self.rows[lane.start - self.pitch];
            self.rows[lane.start - MARGIN..lane.start].fill(above);
            lane.z_w = 0;
        }
    }

    #[inline(always)]
    fn around(&self, lane: &Lane) -> Neighbours<u32> {
        let at = lane.start + lane.column;
        let [ww, w] = self.some(at - 2);
        let mut x = Neighbours { w, ww, n: w, nw: w, nww: w, ne: w, nee: w, nn: w, nnw: w, nne: w };
        if lane.in_frame > 0 {
            [x.nww, x.nw, x.n, x.ne, x.nee] = self.some(at - self.pitch - 2);
            [x.nnw, x.nn, x.nne] = [x.nw, x.n, x.ne];
        }
        if lane.in_frame > 1 {
            [x.nnw, x.nn, x.nne] = self.some(at - 2 * self.pitch - 1);
        }
        x
    }

    /// The same place in the reference, and what is round it.
    #[inline(always)]
    fn reference<const KIND: u8>(&self, lane: &Lane) -> Reference<u32, bool> {
        let back = self.geometry.reference_rows;
        if KIND != Kind::Reference.byte() || lane.row < back {
            return Reference { here: 0, w: 0, e: 0, n: 0, s: 0, missing: true };
        }
        let at = lane.start + lane.column - back * self.pitch;
        let [w, here, e] = self.some(at - 1);
        let ([n], [s]) = (self.some(at - self.pitch), self.some(at + self.pitch));
        Reference { here, w, e, n, s, missing: false }
    }

    /// Samples from a place on. Rows above the first and margins are part of the buffer.
    #[inline(always)]
    fn some<const N: usize>(&self, at: usize) -> [u32; N] {
        let found: &[u16; N] = self.rows[at..].first_chunk().expect("neighbours are inside the rows and their margins");
        found.map(u32::from)
    }
}
