//! Dates: what people type, and what DICOM writes.

use jiff::civil::Date;
use jiff::{ToSpan as _, Zoned};

/// A range of study dates, `YYYYMMDD`, both inclusive; an open end is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DateRange {
    /// First day.
    pub(crate) from: Option<String>,
    /// Last day.
    pub(crate) to: Option<String>,
}

impl DateRange {
    /// The same as DICOM asks for it (PS3.4 section C.2.2.2.5).
    pub(crate) fn asked(&self) -> String {
        format!("{}-{}", self.from.as_deref().unwrap_or_default(), self.to.as_deref().unwrap_or_default())
    }
}

/// Reads `DATE`, `FROM-TO`, `FROM-` or `-TO`, each as `20260102`, `2026-01-02`, `2026-11`, `today` or `yesterday`; and
/// `-7d`, `2w`, `3m`, `1y`: from so many days, weeks, months or years ago up to today.
pub(crate) fn parse_range(text: &str) -> Result<DateRange, String> {
    range_on(text, Zoned::now().date())
}

fn range_on(text: &str, today: Date) -> Result<DateRange, String> {
    let text = text.trim();
    let range = |from: Option<Date>, to: Option<Date>| {
        let dicom = |date: Date| date.strftime("%Y%m%d").to_string();
        DateRange { from: from.map(dicom), to: to.map(dicom) }
    };
    if let Some((first, last)) = days(text, today) {
        return Ok(range(Some(first), Some(last)));
    }
    if let Some(first) = back(text, today) {
        return Ok(range(Some(first), Some(today)));
    }
    // The dash between the two stands where a date ends, so try each.
    for (at, _) in text.match_indices('-') {
        let (from, to) = (text[..at].trim(), text[at + 1..].trim());
        let open = |part: &str| if part.is_empty() { Some(None) } else { days(part, today).map(Some) };
        if let (Some(from), Some(to)) = (open(from), open(to)) {
            let (from, to) = (from.map(|(first, _)| first), to.map(|(_, last)| last));
            if from.is_none() && to.is_none() {
                break;
            }
            if from.is_some() && to.is_some() && from > to {
                return Err("the range ends before it begins".to_owned());
            }
            return Ok(range(from, to));
        }
    }
    Err("expected a day (2026-01-02, today, yesterday), a month (2026-01), a range FROM-TO, or how long ago (7d, 2w)"
        .to_owned())
}

/// A day, or the first and last of a month.
fn days(text: &str, today: Date) -> Option<(Date, Date)> {
    let one = |date: Date| Some((date, date));
    match text {
        "today" => return one(today),
        "yesterday" => return one(today.yesterday().ok()?),
        _ => {}
    }
    match text.len() {
        8 if text.bytes().all(|b| b.is_ascii_digit()) => one(Date::strptime("%Y%m%d", text).ok()?),
        10 => one(Date::strptime("%Y-%m-%d", text).ok()?),
        7 => {
            let first = Date::strptime("%Y-%m-%d", format!("{text}-01")).ok()?;
            Some((first, first.last_of_month()))
        }
        _ => None,
    }
}

/// The day so long ago: `7d`, `-7d`, `2w`, `3m`, `1y`.
fn back(text: &str, today: Date) -> Option<Date> {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: i64 = number.parse().ok().filter(|n| (1..=10_000).contains(n))?;
    let span = match unit {
        "d" => number.days(),
        "w" => number.weeks(),
        "m" => number.months(),
        "y" => number.years(),
        _ => return None,
    };
    today.checked_sub(span).ok()
}

/// A DICOM date as ISO 8601; anything else as it is.
pub(crate) fn iso(date: &str) -> String {
    match Date::strptime("%Y%m%d", date) {
        Ok(date) => date.to_string(),
        Err(_) => date.to_owned(),
    }
}

/// Seconds since 1970 as date and time, UTC.
pub(crate) fn utc(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// Seconds since 1970 as date and time of this machine's time zone.
pub(crate) fn local(seconds: i64) -> String {
    let shown =
        |time: jiff::Timestamp| time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string();
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), shown)
}

/// How long ago something was, both in seconds since 1970.
pub(crate) fn ago(now: i64, at: i64) -> String {
    match now.saturating_sub(at) {
        ..10 => "just now".to_owned(),
        seconds @ 10..60 => format!("{seconds} s ago"),
        seconds @ 60..3_600 => format!("{} min ago", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h ago", seconds / 3_600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

/// When a certificate runs out; "never" for the date that says so (RFC 5280 section 4.1.2.5).
pub(crate) fn expiry(seconds: i64) -> String {
    // 9999-12-31 23:59:59 and what is beyond a calendar.
    if seconds >= 253_402_214_400 { "never".to_owned() } else { utc(seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let today = jiff::civil::date(2026, 3, 31);
        let range = |from: &str, to: &str| {
            let open = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            Ok(DateRange { from: open(from), to: open(to) })
        };
        for (text, from, to) in [
            ("20260102", "20260102", "20260102"),
            ("2026-01-02", "20260102", "20260102"),
            ("20260101-20260131", "20260101", "20260131"),
            ("2026-01-01-2026-01-31", "20260101", "20260131"),
            ("2026-01-01 - 20260131", "20260101", "20260131"),
            ("20260101-", "20260101", ""),
            ("-2026-01-31", "", "20260131"),
            ("today", "20260331", "20260331"),
            ("yesterday", "20260330", "20260330"),
            ("yesterday-today", "20260330", "20260331"),
            ("2026-02", "20260201", "20260228"),
            ("2025-12-2026-02", "20251201", "20260228"),
            ("2026-02-", "20260201", ""),
            ("-7d", "20260324", "20260331"),
            ("7d", "20260324", "20260331"),
            ("2w", "20260317", "20260331"),
            ("1m", "20260228", "20260331"),
            ("-1y", "20250331", "20260331"),
        ] {
            assert_eq!(range_on(text, today), range(from, to), "{text}");
        }
        for wrong in [
            "",
            "-",
            "tomorrow",
            "20261301",
            "20260230",
            "2026",
            "2026-13",
            "20260131-20260101",
            "20260101-x",
            "0d",
            "d",
            "7",
            "-7x",
            "99999d",
            "7d-today",
            "today-yesterday",
        ] {
            assert!(range_on(wrong, today).is_err(), "{wrong}");
        }
    }

    #[test]
    fn dates_are_shown() {
        assert_eq!(iso("20260102"), "2026-01-02");
        assert_eq!(iso("2026"), "2026");
        assert_eq!(iso(""), "");
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        for (seconds, shown) in [(0, "just now"), (59, "59 s ago"), (600, "10 min ago"), (172_799, "47 h ago")] {
            assert_eq!(ago(seconds + 5, 5), shown);
        }
        assert_eq!((ago(5, 9), ago(172_800, 0)), ("just now".to_owned(), "2 days ago".to_owned()));
        assert_eq!(local(0).len(), "1970-01-01 00:00".len());
        assert_eq!(expiry(0), "1970-01-01T00:00:00Z");
        assert_eq!(expiry(253_402_300_799), "never");
    }
}
