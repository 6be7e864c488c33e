//! What goes in comes out, or is declined: for every shape of pixel data.

use proptest::prelude::*;

use super::both_ways;
use super::images::{Numbers, bytes, colour, grey, hues, patches, same_again, scan, steps, text};
use crate::codec::{Level, PixelShape};

/// All levels; whether any of them took it.
fn at_all_levels(what: &str, raw: &[u8], shape: &PixelShape) -> bool {
    let taken: Vec<bool> = Level::all().map(|level| both_ways(what, raw, shape, level).is_some()).collect();
    taken.contains(&true)
}

#[test]
fn samples_of_other_kinds_are_declined() {
    let ramp: Vec<u8> = (0..96 * 96).map(|at| (at / 96) as u8).collect();
    for (samples, bits, taken) in [
        (1, 8, true),
        (1, 16, true),
        (3, 8, true),
        (3, 16, true),
        (0, 8, false),
        (2, 8, false),
        (4, 8, false),
        (3, 1, false),
        (1, 1, false),
        (1, 0, false),
        (1, 12, false),
        (1, 32, false),
        (1, 64, false),
    ] {
        let shape = PixelShape { samples, bits_allocated: bits, ..grey(32, 32, 8) };
        assert_eq!(at_all_levels("kind", &ramp, &shape), taken, "{samples} samples of {bits} bits");
    }
}

#[test]
fn lengths_that_do_not_fit_are_taken_or_declined() {
    let shape = grey(20, 40, 16);
    let raw = bytes(&shape, &scan(&shape, 3, 2000, 5));
    for (start, end) in [(0, 1), (0, 79), (0, 80), (0, 81), (0, 1600), (80, 2400), (1, 4800), (80 * 19, 80 * 21 + 7)] {
        at_all_levels("piece", &raw[start..end], &shape);
    }
    at_all_levels("nothing", &[], &shape);
    for (rows, columns) in [(0, 40), (20, 0), (u32::MAX, 40), (20, u32::MAX), (u32::MAX, u32::MAX), (1, 1), (1600, 1)] {
        at_all_levels("odd shape", &raw, &PixelShape { rows, columns, ..shape });
        at_all_levels("odd shape", &raw, &PixelShape { rows, columns, ..colour(1, 1, 8, true) });
    }
}

#[test]
fn pictures_of_one_pixel_and_of_narrow_rows_come_back() {
    for (rows, columns) in [(1, 1), (1, 2), (2, 1), (3, 3), (1, 300), (300, 1), (33, 2), (31, 5), (65, 120)] {
        for bits in [8, 16] {
            let shape = grey(rows, columns, bits);
            at_all_levels("small", &bytes(&shape, &scan(&shape, 2, 200, 2)), &shape);
            let shape = colour(rows, columns, bits, rows % 2 == 0);
            at_all_levels("small colour", &bytes(&shape, &hues(&shape, 1)), &shape);
        }
    }
}

#[test]
fn noise_of_full_range_is_declined() {
    let mut numbers = Numbers(1);
    let raw: Vec<u8> = (0..40 * 50 * 2).map(|_| numbers.next() as u8).collect();
    for shape in [grey(40, 50, 16), grey(40, 50, 8), colour(10, 50, 8, false), colour(10, 50, 16, true)] {
        assert!(!at_all_levels("noise", &raw, &shape), "{shape:?}");
    }
}

#[test]
fn what_says_nothing_costs_next_to_nothing() {
    for (bits, value) in [(8, 0), (8, 255), (16, 0), (16, 0x1234), (16, 0xFFFF)] {
        for shape in [grey(40, 50, bits), colour(40, 50, bits, false)] {
            let samples = vec![value; 40 * 50 * usize::from(shape.samples)];
            let payload = both_ways("constant", &bytes(&shape, &samples), &shape, Level::FAST).unwrap();
            assert!(payload.len() < 64, "{} bytes, {shape:?}", payload.len());
        }
    }
}

/// Bits stored and high bit are hints, which may lie.
#[test]
fn any_bits_stored_and_high_bit_come_back() {
    let plain = grey(24, 40, 16);
    let samples = scan(&plain, 1, 3000, 9);
    for signed in [false, true] {
        for (bits_stored, high_bit) in
            [(12, 11), (12, 15), (16, 15), (1, 0), (0, 0), (17, 16), (12, 4), (8, 40), (65_535, 65_535)]
        {
            let shape = PixelShape { signed, bits_stored, high_bit, ..plain };
            for above in [0, 0x1000, 0xF000] {
                let samples: Vec<_> = samples.iter().map(|s| if signed { s - 700 } else { s | above }).collect();
                assert!(both_ways("bits", &bytes(&shape, &samples), &shape, Level::FAST).is_some(), "{shape:?}");
            }
        }
    }
}

