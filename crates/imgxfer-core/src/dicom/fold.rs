//! What is the same text to people who search: without regard to case, accents and forms of width.

use unicode_normalization::UnicodeNormalization as _;

/// Text in the form in which it is compared: Unicode compatibility forms made the same (full and half width,
/// ligatures, presentation forms), accents of letters taken off, lower case, runs of blanks one blank, none at the ends.
///
/// Marks that make another letter stay: voiced kana, and the vowels and tones of Thai and of scripts of India. Katakana
/// and hiragana stay apart, and so do characters that are merely alike. Folding twice changes nothing more.
///
/// ```
/// use imgxfer_core::dicom::fold;
/// assert_eq!(fold("  MÜLLER\u{3000}Groß "), "muller gross");
/// ```
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return one_blank(text.chars().map(|c| plain_sign(c).to_ascii_lowercase()));
    }
    let apart = text.chars().map(plain_sign).nfkd().map(plain_sign).filter(|c| !is_dropped(*c));
    let lower = apart.flat_map(char::to_lowercase).filter(|c| !is_dropped(*c));
    let mut letters = String::with_capacity(text.len());
    for c in lower {
        match plain_letter(c) {
            Some(plain) => letters.push_str(plain),
            None => letters.push(c),
        }
    }
    // Together again, so that a syllable of Hangul and a voiced kana are one character each.
    one_blank(letters.nfc())
}

/// A person's name (PS3.5 section 6.2.1) in the form in which it is compared: as by [`fold`], blanks around components
/// and empty components and groups at the ends taken off. Groups stay joined by `=`.
///
/// ```
/// use imgxfer_core::dicom::fold_name;
/// assert_eq!(fold_name("Müller^ Jörg ^^="), "muller^jorg");
/// ```
#[must_use]
pub fn fold_name(name: &str) -> String {
    fold(&tidy_name(name))
}

/// A name without blanks around its components and without empty components and groups at the ends.
pub(super) fn tidy_name(name: &str) -> String {
    let mut tidy = String::with_capacity(name.len());
    for (at, group) in name.trim_end_matches(is_name_padding).split('=').enumerate() {
        if at > 0 {
            tidy.push('=');
        }
        let group = group.trim_end_matches(|c: char| c == '^' || c.is_whitespace());
        for (at, component) in group.split('^').enumerate() {
            if at > 0 {
                tidy.push('^');
            }
            tidy.push_str(component.trim());
        }
    }
    tidy
}

fn is_name_padding(c: char) -> bool {
    matches!(c, '=' | '^') || c.is_whitespace()
}

