//! Instances of many frames, written as they are drawn: as long as wanted, one frame in memory.

use std::io::{self, Write};

use super::writer::{self, Writer};
use super::{StudySpec, Syntax, pixels::Picture};
use crate::units::to_u32;

/// A long instance (enhanced CT, 16 bits) that is written frame by frame.
#[derive(Debug, Clone)]
pub struct Multiframe {
    head: Vec<u8>,
    picture: Picture,
    frames: u32,
    seed: u64,
    is_encapsulated: bool,
}

/// Describes an instance of `frames` frames. Native up to 4 GiB, which a defined length can say;
/// encapsulated uncompressed, one fragment for each frame, above.
#[must_use]
pub fn multiframe(frames: u32, rows: u16, columns: u16, seed: u64) -> Multiframe {
    let frames = frames.max(1);
    let spec = StudySpec::new(seed).with_size(rows, columns).with_frames(frames);
    let picture = writer::picture(&spec);
    let native_len = u32::try_from(picture.frame_bytes() * u64::from(frames)).ok().filter(|len| *len < u32::MAX);
    let syntax = if native_len.is_some() { Syntax::Explicit } else { Syntax::EncapsulatedUncompressed };
    let spec = spec.with_syntax(syntax);
    let mut data_set = Writer::default();
    writer::header(&spec, 1, 1, &mut data_set);
    data_set.header((0x7fe0, 0x0010), "OW", native_len.unwrap_or(u32::MAX));
    if native_len.is_none() {
        data_set.item(0);
    }
    let mut head = writer::file_meta(&spec, 1, 1);
    head.append(&mut data_set.out);
    Multiframe { head, picture, frames, seed, is_encapsulated: native_len.is_none() }
}

impl Multiframe {
    /// Bytes of the whole file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        let item = if self.is_encapsulated { 8 } else { 0 };
        let frames = (self.picture.frame_bytes() + item) * u64::from(self.frames);
        crate::units::to_u64(self.head.len()) + frames + item
    }

    /// Writes the file. Pictures repeat after 32 frames but for their first pixels, since drawing is slower
    /// than disks are.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.head)?;
        let mut drawn: Vec<Vec<u8>> = Vec::new();
        for frame in 0..self.frames {
            let slot = usize::try_from(frame % DRAWN_FRAMES).unwrap_or(0);
            if drawn.len() == slot {
                let mut pixels = Vec::new();
                self.picture.draw(self.seed.wrapping_add(u64::from(frame)), &mut pixels);
                drawn.push(pixels);
            }
            let Some(pixels) = drawn.get_mut(slot) else { continue };
            for (pixel, byte) in pixels.iter_mut().zip(frame.to_le_bytes()) {
                *pixel = byte;
            }
            if self.is_encapsulated {
                let mut item = Writer::default();
                item.item(to_u32(pixels.len()));
                out.write_all(&item.out)?;
            }
            out.write_all(pixels)?;
        }
        if self.is_encapsulated {
            out.write_all(&[0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0])?;
        }
        out.flush()
    }
}

/// Different pictures in one instance.
const DRAWN_FRAMES: u32 = 32;

/// Writes an instance of `frames` frames to a file, without ever holding it in memory; returns its length
/// in bytes. See [`multiframe`].
///
/// # Errors
/// Any of the file system.
#[cfg(feature = "fs")]
pub fn write_multiframe(path: &std::path::Path, frames: u32, rows: u16, columns: u16, seed: u64) -> io::Result<u64> {
    let instance = multiframe(frames, rows, columns, seed);
    instance.write(&mut io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?))?;
    Ok(instance.file_bytes())
}
