//! How far a transfer is, in one line of any width from 40 places on, with numbers that do not jump.

use std::time::Duration;

use imgxfer_core::progress::Progress;
use imgxfer_core::units::human_bytes;

use crate::rates::{Rate, human_rate, human_time, time_left};
use crate::table::{cut, wide};

/// Places of the bar between its brackets.
const BAR: usize = 20;

/// Space between two parts.
const GAP: usize = 2;

/// The parts of the line in the order in which they stand, with what has to give way first: the greatest rank.
fn parts(progress: &Progress, rate: Rate, left: Option<Duration>) -> Vec<(u8, String)> {
    let percent = percent(progress);
    let filled = BAR * usize::from(percent) / 100;
    let mut parts = vec![
        (5, format!("[{}{}]", "=".repeat(filled), " ".repeat(BAR - filled))),
        (0, format!("{percent:>3} %")),
        (
            4,
            format!(
                "{}/{} instances",
                progress.instances_committed,
                progress.instances_expected.max(progress.instances_committed)
            ),
        ),
        (3, format!("{} of {}", human_bytes(progress.bytes_arrived), human_bytes(progress.bytes_expected))),
    ];
    if rate.line_bps > 0.0 {
        parts.push((1, format!("{:>11}", human_rate(rate.effective_bps))));
    }
    if let Some(left) = left.filter(|_| progress.bytes_arrived < progress.bytes_expected) {
        parts.push((2, format!("{} left", human_time(left))));
    }
    if rate.line_bps > 0.0 {
        let all = human_bytes(progress.line_bytes);
        parts.push((6, format!("line {} ({all} in all)", human_rate(rate.line_bps))));
    }
    if let (Some(coded), Some(ratio)) = (progress.coded, progress.ratio()) {
        parts.push((8, format!("{coded}, ratio {ratio:.2}")));
    }
    parts.extend(progress.line.map(|line| (9, line.to_string())));
    if progress.bytes_present > 0 {
        parts.push((7, format!("already there: {}", human_bytes(progress.bytes_present))));
    }
    parts
}

fn percent(progress: &Progress) -> u8 {
    let expected = u128::from(progress.bytes_expected.max(1));
    let percent = u128::from(progress.bytes_arrived).min(expected) * 100 / expected;
    u8::try_from(percent).unwrap_or(100)
}

/// One line of at most `width` places: what matters most is in it, and never half of a part.
pub(crate) fn line(progress: &Progress, rate: Rate, left: Option<Duration>, width: usize) -> String {
    let parts = parts(progress, rate, left);
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|at| parts[*at].0);
    let mut shown = vec![false; parts.len()];
    let mut used = 0;
    for at in order {
        let more = wide(&parts[at].1) + if used > 0 { GAP } else { 0 };
        if used + more <= width {
            used += more;
            shown[at] = true;
        }
    }
    let kept: Vec<&str> = parts.iter().zip(&shown).filter(|(_, shown)| **shown).map(|((_, text), _)| &**text).collect();
    let line = kept.join(&" ".repeat(GAP));
    if wide(&line) > width { cut(&line, width) } else { line }
}

/// The same for a log, where nothing has to line up: how far, how fast, how long still.
pub(crate) fn entry(progress: &Progress, rate: Rate, left: Option<Duration>) -> String {
    let mut kept = parts(progress, rate, left);
    kept.retain(|(rank, _)| *rank < 5);
    kept.iter().map(|(_, text)| text.trim()).collect::<Vec<_>>().join(", ")
}

/// How long it still takes, steadily: it counts down by the clock as long as what is measured says about the same.
#[derive(Debug, Default)]
pub(crate) struct Left(Option<(Duration, Duration)>);

impl Left {
    /// What is shown at `now`; `None` when it cannot be told.
    pub(crate) fn note(&mut self, now: Duration, progress: &Progress, rate: Rate) -> Option<Duration> {
        let Some(measured) = time_left(progress, rate) else {
            self.0 = None;
            return None;
        };
        let counted = self.0.map(|(at, left)| left.saturating_sub(now.saturating_sub(at)));
        let shown = match counted {
            Some(counted) if about_the_same(counted, measured) => counted,
            _ => {
                self.0 = Some((now, measured));
                measured
            }
        };
        Some(rounded(shown))
    }
}

/// Within a quarter, or five seconds.
fn about_the_same(one: Duration, other: Duration) -> bool {
    let (one, other) = (one.as_secs_f64(), other.as_secs_f64());
    (one - other).abs() <= (0.25 * one.max(other)).max(5.0)
}

/// As exact as such a thing can be: seconds up to ten, then five seconds, ten seconds, a minute.
fn rounded(time: Duration) -> Duration {
    let step = match time.as_secs() {
        0..10 => 1.0,
        10..60 => 5.0,
        60..600 => 10.0,
        _ => 60.0,
    };
    Duration::from_secs_f64((time.as_secs_f64() / step).ceil() * step)
}

/// When a line is due where nobody looks at a terminal.
#[derive(Debug, Default)]
pub(crate) struct Every(Duration);

/// Between two lines of a log.
const EVERY: Duration = Duration::from_secs(30);

impl Every {
    /// Whether it is, at `now`, counted from the start.
    pub(crate) fn is_due(&mut self, now: Duration) -> bool {
        let due = now.saturating_sub(self.0) >= EVERY;
        if due {
            self.0 = now;
        }
        due
    }
}

/// Columns of the terminal that talk goes to.
pub(crate) fn talk_width() -> usize {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stderr());
    size.ok().filter(|size| size.ws_col > 0).map_or(80, |size| usize::from(size.ws_col))
}

