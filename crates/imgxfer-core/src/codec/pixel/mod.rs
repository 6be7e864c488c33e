//! Our own coder of native pixel data, specified in `docs/pixel-codec.md`.
//!
//! Grey or colour, 8 or 16 bits a sample, any size, any number of frames: what a record holds is taken
//! apart into planes of samples, each plane is predicted from what is already coded, and the differences
//! are entropy coded, 32 rows at a time. Every path of the processor gives the same bytes.
//!
//! What it does not take, it leaves to another codec: samples of 1, 32 or 64 bits, pixels of two or four
//! samples.

#![allow(
    clippy::cast_possible_truncation,
    reason = "samples have 16 bits, sizes are at most 2^20, and the arithmetic wraps by definition"
)]

mod bits;
mod colour;
mod deep;
mod fit;
mod loops;
mod model;
mod pack;
mod plain_decode;
mod plain_encode;
mod plane;
mod plane_payload;
mod samples;
mod simd;
mod tables;
mod vector_decode;
mod vector_encode;
mod wave;
mod wave_decode;
mod wave_encode;
mod wave_payload;

use bits::{Reader, put};
use colour::{Palette, Transform};
use plane::{Geometry, Malformed};
use plane_payload::Frames;
use samples::Layout;
use simd::Path;
use wave::Wave;

use super::{Codec, CodecError, CodecId, Level, PixelShape};
use crate::units::to_usize;

/// The first byte of a payload: the version of its format.
const VERSION: u8 = 1;
/// Most original bytes of a record, and so most samples of a payload.
const RAW_BYTES_MAX: usize = 1 << 20;
/// Forms of a payload's planes.
const GREY: u8 = 0;
const SPLIT: u8 = 1;
const PALETTE: u8 = 2;
/// Three components: this and the transform.
const COMPONENTS: u8 = 4;
/// The same, as one plane: one component below the other.
const STACKED: u8 = 8;
/// Colours are tried as a palette when there are no more of them than this part of the pixels.
const PIXELS_A_COLOUR: usize = 32;
/// With no more colours than this, a palette is always the smaller: it is no photograph.
const FEW_COLOURS: usize = 1024;

/// The pixel coder.
#[derive(Debug, Clone, Copy)]
pub struct Pixel {
    path: Path,
}

impl Default for Pixel {
    fn default() -> Self {
        Self { path: Path::best() }
    }
}

impl Pixel {
    /// The builds of the coder that this processor can run, slowest first, by name. All give the same bytes;
    /// this is for measuring and testing them one by one.
    #[doc(hidden)]
    #[must_use]
    pub fn paths() -> Vec<(&'static str, Self)> {
        Path::all().iter().map(|path| (path.name(), Self { path: *path })).collect()
    }
}

impl Codec for Pixel {
    fn id(&self) -> CodecId {
        CodecId::PIXEL
    }

    fn encode(&self, raw: &[u8], shape: Option<&PixelShape>, level: Level, out: &mut Vec<u8>) -> bool {
        if level == Level::STORE || raw.len() > RAW_BYTES_MAX {
            return false;
        }
        let Some((shape, layout)) = shape.and_then(|shape| Some((shape, Layout::of(shape, raw.len())?))) else {
            return false;
        };
        let Frames { width, rows, frame_rows } = frames(&layout);
        let geometry = Geometry { width, rows, frame_rows, reference_rows: 0, max: 0 };
        if level < Level::COPPER && !Wave::suits(&geometry) {
            return false;
        }
        let start = out.len();
        out.push(VERSION);
        out.push(layout.flags());
        put(layout.columns as u32, out);
        put(layout.frame_rows as u32, out);
        out.extend_from_slice(&raw[raw.len() - layout.tail..]);
        let samples = layout.load(raw);
        if layout.colour {
            self.encode_colour(level, &layout, &samples, out);
        } else {
            self.encode_grey(level, &layout, shape, samples, out);
        }
        let smaller = out.len() - start < raw.len();
        if !smaller {
            out.truncate(start);
        }
        smaller
    }

    fn decode(&self, payload: &[u8], raw_len: u32, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let raw_len = to_usize(u64::from(raw_len));
        self.decode_all(payload, raw_len, out).map_err(|Malformed| CodecError::Malformed(CodecId::PIXEL.0))
    }

