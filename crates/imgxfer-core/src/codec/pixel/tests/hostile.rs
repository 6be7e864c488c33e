//! Payloads that no encoder wrote.

use super::crafted::{odd, zeros};
use super::images::{Numbers, bytes, colour, grey, hues, patches, same_again, scan, steps};
use super::{Pixel, both_ways, decoded};
use crate::codec::{Codec, Level, PixelShape};

/// Small payloads of every form, and how many bytes they stand for.
fn payloads() -> Vec<(&'static str, Vec<u8>, usize)> {
    let of = |name, level, shape: PixelShape, samples: Vec<i32>| {
        let raw = bytes(&shape, &samples);
        (name, both_ways(name, &raw, &shape, level).unwrap(), raw.len())
    };
    let (small, frames) = (grey(20, 30, 8), grey(10, 20, 16));
    let split = PixelShape { bits_stored: 12, high_bit: 11, ..grey(20, 30, 16) };
    let overlay = scan(&split, 1, 3000, 9).iter().enumerate().map(|(at, s)| s | i32::from(at % 7 == 0) << 12).collect();
    let colours = colour(20, 30, 8, false);
    vec![
        of("grey", Level::FAST, small, scan(&small, 1, 200, 3)),
        of("split", Level::FAST, split, overlay),
        of("reference", Level::SERIES, frames, same_again(&frames, 9)),
        of("packed", Level::FAST, small, scan(&small, 1, 30, 1).iter().map(|s| s * 7).collect()),
        of("by frame", Level::FAST, grey(64, 64, 16), steps(&grey(64, 64, 16), 2)),
        of("palette", Level::FAST, colours, patches(&colours, 1)),
        of("colour", Level::FAST, colours, hues(&colours, 1)),
        of("deep", Level::COPPER, small, scan(&small, 1, 200, 3)),
        of("deep colour", Level::COPPER, colour(10, 20, 8, true), hues(&colour(10, 20, 8, true), 1)),
    ]
}

#[test]
fn cut_and_lengthened_payloads_are_refused() {
    for (name, mut payload, raw_len) in payloads() {
        let step = (payload.len() / 60).max(1);
        for end in (0..payload.len()).step_by(step).chain([payload.len() - 1]) {
            assert_eq!(decoded(&payload[..end], raw_len), None, "{name} cut to {end}");
        }
        payload.push(0);
        assert_eq!(decoded(&payload, raw_len), None, "{name} with a byte more");
    }
}

#[test]
fn other_lengths_give_that_length_or_an_error() {
    for (_, payload, raw_len) in payloads() {
        for lie in [0, 1, raw_len - 1, raw_len + 1, raw_len * 2, raw_len / 2, 1 << 20, (1 << 20) + 1, u32::MAX as usize]
        {
            decoded(&payload, lie);
        }
    }
}

#[test]
fn every_path_makes_the_same_of_damage() {
    let mut numbers = Numbers(2026);
    for (_, payload, raw_len) in payloads() {
        // All bytes of the beginning, where the tables are, and some of the rest.
        let dense = payload.len().min(if cfg!(debug_assertions) { 40 } else { 1200 });
        let some: Vec<usize> = (0..60).map(|_| numbers.below(payload.len())).collect();
        for at in (0..dense).chain(some) {
            let mut damaged = payload.clone();
            damaged[at] ^= 1 << numbers.below(8);
            decoded(&damaged, raw_len);
        }
        for _ in 0..if cfg!(debug_assertions) { 20 } else { 400 } {
            let mut damaged = payload.clone();
            for _ in 0..=numbers.below(8) {
                let at = numbers.below(damaged.len());
                damaged[at] = numbers.next() as u8;
            }
            decoded(&damaged, raw_len);
        }
    }
}

/// Sums that wrap, samples above the largest, bounds out of order.
#[test]
fn any_weights_and_bounds_give_the_same_on_every_path() {
    for seed in 0..if cfg!(debug_assertions) { 4 } else { 100 } {
        for kind in 0..=3 {
            let (payload, raw_len) = odd(kind, seed);
            assert!(decoded(&payload, raw_len).is_some(), "kind {kind}, seed {seed}");
        }
    }
}

