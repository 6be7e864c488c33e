//! Small numbers in bytes, and logarithms without floats.

use super::plane::Malformed;

/// Writes a number in groups of seven bits, the low ones first.
pub(super) fn put(mut number: u32, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7F | 0x80) as u8);
        number >>= 7;
    }
    out.push((number & 0x7F) as u8);
}

/// Reads a payload from its beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes([self.byte()?, self.byte()?]))
    }

    /// A number as [`put`] writes it, in its shortest form.
    pub(super) fn number(&mut self) -> Result<u32, Malformed> {
        let mut number: u32 = 0;
        for shift in (0..32).step_by(7) {
            let byte = self.byte()?;
            let part = u32::from(byte & 0x7F);
            if part.checked_shl(shift).is_none_or(|part_up| part_up >> shift != part) {
                return Err(Malformed);
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 { Err(Malformed) } else { Ok(number) };
            }
        }
        Err(Malformed)
    }

    /// A number of bytes that follow, and those.
    pub(super) fn block(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.number()?;
        self.bytes(usize::try_from(count).map_err(|_| Malformed)?)
    }
}

/// Fraction bits of [`log2`].
pub(super) const LOG_BITS: u32 = 12;

/// About the logarithm to base 2 of a number from 1 on, in units of 2^-12: exact for powers of two, a
/// straight line between them. For estimates, which must be the same on every machine.
#[inline(always)]
pub(super) fn log2(number: u32) -> u32 {
    let number = number.max(1);
    let whole = number.ilog2();
    let behind = (u64::from(number) << LOG_BITS >> whole) & ((1 << LOG_BITS) - 1);
    whole << LOG_BITS | (behind & 0xFFF) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_long_forms_are_refused() {
        for number in [0, 1, 127, 128, 300, 65_535, 1 << 21, u32::MAX] {
            let mut out = Vec::new();
            put(number, &mut out);
            let mut reader = Reader::new(&out);
            assert_eq!((reader.number(), reader.rest().len()), (Ok(number), 0));
        }
        assert_eq!(Reader::new(&[0x80, 0]).number(), Err(Malformed));
        assert_eq!(Reader::new(&[0xFF, 0xFF, 0xFF, 0xFF, 0x1F]).number(), Err(Malformed));
        assert_eq!(Reader::new(&[0x80]).number(), Err(Malformed));
    }

    #[test]
    fn logarithms_are_near_the_true_ones() {
        for number in [1u32, 2, 3, 10, 1000, 65_537, 1 << 31] {
            let near = f64::from(log2(number)) / f64::from(1 << LOG_BITS);
            assert!((near - f64::from(number).log2()).abs() < 0.09, "{number}: {near}");
        }
    }
}
