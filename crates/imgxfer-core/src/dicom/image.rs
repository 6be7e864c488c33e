//! What is needed to show the frames of an image (PS3.3 section C.7.6.3), read without looking at pixel data.

use super::part10::{self, Syntax};
use super::values::Values;
use super::walk::walk_to;
use super::window::Window;
use super::{NotDicom, ReadAt, Tag, tags};
use crate::codec::PixelShape;

/// The last element of the group that describes pixels; what is large stands behind it.
const LAST: Tag = Tag(0x0028_ffff);
/// Longest code string (PS3.5 section 6.2).
const CODE_BYTES_MAX: usize = 16;

/// The shape of an image's frames, by its attributes: rows x columns x samples.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the attributes of the standard's module")]
pub struct ImageShape {
    /// Rows of a frame (0028,0010).
    pub rows: u32,
    /// Columns of a frame (0028,0011).
    pub columns: u32,
    /// Samples per pixel (0028,0002).
    pub samples: u16,
    /// Photometric interpretation (0028,0004); empty where there is none.
    pub photometric: String,
    /// Whether samples of one kind stand together (0028,0006).
    pub planar: bool,
    /// Bits allocated per sample (0028,0100).
    pub bits_allocated: u16,
    /// Bits stored per sample (0028,0101).
    pub bits_stored: u16,
    /// High bit (0028,0102).
    pub high_bit: u16,
    /// Whether samples are two's complement (0028,0103).
    pub signed: bool,
}

/// Reads the shape of an image from the file's beginning: at most what stands before its pixel data is read. `None` where
/// rows, columns or bits are missing, or the data set is deflated.
///
/// # Errors
/// [`NotDicom`], as [`scan`](super::scan).
pub fn image_shape(source: &dyn ReadAt) -> Result<Option<ImageShape>, NotDicom> {
    let mut window = Window::new(source);
    let start = part10::start(&mut window)?;
    let syntax = Syntax::of(start.transfer_syntax.as_ref());
    if syntax.deflated {
        return Ok(None);
    }
    let encoding = part10::detect(&mut window, start.data_set, syntax.encoding)?.unwrap_or(syntax.encoding);
    let found = walk_to(&mut window, start.data_set, encoding, LAST)?;
    Ok(ImageShape::of(&found.values))
}

impl ImageShape {
    fn of(values: &Values) -> Option<Self> {
        let small = |tag| values.number(tag).and_then(|number| u16::try_from(number).ok());
        let bits_allocated = small(tags::BITS_ALLOCATED).filter(|bits| *bits > 0)?;
        let bits_stored = small(tags::BITS_STORED).filter(|bits| *bits > 0).unwrap_or(bits_allocated);
        Some(Self {
            rows: values.number(tags::ROWS)?,
            columns: values.number(tags::COLUMNS)?,
            samples: small(tags::SAMPLES_PER_PIXEL).unwrap_or(1),
            photometric: Self::code(values.code(tags::PHOTOMETRIC_INTERPRETATION)),
            planar: values.number(tags::PLANAR_CONFIGURATION) == Some(1),
            bits_allocated,
            bits_stored,
            high_bit: small(tags::HIGH_BIT).unwrap_or(bits_stored - 1),
            signed: values.number(tags::PIXEL_REPRESENTATION) == Some(1),
        })
    }

    /// A code string as the standard lets it be; empty for any other text.
    #[must_use]
    pub fn code(text: &str) -> String {
        let is_code = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_' || c == b' ';
        if text.len() <= CODE_BYTES_MAX && text.bytes().all(is_code) { text.to_owned() } else { String::new() }
    }

    /// The same for codecs of native pixel data; `None` where samples do not stand one behind the other in whole bytes.
    #[must_use]
    pub fn native(&self, big_endian: bool) -> Option<PixelShape> {
        let halved = self.photometric.contains("422") || self.photometric.contains("420");
        let stored = (1..=self.bits_allocated).contains(&self.bits_stored);
        let high = stored && (self.bits_stored - 1..self.bits_allocated).contains(&self.high_bit);
        let is_sound = matches!(self.bits_allocated, 1 | 8 | 16 | 32 | 64) && high && !halved;
        is_sound.then_some(PixelShape {
            rows: self.rows,
            columns: self.columns,
            samples: self.samples,
            bits_allocated: self.bits_allocated,
            bits_stored: self.bits_stored,
            high_bit: self.high_bit,
            signed: self.signed,
            planar: self.samples > 1 && self.planar,
            big_endian,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::{PixelData, scan, tests::small};
    use crate::sim::studies::Syntax;

    #[test]
    fn the_shape_is_that_of_the_scan_and_nothing_behind_it_is_read() {
        for syntax in Syntax::ALL {
            let bytes = small().with_syntax(syntax).with_frames(3).instance(1, 1).bytes;
            let Some(shape) = image_shape(&bytes.as_slice()).unwrap() else {
                assert_eq!(syntax, Syntax::Deflated);
                continue;
            };
            match scan(&bytes.as_slice()).unwrap().pixels.unwrap() {
                PixelData::Native { offset, shape: scanned, .. } => {
                    assert_eq!(shape.native(syntax == Syntax::BigEndian), scanned, "{syntax:?}");
                    let front = &bytes[..usize::try_from(offset).unwrap()];
                    assert_eq!(image_shape(&front).unwrap().as_ref(), Some(&shape));
                }
                PixelData::Encapsulated { offset, .. } => {
                    let front = &bytes[..usize::try_from(offset).unwrap()];
                    assert_eq!(image_shape(&front).unwrap().as_ref(), Some(&shape));
                }
            }
            assert!(!shape.photometric.is_empty() && shape.rows > 0 && shape.bits_allocated > 0);
        }
        assert_eq!(ImageShape::code("MONOCHROME2"), "MONOCHROME2");
        assert_eq!((ImageShape::code("a name"), ImageShape::code("SEVENTEEN_LETTERS")), (String::new(), String::new()));
    }

    #[test]
    fn a_file_without_an_image_has_no_shape() {
        assert!(image_shape(&b"no DICOM".as_slice()).is_err() || image_shape(&[0u8; 0].as_slice()).is_err());
        let bytes = small().instance(1, 1).bytes;
        assert_eq!(image_shape(&&bytes[..400]).unwrap(), None, "it ends before its pixels are described");
    }
}
