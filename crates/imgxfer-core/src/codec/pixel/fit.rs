//! Finding weights that predict a plane well: weighted least squares over a sample of it.
//!
//! Only encoders do this. It uses floating point, in a fixed order of operations without any library
//! function, so that every machine finds the same weights; decoders read them as whole numbers.

use super::bits::log2;
use super::model::{CLASS_ALONE, CLASSES, Kind, NEIGHBOURS, WEIGHT_BITS, Weights};
use super::plane::Geometry;

/// Samples that are looked at; half as many for weights without classes.
const LOOKED_AT: usize = 20_000;
/// Of small planes only one in so many, so that looking takes no longer than coding; but no fewer than this.
const OF_SMALL: usize = 8;
const LOOKED_AT_MIN: usize = 4_000;
/// Of those, how many tell which prediction is better.
const COMPARED: usize = 5_000;
/// Fewest samples for weights of a class's own.
const CLASS_MIN: u32 = 60;
/// How much a class leans on the whole plane: this many samples' worth.
const LEAN: f64 = 40.0;
/// Weights are kept unless the median is estimated cheaper by more than one part in this.
const MEDIAN_MARGIN: u64 = 33;
/// Unknown weights: all but that of the sample before, which makes the sum 1.
const UNKNOWNS: usize = NEIGHBOURS - 1;
/// Columns of the sums: one for each neighbour (that of the sample before is of no use), and the target.
const COLUMNS: usize = 16;
const TARGET: usize = COLUMNS - 1;

/// One sample and its neighbours, in the order of weights.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// And the sample itself in the last place.
    around: [i32; COLUMNS],
    horizontal: u32,
    vertical: u32,
    /// Position of the highest bit of the activity.
    log: u32,
    activity: u32,
}

/// Sums of a least-squares problem.
#[derive(Debug, Clone)]
struct Sums {
    count: u32,
    /// Products of differences, and in the last column their products with the target.
    products: [[f32; COLUMNS]; UNKNOWNS],
}

impl Sums {
    const ZERO: Self = Self { count: 0, products: [[0.0; COLUMNS]; UNKNOWNS] };

    fn add<const N: usize>(&mut self, seen: &Seen) {
        let base = seen.around[0];
        // Sixteen columns always, whatever the number of unknowns: whole vectors.
        let columns = seen.around.map(|value| (value - base) as f32);
        let weight = 1.0 / (4.0 + seen.activity as f32);
        for (row, step) in self.products[..N].iter_mut().zip(&columns[1..]) {
            let step = step * weight;
            for (sum, column) in row.iter_mut().zip(&columns) {
                *sum += step * column;
            }
        }
        self.count += 1;
    }
}

/// A way to predict, chosen for a plane.
#[derive(Debug, Clone)]
pub(super) struct Fitted {
    pub(super) kind: Kind,
    pub(super) weights: Weights,
    /// Highest bits of the activity at which its classes begin.
    pub(super) bounds: [u8; 4],
}

/// Fits weights of a kind to a plane, and keeps them when they predict better than the median edge
/// detector. The samples are `geometry.samples()` long.
///
/// This is the same build on every path: it is short, and compilers make poor use of wide vectors here.
pub(super) fn fit(samples: &[u16], geometry: &Geometry, kind: Kind) -> Fitted {
    let seen = look(samples, geometry, kind);
    let mut fitted = match kind {
        Kind::Median => Fitted { kind, weights: Weights::NONE, bounds: [2, 4, 5, 7] },
        Kind::Six => solved::<5>(kind, &seen),
        Kind::Ten => solved::<9>(kind, &seen),
        Kind::Reference => solved::<14>(kind, &seen),
    };
    let (own, median) = (fitted.cost(&seen), median_cost(&seen));
    // The estimate knows nothing of contexts, under which weights do somewhat better than it says.
    if kind == Kind::Median || own.saturating_sub(own / MEDIAN_MARGIN) > median {
        fitted.kind = Kind::Median;
    }
    fitted
}

