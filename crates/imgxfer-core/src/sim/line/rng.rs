//! Random numbers that are the same on every machine.

/// `SplitMix64` (Steele, Lea and Flood, 2014): good enough for lines, and one number of state.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

/// Numbers that a double tells apart in [0, 1).
const STEPS: f64 = (1_u64 << 53) as f64;

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        crate::units::to_f64(self.next() >> 11) / STEPS
    }

    /// Exponentially distributed, with mean 1.
    pub(super) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}
