//! Text by Specific Character Set (0008,0005), as far as an index needs it.
//!
//! Single-byte sets and UTF-8 are decoded. Of multi-byte sets of East Asia only the ASCII part is;
//! the rest becomes U+FFFD. Values in the file are never changed by any of this.

use std::borrow::Cow;

/// The character set of a data set's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Charset {
    /// None given: ASCII by the standard; UTF-8 or Latin 1 in practice.
    Default,
    /// ISO 8859-1.
    Latin1,
    /// UTF-8.
    Utf8,
    /// JIS X 0201: half-width katakana in the upper half.
    Katakana,
    /// Characters of the bytes A0 to FF.
    Upper(&'static str),
    /// One that is not decoded here.
    Other,
}

impl Charset {
    /// By the first value of (0008,0005) (PS3.3 section C.12.1.1.2).
    pub(super) fn of(value: &[u8]) -> Self {
        let first = value.split(|&b| b == b'\\').next().unwrap_or(&[]);
        let name = std::str::from_utf8(first).unwrap_or("?").trim_matches(['\0', ' ']);
        match name.strip_prefix("ISO_IR ").or_else(|| name.strip_prefix("ISO 2022 IR ")).unwrap_or(name) {
            "" | "6" => Self::Default,
            "100" => Self::Latin1,
            "192" => Self::Utf8,
            "13" => Self::Katakana,
            "101" => Self::Upper(LATIN_2),
            "109" => Self::Upper(LATIN_3),
            "110" => Self::Upper(LATIN_4),
            "144" => Self::Upper(CYRILLIC),
            "127" => Self::Upper(ARABIC),
            "126" => Self::Upper(GREEK),
            "138" => Self::Upper(HEBREW),
            "148" => Self::Upper(LATIN_5),
            "166" => Self::Upper(THAI),
            "203" => Self::Upper(LATIN_9),
            _ => Self::Other,
        }
    }

    /// Decodes text. Where an escape sequence (ISO 2022) begins another set, the text ends with U+FFFD.
    pub(super) fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        if bytes.is_ascii() && !bytes.contains(&ESCAPE) {
            return String::from_utf8_lossy(bytes);
        }
        let (text, escaped) = match bytes.iter().position(|&b| b == ESCAPE) {
            Some(at) => (bytes.get(..at).unwrap_or(bytes), true),
            None => (bytes, false),
        };
        let mut out: String = match self {
            Self::Default => match std::str::from_utf8(text) {
                Ok(text) => text.to_owned(),
                Err(_) => text.iter().copied().map(char::from).collect(),
            },
            Self::Latin1 => text.iter().copied().map(char::from).collect(),
            Self::Utf8 => String::from_utf8_lossy(text).into_owned(),
            Self::Katakana => text.iter().map(|&b| katakana(b)).collect(),
            Self::Upper(table) => text.iter().map(|&b| upper(table, b)).collect(),
            Self::Other => text.iter().map(|&b| if b.is_ascii() { char::from(b) } else { UNKNOWN }).collect(),
        };
        if escaped {
            out.push(UNKNOWN);
        }
        out.into()
    }
}

/// The first of several values, without control characters and padding, cut to `bytes_max` bytes.
pub(super) fn first_value(text: &str, bytes_max: usize) -> String {
    let first = text.split('\\').next().unwrap_or("");
    let clean: Cow<'_, str> = match first.contains(char::is_control) {
        true => first.chars().filter(|c| !c.is_control()).collect::<String>().into(),
        false => first.into(),
    };
    let mut out = clean.trim();
    if out.len() > bytes_max {
        out = out.get(..out.floor_char_boundary(bytes_max)).unwrap_or("").trim_end();
    }
    out.to_owned()
}

fn katakana(byte: u8) -> char {
    match byte {
        0xa1..=0xdf => char::from_u32(0xff61 + u32::from(byte - 0xa1)).unwrap_or(UNKNOWN),
        0..=0x7f => char::from(byte),
        _ => UNKNOWN,
    }
}

fn upper(table: &str, byte: u8) -> char {
    match byte.checked_sub(0xa0) {
        Some(at) => table.chars().nth(usize::from(at)).unwrap_or(UNKNOWN),
        None => char::from(byte),
    }
}

const ESCAPE: u8 = 0x1b;
const UNKNOWN: char = char::REPLACEMENT_CHARACTER;

/// Bytes A0 to FF of `ISO_IR 101`.
const LATIN_2: &str = "\
    \u{a0}Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\u{ad}ŽŻ°ą˛ł´ľśˇ¸šşťź˝žżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řů\
    úűüýţ˙";
/// Bytes A0 to FF of `ISO_IR 109`.
const LATIN_3: &str = "\
    \u{a0}Ħ˘£¤�Ĥ§¨İŞĞĴ\u{ad}�Ż°ħ²³´µĥ·¸ışğĵ½�żÀÁÂ�ÄĊĈÇÈÉÊËÌÍÎÏ�ÑÒÓÔĠÖ×ĜÙÚÛÜŬŜßàáâ�äċĉçèéêëìíîï�ñòóôġö÷ĝù\
    úûüŭŝ˙";
/// Bytes A0 to FF of `ISO_IR 110`.
const LATIN_4: &str = "\
    \u{a0}ĄĸŖ¤ĨĻ§¨ŠĒĢŦ\u{ad}Ž¯°ą˛ŗ´ĩļˇ¸šēģŧŊžŋĀÁÂÃÄÅÆĮČÉĘËĖÍÎĪĐŅŌĶÔÕÖ×ØŲÚÛÜŨŪßāáâãäåæįčéęëėíîīđņōķôõö÷øų\
    úûüũū˙";
