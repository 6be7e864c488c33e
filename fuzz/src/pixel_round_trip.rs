//! The pixel coder on any picture: the same payload on every path of the processor, smaller than the
//! picture, from which every path makes the picture again.

use imgxfer_core::codec::{Codec, Level, Pixel, PixelShape};

/// Most bytes of a picture.
const RAW_BYTES_MAX: usize = 1 << 16;

/// Ten bytes choose shape, level and how often the content is repeated; the rest is the content.
pub fn check(data: &[u8]) {
    let Some((&[rows, columns, flags, bits, stored, high, level, times, from, step], rest)) = data.split_first_chunk()
    else {
        return;
    };
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let shape = PixelShape {
        rows: u32::from(rows),
        columns: u32::from(columns) << (times >> 6),
        samples: if flag(2) { 3 } else { 1 + u16::from(flag(6)) },
        bits_allocated: if flag(0) { 16 } else { [8, 8, 8, 1, 32, 64, 12, 0][usize::from(bits & 7)] },
        bits_stored: u16::from(stored),
        high_bit: u16::from(high),
        signed: flag(4),
        planar: flag(3),
        big_endian: flag(1),
    };
    // Repeated with a change each time, so that short inputs make pictures with something in common.
    let repeat = |at: u8| rest.iter().map(move |byte| byte.wrapping_add(from.wrapping_add(step.wrapping_mul(at))));
    let raw: Vec<u8> = (0..=times & 63).flat_map(repeat).take(RAW_BYTES_MAX).collect();
    let raw = if times & 63 == 0 && from == 0 { rest } else { &raw };
    let raw_len = u32::try_from(raw.len()).expect("at most 2^16, or an input's length");
    let mut first = None;
    for (name, pixel) in Pixel::paths() {
        let mut payload = b"before".to_vec();
        let encoded = pixel.encode(raw, Some(&shape), Level::new(level), &mut payload);
        assert!(payload.starts_with(b"before"), "{name}");
        let payload = payload.split_off(6);
        assert_eq!(encoded, !payload.is_empty(), "{name}");
        assert!(!encoded || payload.len() < raw.len(), "{name} encodes to more");
        assert!(
            *first.get_or_insert_with(|| payload.clone()) == payload,
            "{name} encodes otherwise than the first path"
        );
        if encoded {
            let mut back = Vec::new();
            assert_eq!(pixel.decode(&payload, raw_len, &mut back), Ok(()), "{name}");
            assert!(back == raw, "{name} decodes to other bytes");
        }
    }
}
