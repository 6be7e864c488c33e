//! Whole payloads: every shape of pixel data, both ways, on every path.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "small numbers of tests"
)]

mod crafted;
mod golden;
mod hostile;
mod images;
mod round_trip;

use super::Pixel;
use crate::codec::{Codec, Level, PixelShape};
use crate::units::to_u32;

/// Encodes on every path, which must give the same; decodes on every path, which must give the bytes back.
/// `None` when the coder declines.
fn both_ways(what: &str, raw: &[u8], shape: &PixelShape, level: Level) -> Option<Vec<u8>> {
    let mut paths = Pixel::paths();
    if level == Level::COPPER {
        // The deep model is slow, and has one path.
        paths.truncate(1);
    }
    let encode = |(name, pixel): &(&'static str, Pixel)| {
        let mut out = b"before".to_vec();
        let encoded = pixel.encode(raw, Some(shape), level, &mut out);
        assert!(out.starts_with(b"before"), "{what}, {name}");
        assert_eq!(encoded, out.len() > 6, "{what}, {name}: what is declined leaves nothing");
        encoded.then(|| out.split_off(6))
    };
    let payload = encode(&paths[0]);
    for path in &paths[1..] {
        assert!(encode(path) == payload, "{what}: {} encodes to other bytes, {shape:?} {level:?}", path.0);
    }
    let payload = payload?;
    assert!(payload.len() < raw.len(), "{what}: {} bytes from {}", payload.len(), raw.len());
    for (name, pixel) in &paths {
        let mut out = b"before".to_vec();
        let decoded = pixel.decode(&payload, to_u32(raw.len()), &mut out);
        assert_eq!(decoded, Ok(()), "{what}, {name}: {shape:?} {level:?}");
        assert!(out.starts_with(b"before") && &out[6..] == raw, "{what}, {name}: other bytes, {shape:?} {level:?}");
    }
    Some(payload)
}

/// What each path makes of a payload: the same bytes, or an error on all.
fn decoded(payload: &[u8], raw_len: usize) -> Option<Vec<u8>> {
    let mut results = Pixel::paths().into_iter().map(|(name, pixel)| {
        let mut out = Vec::new();
        let result = pixel.decode(payload, to_u32(raw_len), &mut out);
        assert!(out.len() <= raw_len, "{name}: more bytes than asked for");
        assert!(result.is_err() || out.len() == raw_len, "{name}: fewer bytes than asked for");
        (name, result.is_ok().then_some(out))
    });
    let (_, first) = results.next().expect("there is the plain path");
    for (name, result) in results {
        assert!(result == first, "{name} decodes otherwise than the plain path");
    }
    first
}
