//! The three loops in which the coder spends its time, once for vectors and once for single lanes.

use super::model::Loaded;
use super::plane::Malformed;
use super::simd::{Lanes, Plain, Vector};
use super::tables::ENTRIES;
use super::wave::ROWS_AT_ONCE;
use super::wave_decode::Coming;
use super::wave_encode::{Entries, Row};
use super::{plain_decode, plain_encode, vector_decode, vector_encode};

/// What a path does in its own way. The results are the same on all.
pub(super) trait Loops: Lanes {
    /// Models a row: writes an entry for each sample, and its folded difference. Both may be written beyond
    /// the row, by less than sixteen.
    fn model_row<const KIND: u8>(
        self,
        weights: &Loaded<Self>,
        row: &Row<'_>,
        folded_north: &[u16],
        folded: &mut [u16],
        to: &mut [u32],
    );

    /// Codes all entries from the last to the first, words from the end. Returns the states of the lanes,
    /// and where the words begin.
    fn code(self, entries: &Entries<'_>, table: &[u32; ENTRIES], words: &mut [u16]) -> ([u32; ROWS_AT_ONCE], usize);

    /// Decodes a plane into `samples`. Returns the states of the lanes, and how many words were taken.
    fn decode<const KIND: u8>(
        self,
        coming: Coming<'_>,
        samples: &mut [u16],
    ) -> Result<([u32; ROWS_AT_ONCE], usize), Malformed>;
}

impl<S: Vector> Loops for S {
    #[inline(always)]
    fn model_row<const KIND: u8>(
        self,
        weights: &Loaded<Self>,
        row: &Row<'_>,
        folded_north: &[u16],
        folded: &mut [u16],
        to: &mut [u32],
    ) {
        vector_encode::model_row::<S, KIND>(self, weights, row, folded_north, folded, to);
    }

    #[inline(always)]
    fn code(self, entries: &Entries<'_>, table: &[u32; ENTRIES], words: &mut [u16]) -> ([u32; ROWS_AT_ONCE], usize) {
        vector_encode::code(self, entries, table, words)
    }

    #[inline(always)]
    fn decode<const KIND: u8>(
        self,
        coming: Coming<'_>,
        samples: &mut [u16],
    ) -> Result<([u32; ROWS_AT_ONCE], usize), Malformed> {
        vector_decode::decode::<S, KIND>(self, coming, samples)
    }
}

impl Loops for Plain {
    #[inline(always)]
    fn model_row<const KIND: u8>(
        self,
        weights: &Loaded<Self>,
        row: &Row<'_>,
        folded_north: &[u16],
        folded: &mut [u16],
        to: &mut [u32],
    ) {
        plain_encode::model_row::<KIND>(weights, row, folded_north, folded, to);
    }

    #[inline(always)]
    fn code(self, entries: &Entries<'_>, table: &[u32; ENTRIES], words: &mut [u16]) -> ([u32; ROWS_AT_ONCE], usize) {
        plain_encode::code(entries, table, words)
    }

    #[inline(always)]
    fn decode<const KIND: u8>(
        self,
        coming: Coming<'_>,
        samples: &mut [u16],
    ) -> Result<([u32; ROWS_AT_ONCE], usize), Malformed> {
        plain_decode::decode::<KIND>(coming, samples)
    }
}
