//! Every codec: on any payload it neither panics nor writes more than it was told; what it encodes it
//! decodes to the same bytes.

use imgxfer_core::codec::{Level, PixelShape, Registry};
use imgxfer_core::limits::RECORD_RAW_BYTES_MAX;

/// The first bytes choose length, level and shape; the rest is payload and content.
pub fn check(data: &[u8]) {
    let Some((&[a, b, c, level, columns, bits], rest)) = data.split_first_chunk::<6>() else { return };
    let raw_len = u32::from_le_bytes([a, b, c, 0]).min(RECORD_RAW_BYTES_MAX);
    let bits_allocated = [1, 8, 16, 32][usize::from(bits & 3)];
    let shape = PixelShape {
        rows: 16,
        columns: u32::from(columns) + 1,
        samples: if bits & 4 == 0 { 1 } else { 3 },
        bits_allocated,
        bits_stored: (u16::from(bits >> 3) + 1).min(bits_allocated),
        high_bit: u16::from(bits >> 3).min(bits_allocated - 1),
        signed: level & 0x10 != 0,
        planar: level & 0x20 != 0,
        big_endian: level & 0x40 != 0,
    };
    let registry = Registry::default();
    for id in registry.ids() {
        let codec = registry.get(id).expect("it was listed");
        let mut out = b"before".to_vec();
        let decoded = codec.decode(rest, raw_len, &mut out);
        assert!(out.len() <= 6 + raw_len as usize);
        assert!(decoded.is_err() || out.len() == 6 + raw_len as usize);

        let (mut payload, mut back) = (Vec::new(), Vec::new());
        let shape = (level & 0x80 == 0).then_some(&shape);
        if codec.encode(rest, shape, Level::new(level & 0x0f), &mut payload) {
            let len = u32::try_from(rest.len()).expect("inputs are short");
            codec.decode(&payload, len, &mut back).expect("a codec reads what it writes");
            assert_eq!(back, rest);
        } else {
            assert!(payload.is_empty(), "what does not suit is left as it was");
        }
    }
}
