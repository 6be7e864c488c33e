//! Limits of rate by day and hour, in the machine's local time.

use std::ops::Range;

use imgxfer_core::units::{bytes_of_mbit, mbit_of_bytes};
use jiff::civil::{DateTime, Weekday};

use super::origin::{ConfigError, Place};
use super::raw;

/// Lowest limit: below it a record takes minutes, and a transfer looks as if it stood still.
const MBPS_MIN: f64 = 0.1;
/// Highest limit: more is a mistake in the unit.
const MBPS_MAX: f64 = 400_000.0;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_MINUTES: u16 = 24 * 60;

/// Rules of which the first that holds sets the limit. Without rules, or when none holds, there is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schedule {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// Days on which it begins, Monday first.
    days: [bool; 7],
    /// From this minute of the day up to that one; over midnight when the end is not behind the beginning.
    minutes: Range<u16>,
    bytes_a_second: u64,
    /// As it was written.
    text: String,
}

impl Schedule {
    /// One limit at all hours, in Mbit/s.
    #[must_use]
    pub fn always(mbps: f64) -> Self {
        let text = format!("{mbps} Mbit/s");
        let rule = Rule { days: [true; 7], minutes: 0..DAY_MINUTES, bytes_a_second: bytes_of_mbit(mbps), text };
        Self { rules: vec![rule] }
    }

    /// The limit at a time, in bytes a second.
    #[must_use]
    pub fn at(&self, time: DateTime) -> Option<u64> {
        let minute = u16::try_from(i32::from(time.hour()) * 60 + i32::from(time.minute())).unwrap_or(0);
        self.rules.iter().find(|rule| rule.holds(time.weekday(), minute)).map(|rule| rule.bytes_a_second)
    }

    /// The rules, one text each.
    pub(super) fn texts(&self) -> Vec<String> {
        self.rules.iter().map(|rule| rule.text.clone()).collect()
    }

    /// Checks rules as they were written.
    pub(super) fn resolve(key: &str, place: &Place, rules: Vec<raw::Limit>) -> Result<Self, ConfigError> {
        let rules = rules.into_iter().map(|rule| resolve(key, place, &rule)).collect::<Result<_, _>>()?;
        Ok(Self { rules })
    }
}

impl Rule {
    fn holds(&self, day: Weekday, minute: u16) -> bool {
        let on = |day: Weekday| self.days[usize::from(day.to_monday_zero_offset().unsigned_abs())];
        let Range { start, end } = self.minutes;
        if start < end {
            return on(day) && (start..end).contains(&minute);
        }
        // What begins in the evening goes on in the next day's morning.
        (minute >= start && on(day)) || (minute < end && on(day.previous()))
    }
}

fn resolve(key: &str, place: &Place, rule: &raw::Limit) -> Result<Rule, ConfigError> {
    let wrong = |what: &str, span, problem| ConfigError::new(place.at(span), format!("{key}.{what}"), problem);
    let mut minutes = 0..DAY_MINUTES;
    let mut text = String::new();
    if let Some(days) = &rule.days {
        text += &format!("{} ", days.as_ref());
    }
    if let Some(hours) = &rule.hours {
        minutes = parse_hours(hours.as_ref()).ok_or_else(|| {
            let problem = format!("{:?} are no hours; write for example \"08:00-18:00\"", hours.as_ref());
            wrong("hours", hours.span(), problem)
        })?;
        text += &format!("{} ", hours.as_ref());
    }
    let days = match &rule.days {
        None => [true; 7],
        Some(days) => parse_days(days.as_ref()).ok_or_else(|| {
            let problem = format!("{:?} are no days; write for example \"mon-fri\" or \"sat,sun\"", days.as_ref());
            wrong("days", days.span(), problem)
        })?,
    };
    let bytes_a_second = check_mbps(*rule.mbps.as_ref()).map_err(|problem| wrong("mbps", rule.mbps.span(), problem))?;
    text += &format!("{} Mbit/s", mbit_of_bytes(bytes_a_second));
    Ok(Rule { days, minutes, bytes_a_second, text })
}

