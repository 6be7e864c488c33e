//! Cuts in pixel data: on frames, and within long frames on rows.

use std::ops::Range;

use super::ChunkClass;
use super::{Cuts, Density, near_equal};
use crate::codec::PixelShape;
use crate::dicom::{PixelData, layout};
use crate::limits::{CHUNK_BYTES_MAX, CHUNK_BYTES_TARGET_MIN};
use crate::units::to_usize;

/// Small frames share a chunk up to this length.
const GROUP_BYTES_MAX: u64 = 256 << 10;

/// Pieces of pixel data whose frames are not known.
const UNSHAPED_BYTES: u64 = 512 << 10;

/// Padding behind the last frame up to this length joins what follows.
const PADDING_BYTES_MAX: u64 = 64;

const CHUNK_MAX: u64 = CHUNK_BYTES_MAX as u64;

/// Cuts `range`, which the pixel data takes up in the file. Stops early when there are too many.
pub(super) fn cut(pixels: Option<&PixelData>, range: Range<u64>, density: Density, cuts: &mut Cuts) {
    match pixels {
        None => {}
        Some(_) if density == Density::Blind => cuts.push_to(range.end, ChunkClass::Pixels),
        Some(PixelData::Native { shape, .. }) => native(shape.as_ref(), &range, density, cuts),
        Some(PixelData::Encapsulated { fragments, frames, .. }) => {
            encapsulated(fragments, frames, &range, density, cuts);
        }
    }
}

fn native(shape: Option<&PixelShape>, range: &Range<u64>, density: Density, cuts: &mut Cuts) {
    let Some((shape, frame)) = shape.and_then(|s| Some((s, layout::frame_bytes(s)?))) else {
        return steps(range, UNSHAPED_BYTES, cuts);
    };
    let count = (range.end - range.start) / frame;
    let frames_end = range.start + count * frame;
    if frame > CHUNK_MAX {
        for index in 0..count {
            long_frame(shape, frame, range.start + index * frame, cuts);
            if cuts.is_full() {
                return;
            }
        }
    } else {
        let group = frames_per_chunk(frame, density);
        steps(&(range.start..frames_end), frame * group, cuts);
    }
    if range.end - frames_end > PADDING_BYTES_MAX {
        cuts.push_to(range.end, ChunkClass::Pixels);
    }
}

/// How many frames of at most 1 MiB share a chunk.
fn frames_per_chunk(frame: u64, density: Density) -> u64 {
    let share = match density {
        Density::Normal if frame >= u64::from(CHUNK_BYTES_TARGET_MIN) => return 1,
        Density::Normal => GROUP_BYTES_MAX,
        Density::High | Density::Blind => CHUNK_MAX,
    };
    (share / frame).max(1)
}

/// Cuts every `step` bytes.
fn steps(range: &Range<u64>, step: u64, cuts: &mut Cuts) {
    let mut at = range.start;
    while at < range.end && !cuts.is_full() {
        at = at.saturating_add(step).min(range.end);
        cuts.push_to(at, ChunkClass::Pixels);
    }
}

/// Cuts one frame of more than 1 MiB into near-equal pieces of whole rows.
fn long_frame(shape: &PixelShape, frame: u64, start: u64, cuts: &mut Cuts) {
    let (rows, samples_in_row) = match (u64::from(shape.rows), u64::from(shape.samples)) {
        // Each plane has its own rows.
        (rows, samples) if shape.planar => (rows * samples, 1),
        (rows, samples) => (rows, samples),
    };
    let row_bits = u64::from(shape.columns) * samples_in_row * u64::from(shape.bits_allocated);
    // Rows of single bits are taken by eights, so that pieces are whole bytes.
    let rows_in_unit = if row_bits.is_multiple_of(8) { 1 } else { 8 };
    let unit = row_bits * rows_in_unit / 8;
    let units = rows.div_ceil(rows_in_unit);
    let units_per_piece = CHUNK_MAX / unit.max(1);
    if units_per_piece > 0 {
        let pieces = units.div_ceil(units_per_piece);
        for piece in 1..=pieces {
            let end = (near_equal(units, piece, pieces) * unit).min(frame);
            cuts.push_to(start + end, ChunkClass::Pixels);
        }
    }
    cuts.push_to(start + frame, ChunkClass::Pixels);
}

/// Cuts before frames, or before fragments where frames are not known.
fn encapsulated(fragments: &[u64], frames: &[u32], range: &Range<u64>, density: Density, cuts: &mut Cuts) {
    if frames.is_empty() {
        runs(fragments.iter().copied(), range, density, cuts);
    } else {
        let starts = frames.iter().filter_map(|&index| fragments.get(to_usize(u64::from(index))).copied());
        runs(starts, range, density, cuts);
    }
}

/// Cuts before `starts`; small runs share a chunk.
fn runs(starts: impl Iterator<Item = u64>, range: &Range<u64>, density: Density, cuts: &mut Cuts) {
    let (small, group_max) = match density {
        Density::Normal => (u64::from(CHUNK_BYTES_TARGET_MIN), GROUP_BYTES_MAX),
        Density::High | Density::Blind => (CHUNK_MAX, CHUNK_MAX),
    };
    // Begin of the chunk that is being filled, and of the run that was seen last.
    let (mut chunk, mut run) = (range.start, range.start);
    let ends = starts.skip(1).map(|start| start.clamp(range.start, range.end)).chain([range.end]);
    for end in ends {
        let end = end.max(run);
        let joins = end - run < small && end - chunk <= group_max;
        if !joins {
            cuts.push_to(run, ChunkClass::Pixels);
            chunk = run;
            // A long run stands alone.
            if end - run >= small {
                cuts.push_to(end, ChunkClass::Pixels);
                chunk = end;
            }
        }
        run = end;
        if cuts.is_full() {
            return;
        }
    }
    cuts.push_to(range.end, ChunkClass::Pixels);
}
