//! One plane in a payload: what was done to its samples, and the coder that holds them.

use super::bits::{Reader, put};
use super::deep;
use super::fit::fit;
use super::model::Kind;
use super::pack::{self, Packing};
use super::plane::{Geometry, Malformed};
use super::simd::Path;
use super::wave_payload::{self, REFERENCE_ROWS_MIN};
use crate::codec::Level;

/// All samples are 0.
const NOTHING: u8 = 0;
/// Coded in waves.
const WAVE: u8 = 1;
/// Coded by the strongest model.
const DEEP: u8 = 2;

/// Rows and frames of a plane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frames {
    pub(super) width: usize,
    pub(super) rows: usize,
    pub(super) frame_rows: usize,
}

/// Appends a plane. The samples are used up.
pub(super) fn encode(path: Path, level: Level, samples: &mut [u16], frames: Frames, flip: u16, out: &mut Vec<u8>) {
    let max = prepare(samples, frames, flip, out);
    let Frames { width, rows, frame_rows } = frames;
    let geometry = Geometry { width, rows, frame_rows, reference_rows: 0, max };
    if max == 0 {
        out.push(NOTHING);
    } else if level == Level::COPPER {
        let reference_rows = nearest(samples, &geometry).unwrap_or(0);
        encode_deep(samples, &Geometry { reference_rows, ..geometry }, out);
    } else {
        encode_wave(path, level, samples, geometry, out);
    }
}

/// Appends three components as one plane for the strongest model: each refers to the one above it.
pub(super) fn encode_stacked(planes: &[Vec<u16>; 3], frames: Frames, out: &mut Vec<u8>) {
    let mut samples = Vec::with_capacity(3 * planes[0].len());
    let mut max = 0;
    for plane in planes {
        let start = samples.len();
        samples.extend_from_slice(plane);
        let own = &mut samples[start..];
        let (flip, _) = super::flip_of(own, &[0, 0x8000]);
        max = max.max(prepare(own, frames, flip, out));
    }
    if max == 0 {
        out.push(NOTHING);
    } else {
        encode_deep(&samples, &stacked(frames, max), out);
    }
}

/// Three components, one below the other.
const fn stacked(frames: Frames, max: u16) -> Geometry {
    let Frames { width, rows, frame_rows } = frames;
    Geometry { width, rows: 3 * rows, frame_rows, reference_rows: rows, max }
}

/// Flips and packs samples, and writes how. Returns the largest.
fn prepare(samples: &mut [u16], frames: Frames, flip: u16, out: &mut Vec<u8>) -> u16 {
    put(u32::from(flip), out);
    if flip != 0 {
        for sample in samples.iter_mut() {
            *sample ^= flip;
        }
    }
    let (packing, max) = pack::pack(samples, frames.width * frames.frame_rows);
    packing.write(out);
    put(u32::from(max), out);
    max
}

fn encode_deep(samples: &[u16], geometry: &Geometry, out: &mut Vec<u8>) {
    out.push(DEEP);
    put((geometry.reference_rows / geometry.frame_rows) as u32, out);
    let mut payload = Vec::new();
    deep::encode(samples, geometry, &mut payload);
    put(payload.len() as u32, out);
    out.extend_from_slice(&payload);
}

fn encode_wave(path: Path, level: Level, samples: &[u16], alone: Geometry, out: &mut Vec<u8>) {
    let start = out.len();
    let mut attempts = Vec::with_capacity(2);
    for geometry in geometries(level, samples, alone) {
        let kinds: &[Kind] = match geometry.reference_rows {
            0 if level <= Level::FAST => &[Kind::Six],
            0 if samples.len() <= FEW_SAMPLES => &[Kind::Six, Kind::Ten],
            0 => &[Kind::Ten],
            _ => &[Kind::Reference],
        };
        for kind in kinds {
            let fitted = fit(samples, &geometry, *kind);
            out.push(WAVE);
            put((geometry.reference_rows / geometry.frame_rows) as u32, out);
            wave_payload::encode(path, samples, &geometry, &fitted, out);
            attempts.push(out.split_off(start));
        }
    }
    out.extend(attempts.into_iter().min_by_key(Vec::len).unwrap_or_default());
}

/// With so few samples, the tables of the better prediction may cost more than it gains: both are tried.
const FEW_SAMPLES: usize = 1 << 14;

/// The plane alone and, where the level allows it, with the reference that suits best: which is smaller
/// is found by coding both.
fn geometries(level: Level, samples: &[u16], alone: Geometry) -> Vec<Geometry> {
    let reference = if level < Level::SERIES { None } else { nearest(samples, &alone) };
    let referring = reference.map(|reference_rows| Geometry { reference_rows, ..alone });
    [alone].into_iter().chain(referring).collect()
}

