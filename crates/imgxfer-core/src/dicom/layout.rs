//! The shape of native pixel data (PS3.3 section C.7.6.3, PS3.5 section 8).

use super::values::Values;
use super::{Tag, tags};
use crate::codec::PixelShape;

/// Bytes of one frame; `None` when frames do not begin on whole bytes.
pub(crate) fn frame_bytes(shape: &PixelShape) -> Option<u64> {
    let samples = u64::from(shape.rows) * u64::from(shape.columns) * u64::from(shape.samples);
    let bits = samples.checked_mul(u64::from(shape.bits_allocated))?;
    (bits > 0 && bits.is_multiple_of(8)).then_some(bits / 8)
}

/// Bits of one frame and the number of frames in a value of `declared_len` bytes of the element `tag`; `None` where it is
/// not certain where each frame stands.
pub(super) fn frames(values: &Values, tag: Tag, declared_len: u64, big_endian: bool) -> Option<(u64, u32)> {
    let allocated = bits_allocated(values, tag).filter(|&bits| bits == 1 || bits > 0 && bits % 8 == 0)?;
    let count = values.integer_text(tags::NUMBER_OF_FRAMES).unwrap_or(1).max(1);
    let pixels = u64::from(values.number(tags::ROWS)?).checked_mul(u64::from(values.number(tags::COLUMNS)?))?;
    let samples = u64::from(values.number(tags::SAMPLES_PER_PIXEL).unwrap_or(1));
    let in_all = |samples: Option<u64>| Some((samples?.checked_mul(u64::from(allocated))?, count));
    let padding = |(bits, count): (u64, u32)| {
        declared_len.checked_sub(bits.checked_mul(u64::from(count))?.div_ceil(8)).filter(|_| bits > 0)
    };
    let full = in_all(pixels.checked_mul(samples));
    let photometric = values.code(tags::PHOTOMETRIC_INTERPRETATION);
    // Where chrominance has half the width or height, or is said to have and does not, the length tells.
    let halved = match photometric {
        _ if photometric.contains("422") && pixels % 2 == 0 => in_all(pixels.checked_mul(2)),
        _ if photometric.contains("420") && pixels % 4 == 0 => in_all(Some(pixels / 2).and_then(|p| p.checked_mul(3))),
        _ if photometric.contains("422") || photometric.contains("420") => return None,
        _ => None,
    };
    let exact = |frames: &(u64, u32)| padding(*frames).is_some_and(|padding| padding <= 1);
    let roughly = |(bits, count): &(u64, u32)| padding((*bits, *count)).is_some_and(|p| p < (bits / 8).max(2));
    let found = match halved {
        Some(_) => halved.filter(exact).or_else(|| full.filter(exact)),
        // Writers that begin each frame on a whole byte break the standard; the length gives them away.
        None if allocated == 1 => full.filter(exact),
        None => full.filter(roughly),
    };
    // Bytes stand in words whose halves are swapped.
    found.filter(|(bits, _)| !big_endian || bits % 16 == 0)
}

fn bits_allocated(values: &Values, tag: Tag) -> Option<u16> {
    match tag {
        tags::FLOAT_PIXEL_DATA => Some(32),
        tags::DOUBLE_FLOAT_PIXEL_DATA => Some(64),
        _ => u16::try_from(values.number(tags::BITS_ALLOCATED)?).ok(),
    }
}