    /// By the first plane in which anything is coded: the strongest model, or a reference to another frame.
    fn is_slow(&self, payload: &[u8], raw_len: u32) -> bool {
        is_slow(payload, to_usize(u64::from(raw_len))).unwrap_or(false)
    }
}

impl Pixel {
    fn encode_grey(&self, level: Level, layout: &Layout, shape: &PixelShape, mut samples: Vec<u16>, out: &mut Vec<u8>) {
        let frames = frames(layout);
        let (flip, cost) = best_flip(&samples, shape);
        if let Some((bits, low_flip)) = split(&samples, shape, cost) {
            out.push(SPLIT);
            out.push(bits);
            let mut high: Vec<u16> = samples.iter().map(|sample| sample >> bits).collect();
            for sample in &mut samples {
                *sample &= (1 << bits) - 1;
            }
            plane_payload::encode(self.path, level, &mut samples, frames, low_flip, out);
            plane_payload::encode(self.path, level, &mut high, frames, 0, out);
        } else {
            out.push(GREY);
            plane_payload::encode(self.path, level, &mut samples, frames, flip, out);
        }
    }

    fn encode_colour(&self, level: Level, layout: &Layout, samples: &[u16], out: &mut Vec<u8>) {
        let mut planes = layout.planes(samples);
        let frames = frames(layout);
        let start = out.len();
        let most = if level <= Level::FAST { FEW_COLOURS } else { planes[0].len() / PIXELS_A_COLOUR };
        if !layout.wide
            && let Some((palette, mut indices)) = Palette::of(&planes, most.min(planes[0].len() / PIXELS_A_COLOUR))
        {
            out.push(PALETTE);
            palette.write(out);
            plane_payload::encode(self.path, level, &mut indices, frames, 0, out);
            if palette.len() <= FEW_COLOURS {
                return;
            }
        }
        let with_palette = out.split_off(start);
        let transform = Transform::best(&planes);
        transform.apply(&mut planes);
        if level == Level::COPPER {
            out.push(STACKED + transform.byte());
            plane_payload::encode_stacked(&planes, frames, out);
        } else {
            out.push(COMPONENTS + transform.byte());
            for plane in &mut planes {
                let (flip, _) = flip_of(plane, &[0, 0x8000]);
                plane_payload::encode(self.path, level, plane, frames, flip, out);
            }
        }
        if !with_palette.is_empty() && with_palette.len() < out.len() - start {
            out.truncate(start);
            out.extend(with_palette);
        }
    }

    fn decode_all(&self, payload: &[u8], raw_len: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let mut reader = Reader::new(payload);
        if reader.byte()? != VERSION || raw_len > RAW_BYTES_MAX {
            return Err(Malformed);
        }
        let (flags, columns, frame_rows) = (reader.byte()?, reader.number()?, reader.number()?);
        let layout = Layout::read(flags, columns, frame_rows, raw_len)?;
        let tail = reader.bytes(layout.tail)?;
        let samples = self.decode_samples(&mut reader, &layout)?;
        if !reader.rest().is_empty() {
            return Err(Malformed);
        }
        out.reserve(raw_len);
        layout.store(&samples, out);
        out.extend_from_slice(tail);
        Ok(())
    }

    fn decode_samples(&self, reader: &mut Reader<'_>, layout: &Layout) -> Result<Vec<u16>, Malformed> {
        let frames = frames(layout);
        let form = reader.byte()?;
        let plane = |reader: &mut Reader<'_>| plane_payload::decode(self.path, reader, frames);
        match (form, layout.colour) {
            (GREY, false) => plane(reader),
            (SPLIT, false) => {
                let bits = reader.byte()?;
                let mut low = plane(reader)?;
                for (low, high) in low.iter_mut().zip(plane(reader)?) {
                    *low |= high.checked_shl(u32::from(bits)).ok_or(Malformed)?;
                }
                Ok(low)
            }
            (PALETTE, true) if !layout.wide => {
                let palette = Palette::read(reader)?;
                Ok(layout.joined(&palette.planes(&plane(reader)?)?))
            }
            (form, true) => {
                let stacked = form >= STACKED;
                let transform = form.checked_sub(if stacked { STACKED } else { COMPONENTS });
                let transform = transform.and_then(Transform::from_byte).ok_or(Malformed)?;
                let mut planes = if stacked {
                    plane_payload::decode_stacked(self.path, reader, frames)?
                } else {
                    [plane(reader)?, plane(reader)?, plane(reader)?]
                };
                transform.undo(&mut planes);
                Ok(layout.joined(&planes))
            }
            _ => Err(Malformed),
        }
    }
}

