//! Text by Specific Character Set (0008,0005): PS3.3 section C.12.1.1.2, PS3.5 section 6.1.
//!
//! All sets of the standard are decoded, also where escape sequences switch between them, and names that are not quite
//! those of the standard are understood. Bytes that are wrong under the stated set are read as UTF-8 where they are that,
//! else as Latin 1. Values in the file are never changed by any of this.

use std::borrow::Cow;

use encoding_rs::{
    DecoderResult, EUC_JP, EUC_KR, Encoding, GB18030, GBK, ISO_2022_JP, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5,
    ISO_8859_6, ISO_8859_7, ISO_8859_8, ISO_8859_15, REPLACEMENT, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_874,
    WINDOWS_1252, WINDOWS_1254, X_USER_DEFINED,
};

/// The character sets of a data set's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Charset {
    /// What bytes from 80 on are while no escape sequence says otherwise: value 1 of (0008,0005).
    upper: Upper,
    /// What such bytes may be where nothing says what they are: the other values.
    guesses: [Option<&'static Encoding>; GUESSES_MAX],
}

/// Sets that are tried.
const GUESSES_MAX: usize = 4;

/// What bytes from 80 on are (the set in G1, PS3.5 section 6.1.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upper {
    /// Nothing by the standard; UTF-8 or Latin 1 in practice.
    Unknown,
    /// One character each, from A0 on.
    Single(&'static Encoding),
    /// JIS X 0201: half-width katakana.
    Katakana,
    /// Two bytes from A1 on, of KS X 1001 or GB 2312.
    Double(&'static Encoding),
    /// An encoding of all text, without code extensions.
    Whole(&'static Encoding),
}

/// What bytes below 80 are (the set in G0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lower {
    /// ASCII, or the Latin letters of JIS X 0201 with the signs of ASCII.
    Latin,
    /// Two bytes of JIS X 0208.
    Kanji,
    /// Two bytes of JIS X 0212.
    MoreKanji,
}

/// What an escape sequence changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Lower(Lower),
    Upper(Upper),
    /// Not known: nothing.
    None,
}

const ESCAPE: u8 = 0x1b;

/// Escape sequences without their first byte (PS3.3 tables C.12-3 and C.12-4; the last two are older forms).
const ESCAPES: [(&[u8], Change); 20] = [
    (b"(B", Change::Lower(Lower::Latin)),
    (b"(J", Change::Lower(Lower::Latin)),
    (b")I", Change::Upper(Upper::Katakana)),
    (b"-A", Change::Upper(Upper::Single(WINDOWS_1252))),
    (b"-B", Change::Upper(Upper::Single(ISO_8859_2))),
    (b"-C", Change::Upper(Upper::Single(ISO_8859_3))),
    (b"-D", Change::Upper(Upper::Single(ISO_8859_4))),
    (b"-F", Change::Upper(Upper::Single(ISO_8859_7))),
    (b"-G", Change::Upper(Upper::Single(ISO_8859_6))),
    (b"-H", Change::Upper(Upper::Single(ISO_8859_8))),
    (b"-L", Change::Upper(Upper::Single(ISO_8859_5))),
    (b"-M", Change::Upper(Upper::Single(WINDOWS_1254))),
    (b"-T", Change::Upper(Upper::Single(WINDOWS_874))),
    (b"-b", Change::Upper(Upper::Single(ISO_8859_15))),
    (b"$B", Change::Lower(Lower::Kanji)),
    (b"$(D", Change::Lower(Lower::MoreKanji)),
    (b"$)C", Change::Upper(Upper::Double(EUC_KR))),
    (b"$)A", Change::Upper(Upper::Double(GBK))),
    (b"$@", Change::Lower(Lower::Kanji)),
    (b"$(B", Change::Lower(Lower::Kanji)),
];

/// Most names in (0008,0005) that are looked at.
const NAMES_MAX: usize = 16;

