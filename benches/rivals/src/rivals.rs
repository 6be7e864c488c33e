//! The other side: coders of whole frames.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use charls::{CharLS, FrameInfo, InterleaveMode};
use imgxfer_core::codec::PixelShape;

use crate::ours::timed;
use crate::table::Sample;

/// A frame as a coder of images wants it: values that ascend as the signal does, and no wider than needed.
pub(crate) struct Frame {
    rows: u32,
    columns: u32,
    samples: u16,
    planar: bool,
    bits: u32,
    values: Vec<u16>,
    /// As it stands in the file.
    raw: Vec<u8>,
}

impl Frame {
    /// The frames of native pixel data.
    pub(crate) fn all(pixels: &[u8], shape: &PixelShape) -> Vec<Self> {
        let count = shape.rows as usize * shape.columns as usize * usize::from(shape.samples);
        let bytes = count * usize::from(shape.bits_allocated / 8);
        pixels.chunks_exact(bytes).map(|frame| Self::of(frame, shape)).collect()
    }

    fn of(bytes: &[u8], shape: &PixelShape) -> Self {
        let read = if shape.big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
        let mut values: Vec<u16> = if shape.bits_allocated == 8 {
            bytes.iter().map(|byte| u16::from(*byte)).collect()
        } else {
            bytes.chunks_exact(2).map(|pair| read([pair[0], pair[1]])).collect()
        };
        if shape.signed {
            ascend(&mut values, shape);
        }
        let most = values.iter().copied().max().unwrap_or(0);
        let bits = (16 - most.leading_zeros()).max(u32::from(shape.bits_stored)).max(2);
        let (rows, columns, samples, planar) = (shape.rows, shape.columns, shape.samples, shape.planar);
        Self { rows, columns, samples, planar, bits, values, raw: bytes.to_vec() }
    }

    /// The values as CharLS takes them: a byte each up to 8 bits, else two.
    fn samples(&self) -> Vec<u8> {
        if self.bits <= 8 {
            self.values.iter().map(|value| value.to_le_bytes()[0]).collect()
        } else {
            self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
        }
    }

    /// Ranks in place of values, and what the table of the values in use costs.
    fn packed(&self) -> (Self, usize) {
        let mut used = vec![0u8; 8192];
        for value in &self.values {
            used[usize::from(value >> 3)] |= 1 << (value & 7);
        }
        let mut ranks = vec![0u16; 65536];
        let mut count = 0u16;
        for value in 0..=u16::MAX {
            ranks[usize::from(value)] = count;
            count = count.wrapping_add(u16::from(used[usize::from(value >> 3)] >> (value & 7) & 1));
        }
        let values: Vec<u16> = self.values.iter().map(|value| ranks[usize::from(*value)]).collect();
        let most = values.iter().copied().max().unwrap_or(0);
        let bits = (16 - most.leading_zeros()).max(2);
        let table = zstd::bulk::compress(&used, 19).map_or(used.len(), |packed| packed.len());
        (Self { values, bits, raw: self.raw.clone(), ..*self }, table)
    }

    /// As a portable any map. With more than 8 bits the largest value is 65535: with less, `cjxl` scales
    /// the samples and is no longer lossless.
    fn pnm(&self) -> Vec<u8> {
        let wide = self.bits > 8;
        let kind = if self.samples == 3 { 6 } else { 5 };
        let most = if wide { 65535 } else { 255 };
        let mut out = format!("P{kind}\n{} {}\n{most}\n", self.columns, self.rows).into_bytes();
        let mut put = |value: u16| {
            let [high, low] = value.to_be_bytes();
            out.extend(wide.then_some(high));
            out.push(low);
        };
        if self.planar && self.samples == 3 {
            let plane = self.values.len() / 3;
            (0..plane).for_each(|at| (0..3).for_each(|sample| put(self.values[sample * plane + at])));
        } else {
            self.values.iter().copied().for_each(put);
        }
        out
    }
}

