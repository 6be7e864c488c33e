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

/// The shape that the attributes of an image give to a value of `declared_len` bytes of the element
/// `tag`; `None` where they are missing, make no sense or do not fit the length.
pub(super) fn shape(values: &Values, tag: Tag, declared_len: u64, big_endian: bool) -> Option<PixelShape> {
    let small = |tag| values.number(tag).and_then(|n| u16::try_from(n).ok());
    let bits_allocated = match tag {
        tags::FLOAT_PIXEL_DATA => 32,
        tags::DOUBLE_FLOAT_PIXEL_DATA => 64,
        _ => small(tags::BITS_ALLOCATED)?,
    };
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