impl Charset {
    /// By the values of (0008,0005).
    pub(super) fn of(value: &[u8]) -> Self {
        let mut names = value.split(|&b| b == b'\\').take(NAMES_MAX).map(set);
        let first = names.next().unwrap_or(Set::ASCII);
        let mut upper = first.upper;
        let mut guesses = [None; GUESSES_MAX];
        let mut free = guesses.iter_mut();
        for set in std::iter::once(first).chain(names) {
            match set.upper {
                // ASCII is a part of it, so it is that from the beginning on.
                Upper::Whole(_) if upper == Upper::Unknown => upper = set.upper,
                _ => {}
            }
            for guess in set.guesses().into_iter().flatten() {
                if let Some(slot) = free.next() {
                    *slot = Some(guess);
                }
            }
        }
        Self { upper, guesses }
    }

    /// Decodes a value, or several with `\` between. In names, `^` and `=` end what an escape sequence began, too (PS3.5
    /// section 6.1.2.5.3).
    pub(super) fn decode(self, bytes: &[u8], is_name: bool) -> Cow<'_, str> {
        let mut out = String::new();
        if !bytes.contains(&ESCAPE) {
            if bytes.is_ascii() {
                return String::from_utf8_lossy(bytes);
            }
            self.read(self.upper, bytes, &mut out);
        } else {
            self.read_with_escapes(bytes, is_name, &mut out);
        }
        out.into()
    }

    fn read_with_escapes(self, bytes: &[u8], is_name: bool, out: &mut String) {
        let ends_switch =
            |b: u8| matches!(b, b'\t' | b'\n' | b'\x0c' | b'\r' | b'\\') || is_name && matches!(b, b'^' | b'=');
        let (mut lower, mut upper) = (Lower::Latin, self.upper);
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            let is_pair = |b: u8| lower != Lower::Latin && (0x21..=0x7e).contains(&b);
            let len = if first == ESCAPE {
                let (change, len) = escape(rest);
                match change {
                    Change::Lower(set) => lower = set,
                    Change::Upper(set) => upper = set,
                    Change::None => {}
                }
                len
            } else if is_pair(first) && rest.get(1).copied().is_some_and(is_pair) {
                let pairs = rest.iter().position(|&b| !is_pair(b)).unwrap_or(rest.len()) & !1;
                read_pairs(lower, rest.get(..pairs).unwrap_or(rest), out);
                pairs
            } else if ends_switch(first) {
                (lower, upper) = (Lower::Latin, self.upper);
                out.push(char::from(first));
                1
            } else {
                let ends = |b: u8| b == ESCAPE || is_pair(b) || ends_switch(b);
                let len = rest.iter().position(|&b| ends(b)).unwrap_or(rest.len()).max(1);
                self.read(upper, rest.get(..len).unwrap_or(rest), out);
                len
            };
            rest = rest.get(len..).unwrap_or(&[]);
        }
    }

    /// Reads bytes without escape sequences.
    fn read(self, upper: Upper, bytes: &[u8], out: &mut String) {
        let stated = match upper {
            _ if bytes.is_ascii() => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Upper::Unknown => self.guess(bytes),
            Upper::Single(encoding) if bytes.iter().any(|b| is_c1(*b)) => {
                utf8(bytes).map(Cow::Borrowed).or_else(|| Some(single_byte(encoding, bytes)))
            }
            Upper::Katakana => katakana(bytes),
            Upper::Whole(encoding) if encoding == UTF_8 => utf8(bytes).map(Cow::Borrowed),
            Upper::Single(encoding) | Upper::Double(encoding) | Upper::Whole(encoding) => whole(encoding, bytes),
        };
        match (stated.or_else(|| utf8(bytes).map(Cow::Borrowed)), upper) {
            (Some(text), _) => out.push_str(&text),
            (None, Upper::Unknown) => patched(WINDOWS_1252, bytes, out),
            (None, Upper::Katakana) => patched(SHIFT_JIS, bytes, out),
            (None, Upper::Single(encoding) | Upper::Double(encoding) | Upper::Whole(encoding)) => {
                patched(encoding, bytes, out);
            }
        }
    }

    /// Bytes of which nothing says what they are.
    fn guess(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        let by_others = || {
            let fits = |encoding: &'static Encoding| is_multi_byte(encoding) || !bytes.iter().any(|b| is_c1(*b));
            self.guesses.iter().flatten().filter(|encoding| fits(encoding)).find_map(|encoding| whole(encoding, bytes))
        };
        utf8(bytes).map(Cow::Borrowed).or_else(by_others)
    }
}

