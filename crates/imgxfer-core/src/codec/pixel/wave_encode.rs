//! Encoding a plane in waves: a pass over the rows that models, a pass backwards that codes.
//!
//! The coder is rANS (Duda, arXiv:1311.2540) with one state of 32 bits to a lane, which takes and gives
//! 16 bits at a time. As it is a stack, the encoder goes from the last sample to the first.

use super::fit::Fitted;
use super::loops::Loops;
use super::model::{CONTEXTS, IDLE, Kind, Loaded, TOKENS};
use super::plane::Geometry;
use super::simd::{LANES, Task};
use super::tables::{Counts, ENTRIES, SHARE_BITS, Shares};
use super::wave::{LAG, MARGIN, ROWS_AT_ONCE, Wave};

/// The state of a lane before its first sample is encoded, and after its last is decoded.
pub(super) const STATE_START: u32 = 1 << 16;
/// Steps that lanes may be read before their beginning.
pub(super) const LEAD: usize = LAG * ROWS_AT_ONCE;
/// Entries that a row may be written or read beyond its end.
const SLACK: usize = 2 * LANES;
/// What stands in the margins: nothing to code.
const IDLE_ENTRY: u32 = (IDLE * (TOKENS as u32)) << 16;

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
pub(super) struct Row<'a> {
    pub(super) width: usize,
    /// Its number in its frame; 2 for all from 2 on.
    pub(super) in_frame: usize,
    pub(super) current: &'a [u16],
    pub(super) north: &'a [u16],
    pub(super) north_north: &'a [u16],
    /// At the same place in the reference, and above and below it.
    pub(super) reference: Option<[&'a [u16]; 3]>,
}

/// What is to be coded, lane by lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entries<'a> {
    /// In the low half the folded difference, above it context and token. A lane's first step is `LEAD`
    /// behind the lane's beginning.
    pub(super) lanes: &'a [u32],
    /// From one lane to the next.
    pub(super) stride: usize,
    /// Steps of the wave.
    pub(super) steps: usize,
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
    fn run<S: Loops>(self, s: S) -> Coded<'a> {
        encode::<S, KIND>(s, self)
    }
}

#[inline(always)]
fn encode<S: Loops, const KIND: u8>(s: S, task: Encode<'_, KIND>) -> Coded<'_> {
    let Encode { samples, geometry, fitted, scratch } = task;
    let wave = Wave::over(geometry);
    let stride = LEAD + wave.steps.next_multiple_of(LANES) + SLACK;
    // What is left from another plane is overwritten.
    if scratch.lanes.len() < stride * ROWS_AT_ONCE {
        scratch.lanes.resize(stride * ROWS_AT_ONCE, IDLE_ENTRY);
    }
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
    let entries = Entries { lanes: &scratch.lanes, stride, steps: wave.steps };
    let (states, begin) = s.code(&entries, &table, &mut scratch.words);
    Coded { shares, states, words: &scratch.words[begin..] }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "one step of encode, apart for its length")]
fn model_rows<S: Loops, const KIND: u8>(
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
    let weights = Loaded::new(s, &fitted.weights, geometry.max);
    // Three rows of samples and two of folded differences, each with margins.
    let Scratch { lanes, rows, .. } = scratch;
    rows.clear();
    rows.resize(8 * padded, 0);
    let (rows, folded) = rows.split_at_mut(6 * padded);
    let mut rows: Vec<&mut [u16]> = rows.chunks_exact_mut(padded).collect();
    let (mut folded_north, mut folded_current) = folded.split_at_mut(padded);
    for lane in lanes.chunks_exact_mut(stride) {
        lane[..LEAD + MARGIN].fill(IDLE_ENTRY);
    }
    for lane in lanes.chunks_exact_mut(stride).skip(geometry.rows) {
        lane.fill(IDLE_ENTRY);
    }
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
        let to = &mut lanes[lane * stride + LEAD + start..(lane + 1) * stride];
        let in_frame = (row % geometry.frame_rows).min(2);
        let view = Row { width, in_frame, current, north, north_north, reference };
        s.model_row::<KIND>(&weights, &view, folded_north, folded_current, to);
        // Nothing to code up to the lane's next row, or to its end.
        let idle = if row + ROWS_AT_ONCE < geometry.rows { wave.period } else { to.len() };
        to[width..idle].fill(IDLE_ENTRY);
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

/// 2^32 by each share, rounded down.
pub(super) static RECIPROCALS: [u32; 2 << SHARE_BITS] = {
    let mut table = [u32::MAX; 2 << SHARE_BITS];
    let mut share = 2;
    while share < table.len() {
        table[share] = ((1u64 << 32) / share as u64) as u32;
        share += 1;
    }
    table
};

const _: () = assert!(CONTEXTS as u32 == IDLE);