/// Pictures that leave most lanes idle are refused, whatever else the payload says.
#[test]
fn work_is_bounded_by_the_length() {
    for (columns, rows, taken) in [(64, 64, true), (1, 500, true), (1, 1000, false), (20, 4000, false)] {
        let payload = zeros(0, [columns, rows, rows], 1);
        assert_eq!(decoded(&payload, columns * rows).is_some(), taken, "{columns} columns, {rows} rows");
        let payload = zeros(4, [columns, rows, rows], 3);
        assert_eq!(decoded(&payload, 3 * columns * rows).is_some(), taken, "{columns} columns, {rows} rows");
    }
}

/// A head that says nothing can be of one pixel.
#[test]
fn shapes_that_cannot_be_are_refused() {
    // Version, flags, columns, rows of a frame, form, flip, offset (two bytes), max, all samples 0.
    let payload = |flags, columns, rows| [1, flags, columns, rows, 0, 0, 0, 0, 0, 0];
    assert_eq!(decoded(&payload(0, 10, 10), 100), Some(vec![0; 100]));
    for (flags, columns, rows) in
        [(0, 0, 10), (0, 10, 0), (0, 0, 0), (0, 10, 9), (0, 101, 1), (2, 10, 10), (8, 10, 10), (16, 10, 10)]
    {
        assert_eq!(decoded(&payload(flags, columns, rows), 100), None, "{flags} {columns} {rows}");
    }
    let mut other = payload(0, 10, 10);
    other[0] = 2;
    assert_eq!(decoded(&other, 100), None);
}

/// Lists of values that are longer than the plane, or have something behind them.
#[test]
fn lists_take_no_more_than_their_samples() {
    let with = |lists: u8, runs: &[u8]| {
        let mut block = Vec::new();
        super::super::pack::put_block(runs, &mut block);
        // Four frames of 50 rows and 100 columns.
        decoded(&[&[1, 0, 100, 50, 0, 0, lists][..], &block, &[0, 0]].concat(), 20_000)
    };
    assert_eq!(with(1, &[8, 1, 0]), Some(vec![7; 20_000]));
    assert_eq!(with(4, &[8, 1, 0, 1, 1, 0, 4, 2, 0, 2, 1, 0]).map(|raw| raw[19_999]), Some(1));
    for (lists, runs) in [
        (1, &[8, 1, 0, 0][..]),
        (1, &[8, 1]),
        (1, &[8, 0, 0]),
        (1, &[0]),
        (2, &[8, 1, 0, 8, 1, 0]),
        (4, &[8, 1, 0, 1, 1, 0, 1, 1, 0]),
        (4, &[1, 0x89, 0x27, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0]),
        (1, &[1, 0xA1, 0x9C, 1, 0]),
        (1, &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 1, 0]),
    ] {
        assert_eq!(with(lists, runs), None, "{lists} lists: {runs:?}");
    }
    assert_eq!(with(1, &vec![1; 1 << 20]), None);
    // A list for each frame of a few samples.
    let mut block = Vec::new();
    super::super::pack::put_block(&[8, 1, 0, 8, 1, 0], &mut block);
    assert_eq!(decoded(&[&[1, 0, 40, 5, 0, 0, 2][..], &block, &[0, 0]].concat(), 400), None);
}

#[test]
fn arbitrary_bytes_are_no_payload() {
    let mut numbers = Numbers(99);
    for round in 0..2000 {
        let mut payload: Vec<u8> = (0..numbers.below(80)).map(|_| numbers.next() as u8).collect();
        let head = [1, numbers.next() as u8 & 15, 40, 5, [0, 1, 2, 4, 5, 6][round % 6]];
        payload.splice(0..0, head);
        decoded(&payload, 400 + 200 * (round % 4));
    }
}

/// Levels that are none of the coder's do not make it fail.
#[test]
fn nothing_is_encoded_without_a_shape() {
    let mut out = Vec::new();
    assert!(!Pixel::default().encode(&[0; 100], None, Level::FAST, &mut out));
    assert!(!Pixel::default().encode(&[0; 100], Some(&grey(10, 10, 8)), Level::STORE, &mut out));
    assert!(!Pixel::default().encode(&vec![0; (1 << 20) + 1], Some(&grey(10, 10, 8)), Level::FAST, &mut out));
    assert!(out.is_empty());
}
