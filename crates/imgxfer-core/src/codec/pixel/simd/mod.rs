//! Numbers of 32 bits, sixteen or one at once: what the pixel coder needs of a processor.
//!
//! The model is written once, over [`Lanes`], and built three times: with AVX-512, with AVX2, and for a
//! single lane in plain Rust for everything else. The loops of the wave are written twice: over [`Vector`],
//! and for single lanes ([`Loops`]). All give the same bytes. A further instruction set (NEON) is one more
//! implementation of `Lanes` and `Vector` and one line in [`Path`].
//!
//! A value of a vector set's token type is the proof that the processor has the instructions; only
//! [`Path::best`] and [`Path::all`] make them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod plain;
#[cfg(test)]
mod sixteen;
#[cfg(test)]
mod tests;

use super::loops::Loops;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;
pub(super) use plain::Plain;
#[cfg(test)]
pub(super) use sixteen::Sixteen;

/// Lanes of a vector.
pub(super) const LANES: usize = 16;

/// Arithmetic on lanes of `u32`: what the model is written over. It wraps; `_i` operations take lanes as
/// two's complement.
pub(super) trait Lanes: Copy {
    /// A number in each lane.
    type V: Copy;
    /// A truth value for each lane.
    type M: Copy;
    /// Sixteen numbers to look up.
    type Table: Copy;

    /// `x` in every lane.
    fn splat(self, x: u32) -> Self::V;
    /// Sum.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// Difference.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// Low half of the product.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// Bits in both.
    fn and(self, a: Self::V, b: Self::V) -> Self::V;
    /// Bits in one.
    fn xor(self, a: Self::V, b: Self::V) -> Self::V;
    /// Smaller of the two.
    fn min_i(self, a: Self::V, b: Self::V) -> Self::V;
    /// Larger of the two.
    fn max_i(self, a: Self::V, b: Self::V) -> Self::V;
    /// Shift towards the high bits by less than 32.
    fn shl<const N: u32>(self, a: Self::V) -> Self::V;
    /// Shift towards the low bits by less than 32.
    fn shr<const N: u32>(self, a: Self::V) -> Self::V;
    /// Shift towards the low bits by less than 32, keeping the sign.
    fn sar<const N: u32>(self, a: Self::V) -> Self::V;
    /// Shift of each lane by its own count of less than 32. Vectors take 32 as well, which gives 0.
    fn shr_by(self, a: Self::V, count: Self::V) -> Self::V;
    /// Position of the highest bit; for lanes from 1 to 2^24 - 1.
    fn ilog2(self, a: Self::V) -> Self::V;
    /// Where `a` is greater.
    fn gt_i(self, a: Self::V, b: Self::V) -> Self::M;
    /// `a` where the mask holds, else `b`.
    fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V;
    /// For each lane the entry of a table of sixteen at the lane's low four bits.
    fn lookup(self, table: &Self::Table, index: Self::V) -> Self::V;
    /// A table to look up.
    fn table(self, from: &[u32; LANES]) -> Self::Table;
}

/// Operations on sixteen lanes at once: what the wave's loops are written over.
pub(super) trait Vector: Lanes {
    /// Sixteen numbers from memory.
    fn load(self, from: &[u32; LANES]) -> Self::V;
    /// Sixteen numbers from memory, widened.
    fn load_u16(self, from: &[u16; LANES]) -> Self::V;
    /// Sixteen numbers to memory.
    fn store(self, v: Self::V, to: &mut [u32; LANES]);
    /// The low halves to memory.
    fn store_u16(self, v: Self::V, to: &mut [u16; LANES]);
    /// High half of the product.
    fn mul_high(self, a: Self::V, b: Self::V) -> Self::V;
    /// Bits in either.
    fn or(self, a: Self::V, b: Self::V) -> Self::V;
    /// Shift of each lane by its own count of at most 32; 32 gives 0.
    fn shl_by(self, a: Self::V, count: Self::V) -> Self::V;
    /// Where lanes are the same.
    fn eq(self, a: Self::V, b: Self::V) -> Self::M;
    /// Where `a` is less.
    fn lt_u(self, a: Self::V, b: Self::V) -> Self::M;
    /// Whether the mask holds anywhere.
    fn any(self, m: Self::M) -> bool;
    /// Lanes by the bits of a number, lane 0 by the lowest.
    fn mask(self, bits: u16) -> Self::M;
    /// For each lane the entry at the lane's low `log2(N)` bits; `N` is a power of two.
    fn gather<const N: usize>(self, table: &[u32; N], index: Self::V) -> Self::V;
    /// The same, of a table of `u16`. An index beyond its end gives some entry of it, or 0.
    fn gather_u16(self, table: &[u16], index: Self::V) -> Self::V;
    /// Every lane one further on; lane 0 gets the last lane of `before`.
    fn shift_from(self, before: Self::V, v: Self::V) -> Self::V;
    /// The last lane.
    fn last(self, v: Self::V) -> u32;
    /// In lanes of the mask: shifts up by 16 bits and takes in the next of `words`, in the order of lanes.
    /// Returns how many were taken.
    fn refill(self, m: Self::M, v: Self::V, words: &[u16; LANES]) -> (Self::V, usize);
    /// In lanes of the mask: puts the low 16 bits, in the order of lanes, at the end of `words`, and shifts
    /// down by 16. Returns how many were put; entries of `words` before those are unspecified.
    fn spill(self, m: Self::M, v: Self::V, words: &mut [u16; LANES]) -> (Self::V, usize);
    /// Rows become columns.
    fn transpose(self, rows: [Self::V; LANES]) -> [Self::V; LANES];
}

/// Work that is written over [`Loops`]. `run` must be `#[inline(always)]`, as must be what it calls:
/// only then is it compiled for the instructions of the path that it runs on.
pub(super) trait Task {
    /// What comes of it.
    type Output;

    /// Does the work.
    fn run<S: Loops>(self, s: S) -> Self::Output;
}

/// Which build of the coder to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// The definition of vectors.
    #[cfg(test)]
    Sixteen,
    /// Plain Rust.
    Plain,
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Path {
    /// The fastest one that this processor can run.
    pub(super) fn best() -> Self {
        *Self::all().last().unwrap_or(&Self::Plain)
    }

    /// What people call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            #[cfg(test)]
            Self::Sixteen => "sixteen",
            Self::Plain => "plain",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "AVX-512",
        }
    }

    /// Runs a task on this path.
    pub(super) fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            #[cfg(test)]
            Self::Sixteen => task.run(Sixteen),
            Self::Plain => task.run(Plain),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(s) => s.run(task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(s) => s.run(task),
        }
    }

    /// All that this processor can run, slowest first.
    pub(super) fn all() -> &'static [Self] {
        static ALL: std::sync::OnceLock<Vec<Path>> = std::sync::OnceLock::new();
        ALL.get_or_init(|| {
            #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "only x86-64 has more"))]
            let mut all = vec![
                #[cfg(test)]
                Self::Sixteen,
                Self::Plain,
            ];
            #[cfg(target_arch = "x86_64")]
            {
                all.extend(Avx2::detect().map(Self::Avx2));
                all.extend(Avx512::detect().map(Self::Avx512));
            }
            all
        })
    }
}
