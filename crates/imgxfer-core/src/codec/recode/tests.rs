//! Streams of every kind come back; what is no stream is left alone; hostile payloads do no harm.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::chunk;
use crate::chunk::ChunkClass;
use crate::dicom;
use crate::sim::data::real_data_dir;

/// Numbers that look like chance and are the same each time.
struct Noise(u64);

impl Noise {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).unwrap() % end
    }
}

/// A picture of curves and some noise, in samples of `bits` side by side. Rows are alike in fours, which
/// zstd finds and JPEG does not.
fn picture(rows: usize, columns: usize, components: usize, bits: u32) -> Vec<u16> {
    let mut out = Vec::new();
    for row in 0..rows {
        let mut noise = Noise(row as u64 / 4);
        for column in 0..columns {
            for component in 0..components {
                let curve = (row / 4) * (row / 4) / 3 + column * column / 5 + component * 40;
                let value = to_u32(curve) + noise.below(1 << (bits / 2));
                out.push(u16::try_from(value & ((1 << bits) - 1)).unwrap());
            }
        }
    }
    out
}

/// A writer of JPEG without loss by the letter of the standard: bit by bit, and nothing shared with the
/// codec.
struct TestJpeg {
    rows: usize,
    columns: usize,
    components: usize,
    bits: u32,
    transform: u8,
    selection: u8,
    restart_rows: usize,
    pad_ones: bool,
    /// How many codes there are of each length, and their categories in order.
    table: (Vec<u8>, Vec<u8>),
}

impl TestJpeg {
    fn new(rows: usize, columns: usize) -> Self {
        // Five bits for all categories, in an odd order.
        let mut counts = vec![0; 16];
        counts[4] = 17;
        let table = (counts, vec![3, 1, 2, 0, 4, 5, 6, 7, 16, 8, 9, 10, 11, 12, 13, 14, 15]);
        let (components, bits, transform, selection, restart_rows, pad_ones) = (1, 16, 0, 1, 0, true);
        Self { rows, columns, components, bits, transform, selection, restart_rows, pad_ones, table }
    }

    /// Codes of 1 to 16 bits, one of each length but the last.
    fn with_long_codes(mut self) -> Self {
        self.table = (vec![1; 15], (0..15).collect());
        self.table.0.push(1);
        self.table.1.push(15);
        self
    }

    fn headers(&self) -> Vec<u8> {
        let mut out = vec![0xff, 0xd8, 0xff, 0xfe, 0, 6, b't', b'e', b's', b't'];
        let high_low = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
        let precision = u8::try_from(self.bits).unwrap() + self.transform;
        let count = u8::try_from(self.components).unwrap();
        out.extend([0xff, 0xc3]);
        out.extend(high_low(8 + 3 * self.components));
        out.push(precision);
        out.extend(high_low(self.rows));
        out.extend(high_low(self.columns));
        out.push(count);
        (1..=count).for_each(|id| out.extend([id, 0x11, 0]));
        out.extend([0xff, 0xc4]);
        out.extend(high_low(2 + 1 + 16 + self.table.1.len()));
        out.push(2);
        out.extend(&self.table.0);
        out.extend(&self.table.1);
        if self.restart_rows > 0 {
            out.extend([0xff, 0xdd, 0, 4]);
            out.extend(high_low(self.restart_rows * self.columns));
        }
        out.extend([0xff, 0xda]);
        out.extend(high_low(6 + 2 * self.components));
        out.push(count);
        (1..=count).for_each(|id| out.extend([id, 0x20]));
        out.extend([self.selection, 0, self.transform]);
        out
    }

    fn code(&self, category: u8) -> String {
        let (mut code, mut at) = (0u32, 0);
        for (len, count) in (1..).zip(&self.table.0) {
            for _ in 0..*count {
                if self.table.1[at] == category {
                    return format!("{code:0len$b}");
                }
                at += 1;
                code += 1;
            }
            code <<= 1;
        }
        panic!("no code for category {category}");
    }

    fn prediction(&self, samples: &[u16], row: usize, column: usize, component: usize) -> i32 {
        let at =
            |row: usize, column: usize| i32::from(samples[(row * self.columns + column) * self.components + component]);
        let is_first_row = row == 0 || (self.restart_rows > 0 && row.is_multiple_of(self.restart_rows));
        match (is_first_row, column) {
            (true, 0) => 1 << (self.bits - 1),
            (true, _) => at(row, column - 1),
            (false, 0) => at(row - 1, column),
            (false, _) => {
                let (a, b, c) = (at(row, column - 1), at(row - 1, column), at(row - 1, column - 1));
                [a, b, c, a + b - c, a + ((b - c) >> 1), b + ((a - c) >> 1), (a + b) >> 1]
                    [usize::from(self.selection) - 1]
            }
        }
    }

