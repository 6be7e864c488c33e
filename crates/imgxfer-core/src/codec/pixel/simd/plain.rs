//! One lane, in plain Rust: for every processor that has nothing better.

use super::{LANES, Lanes};

/// Needs nothing of the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Plain;

impl Lanes for Plain {
    type V = u32;
    type M = bool;
    type Table = [u32; LANES];

    #[inline(always)]
    fn splat(self, x: u32) -> u32 {
        x
    }
    #[inline(always)]
    fn add(self, a: u32, b: u32) -> u32 {
        a.wrapping_add(b)
    }
    #[inline(always)]
    fn sub(self, a: u32, b: u32) -> u32 {
        a.wrapping_sub(b)
    }
    #[inline(always)]
    fn mul(self, a: u32, b: u32) -> u32 {
        a.wrapping_mul(b)
    }
    #[inline(always)]
    fn and(self, a: u32, b: u32) -> u32 {
        a & b
    }
    #[inline(always)]
    fn xor(self, a: u32, b: u32) -> u32 {
        a ^ b
    }
    #[inline(always)]
    fn min_i(self, a: u32, b: u32) -> u32 {
        a.cast_signed().min(b.cast_signed()).cast_unsigned()
    }
    #[inline(always)]
    fn max_i(self, a: u32, b: u32) -> u32 {
        a.cast_signed().max(b.cast_signed()).cast_unsigned()
    }
    #[inline(always)]
    fn shl<const N: u32>(self, a: u32) -> u32 {
        a << N
    }
    #[inline(always)]
    fn shr<const N: u32>(self, a: u32) -> u32 {
        a >> N
    }
    #[inline(always)]
    fn sar<const N: u32>(self, a: u32) -> u32 {
        (a.cast_signed() >> N).cast_unsigned()
    }
    #[inline(always)]
    fn shr_by(self, a: u32, count: u32) -> u32 {
        a.wrapping_shr(count)
    }
    #[inline(always)]
    fn ilog2(self, a: u32) -> u32 {
        (a | 1).ilog2()
    }
    #[inline(always)]
    fn gt_i(self, a: u32, b: u32) -> bool {
        a.cast_signed() > b.cast_signed()
    }
    #[inline(always)]
    fn select(self, m: bool, a: u32, b: u32) -> u32 {
        if m { a } else { b }
    }
    #[inline(always)]
    fn lookup(self, table: &[u32; LANES], index: u32) -> u32 {
        table[(index & 15) as usize]
    }
    #[inline(always)]
    fn table(self, from: &[u32; LANES]) -> [u32; LANES] {
        *from
    }
}