#[test]
fn steps_of_each_frames_own_are_packed_by_frame() {
    let shape = grey(64, 64, 16);
    let raw = bytes(&shape, &steps(&shape, 4));
    let by_frame = both_ways("by frame", &raw, &shape, Level::STRONG).unwrap();
    // Said to be one picture, the same bytes are packed together or not at all.
    let together = both_ways("together", &raw, &grey(256, 64, 16), Level::STRONG).unwrap();
    // Version, flags, columns, rows, form, flip; then how many lists.
    assert_eq!((by_frame[4], by_frame[5], by_frame[6]), (0, 0, 4));
    assert!(by_frame.len() * 10 < together.len() * 9, "{} by frame, {} together", by_frame.len(), together.len());
}

/// Small frames in which almost every value occurs once: lists that are longer than the samples.
#[test]
fn lists_as_long_as_the_frames_come_back() {
    for (rows, columns, step) in [(8, 32, 250), (2, 32, 1000), (64, 64, 16), (1, 64, 1000)] {
        let shape = grey(rows, columns, 16);
        let frame = (rows * columns).cast_signed();
        let samples: Vec<_> =
            (0..8192).map(|at| ((at % frame) * step + at / frame * 57 + (at / frame * 13) % 40) % 65_536).collect();
        at_all_levels("long lists", &bytes(&shape, &samples), &shape);
    }
}

#[test]
fn overlays_text_and_palettes_come_back() {
    let shape = PixelShape { bits_stored: 12, high_bit: 11, ..grey(45, 60, 16) };
    let below = scan(&shape, 1, 3000, 20);
    for planes in 1..=4 {
        let overlays: Vec<_> = (0..planes).map(|at| text(&shape, 0x1000 << at)).collect();
        let samples: Vec<_> =
            below.iter().enumerate().map(|(at, s)| overlays.iter().fold(*s, |s, overlay| s | overlay[at])).collect();
        assert!(at_all_levels("overlay", &bytes(&shape, &samples), &shape));
    }
    for planar in [false, true] {
        for frames in [1, 3] {
            let shape = colour(30, 40, 8, planar);
            assert!(at_all_levels("palette", &bytes(&shape, &patches(&shape, frames)), &shape));
            assert!(at_all_levels("hues", &bytes(&shape, &hues(&shape, frames)), &shape));
        }
    }
    let shape = grey(60, 90, 8);
    assert!(at_all_levels("text", &bytes(&shape, &text(&shape, 255)), &shape));
}

/// Two thirds of the bytes that rows and columns ask for, as `YBR_FULL_422` has.
#[test]
fn half_colour_comes_back() {
    let shape = colour(40, 60, 8, false);
    let raw = bytes(&shape, &hues(&shape, 1));
    assert!(at_all_levels("4:2:2", &raw[..40 * 60 * 2], &shape));
}

#[test]
fn like_frames_are_coded_from_the_one_before() {
    let shape = grey(24, 30, 16);
    let raw = bytes(&shape, &same_again(&shape, 6));
    let strong = both_ways("alone", &raw, &shape, Level::STRONG).map_or(raw.len(), |payload| payload.len());
    let series = both_ways("series", &raw, &shape, Level::SERIES).unwrap().len();
    assert!(series * 5 < strong * 4, "{series} with a reference, {strong} without");
}

/// What fills a picture in the property below.
fn content(kind: u8, shape: &PixelShape, frames: usize, seed: u64) -> Vec<i32> {
    let plain = PixelShape { samples: 1, columns: shape.columns * u32::from(shape.samples), ..*shape };
    let mut numbers = Numbers(seed);
    match kind {
        0 => scan(&plain, frames, 1 << numbers.below(17), 1 << numbers.below(9)),
        1 => steps(&plain, frames),
        2 => same_again(&plain, frames),
        3 => text(&plain, 1 << numbers.below(16)).repeat(frames),
        4 if shape.samples == 3 => patches(shape, frames),
        5 if shape.samples == 3 => hues(shape, frames),
        6 => scan(&plain, frames, 4000, 5).iter().map(|s| s - 2000).collect(),
        _ => {
            let bits = numbers.below(17);
            let samples = frames * plain.rows as usize * plain.columns as usize;
            (0..samples).map(|_| numbers.below(1 << bits) as i32).collect()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_shape_bytes_come_back(
        (rows, columns, frames) in (1u32..40, 1u32..130, 1usize..4),
        (samples, bits) in (prop_oneof![3 => Just(1u16), 2 => Just(3)], prop_oneof![2 => Just(16u16), 1 => Just(8)]),
        (bits_stored, high_bit) in (0u16..20, 0u16..20),
        (signed, planar, big_endian) in any::<(bool, bool, bool)>(),
        (kind, seed, level) in (0u8..8, any::<u64>(), 1u8..=4),
        (start, cut) in (0usize..300, 0usize..300),
    ) {
        let shape = PixelShape { rows, columns, samples, bits_allocated: bits, bits_stored, high_bit, signed, planar, big_endian };
        let raw = bytes(&shape, &content(kind, &shape, frames, seed));
        // Most pieces begin with a row, as the cutter sees to.
        let row = columns as usize * usize::from(samples) * usize::from(bits / 8);
        let start = if seed % 8 == 0 { start } else { start / 10 * row }.min(raw.len());
        let end = raw.len().saturating_sub(if seed % 2 == 0 { cut } else { 0 }).max(start);
        both_ways("any", &raw[start..end], &shape, Level::new(level));
    }
}
