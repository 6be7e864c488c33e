//! The logistic domain: tables from probabilities to their logits and back, in integers alone.

/// Largest logit, in 256ths.
const LOGIT_MAX: i64 = 3071;

/// 2^32 times exp(-1/256), rounded down.
const DECAY: u64 = 4_278_222_805;

const SQUASH_LEN: usize = 2 * 3071 + 1;

/// 16-bit probability at each logit from -[`LOGIT_MAX`] to [`LOGIT_MAX`].
static SQUASH: [u16; SQUASH_LEN] = squash_table();
/// Logit in the middle of each 4096th of probability.
static STRETCH: [i16; 4096] = stretch_table();

/// The probability, of 65536, whose logit is `logit` 256ths. From 1 to 65535.
#[inline]
pub(super) fn squash(logit: i64) -> u32 {
    let index = logit.clamp(-LOGIT_MAX, LOGIT_MAX) + LOGIT_MAX;
    u32::from(SQUASH[index as usize])
}

/// The logit, in 256ths, of a probability of 65536.
#[inline]
pub(super) fn stretch(probability: u32) -> i32 {
    i32::from(STRETCH[(probability >> 4) as usize & 4095])
}

const fn squash_table() -> [u16; SQUASH_LEN] {
    let mut table = [0_u16; SQUASH_LEN];
    let mut power: u64 = 1 << 32;
    let mut logit = 0;
    while logit <= SQUASH_LEN / 2 {
        let high = (1_u64 << 48) / ((1 << 32) + power);
        table[SQUASH_LEN / 2 + logit] = high as u16;
        table[SQUASH_LEN / 2 - logit] = (65536 - high) as u16;
        power = (power * DECAY) >> 32;
        logit += 1;
    }
    table
}

const fn stretch_table() -> [i16; 4096] {
    let squash = squash_table();
    let mut table = [0_i16; 4096];
    let mut at = 0;
    let mut index = 0;
    while index < 4096 {
        while at < SQUASH_LEN - 1 && (squash[at] as usize) < index * 16 + 8 {
            at += 1;
        }
        table[index] = at as i16 - 3071;
        index += 1;
    }
    table
}
