//! Binary range coder: 40-bit window, 16-bit probabilities, carries resolved in the output.

/// Below this the range is widened by a byte.
const RANGE_MIN: u64 = 1 << 32;
const RANGE_START: u64 = (1 << 40) - 1;
/// Bytes of the window.
const WINDOW_BYTES: usize = 5;

/// Either side of the coder, so that one model serves both.
pub(super) trait Coder {
    /// Codes one bit, `one` in 65536 likely to be 1 (1 to 65535). The encoder returns `bit`, the decoder what it read.
    fn bit(&mut self, bit: bool, one: u32) -> bool;

    /// Codes the low `count` (at most 16) bits of `value`, each as likely 0 as 1. Returns them as `bit` does.
    fn raw(&mut self, value: u32, count: u32) -> u32;
}

/// Writes bits behind what `out` holds.
#[derive(Debug)]
pub(super) struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    low: u64,
    range: u64,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, low: 0, range: RANGE_START }
    }

    /// Writes the byte that makes what was coded unambiguous when zeros follow it.
    pub(super) fn finish(mut self) {
        self.low += RANGE_MIN - 1;
        self.put_byte();
    }

    fn widen(&mut self) {
        while self.range < RANGE_MIN {
            self.put_byte();
            self.range <<= 8;
        }
    }

    fn put_byte(&mut self) {
        if self.low >> 40 != 0 {
            // A carry is possible only when something that is not all ones was written before.
            for byte in self.out.iter_mut().rev() {
                *byte = byte.wrapping_add(1);
                if *byte != 0 {
                    break;
                }
            }
        }
        let [_, _, _, byte, ..] = self.low.to_be_bytes();
        self.out.push(byte);
        self.low = (self.low & (RANGE_MIN - 1)) << 8;
    }
}

impl Coder for Encoder<'_> {
    #[inline]
    fn bit(&mut self, bit: bool, one: u32) -> bool {
        let bound = (self.range >> 16) * u64::from(one);
        if bit {
            self.range = bound;
        } else {
            self.low += bound;
            self.range -= bound;
        }
        self.widen();
        bit
    }

    #[inline]
    fn raw(&mut self, value: u32, count: u32) -> u32 {
        self.range >>= count;
        self.low += self.range * u64::from(value);
        self.widen();
        value
    }
}

/// Reads bits from a payload, and zeros behind it.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    payload: &'a [u8],
    position: usize,
    code: u64,
    range: u64,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        let mut decoder = Self { payload, position: 0, code: 0, range: RANGE_START };
        for _ in 0..WINDOW_BYTES {
            decoder.take_byte();
        }
        decoder
    }

    /// Whether more was read than an encoder would have written.
    pub(super) fn is_overrun(&self) -> bool {
        self.position >= self.payload.len() + WINDOW_BYTES
    }

    /// Whether the payload ends where an encoder would have ended it.
    pub(super) fn is_at_end(&self) -> bool {
        self.position + 1 == self.payload.len() + WINDOW_BYTES
    }

    fn take_byte(&mut self) {
        let byte = self.payload.get(self.position).copied().unwrap_or(0);
        self.position += 1;
        self.code = (self.code << 8) | u64::from(byte);
    }

    fn widen(&mut self) {
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.take_byte();
        }
    }
}

impl Coder for Decoder<'_> {
    #[inline]
    fn bit(&mut self, _: bool, one: u32) -> bool {
        let bound = (self.range >> 16) * u64::from(one);
        let bit = self.code < bound;
        if bit {
            self.range = bound;
        } else {
            self.code -= bound;
            self.range -= bound;
        }
        self.widen();
        bit
    }

    #[inline]
    fn raw(&mut self, _: u32, count: u32) -> u32 {
        self.range >>= count;
        // A payload of garbage may stand above the range: it reads as the largest value.
        let value = (self.code / self.range).min((1 << count) - 1);
        self.code -= value * self.range;
        self.widen();
        u32::try_from(value).unwrap_or(0)
    }
}
