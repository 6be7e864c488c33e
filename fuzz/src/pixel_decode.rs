//! The pixel decoder on any payload and any length: exactly that many bytes or an error, and the same on
//! every path of the processor.

use imgxfer_core::codec::{Codec, Pixel};

/// Three bytes of length, then the payload.
pub fn check(data: &[u8]) {
    let Some((&[a, b, c], payload)) = data.split_first_chunk::<3>() else { return };
    let raw_len = u32::from_le_bytes([a, b, c, 0]);
    let mut first = None;
    for (name, pixel) in Pixel::paths() {
        let mut out = b"before".to_vec();
        let decoded = pixel.decode(payload, raw_len, &mut out);
        assert!(out.starts_with(b"before") && out.len() <= 6 + raw_len as usize, "{name}");
        assert!(decoded.is_err() || out.len() == 6 + raw_len as usize, "{name}");
        let result = decoded.is_ok().then_some(out);
        assert!(*first.get_or_insert_with(|| result.clone()) == result, "{name} decodes otherwise than the first path");
    }
}
