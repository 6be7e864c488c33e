//! The payload of a plane that is coded in waves, and the choice of the processor's path.

use std::cell::RefCell;

use super::bits::{Reader, put};
use super::fit::Fitted;
use super::model::{Kind, Weights};
use super::plane::{Geometry, Malformed};
use super::simd::Path;
use super::tables::Shares;
use super::wave::{ROWS_AT_ONCE, Wave};
use super::wave_encode::STATE_START;
use super::{wave_decode, wave_encode};

/// Least distance of a reference: nearer rows may not be done when they are looked at.
pub(super) const REFERENCE_ROWS_MIN: usize = 8;

thread_local! {
    /// Buffers of a few bytes a sample, kept so that each record need not ask the system for them.
    static ENCODING: RefCell<wave_encode::Scratch> = RefCell::default();
    static DECODING: RefCell<(wave_decode::Scratch, Vec<u16>)> = RefCell::default();
}

/// Appends the payload of a plane.
pub(super) fn encode(path: Path, samples: &[u16], geometry: &Geometry, fitted: &Fitted, out: &mut Vec<u8>) {
    ENCODING.with_borrow_mut(|scratch| {
        // One task to a kind, so that each has a stack of its own size.
        let coded = match fitted.kind {
            Kind::Median => path.run(wave_encode::Encode::<0> { samples, geometry, fitted, scratch }),
            Kind::Six => path.run(wave_encode::Encode::<1> { samples, geometry, fitted, scratch }),
            Kind::Ten => path.run(wave_encode::Encode::<2> { samples, geometry, fitted, scratch }),
            Kind::Reference => path.run(wave_encode::Encode::<3> { samples, geometry, fitted, scratch }),
        };
        write_weights(fitted, out);
        coded.shares.write(out);
        for state in coded.states {
            out.extend_from_slice(&state.to_le_bytes());
        }
        put(coded.words.len() as u32, out);
        out.extend(coded.words.iter().flat_map(|word| word.to_le_bytes()));
    });
}

/// Decodes the payload of a plane into `samples`, which is `geometry.samples()` long.
pub(super) fn decode(
    path: Path,
    reader: &mut Reader<'_>,
    geometry: &Geometry,
    samples: &mut [u16],
) -> Result<(), Malformed> {
    let (kind, weights) = read_weights(reader)?;
    if kind == Kind::Reference && geometry.reference_rows < REFERENCE_ROWS_MIN || !Wave::suits(geometry) {
        return Err(Malformed);
    }
    let shares = Shares::read(reader)?;
    let mut states = [0; ROWS_AT_ONCE];
    for (state, bytes) in states.iter_mut().zip(reader.bytes(4 * ROWS_AT_ONCE)?.as_chunks::<4>().0) {
        *state = u32::from_le_bytes(*bytes);
    }
    if states.iter().any(|state| *state < STATE_START) {
        return Err(Malformed);
    }
    let words = usize::try_from(reader.number()?).map_err(|_| Malformed)?;
    let words = reader.bytes(words.checked_mul(2).ok_or(Malformed)?)?;
    let table = shares.for_decoding();
    let coded = wave_decode::Coded { weights: &weights, table: &table, states, words };
    let coded = &coded;
    DECODING.with_borrow_mut(|scratch| match kind {
        Kind::Median => path.run(wave_decode::Decode::<0> { coded, geometry, scratch, samples }),
        Kind::Six => path.run(wave_decode::Decode::<1> { coded, geometry, scratch, samples }),
        Kind::Ten => path.run(wave_decode::Decode::<2> { coded, geometry, scratch, samples }),
        Kind::Reference => path.run(wave_decode::Decode::<3> { coded, geometry, scratch, samples }),
    })
}

/// The kind; for all but the median, the bounds of activity and the weights, class by class.
fn write_weights(fitted: &Fitted, out: &mut Vec<u8>) {
    out.push(fitted.kind.byte());
    if fitted.kind == Kind::Median {
        return;
    }
    out.extend_from_slice(&fitted.bounds);
    for class in 0..fitted.kind.classes() {
        for of in &fitted.weights.of[..fitted.kind.neighbours()] {
            // Weights are from -32,000 to 32,000, in two's complement.
            out.extend_from_slice(&(of[class] as u16).to_le_bytes());
        }
    }
}

fn read_weights(reader: &mut Reader<'_>) -> Result<(Kind, Weights), Malformed> {
    let kind = Kind::from_byte(reader.byte()?).ok_or(Malformed)?;
    let mut weights = Weights::NONE;
    if kind == Kind::Median {
        return Ok((kind, weights));
    }
    let bounds = reader.bytes(4)?.first_chunk().copied().ok_or(Malformed)?;
    weights.set_bounds(bounds);
    for class in 0..kind.classes() {
        for of in &mut weights.of[..kind.neighbours()] {
            of[class] = i32::from(reader.u16()?.cast_signed()).cast_unsigned();
        }
    }
    Ok((kind, weights))
}
