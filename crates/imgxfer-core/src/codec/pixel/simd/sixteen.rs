//! Sixteen lanes in plain Rust, slow: the definition that the others are tested against.

use super::{LANES, Lanes, Vector};

/// Needs nothing of the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Sixteen;

type V = [u32; LANES];

#[inline(always)]
fn map(a: V, f: impl Fn(u32) -> u32) -> V {
    let mut out = a;
    for x in &mut out {
        *x = f(*x);
    }
    out
}

#[inline(always)]
fn zip(a: V, b: V, f: impl Fn(u32, u32) -> u32) -> V {
    let mut out = a;
    for (x, y) in out.iter_mut().zip(b) {
        *x = f(*x, y);
    }
    out
}

/// All bits of a lane where true.
#[inline(always)]
const fn truth(holds: bool) -> u32 {
    0u32.wrapping_sub(holds as u32)
}

impl Lanes for Sixteen {
    type V = V;
    type M = V;
    type Table = V;

    #[inline(always)]
    fn splat(self, x: u32) -> V {
        [x; LANES]
    }
    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        zip(a, b, u32::wrapping_add)
    }
    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        zip(a, b, u32::wrapping_sub)
    }
    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        zip(a, b, u32::wrapping_mul)
    }
    #[inline(always)]
    fn and(self, a: V, b: V) -> V {
        zip(a, b, |x, y| x & y)
    }
    #[inline(always)]
    fn xor(self, a: V, b: V) -> V {
        zip(a, b, |x, y| x ^ y)
    }
    #[inline(always)]
    fn min_i(self, a: V, b: V) -> V {
        zip(a, b, |x, y| x.cast_signed().min(y.cast_signed()).cast_unsigned())
    }
    #[inline(always)]
    fn max_i(self, a: V, b: V) -> V {
        zip(a, b, |x, y| x.cast_signed().max(y.cast_signed()).cast_unsigned())
    }
    #[inline(always)]
    fn shl<const N: u32>(self, a: V) -> V {
        map(a, |x| x << N)
    }
    #[inline(always)]
    fn shr<const N: u32>(self, a: V) -> V {
        map(a, |x| x >> N)
    }
    #[inline(always)]
    fn sar<const N: u32>(self, a: V) -> V {
        map(a, |x| (x.cast_signed() >> N).cast_unsigned())
    }
    #[inline(always)]
    fn shr_by(self, a: V, count: V) -> V {
        zip(a, count, |x, n| x.checked_shr(n).unwrap_or(0))
    }
    #[inline(always)]
    fn ilog2(self, a: V) -> V {
        map(a, |x| (x | 1).ilog2())
    }
    #[inline(always)]
    fn gt_i(self, a: V, b: V) -> V {
        zip(a, b, |x, y| truth(x.cast_signed() > y.cast_signed()))
    }
    #[inline(always)]
    fn select(self, m: V, a: V, b: V) -> V {
        let mut out = b;
        for ((x, a), m) in out.iter_mut().zip(a).zip(m) {
            *x = (a & m) | (*x & !m);
        }
        out
    }
    #[inline(always)]
    fn lookup(self, table: &V, index: V) -> V {
        map(index, |i| table[(i & 15) as usize])
    }
    #[inline(always)]
    fn table(self, from: &[u32; LANES]) -> V {
        self.load(from)
    }
}

impl Vector for Sixteen {
    #[inline(always)]
    fn load(self, from: &[u32; LANES]) -> V {
        *from
    }
    #[inline(always)]
    fn load_u16(self, from: &[u16; LANES]) -> V {
        let mut out = [0; LANES];
        for (to, x) in out.iter_mut().zip(from) {
            *to = u32::from(*x);
        }
        out
    }
    #[inline(always)]
    fn store(self, v: V, to: &mut [u32; LANES]) {
        *to = v;
    }
    #[inline(always)]
    fn store_u16(self, v: V, to: &mut [u16; LANES]) {
        for (to, x) in to.iter_mut().zip(v) {
            *to = x as u16;
        }
    }
    #[inline(always)]
    fn mul_high(self, a: V, b: V) -> V {
        zip(a, b, |x, y| ((u64::from(x) * u64::from(y)) >> 32) as u32)
    }
    #[inline(always)]
    fn or(self, a: V, b: V) -> V {
        zip(a, b, |x, y| x | y)
    }
    #[inline(always)]
    fn shl_by(self, a: V, count: V) -> V {
        zip(a, count, |x, n| x.checked_shl(n).unwrap_or(0))
    }
    #[inline(always)]
    fn eq(self, a: V, b: V) -> V {
        zip(a, b, |x, y| truth(x == y))
    }
    #[inline(always)]
    fn lt_u(self, a: V, b: V) -> V {
        zip(a, b, |x, y| truth(x < y))
    }
    #[inline(always)]
    fn any(self, m: V) -> bool {
        m.iter().fold(0, |all, x| all | x) != 0
    }
    #[inline(always)]
    fn mask(self, bits: u16) -> V {
        let mut out = [0; LANES];
        for (lane, x) in out.iter_mut().enumerate() {
            *x = truth(bits >> lane & 1 == 1);
        }
        out
    }
    #[inline(always)]
    fn gather<const N: usize>(self, table: &[u32; N], index: V) -> V {
        map(index, |i| table[i as usize & (N - 1)])
    }
    #[inline(always)]
    fn gather_u16(self, table: &[u16], index: V) -> V {
        map(index, |i| table.get(i as usize).map_or(0, |x| u32::from(*x)))
    }
    #[inline(always)]
    fn shift_from(self, before: V, v: V) -> V {
        let mut out = [before[LANES - 1]; LANES];
        out[1..].copy_from_slice(&v[..LANES - 1]);
        out
    }
    #[inline(always)]
    fn last(self, v: V) -> u32 {
        v[LANES - 1]
    }
    #[inline(always)]
    fn refill(self, m: V, v: V, words: &[u16; LANES]) -> (V, usize) {
        let mut out = v;
        let mut taken = 0;
        for (x, m) in out.iter_mut().zip(m) {
            let word = u32::from(words[taken & (LANES - 1)]);
            *x = if m == 0 { *x } else { *x << 16 | word };
            taken += (m & 1) as usize;
        }
        (out, taken)
    }
    #[inline(always)]
    fn spill(self, m: V, v: V, words: &mut [u16; LANES]) -> (V, usize) {
        let mut out = v;
        let mut free = LANES;
        for (x, m) in out.iter_mut().zip(m).rev() {
            if m != 0 {
                free -= 1;
                words[free] = *x as u16;
                *x >>= 16;
            }
        }
        (out, LANES - free)
    }
    #[inline(always)]
    fn transpose(self, rows: [V; LANES]) -> [V; LANES] {
        let mut out = [[0; LANES]; LANES];
        for (column, out) in out.iter_mut().enumerate() {
            for (to, row) in out.iter_mut().zip(&rows) {
                *to = row[column];
            }
        }
        out
    }
}
