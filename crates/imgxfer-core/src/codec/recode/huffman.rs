//! Huffman codes of JPEG without loss (ITU-T T.81 annexes C, F and H): 17 categories of differences, and
//! the bits in which differences are written.

use crate::codec::CodecError;

use super::cursor::MALFORMED;

/// Differences fall into categories 0 to 16 by their number of bits.
const CATEGORIES: usize = 17;

/// The category of 32,768 alone, which has no bits behind its code.
const CATEGORY_ALONE: u8 = 16;

/// Codes this long, with their difference where that fits too, are looked up at once.
const LOOKUP_BITS: u32 = 12;

/// Zeros behind the bits, so that reading ahead at their end finds bytes.
pub(super) const READ_AHEAD_BYTES: usize = 16;

/// The codes of one table of a DHT segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// Code and its length in bits by category; length 0 where a category has none.
    codes: [(u16, u8); CATEGORIES],
}

impl Table {
    /// Reads one table: counts per length and categories. Returns it with what stands behind it.
    pub(super) fn parse(segment: &[u8]) -> Option<(Self, &[u8])> {
        let (counts, rest) = segment.split_first_chunk::<16>()?;
        let total: usize = counts.iter().map(|n| usize::from(*n)).sum();
        let (categories, rest) = rest.split_at_checked(total)?;
        let mut codes = [(0, 0); CATEGORIES];
        let mut categories = categories.iter();
        let mut code: u32 = 0;
        for (len, count) in (1u8..).zip(counts) {
            for category in categories.by_ref().take(usize::from(*count)) {
                let entry = codes.get_mut(usize::from(*category))?;
                // A code too many, or a category with two.
                if code >> len != 0 || entry.1 != 0 {
                    return None;
                }
                *entry = (u16::try_from(code).ok()?, len);
                code += 1;
            }
            code <<= 1;
        }
        Some((Self { codes }, rest))
    }

    pub(super) fn encoder(&self) -> Encoder {
        let mut encoder = Encoder { prefix: [0; CATEGORIES], len: [0; CATEGORIES], mask: [0; CATEGORIES] };
        for (category, (code, len)) in (0u8..).zip(self.codes) {
            let extra = extra_bits(category);
            let at = usize::from(category);
            encoder.prefix[at] = u32::from(code) << extra;
            encoder.len[at] = if len == 0 { 0 } else { u32::from(len) + extra };
            encoder.mask[at] = (1 << extra) - 1;
        }
        encoder
    }

    pub(super) fn decoder(&self) -> Decoder {
        let mut entries = vec![Entry::default(); 1 << LOOKUP_BITS];
        for (category, (code, len)) in (0u8..).zip(self.codes) {
            let len = u32::from(len);
            if len == 0 || len > LOOKUP_BITS {
                continue;
            }
            let room = LOOKUP_BITS - len;
            let first = u32::from(code) << room;
            let extra = extra_bits(category);
            for rest in 0..1u32 << room {
                let whole = extra <= room;
                let difference = if whole { extend(rest.checked_shr(room - extra).unwrap_or(0), category) } else { 0 };
                let used = if whole { len + extra } else { len };
                let entry = Entry { difference, category, used: u8::try_from(used).unwrap_or(0), whole };
                if let Some(slot) = entries.get_mut(crate::units::to_usize(u64::from(first | rest))) {
                    *slot = entry;
                }
            }
        }
        Decoder { entries, codes: self.codes }
    }
}

/// Bits behind the code of a category.
fn extra_bits(category: u8) -> u32 {
    if category == CATEGORY_ALONE { 0 } else { u32::from(category) }
}

/// The difference, modulo 65,536, that `bits` mean in a category (F.2.2.1).
fn extend(bits: u32, category: u8) -> u16 {
    let value = match category {
        0 => 0,
        CATEGORY_ALONE => 1 << 15,
        _ if bits >> (category - 1) != 0 => bits,
        _ => bits.wrapping_sub((1 << category) - 1),
    };
    low16(value)
}

#[expect(clippy::cast_possible_truncation, reason = "differences and samples are modulo 65,536")]
pub(super) const fn low16(value: u32) -> u16 {
    value as u16
}

/// What a few bits decode to.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    difference: u16,
    category: u8,
    /// Bits used: of code and difference where both fit, else of the code. 0: the code is longer.
    used: u8,
    whole: bool,
}

/// A table for decoding.
#[derive(Debug)]
pub(super) struct Decoder {
    entries: Vec<Entry>,
    codes: [(u16, u8); CATEGORIES],
}

impl Decoder {
    /// Decodes the difference that `bits` begin with, of which at least the first 32 are there. Returns it
    /// with the number of bits it took; 0 for none.
    #[inline]
    fn next(&self, bits: u64) -> (u16, u32) {
        let Some(entry) = self.entries.get(index(bits >> (64 - LOOKUP_BITS))) else { return (0, 0) };
        if entry.whole {
            return (entry.difference, u32::from(entry.used));
        }
        self.next_long(bits, *entry)
    }

    #[inline(never)]
    fn next_long(&self, bits: u64, entry: Entry) -> (u16, u32) {
        let (category, len) = if entry.used > 0 { (entry.category, u32::from(entry.used)) } else { self.find(bits) };
        if len == 0 {
            return (0, 0);
        }
        let extra = extra_bits(category);
        let behind = (bits << len) >> 32;
        let value = u32::try_from(behind).unwrap_or(0).checked_shr(32 - extra).unwrap_or(0);
        (extend(value, category), len + extra)
    }

