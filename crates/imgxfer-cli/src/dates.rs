//! Dates: what people type, and what DICOM writes.

use jiff::civil::Date;

/// A range of study dates, `YYYYMMDD`, both inclusive; an open end is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DateRange {
    /// First day.
    pub(crate) from: Option<String>,
    /// Last day.
    pub(crate) to: Option<String>,
}

/// Reads `DATE`, `FROM-TO`, `FROM-` or `-TO`, each date as `20260102` or `2026-01-02`.
pub(crate) fn parse_range(text: &str) -> Result<DateRange, String> {
    let text = text.trim();
    if let Ok(day) = day(text) {
        return Ok(DateRange { from: Some(day.clone()), to: Some(day) });
    }
    // The dash between the two stands where a date ends, so try each.
    for (at, _) in text.match_indices('-') {
        let (from, to) = (&text[..at], &text[at + 1..]);
        let open = |part: &str| if part.trim().is_empty() { Ok(None) } else { day(part).map(Some) };
        if let (Ok(from), Ok(to)) = (open(from), open(to)) {
            if from.is_none() && to.is_none() {
                break;
            }
            if from.is_some() && to.is_some() && from > to {
                return Err("the range ends before it begins".to_owned());
            }
            return Ok(DateRange { from, to });
        }
    }
    Err("expected YYYYMMDD or a range FROM-TO such as 20260101-20260131".to_owned())
}

fn day(text: &str) -> Result<String, ()> {
    let text = text.trim();
    let format = match text.len() {
        8 if text.bytes().all(|b| b.is_ascii_digit()) => "%Y%m%d",
        10 => "%Y-%m-%d",
        _ => return Err(()),
    };
    let date = Date::strptime(format, text).map_err(|_| ())?;
    Ok(date.strftime("%Y%m%d").to_string())
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
        ] {
            assert_eq!(parse_range(text), range(from, to), "{text}");
        }
        for wrong in ["", "-", "yesterday", "20261301", "20260230", "2026", "20260131-20260101", "20260101-x"] {
            assert!(parse_range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn dates_are_shown() {
        assert_eq!(iso("20260102"), "2026-01-02");
        assert_eq!(iso("2026"), "2026");
        assert_eq!(iso(""), "");
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(expiry(0), "1970-01-01T00:00:00Z");
        assert_eq!(expiry(253_402_300_799), "never");
    }
}
