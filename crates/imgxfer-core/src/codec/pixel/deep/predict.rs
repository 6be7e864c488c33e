//! What a sample is expected to be: several predictors, blended by how well each did nearby.

use super::super::plane::Geometry;
use super::blend::{Blend, Blender};
use super::least_squares::{BLOCK_COLUMNS, INPUTS, Inputs, LeastSquares, SPATIAL_INPUTS, clamp_i16};
use super::padded::Padded;

/// Predictors in the blend.
pub(super) const PREDICTORS: usize = 6;
/// Fraction bits of predictions.
pub(super) const FRACTION_BITS: u32 = 8;

/// The neighbours of the sample to come, by compass: `nne` is two rows up and one column right.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Neighbours {
    pub(super) w: i32,
    pub(super) n: i32,
    pub(super) nw: i32,
    pub(super) ne: i32,
    pub(super) ww: i32,
    pub(super) nn: i32,
    pub(super) nne: i32,
    pub(super) nee: i32,
    pub(super) nww: i32,
    pub(super) nnw: i32,
    pub(super) www: i32,
    pub(super) nnn: i32,
}

impl Neighbours {
    #[inline]
    pub(super) fn of(padded: &Padded, at: usize) -> Self {
        let stride = padded.stride;
        let [www, ww, w] = padded.span::<3>(at - 3);
        let [nww, nw, n, ne, nee] = padded.span::<5>(at - stride - 2);
        let [nnw, nn, nne] = padded.span::<3>(at - 2 * stride - 1);
        let [nnn] = padded.span::<1>(at - 3 * stride);
        Self { w, n, nw, ne, ww, nn, nne, nee, nww, nnw, www, nnn }
    }

    /// Whether all but the furthest are the same.
    #[inline]
    pub(super) fn is_flat(&self) -> bool {
        let Self { w, n, nw, ne, ww, nn, nne, nee, nww, nnw, .. } = *self;
        (w ^ n) | (w ^ nw) | (w ^ ne) | (w ^ ww) | (w ^ nn) | (w ^ nne) | (w ^ nee) | (w ^ nww) | (w ^ nnw) == 0
    }

    /// The mean of the four nearest.
    fn mean(&self) -> i32 {
        (self.w + self.n + self.nw + self.ne + 2) >> 2
    }

    /// The median of left, above, and the plane through the three nearest.
    fn median(&self) -> i32 {
        let (low, high) = if self.w < self.n { (self.w, self.n) } else { (self.n, self.w) };
        (self.w + self.n - self.nw).clamp(low, high)
    }
}

/// A prediction and what it came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prediction {
    /// What is expected, in 256ths, from 0 to the plane's largest sample.
    pub(super) value: i32,
    /// The predictors, likewise.
    pub(super) each: [i32; PREDICTORS],
    /// How far they are from their blend, on the average, in 256ths.
    pub(super) spread: i32,
    blend: Blend,
    inputs: Inputs,
    /// What the least squares add to, in 256ths.
    base: i32,
}

/// The predictors and what they learned.
#[derive(Debug)]
pub(super) struct Predictor {
    max: i32,
    width: usize,
    frame_rows: usize,
    /// Rows up to the reference; 0 for none.
    reference: usize,
    least_squares: LeastSquares,
    blender: Blender,
}

impl Predictor {
    pub(super) fn new(geometry: &Geometry, with_reference: bool) -> Self {
        let reference = if with_reference { geometry.reference_rows } else { 0 };
        let used = if reference > 0 { INPUTS } else { SPATIAL_INPUTS };
        Self {
            max: i32::from(geometry.max),
            width: geometry.width,
            frame_rows: geometry.frame_rows,
            reference,
            least_squares: LeastSquares::new(geometry.width, used),
            blender: Blender::new(geometry.width, geometry.max),
        }
    }

