//! The strongest model, for lines so slow that a thousand cycles a sample are well spent.
//!
//! Every sample is predicted from its neighbours by several predictors whose weights follow the picture (`predict`,
//! `least_squares`, `blend`); how far it is from the prediction is coded bit by bit, each bit with a probability mixed
//! from several contexts (`model`, `residual`, `mixing`) by a range coder (`range`). The decoder does all the encoder
//! does, so both take about as long. There are integers only: the same bytes on every machine.
//!
//! `docs/pixel-codec-deep.md` says it all byte for byte.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "arithmetic on small numbers whose ranges are stated where they are made; checked casts would hide it and cost a tenth of the speed"
)]

mod blend;
mod least_squares;
mod logistic;
mod mixing;
mod model;
mod padded;
mod patterns;
mod predict;
mod range;
mod residual;
#[cfg(test)]
mod tests;

use super::plane::{Geometry, Malformed};
use model::Model;
use range::{Decoder, Encoder};
use residual::{NATURAL, PATTERNS};

/// Flags in the first byte of a payload; the others are zero.
const WITH_REFERENCE: u8 = 1;
const WITH_PATTERNS: u8 = 2;

/// Planes of at most so many samples are coded both ways; of larger ones, about as many samples are tried.
const TRIAL_SAMPLES: usize = 1 << 16;
/// Bands of rows that a trial takes from all over a plane.
const TRIAL_BANDS: usize = 4;

/// Patterns must save more than one part in so many, for they take half as long again.
const PATTERNS_GAIN: usize = 80;

/// Appends the payload of a plane to `out`. `samples` are as many as the geometry says, none above its largest.
pub(super) fn encode(samples: &[u16], geometry: &Geometry, out: &mut Vec<u8>) {
    let flags = if geometry.reference_rows > 0 { WITH_REFERENCE } else { 0 };
    if samples.len() <= TRIAL_SAMPLES {
        let natural = payload::<NATURAL>(samples, geometry, flags);
        let patterns = payload::<PATTERNS>(samples, geometry, flags);
        out.extend_from_slice(if patterns.len() < natural.len() { &patterns } else { &natural });
    } else if has_patterns(samples, geometry) {
        encode_as::<PATTERNS>(samples, geometry, flags, out);
    } else {
        encode_as::<NATURAL>(samples, geometry, flags, out);
    }
}

/// Whether some bands of the plane come out so much smaller with patterns that it is worth their time.
fn has_patterns(samples: &[u16], geometry: &Geometry) -> bool {
    let rows = (TRIAL_SAMPLES / TRIAL_BANDS / geometry.width).clamp(1, geometry.rows / TRIAL_BANDS + 1);
    let mut bands = Vec::with_capacity(rows * TRIAL_BANDS * geometry.width);
    for band in 0..TRIAL_BANDS {
        let first = geometry.rows * (2 * band + 1) / (2 * TRIAL_BANDS) * geometry.width;
        bands.extend(samples[first..].iter().take(rows * geometry.width));
    }
    let rows = bands.len() / geometry.width;
    let geometry = Geometry { rows, frame_rows: rows, reference_rows: 0, ..*geometry };
    let (patterns, natural) =
        (payload::<PATTERNS>(&bands, &geometry, 0).len(), payload::<NATURAL>(&bands, &geometry, 0).len());
    patterns + patterns / PATTERNS_GAIN < natural
}

fn payload<const N: usize>(samples: &[u16], geometry: &Geometry, flags: u8) -> Vec<u8> {
    let mut payload = Vec::new();
    encode_as::<N>(samples, geometry, flags, &mut payload);
    payload
}

fn encode_as<const N: usize>(samples: &[u16], geometry: &Geometry, flags: u8, out: &mut Vec<u8>) {
    out.push(if N == PATTERNS { flags | WITH_PATTERNS } else { flags });
    let mut model = Model::<N>::new(geometry, flags & WITH_REFERENCE != 0);
    let mut coder = Encoder::new(out);
    for (row, line) in samples.chunks_exact(geometry.width).enumerate() {
        model.begin_row(row);
        for (x, sample) in line.iter().enumerate() {
            model.code(&mut coder, x, *sample);
        }
        model.end_row();
    }
    coder.finish();
}

/// Decodes the payload of a plane to `samples`, which are as many as the geometry says.
///
/// A payload of anything else is refused, or gives samples that are at most the largest.
pub(super) fn decode(payload: &[u8], geometry: &Geometry, samples: &mut [u16]) -> Result<(), Malformed> {
    let (flags, coded) = payload.split_first().ok_or(Malformed)?;
    let is_known = *flags & !(WITH_REFERENCE | WITH_PATTERNS) == 0;
    let with_reference = *flags & WITH_REFERENCE != 0;
    if !is_known || !is_sound(geometry, samples.len()) || (with_reference && geometry.reference_rows == 0) {
        return Err(Malformed);
    }
    if *flags & WITH_PATTERNS != 0 {
        decode_as(Model::<PATTERNS>::new(geometry, with_reference), coded, geometry, samples)
    } else {
        decode_as(Model::<NATURAL>::new(geometry, with_reference), coded, geometry, samples)
    }
}

/// Whether a geometry is one that a plane can have.
fn is_sound(geometry: &Geometry, samples: usize) -> bool {
    let Geometry { width, rows, frame_rows, reference_rows, .. } = *geometry;
    width > 0
        && frame_rows > 0
        && frame_rows <= rows
        && reference_rows.is_multiple_of(frame_rows)
        && width.checked_mul(rows) == Some(samples)
}

fn decode_as<const N: usize>(
    mut model: Model<N>,
    coded: &[u8],
    geometry: &Geometry,
    samples: &mut [u16],
) -> Result<(), Malformed> {
    let mut coder = Decoder::new(coded);
    for (row, line) in samples.chunks_exact_mut(geometry.width).enumerate() {
        model.begin_row(row);
        for (x, sample) in line.iter_mut().enumerate() {
            *sample = model.code(&mut coder, x, 0);
        }
        model.end_row();
        if coder.is_overrun() {
            return Err(Malformed);
        }
    }
    if coder.is_at_end() { Ok(()) } else { Err(Malformed) }
}
