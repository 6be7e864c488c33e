//! Linear prediction whose weights follow the picture: least squares over what was coded before.
//!
//! A row is cut into blocks. When a block is done, the products of all inputs with each other and with the target are
//! added to the sums of its columns; a block's weights are solved from the sums of its columns and those beside them.

/// Inputs of the predictor: neighbours, and neighbours in the reference.
pub(super) const INPUTS: usize = 20;
pub(super) const SPATIAL_INPUTS: usize = 12;
/// Inputs of the predictor that adapts fastest.
const FEW_INPUTS: usize = 10;
/// Samples in a block.
pub(super) const BLOCK_COLUMNS: usize = 32;

/// Inputs and, last, the target.
const VARIABLES: usize = INPUTS + 1;
const TARGET: usize = INPUTS;
const PAIRS: usize = VARIABLES * (VARIABLES + 1) / 2;

/// Fraction bits of weights.
const WEIGHT_BITS: u32 = 13;
const WEIGHT_MAX: i64 = 32767;

/// Fraction bits of the scaled matrix: its diagonal is between 1/4 and 1.
const UNIT_BITS: u32 = 30;
const UNIT: i64 = 1 << UNIT_BITS;
/// Added to the diagonal.
const RIDGE: i64 = UNIT >> 17;

/// How fast sums forget: each row the columns' lose a quarter, those of the fastest a half, the plane's a sixteenth.
const DECAY: u32 = 2;
const FEW_DECAY: u32 = 1;
const GLOBAL_DECAY: u32 = 4;
/// What the sums of the whole plane count beside those of the columns, as a right shift.
const GLOBAL_SHIFT: u32 = 12;
/// What a block counts in the sums of the whole plane, as a right shift.
const INTO_GLOBAL_SHIFT: u32 = 4;
/// What the columns' sums count beside those of the fastest, as a right shift.
const INTO_FEW_SHIFT: u32 = 6;
/// Bits kept of an input for its products, so that those of a block stay within 32 bits.
const PRODUCT_BITS: u32 = 11;
/// How far products are shifted up before a block's weight takes them down again.
const SUM_BITS: u32 = 20;
const SUM_DROPPED_BITS: u32 = 8;

/// Inputs of one sample, each less the mean of the neighbours; unused ones are zero.
pub(super) type Inputs = [i16; INPUTS];
type Weights = [i16; INPUTS];

/// Sums of products, lower triangle row by row; the last row is the target's.
#[derive(Debug, Clone)]
struct Sums([i64; PAIRS]);

const fn pair(row: usize, column: usize) -> usize {
    row * (row + 1) / 2 + column
}

impl Sums {
    const ZERO: Self = Self([0; PAIRS]);

    fn add(&mut self, other: &Self, shift: u32) {
        for (to, from) in self.0.iter_mut().zip(&other.0) {
            *to += *from >> shift;
        }
    }

    /// Forgets some, and adds the products of a block.
    fn learn(&mut self, products: &Self, decay: u32) {
        for (sum, product) in self.0.iter_mut().zip(&products.0) {
            *sum += *product - (*sum >> decay);
        }
    }

    /// The sums at `index` and half of those at either side.
    fn around(all: &[Self], index: usize) -> Self {
        let mut sums = all[index].clone();
        if let Some(left) = index.checked_sub(1) {
            sums.add(&all[left], 1);
        }
        if let Some(right) = all.get(index + 1) {
            sums.add(right, 1);
        }
        sums
    }
}

/// What the samples of one block were predicted from.
#[derive(Debug)]
struct Block {
    /// Per variable, the value at each sample of the block.
    values: [[i16; BLOCK_COLUMNS]; VARIABLES],
    filled: usize,
    /// Sum of absolute residuals, in 16ths, to weigh the block.
    energy: u64,
}

/// Weights for the block at hand, learned block by block.
#[derive(Debug)]
pub(super) struct LeastSquares {
    used: usize,
    block: Block,
    /// Sums of each block's columns.
    local: Vec<Sums>,
    few: Vec<Sums>,
    global: Sums,
    local_weights: Weights,
    few_weights: Weights,
    global_weights: Weights,
}

