//! Decoding a plane in waves. Payloads come from a peer: every position is checked or bounded by the
//! plane's sizes, and the work is the number of steps whatever the payload says.

use super::loops::Loops;
use super::model::Weights;
use super::plane::{Geometry, Malformed};
use super::simd::Task;
use super::tables::SLOTS;
use super::wave::ROWS_AT_ONCE;
use super::wave_encode::STATE_START;

/// Words that a step may look at: each lane one for its token and one for its open bits.
pub(super) const WORDS_A_STEP: usize = 2 * ROWS_AT_ONCE;

/// What a payload says of a plane.
#[derive(Debug)]
pub(super) struct Coded<'a> {
    pub(super) weights: &'a Weights,
    pub(super) table: &'a [u32; SLOTS],
    pub(super) states: [u32; ROWS_AT_ONCE],
    /// Little endian.
    pub(super) words: &'a [u8],
}

/// Buffers that may be used again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Samples, as the path lays them out.
    pub(super) lanes: Vec<u16>,
    /// Folded differences that rows below will look at.
    pub(super) folded: Vec<u16>,
}

/// A plane that is being decoded.
#[derive(Debug)]
pub(super) struct Coming<'a> {
    pub(super) coded: &'a Coded<'a>,
    pub(super) geometry: &'a Geometry,
    /// Words of the code, and behind them [`WORDS_A_STEP`] more. More than the first must not be taken:
    /// that is to be looked at before each step.
    pub(super) words: &'a [u16],
    pub(super) scratch: &'a mut Scratch,
}

/// Decodes a plane into `samples`, which is `geometry.samples()` long.
#[derive(Debug)]
pub(super) struct Decode<'a, const KIND: u8> {
    pub(super) coded: &'a Coded<'a>,
    pub(super) geometry: &'a Geometry,
    /// And a buffer for words.
    pub(super) scratch: &'a mut (Scratch, Vec<u16>),
    pub(super) samples: &'a mut [u16],
}

impl<const KIND: u8> Task for Decode<'_, KIND> {
    type Output = Result<(), Malformed>;

    #[inline(always)]
    fn run<S: Loops>(self, s: S) -> Self::Output {
        decode::<S, KIND>(s, self)
    }
}

#[inline(always)]
fn decode<S: Loops, const KIND: u8>(s: S, task: Decode<'_, KIND>) -> Result<(), Malformed> {
    let Decode { coded, geometry, scratch: (scratch, words), samples } = task;
    // Encoders keep states in this range, and so does each step: lanes at rest take no words.
    if coded.words.len() % 2 != 0 || coded.states.iter().any(|state| *state < STATE_START) {
        return Err(Malformed);
    }
    words.clear();
    words.extend(coded.words.as_chunks::<2>().0.iter().map(|word| u16::from_le_bytes(*word)));
    let count = words.len();
    words.resize(count + WORDS_A_STEP, 0);
    let (states, taken) = s.decode::<KIND>(Coming { coded, geometry, words, scratch }, samples)?;
    if taken == count && states == [STATE_START; ROWS_AT_ONCE] { Ok(()) } else { Err(Malformed) }
}
