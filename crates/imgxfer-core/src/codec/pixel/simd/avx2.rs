//! Sixteen lanes in two AVX2 registers.
#![expect(unsafe_code, reason = "processor instructions; the token proves that they exist")]
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    clippy::wildcard_imports,
    clippy::many_single_char_names,
    clippy::cast_sign_loss,
    reason = "a block here is one operation of several instructions, all safe for the same reason"
)]

use std::arch::x86_64::*;

use super::{LANES, Lanes, Task, Vector};

/// Proof that the processor has AVX2, BMI2 and POPCNT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Avx2(());

/// Lanes 0 to 7, lanes 8 to 15.
type V = [__m256i; 2];

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        let has =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("popcnt");
        has.then_some(Self(()))
    }

    /// Runs a task compiled for these instructions.
    pub(super) fn run<T: Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "avx2,bmi2,popcnt")]
        fn with<T: Task>(s: Avx2, task: T) -> T::Output {
            task.run(s)
        }
        // SAFETY: `detect` has seen all of them.
        unsafe { with(self, task) }
    }
}

/// For a mask of eight lanes: at each lane of the mask, the number of such lanes before it.
const EXPAND: [u64; 256] = {
    let mut table = [0; 256];
    let mut m = 0;
    while m < 256 {
        let (mut lane, mut rank) = (0, 0);
        while lane < 8 {
            if m >> lane & 1 == 1 {
                table[m] |= rank << (8 * lane);
                rank += 1;
            }
            lane += 1;
        }
        m += 1;
    }
    table
};

/// For a mask of eight lanes: its lanes in order, in the last places.
const COMPRESS: [u64; 256] = {
    let mut table = [0; 256];
    let mut m: usize = 0;
    while m < 256 {
        let mut place = 8 - m.count_ones();
        let mut lane: u64 = 0;
        while lane < 8 {
            if m >> lane & 1 == 1 {
                table[m] |= lane << (8 * place);
                place += 1;
            }
            lane += 1;
        }
        m += 1;
    }
    table
};

macro_rules! both {
    ($self:ident, $f:ident, $a:ident, $b:ident) => {{
        let _ = $self;
        // SAFETY: `Avx2` exists only where `detect` has found the instructions.
        unsafe { [$f($a[0], $b[0]), $f($a[1], $b[1])] }
    }};
}

#[inline(always)]
fn flip(v: V) -> V {
    // SAFETY: only called from methods of `Avx2`.
    unsafe {
        let sign = _mm256_set1_epi32(i32::MIN);
        [_mm256_xor_si256(v[0], sign), _mm256_xor_si256(v[1], sign)]
    }
}

/// Eight bytes of `packed` as eight lanes.
#[inline(always)]
fn lanes_of(packed: u64) -> __m256i {
    // SAFETY: only called from methods of `Avx2`.
    unsafe { _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(packed.cast_signed())) }
}

/// The mask as a number, lane 0 in the lowest bit.
#[inline(always)]
fn bits_of(m: __m256i) -> usize {
    // SAFETY: only called from methods of `Avx2`.
    unsafe { (_mm256_movemask_ps(_mm256_castsi256_ps(m)) & 0xFF) as usize }
}

/// The low halves of sixteen lanes.
#[inline(always)]
fn narrow(v: V) -> __m256i {
    // SAFETY: only called from methods of `Avx2`.
    unsafe {
        let low = _mm256_set1_epi32(0xFFFF);
        let packed = _mm256_packus_epi32(_mm256_and_si256(v[0], low), _mm256_and_si256(v[1], low));
        _mm256_permute4x64_epi64::<0b11_01_10_00>(packed)
    }
}

impl Lanes for Avx2 {
    type V = V;
    type M = V;
    type Table = V;