fn one_blank(text: impl Iterator<Item = char>) -> String {
    let mut out = String::with_capacity(text.size_hint().0);
    for c in text {
        match c {
            _ if c.is_whitespace() => {
                if !out.is_empty() && !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            _ if c.is_control() => {}
            _ => out.push(c),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Signs of which people type one for another, before and after they are taken apart.
const fn plain_sign(c: char) -> char {
    match c {
        '`' | '\u{b4}' | '\u{2b9}' | '\u{2bb}' | '\u{2bc}' | '\u{2018}' | '\u{2019}' | '\u{2032}' => '\'',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        _ => c,
    }
}

/// Lower-case letters that have no parts, and people write without their stroke or as two.
const fn plain_letter(c: char) -> Option<&'static str> {
    Some(match c {
        'ß' => "ss",
        'ø' => "o",
        'ł' => "l",
        'đ' | 'ð' => "d",
        'æ' => "ae",
        'œ' => "oe",
        'þ' => "th",
        'ħ' => "h",
        'ŧ' => "t",
        'ı' => "i",
        'ς' => "σ",
        _ => return None,
    })
}

/// Accents of European, Hebrew and Arabic letters, and what shows nothing of itself.
const fn is_dropped(c: char) -> bool {
    matches!(
        c,
        '\u{300}'..='\u{36f}'
            | '\u{483}'..='\u{489}'
            | '\u{591}'..='\u{5bd}'
            | '\u{5bf}'
            | '\u{5c1}'..='\u{5c2}'
            | '\u{5c4}'..='\u{5c5}'
            | '\u{5c7}'
            | '\u{610}'..='\u{61a}'
            | '\u{640}'
            | '\u{64b}'..='\u{65f}'
            | '\u{670}'
            | '\u{6d6}'..='\u{6dc}'
            | '\u{6df}'..='\u{6e4}'
            | '\u{6e7}'..='\u{6e8}'
            | '\u{6ea}'..='\u{6ed}'
            | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}'
            | '\u{20d0}'..='\u{20ff}'
            | '\u{fe20}'..='\u{fe2f}'
            // Of no width: joiners, marks of direction, soft hyphen, selectors of variants.
            | '\u{ad}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{e0100}'..='\u{e01ef}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_folded() {
        let cases = [
            ("", ""),
            ("  CT\t Thorax \u{a0} nativ\r\n", "ct thorax nativ"),
            ("Müller", "muller"),
            ("MU\u{308}LLER", "muller"),
            ("Groß", "gross"),
            ("GROẞ", "gross"),
            ("Æsop Œuvre", "aesop oeuvre"),
            ("Élise François", "elise francois"),
            ("Noël Ÿvette", "noel yvette"),
            ("Łukasz Wałęsa", "lukasz walesa"),
            ("Żółć", "zolc"),
            ("IŞIK ışık İbrahim", "isik isik ibrahim"),
            ("Sørensen Åse", "sorensen ase"),
            ("Þór Guðrún", "thor gudrun"),
            ("Ħal Ŧ", "hal t"),
            ("Nguyễn Thị Đào", "nguyen thi dao"),
            ("Trần Ơn Ưng", "tran on ung"),
            ("Őze Űr", "oze ur"),
            ("Dvořák Šimůnek", "dvorak simunek"),
            ("ΔΙΟΝΥΣΙΟΣ", "διονυσιοσ"),
            ("Διονύσιος", "διονυσιοσ"),
            ("Ἀχιλλεύς ᾳ", "αχιλλευσ α"),
            ("Люкceмбypг ЁЖ", "люкceмбypг еж"),
            ("Йосиф", "иосиф"),
            ("ﾔﾏﾀﾞ^ﾀﾛｳ", "ヤマダ^タロウ"),
            ("ヤマダ^タロウ", "ヤマダ^タロウ"),
            ("やまだ", "やまだ"),
            ("がぎ", "がぎ"),
            ("か\u{3099}", "が"),
            ("ＹＡＭＡＤＡ１２", "yamada12"),
            ("山田\u{3000}太郎", "山田 太郎"),
            ("辻\u{e0100}", "辻"),
            ("김희중", "김희중"),
            ("\u{1100}\u{1175}\u{11b7}", "김"),
            ("قَبَّانِي", "قباني"),
            ("أحمد آل إبراهيم", "احمد ال ابراهيم"),
            ("محـــمد", "محمد"),
            ("\u{fed7}\u{fe92}", "قب"),
            ("שָׁרוֹן", "שרון"),
            ("สมชาย ใจดี", "สมชาย ใจดี"),
            ("น้ำ", "น้\u{e4d}า"),
            ("O’Brien O`Brien O´Brien", "o'brien o'brien o'brien"),
            ("Meyer–Schmidt", "meyer-schmidt"),
            ("ﬁnal \u{2163} ㎜", "final iv mm"),
            ("a\u{200b}b\u{ad}c\u{feff}", "abc"),
            ("a\u{0}b\u{7f}", "ab"),
        ];
        for (text, expected) in cases {
            assert_eq!(fold(text), expected, "{text}");
            assert_eq!(fold(expected), expected, "{expected} again");
        }
    }

    #[test]
    fn names_are_folded() {
        let cases = [
            ("Müller^Jörg", "muller^jorg"),
            ("Müller^Jörg^^^", "muller^jorg"),
            ("Müller ^ Jörg ^ ", "muller^jorg"),
            (" Müller", "muller"),
            ("^Jörg", "^jorg"),
            ("Doe^^Q", "doe^^q"),
            ("Yamada^Tarou=山田^太郎=やまだ^たろう", "yamada^tarou=山田^太郎=やまだ^たろう"),
            ("Yamada^Tarou^^=山田^太郎^^=", "yamada^tarou=山田^太郎"),
            ("=山田^太郎", "=山田^太郎"),
            ("Hong^Gildong==홍^길동 ", "hong^gildong==홍^길동"),
            ("^^==^", ""),
            ("", ""),
        ];
        for (name, expected) in cases {
            assert_eq!(fold_name(name), expected, "{name}");
        }
    }

    #[test]
    fn every_character_folds_to_what_stays() {
        for c in '\0'..=char::MAX {
            let once = fold(c.encode_utf8(&mut [0; 4]));
            assert_eq!(fold(&once), once, "{c:?} U+{:04X}", u32::from(c));
        }
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing_more(text in "\\PC{0,24}") {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }
    }
}
