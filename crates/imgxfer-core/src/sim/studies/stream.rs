//! Instances of many frames, written as they are drawn: as long as wanted, one frame in memory.

use std::io::{self, Write};

use super::writer::{self, Writer};
use super::{StudySpec, pixels::Picture};

/// A long native instance (enhanced CT, 16 bits) that is written frame by frame.
#[derive(Debug, Clone)]
pub struct Multiframe {
    head: Vec<u8>,
    picture: Picture,
    frames: u32,
    seed: u64,
}

/// Describes an instance of `frames` frames. Pixel data of a defined length ends at 4 GiB, so more frames
/// than fit are left out: see [`Multiframe::frames`].
#[must_use]
pub fn multiframe(frames: u32, rows: u16, columns: u16, seed: u64) -> Multiframe {
    let spec = StudySpec::new(seed).with_size(rows, columns);
    let picture = writer::picture(&spec);
    let most = (u64::from(u32::MAX) - 1) / picture.frame_bytes().max(1);
    let frames = frames.clamp(1, u32::try_from(most).unwrap_or(u32::MAX).max(1));
    let spec = spec.with_frames(frames);
    let mut data_set = Writer::default();
    writer::header(&spec, 1, 1, &mut data_set);
    // The clamp above keeps it below 4 GiB.
    let len = u32::try_from(picture.frame_bytes() * u64::from(frames)).unwrap_or(u32::MAX - 1);
    data_set.header((0x7fe0, 0x0010), "OW", len);
    let mut head = writer::file_meta(&spec, 1, 1);
    head.append(&mut data_set.out);
    Multiframe { head, picture, frames, seed }
}

impl Multiframe {
    /// Frames it has.
    #[must_use]
    pub const fn frames(&self) -> u32 {
        self.frames
    }

    /// Bytes of the whole file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        crate::units::to_u64(self.head.len()) + self.picture.frame_bytes() * u64::from(self.frames)
    }

    /// Writes the file. Frames repeat after 32 with different first pixels, since drawing is slower than
    /// disks are.
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
            if let Some(pixels) = drawn.get_mut(slot) {
                for (pixel, byte) in pixels.iter_mut().zip(frame.to_le_bytes()) {
                    *pixel = byte;
                }
                out.write_all(pixels)?;
            }
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