/// The shape that the attributes of an image give to a value of `declared_len` bytes of the element
/// `tag`; `None` where they are missing, make no sense or do not fit the length.
pub(super) fn shape(values: &Values, tag: Tag, declared_len: u64, big_endian: bool) -> Option<PixelShape> {
    let small = |tag| values.number(tag).and_then(|n| u16::try_from(n).ok());
    let bits_allocated = bits_allocated(values, tag)?;
    if !matches!(bits_allocated, 1 | 8 | 16 | 32 | 64) {
        return None;
    }
    // Chrominance of half the width or height: samples do not stand one behind the other.
    let photometric = values.code(tags::PHOTOMETRIC_INTERPRETATION);
    if photometric.contains("422") || photometric.contains("420") {
        return None;
    }
    let samples = small(tags::SAMPLES_PER_PIXEL).unwrap_or(1);
    let bits_stored = small(tags::BITS_STORED).filter(|n| (1..=bits_allocated).contains(n)).unwrap_or(bits_allocated);
    let high_bit =
        small(tags::HIGH_BIT).filter(|n| (bits_stored - 1..bits_allocated).contains(n)).unwrap_or(bits_stored - 1);
    let shape = PixelShape {
        rows: values.number(tags::ROWS)?,
        columns: values.number(tags::COLUMNS)?,
        samples,
        bits_allocated,
        bits_stored,
        high_bit,
        signed: values.number(tags::PIXEL_REPRESENTATION) == Some(1),
        planar: samples > 1 && values.number(tags::PLANAR_CONFIGURATION) == Some(1),
        big_endian,
    };
    let frame = frame_bytes(&shape)?;
    let frames = u64::from(values.integer_text(tags::NUMBER_OF_FRAMES).unwrap_or(1).max(1));
    let padding = declared_len.checked_sub(frame.checked_mul(frames)?);
    let fits = padding.is_some_and(|padding| padding < frame.max(2));
    // A wrong number of frames does not change the shape of one.
    (fits || declared_len >= frame && declared_len % frame <= 1).then_some(shape)
}

#[cfg(test)]
mod tests {
    use super::super::element::Encoding;
    use super::*;

    #[test]
    fn frames_are_told_where_they_are_certain() {
        /// Rows, columns, samples, bits, photometric interpretation, frames, bytes, big endian; bits and frames.
        type Case = (u16, u16, u16, u16, &'static str, &'static str, u64, bool, Option<(u64, u32)>);
        let cases: [Case; 20] = [
            (8, 6, 1, 16, "MONOCHROME2", "", 96, false, Some((768, 1))),
            (8, 6, 1, 16, "MONOCHROME2", "3 ", 288, false, Some((768, 3))),
            (8, 6, 1, 16, "MONOCHROME2", "3 ", 300, false, Some((768, 3))),
            (8, 6, 1, 16, "MONOCHROME2", "2 ", 288, false, None),
            (8, 6, 1, 16, "MONOCHROME2", "4 ", 288, false, None),
            (8, 6, 1, 16, "MONOCHROME2", "0 ", 96, true, Some((768, 1))),
            (5, 5, 1, 1, "MONOCHROME2", "3", 10, false, Some((25, 3))),
            (5, 5, 1, 1, "MONOCHROME2", "3", 12, false, None),
            (5, 5, 1, 1, "MONOCHROME2", "1", 4, true, None),
            (4, 4, 1, 1, "MONOCHROME2", "1", 2, true, Some((16, 1))),
            (5, 5, 1, 8, "MONOCHROME2", "2", 50, false, Some((200, 2))),
            (5, 5, 1, 8, "MONOCHROME2", "2", 50, true, None),
            (5, 5, 1, 12, "MONOCHROME2", "1", 38, false, None),
            (5, 5, 1, 24, "MONOCHROME2", "1", 76, false, Some((600, 1))),
            (4, 4, 3, 8, "RGB", "2", 96, false, Some((384, 2))),
            (4, 4, 3, 8, "YBR_FULL_422", "2", 64, false, Some((256, 2))),
            (4, 4, 3, 8, "YBR_FULL_422", "2", 96, false, Some((384, 2))),
            (4, 4, 3, 8, "YBR_FULL_422", "2", 80, false, None),
            (4, 4, 3, 8, "YBR_PARTIAL_420", "2", 48, false, Some((192, 2))),
            (4, 0, 1, 8, "MONOCHROME2", "1", 0, false, None),
        ];
        for (rows, columns, samples, bits, photometric, count, len, big_endian, expected) in cases {
            let mut values = Values::new(Encoding::EXPLICIT);
            for (tag, number) in [
                (tags::ROWS, rows),
                (tags::COLUMNS, columns),
                (tags::SAMPLES_PER_PIXEL, samples),
                (tags::BITS_ALLOCATED, bits),
            ] {
                values.keep(tag, &number.to_le_bytes());
            }
            values.keep(tags::PHOTOMETRIC_INTERPRETATION, photometric.as_bytes());
            values.keep(tags::NUMBER_OF_FRAMES, count.as_bytes());
            let found = frames(&values, tags::PIXEL_DATA, len, big_endian);
            assert_eq!(found, expected, "{rows}x{columns}x{samples}, {bits} bits, {photometric}, {count} in {len}");
        }
    }
}
