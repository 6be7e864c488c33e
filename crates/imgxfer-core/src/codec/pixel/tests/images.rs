//! Synthetic pictures of the kinds that matter, and their bytes.

use crate::codec::PixelShape;

/// A small generator, so that failures repeat.
#[derive(Debug, Clone)]
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// Below `most`, small numbers and large ones alike.
    pub(super) fn below(&mut self, most: usize) -> usize {
        self.next() as usize % most.max(1)
    }

    /// From `-by` to `by`, most often near 0.
    pub(super) fn noise(&mut self, by: i32) -> i32 {
        let one = |x: u32| (x % (2 * by.unsigned_abs() + 1)).cast_signed() - by;
        (one(self.next()) + one(self.next())) / 2
    }
}

/// Shape of a picture of one sample a pixel, all bits stored.
pub(super) const fn grey(rows: u32, columns: u32, bits: u16) -> PixelShape {
    PixelShape {
        rows,
        columns,
        samples: 1,
        bits_allocated: bits,
        bits_stored: bits,
        high_bit: bits - 1,
        signed: false,
        planar: false,
        big_endian: false,
    }
}

/// Shape of a colour picture.
pub(super) const fn colour(rows: u32, columns: u32, bits: u16, planar: bool) -> PixelShape {
    PixelShape { samples: 3, planar, ..grey(rows, columns, bits) }
}

/// Samples as bytes of that shape.
pub(super) fn bytes(shape: &PixelShape, samples: &[i32]) -> Vec<u8> {
    let wide = |s: &i32| (*s as u16).to_le_bytes();
    match (shape.bits_allocated, shape.big_endian) {
        (16, false) => samples.iter().flat_map(wide).collect(),
        (16, true) => samples.iter().flat_map(|s| (*s as u16).to_be_bytes()).collect(),
        _ => samples.iter().map(|s| *s as u8).collect(),
    }
}

/// Frames of slopes, a bright ellipse and noise, like a scanner's.
pub(super) fn scan(shape: &PixelShape, frames: usize, scale: i32, noise: i32) -> Vec<i32> {
    let mut numbers = Numbers(7);
    let (rows, columns) = (shape.rows.cast_signed(), shape.columns.cast_signed());
    let mut samples = Vec::new();
    for frame in 0..frames as i32 {
        for row in 0..rows {
            for column in 0..columns {
                let (y, x) = (2 * row - rows, 2 * column - columns + frame);
                let inside = x * x * rows / columns.max(1) + y * y * columns / rows.max(1) < rows * columns * 2 / 3;
                let body = if inside { scale / 2 + (scale * x / columns.max(1)) / 8 } else { scale / 16 };
                samples.push((body + row * scale / (8 * rows.max(1)) + numbers.noise(noise)).max(0));
            }
        }
    }
    samples
}

/// A pattern of wide range that hardly changes from frame to frame.
pub(super) fn same_again(shape: &PixelShape, frames: usize) -> Vec<i32> {
    let mut numbers = Numbers(3);
    let frame = shape.rows as usize * shape.columns as usize;
    let pattern: Vec<i32> = (0..frame).map(|_| 500 + (numbers.next() % 2000).cast_signed()).collect();
    (0..frames * frame).map(|at| pattern[at % frame] + numbers.noise(2)).collect()
}

/// Frames of few counts each, scaled by a step of each frame's own, as positron emission scanners write.
pub(super) fn steps(shape: &PixelShape, frames: usize) -> Vec<i32> {
    let counts = scan(shape, frames, 60, 6);
    let frame = shape.rows as usize * shape.columns as usize;
    counts.iter().enumerate().map(|(at, count)| count * (97 + 41 * (at / frame) as i32) % 65_536).collect()
}

/// Letters of two values on a plain ground.
pub(super) fn text(shape: &PixelShape, ink: i32) -> Vec<i32> {
    let mut numbers = Numbers(11);
    let columns = shape.columns as usize;
    let letters: Vec<u32> = (0..64).map(|_| numbers.next()).collect();
    let dark = |at: usize| {
        let (row, column) = (at / columns, at % columns);
        let letter = letters[(row / 9 * 13 + column / 7) % 64];
        row % 9 < 7 && column % 7 < 5 && letter >> ((row % 9 / 2) * 3 + column % 7 / 2) & 1 == 1
    };
    (0..shape.rows as usize * columns).map(|at| if dark(at) { ink } else { 0 }).collect()
}

/// Parts with fine stripes across, down and aslant: what one set of weights does not fit.
pub(super) fn stripes(shape: &PixelShape) -> Vec<i32> {
    let mut numbers = Numbers(5);
    let columns = shape.columns as usize;
    let (mut across, mut down) = (0, vec![0; columns]);
    (0..shape.rows as usize * columns)
        .map(|at| {
            let (row, column) = (at / columns, at % columns);
            if column == 0 {
                across = numbers.noise(900);
            }
            if row % 24 == 0 {
                down[column] = numbers.noise(900);
            }
            let wave = if (row / 24) % 2 == 0 { down[column] } else { across };
            2000 + wave + numbers.noise(150)
        })
        .collect()
}

/// Pixels of three samples: a scan in hues.
pub(super) fn hues(shape: &PixelShape, frames: usize) -> Vec<i32> {
    let grey = scan(shape, frames, 200, 3);
    let frame = shape.rows as usize * shape.columns as usize;
    let mut numbers = Numbers(13);
    let pixels: Vec<[i32; 3]> = grey
        .iter()
        .map(|g| [g * 9 / 10 + numbers.noise(1) + 3, g + 2, g * 8 / 10 + 5 + numbers.noise(1)].map(|s| s.clamp(0, 255)))
        .collect();
    in_order(shape, &pixels, frame)
}

/// Pixels of three samples out of a few colours, in patches.
pub(super) fn patches(shape: &PixelShape, frames: usize) -> Vec<i32> {
    let mut numbers = Numbers(17);
    let colours: Vec<[i32; 3]> = (0..12).map(|_| [(); 3].map(|()| (numbers.next() % 256).cast_signed())).collect();
    let frame = shape.rows as usize * shape.columns as usize;
    let columns = shape.columns as usize;
    let pixel = |at: usize| colours[(at % columns / 5 + at / columns / 4 * 7 + at / frame) % 12];
    in_order(shape, &(0..frames * frame).map(pixel).collect::<Vec<_>>(), frame)
}

fn in_order(shape: &PixelShape, pixels: &[[i32; 3]], frame: usize) -> Vec<i32> {
    if !shape.planar {
        return pixels.concat();
    }
    let component = |frame: &[[i32; 3]], which: usize| frame.iter().map(|p| p[which]).collect::<Vec<_>>();
    pixels
        .chunks(frame)
        .flat_map(|frame| (0..3).flat_map(|which| component(frame, which)).collect::<Vec<_>>())
        .collect()
}