    fn stream(&self, samples: &[u16]) -> Vec<u8> {
        let mut out = self.headers();
        let mut bits = String::new();
        let mut restarts = 0;
        for row in 0..self.rows {
            if self.restart_rows > 0 && row > 0 && row.is_multiple_of(self.restart_rows) {
                self.put_bits(&mut bits, &mut out);
                out.extend([0xff, 0xd0 + restarts % 8]);
                restarts += 1;
            }
            for column in 0..self.columns {
                for component in 0..self.components {
                    let sample = i32::from(samples[(row * self.columns + column) * self.components + component]);
                    let prediction = self.prediction(samples, row, column, component);
                    // Modulo 65,536, from -32,767 to 32,768.
                    let difference = (sample - prediction + 32_767).rem_euclid(65_536) - 32_767;
                    let category = 32 - difference.unsigned_abs().leading_zeros();
                    bits += &self.code(u8::try_from(category).unwrap());
                    if category > 0 && category < 16 {
                        let value = if difference < 0 { difference + (1 << category) - 1 } else { difference };
                        bits += &format!("{value:0width$b}", width = category as usize);
                    }
                }
            }
        }
        self.put_bits(&mut bits, &mut out);
        out.extend([0xff, 0xd9]);
        out
    }

    fn put_bits(&self, bits: &mut String, out: &mut Vec<u8>) {
        while !bits.len().is_multiple_of(8) {
            bits.push(if self.pad_ones { '1' } else { '0' });
        }
        for byte in bits.as_bytes().chunks(8) {
            let byte = u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap();
            out.push(byte);
            if byte == 0xff {
                out.push(0);
            }
        }
        bits.clear();
    }
}

/// An RLE stream of byte planes, written with packets as `choose` says: the bytes left in the row, and
/// how many of those are equal, to a packet's length and whether it repeats.
fn test_rle(planes: &[Vec<u8>], columns: usize, mut choose: impl FnMut(usize, usize) -> (usize, bool)) -> Vec<u8> {
    let mut out = vec![0; 64];
    out[0] = u8::try_from(planes.len()).unwrap();
    for (number, plane) in (1..).zip(planes) {
        let start = u32::try_from(out.len()).unwrap().to_le_bytes();
        out[4 * number..4 * number + 4].copy_from_slice(&start);
        for row in plane.chunks(columns) {
            let mut at = 0;
            while at < row.len() {
                let equal = row[at..].iter().take_while(|byte| **byte == row[at]).count();
                let (len, repeats) = choose(row.len() - at, equal);
                if repeats {
                    out.extend([u8::try_from(257 - len).unwrap(), row[at]]);
                } else {
                    out.push(u8::try_from(len - 1).unwrap());
                    out.extend(&row[at..at + len]);
                }
                at += len;
            }
        }
        if out.len() % 2 == 1 {
            out.push(0);
        }
    }
    out
}

fn item(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0xfe, 0xff, 0x00, 0xe0];
    out.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
    out.extend(bytes);
    out
}

const SEQUENCE_END: [u8; 8] = [0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0];

/// Encodes and decodes, samples with zstd: for pictures as small as these, the smaller. The payload.
fn check_at(raw: &[u8], level: u8) -> Option<Vec<u8>> {
    let codec = Recode::new(Arc::new(Zstd));
    let mut payload = b"before".to_vec();
    let is_taken = codec.encode(raw, None, Level::new(level), &mut payload);
    let payload = payload.strip_prefix(b"before").unwrap().to_vec();
    assert_eq!(is_taken, !payload.is_empty());
    if is_taken {
        assert!(payload.len() < raw.len());
        let mut back = b"before".to_vec();
        codec.decode(&payload, to_u32(raw.len()), &mut back).unwrap();
        assert_eq!(back.strip_prefix(b"before").unwrap(), raw);
    }
    is_taken.then_some(payload)
}

/// Must be recoded.
fn check(raw: &[u8]) -> Vec<u8> {
    check_at(raw, 2).expect("it is recoded")
}

