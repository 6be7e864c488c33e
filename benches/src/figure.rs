//! One measured quantity with what it should be.

use std::fmt;

use serde::Serialize;

use crate::cost::median;

/// What a figure must reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Bar {
    /// Nothing: it is shown beside others.
    None,
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// Neither less than the one nor more than the other.
    Between(f64, f64),
}

impl Bar {
    /// Whether a value reaches it; `None` where there is nothing to reach.
    #[must_use]
    pub fn met_by(self, value: f64) -> Option<bool> {
        match self {
            Self::None => None,
            Self::AtLeast(least) => Some(value >= least),
            Self::AtMost(most) => Some(value <= most),
            Self::Between(least, most) => Some((least..=most).contains(&value)),
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("-"),
            Self::AtLeast(least) => write!(f, ">= {least}"),
            Self::AtMost(most) => write!(f, "<= {most}"),
            Self::Between(least, most) => write!(f, "{least} to {most}"),
        }
    }
}

/// A quantity, measured some times.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// On what it was measured.
    pub on: String,
    /// What it is, with its unit.
    pub what: String,
    /// One value for each seed or round.
    pub values: Vec<f64>,
    /// Their middle.
    pub median: f64,
    /// What it must reach.
    pub bar: Bar,
    /// Whether it does.
    pub met: Option<bool>,
}

impl Figure {
    /// The middle of `values` is held against `bar`.
    #[must_use]
    pub fn new(on: &str, what: &str, values: Vec<f64>, bar: Bar) -> Self {
        let median = median(&values);
        Self { on: on.to_owned(), what: what.to_owned(), median, bar, met: bar.met_by(median), values }
    }

    /// The least and the most.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        let least = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (least, most)
    }

    /// In a word.
    #[must_use]
    pub fn mark(&self) -> &'static str {
        match self.met {
            None => "",
            Some(true) => "pass",
            Some(false) => "MISS",
        }
    }
}

/// A table in Markdown.
#[must_use]
pub fn table(figures: &[Figure]) -> String {
    let mut text = "| on | what | median | least to most | bar | |\n|---|---|---|---|---|---|\n".to_owned();
    for figure in figures {
        let (least, most) = figure.range();
        let [median, least, most] = [figure.median, least, most].map(short);
        let Figure { on, what, bar, .. } = figure;
        text += &format!("| {on} | {what} | {median} | {least} to {most} | {bar} | {} |\n", figure.mark());
    }
    text
}

/// Three digits that matter, four for shares close to 1.
#[must_use]
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 2.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_held_against_its_bar() {
        let met = |bar| Figure::new("a line", "share", vec![0.5, 0.9, 0.7], bar).met;
        assert_eq!(met(Bar::None), None);
        assert_eq!(met(Bar::AtLeast(0.7)), Some(true));
        assert_eq!(met(Bar::AtMost(0.6)), Some(false));
        assert_eq!(met(Bar::Between(0.65, 0.75)), Some(true));
    }

    #[test]
    fn a_table_shows_the_middle_and_the_range() {
        let table = table(&[Figure::new("a", "b", vec![1.0, 300.0, 20.0], Bar::AtLeast(30.0))]);
        assert!(table.ends_with("| a | b | 20.0 | 1.000 to 300 | >= 30 | MISS |\n"), "{table}");
    }
}
