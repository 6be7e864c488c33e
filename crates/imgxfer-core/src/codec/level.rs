//! How hard to compress.

use std::fmt;
use std::str::FromStr;

/// How hard to compress: from 0, not at all, to 4, as small as possible.
///
/// A level is a promise of pace: each codec gives what it can at about that speed, so one choice serves
/// records of every kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// The bytes as they are.
    pub const STORE: Self = Self(0);
    /// As fast as possible.
    pub const FAST: Self = Self(1);
    /// A good ratio at a speed for lines of a gigabit a second and more.
    pub const STRONG: Self = Self(2);
    /// The same, with prediction from the frame before where that helps.
    pub const SERIES: Self = Self(3);
    /// As small as possible, for lines of some megabits a second.
    pub const COPPER: Self = Self(4);
    /// How many there are.
    pub const COUNT: usize = 5;

    /// Clamps to the range.
    #[must_use]
    pub fn new(level: u8) -> Self {
        Self(level.min(Self::COPPER.0))
    }

    /// 0 to 4.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// All levels, ascending.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + Clone {
        (0..=Self::COPPER.0).map(Self)
    }
}

/// Who chooses the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum LevelChoice {
    /// The program, by what the line, this machine and the peer can do.
    #[default]
    Auto,
    /// The user: always this one.
    Fixed(Level),
}

impl LevelChoice {
    /// The level, where it is fixed.
    #[must_use]
    pub const fn fixed(self) -> Option<Level> {
        match self {
            Self::Auto => None,
            Self::Fixed(level) => Some(level),
        }
    }

    /// As a message says it: 0 for [`Auto`](Self::Auto), else one more than the level.
    #[must_use]
    pub fn to_wire(self) -> u32 {
        self.fixed().map_or(0, |level| u32::from(level.get()) + 1)
    }

    /// What a message says. A level that this program does not have is for the program to choose.
    #[must_use]
    pub fn from_wire(number: u32) -> Self {
        Level::all().map(Self::Fixed).find(|choice| choice.to_wire() == number).unwrap_or_default()
    }
}

impl fmt::Display for LevelChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(level) => write!(f, "{}", level.get()),
        }
    }
}

impl FromStr for LevelChoice {
    type Err = NoLevel;

    fn from_str(text: &str) -> Result<Self, NoLevel> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let number: u8 = text.parse().map_err(|_| NoLevel)?;
        let level = Level::new(number);
        if level.get() == number { Ok(Self::Fixed(level)) } else { Err(NoLevel) }
    }
}

/// A text that names no level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a level is auto, or 0 to 4")]
pub struct NoLevel;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_as_it_is_written() {
        assert_eq!("auto".parse(), Ok(LevelChoice::Auto));
        assert_eq!(LevelChoice::Auto.to_wire(), 0);
        assert_eq!([6, u32::MAX].map(LevelChoice::from_wire), [LevelChoice::Auto; 2]);
        for level in Level::all() {
            let choice = LevelChoice::Fixed(level);
            assert_eq!(choice.to_string().parse(), Ok(choice));
            assert_eq!(LevelChoice::from_wire(choice.to_wire()), choice);
        }
        for wrong in ["", "5", "-1", "Auto", "256", "1.0"] {
            assert_eq!(wrong.parse::<LevelChoice>(), Err(NoLevel), "{wrong}");
        }
        assert_eq!(Level::new(9), Level::COPPER);
        assert_eq!(Level::all().count(), Level::COUNT);
    }
}
