//! Values of text as an index keeps them: without padding and control characters, bounded (PS3.5 sections 6.1.3 and 6.2).

use std::borrow::Cow;

use super::ValueKind;
use super::fold::tidy_name;
use super::matching::date;

/// Longest value that is kept, in bytes.
const VALUE_BYTES_MAX: usize = 256;

/// Longest attribute, in bytes.
const ATTRIBUTE_BYTES_MAX: usize = 1024;

/// Stands for `\` where that is a character of text and separates nothing.
const BACKSLASH_IN_TEXT: char = '＼';

/// Decoded values of an attribute, between which `\` stands, as they are kept: padding and control characters taken off,
/// each at most 256 bytes and all together at most 1,024. What does not fit behind others is left out.
pub(super) fn values(kind: ValueKind, text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(ATTRIBUTE_BYTES_MAX));
    for (at, value) in text.split('\\').enumerate() {
        let start = out.len();
        if at > 0 {
            out.push('\\');
        }
        push(kind, value, &mut out);
        if out.len() > ATTRIBUTE_BYTES_MAX {
            out.truncate(start);
            break;
        }
    }
    // Places of values have a meaning (PS3.3 section C.7.6.1.1.2), but for empty ones at the end.
    out.truncate(out.trim_end_matches('\\').len());
    out
}

/// Decoded text of a VR that has one value (ST, LT, UT), as it is kept.
pub(super) fn one(text: &str) -> String {
    if text.contains('\\') {
        return values(ValueKind::Text, &text.replace('\\', BACKSLASH_IN_TEXT.encode_utf8(&mut [0; 4])));
    }
    values(ValueKind::Text, text)
}

/// Distinct values of several elements, each decoded, as they are kept.
pub(super) fn distinct<'a>(kind: ValueKind, texts: impl Iterator<Item = Cow<'a, str>>) -> String {
    let mut out = String::new();
    for text in texts {
        text.split('\\').for_each(|value| push_new(kind, value, &mut out));
    }
    out
}

/// Appends a value, and `\` before it, where it is none of those that are there and fits.
fn push_new(kind: ValueKind, value: &str, out: &mut String) {
    let end = out.len();
    if end > 0 {
        out.push('\\');
    }
    let start = out.len();
    push(kind, value, out);
    let (there, new) = (out.get(..end).unwrap_or(""), out.get(start..).unwrap_or(""));
    if new.is_empty() || out.len() > ATTRIBUTE_BYTES_MAX || there.split('\\').any(|one| one == new) {
        out.truncate(end);
    }
}

/// Appends one value.
fn push(kind: ValueKind, value: &str, out: &mut String) {
    let clean;
    let mut value = value;
    if value.contains(char::is_control) {
        // Ends of lines part words; all else is not there.
        let part = |c: char| if matches!(c, '\t' | '\n' | '\x0c' | '\r') { ' ' } else { c };
        clean = value
            .trim_matches('\0')
            .replace("\r\n", " ")
            .chars()
            .map(part)
            .filter(|c| !c.is_control())
            .collect::<String>();
        value = &clean;
    }
    value = value.trim();
    let cut = |value: &str| value.floor_char_boundary(VALUE_BYTES_MAX);
    match kind {
        ValueKind::Name => {
            let name = tidy_name(value);
            out.push_str(name[..cut(&name)].trim_end_matches(['^', '=', ' ']));
        }
        ValueKind::Date => match date(value) {
            Some(date) => out.push_str(&date),
            None => out.push_str(&value[..cut(value)]),
        },
        _ => out.push_str(value[..cut(value)].trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_clean() {
        use ValueKind::{CodeString, Date, Name, Text, Time, Uid};
        let cases = [
            (Text, "", ""),
            (Text, "abc\0", "abc"),
            (Text, " a\r\nb\tc\u{7f}d ", "a b cd"),
            (Text, "one \\ two\\", "one\\two"),
            (CodeString, "ORIGINAL\\PRIMARY\\\\AXIAL ", "ORIGINAL\\PRIMARY\\\\AXIAL"),
            (CodeString, "\\ISO 2022 IR 87", "\\ISO 2022 IR 87"),
            (CodeString, "\\\\", ""),
            (Uid, "1.2.3\0", "1.2.3"),
            (Date, "2024.01.31", "20240131"),
            (Date, "20240131", "20240131"),
            (Date, "2024.1.31\\2023.12.01", "2024.1.31\\20231201"),
            (Date, "20240101-20240131", "20240101-20240131"),
            (Time, "101530.5 ", "101530.5"),
            (Name, "Yamada^Tarou^^^=山田^太郎 =やまだ^たろう^", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
            (Name, "House^G^^\\Wilson^J^=", "House^G\\Wilson^J"),
            (Name, "^^^^", ""),
        ];
        for (kind, text, expected) in cases {
            assert_eq!(values(kind, text), expected, "{text:?}");
        }
        assert_eq!(one("C:\\reports\\x \\"), "C:＼reports＼x ＼");
        assert_eq!(distinct(Text, ["A", "B\\A", "", " B", "C"].into_iter().map(Cow::Borrowed)), "A\\B\\C");
    }

    #[test]
    fn values_are_bounded_between_characters() {
        let long = "é".repeat(500);
        assert_eq!(values(ValueKind::Text, &long), "é".repeat(128));
        assert_eq!(values(ValueKind::Text, &format!("x{long}")), format!("x{}", "é".repeat(127)));
        assert_eq!(values(ValueKind::Name, &format!("{}^{long}", "a".repeat(255))), "a".repeat(255));
        let many = vec!["1.2.840.113619.2.55.3.604688119.971.1414"; 100].join("\\");
        let kept = values(ValueKind::Uid, &many);
        assert!((980..=1024).contains(&kept.len()) && many.starts_with(&kept) && kept.ends_with("1414"));
        assert!(one(&"\\".repeat(2_000)).len() <= 256);
        let numbers: Vec<_> = (0..500).map(|n: u32| n.to_string()).collect();
        assert!(distinct(ValueKind::Text, numbers.into_iter().map(Cow::Owned)).len() <= 1024);
    }
}
