//! Colour made cheap: components that say little of what another has said, or an index of the colours
//! in use.

use super::bits::{Reader, put};
use super::plane::Malformed;

/// What is done to the three components of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transform {
    /// Nothing.
    None,
    /// The second; the first and the third less the second.
    Differences,
    /// YCoCg-R (Malvar and Sullivan, JVT-I014).
    YCoCg,
}

impl Transform {
    /// As in a payload.
    pub(super) const fn byte(self) -> u8 {
        self as u8
    }

    /// As in a payload.
    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::None),
            1 => Some(Self::Differences),
            2 => Some(Self::YCoCg),
            _ => None,
        }
    }

    /// One pixel, forth. All arithmetic wraps at 16 bits, so any samples come back.
    const fn forth(self, [a, b, c]: [u16; 3]) -> [u16; 3] {
        match self {
            Self::None => [a, b, c],
            Self::Differences => [b, a.wrapping_sub(b), c.wrapping_sub(b)],
            Self::YCoCg => {
                let orange = a.wrapping_sub(c);
                let middle = c.wrapping_add(half(orange));
                let green = b.wrapping_sub(middle);
                [middle.wrapping_add(half(green)), orange, green]
            }
        }
    }

    /// One pixel, back.
    const fn back(self, [x, y, z]: [u16; 3]) -> [u16; 3] {
        match self {
            Self::None => [x, y, z],
            Self::Differences => [y.wrapping_add(x), x, z.wrapping_add(x)],
            Self::YCoCg => {
                let middle = x.wrapping_sub(half(z));
                let b = z.wrapping_add(middle);
                let c = middle.wrapping_sub(half(y));
                [c.wrapping_add(y), b, c]
            }
        }
    }

    /// Transforms planes.
    pub(super) fn apply(self, planes: &mut [Vec<u16>; 3]) {
        self.each(planes, Self::forth);
    }

    /// Undoes it.
    pub(super) fn undo(self, planes: &mut [Vec<u16>; 3]) {
        self.each(planes, Self::back);
    }

    fn each(self, [a, b, c]: &mut [Vec<u16>; 3], step: impl Fn(Self, [u16; 3]) -> [u16; 3]) {
        if self == Self::None {
            return;
        }
        for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
            [*a, *b, *c] = step(self, [*a, *b, *c]);
        }
    }

    /// The one that leaves the smallest steps from sample to sample.
    pub(super) fn best(planes: &[Vec<u16>; 3]) -> Self {
        let cost = |transform: Self| -> u64 {
            let pixel = |at: usize| transform.forth([planes[0][at], planes[1][at], planes[2][at]]);
            let mut sum = 0;
            let mut at = 1;
            while at < planes[0].len() {
                for (one, before) in pixel(at).into_iter().zip(pixel(at - 1)) {
                    sum += u64::from(super::bits::log2(1 + u32::from(steps(one, before))));
                }
                at += 37;
            }
            sum
        };
        [Self::None, Self::Differences, Self::YCoCg].into_iter().min_by_key(|t| cost(*t)).unwrap_or(Self::None)
    }
}

/// Half of a number in two's complement, rounded down.
const fn half(x: u16) -> u16 {
    (x.cast_signed() >> 1).cast_unsigned()
}

/// Distance of two numbers that wrap.
fn steps(a: u16, b: u16) -> u16 {
    a.wrapping_sub(b).cast_signed().unsigned_abs()
}

/// Colours in use, of three bytes each.
#[derive(Debug)]
pub(super) struct Palette {
    colours: Vec<[u8; 3]>,
}

/// Slots of the table that finds a colour: twice the most colours.
const SLOTS: usize = 1 << 17;
const EMPTY: u32 = u32::MAX;

impl Palette {
    /// The palette of 8-bit planes, and the index of each pixel's colour; `None` when there are more
    /// than `most` colours.
    pub(super) fn of(planes: &[Vec<u16>; 3], most: usize) -> Option<(Self, Vec<u16>)> {
        let most = most.min(SLOTS / 2);
        let mut slots = vec![(EMPTY, 0u32); SLOTS];
        let mut colours: Vec<u32> = Vec::new();
        let mut indices = Vec::with_capacity(planes[0].len());
        for ((a, b), c) in planes[0].iter().zip(&planes[1]).zip(&planes[2]) {
            let colour = u32::from(*a & 0xFF) << 16 | u32::from(*b & 0xFF) << 8 | u32::from(*c & 0xFF);
            let mut slot = (colour.wrapping_mul(0x9E37_79B1) >> 15) as usize % SLOTS;
            while slots[slot].0 != EMPTY && slots[slot].0 != colour {
                slot = (slot + 1) % SLOTS;
            }
            if slots[slot].0 == EMPTY {
                if colours.len() >= most {
                    return None;
                }
                slots[slot] = (colour, colours.len() as u32);
                colours.push(colour);
            }
            indices.push(slots[slot].1);
        }
        // In the order of brightness, so that like colours have near indices.
        let mut order: Vec<usize> = (0..colours.len()).collect();
        let parts = |colour: u32| [(colour >> 16) as u8, (colour >> 8 & 0xFF) as u8, (colour & 0xFF) as u8];
        order.sort_unstable_by_key(|at| {
            let [a, b, c] = parts(colours[*at]);
            (2 * u32::from(a) + 4 * u32::from(b) + u32::from(c), colours[*at])
        });
        let mut rank = vec![0u16; colours.len()];
        for (place, at) in order.iter().enumerate() {
            rank[*at] = place as u16;
        }
        let indices = indices.into_iter().map(|index| rank[index as usize]).collect();
        Some((Self { colours: order.iter().map(|at| parts(colours[*at])).collect() }, indices))
    }

    /// Number of colours.
    pub(super) const fn len(&self) -> usize {
        self.colours.len()
    }

    /// Writes the colours: each component's steps from colour to colour, compressed with zstd.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put(self.colours.len() as u32, out);
        let mut bytes = Vec::with_capacity(3 * self.colours.len());
        for component in 0..3 {
            let mut before = 0u8;
            for colour in &self.colours {
                bytes.push(colour[component].wrapping_sub(before));
                before = colour[component];
            }
        }
        super::pack::put_block(&bytes, out);
    }

    /// Reads what [`Palette::write`] wrote.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = usize::try_from(reader.number()?).map_err(|_| Malformed)?;
        if count == 0 || count > SLOTS / 2 {
            return Err(Malformed);
        }
        let bytes = super::pack::read_block(reader, 3 * count)?;
        if bytes.len() != 3 * count {
            return Err(Malformed);
        }
        let mut colours = vec![[0; 3]; count];
        for (component, steps) in bytes.chunks_exact(count).enumerate() {
            let mut before = 0u8;
            for (colour, step) in colours.iter_mut().zip(steps) {
                before = before.wrapping_add(*step);
                colour[component] = before;
            }
        }
        Ok(Self { colours })
    }

    /// The planes again.
    pub(super) fn planes(&self, indices: &[u16]) -> Result<[Vec<u16>; 3], Malformed> {
        let mut planes = [(); 3].map(|()| Vec::with_capacity(indices.len()));
        for index in indices {
            let colour = self.colours.get(usize::from(*index)).ok_or(Malformed)?;
            for (plane, component) in planes.iter_mut().zip(colour) {
                plane.push(u16::from(*component));
            }
        }
        Ok(planes)
    }
}
