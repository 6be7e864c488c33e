//! Planes on every path: the same payloads, and the same samples from them.

use super::bits::Reader;
use super::fit::fit;
use super::model::Kind;
use super::plane::Geometry;
use super::simd::Path;
use super::wave::Wave;
use super::wave_payload;

/// A small generator, so that failures repeat.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

const KINDS: [Kind; 4] = [Kind::Median, Kind::Six, Kind::Ten, Kind::Reference];

/// A plane of some size that the wave takes.
fn geometry(numbers: &mut Numbers, kind: Kind) -> Geometry {
    let (widest, most_rows) = if cfg!(miri) { (20, 40) } else { (200, 100) };
    loop {
        let width = 1 + numbers.below(widest);
        let rows = 1 + numbers.below(most_rows);
        let divisors: Vec<usize> = (1..=rows).filter(|n| rows.is_multiple_of(*n)).collect();
        let frame_rows = numbers.one_of(&divisors);
        let back: Vec<usize> = (8..=rows).filter(|n| n % frame_rows == 0).collect();
        if kind == Kind::Reference && back.is_empty() {
            continue;
        }
        let reference_rows = if kind == Kind::Reference { numbers.one_of(&back) } else { 0 };
        let max = numbers.one_of(&[1, 2, 15, 255, 1000, 4095, 32_768, 65_535]);
        let geometry = Geometry { width, rows, frame_rows, reference_rows, max };
        if Wave::suits(&geometry) {
            return geometry;
        }
    }
}

/// Steps, noise of some strength and flat parts.
fn samples(numbers: &mut Numbers, geometry: &Geometry) -> Vec<u16> {
    let strongest = 1 << numbers.below(16);
    let noise = 1 + numbers.below(usize::from(geometry.max).min(strongest));
    let base = numbers.below(usize::from(geometry.max) + 1);
    let slope = numbers.below(8);
    (0..geometry.samples())
        .map(|at| {
            let (row, column) = (at / geometry.width, at % geometry.width);
            let flat = row / 7 % 3 == 0 && column / 11 % 2 == 0;
            let value = if flat { base } else { base + slope * (row + column) + numbers.below(noise) };
            u16::try_from(value % (usize::from(geometry.max) + 1)).unwrap()
        })
        .collect()
}

/// A payload and its geometry, coded on a path.
fn encoded(path: Path, kind: Kind, samples: &[u16], geometry: &Geometry) -> Vec<u8> {
    let mut fitted = fit(samples, geometry, if kind == Kind::Median { Kind::Six } else { kind });
    // Even where another kind would be better.
    fitted.kind = kind;
    let mut payload = Vec::new();
    wave_payload::encode(path, samples, geometry, &fitted, &mut payload);
    payload
}

/// The samples, or none where the payload is malformed.
fn decoded(path: Path, payload: &[u8], geometry: &Geometry) -> Option<Vec<u16>> {
    let mut samples = vec![0; geometry.samples()];
    wave_payload::decode(path, &mut Reader::new(payload), geometry, &mut samples).ok().map(|()| samples)
}

fn cases() -> u64 {
    println!("paths of this processor: {:?}; any other is skipped", Path::all());
    if cfg!(miri) { 8 } else { 80 }
}

#[test]
fn every_path_writes_the_same_and_reads_it() {
    for seed in 0..cases() {
        let mut numbers = Numbers(seed);
        let kind = KINDS[usize::try_from(seed).unwrap() % KINDS.len()];
        let geometry = geometry(&mut numbers, kind);
        let samples = samples(&mut numbers, &geometry);
        let payload = encoded(Path::Plain, kind, &samples, &geometry);
        for path in Path::all() {
            let what = || format!("{path:?}, {kind:?}, {geometry:?}, seed {seed}");
            assert!(payload == encoded(*path, kind, &samples, &geometry), "another payload: {}", what());
            assert!(decoded(*path, &payload, &geometry).as_ref() == Some(&samples), "other samples: {}", what());
        }
    }
}

#[test]
fn every_path_makes_the_same_of_damaged_payloads() {
    for seed in 0..cases() {
        let mut numbers = Numbers(seed ^ 0xDA_3A6E);
        let kind = KINDS[usize::try_from(seed).unwrap() % KINDS.len()];
        let geometry = geometry(&mut numbers, kind);
        let samples = samples(&mut numbers, &geometry);
        let mut payload = encoded(Path::Plain, kind, &samples, &geometry);
        for _ in 0..=numbers.below(3) {
            let at = numbers.below(payload.len());
            payload[at] ^= 1 << numbers.below(8);
        }
        let plain = decoded(Path::Plain, &payload, &geometry);
        for path in Path::all() {
            let same = plain == decoded(*path, &payload, &geometry);
            assert!(same, "{path:?} differs, {kind:?}, {geometry:?}, seed {seed}");
        }
    }
}