/// Takes a stream apart and puts it together, whether or not that makes it smaller. Bytes of samples.
fn round_trip(kind: Kind, stream: &[u8]) -> Option<usize> {
    let parts = match kind {
        Kind::Lossless => jpeg_lossless::take_apart(stream, samples::SAMPLE_BYTES_MAX)?,
        _ => rle::take_apart(stream, samples::SAMPLE_BYTES_MAX)?,
    };
    let codec: Arc<dyn Codec> = Arc::new(Zstd);
    let mut writer = samples::Writer::new(codec.as_ref(), Level::FAST);
    writer.push(&parts.samples);
    let blocks = writer.finish();
    let mut reader = samples::Reader::new(&codec, &blocks);
    let mut kept = cursor::Cursor(&parts.kept);
    let mut out = Vec::new();
    let result = match kind {
        Kind::Lossless => jpeg_lossless::put_together(&mut kept, &mut reader, stream.len(), &mut out),
        _ => rle::put_together(&mut kept, &mut reader, stream.len(), &mut out),
    };
    result.unwrap();
    assert_eq!(out, stream);
    assert!(reader.is_done() && kept.is_empty());
    Some(parts.samples.bytes.len())
}

#[test]
fn jpeg_without_loss_of_every_kind_comes_back() {
    for selection in 1..=7 {
        for (components, bits) in [(1, 2), (1, 8), (1, 12), (1, 16), (3, 8), (3, 16)] {
            for (restart_rows, pad_ones) in [(0, true), (1, true), (2, false)] {
                for transform in [0, 3] {
                    let mut jpeg = TestJpeg::new(9, 14);
                    jpeg.bits = bits;
                    if bits + u32::from(transform) <= 16 {
                        jpeg.transform = transform;
                    }
                    (jpeg.components, jpeg.selection) = (components, selection);
                    (jpeg.restart_rows, jpeg.pad_ones) = (restart_rows, pad_ones);
                    let stream = jpeg.stream(&picture(9, 14, components, bits));
                    let sample_bytes = if bits > 8 { 2 } else { 1 };
                    assert_eq!(round_trip(Kind::Lossless, &stream), Some(9 * 14 * components * sample_bytes));
                }
            }
        }
    }
}

#[test]
fn differences_of_any_size_and_long_codes_come_back() {
    let mut noise = Noise(1);
    let mut samples: Vec<u16> = (0..64 * 64).map(|_| u16::try_from(noise.below(65_536)).unwrap()).collect();
    samples[..4].copy_from_slice(&[0, 0x8000, 0, 0xffff]);
    assert_eq!(round_trip(Kind::Lossless, &TestJpeg::new(64, 64).stream(&samples)), Some(64 * 64 * 2));
    samples.iter_mut().for_each(|sample| *sample &= 0x7fff);
    // The first prediction is 32,768: a difference of as much has no code in this table.
    samples[0] = 1;
    let jpeg = TestJpeg::new(64, 64).with_long_codes();
    assert_eq!(round_trip(Kind::Lossless, &jpeg.stream(&samples)), Some(64 * 64 * 2));
}

#[test]
fn the_beginning_of_a_jpeg_is_taken() {
    for restart_rows in [0, 4] {
        let mut jpeg = TestJpeg::new(40, 50);
        jpeg.restart_rows = restart_rows;
        let stream = jpeg.stream(&picture(40, 50, 1, 16));
        let whole = 40 * 50 * 2;
        for cut in (200..stream.len()).step_by(7) {
            let taken = round_trip(Kind::Lossless, &stream[..cut]).unwrap_or(0);
            assert!(taken < whole && taken + 200 > whole * cut.saturating_sub(300) / stream.len(), "{taken} of {cut}");
        }
        // As a piece of a long frame: the item says more than the record holds.
        let raw = item(&stream);
        check(&raw[..raw.len() * 2 / 3]);
    }
}

#[test]
fn what_a_jpeg_encoder_should_not_do_is_left_or_kept() {
    let jpeg = TestJpeg::new(20, 30);
    let stream = jpeg.stream(&picture(20, 30, 1, 16));
    // Bytes behind the end, of any number, and none.
    for tail in [&[][..], &[0], &[0xff], &[0, 0, 0], b"more"] {
        assert!(round_trip(Kind::Lossless, &[&stream, tail].concat()).is_some());
    }
    // A damaged one either comes back or is refused.
    for at in 0..stream.len() {
        let mut damaged = stream.clone();
        damaged[at] ^= 0x10;
        round_trip(Kind::Lossless, &damaged);
    }
}