    #[inline(always)]
    fn splat(self, x: u32) -> V {
        // SAFETY: `Avx2` exists only where `detect` has found the instructions; so in all methods below.
        unsafe { [_mm256_set1_epi32(x.cast_signed()); 2] }
    }
    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        both!(self, _mm256_add_epi32, a, b)
    }
    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        both!(self, _mm256_sub_epi32, a, b)
    }
    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        both!(self, _mm256_mullo_epi32, a, b)
    }
    #[inline(always)]
    fn and(self, a: V, b: V) -> V {
        both!(self, _mm256_and_si256, a, b)
    }
    #[inline(always)]
    fn xor(self, a: V, b: V) -> V {
        both!(self, _mm256_xor_si256, a, b)
    }
    #[inline(always)]
    fn min_i(self, a: V, b: V) -> V {
        both!(self, _mm256_min_epi32, a, b)
    }
    #[inline(always)]
    fn max_i(self, a: V, b: V) -> V {
        both!(self, _mm256_max_epi32, a, b)
    }
    #[inline(always)]
    fn shl<const N: u32>(self, a: V) -> V {
        self.shl_by(a, self.splat(N))
    }
    #[inline(always)]
    fn shr<const N: u32>(self, a: V) -> V {
        self.shr_by(a, self.splat(N))
    }
    #[inline(always)]
    fn sar<const N: u32>(self, a: V) -> V {
        let count = self.splat(N);
        both!(self, _mm256_srav_epi32, a, count)
    }
    #[inline(always)]
    fn shr_by(self, a: V, count: V) -> V {
        both!(self, _mm256_srlv_epi32, a, count)
    }
    #[inline(always)]
    fn ilog2(self, a: V) -> V {
        let mut out = a;
        for x in &mut out {
            // Numbers below 2^24 are exact as floats: the exponent is the position of the highest bit.
            // SAFETY: as above.
            unsafe {
                let float = _mm256_castps_si256(_mm256_cvtepi32_ps(*x));
                *x = _mm256_sub_epi32(_mm256_srli_epi32::<23>(float), _mm256_set1_epi32(127));
            }
        }
        out
    }
    #[inline(always)]
    fn gt_i(self, a: V, b: V) -> V {
        both!(self, _mm256_cmpgt_epi32, a, b)
    }
    #[inline(always)]
    fn select(self, m: V, a: V, b: V) -> V {
        // SAFETY: as above.
        unsafe { [_mm256_blendv_epi8(b[0], a[0], m[0]), _mm256_blendv_epi8(b[1], a[1], m[1])] }
    }
    #[inline(always)]
    fn lookup(self, table: &V, index: V) -> V {
        let mut out = index;
        for x in &mut out {
            // SAFETY: as above.
            unsafe {
                let low = _mm256_permutevar8x32_epi32(table[0], *x);
                let high = _mm256_permutevar8x32_epi32(table[1], *x);
                // Bit 3 of the index, moved to where a blend looks.
                let which = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(*x));
                *x = _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high), which));
            }
        }
        out
    }
    #[inline(always)]
    fn table(self, from: &[u32; LANES]) -> V {
        self.load(from)
    }
}

