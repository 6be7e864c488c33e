//! The whole model of a plane: what is expected of each sample, and how sure that is.

use super::super::plane::Geometry;
use super::mixing::{COUNTER_START, Counter};
use super::padded::Padded;
use super::patterns::{Guess, Keys, LOOKUPS, Patterns};
use super::predict::{FRACTION_BITS, Neighbours, Prediction, Predictor};
use super::range::Coder;
use super::residual::{Expectation, PATTERNS, Residuals, bucket_of, code_plain};

/// Cells left and right of a row of errors.
const EDGE: usize = 2;
/// Planes of a stack (of colours, say) that are told apart; larger stacks are taken for one series.
const PLANES_MAX: usize = 3;
/// Lengths of flat parts are told apart up to this.
const RUN_MAX: u32 = 255;
/// [`quantise`] gives less.
const STEPS: usize = 96;

/// What is known of a plane, with `N` contexts a bit.
#[derive(Debug)]
pub(super) struct Model<const N: usize> {
    frame_rows: usize,
    planes: usize,
    /// Bits to drop from a prediction for one of 64 levels, and for one of 4096 values.
    level_shift: u32,
    value_shift: u32,
    row: usize,
    start: usize,
    padded: Padded,
    predictor: Predictor,
    residuals: Residuals<N>,
    patterns: Option<Patterns>,
    /// Samples that a flat part has gone on for, and one.
    run: u32,
    /// Counters of whether a flat part goes on: by its length, what patterns and the reference say.
    flat: [[[Counter; 3]; 10]; 8],
    /// Absolute errors, in 16ths, two rows above, one above, and here.
    errors: [Vec<i32>; 3],
}

/// How large errors were round the sample to come, in 16ths.
struct Energy {
    /// Of the nearest two.
    nearest: i32,
    /// Of the next two.
    next: i32,
    /// Of all, with what the predictors disagree and the picture changes: about 18 times the error to expect.
    total: i32,
}

impl<const N: usize> Model<N> {
    pub(super) fn new(geometry: &Geometry, with_reference: bool) -> Self {
        let frames = geometry.rows.div_ceil(geometry.frame_rows);
        let row = vec![0; geometry.width + 2 * EDGE];
        let bits = 16 - geometry.max.leading_zeros();
        Self {
            frame_rows: geometry.frame_rows,
            planes: if frames <= PLANES_MAX { frames } else { 1 },
            level_shift: FRACTION_BITS + bits.saturating_sub(6),
            value_shift: FRACTION_BITS + bits.saturating_sub(12),
            row: 0,
            start: 0,
            padded: Padded::new(geometry),
            predictor: Predictor::new(geometry, with_reference),
            residuals: Residuals::new(geometry.max),
            patterns: (N == PATTERNS).then(Patterns::new),
            run: 1,
            flat: [[[COUNTER_START; 3]; 10]; 8],
            errors: [row.clone(), row.clone(), row],
        }
    }

    pub(super) fn begin_row(&mut self, row: usize) {
        self.row = row;
        self.padded.begin_row(row);
        self.start = self.padded.row_start(row);
    }

    pub(super) fn end_row(&mut self) {
        self.padded.end_row(self.row);
        self.predictor.end_row();
        let [_, _, here] = &mut self.errors;
        let end = here.len() - EDGE;
        let last = here[end - 1];
        here[end..].fill(last);
        self.errors.rotate_left(1);
    }

    /// Codes the sample at column `x`; returns it, or what the decoder read.
    pub(super) fn code<C: Coder>(&mut self, coder: &mut C, x: usize, sample: u16) -> u16 {
        let at = self.start + x;
        let near = Neighbours::of(&self.padded, at);
        let keys = if self.patterns.is_some() { Patterns::keys(&near) } else { [0; LOOKUPS] };
        let is_flat = near.is_flat() && self.is_calm(x);
        if is_flat && self.code_flat(coder, x, &near, &keys, i32::from(sample) == near.w) {
            return near.w as u16;
        }
        self.run = 1;
        let prediction = self.predictor.predict(&self.padded, self.row, x, &near);
        let expect = self.expect(x, &near, &prediction, &keys);
        let sample = self.residuals.code(coder, u32::from(sample), &expect) as u16;
        self.padded.set(at, sample);
        self.predictor.learn(x, i32::from(sample), &prediction);
        if let Some(patterns) = &mut self.patterns {
            patterns.learn(&keys, sample);
        }
        self.errors[2][x + EDGE] = ((i32::from(sample) << FRACTION_BITS) - prediction.value).abs() >> 4;
        sample
    }