impl LeastSquares {
    /// For rows of `width` samples, of which `used` inputs are ever set.
    pub(super) fn new(width: usize, used: usize) -> Self {
        let blocks = width.div_ceil(BLOCK_COLUMNS);
        Self {
            used,
            block: Block { values: [[0; BLOCK_COLUMNS]; VARIABLES], filled: 0, energy: 0 },
            local: vec![Sums::ZERO; blocks],
            few: vec![Sums::ZERO; blocks],
            global: Sums::ZERO,
            local_weights: [0; INPUTS],
            few_weights: [0; INPUTS],
            global_weights: [0; INPUTS],
        }
    }

    /// What to add to the base, in 256ths: by the block's weights, by those of few inputs, and by the plane's.
    #[inline]
    pub(super) fn predict(&self, inputs: &Inputs) -> [i32; 3] {
        [dot(&self.local_weights, inputs), dot(&self.few_weights, inputs), dot(&self.global_weights, inputs)]
    }

    /// Takes what a sample turned out to be: `target` is the sample less the base.
    #[inline]
    pub(super) fn learn(&mut self, inputs: &Inputs, target: i32, residual: u32) {
        let block = &mut self.block;
        let at = block.filled % BLOCK_COLUMNS;
        for (values, input) in block.values[..self.used].iter_mut().zip(inputs) {
            values[at] = *input;
        }
        block.values[TARGET][at] = clamp_i16(target);
        block.filled += 1;
        block.energy += u64::from(residual);
    }

    /// Solves the weights for the block that begins at column `x`.
    pub(super) fn begin_block(&mut self, x: usize) {
        let index = x / BLOCK_COLUMNS;
        let mut sums = Sums::around(&self.local, index);
        let mut few = Sums::around(&self.few, index);
        few.add(&sums, INTO_FEW_SHIFT);
        sums.add(&self.global, GLOBAL_SHIFT);
        self.local_weights = solve(&sums, self.used);
        self.few_weights = solve(&few, FEW_INPUTS);
    }

    /// Learns from the block that ends at column `x`.
    pub(super) fn end_block(&mut self, x: usize) {
        let index = x / BLOCK_COLUMNS;
        let products = self.block.products(self.used);
        self.local[index].learn(&products, DECAY);
        self.few[index].learn(&products, FEW_DECAY);
        self.global.add(&products, INTO_GLOBAL_SHIFT);
        self.block.filled = 0;
        self.block.energy = 0;
    }

    /// Solves the weights of the whole plane for the next row.
    pub(super) fn end_row(&mut self) {
        self.global_weights = solve(&self.global, self.used);
        for sum in &mut self.global.0 {
            *sum -= *sum >> GLOBAL_DECAY;
        }
    }
}

impl Block {
    /// Products of all pairs of variables, weighed by how well the block could be predicted.
    fn products(&mut self, used: usize) -> Sums {
        let filled = self.filled.min(BLOCK_COLUMNS);
        for values in &mut self.values {
            values[filled..].fill(0);
        }
        let largest = self.values.iter().flatten().fold(0, |largest, value| largest | value.unsigned_abs());
        let shift = (u16::BITS - largest.leading_zeros()).saturating_sub(PRODUCT_BITS);
        if shift > 0 {
            for value in self.values.iter_mut().flatten() {
                *value >>= shift;
            }
        }
        // A block of residuals twice as large counts half.
        let mean = (self.energy / filled.max(1) as u64).max(1);
        let up = (SUM_BITS + 2 * shift).saturating_sub(mean.ilog2());
        let mut sums = Sums::ZERO;
        for row in (0..used).chain([TARGET]) {
            let products = &mut sums.0[pair(row, 0)..=pair(row, row)];
            for (column, product) in products.iter_mut().enumerate() {
                if column < used || column == row {
                    let sum = dot_block(&self.values[row], &self.values[column]);
                    *product = (i64::from(sum) << up) >> SUM_DROPPED_BITS;
                }
            }
        }
        sums
    }
}

#[inline]
fn dot_block(left: &[i16; BLOCK_COLUMNS], right: &[i16; BLOCK_COLUMNS]) -> i32 {
    left.iter().zip(right).fold(0_i32, |sum, (a, b)| sum.wrapping_add(i32::from(*a) * i32::from(*b)))
}