/// What a name in (0008,0005) stands for.
#[derive(Debug, Clone, Copy)]
struct Set {
    upper: Upper,
    is_japanese: bool,
}

impl Set {
    const ASCII: Self = Self { upper: Upper::Unknown, is_japanese: false };

    fn guesses(self) -> [Option<&'static Encoding>; 2] {
        match self.upper {
            Upper::Single(encoding) | Upper::Double(encoding) | Upper::Whole(encoding) => [Some(encoding), None],
            _ if self.is_japanese => [Some(SHIFT_JIS), Some(EUC_JP)],
            Upper::Unknown | Upper::Katakana => [None, None],
        }
    }
}

/// The set of a name, which may be written in ways that the standard does not know: `ISO-IR 100`, `iso_ir_100`, `UTF8`.
fn set(name: &[u8]) -> Set {
    let plain: String = name
        .iter()
        .filter(|b| b.is_ascii_alphanumeric())
        .take(32)
        .map(|b| char::from(b.to_ascii_uppercase()))
        .collect();
    let mut short = plain.as_str();
    for prefix in ["ISO", "IR", "2022", "IR"] {
        short = short.strip_prefix(prefix).unwrap_or(short);
    }
    let upper = match short {
        "100" | "88591" | "LATIN1" => Upper::Single(WINDOWS_1252),
        "101" | "88592" | "LATIN2" => Upper::Single(ISO_8859_2),
        "109" | "88593" | "LATIN3" => Upper::Single(ISO_8859_3),
        "110" | "88594" | "LATIN4" => Upper::Single(ISO_8859_4),
        "144" | "88595" => Upper::Single(ISO_8859_5),
        "127" | "88596" => Upper::Single(ISO_8859_6),
        "126" | "88597" => Upper::Single(ISO_8859_7),
        "138" | "88598" => Upper::Single(ISO_8859_8),
        "148" | "88599" | "LATIN5" => Upper::Single(WINDOWS_1254),
        "166" | "885911" | "TIS620" => Upper::Single(WINDOWS_874),
        "203" | "885915" | "LATIN9" => Upper::Single(ISO_8859_15),
        "13" | "14" => Upper::Katakana,
        "149" | "EUCKR" | "KSC5601" | "KSX1001" => Upper::Double(EUC_KR),
        "58" | "EUCCN" | "GB2312" | "GB231280" => Upper::Double(GBK),
        "192" | "UTF8" => Upper::Whole(UTF_8),
        "18030" | "GB18030" => Upper::Whole(GB18030),
        "GBK" => Upper::Whole(GBK),
        "" | "6" | "646" | "ASCII" | "USASCII" | "87" | "159" | "JP" => Upper::Unknown,
        _ => labelled(name).map_or(Upper::Unknown, Upper::Whole),
    };
    Set { upper, is_japanese: matches!(short, "13" | "14" | "87" | "159" | "JP") }
}

/// An encoding by a name that is used elsewhere: `windows-1251`, `Shift_JIS`, `Big5`.
fn labelled(name: &[u8]) -> Option<&'static Encoding> {
    let name = name.trim_ascii().split(|b| *b == 0).next().unwrap_or(&[]);
    Encoding::for_label(name)
        .filter(|found| ![REPLACEMENT, UTF_16BE, UTF_16LE, X_USER_DEFINED, ISO_2022_JP].contains(found))
}

/// The escape sequence at the beginning of `bytes`, and how long it is (ISO/IEC 2022).
fn escape(bytes: &[u8]) -> (Change, usize) {
    let rest = bytes.get(1..).unwrap_or(&[]);
    if let Some((sequence, change)) = ESCAPES.iter().find(|(sequence, _)| rest.starts_with(sequence)) {
        return (*change, 1 + sequence.len());
    }
    let between = rest.iter().take(3).take_while(|b| (0x20..0x30).contains(*b)).count();
    let is_sequence = between > 0 && rest.get(between).is_some_and(|b| (0x30..0x7f).contains(b));
    (Change::None, if is_sequence { between + 2 } else { 1 })
}