#[test]
fn rle_of_any_encoder_comes_back() {
    let columns = 40;
    let planes = |count: usize| -> Vec<Vec<u8>> {
        let bits = if count == 2 { 16 } else { 8 };
        let samples = picture(33, columns, count, bits);
        (0..count).map(|n| samples.iter().skip(n).step_by(count).map(|s| s.to_le_bytes()[0] / 16).collect()).collect()
    };
    for count in [1, 2, 3, 4, 5, 6, 15] {
        let planes = planes(count);
        let mut noise = Noise(3);
        // Runs where there are any; literals alone; whatever comes.
        let stream = test_rle(&planes, columns, |_, equal| (equal.min(128), equal > 1));
        assert_eq!(round_trip(Kind::RunLength, &stream), Some(33 * columns * count));
        let stream = test_rle(&planes, columns, |left, _| (left.min(128), false));
        assert_eq!(round_trip(Kind::RunLength, &stream), Some(33 * columns * count));
        let wild = |left: usize, equal: usize| {
            let repeats = equal > 1 && noise.below(2) == 0;
            let most = if repeats { equal } else { left.min(100) };
            let len = noise.below(to_u32(most)) as usize + 1;
            // A run of one has no packet of its own.
            (len, repeats && len > 1)
        };
        let stream = test_rle(&planes, columns, wild);
        assert_eq!(round_trip(Kind::RunLength, &stream), Some(33 * columns * count));
    }
}

#[test]
fn usual_rle_needs_no_more_than_samples() {
    let columns = 64;
    let samples = picture(64, columns, 1, 8);
    let plane: Vec<u8> = samples.iter().map(|s| s.to_le_bytes()[0] / 8).collect();
    for way in packbits::WAYS {
        let mut stream = vec![0; 64];
        (stream[0], stream[4]) = (1, 64);
        packbits::pack(&plane, &way.firsts(&plane, columns), &mut stream).unwrap();
        let parts = rle::take_apart(&stream, 1 << 20).unwrap();
        assert!(parts.kept.len() < 80, "{way:?} is not known again");
        let shape = parts.samples.shape.unwrap();
        assert_eq!((shape.rows, shape.columns), (64, 64));
        assert!(round_trip(Kind::RunLength, &stream).is_some());
    }
}

fn vector_path(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/codec").join(format!("{name}.hex"))
}

