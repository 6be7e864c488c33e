//! Which frames of an instance are meant.

use std::fmt;
use std::str::FromStr;

use crate::units::to_u64;

/// Runs of frames in one text.
const RUNS_MAX: usize = 100_000;

/// Numbers of frames, counted from 1 as DICOM counts them (PS3.3 section 10.3, Referenced Frame Number). There is at
/// least one; each is there once.
///
/// Written as people write them:
///
/// ```
/// use imgxfer_core::dicom::FrameNumbers;
/// let frames: FrameNumbers = "7, 1,5-6".parse()?;
/// assert_eq!(frames.to_string(), "1,5-7");
/// assert_eq!(frames.iter().collect::<Vec<_>>(), [1, 5, 6, 7]);
/// # Ok::<(), imgxfer_core::dicom::BadFrameNumbers>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FrameNumbers {
    /// First and last of each run, ascending; between two runs a number is missing.
    runs: Vec<(u32, u32)>,
}

/// Why something does not say which frames are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected numbers of frames from 1 on, such as 1 or 1,5-7")]
#[non_exhaustive]
pub struct BadFrameNumbers;

#[expect(clippy::len_without_is_empty, reason = "there is always a frame")]
impl FrameNumbers {
    /// One frame.
    ///
    /// # Errors
    /// [`BadFrameNumbers`] for 0.
    pub fn one(number: u32) -> Result<Self, BadFrameNumbers> {
        Self::of_runs([(number, number)])
    }

    /// All frames of these runs, each given by its first and its last, in any order.
    ///
    /// # Errors
    /// [`BadFrameNumbers`] when there is none, one begins with 0 or ends before it begins, or there are over 100,000.
    pub fn of_runs(runs: impl IntoIterator<Item = (u32, u32)>) -> Result<Self, BadFrameNumbers> {
        let mut given = Vec::new();
        for (first, last) in runs {
            if first == 0 || last < first || given.len() == RUNS_MAX {
                return Err(BadFrameNumbers);
            }
            given.push((first, last));
        }
        given.sort_unstable();
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for (first, last) in given {
            match runs.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => runs.push((first, last)),
            }
        }
        if runs.is_empty() { Err(BadFrameNumbers) } else { Ok(Self { runs }) }
    }

    /// First and last of each run, ascending; between two runs a number is missing.
    #[must_use]
    pub fn runs(&self) -> &[(u32, u32)] {
        &self.runs
    }

    /// Each number, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.runs.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.runs.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// The highest number.
    #[must_use]
    pub fn last(&self) -> u32 {
        self.runs.last().map_or(0, |(_, last)| *last)
    }

    /// The first `count`, and those behind them; either is `None` where there are none.
    #[must_use]
    pub fn split_at(&self, count: usize) -> (Option<Self>, Option<Self>) {
        let (mut front, mut back, mut left) = (Vec::new(), Vec::new(), to_u64(count));
        for (first, last) in &self.runs {
            let len = u64::from(last - first) + 1;
            let taken = len.min(left);
            left -= taken;
            // Within a run, so that it fits.
            let end = first.saturating_add(u32::try_from(taken).unwrap_or(u32::MAX));
            if taken > 0 {
                front.push((*first, if taken == len { *last } else { end - 1 }));
            }
            if taken < len {
                back.push((end, *last));
            }
        }
        let some = |runs: Vec<_>| (!runs.is_empty()).then_some(Self { runs });
        (some(front), some(back))
    }
}

impl fmt::Display for FrameNumbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.runs.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            write!(f, "{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for FrameNumbers {
    type Err = BadFrameNumbers;

    fn from_str(text: &str) -> Result<Self, BadFrameNumbers> {
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| BadFrameNumbers);
        let run = |part: &str| match part.split_once('-') {
            Some((first, last)) => Ok((number(first)?, number(last)?)),
            None => number(part).map(|number| (number, number)),
        };
        let runs = text.split(',').take(RUNS_MAX + 1).map(run).collect::<Result<Vec<_>, _>>()?;
        Self::of_runs(runs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_are_read_as_people_write_them() {
        for (text, read) in [
            ("1", "1"),
            ("3,2,1", "1-3"),
            ("1, 5-7 ,6", "1,5-7"),
            ("5-7,1-5", "1-7"),
            ("1-4294967295,7", "1-4294967295"),
        ] {
            let frames: FrameNumbers = text.parse().unwrap();
            assert_eq!(frames.to_string(), read);
            assert_eq!(frames.len(), frames.runs().iter().map(|(a, b)| u64::from(b - a) + 1).sum::<u64>());
        }
        for wrong in ["", "0", "0-3", "3-2", "-1", "1-", "1,,2", "1;2", "a", "4294967296", "1-2-3"] {
            assert_eq!(wrong.parse::<FrameNumbers>(), Err(BadFrameNumbers), "{wrong}");
        }
        assert!(FrameNumbers::one(0).is_err());
        assert_eq!(FrameNumbers::one(u32::MAX).unwrap().last(), u32::MAX);
    }

    proptest! {
        #[test]
        fn any_numbers_are_told_again_and_parted(numbers in prop::collection::btree_set(1u32..60, 1..40), at in 0usize..50) {
            let frames = FrameNumbers::of_runs(numbers.iter().rev().map(|n| (*n, *n))).unwrap();
            let all: Vec<u32> = numbers.into_iter().collect();
            prop_assert!(frames.iter().eq(all.iter().copied()));
            prop_assert_eq!(frames.to_string().parse::<FrameNumbers>(), Ok(frames.clone()));
            let (front, back) = frames.split_at(at);
            let list = |part: Option<FrameNumbers>| part.map_or_else(Vec::new, |part| part.iter().collect());
            prop_assert_eq!(list(front), all[..at.min(all.len())].to_vec());
            prop_assert_eq!(list(back), all[at.min(all.len())..].to_vec());
        }
    }
}