impl Vector for Avx2 {
    #[inline(always)]
    fn load(self, from: &[u32; LANES]) -> V {
        // SAFETY: as above; both halves are inside `from`.
        unsafe { [_mm256_loadu_si256(from.as_ptr().cast()), _mm256_loadu_si256(from.as_ptr().add(8).cast())] }
    }
    #[inline(always)]
    fn load_u16(self, from: &[u16; LANES]) -> V {
        // SAFETY: as above; both halves are inside `from`.
        unsafe {
            let (low, high) = (_mm_loadu_si128(from.as_ptr().cast()), _mm_loadu_si128(from.as_ptr().add(8).cast()));
            [_mm256_cvtepu16_epi32(low), _mm256_cvtepu16_epi32(high)]
        }
    }
    #[inline(always)]
    fn store(self, v: V, to: &mut [u32; LANES]) {
        // SAFETY: as above; both halves are inside `to`.
        unsafe {
            _mm256_storeu_si256(to.as_mut_ptr().cast(), v[0]);
            _mm256_storeu_si256(to.as_mut_ptr().add(8).cast(), v[1]);
        }
    }
    #[inline(always)]
    fn store_u16(self, v: V, to: &mut [u16; LANES]) {
        // SAFETY: as above; `to` has 32 bytes.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), narrow(v)) }
    }
    #[inline(always)]
    fn mul_high(self, a: V, b: V) -> V {
        let mut out = a;
        for (x, y) in out.iter_mut().zip(b) {
            // SAFETY: as above.
            unsafe {
                let even = _mm256_srli_epi64::<32>(_mm256_mul_epu32(*x, y));
                let odd = _mm256_mul_epu32(_mm256_srli_epi64::<32>(*x), _mm256_srli_epi64::<32>(y));
                *x = _mm256_blend_epi32::<0b1010_1010>(even, odd);
            }
        }
        out
    }
    #[inline(always)]
    fn or(self, a: V, b: V) -> V {
        both!(self, _mm256_or_si256, a, b)
    }
    #[inline(always)]
    fn shl_by(self, a: V, count: V) -> V {
        both!(self, _mm256_sllv_epi32, a, count)
    }
    #[inline(always)]
    fn eq(self, a: V, b: V) -> V {
        both!(self, _mm256_cmpeq_epi32, a, b)
    }
    #[inline(always)]
    fn lt_u(self, a: V, b: V) -> V {
        self.gt_i(flip(b), flip(a))
    }
    #[inline(always)]
    fn any(self, m: V) -> bool {
        bits_of(m[0]) | bits_of(m[1]) != 0
    }
    #[inline(always)]
    fn mask(self, bits: u16) -> V {
        let bit = |first: i32| {
            // SAFETY: as above.
            unsafe {
                let own = _mm256_sllv_epi32(_mm256_set1_epi32(first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
                let set = _mm256_and_si256(_mm256_set1_epi32(i32::from(bits)), own);
                _mm256_cmpeq_epi32(set, own)
            }
        };
        [bit(1), bit(1 << 8)]
    }
    #[inline(always)]
    fn gather<const N: usize>(self, table: &[u32; N], index: V) -> V {
        const { assert!(N.is_power_of_two() && N <= 1 << 20, "the mask keeps the index inside") };
        let mut out = index;
        for x in &mut out {
            #[expect(clippy::cast_possible_wrap, reason = "at most 2^20")]
            // SAFETY: as above; the index is below N, the length of the table.
            unsafe {
                let index = _mm256_and_si256(*x, _mm256_set1_epi32((N - 1) as i32));
                *x = _mm256_i32gather_epi32::<4>(table.as_ptr().cast(), index);
            }
        }
        out
    }
    #[inline(always)]
    fn gather_u16(self, table: &[u16], index: V) -> V {
        // Two entries are read at a time, so the last index is one before the end.
        let Some(last) = table.len().checked_sub(2).and_then(|n| i32::try_from(n).ok()) else {
            return self.splat(0);
        };
        let mut out = index;
        for x in &mut out {
            // SAFETY: as above; entries `index` and `index + 1` are inside the table.
            unsafe {
                let index = _mm256_min_epu32(*x, _mm256_set1_epi32(last));
                let pair = _mm256_i32gather_epi32::<2>(table.as_ptr().cast(), index);
                *x = _mm256_and_si256(pair, _mm256_set1_epi32(0xFFFF));
            }
        }
        out
    }
    #[inline(always)]
    fn shift_from(self, before: V, v: V) -> V {
        // SAFETY: as above.
        unsafe {
            let back = |before: __m256i, v: __m256i| {
                let joint = _mm256_permute2x128_si256::<0x21>(before, v);
                _mm256_alignr_epi8::<12>(v, joint)
            };
            [back(before[1], v[0]), back(v[0], v[1])]
        }
    }
    #[inline(always)]
    fn last(self, v: V) -> u32 {
        // SAFETY: as above.
        unsafe { _mm256_extract_epi32::<7>(v[1]).cast_unsigned() }
    }
    #[inline(always)]
    fn refill(self, m: V, v: V, words: &[u16; LANES]) -> (V, usize) {
        let (low, high) = (bits_of(m[0]), bits_of(m[1]));
        let first = low.count_ones() as usize;
        // SAFETY: as above; eight words from 0 and from at most 8 are inside `words`.
        let (a, b) = unsafe {
            let a = _mm_loadu_si128(words.as_ptr().cast());
            let b = _mm_loadu_si128(words.as_ptr().add(first).cast());
            let a = _mm256_permutevar8x32_epi32(_mm256_cvtepu16_epi32(a), lanes_of(EXPAND[low]));
            (a, _mm256_permutevar8x32_epi32(_mm256_cvtepu16_epi32(b), lanes_of(EXPAND[high])))
        };
        let shifted = self.or(self.shl::<16>(v), [a, b]);
        (self.select(m, shifted, v), first + high.count_ones() as usize)
    }
    #[inline(always)]
    fn spill(self, m: V, v: V, words: &mut [u16; LANES]) -> (V, usize) {
        let (low, high) = (bits_of(m[0]), bits_of(m[1]));
        let last = high.count_ones() as usize;
        // SAFETY: as above; eight words ending at the end, and eight ending up to eight before it, are inside `words`.
        unsafe {
            let a = _mm256_permutevar8x32_epi32(v[0], lanes_of(COMPRESS[low]));
            let b = _mm256_permutevar8x32_epi32(v[1], lanes_of(COMPRESS[high]));
            let both = narrow([a, b]);
            _mm_storeu_si128(words.as_mut_ptr().add(8).cast(), _mm256_extracti128_si256::<1>(both));
            _mm_storeu_si128(words.as_mut_ptr().add(8 - last).cast(), _mm256_castsi256_si128(both));
        }
        (self.select(m, self.shr::<16>(v), v), last + low.count_ones() as usize)
    }
    #[inline(always)]
    fn transpose(self, rows: [V; LANES]) -> [V; LANES] {
        let mut from = [[0; LANES]; LANES];
        for (row, to) in rows.iter().zip(&mut from) {
            self.store(*row, to);
        }
        let mut out = rows;
        for (column, out) in out.iter_mut().enumerate() {
            let mut to = [0; LANES];
            for (to, row) in to.iter_mut().zip(&from) {
                *to = row[column];
            }
            *out = self.load(&to);
        }
        out
    }
}