/// Rates that can be read: each new one counts for more the longer the last is ago.
#[derive(Debug, Default)]
pub(crate) struct Steady(Option<(Duration, Rate)>);

/// A rate that changes for good is shown for the most part after so long.
const SETTLES: Duration = Duration::from_secs(5);

impl Steady {
    /// What is shown at `now`, counted from the start.
    pub(crate) fn note(&mut self, now: Duration, rate: Rate) -> Rate {
        let shown = match self.0 {
            Some((at, before)) if before.line_bps > 0.0 => {
                let old = (-now.saturating_sub(at).as_secs_f64() / SETTLES.as_secs_f64()).exp();
                let mix = |before: f64, now: f64| old * before + (1.0 - old) * now;
                Rate {
                    effective_bps: mix(before.effective_bps, rate.effective_bps),
                    line_bps: mix(before.line_bps, rate.line_bps),
                }
            }
            _ => rate,
        };
        self.0 = Some((now, shown));
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgxfer_core::codec::{CodecId, Level};
    use imgxfer_core::progress::{Coded, LineFigures};

    fn progress() -> Progress {
        let mut progress =
            Progress { instances_expected: 12_345, bytes_expected: 157_000_000_000, ..Progress::default() };
        (progress.bytes_arrived, progress.instances_committed, progress.bytes_present) = (70_700_000_000, 5_432, 1_000);
        (progress.line_bytes, progress.payload_raw_bytes, progress.payload_bytes) = (20_000_000_000, 900, 240);
        progress.coded = Some(Coded { codec: CodecId::ZSTD, level: Some(Level::STRONG) });
        progress.line = Some(LineFigures { carrier: "udp", recent_packets: 2_000, ..LineFigures::default() });
        progress
    }

    const RATE: Rate = Rate { effective_bps: 123_400_000.0, line_bps: 45_600_000.0 };

    #[test]
    fn every_width_from_forty_has_one_line_with_what_matters() {
        let left = Some(Duration::from_secs(5_580));
        for width in 40..300 {
            let line = line(&progress(), RATE, left, width);
            assert!(wide(&line) <= width, "{width}: {line}");
            assert!(line.contains("45 %") && line.contains("Mbit/s") && line.contains("1 h 33 min left"), "{line}");
        }
        assert_eq!(line(&progress(), RATE, left, 40), " 45 %   123 Mbit/s  1 h 33 min left");
        let wide_line = line(&progress(), RATE, left, 80);
        assert_eq!(wide_line, " 45 %  5432/12345 instances  70.7 GB of 157 GB   123 Mbit/s  1 h 33 min left");
        let all = line(&progress(), RATE, left, 300);
        for part in
            ["[=========           ]", "line 45.6 Mbit/s (20.0 GB in all)", "zstd level 2, ratio 3.75", "already there"]
        {
            assert!(all.contains(part), "{part} is not in {all}");
        }
        assert_eq!(
            entry(&progress(), RATE, left),
            "45 %, 5432/12345 instances, 70.7 GB of 157 GB, 123 Mbit/s, 1 h 33 min left"
        );
        assert_eq!(line(&Progress::default(), Rate::default(), None, 40), "  0 %  0/0 instances  0 B of 0 B");
    }

    #[test]
    fn the_time_left_counts_down_and_does_not_jump() {
        let (mut left, mut steady) = (Left::default(), Steady::default());
        let mut progress = Progress { bytes_expected: 100_000_000, ..Progress::default() };
        let mut shown = Vec::new();
        for second in 0..60_u32 {
            progress.bytes_arrived = u64::from(second) * 1_000_000;
            // A line whose rate swings by a fifth from second to second.
            let swing = if second % 2 == 0 { 1.2 } else { 0.8 };
            let rate = Rate { effective_bps: 8_000_000.0 * swing, line_bps: 1.0 };
            let now = Duration::from_secs(second.into());
            let rate = steady.note(now, rate);
            shown.push(left.note(now, &progress, rate).unwrap());
        }
        let rises = shown.windows(2).filter(|two| two[1] > two[0]).count();
        assert!(rises <= 2, "it rises {rises} times: {shown:?}");
        let stalled = Rate::default();
        assert_eq!(left.note(Duration::from_secs(60), &progress, stalled), None);
        let halved = Rate { effective_bps: 800_000.0, line_bps: 1.0 };
        let now = left.note(Duration::from_secs(61), &progress, halved).unwrap();
        assert!(now > Duration::from_secs(300), "what has really changed is told: {now:?}");
    }

    #[test]
    fn rates_are_averaged_over_seconds() {
        let of = |bps: f64| Rate { effective_bps: bps, line_bps: bps };
        let mut steady = Steady::default();
        assert_eq!(steady.note(Duration::ZERO, of(10.0)), of(10.0));
        let at_once = steady.note(Duration::from_millis(100), of(20.0)).effective_bps;
        assert!((10.0..10.5).contains(&at_once), "{at_once}");
        let later = steady.note(Duration::from_secs(15), of(20.0)).effective_bps;
        assert!((19.0..20.0).contains(&later), "{later}");
    }

    #[test]
    fn a_line_is_due_every_thirty_seconds() {
        let mut every = Every::default();
        let at = [0, 10, 29, 30, 31, 59, 60, 200, 229, 230];
        let due: Vec<u64> = at.into_iter().filter(|second| every.is_due(Duration::from_secs(*second))).collect();
        assert_eq!(due, [30, 60, 200, 230]);
    }
}
