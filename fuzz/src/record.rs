//! Records, and the decoders of all codecs on any payload.

use bytes::Bytes;
use imgxfer_core::codec::Registry;
use imgxfer_core::wire::record::Record;

/// See the module.
pub fn check(data: &[u8]) {
    let registry = Registry::default();
    let decode = |id, payload: &[u8], raw_len: u32| {
        let mut out = Vec::new();
        if let Ok(codec) = registry.get(id)
            && codec.decode(payload, raw_len, &mut out).is_ok()
        {
            assert_eq!(out.len(), raw_len as usize);
        }
    };
    if let Ok(record) = Record::decode(Bytes::copy_from_slice(data)) {
        decode(record.header().codec, record.payload(), record.header().raw_len());
    }
    // A record with a right check is hard to hit upon: payloads are tried by themselves too.
    if let [a, b, payload @ ..] = data {
        for id in registry.ids() {
            decode(id, payload, u32::from(u16::from_le_bytes([*a, *b])));
        }
    }
}
