//! Bytes of native pixel data as samples, and back.

use super::plane::Malformed;
use crate::codec::PixelShape;

/// How samples lie in the bytes.
#[expect(clippy::struct_excessive_bools, reason = "each is a bit of the payload's flags")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Two bytes a sample, else one.
    pub(super) wide: bool,
    /// The high byte first.
    pub(super) big_endian: bool,
    /// Three samples a pixel.
    pub(super) colour: bool,
    /// Colour comes in planes, not in pixels.
    pub(super) planar: bool,
    /// Pixels in a row.
    pub(super) columns: usize,
    /// Rows of a frame, or of all there is where that is not whole frames.
    pub(super) frame_rows: usize,
    /// Rows of pixels, in all frames.
    pub(super) rows: usize,
    /// Bytes behind the last whole row.
    pub(super) tail: usize,
}

impl Layout {
    /// The layout of `len` bytes of such pixel data; `None` when samples are of another width, or there
    /// is not a single row.
    pub(super) fn of(shape: &PixelShape, len: usize) -> Option<Self> {
        let wide = match shape.bits_allocated {
            8 => false,
            16 => true,
            _ => return None,
        };
        let colour = match shape.samples {
            1 => false,
            3 => true,
            _ => return None,
        };
        let columns = usize::try_from(shape.columns).ok().filter(|n| *n > 0)?;
        let frame_rows = usize::try_from(shape.rows).ok().filter(|n| *n > 0)?;
        let mut layout = Self {
            wide,
            big_endian: wide && shape.big_endian,
            colour,
            planar: colour && shape.planar,
            columns,
            frame_rows,
            rows: 0,
            tail: 0,
        };
        layout = layout.filled(len)?;
        if layout.planar && !layout.rows.is_multiple_of(layout.frame_rows) {
            // A piece of a frame in planes: rows of one plane or another.
            layout = Self { colour: false, planar: false, ..layout }.filled(len)?;
        }
        if !layout.rows.is_multiple_of(layout.frame_rows) {
            layout.frame_rows = layout.rows;
        }
        Some(layout)
    }

    /// With rows and tail for `len` bytes. There is at least one column.
    fn filled(self, len: usize) -> Option<Self> {
        let row = self.row_bytes()?;
        let rows = len / row;
        (rows > 0).then_some(Self { rows, tail: len - rows * row, ..self })
    }

    /// Bytes of a row of pixels, of all components.
    fn row_bytes(&self) -> Option<usize> {
        self.columns.checked_mul(if self.colour { 3 } else { 1 })?.checked_mul(if self.wide { 2 } else { 1 })
    }

    /// As in a payload: one byte of flags.
    pub(super) fn flags(&self) -> u8 {
        u8::from(self.wide) | u8::from(self.big_endian) << 1 | u8::from(self.colour) << 2 | u8::from(self.planar) << 3
    }

    /// The layout of `len` bytes by a payload's flags, columns and rows of a frame.
    pub(super) fn read(flags: u8, columns: u32, frame_rows: u32, len: usize) -> Result<Self, Malformed> {
        let flag = |bit: u8| flags >> bit & 1 == 1;
        let layout = Self {
            wide: flag(0),
            big_endian: flag(1),
            colour: flag(2),
            planar: flag(3),
            columns: usize::try_from(columns).map_err(|_| Malformed)?,
            frame_rows: usize::try_from(frame_rows).map_err(|_| Malformed)?,
            rows: 0,
            tail: 0,
        };
        let sane = flags < 16
            && layout.columns > 0
            && layout.frame_rows > 0
            && (layout.wide || !layout.big_endian)
            && (layout.colour || !layout.planar);
        if !sane {
            return Err(Malformed);
        }
        let layout = layout.filled(len).ok_or(Malformed)?;
        if layout.rows % layout.frame_rows == 0 { Ok(layout) } else { Err(Malformed) }
    }

    /// Pixels in all frames.
    pub(super) const fn pixels(&self) -> usize {
        self.columns * self.rows
    }

    /// Samples of the bytes in front of the tail, in the order of the bytes.
    pub(super) fn load(&self, raw: &[u8]) -> Vec<u16> {
        let raw = &raw[..raw.len() - self.tail];
        match (self.wide, self.big_endian) {
            (false, _) => raw.iter().map(|byte| u16::from(*byte)).collect(),
            (true, false) => raw.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect(),
            (true, true) => raw.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect(),
        }
    }

    /// Appends the bytes of samples; of one byte each, their low half.
    pub(super) fn store(&self, samples: &[u16], out: &mut Vec<u8>) {
        match (self.wide, self.big_endian) {
            (false, _) => out.extend(samples.iter().map(|sample| (sample & 0xFF) as u8)),
            (true, false) => out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes())),
            (true, true) => out.extend(samples.iter().flat_map(|sample| sample.to_be_bytes())),
        }
    }

    /// Samples as three planes, each with all frames.
    pub(super) fn planes(&self, samples: &[u16]) -> [Vec<u16>; 3] {
        let mut planes = [(); 3].map(|()| Vec::with_capacity(self.pixels()));
        if self.planar {
            let plane = self.columns * self.frame_rows;
            for (index, part) in samples.chunks_exact(plane).enumerate() {
                planes[index % 3].extend_from_slice(part);
            }
        } else {
            for pixel in samples.as_chunks::<3>().0 {
                for (plane, sample) in planes.iter_mut().zip(pixel) {
                    plane.push(*sample);
                }
            }
        }
        planes
    }

    /// Three planes as samples again.
    pub(super) fn joined(&self, planes: &[Vec<u16>; 3]) -> Vec<u16> {
        let mut samples = Vec::with_capacity(3 * self.pixels());
        if self.planar {
            let plane = self.columns * self.frame_rows;
            for frame in 0..self.rows / self.frame_rows {
                for of in planes {
                    samples.extend_from_slice(&of[frame * plane..(frame + 1) * plane]);
                }
            }
        } else {
            for ((a, b), c) in planes[0].iter().zip(&planes[1]).zip(&planes[2]) {
                samples.extend_from_slice(&[*a, *b, *c]);
            }
        }
        samples
    }
}
