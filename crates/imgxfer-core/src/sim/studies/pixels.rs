//! Pictures: a few smooth discs on a dark ground, with noise in the lowest bits.

use super::random::Random;

/// What a frame looks like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Picture {
    pub(super) rows: u16,
    pub(super) columns: u16,
    pub(super) samples: u16,
    pub(super) bits_allocated: u16,
    pub(super) bits_stored: u16,
    pub(super) big_endian: bool,
}

/// A disc that is brightest in its middle.
#[derive(Debug, Clone, Copy)]
struct Disc {
    row: i64,
    column: i64,
    radius_squared: i64,
    peak: i64,
}

impl Picture {
    /// Bytes of a frame.
    pub(super) fn frame_bytes(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.columns) * u64::from(self.samples) * u64::from(self.bits_allocated / 8)
    }

    /// Draws one frame behind what `out` holds.
    pub(super) fn draw(&self, seed: u64, out: &mut Vec<u8>) {
        let mut random = Random(seed);
        let top = (1i64 << self.bits_stored) - 1;
        let discs = self.discs(&mut random, top);
        let noise_bits = u32::from(self.bits_stored / 3);
        for row in 0..i64::from(self.rows) {
            for column in 0..i64::from(self.columns) {
                let light: i64 = discs.iter().map(|disc| disc.light(row, column)).sum();
                let mut noise = random.next_u64();
                for _ in 0..self.samples {
                    let grain = i64::from((noise & ((1 << noise_bits) - 1)).count_ones()) << (noise_bits / 2);
                    noise >>= 16;
                    self.put((light + grain).clamp(0, top), out);
                }
            }
        }
    }

    fn discs(&self, random: &mut Random, top: i64) -> [Disc; 4] {
        let mut scaled = |size: i64, parts: u64| i64::try_from(random.below(parts)).unwrap_or(0) * size / 64;
        let (rows, columns) = (i64::from(self.rows), i64::from(self.columns));
        [0i64; 4].map(|_| {
            let radius = (scaled(rows.min(columns), 16) + rows.min(columns) / 6).max(1);
            Disc {
                row: rows / 4 + scaled(rows, 32),
                column: columns / 4 + scaled(columns, 32),
                radius_squared: radius * radius,
                peak: top / 8 + scaled(top, 20),
            }
        })
    }

    fn put(&self, value: i64, out: &mut Vec<u8>) {
        let value = u16::try_from(value).unwrap_or(u16::MAX);
        let [low, high] = value.to_le_bytes();
        match (self.bits_allocated, self.big_endian) {
            (8, _) => out.push(low),
            (_, false) => out.extend_from_slice(&[low, high]),
            (_, true) => out.extend_from_slice(&[high, low]),
        }
    }
}

impl Disc {
    fn light(&self, row: i64, column: i64) -> i64 {
        let (down, right) = (row - self.row, column - self.column);
        let distance = down * down + right * right;
        if distance < self.radius_squared { self.peak - self.peak * distance / self.radius_squared } else { 0 }
    }
}
