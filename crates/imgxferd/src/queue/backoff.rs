//! How long to wait before the next try.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// Doubles with each try, from 1 s up to 5 min, less up to a half of it by chance, so that many sites do
/// not come back at the same moment. The same `seed` and `attempt` give the same wait.
pub(crate) fn backoff(seed: u64, attempt: u32) -> Duration {
    let full = FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(LONGEST);
    let half = full / 2;
    // splitmix64: any bits do, as long as neighbours differ.
    let mut x = seed.wrapping_add(u64::from(attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let share = u32::from_le_bytes((x >> 32).to_le_bytes()[..4].try_into().unwrap_or_default());
    half + half.mul_f64(f64::from(share) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes() {
        for seed in 0..200 {
            for (attempt, full) in
                [(0, 1), (1, 1), (2, 2), (3, 4), (8, 128), (9, 256), (10, 300), (40, 300), (u32::MAX, 300)]
            {
                let wait = backoff(seed, attempt);
                let full = Duration::from_secs(full);
                assert!(wait >= full / 2 && wait <= full, "{attempt}: {wait:?}");
                assert_eq!(wait, backoff(seed, attempt));
            }
        }
        assert_ne!(backoff(1, 5), backoff(2, 5));
    }
}
