//! Lines with names: what hospitals and practices have.

use super::LineParams;
use std::str::FromStr;
use std::time::Duration;

/// A line in both directions. Seen from a hospital: `up` is what it sends.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LineProfile {
    /// From the hospital.
    pub up: LineParams,
    /// To the hospital.
    pub down: LineParams,
}

/// No line has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no line is called {0:?}; there are {names}", names = LineProfile::NAMES.join(", "))]
pub struct UnknownProfile(String);

impl LineProfile {
    /// Names that [`LineProfile::from_str`] knows.
    ///
    /// | name | Mbit/s down/up | round trip | loss | queue |
    /// |---|---|---|---|---|
    /// | `adsl` | 8 / 0.8 | 30 ms | 0.1 % | 150 ms |
    /// | `fttc` | 40 / 10 | 20 ms | 0.05 % | 100 ms |
    /// | `bad-copper` | 4 / 0.5 | 60 ms, up to 10 more | 1 % in bursts of 2 | 300 ms |
    /// | `lte` | 30 / 8 | 50 ms, up to 20 more | 0.1 % in bursts of 3 | 400 ms |
    /// | `fibre100` | 100 / 100 | 10 ms | | 50 ms |
    /// | `fibre1g` | 1,000 / 1,000 | 10 ms | | 20 ms |
    /// | `fibre1g-far` | 1,000 / 1,000 | 80 ms | | 20 ms |
    /// | `fibre10g` | no limit | 5 ms | | |
    pub const NAMES: &[&str] = &["adsl", "fttc", "bad-copper", "lte", "fibre100", "fibre1g", "fibre1g-far", "fibre10g"];

    /// Two directions.
    #[must_use]
    pub fn new(up: LineParams, down: LineParams) -> Self {
        Self { up, down }
    }

    /// The same both ways.
    #[must_use]
    pub fn symmetric(line: LineParams) -> Self {
        Self { up: line.clone(), down: line }
    }

    /// Changes both directions.
    #[must_use]
    pub fn map(self, change: impl Fn(LineParams) -> LineParams) -> Self {
        Self { up: change(self.up), down: change(self.down) }
    }
}

/// Rates in kbit/s, round trip and queue in ms.
fn line(down_kbps: u64, up_kbps: u64, rtt_ms: u64, queue_ms: u64) -> LineProfile {
    let one_way = |kbps: u64| {
        LineParams::new(kbps * 1_000, Duration::from_micros(rtt_ms * 500)).with_queue(Duration::from_millis(queue_ms))
    };
    LineProfile { up: one_way(up_kbps), down: one_way(down_kbps) }
}

impl FromStr for LineProfile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, UnknownProfile> {
        Ok(match name {
            "adsl" => line(8_000, 800, 30, 150).map(|l| l.with_loss(0.001, 1.0)),
            "fttc" => line(40_000, 10_000, 20, 100).map(|l| l.with_loss(0.000_5, 1.0)),
            "bad-copper" => {
                line(4_000, 500, 60, 300).map(|l| l.with_loss(0.01, 2.0).with_jitter(Duration::from_millis(5)))
            }
            "lte" => {
                line(30_000, 8_000, 50, 400).map(|l| l.with_loss(0.001, 3.0).with_jitter(Duration::from_millis(10)))
            }
            "fibre100" => line(100_000, 100_000, 10, 50),
            "fibre1g" => line(1_000_000, 1_000_000, 10, 20),
            "fibre1g-far" => line(1_000_000, 1_000_000, 80, 20),
            "fibre10g" => Self::symmetric(LineParams { delay: Duration::from_micros(2_500), ..LineParams::default() }),
            unknown => return Err(UnknownProfile(unknown.to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_line() {
        for name in LineProfile::NAMES {
            assert!(name.parse::<LineProfile>().is_ok(), "{name}");
        }
        let adsl: LineProfile = "adsl".parse().unwrap();
        assert_eq!((adsl.down.rate_bps, adsl.up.rate_bps), (Some(8_000_000), Some(800_000)));
        assert_eq!(adsl.up.delay, Duration::from_millis(15));
        let error = "dsl".parse::<LineProfile>().unwrap_err();
        assert!(error.to_string().contains("bad-copper"), "{error}");
    }
}
