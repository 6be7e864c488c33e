//! Sixteen lanes in one AVX-512 register.
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

/// Proof that the processor has AVX-512 F, BW, VL, DQ, CD and VBMI2, and AVX2 and BMI2 besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512cd")
            && is_x86_feature_detected!("avx512vbmi2")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt");
        has.then_some(Self(()))
    }

    /// Runs a task compiled for these instructions.
    pub(super) fn run<T: Task>(self, task: T) -> T::Output {
        #[target_feature(
            enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,avx512vbmi2,avx2,bmi1,bmi2,popcnt,lzcnt"
        )]
        fn with<T: Task>(s: Avx512, task: T) -> T::Output {
            task.run(s)
        }
        // SAFETY: `detect` has seen all of them (BMI1 and LZCNT come with BMI2 and AVX2 processors that have AVX-512).
        unsafe { with(self, task) }
    }
}

/// Each method runs instructions whose presence `self` proves; none touches memory but through references.
macro_rules! ops {
    ($($(#[$meta:meta])* fn $name:ident$(<const $n:ident: u32>)?($($arg:ident: $ty:ty),*) -> $ret:ty $body:block)*) => {$(
        $(#[$meta])*
        #[inline(always)]
        fn $name$(<const $n: u32>)?(self, $($arg: $ty),*) -> $ret {
            // SAFETY: `Avx512` exists only where `detect` has found the instructions.
            unsafe { $body }
        }
    )*};
}

impl Lanes for Avx512 {
    type V = __m512i;
    type M = __mmask16;
    type Table = __m512i;

    ops! {
        fn splat(x: u32) -> __m512i { _mm512_set1_epi32(x.cast_signed()) }
        fn add(a: __m512i, b: __m512i) -> __m512i { _mm512_add_epi32(a, b) }
        fn sub(a: __m512i, b: __m512i) -> __m512i { _mm512_sub_epi32(a, b) }
        fn mul(a: __m512i, b: __m512i) -> __m512i { _mm512_mullo_epi32(a, b) }
        fn and(a: __m512i, b: __m512i) -> __m512i { _mm512_and_si512(a, b) }
        fn xor(a: __m512i, b: __m512i) -> __m512i { _mm512_xor_si512(a, b) }
        fn min_i(a: __m512i, b: __m512i) -> __m512i { _mm512_min_epi32(a, b) }
        fn max_i(a: __m512i, b: __m512i) -> __m512i { _mm512_max_epi32(a, b) }
        fn shl<const N: u32>(a: __m512i) -> __m512i { _mm512_slli_epi32::<N>(a) }
        fn shr<const N: u32>(a: __m512i) -> __m512i { _mm512_srli_epi32::<N>(a) }
        fn sar<const N: u32>(a: __m512i) -> __m512i { _mm512_srai_epi32::<N>(a) }
        fn shr_by(a: __m512i, count: __m512i) -> __m512i { _mm512_srlv_epi32(a, count) }
        fn ilog2(a: __m512i) -> __m512i { _mm512_sub_epi32(_mm512_set1_epi32(31), _mm512_lzcnt_epi32(a)) }
        fn gt_i(a: __m512i, b: __m512i) -> __mmask16 { _mm512_cmpgt_epi32_mask(a, b) }
        fn select(m: __mmask16, a: __m512i, b: __m512i) -> __m512i { _mm512_mask_blend_epi32(m, b, a) }
        fn lookup(table: &__m512i, index: __m512i) -> __m512i { _mm512_permutexvar_epi32(index, *table) }
        fn table(from: &[u32; LANES]) -> __m512i { _mm512_loadu_epi32(from.as_ptr().cast()) }
    }
}

impl Vector for Avx512 {
    ops! {
        fn load(from: &[u32; LANES]) -> __m512i { _mm512_loadu_epi32(from.as_ptr().cast()) }
        fn load_u16(from: &[u16; LANES]) -> __m512i { _mm512_cvtepu16_epi32(_mm256_loadu_epi16(from.as_ptr().cast())) }
        fn store(v: __m512i, to: &mut [u32; LANES]) -> () { _mm512_storeu_epi32(to.as_mut_ptr().cast(), v) }
        fn store_u16(v: __m512i, to: &mut [u16; LANES]) -> () {
            _mm256_storeu_epi16(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(v))
        }
        fn mul_high(a: __m512i, b: __m512i) -> __m512i {
            let even = _mm512_srli_epi64::<32>(_mm512_mul_epu32(a, b));
            let odd = _mm512_mul_epu32(_mm512_srli_epi64::<32>(a), _mm512_srli_epi64::<32>(b));
            _mm512_mask_blend_epi32(0xAAAA, even, odd)
        }
        fn or(a: __m512i, b: __m512i) -> __m512i { _mm512_or_si512(a, b) }
        fn shl_by(a: __m512i, count: __m512i) -> __m512i { _mm512_sllv_epi32(a, count) }
        fn eq(a: __m512i, b: __m512i) -> __mmask16 { _mm512_cmpeq_epi32_mask(a, b) }
        fn lt_u(a: __m512i, b: __m512i) -> __mmask16 { _mm512_cmplt_epu32_mask(a, b) }
        fn shift_from(before: __m512i, v: __m512i) -> __m512i { _mm512_alignr_epi32::<15>(v, before) }
        fn last(v: __m512i) -> u32 {
            _mm_extract_epi32::<3>(_mm512_extracti32x4_epi32::<3>(v)).cast_unsigned()
        }
        fn refill(m: __mmask16, v: __m512i, words: &[u16; LANES]) -> (__m512i, usize) {
            let words = _mm512_maskz_expand_epi32(m, _mm512_cvtepu16_epi32(_mm256_loadu_epi16(words.as_ptr().cast())));
            (_mm512_mask_or_epi32(v, m, _mm512_slli_epi32::<16>(v), words), m.count_ones() as usize)
        }
    }

    #[inline(always)]
    fn any(self, m: __mmask16) -> bool {
        m != 0
    }

    #[inline(always)]
    fn mask(self, bits: u16) -> __mmask16 {
        bits
    }

    #[inline(always)]
    fn gather<const N: usize>(self, table: &[u32; N], index: __m512i) -> __m512i {
        const { assert!(N.is_power_of_two() && N <= 1 << 20, "the mask keeps the index inside") };
        #[expect(clippy::cast_possible_wrap, reason = "at most 2^20")]
        // SAFETY: instructions as above; the index is below N, the length of the table.
        unsafe {
            let index = _mm512_and_si512(index, _mm512_set1_epi32((N - 1) as i32));
            _mm512_i32gather_epi32::<4>(index, table.as_ptr().cast())
        }
    }

    #[inline(always)]
    fn gather_u16(self, table: &[u16], index: __m512i) -> __m512i {
        // Two entries are read at a time, so the last index is one before the end.
        let Some(last) = table.len().checked_sub(2).and_then(|n| i32::try_from(n).ok()) else {
            return self.splat(0);
        };
        // SAFETY: instructions as above; entries `index` and `index + 1` are inside the table.
        unsafe {
            let index = _mm512_min_epu32(index, _mm512_set1_epi32(last));
            let pair = _mm512_i32gather_epi32::<2>(index, table.as_ptr().cast());
            _mm512_and_si512(pair, _mm512_set1_epi32(0xFFFF))
        }
    }

    #[inline(always)]
    fn spill(self, m: __mmask16, v: __m512i, words: &mut [u16; LANES]) -> (__m512i, usize) {
        let count = m.count_ones() as usize;
        // SAFETY: instructions as above; the masked store writes the last `count` of the sixteen words.
        unsafe {
            let packed = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(m, v));
            let to = words.as_mut_ptr().add(LANES - count);
            _mm256_mask_storeu_epi16(to.cast(), ((1u32 << count) - 1) as u16, packed);
            (_mm512_mask_srli_epi32::<16>(v, m, v), count)
        }
    }

    #[inline(always)]
    fn transpose(self, r: [__m512i; LANES]) -> [__m512i; LANES] {
        // SAFETY: instructions as above.
        unsafe {
            let mut a = r;
            // Pairs of rows, then of pairs, then of the four 128-bit quarters.
            for i in (0..16).step_by(2) {
                a[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
                a[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
            }
            let mut b = a;
            for i in (0..16).step_by(4) {
                b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
                b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
                b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
                b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
            }
            let mut c = b;
            for i in 0..4 {
                c[i] = _mm512_shuffle_i32x4::<0x88>(b[i], b[i + 4]);
                c[i + 4] = _mm512_shuffle_i32x4::<0xDD>(b[i], b[i + 4]);
                c[i + 8] = _mm512_shuffle_i32x4::<0x88>(b[i + 8], b[i + 12]);
                c[i + 12] = _mm512_shuffle_i32x4::<0xDD>(b[i + 8], b[i + 12]);
            }
            let mut d = c;
            for i in 0..4 {
                d[i] = _mm512_shuffle_i32x4::<0x88>(c[i], c[i + 8]);
                d[i + 8] = _mm512_shuffle_i32x4::<0xDD>(c[i], c[i + 8]);
                d[i + 4] = _mm512_shuffle_i32x4::<0x88>(c[i + 4], c[i + 12]);
                d[i + 12] = _mm512_shuffle_i32x4::<0xDD>(c[i + 4], c[i + 12]);
            }
            d
        }
    }
}
