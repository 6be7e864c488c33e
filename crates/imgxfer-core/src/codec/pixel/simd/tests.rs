//! Every vector set against its definition.

#[cfg(target_arch = "x86_64")]
use super::{Avx2, Avx512};
use super::{LANES, Sixteen, Vector};

/// A small generator, so that failures repeat.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = (self.0 >> 32) as u32;
        // Small and large numbers alike.
        x >> (self.0 >> 27 & 31)
    }
    fn lanes(&mut self) -> [u32; LANES] {
        std::array::from_fn(|_| self.next())
    }
}

fn out<S: Vector>(s: S, v: S::V) -> [u32; LANES] {
    let mut to = [0; LANES];
    s.store(v, &mut to);
    to
}

fn truth<S: Vector>(s: S, m: S::M) -> [u32; LANES] {
    out(s, s.select(m, s.splat(1), s.splat(0)))
}

/// Results of all operations on some numbers.
#[inline(always)]
fn all_of<S: Vector>(s: S, seed: u64) -> Vec<Vec<u32>> {
    let mut numbers = Numbers(seed);
    let (x, y) = (numbers.lanes(), numbers.lanes());
    let (a, b) = (s.load(&x), s.load(&y));
    let count = s.load(&x.map(|n| n % 33));
    let table: [u32; 64] = std::array::from_fn(|_| numbers.next());
    let words: [u16; LANES] = std::array::from_fn(|n| (numbers.next() as u16) ^ n as u16);
    let bits = numbers.next() as u16;
    let m = s.mask(bits);
    let mut seen: Vec<Vec<u32>> = [
        s.splat(x[0]),
        s.load_u16(&words),
        s.add(a, b),
        s.sub(a, b),
        s.mul(a, b),
        s.mul_high(a, b),
        s.and(a, b),
        s.or(a, b),
        s.xor(a, b),
        s.min_i(a, b),
        s.max_i(a, b),
        s.shl::<5>(a),
        s.shr::<16>(a),
        s.sar::<13>(a),
        s.shl_by(a, count),
        s.shr_by(b, count),
        s.ilog2(s.load(&x.map(|n| (n & 0xFF_FFFF).max(1)))),
        s.select(m, a, b),
        s.lookup(&s.table(&x), b),
        s.gather(&table, a),
        s.gather_u16(&words, s.load(&x.map(|n| n % 15))),
        s.shift_from(a, b),
    ]
    .into_iter()
    .map(|v| out(s, v).to_vec())
    .collect();
    seen.extend([s.eq(a, s.load(&x.map(|n| n & !1))), s.gt_i(a, b), s.lt_u(a, b), m].map(|m| truth(s, m).to_vec()));
    seen.push(vec![s.last(a)]);
    let (refilled, taken) = s.refill(m, a, &words);
    seen.push(out(s, refilled).to_vec());
    let mut spilled = [0; LANES];
    let (left, put) = s.spill(m, a, &mut spilled);
    seen.push(out(s, left).to_vec());
    seen.push(spilled[LANES - put..].iter().map(|w| u32::from(*w)).collect());
    seen.push(vec![taken as u32, put as u32]);
    let mut narrow = [0; LANES];
    s.store_u16(a, &mut narrow);
    seen.push(narrow.iter().map(|w| u32::from(*w)).collect());
    let rows: [[u32; LANES]; LANES] = std::array::from_fn(|_| numbers.lanes());
    seen.extend(s.transpose(rows.map(|r| s.load(&r))).map(|v| out(s, v).to_vec()));
    seen
}

#[test]
#[cfg(target_arch = "x86_64")]
fn all_vector_sets_agree() {
    let (avx2, avx512) = (Avx2::detect(), Avx512::detect());
    for (name, there) in [("AVX2", avx2.is_some()), ("AVX-512", avx512.is_some())] {
        if !there {
            println!("skipped: this processor has no {name}");
        }
    }
    for seed in 0..200 {
        let defined = all_of(Sixteen, seed);
        if let Some(s) = avx2 {
            assert_eq!(defined, all_of(s, seed), "AVX2 differs, seed {seed}");
        }
        if let Some(s) = avx512 {
            assert_eq!(defined, all_of(s, seed), "AVX-512 differs, seed {seed}");
        }
    }
}