/// Mbit/s as bytes a second, if it is a sensible limit.
pub(crate) fn check_mbps(mbps: f64) -> Result<u64, String> {
    if (MBPS_MIN..=MBPS_MAX).contains(&mbps) {
        return Ok(bytes_of_mbit(mbps));
    }
    Err(format!("{mbps} is not within {MBPS_MIN} and {MBPS_MAX} (Mbit/s)"))
}

fn parse_hours(text: &str) -> Option<Range<u16>> {
    let minute = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let digits = |text: &str| (text.len() == 2).then(|| text.parse::<u16>().ok())?;
        let (hour, minute) = (digits(hour)?, digits(minute)?);
        (minute < 60 && hour * 60 + minute <= DAY_MINUTES).then_some(hour * 60 + minute)
    };
    let (from, to) = text.split_once('-')?;
    let hours = minute(from)?..minute(to)?;
    // The same time twice could mean a day or no time at all.
    (hours.start != hours.end && hours.start < DAY_MINUTES).then_some(hours)
}

fn parse_days(text: &str) -> Option<[bool; 7]> {
    let number = |day: &str| DAYS.iter().position(|name| name.eq_ignore_ascii_case(day.trim()));
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        // From Friday to Monday goes over the end of the week.
        let count = (last + 7 - first) % 7 + 1;
        (first..first + count).for_each(|day| days[day % 7] = true);
    }
    Some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(days: &str, hours: &str, rate: u64) -> Rule {
        let (days, minutes) = (parse_days(days).unwrap(), parse_hours(hours).unwrap());
        Rule { days, minutes, bytes_a_second: rate, text: String::new() }
    }

    #[test]
    fn the_first_rule_that_holds_counts() {
        let rules =
            vec![rule("mon-fri", "08:00-18:00", 1), rule("fri", "22:00-06:00", 2), rule("sat-mon", "00:00-24:00", 3)];
        let schedule = Schedule { rules };
        // The 23rd of November 2026 is a Monday.
        let at = |day: i8, hour: i8, minute: i8| schedule.at(jiff::civil::date(2026, 11, day).at(hour, minute, 0, 0));
        assert_eq!([at(23, 7, 59), at(23, 8, 0), at(23, 17, 59), at(23, 18, 0)], [Some(3), Some(1), Some(1), Some(3)]);
        assert_eq!([at(24, 7, 59), at(24, 12, 0), at(24, 22, 30)], [None, Some(1), None]);
        // Friday's night goes on into Saturday, and no other night does.
        assert_eq!([at(27, 21, 59), at(27, 22, 0), at(28, 5, 59), at(28, 6, 0)], [None, Some(2), Some(2), Some(3)]);
        assert_eq!([at(27, 5, 0), at(29, 5, 0)], [None, Some(3)]);
        assert_eq!(Schedule::default().at(jiff::civil::date(2026, 11, 23).at(0, 0, 0, 0)), None);
        assert_eq!(Schedule::always(4.0).at(jiff::civil::date(2026, 11, 23).at(23, 59, 59, 0)), Some(500_000));
    }

    #[test]
    fn hours_and_days_are_read() {
        assert_eq!(parse_hours("08:00-18:30"), Some(480..1110));
        assert_eq!(parse_hours("22:00 - 24:00"), Some(1320..1440));
        for wrong in
            ["", "8:00-18:00", "08:00", "08:00-08:00", "24:00-01:00", "08:60-09:00", "23:00-24:01", "-1:00-02:00"]
        {
            assert_eq!(parse_hours(wrong), None, "{wrong}");
        }
        assert_eq!(parse_days("Mon-Wed, sun"), Some([true, true, true, false, false, false, true]));
        assert_eq!(parse_days("sat-mon"), Some([true, false, false, false, false, true, true]));
        for wrong in ["", "monday", "mon-", "mon;tue"] {
            assert_eq!(parse_days(wrong), None, "{wrong}");
        }
    }
}
