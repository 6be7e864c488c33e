//! Text of every set: the examples of the standard, of pydicom's test files, of what people write, and of chance.

use super::*;

fn text(sets: &str, bytes: &[u8]) -> String {
    Charset::of(sets.as_bytes()).decode(bytes, true).into_owned()
}

/// PS3.5 annexes H, I, J and K.
#[test]
fn examples_of_the_standard_are_read() {
    let cases: [(&str, &[u8], &str); 10] = [
        // H.3.1
        (
            "\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        // H.3.2
        (
            "ISO 2022 IR 13\\ISO 2022 IR 87",
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
        ),
        // I.2
        (
            "\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            "Hong^Gildong=洪^吉洞=홍^길동",
        ),
        // I.3
        (
            "\\ISO 2022 IR 149",
            b"\x1b$)CThe 1st line includes \xb1\xe6\xb5\xbf.\r\n\x1b$)CThe 2nd line includes \xb1\xe6\xb5\xbf, too.\r\nThe 3rd line.",
            "The 1st line includes 길동.\r\nThe 2nd line includes 길동, too.\r\nThe 3rd line.",
        ),
        // J.1
        (
            "ISO_IR 192",
            b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1=",
            "Wang^XiaoDong=王^小東=",
        ),
        // J.2
        (
            "ISO_IR 192",
            b"The first line includes \xe4\xb8\xad\xe6\x96\x87.\r\nThe second line includes \xe4\xb8\xad\xe6\x96\x87, too.\r\nThe third line.\r\n",
            "The first line includes 中文.\r\nThe second line includes 中文, too.\r\nThe third line.\r\n",
        ),
        // J.3
        ("GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东="),
        // J.4
        (
            "GB18030",
            b"The first line includes\xd6\xd0\xce\xc4.\r\nThe second line includes\xd6\xd0\xce\xc4, too.\r\nThe third line.\r\n",
            "The first line includes中文.\r\nThe second line includes中文, too.\r\nThe third line.\r\n",
        ),
        // K.2
        (
            "\\ISO 2022 IR 58",
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
            "Zhang^XiaoDong=张^小东=",
        ),
        // K.3
        (
            "\\ISO 2022 IR 58",
            b"1.\x1b$)A\xb5\xda\xd2\xbb\xd0\xd0\xce\xc4\xd7\xd6\xa1\xa3\r\n2.\x1b$)A\xb5\xda\xb6\xfe\xd0\xd0\xce\xc4\xd7\xd6\xa1\xa3\r\n3.\x1b$)A\xb5\xda\xc8\xfd\xd0\xd0\xce\xc4\xd7\xd6\xa1\xa3\r\n",
            "1.第一行文字。\r\n2.第二行文字。\r\n3.第三行文字。\r\n",
        ),
    ];
    for (sets, bytes, expected) in cases {
        assert_eq!(text(sets, bytes), expected);
    }
}

/// The files of pydicom's `charset_files`.
#[test]
fn names_in_files_of_others_are_read() {
    let cases: [(&str, &[u8], &str); 10] = [
        ("ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1 ", "قباني^لنزار "),
        ("ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
        ("ISO_IR 100", b"\xc4neas^R\xfcdiger ", "Äneas^Rüdiger "),
        ("ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2 ", "Διονυσιος "),
        ("ISO_IR 138", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה"),
        ("\\ISO 2022 IR 87", b"\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B ", "やまだ^たろう "),
        ("ISO 2022 IR 6\\ISO 2022 IR 87", b"\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B ", "やまだ^たろう "),
        ("\\ISO 2022 IR 149", b"\x1b$)C\xb1\xe8\xc8\xf1\xc1\xdf\x1b(B ", "김희중 "),
        ("ISO_IR 144", b"\xbb\xee\xdace\xdc\xd1yp\xd3", "Люкceмбypг"),
        ("ISO_IR 192", b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1= ", "Wang^XiaoDong=王^小東= "),
    ];
    for (sets, bytes, expected) in cases {
        assert_eq!(text(sets, bytes), expected);
    }
}

#[test]
fn every_set_is_read_with_and_without_escapes() {
    let cases: [(&str, &[u8], &[u8], &str); 14] = [
        ("100", b"\x1b-A", b"\xe9\xff", "éÿ"),
        ("101", b"\x1b-B", b"Wa\xb3\xeasa", "Wałęsa"),
        ("109", b"\x1b-C", b"\xa1amrun", "Ħamrun"),
        ("110", b"\x1b-D", b"Er\xecrs", "Erėrs"),
        ("144", b"\x1b-L", b"\xb8\xd2\xd0\xdd", "Иван"),
        ("127", b"\x1b-G", b"\xe2", "ق"),
        ("126", b"\x1b-F", b"\xc4\xe9\xef\xed", "Διον"),
        ("138", b"\x1b-H", b"\xf9", "ש"),
        ("148", b"\x1b-M", b"I\xfe\xfdk", "Işık"),
        ("166", b"\x1b-T", b"\xca\xc1\xaa\xd2\xc2", "สมชาย"),
        ("203", b"\x1b-b", b"\xa4\xbd", "€œ"),
        ("13", b"\x1b)I", b"\xd4\xcf\xc0\xde", "ﾔﾏﾀﾞ"),
        ("149", b"\x1b$)C", b"\xb1\xe8", "김"),
        ("58", b"\x1b$)A", b"\xd5\xc5", "张"),
    ];
    for (number, escape, bytes, expected) in cases {
        let with_escape = [escape, bytes].concat();
        for name in ["ISO_IR ", "ISO 2022 IR ", "iso-ir-", "ISO_IR_", "ISO IR ", "ISO2022IR", "ISO_2022_IR_", "IR", " "]
        {
            let name = format!("{name}{number} ");
            assert_eq!(text(&name, bytes), expected, "{name}");
            assert_eq!(text(&format!("\\{name}"), &with_escape), expected, "{name}, escaped");
        }
        assert_eq!(text("ISO 2022 IR 101", &with_escape), expected, "escaped and not stated");
        let twice = [&with_escape[..], b"^", bytes].concat();
        let reset = text("ISO 2022 IR 100\\ISO 2022 IR 87", &twice);
        let latin1: String = bytes.iter().map(|b| char::from(*b)).collect();
        assert_eq!(reset, format!("{expected}^{latin1}"), "a component begins with the first set");
        let kept = Charset::of(b"ISO 2022 IR 100").decode(&twice, false).into_owned();
        assert_eq!(kept, format!("{expected}^{expected}"), "but in names alone");
    }
    assert_eq!(text("\\ISO 2022 IR 159", b"\x1b$(D\x30\x21\x1b(B."), "丂.");
    assert_eq!(text("\\ISO 2022 IR 87", b"\x1b$@;3\x1b(J^a"), "山^a");
}

#[test]
fn names_that_others_use_are_understood() {
    let cases: [(&str, &[u8], &str); 16] = [
        ("UTF8", "Müller^山".as_bytes(), "Müller^山"),
        ("utf-8", "Müller".as_bytes(), "Müller"),
        ("ISO IR 192\0", "Müller".as_bytes(), "Müller"),
        ("ISO_IR 192\\ISO 2022 IR 87", "山".as_bytes(), "山"),
        ("\\GB18030", b"\xcd\xf5", "王"),
        ("gbk", b"\xcd\xf5\x81\x40", "王丂"),
        ("GB2312", b"\xcd\xf5", "王"),
        ("ISO 2022 GBK", b"\xcd\xf5", "王"),
        ("GB18030", b"\x95\x32\x82\x36\x81\x30\x81\x30", "𠀀\u{80}"),
        ("ISO 8859-1", b"\xe9", "é"),
        ("ISO8859-5", b"\xb8", "И"),
        ("windows-1251", b"\xc8\xe2\xe0\xed", "Иван"),
        ("Shift_JIS", b"\x8eR\x93c", "山田"),
        ("Big5", b"\xa4\xfd", "王"),
        ("ISO-2022-JP", b"\x1b$B;3\x1b(B", "山"),
        ("EUC-KR", b"\xb1\xe8", "김"),
    ];
    for (sets, bytes, expected) in cases {
        assert_eq!(text(sets, bytes), expected, "{sets}");
    }
}

#[test]
fn wrong_bytes_get_the_best_reading_there_is() {
    let cases: [(&str, &[u8], &str); 25] = [
        ("", b"Doe^John", "Doe^John"),
        ("", b"M\xfcller", "Müller"),
        ("", "Müller^山田".as_bytes(), "Müller^山田"),
        ("", b"Andr\xe9", "André"),
        ("", b"O\x92Brien", "O’Brien"),
        ("no such set", b"M\xfcller", "Müller"),
        ("no such set", "山田".as_bytes(), "山田"),
        ("ISO_IR 192", b"M\xfcller", "Müller"),
        ("ISO_IR 192", b"M\xc3\xbcller^Andr\xe9", "Müller^Andr"),
        ("ISO_IR 192", b"M\xc3\xbcller^J\xf6rg", "Müller^Jörg"),
        ("ISO_IR 192", b"\xe5\xb1\xb1\xe7\x94", "山"),
        ("ISO_IR 192", b"\x1b$B;3ED\x1b(B", "山田"),
        ("ISO_IR 100", "Straße".as_bytes(), "Straße"),
        ("ISO_IR 100", b"O\x92Brien \xe9", "O’Brien é"),
        ("ISO_IR 127", b"\xe2\xff", "ق\u{ff}"),
        ("ISO_IR 13", b"\x8eR\x93c", "山田"),
        ("ISO_IR 13", "山田".as_bytes(), "山田"),
        ("ISO 2022 IR 87", b"\x8eR\x93c", "山田"),
        ("\\ISO 2022 IR 149", b"\xb1\xe8\xc8\xf1\xc1\xdf", "김희중"),
        ("\\ISO 2022 IR 149", b"\x1b$)C\xb1\xe8^\xc8\xf1", "김^희"),
        ("ISO 2022 IR 149", b"\x8cc", "똠"),
        ("ISO_IR 149", "김".as_bytes(), "김"),
        ("GB18030", b"\xcd\xf5^\xff", "王^\u{ff}"),
        ("GB18030", b"\xcd\xf5^\xcd", "王^"),
        ("\\ISO 2022 IR 87", b"\x1b$B;3ED^\x1b$BB@\x1b", "山田^太"),
    ];
    for (sets, bytes, expected) in cases {
        assert_eq!(text(sets, bytes), expected, "{sets} {}", bytes.escape_ascii());
    }
    let unknown = text("\\ISO 2022 IR 87", b"a\x1b%Gb\x1bc\x1b");
    assert_eq!(unknown, "abc", "escape sequences that mean nothing show nothing");
}

/// Delimiters that are the second byte of a character are none.
#[test]
fn characters_hide_delimiters() {
    for (sets, bytes, expected) in [
        ("GBK", &b"\x81\x5c\\\x81\x5e^\x8d\x5c"[..], "乗\\乛^峔"),
        ("GB18030", b"\x81\x5c^a", "乗^a"),
        ("Shift_JIS", b"\x95\x5c\\\x83\x5c", "表\\ソ"),
        ("\\ISO 2022 IR 87", b"\x1b$BI=\x1b(B=\x1b$B@\\\x1b(B\\\x1b$B$^\x1b(B", "表=接\\ま"),
    ] {
        assert_eq!(text(sets, bytes), expected, "{sets}");
    }
}

/// Random bytes under every set: nothing panics, nothing grows beyond reason, and nothing is lost to U+FFFD.
#[test]
fn chance_is_survived_under_every_set() {
    const SETS: [&str; 30] = [
        "",
        "ISO_IR 6",
        "ISO_IR 13",
        "ISO_IR 14",
        "ISO_IR 58",
        "ISO_IR 87",
        "ISO_IR 100",
        "ISO_IR 101",
        "ISO_IR 109",
        "ISO_IR 110",
        "ISO_IR 126",
        "ISO_IR 127",
        "ISO_IR 138",
        "ISO_IR 144",
        "ISO_IR 148",
        "ISO_IR 149",
        "ISO_IR 159",
        "ISO_IR 166",
        "ISO_IR 192",
        "ISO_IR 203",
        "GB18030",
        "GBK",
        "Shift_JIS",
        "Big5",
        "EUC-JP",
        "windows-1258",
        "?",
        "\\ISO 2022 IR 87\\ISO 2022 IR 149\\ISO 2022 IR 58",
        "ISO 2022 IR 13\\ISO 2022 IR 87\\ISO 2022 IR 159",
        "x-user-defined",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    for round in 0..400u32 {
        let mut bytes: Vec<u8> = Vec::new();
        while bytes.len() < 4 + usize::from(random()[0]) {
            let [kind, a, b, c, d, ..] = random();
            match kind % 6 {
                0 => bytes.extend([ESCAPE, b"$(-)%"[usize::from(a % 5)], b"BJDAC@GITL"[usize::from(b % 10)]]),
                1 => bytes.extend_from_slice(ESCAPES.get(usize::from(a)).map_or(b"\x1b$)C", |(sequence, _)| sequence)),
                2 => bytes.push(b"\\^=\r\n\t\x1b\0"[usize::from(a % 8)]),
                3 => bytes.extend([a | 0x80, b | 0x80, c]),
                4 => bytes.extend([a & 0x7f, b & 0x7f]),
                _ => bytes.extend([a, b, c, d]),
            }
        }
        for sets in SETS {
            for is_name in [false, true] {
                let read = Charset::of(sets.as_bytes()).decode(&bytes, is_name).into_owned();
                assert!(read.len() <= bytes.len() * 3, "{sets}, round {round}: {}", bytes.escape_ascii());
                assert!(!read.contains(char::REPLACEMENT_CHARACTER), "{sets}, round {round}: {}", bytes.escape_ascii());
            }
        }
        // Any bytes may stand for the names of sets, too.
        Charset::of(&bytes).decode(&bytes, true);
    }
}