    /// Codes whether a sample is what all its neighbours are; if so, learns it.
    #[inline]
    fn code_flat<C: Coder>(&mut self, coder: &mut C, x: usize, near: &Neighbours, keys: &Keys, stays: bool) -> bool {
        let guess = self.patterns.as_ref().map_or_else(Guess::default, |patterns| patterns.guess(keys));
        let agrees = guess.times * 2 + usize::from(guess.sample == near.w as u32);
        let there = self.predictor.flatness_of_reference(&self.padded, self.row, x);
        let counter = &mut self.flat[self.run.ilog2() as usize][agrees][there];
        if !code_plain(coder, counter, stays, 1) {
            return false;
        }
        self.run = (self.run + 1).min(RUN_MAX);
        self.padded.set(self.start + x, near.w as u16);
        self.predictor.learn_flat(x);
        if let Some(patterns) = &mut self.patterns {
            patterns.learn(keys, near.w as u16);
        }
        self.errors[2][x + EDGE] = 0;
        true
    }

    /// Whether all samples just above and before were as expected.
    #[inline]
    fn is_calm(&self, x: usize) -> bool {
        let e = x + EDGE;
        let [_, above, here] = &self.errors;
        here[e - 1] | above[e - 1] | above[e] | above[e + 1] == 0
    }

    #[inline]
    fn energy(&self, x: usize, near: &Neighbours, prediction: &Prediction) -> Energy {
        let e = x + EDGE;
        let [above2, above, here] = &self.errors;
        let nearest = here[e - 1] + above[e];
        let next = above[e - 1] + above[e + 1];
        let sum = 3 * nearest + 2 * next + here[e - 2] + above2[e] + above[e + 2];
        let across = (near.w - near.nw).abs() + (near.n - near.ne).abs();
        let down = (near.w - near.ww).abs() + (near.n - near.nw).abs() + (near.ne - near.n).abs();
        Energy { nearest, next, total: sum + sum / 4 + prediction.spread / 2 + (across + down) * 2 }
    }

    #[inline]
    fn expect(&self, x: usize, near: &Neighbours, prediction: &Prediction, keys: &Keys) -> Expectation<N> {
        let energy = self.energy(x, near, prediction);
        let value = prediction.value;
        let q = quantise(energy.total);
        let plane = (self.row / self.frame_rows) % self.planes;
        // On which side of the prediction a predictor stands, and whether far away.
        let half = energy.total / 2 + 1;
        let tilt = |k: usize| {
            let away = prediction.each[k] - value;
            let far = away.saturating_abs().saturating_mul(4);
            let step = if far < half {
                0
            } else if far < half.saturating_mul(3) {
                1
            } else {
                2
            };
            if away < 0 { 2 - step } else { 2 + step }
        };
        let texture = [near.w, near.n, near.nw, near.ne, near.ww, near.nn]
            .iter()
            .fold(0, |bits, sample| bits * 2 + usize::from(*sample << FRACTION_BITS > value));
        let natural = [
            plane * STEPS + q,
            (q / 6).min(7) * 125 + tilt(0) * 25 + tilt(1) * 5 + tilt(2),
            (q / 2).min(60) * 8 + ((value & 255) >> 5) as usize,
            (q / 5).min(15) * 64 + texture,
            (value >> self.level_shift) as usize * 32 + (q / 3).min(31),
            (value >> self.value_shift) as usize,
        ];
        let mut contexts = [0; N];
        contexts[..natural.len()].copy_from_slice(&natural);
        let floor = value >> FRACTION_BITS;
        if let Some(patterns) = &self.patterns {
            let seen = patterns.contexts(keys, floor);
            let more = [
                (quantise(energy.nearest * 4) / 2).min(22) * 22 + (quantise(energy.next) / 3).min(21),
                (q / 2).min(31) * 16 + (quantise(prediction.spread) / 2).min(15),
                seen[0],
                seen[1],
            ];
            contexts[natural.len()..].copy_from_slice(&more[..N - natural.len()]);
        }
        Expectation {
            floor: floor as u32,
            contexts,
            guess: self.patterns.as_ref().map_or_else(Guess::default, |patterns| patterns.guess(keys)),
            start: bucket_of(energy.total as u32 / 312),
            select: (q / 4).min(20) + 21 * plane,
        }
    }
}

/// The logarithm, in quarters of an octave, of a number that is not negative.
#[inline]
fn quantise(value: i32) -> usize {
    let value = value as u32 + 4;
    let octave = value.ilog2();
    ((octave - 2) * 4 + ((value >> (octave - 2)) & 3)) as usize
}