    /// The category of a code that is too long to be looked up.
    fn find(&self, bits: u64) -> (u8, u32) {
        for (category, (code, len)) in (0u8..).zip(self.codes) {
            let len = u32::from(len);
            if len > LOOKUP_BITS && bits >> (64 - len) == u64::from(code) {
                return (category, len);
            }
        }
        (0, 0)
    }

    /// Decodes one difference in every `step` places of `row`, where `decoders` take turns.
    ///
    /// `at` is the bit to begin with; returns the bit behind the row, which may lie behind the end of the
    /// data, or `None` when bits mean nothing or there are none.
    pub(super) fn row(decoders: &[&Self], data: &[u8], mut at: usize, row: &mut [u16]) -> Option<usize> {
        if let [decoder] = decoders {
            for slot in row {
                let (difference, used) = decoder.next(peek(data, at)?);
                *slot = difference;
                at += index(u64::from(used));
                if used == 0 {
                    return None;
                }
            }
            return Some(at);
        }
        for pixel in row.chunks_mut(decoders.len()) {
            for (slot, decoder) in pixel.iter_mut().zip(decoders) {
                let (difference, used) = decoder.next(peek(data, at)?);
                *slot = difference;
                at += index(u64::from(used));
                if used == 0 {
                    return None;
                }
            }
        }
        Some(at)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "callers pass a few bits")]
const fn index(bits: u64) -> usize {
    bits as usize
}

/// At least 57 bits from bit `at` on, then zeros.
#[inline]
fn peek(data: &[u8], at: usize) -> Option<u64> {
    let start = at / 8;
    let bytes = data.get(start..start + 8)?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?) << (at % 8))
}

/// A table for encoding.
#[derive(Debug, Clone)]
pub(super) struct Encoder {
    /// By category: its code, moved to the left by the bits that follow.
    prefix: [u32; CATEGORIES],
    /// Bits of both together; 0 where there is no code.
    len: [u32; CATEGORIES],
    /// The bits that follow.
    mask: [u32; CATEGORIES],
}

impl Encoder {
    /// Bits for a difference, and how many: 0 when the table has no code for it.
    #[inline]
    fn bits(&self, difference: u16) -> (u32, u32) {
        let negative = u32::from(difference >> 15);
        let magnitude = if negative == 0 { difference } else { difference.wrapping_neg() };
        let category = index(u64::from(16 - magnitude.leading_zeros()));
        let value = u32::from(difference).wrapping_sub(negative);
        (self.prefix[category] | (value & self.mask[category]), self.len[category])
    }

    /// Writes a row; as [`Decoder::row`].
    pub(super) fn row(encoders: &[&Self], row: &[u16], bits: &mut BitWriter) -> Result<(), CodecError> {
        let mut missing = false;
        if let [encoder] = encoders {
            for difference in row {
                let (value, len) = encoder.bits(*difference);
                missing |= len == 0;
                bits.put(value, len);
            }
        } else {
            for pixel in row.chunks(encoders.len().max(1)) {
                for (difference, encoder) in pixel.iter().zip(encoders) {
                    let (value, len) = encoder.bits(*difference);
                    missing |= len == 0;
                    bits.put(value, len);
                }
            }
        }
        if missing { Err(MALFORMED) } else { Ok(()) }
    }
}

/// Writes bits as JPEG does: a zero byte behind each byte of ones.
#[derive(Debug)]
pub(super) struct BitWriter {
    out: Vec<u8>,
    /// The last `pending` bits, fewer than 32, that are not in `out`.
    bits: u64,
    pending: u32,
}

impl BitWriter {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes), bits: 0, pending: 0 }
    }

    #[inline]
    fn put(&mut self, value: u32, len: u32) {
        self.bits = self.bits << len | u64::from(value);
        self.pending += len;
        if self.pending >= 32 {
            self.pending -= 32;
            let [_, _, _, _, word @ ..] = (self.bits >> self.pending).to_be_bytes();
            self.put_word(word);
        }
    }

    #[inline]
    fn put_word(&mut self, word: [u8; 4]) {
        // A byte of ones is a byte of zeros in the inverse.
        let inverse = !u32::from_be_bytes(word);
        if inverse.wrapping_sub(0x0101_0101) & !inverse & 0x8080_8080 == 0 {
            self.out.extend_from_slice(&word);
        } else {
            word.into_iter().for_each(|byte| self.put_byte(byte));
        }
    }

    fn put_byte(&mut self, byte: u8) {
        self.out.push(byte);
        if byte == 0xff {
            self.out.push(0);
        }
    }

    /// Fills the last byte with `fill` bits and puts a marker behind it.
    pub(super) fn restart(&mut self, ones: bool, marker: u8) {
        let gap = (8 - self.pending % 8) % 8;
        self.put(if ones { (1 << gap) - 1 } else { 0 }, gap);
        self.put_whole_bytes();
        self.out.extend_from_slice(&[0xff, marker]);
    }

    fn put_whole_bytes(&mut self) {
        while self.pending >= 8 {
            self.pending -= 8;
            let [.., byte] = (self.bits >> self.pending).to_be_bytes();
            self.put_byte(byte);
        }
    }

    /// Bytes so far, without bits that do not fill one.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// All whole bytes. Bits behind them are dropped.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.put_whole_bytes();
        self.out
    }
}