    pub(super) fn predict(&mut self, padded: &Padded, row: usize, x: usize, near: &Neighbours) -> Prediction {
        if x.is_multiple_of(BLOCK_COLUMNS) {
            self.least_squares.begin_block(x);
        }
        let Neighbours { w, n, nw, ne, ww, nn, nne, nee, nww, nnw, www, nnn } = *near;
        let mean = near.mean();
        let base = (3 * (w + n) - 2 * nw) * 64;
        let mut inputs = [0; INPUTS];
        for (to, from) in inputs.iter_mut().zip(&[w, n, nw, ne, ww, nn, nne, nww, nee, nnw, www, nnn]) {
            *to = clamp_i16(*from - mean);
        }
        let [fifth, sixth] = if self.reference > 0 && row >= self.reference {
            self.look_back(padded, row, x, near, &mut inputs)
        } else {
            [(w + ne - n) * 256, (2 * n - nn) * 256]
        };
        let [local, few, global] = self.least_squares.predict(&inputs);
        let mut each = [
            base.saturating_add(local),
            base.saturating_add(global),
            near.median() * 256,
            base.saturating_add(few),
            fifth,
            sixth,
        ];
        for value in &mut each {
            *value = (*value).clamp(0, self.max << FRACTION_BITS);
        }
        let blend = self.blender.blend(x, &each);
        Prediction { value: blend.value, each, spread: blend.spread, blend, inputs, base }
    }

    /// Fills the inputs from the reference; the two predictors that go by it.
    #[inline]
    fn look_back(&self, padded: &Padded, row: usize, x: usize, near: &Neighbours, inputs: &mut Inputs) -> [i32; 2] {
        let at = padded.row_start(row - self.reference) + x;
        let [nw, n, ne] = padded.span::<3>(at - padded.stride - 1);
        let [w, centre, e] = padded.span::<3>(at - 1);
        // Below the last row of a frame that row again.
        let is_last = (row + 1).is_multiple_of(self.frame_rows);
        let [s, se] = padded.span::<2>(if is_last { at } else { at + padded.stride });
        let mean = (w + n + nw + ne + 2) >> 2;
        for (to, from) in inputs[SPATIAL_INPUTS..].iter_mut().zip(&[centre, e, s, w, n, se, ne]) {
            *to = clamp_i16(*from - mean);
        }
        inputs[INPUTS - 1] = clamp_i16(mean - near.mean());
        [centre * 256, (2 * centre + near.w + near.n - w - n) * 128]
    }

    /// Takes what the sample turned out to be.
    pub(super) fn learn(&mut self, x: usize, sample: i32, prediction: &Prediction) {
        let value = sample << FRACTION_BITS;
        let residual = self.blender.learn(x, value, &prediction.each, &prediction.blend);
        self.least_squares.learn(&prediction.inputs, sample - (prediction.base >> FRACTION_BITS), residual);
        if (x + 1).is_multiple_of(BLOCK_COLUMNS) || x + 1 == self.width {
            self.least_squares.end_block(x);
        }
    }

    /// 0 without a reference, 1 if it too is flat there, else 2.
    #[inline]
    pub(super) fn flatness_of_reference(&self, padded: &Padded, row: usize, x: usize) -> usize {
        if self.reference == 0 || row < self.reference {
            return 0;
        }
        let at = padded.row_start(row - self.reference) + x;
        let [w, centre, e] = padded.span::<3>(at - 1);
        let [n] = padded.span::<1>(at - padded.stride);
        if (centre ^ w) | (centre ^ n) | (centre ^ e) == 0 { 1 } else { 2 }
    }

    /// Takes that the sample was what all its neighbours are.
    pub(super) fn learn_flat(&mut self, x: usize) {
        self.blender.learn_flat(x);
        self.least_squares.learn(&[0; INPUTS], 0, 0);
        if (x + 1).is_multiple_of(BLOCK_COLUMNS) || x + 1 == self.width {
            self.least_squares.end_block(x);
        }
    }

    pub(super) fn end_row(&mut self) {
        self.blender.end_row();
        self.least_squares.end_row();
    }
}
