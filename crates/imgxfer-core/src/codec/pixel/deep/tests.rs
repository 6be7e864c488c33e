//! Round trips of every shape and content, hostile payloads, and payloads that must never change.

use proptest::prelude::*;

use super::super::plane::Geometry;
use super::{NATURAL, PATTERNS, WITH_REFERENCE, decode, encode, encode_as};

fn plane(width: usize, rows: usize, max: u16) -> Geometry {
    Geometry { width, rows, frame_rows: rows, reference_rows: 0, max }
}

/// Encodes as the encoder likes, and both ways; each must decode to the same samples. Returns the first payload.
fn check(samples: &[u16], geometry: &Geometry) -> Vec<u8> {
    let mut chosen = vec![7];
    encode(samples, geometry, &mut chosen);
    assert_eq!(chosen.remove(0), 7, "what stood in the output stays");
    let flags = if geometry.reference_rows > 0 { WITH_REFERENCE } else { 0 };
    let mut natural = Vec::new();
    encode_as::<NATURAL>(samples, geometry, flags, &mut natural);
    let mut patterns = Vec::new();
    encode_as::<PATTERNS>(samples, geometry, 0, &mut patterns);
    for payload in [&chosen, &natural, &patterns] {
        let mut back = vec![0xA5A5; samples.len()];
        decode(payload, geometry, &mut back).expect("what was encoded decodes");
        assert!(back == samples, "samples differ for {geometry:?}");
    }
    chosen
}

/// A small generator of numbers, the same for ever.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).unwrap()
    }

    fn below(&mut self, end: u32) -> u16 {
        u16::try_from(self.next() % end).unwrap()
    }
}

/// A soft picture with an edge, some noise, and a flat part.
fn picture(geometry: &Geometry, seed: u64) -> Vec<u16> {
    let mut numbers = Numbers(seed);
    let max = u32::from(geometry.max);
    let mut samples = Vec::new();
    for row in 0..geometry.rows {
        let y = row % geometry.frame_rows;
        for x in 0..geometry.width {
            let noise = u32::from(numbers.below(max / 64 + 1));
            let (x, y) = (u32::try_from(x).unwrap(), u32::try_from(y).unwrap());
            let value = if x < 5 {
                0
            } else if x * 2 > y * 3 {
                (x * x + y * 7) / 4 + noise
            } else {
                max / 2 + y + noise
            };
            samples.push(u16::try_from(value.min(max)).unwrap());
        }
    }
    samples
}

fn noise(count: usize, max: u16, seed: u64) -> Vec<u16> {
    let mut numbers = Numbers(seed);
    (0..count).map(|_| numbers.below(u32::from(max) + 1)).collect()
}

#[test]
fn edge_shapes_come_back() {
    for max in [0, 1, 255, 65535] {
        for (width, rows) in [(1, 1), (1, 2), (2, 1), (3, 3), (1, 40), (100, 1), (31, 5), (32, 5), (33, 5), (65, 4)] {
            let geometry = plane(width, rows, max);
            check(&vec![0; width * rows], &geometry);
            check(&vec![max; width * rows], &geometry);
            check(&noise(width * rows, max, 1), &geometry);
            check(&picture(&geometry, 2), &geometry);
        }
    }
}

#[test]
fn frames_and_references_come_back() {
    for (rows, frame_rows, reference_rows) in
        [(40, 10, 10), (40, 10, 20), (40, 10, 30), (40, 10, 40), (40, 40, 40), (37, 10, 10), (7, 1, 1), (7, 1, 3)]
    {
        let geometry = Geometry { width: 37, rows, frame_rows, reference_rows, max: 1000 };
        check(&picture(&geometry, 3), &geometry);
        check(&noise(37 * rows, 1000, 4), &geometry);
    }
}

#[test]
fn extremes_come_back() {
    let geometry = plane(67, 41, 65535);
    let chequers: Vec<u16> = (0..67 * 41).map(|at| if (at % 67 + at / 67) % 2 == 0 { 65535 } else { 0 }).collect();
    check(&chequers, &geometry);
    let stripes: Vec<u16> = (0..67 * 41).map(|at| if at % 3 == 0 { 65535 } else { 0 }).collect();
    check(&stripes, &geometry);
    let bursts: Vec<u16> =
        noise(67 * 41, 65535, 5).into_iter().map(|value| if value < 60000 { 9 } else { value }).collect();
    check(&bursts, &geometry);
}

#[test]
fn structure_is_made_use_of() {
    const SIDE: usize = 96;
    let geometry = plane(SIDE, SIDE, 4095);
    let count = u32::try_from(SIDE * SIDE).unwrap();
    let flat = check(&vec![1234; SIDE * SIDE], &geometry).len();
    assert!(flat < 60, "{flat} bytes for a flat plane");
    let ramp: Vec<u16> = (0..count).map(|at| u16::try_from(at % 96 * 3 + at / 96 * 5).unwrap()).collect();
    let ramp = check(&ramp, &geometry).len();
    assert!(ramp < 200, "{ramp} bytes for a ramp");
    let tile = noise(64, 4095, 6);
    let tiled: Vec<u16> = (0..SIDE * SIDE).map(|at| tile[at % 8 + at / SIDE % 8 * 8]).collect();
    let tiled = check(&tiled, &geometry).len();
    assert!(tiled < 3000, "{tiled} bytes for a pattern that repeats");
    // What is nothing but noise costs hardly more than it must.
    let noise = check(&noise(SIDE * SIDE, 4095, 7), &geometry).len();
    assert!(noise < SIDE * SIDE * 12 / 8 * 105 / 100, "{noise} bytes for noise");
}

