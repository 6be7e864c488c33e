//! Exact bytes of payloads, for ever. See `tests/vectors/pixel/README.md`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::crafted::odd;
use super::images::{bytes, colour, grey, hues, patches, same_again, scan, steps, stripes, text};
use super::{both_ways, decoded};
use crate::codec::{Level, PixelShape};

/// Name, level, shape and bytes of each picture.
fn pictures() -> Vec<(&'static str, Level, PixelShape, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add = |name, level, shape: PixelShape, samples: &[i32]| {
        all.push((name, level, shape, bytes(&shape, samples)));
    };
    let (fast, strong, series) = (Level::FAST, Level::STRONG, Level::SERIES);

    let shape = grey(37, 41, 8);
    add("grey-8", fast, shape, &scan(&shape, 1, 180, 4));
    // Two waves of rows and more, each row longer than the shortest period.
    let shape = grey(70, 121, 8);
    add("grey-8-wide", fast, shape, &scan(&shape, 1, 180, 3));
    let shape = grey(33, 50, 16);
    add("grey-16", fast, shape, &scan(&shape, 1, 3000, 20));
    add("grey-16-strong", strong, shape, &scan(&shape, 1, 3000, 20));
    let big = PixelShape { big_endian: true, ..shape };
    add("big-endian", fast, big, &scan(&shape, 1, 3000, 20));
    let signed = PixelShape { signed: true, bits_stored: 12, high_bit: 11, ..shape };
    add("signed", fast, signed, &scan(&shape, 1, 3000, 20).iter().map(|s| s - 1000).collect::<Vec<_>>());
    let unextended = scan(&shape, 1, 3000, 20).iter().map(|s| (s - 1000) & 0xFFF).collect::<Vec<_>>();
    add("signed-unextended", fast, signed, &unextended);
    let overlay: Vec<_> = scan(&shape, 1, 3000, 20).iter().zip(text(&shape, 1)).map(|(s, o)| s | o << 12).collect();
    add("overlay", fast, PixelShape { signed: false, ..signed }, &overlay);
    let wide: Vec<_> = scan(&shape, 1, 60_000, 2500).iter().map(|s| *s.min(&65_535)).collect();
    add("wide-range", strong, shape, &wide);
    let shape = grey(96, 96, 16);
    add("ten", strong, shape, &stripes(&shape));
    let shape = grey(45, 60, 8);
    add("text", fast, shape, &text(&shape, 200));
    add("nothing", fast, shape, &vec![0; 45 * 60]);
    add("one-value", fast, shape, &vec![77; 45 * 60]);
    let shape = grey(30, 45, 16);
    add("packed", fast, shape, &scan(&shape, 1, 300, 4).iter().map(|s| s * 13).collect::<Vec<_>>());
    let shape = grey(64, 64, 16);
    add("packed-by-frame", fast, shape, &steps(&shape, 3));
    let shape = grey(24, 30, 16);
    add("frames", strong, shape, &scan(&shape, 3, 3000, 20));
    add("reference", series, shape, &same_again(&shape, 6));
    let piece = scan(&grey(40, 30, 16), 2, 3000, 20);
    add("piece-of-frames", strong, grey(40, 30, 16), &piece[30 * 13..30 * 61]);
    let shape = grey(3, 60, 16);
    add("frames-of-three-rows", fast, shape, &scan(&shape, 11, 500, 5));

    let shape = colour(31, 33, 8, false);
    add("colour", fast, shape, &hues(&shape, 1));
    add("palette", fast, shape, &patches(&shape, 1));
    let shape = colour(21, 33, 8, true);
    add("colour-planar", strong, shape, &hues(&shape, 2));
    add("colour-planar-piece", fast, shape, &hues(&shape, 2)[33 * 4..33 * 80]);
    let shape = colour(21, 33, 16, false);
    add("colour-16", fast, shape, &hues(&shape, 1).iter().map(|s| s * 100).collect::<Vec<_>>());
    let green: Vec<_> = hues(&shape, 1).chunks(3).flat_map(|p| [p[1] - p[0] + 99, p[1], p[1] - p[2] + 99]).collect();
    add("colour-alone", fast, colour(21, 33, 8, false), &green);

    let (name, level, shape, mut raw) = all[2].clone();
    assert_eq!(name, "grey-16");
    raw.extend(0..77);
    all.push(("tail", level, shape, raw));
    all
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/pixel").join(format!("{name}.hex"))
}

fn vector(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// `IMGXFER_WRITE_VECTORS=1` writes a vector that is not there, never one that is.
fn assert_vector(name: &str, bytes: &[u8]) {
    if std::env::var_os("IMGXFER_WRITE_VECTORS").is_some() && !path(name).exists() {
        let mut text = String::new();
        for line in bytes.chunks(32) {
            line.iter().for_each(|b| write!(text, "{b:02x}").unwrap());
            text.push('\n');
        }
        std::fs::write(path(name), text).unwrap();
    }
    assert!(vector(name) == bytes, "the bytes of {name} have changed");
}

/// Payloads that no encoder writes, since nothing is predicted well by them, but that a decoder must read.
#[test]
fn odd_payloads_are_read_as_they_were() {
    for kind in 1..=3 {
        let (payload, raw_len) = odd(kind, u64::from(kind));
        let name = format!("odd-{kind}");
        assert_vector(&name, &payload);
        assert_vector(&format!("{name}.raw"), &decoded(&payload, raw_len).unwrap());
    }
}

#[test]
fn payloads_are_what_they_were() {
    for (name, level, shape, raw) in pictures() {
        let payload = both_ways(name, &raw, &shape, level).unwrap_or_else(|| panic!("{name} is declined"));
        assert_vector(&format!("{name}.raw"), &raw);
        assert_vector(name, &payload);
    }
}

#[test]
fn vectors_of_all_times_are_still_read() {
    let folder = path("x").parent().unwrap().to_owned();
    let names: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".hex").map(str::to_owned))
        .filter(|name| !name.ends_with(".raw"))
        .collect();
    assert!(!names.is_empty());
    for name in names {
        let raw = vector(&format!("{name}.raw"));
        assert!(decoded(&vector(&name), raw.len()).as_ref() == Some(&raw), "{name}");
    }
}

/// Each way to code is in one of the vectors; where it stands in a payload is told by `docs/pixel-codec.md`.
#[test]
fn vectors_show_every_way_to_code() {
    let form = |name| {
        let payload = vector(name);
        // Version, flags, two numbers of one byte each, then the form.
        (payload[1], payload[4])
    };
    for (name, expected) in [
        ("grey-8", (0, 0)),
        ("grey-16", (1, 0)),
        ("big-endian", (3, 0)),
        ("overlay", (1, 1)),
        ("palette", (4, 2)),
        ("colour-alone", (4, 4)),
        ("colour-16", (5, 5)),
        ("colour-planar", (12, 6)),
        ("colour-planar-piece", (0, 0)),
    ] {
        assert_eq!(form(name), expected, "{name}");
    }
}