/// Pairs of 7-bit bytes of JIS X 0208 or 0212, by their places in EUC-JP.
fn read_pairs(lower: Lower, pairs: &[u8], out: &mut String) {
    for pair in pairs.chunks_exact(2) {
        let &[a, b] = pair else { continue };
        let bytes = [0x8f, a | 0x80, b | 0x80];
        let from = if lower == Lower::MoreKanji { &bytes[..] } else { &bytes[1..] };
        match EUC_JP.decode_without_bom_handling_and_without_replacement(from) {
            Some(text) => out.push_str(&text),
            None => out.extend([char::from(a), char::from(b)]),
        }
    }
}

/// Text that has no wrong byte; what is cut off at the end counts for nothing.
fn whole(encoding: &'static Encoding, bytes: &[u8]) -> Option<Cow<'static, str>> {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut out = String::with_capacity(decoder.max_utf8_buffer_length_without_replacement(bytes.len())?);
    let (result, _) = decoder.decode_to_string_without_replacement(bytes, &mut out, false);
    (result == DecoderResult::InputEmpty).then_some(out.into())
}

/// Text in which wrong bytes are taken as Latin 1.
fn patched(encoding: &'static Encoding, bytes: &[u8], out: &mut String) {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut rest = bytes;
    loop {
        out.reserve(decoder.max_utf8_buffer_length_without_replacement(rest.len()).unwrap_or(rest.len()));
        let (result, read) = decoder.decode_to_string_without_replacement(rest, out, false);
        if let DecoderResult::Malformed(bad, behind) = result {
            let end = read.saturating_sub(usize::from(behind));
            let wrong = rest.get(end.saturating_sub(usize::from(bad))..end).unwrap_or(&[]);
            out.extend(wrong.iter().map(|b| latin1(*b)));
        }
        rest = rest.get(read..).unwrap_or(&[]);
        if result == DecoderResult::InputEmpty {
            return;
        }
    }
}

/// Text of a set of single bytes in which 80 to 9F are taken as what Windows has there: the standard has nothing.
fn single_byte(encoding: &'static Encoding, bytes: &[u8]) -> Cow<'static, str> {
    let mut out = String::with_capacity(bytes.len() * 2);
    for run in bytes.chunk_by(|a, b| is_c1(*a) == is_c1(*b)) {
        match run {
            [first, ..] if is_c1(*first) => out.extend(run.iter().map(|b| latin1(*b))),
            _ => patched(encoding, run, &mut out),
        }
    }
    out.into()
}

/// Latin letters and half-width katakana of JIS X 0201; Shift-JIS, which holds them, where that is what was written.
fn katakana(bytes: &[u8]) -> Option<Cow<'static, str>> {
    let is_plain = bytes.iter().all(|b| b.is_ascii() || (0xa1..=0xdf).contains(b));
    let of = |b: &u8| char::from_u32(0xff61 + u32::from(b.saturating_sub(0xa1)));
    if is_plain {
        return bytes
            .iter()
            .map(|b| if b.is_ascii() { Some(char::from(*b)) } else { of(b) })
            .collect::<Option<String>>()
            .map(Cow::Owned);
    }
    if utf8(bytes).is_some() { None } else { whole(SHIFT_JIS, bytes) }
}

/// UTF-8, of which a character may be cut off at the end. A single letter of Latin 1 there is none.
fn utf8(bytes: &[u8]) -> Option<&str> {
    let error = match std::str::from_utf8(bytes) {
        Ok(text) => return Some(text),
        Err(error) => error,
    };
    let (text, cut_off) = bytes.split_at_checked(error.valid_up_to())?;
    let is_cut = error.error_len().is_none() && (cut_off.len() > 1 || !text.is_ascii());
    is_cut.then(|| std::str::from_utf8(text).ok())?
}

/// A byte as Latin 1, with the characters of Windows where that has none.
fn latin1(byte: u8) -> char {
    let bytes = [byte];
    let text = WINDOWS_1252.decode_without_bom_handling(&bytes).0;
    text.chars().next().unwrap_or_else(|| char::from(byte))
}

/// Whether no set of single bytes has a character there.
const fn is_c1(byte: u8) -> bool {
    matches!(byte, 0x80..=0x9f)
}

fn is_multi_byte(encoding: &'static Encoding) -> bool {
    !encoding.is_single_byte()
}

#[cfg(test)]
mod tests;
