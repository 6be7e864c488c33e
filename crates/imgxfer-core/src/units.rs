//! Conversions between sizes that are right by construction, each in one place.

/// A length or count as `u64`. Lossless: no supported target has pointers over 64 bits.
#[must_use]
pub const fn to_u64(n: usize) -> u64 {
    n as u64
}

/// A length as `usize`, saturating where the machine's pointers are smaller.
///
/// For sizes that a limit has already bounded, or that only serve as a hint.
#[must_use]
pub fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// A length as `u32`, saturating: for lengths that a limit keeps far below 4 GiB.
#[must_use]
pub fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A quantity as `f64`, for rates and ratios that are shown to people. Exact up to 2^53.
#[must_use]
pub const fn to_f64(n: u64) -> f64 {
    n as f64
}

/// The whole part of a quantity that is not negative; saturating.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts from floats saturate")]
pub const fn to_whole(quantity: f64) -> u64 {
    quantity as u64
}

/// Mbit/s as bytes a second (powers of 1,000).
#[must_use]
pub const fn bytes_of_mbit(mbit: f64) -> u64 {
    to_whole(mbit * 125_000.0 + 0.5)
}

/// Bytes a second as Mbit/s (powers of 1,000).
#[must_use]
pub const fn mbit_of_bytes(bytes_a_second: u64) -> f64 {
    to_f64(bytes_a_second) / 125_000.0
}

/// `bytes` in the unit that suits a person: `812 B`, `1.4 MB`, `5.20 GB` (powers of 1,000).
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    let mut value = to_f64(bytes);
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn human_bytes_keeps_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.00 kB"),
            (1_440_000, "1.44 MB"),
            (52_300_000_000, "52.3 GB"),
            (999_600, "1.00 MB"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}