fn look(samples: &[u16], geometry: &Geometry, kind: Kind) -> Vec<Seen> {
    let width = geometry.width;
    let total = geometry.samples().min(samples.len());
    let looked_at = LOOKED_AT.min((total / OF_SMALL).max(LOOKED_AT_MIN));
    let looked_at = if kind == Kind::Six { looked_at / 2 } else { looked_at };
    // A step that has no divisor in common with the width, so that all columns are visited.
    let mut step = (total / looked_at).max(1);
    while divisor(step, width) > 1 {
        step += 1;
    }
    let above = if kind == Kind::Reference { geometry.reference_rows } else { 0 };
    let mut seen = Vec::with_capacity(total.min(looked_at + 1));
    let (step_rows, step_columns) = (step / width, step % width);
    let (mut row, mut column) = (2.max(above + 1), 2);
    while (row + 1) * width + column < total {
        if column >= 2 && column + 2 < width && row % geometry.frame_rows >= 2 {
            seen.push(look_at(samples, width, row * width + column, above * width));
        }
        (row, column) = (row + step_rows, column + step_columns);
        if column >= width {
            (row, column) = (row + 1, column - width);
        }
    }
    seen
}

/// The greatest common divisor.
fn divisor(mut a: usize, mut b: usize) -> usize {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn look_at(samples: &[u16], width: usize, at: usize, back: usize) -> Seen {
    let value = |back: usize| i32::from(samples[at - back]);
    let [w, n, nw, ne] = [value(1), value(width), value(width + 1), value(width - 1)];
    let (ww, nn) = (value(2), value(2 * width));
    let mut around = [0; COLUMNS];
    around[..10].copy_from_slice(&[
        w,
        n,
        nw,
        ne,
        ww,
        nn,
        value(width + 2),
        value(width - 2),
        value(2 * width + 1),
        value(2 * width - 1),
    ]);
    around[TARGET] = value(0);
    if back > 0 {
        let there = [value(back), value(back + 1), value(back - 1), value(back + width), value(back - width)];
        around[10..TARGET].copy_from_slice(&there);
    }
    let (down, across) = (w.abs_diff(nw), n.abs_diff(nw));
    let activity = down + across + n.abs_diff(ne);
    Seen {
        around,
        horizontal: w.abs_diff(ww) + across,
        vertical: down + n.abs_diff(nn),
        log: (activity + 1).ilog2().min(15),
        activity,
    }
}

fn solved<const N: usize>(kind: Kind, seen: &[Seen]) -> Fitted {
    let bounds = bounds(seen);
    let mut weights = Weights::NONE;
    weights.set_bounds(bounds);
    let mut by_class = vec![Sums::ZERO; CLASSES];
    for one in seen {
        by_class[class(&weights, one)].add::<N>(one);
    }
    let mut products = [[0.0; N]; N];
    let mut targets = [0.0; N];
    for sums in &by_class {
        accumulate(&mut products, &mut targets, sums, 1.0);
    }
    let overall = solve(products, targets);
    let lean = LEAN / to_f64(seen.len().max(1));
    for (class, sums) in by_class.iter().enumerate().take(kind.classes().min(CLASSES)) {
        let own = if kind == Kind::Six || sums.count < CLASS_MIN {
            overall
        } else {
            let (mut own_products, mut own_targets) = ([[0.0; N]; N], [0.0; N]);
            accumulate(&mut own_products, &mut own_targets, sums, 1.0);
            for (to, from) in own_products.iter_mut().flatten().zip(products.iter().flatten()) {
                *to += lean * from;
            }
            for (to, from) in own_targets.iter_mut().zip(&targets) {
                *to += lean * from;
            }
            solve(own_products, own_targets)
        };
        set(&mut weights, class, &own);
    }
    if kind == Kind::Reference {
        // What has no reference is predicted from its own ten neighbours.
        let (mut own_products, mut own_targets) = ([[0.0; 9]; 9], [0.0; 9]);
        for sums in &by_class {
            accumulate(&mut own_products, &mut own_targets, sums, 1.0);
        }
        set(&mut weights, CLASS_ALONE, &solve(own_products, own_targets));
    }
    Fitted { kind, weights, bounds }
}

fn accumulate<const N: usize>(products: &mut [[f64; N]; N], targets: &mut [f64; N], sums: &Sums, weight: f64) {
    for (to, from) in products.iter_mut().zip(&sums.products) {
        for (to, from) in to.iter_mut().zip(&from[1..]) {
            *to += weight * f64::from(*from);
        }
    }
    for (to, from) in targets.iter_mut().zip(&sums.products) {
        *to += weight * f64::from(from[TARGET]);
    }
}

/// Bounds that split the activity into five classes of near-equal numbers.
fn bounds(seen: &[Seen]) -> [u8; 4] {
    let mut counts = [0usize; 16];
    for one in seen {
        counts[one.log as usize] += 1;
    }
    let mut bounds = [0u8; 4];
    let (mut below, mut least) = (0, 1u8);
    let mut logs = (0u8..).zip(counts).peekable();
    for (part, bound) in (1..).zip(&mut bounds) {
        while let Some((log, count)) = logs.peek() {
            if *log >= least && below * 5 >= part * seen.len() {
                break;
            }
            below += count;
            let _ = logs.next();
        }
        *bound = logs.peek().map_or(16, |(log, _)| *log);
        least = bound.saturating_add(1);
    }
    bounds
}

fn class(weights: &Weights, seen: &Seen) -> usize {
    let direction = if seen.horizontal > 2 * seen.vertical + 2 {
        0
    } else if seen.vertical > 2 * seen.horizontal + 2 {
        1
    } else {
        2
    };
    weights.activity[seen.log as usize] as usize + direction
}

fn set(weights: &mut Weights, class: usize, own: &[f64]) {
    let one = 1 << WEIGHT_BITS;
    let mut sum = 0;
    for (of, weight) in weights.of[1..].iter_mut().zip(own) {
        let limited = weight.clamp(-3.9, 3.9) * f64::from(one);
        // Rounds to the nearest; half away from zero.
        let whole = (limited + if limited < 0.0 { -0.5 } else { 0.5 }) as i32;
        of[class] = whole.cast_unsigned();
        sum += whole;
    }
    weights.of[0][class] = (one - sum).clamp(-32_000, 32_000).cast_unsigned();
}

/// Gaussian elimination with a little damping.
fn solve<const N: usize>(mut a: [[f64; N]; N], mut b: [f64; N]) -> [f64; N] {
    for (i, row) in a.iter_mut().enumerate() {
        row[i] += 1e-3 * row[i] + 1.0;
    }
    for i in 0..N {
        let mut pivot = i;
        for row in i + 1..N {
            if a[row][i].abs() > a[pivot][i].abs() {
                pivot = row;
            }
        }
        a.swap(i, pivot);
        b.swap(i, pivot);
        if a[i][i].abs() < 1e-9 {
            continue;
        }
        let (head, tail) = a.split_at_mut(i + 1);
        for (row, target) in tail.iter_mut().zip(i + 1..) {
            let factor = row[i] / head[i][i];
            for (to, from) in row[i..].iter_mut().zip(&head[i][i..]) {
                *to -= factor * from;
            }
            b[target] -= factor * b[i];
        }
    }
    let mut x = [0.0; N];
    for i in (0..N).rev() {
        let mut sum = b[i];
        for column in i + 1..N {
            sum -= a[i][column] * x[column];
        }
        x[i] = if a[i][i].abs() < 1e-9 { 0.0 } else { sum / a[i][i] };
    }
    x
}

fn bits_of(difference: i32) -> u64 {
    u64::from(log2(1 + 2 * difference.unsigned_abs().min(1 << 20)))
}

fn median_residual(seen: &Seen) -> i32 {
    let [w, n, nw] = [seen.around[0], seen.around[1], seen.around[2]];
    seen.around[TARGET] - (w + n - nw.clamp(w.min(n), w.max(n)))
}

fn median_cost(seen: &[Seen]) -> u64 {
    seen.iter().step_by(seen.len().div_ceil(COMPARED).max(1)).map(|one| bits_of(median_residual(one))).sum()
}

impl Fitted {
    fn cost(&self, seen: &[Seen]) -> u64 {
        let used = self.kind.neighbours();
        seen.iter()
            .step_by(seen.len().div_ceil(COMPARED).max(1))
            .map(|one| {
                let class = if self.kind == Kind::Six { 0 } else { class(&self.weights, one) };
                let sum = one.around[..used]
                    .iter()
                    .zip(&self.weights.of)
                    .fold(1i32 << (WEIGHT_BITS - 1), |sum, (value, weight)| {
                        sum.wrapping_add(value.wrapping_mul(weight[class].cast_signed()))
                    });
                bits_of(one.around[TARGET].saturating_sub(sum >> WEIGHT_BITS))
            })
            .sum()
    }
}

fn to_f64(n: usize) -> f64 {
    crate::units::to_f64(crate::units::to_u64(n))
}
