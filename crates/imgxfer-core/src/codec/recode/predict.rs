//! The predictors of JPEG without loss (ITU-T T.81, H.1.2): samples of a row to differences and back.

use super::huffman::low16;

/// What a row is predicted from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// 1 to 7 (table H.1).
    pub(super) selection: u8,
    /// Samples of a pixel, side by side.
    pub(super) samples: usize,
    /// The row above; `None` in the first row and behind a restart.
    pub(super) above: Option<&'a [u16]>,
    /// The first prediction where there is no row above.
    pub(super) first: u16,
}

/// Prediction from the samples to the left, above, and above to the left.
macro_rules! with_predictor {
    ($selection:expr, $run:ident, $($argument:expr),*) => {
        match $selection {
            2 => $run($($argument,)* |_, b, _| b),
            3 => $run($($argument,)* |_, _, c| c),
            4 => $run($($argument,)* |a, b, c| a.wrapping_add(b).wrapping_sub(c)),
            5 => $run($($argument,)* |a, b, c| half(b, c, a)),
            6 => $run($($argument,)* |a, b, c| half(a, c, b)),
            7 => $run($($argument,)* |a, b, _| low16((u32::from(a) + u32::from(b)) >> 1)),
            _ => $run($($argument,)* |a, _, _| a),
        }
    };
}

/// `base + ((x - y) >> 1)`, rounding down.
fn half(x: u16, y: u16, base: u16) -> u16 {
    let difference = (i32::from(x) - i32::from(y)) >> 1;
    base.wrapping_add(low16(difference.cast_unsigned()))
}

/// Differences of a row.
pub(super) fn differences(context: Context<'_>, row: &[u16], out: &mut [u16]) {
    let step = context.samples;
    let (Some(out_first), Some(row_first)) = (out.get_mut(..step), row.get(..step)) else { return };
    for (at, (out, value)) in out_first.iter_mut().zip(row_first).enumerate() {
        *out = value.wrapping_sub(context.above.map_or(context.first, |above| above[at]));
    }
    let Some(above) = context.above else {
        for ((out, value), left) in out[step..].iter_mut().zip(&row[step..]).zip(row) {
            *out = value.wrapping_sub(*left);
        }
        return;
    };
    with_predictor!(context.selection, differences_by, row, above, step, out);
}

fn differences_by(row: &[u16], above: &[u16], step: usize, out: &mut [u16], predict: impl Fn(u16, u16, u16) -> u16) {
    let here = out[step..].iter_mut().zip(&row[step..]).zip(row);
    for (((out, value), left), (above_here, above_left)) in here.zip(above[step..].iter().zip(above)) {
        *out = value.wrapping_sub(predict(*left, *above_here, *above_left));
    }
}

/// Turns the differences in `row` into samples.
pub(super) fn restore(context: Context<'_>, row: &mut [u16]) {
    let step = context.samples;
    let Some(first) = row.get_mut(..step) else { return };
    for (at, value) in first.iter_mut().enumerate() {
        *value = value.wrapping_add(context.above.map_or(context.first, |above| above[at]));
    }
    match context.above {
        None => restore_by(row, &[], step, |a, _, _| a),
        Some(above) => with_predictor!(context.selection, restore_by, row, above, step),
    }
}

/// `above` is as long as `row`, or empty when `predict` does not look at it.
fn restore_by(row: &mut [u16], above: &[u16], step: usize, predict: impl Fn(u16, u16, u16) -> u16) {
    if above.len() != row.len() {
        for at in step..row.len() {
            row[at] = row[at].wrapping_add(predict(row[at - step], 0, 0));
        }
    } else if step == 1 {
        let mut left = row.first().copied().unwrap_or(0);
        for (value, pair) in row.iter_mut().skip(1).zip(above.windows(2)) {
            left = value.wrapping_add(predict(left, pair[1], pair[0]));
            *value = left;
        }
    } else {
        for at in step..row.len() {
            row[at] = row[at].wrapping_add(predict(row[at - step], above[at], above[at - step]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_predictor_reverses() {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            low16(state >> 16)
        };
        for selection in 1..=7 {
            for samples in [1, 3] {
                let rows: Vec<Vec<u16>> = (0..3).map(|_| (0..30).map(|_| next()).collect()).collect();
                for above in [None, Some(&rows[0][..])] {
                    let context = Context { selection, samples, above, first: 0x8000 };
                    let mut out = vec![0; 30];
                    differences(context, &rows[1], &mut out);
                    restore(context, &mut out);
                    assert_eq!(out, rows[1], "selection {selection}");
                }
            }
        }
    }

    #[test]
    fn predictions_are_those_of_the_standard() {
        let above = [100, 40];
        for (selection, predicted) in [(1, 7), (2, 40), (3, 100), (4, 65_483), (5, 65_513), (6, 65_529), (7, 23)] {
            let mut out = [0; 2];
            let context = Context { selection, samples: 1, above: Some(&above), first: 0 };
            differences(context, &[7, 0], &mut out);
            assert_eq!(out[1].wrapping_neg(), predicted, "selection {selection}");
        }
    }
}
