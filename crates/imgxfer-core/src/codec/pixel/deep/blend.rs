//! Makes one prediction of several: weighed by their errors nearby, then corrected by what the blend got wrong so far.

use super::predict::PREDICTORS;

/// The predictors, their blend, and the corrected blend.
const SCORED: usize = PREDICTORS + 2;
const BLENDED: usize = PREDICTORS;
const CORRECTED: usize = PREDICTORS + 1;
/// Cells left and right of a row of errors.
const EDGE: usize = 2;
/// Columns that share the slowly forgotten errors.
const REGION_COLUMNS: usize = 8;
/// Added to every score, so that none is zero.
const SCORE_MIN: u32 = 16;
/// Fraction bits of the correction's weights.
const CORRECTION_BITS: u32 = 16;

/// Absolute errors, in 16ths of a sample.
type Errors = [u32; SCORED];

/// What the blender made, kept until the sample is known. All in 256ths.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blend {
    /// What is expected.
    pub(super) value: i32,
    /// How far the predictors are from their blend, on the average.
    pub(super) spread: i32,
    blended: i32,
    corrected: i32,
}

/// Recent errors of the predictors.
#[derive(Debug)]
pub(super) struct Blender {
    max: i32,
    above: Vec<Errors>,
    here: Vec<Errors>,
    regions: Vec<Errors>,
    correction: [i32; PREDICTORS],
}

impl Blender {
    pub(super) fn new(width: usize, max: u16) -> Self {
        let row = vec![[0; SCORED]; width + 2 * EDGE];
        Self {
            max: i32::from(max) << 8,
            above: row.clone(),
            here: row,
            regions: vec![[0; SCORED]; width.div_ceil(REGION_COLUMNS)],
            correction: [0; PREDICTORS],
        }
    }

    #[inline]
    pub(super) fn blend(&self, x: usize, each: &[i32; PREDICTORS]) -> Blend {
        let scores = self.scores(x);
        let least = scores[..PREDICTORS].iter().fold(u32::MAX, |least, score| least.min(*score)).ilog2();
        let mut weights = [0_i64; PREDICTORS];
        let mut total = 0;
        let mut sum = 0;
        for ((weight, score), value) in weights.iter_mut().zip(&scores).zip(each) {
            *weight = inverse_square(*score, least);
            total += *weight;
            sum += *weight * i64::from(*value);
        }
        let blended = (sum / total) as i32;
        let mut distances = 0;
        let mut correction = 0;
        for ((weight, value), share) in weights.iter().zip(each).zip(&self.correction) {
            let away = i64::from(*value - blended);
            distances += *weight * away.abs();
            correction += i64::from(*share) * away;
        }
        let corrected = (i64::from(blended) + (correction >> CORRECTION_BITS)).clamp(0, i64::from(self.max)) as i32;
        // The corrected blend counts for as much as it was better than the plain one.
        let plain = u64::from(scores[BLENDED]).pow(2);
        let share = (plain << 12) / (plain + u64::from(scores[CORRECTED]).pow(2));
        let value = blended + ((i64::from(corrected - blended) * share as i64) >> 12) as i32;
        Blend { value, spread: (distances / total) as i32, blended, corrected }
    }

    /// Errors round the sample to come, of each predictor and both blends.
    #[inline]
    fn scores(&self, x: usize) -> Errors {
        let at = x + EDGE;
        let [ww, w] = [&self.here[at - 2], &self.here[at - 1]];
        let [nw, n, ne, nee] = [&self.above[at - 1], &self.above[at], &self.above[at + 1], &self.above[at + 2]];
        let region = &self.regions[x / REGION_COLUMNS];
        let mut scores = [SCORE_MIN; SCORED];
        for (k, score) in scores.iter_mut().enumerate() {
            *score += 2 * (w[k] + n[k]) + ww[k] + nw[k] + ne[k] + nee[k] + (region[k] >> 1);
        }
        scores
    }

    /// Takes the true `value`; returns the blend's absolute error in 16ths.
    #[inline]
    pub(super) fn learn(&mut self, x: usize, value: i32, each: &[i32; PREDICTORS], blend: &Blend) -> u32 {
        let made = each.iter().chain([&blend.blended, &blend.corrected]);
        let region = &mut self.regions[x / REGION_COLUMNS];
        for ((error, slow), made) in self.here[x + EDGE].iter_mut().zip(region).zip(made) {
            *error = (value - made).unsigned_abs() >> 4;
            *slow += *error;
            *slow -= *slow >> 4;
        }
        let wrong = i64::from(value - blend.corrected);
        let norm = each.iter().fold(4096 + 4 * wrong * wrong, |norm, each| {
            let away = i64::from(each - blend.blended);
            norm + away * away
        });
        let step = (wrong << 30) / norm;
        for (share, each) in self.correction.iter_mut().zip(each) {
            let change = (i64::from(each - blend.blended) * step) >> 21;
            *share = share.wrapping_add(change as i32);
        }
        (value - blend.value).unsigned_abs() >> 4
    }

    /// Takes that nobody was wrong.
    #[inline]
    pub(super) fn learn_flat(&mut self, x: usize) {
        self.here[x + EDGE] = [0; SCORED];
        for slow in &mut self.regions[x / REGION_COLUMNS] {
            *slow -= *slow >> 4;
        }
    }

    pub(super) fn end_row(&mut self) {
        let end = self.here.len() - EDGE;
        let last = self.here[end - 1];
        self.here[end..].fill(last);
        std::mem::swap(&mut self.here, &mut self.above);
    }
}

static RECIPROCALS: [i64; 256] = reciprocals();

/// Of numbers from 128 to 255, with half a unit added; about 14 bits.
const fn reciprocals() -> [i64; 256] {
    let mut table = [0; 256];
    let mut number = 128;
    while number < table.len() {
        table[number] = (1 << 22) / (2 * number as i64 + 1);
        number += 1;
    }
    table
}

/// About 2^28 over the square of `score`, were its leading bit shifted by `least` to bit 7; never zero by much.
#[inline]
fn inverse_square(score: u32, least: u32) -> i64 {
    let octave = score.ilog2();
    let mantissa = if octave >= 7 { score >> (octave - 7) } else { score << (7 - octave) };
    let reciprocal = RECIPROCALS[mantissa as usize & 255];
    (reciprocal * reciprocal) >> (2 * (octave - least)).min(63)
}