/// In 256ths; modulo 2^32, which only a picture of extremes reaches.
#[inline]
fn dot(weights: &Weights, inputs: &Inputs) -> i32 {
    let products = weights.iter().zip(inputs).map(|(weight, input)| i32::from(*weight) * i32::from(*input));
    products.fold(0, i32::wrapping_add) >> (WEIGHT_BITS - 8)
}

#[inline]
pub(super) fn clamp_i16(value: i32) -> i16 {
    value.clamp(-32767, 32767) as i16
}

/// Scaled sums of products: near one on the diagonal, in [`UNIT_BITS`] fraction bits.
struct Scaled<'a> {
    sums: &'a Sums,
    /// Half the bits of each variable's own product, rounded up.
    halves: [u32; VARIABLES],
}

impl<'a> Scaled<'a> {
    fn new(sums: &'a Sums, used: usize) -> Self {
        let mut halves = [0; VARIABLES];
        for index in (0..used).chain([TARGET]) {
            halves[index] = (64 - sums.0[pair(index, index)].unsigned_abs().leading_zeros()).div_ceil(2);
        }
        Self { sums, halves }
    }

    #[inline]
    fn get(&self, row: usize, column: usize) -> i64 {
        let value = self.sums.0[pair(row, column)];
        let down = self.halves[row] + self.halves[column];
        if down <= UNIT_BITS { value << (UNIT_BITS - down) } else { value >> (down - UNIT_BITS) }
    }
}

/// The weights that minimise the squared error, of the first `used` inputs; drawn a hair towards zero.
///
/// The sums are factored as L D Lᵀ. Whatever the samples were, the sums are those of a positive matrix, and then no term
/// below passes [`UNIT`] squared; wrapping is there because rounding could, in theory, break that.
fn solve(sums: &Sums, used: usize) -> Weights {
    let scaled = Scaled::new(sums, used);
    let mut lower = [[0_i64; INPUTS]; VARIABLES];
    let mut reciprocals = [0_i64; INPUTS];
    for row in 0..=used {
        // Behind the inputs the target, as one more row.
        let source = if row == used { TARGET } else { row };
        let mut undivided = [0_i64; INPUTS];
        let mut line = [0_i64; INPUTS];
        for column in 0..row.min(used) {
            let value = scaled.get(source, column).wrapping_sub(dot_unit(&undivided[..column], &lower[column]));
            undivided[column] = value;
            line[column] = ((i128::from(value) * i128::from(reciprocals[column])) >> UNIT_BITS) as i64;
        }
        lower[row] = line;
        if row < used {
            let own = scaled.get(row, row) + RIDGE;
            let pivot = own.wrapping_sub(dot_unit(&undivided[..row], &line));
            reciprocals[row] = UNIT * UNIT / pivot.max(RIDGE / 2);
        }
    }
    let mut solution = lower[used];
    let mut weights = [0; INPUTS];
    for row in (0..used).rev() {
        let known = (row + 1..used)
            .fold(0_i64, |sum, below| sum.wrapping_add(lower[below][row].wrapping_mul(solution[below]) >> UNIT_BITS));
        solution[row] = solution[row].wrapping_sub(known);
        weights[row] = weight(solution[row], scaled.halves[TARGET], scaled.halves[row]);
    }
    weights
}

/// A weight from a scaled solution.
fn weight(solution: i64, target: u32, input: u32) -> i16 {
    let up = i64::from(target) - i64::from(input) + i64::from(WEIGHT_BITS) - i64::from(UNIT_BITS);
    let solution = solution.clamp(-(1 << 40), 1 << 40);
    let weight = if up >= 0 { solution << up.min(20) } else { solution >> (-up).min(63) };
    weight.clamp(-WEIGHT_MAX, WEIGHT_MAX) as i16
}

#[inline]
fn dot_unit(left: &[i64], right: &[i64]) -> i64 {
    left.iter().zip(right).fold(0_i64, |sum, (a, b)| sum.wrapping_add(a.wrapping_mul(*b))) >> UNIT_BITS
}