/// Bytes A0 to FF of `ISO_IR 144`.
const CYRILLIC: &str = "\
    \u{a0}ЁЂЃЄЅІЇЈЉЊЋЌ\u{ad}ЎЏАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя№ёђѓєѕіїјљ\
    њћќ§ўџ";
/// Bytes A0 to FF of `ISO_IR 127`.
const ARABIC: &str = "\
    \u{a0}���¤�������\u{60c}\u{ad}�������������\u{61b}���\u{61f}�\u{621}\u{622}\u{623}\u{624}\u{625}\
    \u{626}\u{627}\u{628}\u{629}\u{62a}\u{62b}\u{62c}\u{62d}\u{62e}\u{62f}\u{630}\u{631}\u{632}\u{633}\
    \u{634}\u{635}\u{636}\u{637}\u{638}\u{639}\u{63a}�����\u{640}\u{641}\u{642}\u{643}\u{644}\u{645}\
    \u{646}\u{647}\u{648}\u{649}\u{64a}\u{64b}\u{64c}\u{64d}\u{64e}\u{64f}\u{650}\u{651}\u{652}���������\
    ����";
/// Bytes A0 to FF of `ISO_IR 126`.
const GREEK: &str = "\
    \u{a0}‘’£€₯¦§¨©\u{37a}«¬\u{ad}�―°±²³΄΅Ά·ΈΉΊ»Ό½ΎΏΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡ�ΣΤΥΦΧΨΩΪΫάέήίΰαβγδεζηθικλμνξοπρςσ\
    τυφχψωϊϋόύώ�";
/// Bytes A0 to FF of `ISO_IR 138`.
const HEBREW: &str = "\
    \u{a0}�¢£¤¥¦§¨©×«¬\u{ad}®¯°±²³´µ¶·¸¹÷»¼½¾��������������������������������\u{2017}\u{5d0}\u{5d1}\
    \u{5d2}\u{5d3}\u{5d4}\u{5d5}\u{5d6}\u{5d7}\u{5d8}\u{5d9}\u{5da}\u{5db}\u{5dc}\u{5dd}\u{5de}\u{5df}\
    \u{5e0}\u{5e1}\u{5e2}\u{5e3}\u{5e4}\u{5e5}\u{5e6}\u{5e7}\u{5e8}\u{5e9}\u{5ea}��\u{200e}\u{200f}�";
/// Bytes A0 to FF of `ISO_IR 148`.
const LATIN_5: &str = "\
    \u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞÑÒÓÔÕÖ×ØÙÚÛÜİŞßàáâãäåæçèéêëìíîïğñòóôõö÷øù\
    úûüışÿ";
/// Bytes A0 to FF of `ISO_IR 203`.
const LATIN_9: &str = "\
    \u{a0}¡¢£€¥Š§š©ª«¬\u{ad}®¯°±²³Žµ¶·ž¹º»ŒœŸ¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øù\
    úûüýþÿ";
/// Bytes A0 to FF of `ISO_IR 166`.
const THAI: &str = "\
    \u{a0}กขฃคฅฆงจฉชซฌญฎฏฐฑฒณดตถทธนบปผฝพฟภมยรฤลฦวศษสหฬอฮฯะ\u{e31}\u{e32}\u{e33}\u{e34}\u{e35}\u{e36}\
    \u{e37}\u{e38}\u{e39}\u{e3a}����\u{e3f}\u{e40}\u{e41}\u{e42}\u{e43}\u{e44}\u{e45}\u{e46}\u{e47}\
    \u{e48}\u{e49}\u{e4a}\u{e4b}\u{e4c}\u{e4d}\u{e4e}๏๐๑๒๓๔๕๖๗๘๙๚๛����";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_96_characters() {
        for table in [LATIN_2, LATIN_3, LATIN_4, CYRILLIC, ARABIC, GREEK, HEBREW, LATIN_5, LATIN_9, THAI] {
            assert_eq!(table.chars().count(), 96, "{table}");
        }
    }

    #[test]
    fn text_is_decoded_by_its_set() {
        let cases: [(&[u8], &[u8], &str); 14] = [
            (b"", b"Doe^John", "Doe^John"),
            (b"ISO_IR 100", b"M\xfcller^J\xf6rg", "Müller^Jörg"),
            (b"", b"M\xfcller", "Müller"),
            (b"", "Müller".as_bytes(), "Müller"),
            (b"ISO_IR 192", "Müller^山田".as_bytes(), "Müller^山田"),
            (b"ISO_IR 192 ", b"M\xfcller", "M\u{fffd}ller"),
            (b"ISO_IR 101", b"Wa\xb3\xeasa", "Wałęsa"),
            (b"ISO_IR 144", b"\xbb\xee\xda", "Люк"),
            (b"ISO_IR 126", b"\xc4\xe9\xef\xed", "Διον"),
            (b"ISO_IR 127", b"\xe2", "\u{642}"),
            (b"ISO_IR 138", b"\xf9", "\u{5e9}"),
            (b"ISO_IR 166", b"\xa1", "ก"),
            (b"\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B", "Yamada^Tarou=\u{fffd}"),
            (b"GB18030", b"Wang\xcd\xf5", "Wang\u{fffd}\u{fffd}"),
        ];
        for (set, bytes, expected) in cases {
            assert_eq!(Charset::of(set).decode(bytes), expected, "{expected}");
        }
    }

    #[test]
    fn values_are_cleaned_and_bounded() {
        assert_eq!(first_value(" a\r\nb \\second", 256), "ab");
        assert_eq!(first_value("abc\0", 256), "abc");
        assert_eq!(first_value("ééé", 3), "é");
        assert_eq!(first_value("", 3), "");
    }
}