fn vector(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(vector_path(name)).unwrap();
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// `IMGXFER_WRITE_VECTORS=1` writes a vector that is not there, never one that is.
fn write_if_asked(name: &str, bytes: &[u8]) {
    if std::env::var_os("IMGXFER_WRITE_VECTORS").is_some() && !vector_path(name).exists() {
        let mut text = String::new();
        for line in bytes.chunks(32) {
            line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
            text.push('\n');
        }
        std::fs::write(vector_path(name), text).unwrap();
    }
}

#[test]
fn jpeg_with_a_transform_is_recoded_at_high_level() {
    for name in ["jpeg-baseline", "jpeg-restarts", "jpeg-progressive"] {
        let stream = vector(name);
        // In one item; with padding; in three.
        let raw = item(&stream);
        let payload = check_at(&raw, 3).expect("it is recoded");
        assert!(payload.len() < raw.len() * 95 / 100, "{} of {}", payload.len(), raw.len());
        check_at(&item(&[&stream[..], &[0]].concat()), 3).expect("it is recoded");
        let in_pieces = |at: usize| {
            let (a, rest) = stream.split_at(at);
            let (b, c) = rest.split_at(rest.len() / 2);
            [item(&[]), item(a), item(b), item(c), SEQUENCE_END.to_vec()].concat()
        };
        check_at(&in_pieces(300), 4).expect("it is recoded");
        // The first piece must show what it is.
        assert_eq!(items::streams(&in_pieces(3)), []);
        // Lines that are fast enough are not held up.
        assert_eq!(Recode::default().recode(&raw, Level::new(2)), None);
        // The end is in a later record.
        assert_eq!(Recode::default().recode(&raw[..2_000], Level::new(4)), None);
    }
}

/// A record with a stream of each kind.
fn golden_raw() -> Vec<u8> {
    let lossless = TestJpeg::new(24, 32).stream(&picture(24, 32, 1, 12));
    let plane: Vec<u8> = picture(40, 50, 1, 8).iter().map(|s| s.to_le_bytes()[0] / 32).collect();
    let rle = test_rle(&[plane], 50, |_, equal| (equal.min(128), equal > 1));
    let jpeg = vector("jpeg-baseline");
    let (a, b) = jpeg.split_at(1_000);
    [item(&[]), item(&lossless), item(&rle), item(a), item(b), SEQUENCE_END.to_vec()].concat()
}

#[test]
fn payloads_of_old_are_read() {
    write_if_asked("recode-v1-raw", &golden_raw());
    write_if_asked("recode-v1", &Recode::default().recode(&golden_raw(), Level::COPPER).unwrap());
    let raw = vector("recode-v1-raw");
    let mut back = Vec::new();
    Recode::default().decode(&vector("recode-v1"), to_u32(raw.len()), &mut back).unwrap();
    assert_eq!(back, raw);
    // The file is what the encoder here makes today, so that all kinds are in it.
    assert_eq!(raw, golden_raw());
}

#[test]
fn records_of_many_chunks_are_recoded() {
    let lossless = |rows| TestJpeg::new(rows, 30).stream(&picture(rows, 30, 1, 12));
    let plane: Vec<u8> = picture(40, 50, 1, 8).iter().map(|s| s.to_le_bytes()[0] / 32).collect();
    let rle = test_rle(&[plane.clone(), plane], 50, |_, equal| (equal.min(128), equal > 1));
    let other = item(b"what is this?");
    let table = item(&[0; 24]);
    let raw = [
        table,
        item(&lossless(20)),
        item(&lossless(20)),
        other,
        item(&rle),
        SEQUENCE_END.to_vec(),
        item(&[]),
        item(&lossless(31)),
        b"and then something else".to_vec(),
    ]
    .concat();
    let payload = check(&raw);
    // Frames of one shape share a block.
    assert!(payload.len() < raw.len() * 3 / 4);
    assert_eq!(items::streams(&raw).len(), 4);
    let mut stored = Vec::new();
    assert!(!Recode::default().encode(&raw, None, Level::FAST, &mut stored) && stored.is_empty());
}

#[test]
fn what_holds_no_stream_is_left_alone() {
    for raw in [&b""[..], b"\xfe\xff\x00\xe0", &[0; 5000], &item(&[]), &item(&[7; 3000]), &SEQUENCE_END] {
        assert_eq!(check_at(raw, 4), None);
    }
    // Lengths that lie.
    let mut raw = item(&TestJpeg::new(20, 30).stream(&picture(20, 30, 1, 16)));
    for len in [0, 1, 63, 200, u32::MAX] {
        raw[4..8].copy_from_slice(&len.to_le_bytes());
        check_at(&raw, 4);
    }
}

#[test]
fn samples_are_bounded() {
    // One bit for each of 64 million samples: only as many rows as there may be samples are taken.
    let mut jpeg = TestJpeg::new(8_000, 8_000);
    jpeg.table = (vec![1; 16], (0..16).collect());
    let mut stream = jpeg.headers();
    stream.extend(vec![0; 1 << 20]);
    let taken = round_trip(Kind::Lossless, &stream).unwrap();
    assert!(taken <= samples::SAMPLE_BYTES_MAX && taken > samples::SAMPLE_BYTES_MAX / 2);
    // Nor may a payload claim more.
    let codec: Arc<dyn Codec> = Arc::new(Zstd);
    let mut block = Vec::new();
    assert!(Zstd.encode(&vec![0; 1 << 20], None, Level::FAST, &mut block));
    let mut blocks = Vec::new();
    for _ in 0..9 {
        blocks.push(CodecId::ZSTD.0);
        cursor::put_len(&mut blocks, 1 << 20);
        cursor::put_sized(&mut blocks, &block);
    }
    let mut reader = samples::Reader::new(&codec, &blocks);
    for _ in 0..8 {
        assert_eq!(reader.take(1 << 20).map(<[u8]>::len), Ok(1 << 20));
    }
    assert!(reader.take(1).is_err());
}

#[test]
fn damaged_payloads_do_no_harm() {
    let plane: Vec<u8> = picture(40, 50, 1, 8).iter().map(|s| s.to_le_bytes()[0] / 32).collect();
    let raw = [
        item(&test_rle(&[plane], 50, |_, equal| (equal.min(128), equal > 1))),
        item(&TestJpeg::new(20, 30).stream(&picture(20, 30, 1, 12))),
        item(&vector("jpeg-baseline")),
    ]
    .concat();
    let codec = Recode::default();
    let payload = codec.recode(&raw, Level::COPPER).unwrap();
    let len = to_u32(raw.len());
    let mut noise = Noise(9);
    let mut table_apart = Payload::parse(&payload, raw.len()).unwrap().to_plain();
    for round in 0..1_500 {
        // In the coded table damage is mostly found at once: so also with the table as it is.
        let whole = if round % 2 == 0 { &payload } else { &table_apart };
        let mut damaged = whole.clone();
        for _ in 0..=noise.below(3) {
            let at = noise.below(to_u32(damaged.len())) as usize;
            damaged[at] = u8::try_from(noise.below(256)).unwrap();
        }
        damaged.truncate(damaged.len() - noise.below(2) as usize * noise.below(200) as usize);
        let mut out = vec![1; 3];
        let result = codec.decode(&damaged, len, &mut out);
        assert!(result.is_err() && out.len() <= 3 + raw.len() || out.len() == 3 + raw.len());
    }
    for len in [0, 1, len - 1, len + 1, 1 << 20, u32::MAX] {
        assert!(codec.decode(&payload, len, &mut Vec::new()).is_err());
    }
    for end in 0..payload.len() {
        assert!(codec.decode(&payload[..end], len, &mut Vec::new()).is_err());
    }
    table_apart[0] = 2;
    assert_eq!(codec.decode(&table_apart, len, &mut Vec::new()), Err(CodecError::Malformed(3)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_items_come_back(
        fragments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6),
        starts in prop::collection::vec(0usize..4, 6),
        level in 0u8..5,
    ) {
        let jpeg = TestJpeg::new(3, 4).headers();
        let heads: [&[u8]; 4] = [b"", &jpeg, &[0xff, 0xd8, 0xff, 0xc0, 0, 3, 8], &[2, 0, 0, 0, 64, 0, 0, 0, 70]];
        let raw: Vec<u8> = fragments.iter().zip(starts).flat_map(|(f, n)| item(&[heads[n], f].concat())).collect();
        check_at(&raw, level);
    }

    #[test]
    fn any_table_does_no_harm(table in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..4, len in 0u32..3000) {
        let mut payload = vec![1, 0];
        let mut whole = vec![kind];
        whole.extend(len.to_le_bytes());
        whole.extend([0, 0]);
        whole.extend(table);
        cursor::put_len(&mut payload, whole.len());
        cursor::put_sized(&mut payload, &whole);
        cursor::put_sized(&mut payload, b"scans");
        prop_assert!(Recode::default().decode(&payload, len, &mut Vec::new()).is_err() || kind == 0);
    }

    #[test]
    fn pictures_of_any_size_come_back(
        rows in 1usize..20, columns in 1usize..20, components in 1usize..4, bits in 2u32..17, selection in 1u8..8,
    ) {
        let mut jpeg = TestJpeg::new(rows, columns);
        (jpeg.components, jpeg.bits, jpeg.selection) = (components, bits, selection);
        prop_assert!(round_trip(Kind::Lossless, &jpeg.stream(&picture(rows, columns, components, bits))).is_some());
    }
}

fn files_below(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

#[test]
fn real_files_come_back() {
    let Some(dir) = real_data_dir() else {
        println!("skipped: no real data (set IMGXFER_TEST_DATA)");
        return;
    };
    let mut paths = Vec::new();
    files_below(&dir, &mut paths);
    paths.sort();
    let (mut streams, mut refused) = (0, Vec::new());
    for path in paths {
        let bytes = std::fs::read(&path).unwrap();
        let Ok(scan) = dicom::scan(&bytes) else { continue };
        if !matches!(scan.pixels, Some(dicom::PixelData::Encapsulated { .. })) {
            continue;
        }
        for cut in chunk::cut(&bytes, Some(&scan)).unwrap() {
            let raw = &bytes[to_usize(cut.offset)..][..to_usize(u64::from(cut.len))];
            if cut.class == ChunkClass::Pixels {
                check_at(raw, 1);
            }
            for stream in items::streams(raw).iter().filter(|stream| stream.kind != Kind::Transform) {
                streams += 1;
                if round_trip(stream.kind, &stream.join(raw)).is_none() {
                    refused.push(path.clone());
                }
            }
        }
    }
    println!("{streams} streams of RLE and JPEG without loss");
    assert_eq!(refused, Vec::<std::path::PathBuf>::new());
}