/// Two's complement becomes an offset, in as many bits as are stored if all values fit.
fn ascend(values: &mut [u16], shape: &PixelShape) {
    let narrow = shape.bits_stored;
    let offset = 1u16 << (narrow - 1).min(15);
    let mask = u16::MAX >> (16 - narrow.min(16));
    let extended = |value: &u16| value.wrapping_add(offset) & !mask == 0;
    let wide = if shape.bits_allocated == 8 { 0x80 } else { 0x8000 };
    if shape.bits_allocated == 16 && values.iter().all(extended) {
        values.iter_mut().for_each(|value| *value = value.wrapping_add(offset));
    } else {
        values.iter_mut().for_each(|value| *value ^= wide);
    }
}

/// JPEG-LS by CharLS, and back.
pub(crate) fn jpeg_ls(frame: &Frame) -> anyhow::Result<Sample> {
    let raw = frame.samples();
    let info = FrameInfo {
        width: frame.columns,
        height: frame.rows,
        bits_per_sample: frame.bits.try_into()?,
        component_count: i32::from(frame.samples),
    };
    let mode = if frame.samples == 3 && !frame.planar { InterleaveMode::Sample } else { InterleaveMode::None };
    let mut coder = CharLS::default();
    coder.set_interleave_mode(mode)?;
    let (encoded, encode) = timed(|| coder.encode(info, 0, &raw));
    let encoded = encoded?;
    let (decoded, decode) = timed(|| coder.decode(&encoded));
    anyhow::ensure!(decoded? == raw, "JPEG-LS is not exact");
    Ok(Sample { original: frame.raw.len(), encoded: encoded.len(), encode, decode })
}

/// Bytes of JPEG-LS on ranks, the tables counted; of a frame that this makes larger, of JPEG-LS alone.
pub(crate) fn jpeg_ls_packed(frames: &[Frame]) -> anyhow::Result<usize> {
    let mut sum = 0;
    for frame in frames {
        let plain = jpeg_ls(frame)?.encoded;
        let (ranks, table) = frame.packed();
        sum += plain.min(jpeg_ls(&ranks)?.encoded + table);
    }
    Ok(sum)
}

/// Bytes of zstd on the frames as they stand.
pub(crate) fn zstd(frames: &[Frame], level: i32) -> anyhow::Result<usize> {
    frames.iter().map(|frame| Ok(zstd::bulk::compress(&frame.raw, level)?.len())).sum()
}

/// Bytes of JPEG XL at effort 7; `None` where the command is not installed. The first frame is decoded and
/// compared.
pub(crate) fn jpeg_xl(frames: &[Frame]) -> anyhow::Result<Option<usize>> {
    if Command::new("cjxl").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return Ok(None);
    }
    let folder = tempfile::tempdir()?;
    let (pnm, jxl) = (folder.path().join("a.pnm"), folder.path().join("a.jxl"));
    let mut sum = 0;
    for (number, frame) in frames.iter().enumerate() {
        let picture = frame.pnm();
        std::fs::write(&pnm, &picture)?;
        run("cjxl", &[&pnm, &jxl], &["-d", "0", "-e", "7", "--num_threads", "0", "--quiet"])?;
        sum += usize::try_from(std::fs::metadata(&jxl)?.len())?;
        if number == 0 {
            let back = folder.path().join(if frame.samples == 3 { "b.ppm" } else { "b.pgm" });
            run("djxl", &[&jxl, &back], &["--num_threads", "0", "--quiet"])?;
            anyhow::ensure!(std::fs::read(&back)? == picture, "JPEG XL is not exact");
        }
    }
    Ok(Some(sum))
}

fn run(program: &str, files: &[&Path], options: &[&str]) -> anyhow::Result<()> {
    let done = Command::new(program).args(files).args(options).output().context("cannot run it")?;
    anyhow::ensure!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