/// Frames back that are looked at for a reference.
const FRAMES_BACK_MAX: usize = 64;
/// Samples of a frame that are compared.
const COMPARED: usize = 512;

/// How many rows up the frame stands that is most like each frame; `None` where there is none to refer to.
fn nearest(samples: &[u16], geometry: &Geometry) -> Option<usize> {
    let frames = geometry.rows / geometry.frame_rows;
    if geometry.frame_rows < REFERENCE_ROWS_MIN || frames < 2 {
        return None;
    }
    let frame = geometry.frame_rows * geometry.width;
    let step = (frame / COMPARED).max(1) | 1;
    let most = (frames / 2).clamp(1, FRAMES_BACK_MAX);
    // Frames near the end, in the middle, and as early as all distances allow.
    let looked_at = [most, frames.midpoint(most), frames - 1];
    let distance = |back: usize| -> u64 {
        let of = |at: usize| {
            let (one, other) = (&samples[at * frame..][..frame], &samples[(at - back) * frame..][..frame]);
            let pairs = one.iter().step_by(step).zip(other.iter().step_by(step));
            pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>()
        };
        looked_at.iter().map(|at| of(*at)).sum()
    };
    (1..=most).min_by_key(|back| distance(*back)).map(|back| back * geometry.frame_rows)
}

/// Reads a plane: its samples.
pub(super) fn decode(path: Path, reader: &mut Reader<'_>, frames: Frames) -> Result<Vec<u16>, Malformed> {
    let Frames { width, rows, frame_rows } = frames;
    let prepared = Prepared::read(reader, frames)?;
    let geometry = Geometry { width, rows, frame_rows, reference_rows: 0, max: prepared.max };
    let mut samples = decode_samples(path, reader, geometry)?;
    prepared.undo(&mut samples, frames)?;
    Ok(samples)
}

/// Whether the plane takes long to decode: it is coded by the strongest model, or frame by frame from others. `None` for
/// one in which nothing is coded, which has been passed over then.
pub(super) fn is_slow(reader: &mut Reader<'_>, frames: Frames) -> Result<Option<bool>, Malformed> {
    Prepared::read(reader, frames)?;
    match reader.byte()? {
        NOTHING => Ok(None),
        DEEP => Ok(Some(true)),
        WAVE => Ok(Some(reader.number()? > 0)),
        _ => Err(Malformed),
    }
}

/// Reads three components that are one plane.
pub(super) fn decode_stacked(path: Path, reader: &mut Reader<'_>, frames: Frames) -> Result<[Vec<u16>; 3], Malformed> {
    let prepared = [(); 3].map(|()| Prepared::read(reader, frames));
    let [a, b, c] = prepared;
    let prepared = [a?, b?, c?];
    let max = prepared.iter().map(|one| one.max).max().unwrap_or(0);
    let mut samples = decode_samples(path, reader, stacked(frames, max))?;
    let plane = frames.width * frames.rows;
    for (own, prepared) in samples.chunks_exact_mut(plane).zip(&prepared) {
        prepared.undo(own, frames)?;
    }
    let last = samples.split_off(2 * plane);
    let middle = samples.split_off(plane);
    Ok([samples, middle, last])
}

/// What was done to samples before they were coded.
struct Prepared {
    flip: u16,
    packing: Packing,
    max: u16,
}

impl Prepared {
    fn read(reader: &mut Reader<'_>, frames: Frames) -> Result<Self, Malformed> {
        let flip = u16::try_from(reader.number()?).map_err(|_| Malformed)?;
        let packing = Packing::read(reader, frames.rows / frames.frame_rows, frames.width * frames.frame_rows)?;
        let max = u16::try_from(reader.number()?).map_err(|_| Malformed)?;
        Ok(Self { flip, packing, max })
    }

    fn undo(&self, samples: &mut [u16], frames: Frames) -> Result<(), Malformed> {
        self.packing.undo(samples, frames.width * frames.frame_rows)?;
        if self.flip != 0 {
            for sample in samples {
                *sample ^= self.flip;
            }
        }
        Ok(())
    }
}

/// Reads the samples of a plane as they were coded.
fn decode_samples(path: Path, reader: &mut Reader<'_>, mut geometry: Geometry) -> Result<Vec<u16>, Malformed> {
    let mut samples = vec![0; geometry.samples()];
    let method = reader.byte()?;
    if method == NOTHING {
        return Ok(samples);
    }
    let back = usize::try_from(reader.number()?).map_err(|_| Malformed)?;
    let up = back.checked_mul(geometry.frame_rows).filter(|up| *up <= geometry.rows);
    geometry.reference_rows = up.ok_or(Malformed)?;
    match method {
        WAVE => wave_payload::decode(path, reader, &geometry, &mut samples)?,
        DEEP => deep::decode(reader.block()?, &geometry, &mut samples)?,
        _ => return Err(Malformed),
    }
    Ok(samples)
}