#[test]
fn a_reference_saves_what_it_shares() {
    let geometry = Geometry { width: 64, rows: 128, frame_rows: 64, reference_rows: 64, max: 65535 };
    let mut samples = noise(64 * 64, 65535, 8);
    let again: Vec<u16> = samples.clone();
    samples.extend(again);
    let with = check(&samples, &geometry).len();
    assert!(with < 64 * 64 * 2 * 5 / 4, "{with} bytes for one frame of noise twice");
}

#[test]
fn a_large_plane_is_tried_in_bands() {
    for (width, rows) in [(660, 100), (33_000, 2)] {
        let geometry = plane(width, rows, 300);
        let samples = noise(width * rows, 3, 9);
        let mut payload = Vec::new();
        encode(&samples, &geometry, &mut payload);
        let mut back = vec![0; samples.len()];
        decode(&payload, &geometry, &mut back).expect("what was encoded decodes");
        assert!(back == samples);
    }
}

#[test]
fn cut_or_lengthened_payloads_are_refused() {
    let geometry = plane(64, 64, 4095);
    let samples = picture(&geometry, 10);
    let payload = check(&samples, &geometry);
    let mut back = vec![0; samples.len()];
    for len in (0..payload.len()).step_by(61).chain([payload.len() - 1]) {
        assert!(decode(&payload[..len], &geometry, &mut back).is_err(), "cut to {len} of {}", payload.len());
    }
    let mut longer = payload;
    longer.push(0);
    assert!(decode(&longer, &geometry, &mut back).is_err());
}

#[test]
fn unknown_flags_and_impossible_shapes_are_refused() {
    let geometry = plane(8, 8, 255);
    let payload = check(&[3; 64], &geometry);
    let mut back = [0; 64];
    for flags in [WITH_REFERENCE, 4, 8, 128, 255] {
        let mut changed = payload.clone();
        changed[0] = flags;
        assert!(decode(&changed, &geometry, &mut back).is_err());
    }
    for geometry in [
        plane(8, 7, 255),
        Geometry { width: 0, ..geometry },
        Geometry { frame_rows: 0, ..geometry },
        Geometry { frame_rows: 9, ..geometry },
        Geometry { frame_rows: 4, reference_rows: 3, ..geometry },
        Geometry { width: usize::MAX, rows: 3, ..geometry },
    ] {
        assert!(decode(&payload, &geometry, &mut back).is_err(), "{geometry:?}");
    }
}

#[test]
fn payloads_stay_as_they_are() {
    // Digests of what version one of the format wrote; a change here is a new codec number.
    let small = Geometry { width: 45, rows: 60, frame_rows: 30, reference_rows: 30, max: 4095 };
    let samples = picture(&small, 11);
    let mut natural = Vec::new();
    encode_as::<NATURAL>(&samples, &small, WITH_REFERENCE, &mut natural);
    let mut patterns = Vec::new();
    encode_as::<PATTERNS>(&samples, &small, 0, &mut patterns);
    let digests =
        [natural, patterns].map(|payload| format!("{} {}", payload.len(), &blake3::hash(&payload).to_hex()[..16]));
    assert_eq!(digests, ["2207 ea85f4c71ecc004f", "2234 64c542a13c0de4c0"]);
}

fn any_geometry() -> impl Strategy<Value = Geometry> {
    (1..70_usize, 1..30_usize, 1..31_usize, 0..4_usize, any::<u16>(), 0..17_u32).prop_map(
        |(width, rows, frame_rows, back, max, drop)| {
            let frame_rows = frame_rows.min(rows);
            let max = max.checked_shr(drop).unwrap_or(0);
            Geometry { width, rows, frame_rows, reference_rows: back * frame_rows, max }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_plane_comes_back(geometry in any_geometry(), seed: u64, kind in 0..4) {
        let count = geometry.width * geometry.rows;
        let samples = match kind {
            0 => noise(count, geometry.max, seed),
            1 => picture(&geometry, seed),
            2 => noise(count, geometry.max.min(3), seed),
            _ => noise(count, geometry.max, seed).iter().map(|value| if value % 5 == 0 { *value } else { geometry.max / 3 }).collect(),
        };
        check(&samples, &geometry);
    }

    #[test]
    fn any_bytes_decode_to_something_or_nothing(geometry in any_geometry(), mut payload in prop::collection::vec(any::<u8>(), 0..2000), flags in 0..4_u8) {
        if let Some(first) = payload.first_mut() {
            *first = flags;
        }
        let mut samples = vec![0; geometry.width * geometry.rows];
        let _ = decode(&payload, &geometry, &mut samples);
        prop_assert!(samples.iter().all(|sample| *sample <= geometry.max));
    }

    #[test]
    fn a_damaged_payload_does_no_harm(seed: u64, at in 1..10_000_usize, bits in 1..256_u32) {
        let geometry = Geometry { width: 60, rows: 40, frame_rows: 20, reference_rows: 20, max: 60_000 };
        let mut payload = Vec::new();
        encode(&picture(&geometry, seed), &geometry, &mut payload);
        let at = at % payload.len();
        payload[at] ^= u8::try_from(bits).unwrap();
        let mut samples = vec![0; 2400];
        let _ = decode(&payload, &geometry, &mut samples);
        prop_assert!(samples.iter().all(|sample| *sample <= geometry.max));
    }
}