fn is_slow(payload: &[u8], raw_len: usize) -> Result<bool, Malformed> {
    let mut reader = Reader::new(payload);
    if reader.byte()? != VERSION || raw_len > RAW_BYTES_MAX {
        return Err(Malformed);
    }
    let (flags, columns, frame_rows) = (reader.byte()?, reader.number()?, reader.number()?);
    let layout = Layout::read(flags, columns, frame_rows, raw_len)?;
    reader.bytes(layout.tail)?;
    let planes = match (reader.byte()?, layout.colour) {
        (GREY, false) => 1,
        (SPLIT, false) => {
            reader.byte()?;
            2
        }
        (PALETTE, true) => {
            Palette::read(&mut reader)?;
            1
        }
        // Only the strongest model codes components as one plane.
        (form, true) if form >= STACKED => return Ok(true),
        (_, true) => 3,
        _ => return Err(Malformed),
    };
    for _ in 0..planes {
        if let Some(slow) = plane_payload::is_slow(&mut reader, frames(&layout))? {
            return Ok(slow);
        }
    }
    Ok(false)
}

fn frames(layout: &Layout) -> Frames {
    Frames { width: layout.columns, rows: layout.rows, frame_rows: layout.frame_rows }
}

/// Which bit to flip so that signed samples ascend, as measured; and what steps then cost.
fn best_flip(samples: &[u16], shape: &PixelShape) -> (u16, u64) {
    let sign = 1u16.checked_shl(u32::from(shape.high_bit)).unwrap_or(0);
    flip_of(samples, &[0, 0x8000, sign])
}

/// The one of some flips that leaves the smallest steps from sample to sample.
fn flip_of(samples: &[u16], flips: &[u16]) -> (u16, u64) {
    let cost = |flip: u16| steps(samples, |sample| sample ^ flip);
    // A bit that is the same in all samples makes no difference to steps.
    let (any, all) = samples.iter().fold((0, u16::MAX), |(any, all), sample| (any | sample, all & sample));
    let flips = flips.iter().filter(|flip| **flip == 0 || **flip & any & !all != 0);
    flips.map(|flip| (*flip, cost(*flip))).min_by_key(|(_, cost)| *cost).unwrap_or((0, 0))
}

/// Sum of the logarithms of some steps from sample to sample.
fn steps(samples: &[u16], map: impl Fn(u16) -> u16) -> u64 {
    let stride = (samples.len() / 4096).max(1) | 1;
    (1..samples.len())
        .step_by(stride)
        .map(|at| u64::from(bits::log2(1 + u32::from(map(samples[at]).abs_diff(map(samples[at - 1]))))))
        .sum()
}

/// Below which bit to part the samples, and the flip of the low part: where bits above the high bit hold
/// something else, such as an overlay (PS3.5 section 8.1.2), and the low part alone is much smoother.
fn split(samples: &[u16], shape: &PixelShape, cost: u64) -> Option<(u8, u16)> {
    let bits = shape.high_bit.checked_add(1).filter(|bits| *bits < shape.bits_allocated.min(16))?;
    let mask = (1u16 << bits) - 1;
    let above = samples.iter().fold(0, |all, sample| all | sample & !mask);
    if above == 0 {
        return None;
    }
    let low: Vec<u16> = samples.iter().map(|sample| sample & mask).collect();
    let (flip, low_cost) = flip_of(&low, &[0, 1 << (bits - 1)]);
    // The high part must be paid for as well.
    (low_cost + cost / 8 < cost).then_some((u8::try_from(bits).ok()?, flip))
}

#[cfg(test)]
mod path_tests;
#[cfg(test)]
mod tests;
