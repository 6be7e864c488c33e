//! What is asked, and which values are that.

use super::*;

/// Kind | query | value | whether it is that. Blanks around columns do not count; `_` stands for a blank that does.
const CASES: &str = r"
    # everything
    Text       |                     | CT Thorax                 | yes
    Text       | *                   | CT Thorax                 | yes
    Text       | **                  | CT Thorax                 | yes
    Text       | _                   |                           | yes
    Text       | *                   |                           | yes
    Name       | ＊                  | 山田^太郎                 | yes
    Date       | *                   | 20240131                  | yes
    Date       |                     |                           | yes
    Uid        | *                   | 1.2.3                     | yes
    Uid        | \                   | 1.2.3                     | yes
    # what is absent is no value
    Text       | x                   |                           | no
    Text       | x*                  |                           | no
    Text       | ?*                  |                           | no
    Date       | 20240101-           |                           | no
    Time       | -10                 |                           | no
    Name       | ?*                  | \\                        | no
    # text
    Text       | ct thorax           | CT Thorax                 | yes
    Text       | _CT__Thorax_        | CT Thorax                 | yes
    Text       | CT                  | CT Thorax                 | no
    Text       | CT*                 | CT Thorax                 | yes
    Text       | *thorax             | CT Thorax                 | yes
    Text       | *THO*               | CT Thorax                 | yes
    Text       | *schädel*           | MR Schadel nativ          | yes
    Text       | *schadel*           | MR Schädel nativ          | yes
    Text       | *groß*              | GROSSES BLUTBILD          | yes
    Text       | c?_thorax           | CT Thorax                 | yes
    Text       | c?thorax            | CT Thorax                 | no
    Text       | ??_Thorax           | CT Thorax                 | yes
    Text       | ???_Thorax          | CT Thorax                 | no
    Text       | *a*b*c*             | xaxbxcx                   | yes
    Text       | *a*b*c              | xaxbxcx                   | no
    Text       | a*a                 | a                         | no
    Text       | a*a                 | aa                        | yes
    Text       | a*ab                | aaaab                     | yes
    Text       | *ab                 | abab                      | yes
    Text       | a?*                 | a                         | no
    Text       | a?*                 | ab                        | yes
    Text       | *?                  | a                         | yes
    Text       | ?                   | 肝                        | yes
    Text       | ??                  | 肝                        | no
    Text       | ?                   | ê                         | yes
    Text       | 腹部*               | 腹部単純                  | yes
    Text       | ＣＴ                | CT                        | yes
    Text       | ﾄｳﾌﾞ*               | トウブ CT                 | yes
    Text       | とうぶ              | トウブ                    | no
    Text       | ΘΩΡΑΞ               | θώραξ                     | yes
    Text       | грудь               | ГРУДЬ                     | yes
    Text       | b                   | a\b\c                     | yes
    Text       | b*                  | a\bc                      | yes
    Text       | a\c                 | c                         | yes
    Text       | a\c                 | b                         | no
    Text       | a                   | b\_A_                     | yes
    Text       | [a-c]%              | b                         | no
    Text       | a_                  | a                         | yes
    Text       | 100%                | 100%                      | yes
    Text       | 100%                | 1000                      | no
    Text       | a.c                 | abc                       | no
    # identifiers
    Id         | P1                  | P1                        | yes
    Id         | P1                  | p1                        | no
    Id         | _P1_                | P1                        | yes
    Id         | P1                  | _P1_                      | yes
    Id         | P1                  | P10                       | no
    Id         | 007                 | 7                         | no
    Id         | p*                  | P1                        | yes
    Id         | P?                  | p1                        | yes
    Id         | *é*                 | ABE1                      | yes
    Id         | é                   | e                         | no
    Id         | A-1/2.3             | A-1/2.3                   | yes
    Id         | A\B                 | B                         | yes
    Id         | A\B                 | b                         | no
    Id         | A\B                 | C                         | no
    Id         | A                   | B\A                       | yes
    # code strings
    CodeString | CT                  | CT                        | yes
    CodeString | ct                  | CT                        | no
    CodeString | CT\MR               | MR                        | yes
    CodeString | CT,MR               | MR                        | yes
    CodeString | CT\MR               | US                        | no
    CodeString | CT\MR               | US\CT                     | yes
    CodeString | CT\                 | CT                        | yes
    CodeString | C*                  | CT                        | yes
    CodeString | c*                  | CT                        | no
    CodeString | ?R                  | MR                        | yes
    CodeString | ?R                  | CR\US                     | yes
    CodeString | PRIMARY             | ORIGINAL\PRIMARY\AXIAL    | yes
    CodeString | PRIM*               | ORIGINAL\PRIMARY\AXIAL    | yes
    CodeString | ORIGINAL*AXIAL      | ORIGINAL\PRIMARY\AXIAL    | no
    # UIDs
    Uid        | 1.2.3               | 1.2.3                     | yes
    Uid        | 1.2.3               | 1.2.30                    | no
    Uid        | 1.2.3\1.2.4         | 1.2.4                     | yes
    Uid        | 1.2.3,1.2.4         | 1.2.3                     | yes
    Uid        | 1.2.3,_1.2.4        | 1.2.4                     | yes
    Uid        | 1.2.3,1.2.4         | 1.2.5                     | no
    Uid        | 1.2.3\\             | 1.2.3                     | yes
    # dates
    Date       | 20240131            | 20240131                  | yes
    Date       | 20240131            | 20240130                  | no
    Date       | 20240101-20240131   | 20240101                  | yes
    Date       | 20240101-20240131   | 20240131                  | yes
    Date       | 20240101_-_20240131 | 20240115                  | yes
    Date       | 20240101-20240131   | 20240201                  | no
    Date       | 20240101-20240131   | 20231231                  | no
    Date       | 20240101-           | 20991231                  | yes
    Date       | 20240101-           | 20231231                  | no
    Date       | -20240131           | 19991231                  | yes
    Date       | -20240131           | 20240201                  | no
    Date       | 20240201-20240101   | 20240115                  | no
    Date       | 2024.01.31          | 20240131                  | yes
    Date       | 20240131            | 2024.01.31                | yes
    Date       | 2024.01.01-2024.02.01 | 20240131                | yes
    Date       | 20240101-           | unknown                   | no
    Date       | -20240101           | 2023                      | no
    Date       | 20240101-           | 20240230x                 | no
    Date       | 20240101-           | 20240101\20240102         | yes
    # times
    Time       | 101530              | 101530                    | yes
    Time       | 101530              | 101530.25                 | yes
    Time       | 101530              | 101531                    | no
    Time       | 101530.25           | 101530.250000             | yes
    Time       | 101530.25           | 101530.26                 | no
    Time       | 101530.123456       | 101530.123456             | yes
    Time       | 10                  | 101530                    | yes
    Time       | 10                  | 105959.999999             | yes
    Time       | 10                  | 110000                    | no
    Time       | 1015                | 101559                    | yes
    Time       | 1015                | 101600                    | no
    Time       | 08-10               | 105959.9                  | yes
    Time       | 08-10               | 080000                    | yes
    Time       | 08-10               | 08                        | yes
    Time       | 08-10               | 075959.999999             | no
    Time       | 08-10               | 11                        | no
    Time       | 0800-0830           | 083059                    | yes
    Time       | 0800-0830           | 083100                    | no
    Time       | 22-                 | 235960                    | yes
    Time       | -06                 | 000000                    | yes
    Time       | -06                 | 07                        | no
    Time       | 10:15               | 101500                    | yes
    Time       | 10:15:30            | 101530                    | yes
    Time       | 10                  | 10:15:30                  | yes
    Time       | 10                  | noon                      | no
    Time       | 10                  | 101                       | no
    # numbers and ages
    Integer    | 7                   | 7                         | yes
    Integer    | 007                 | 7                         | yes
    Integer    | 7                   | _+7_                      | yes
    Integer    | 7                   | 70                        | no
    Integer    | -1                  | -1                        | yes
    Integer    | 7\8                 | 8                         | yes
    Integer    | 7                   | seven                     | no
    Unsigned   | 512                 | 512                       | yes
    Unsigned   | 512                 | 256                       | no
    Age        | 034Y                | 034Y                      | yes
    Age        | 034Y                | 34Y                       | no
    # names
    Name       | Müller^Jörg         | Müller^Jörg               | yes
    Name       | MULLER^JORG         | Müller^Jörg               | yes
    Name       | müller^jörg         | MULLER^JORG               | yes
    Name       | Mueller^Jörg        | Müller^Jörg               | no
    Name       | Müller              | Müller^Jörg               | no
    Name       | Müller^             | Müller                    | yes
    Name       | Müller^^^^          | Müller                    | yes
    Name       | Müller              | Müller^^^^                | yes
    Name       | Müller^_Jörg        | Müller^Jörg               | yes
    Name       | Müller*             | Müller^Jörg               | yes
    Name       | mul*                | Müller^Jörg               | yes
    Name       | mul*^               | Müller^Jörg               | yes
    Name       | *jorg               | Müller^Jörg               | yes
    Name       | *^jorg*             | Müller^Jörg               | yes
    Name       | m?ller^*            | Müller^Jörg               | yes
    Name       | m??ller^*           | Müller^Jörg               | no
    Name       | Doe^*               | Doe                       | yes
    Name       | Doe^*^*             | Doe                       | yes
    Name       | Doe^*               | Doeson                    | no
    Name       | Doe^?*              | Doe                       | no
    Name       | Doe*^*              | Doeson                    | yes
    Name       | Doe^J*              | Doe^John^^Dr              | yes
    Name       | WAŁĘSA*             | Wałęsa^Lech               | yes
    Name       | walesa*             | Wałęsa^Lech               | yes
    Name       | strasse             | Straße                    | yes
    Name       | ışık                | ISIK                      | yes
    Name       | nguyen thi*         | Nguyễn Thị^Đào            | yes
    Name       | o'brien*            | O’Brien^Pat               | yes
    Name       | иванов*             | ИВАНОВ^Пётр               | yes
    Name       | *петр               | ИВАНОВ^Пётр               | yes
    Name       | قباني^لنزار         | قَبَّانِي^لنزار                | yes
    Name       | Yamada^Tarou        | Yamada^Tarou=山田^太郎=やまだ^たろう | yes
    Name       | 山田^太郎           | Yamada^Tarou=山田^太郎=やまだ^たろう | yes
    Name       | やまだ^たろう       | Yamada^Tarou=山田^太郎=やまだ^たろう | yes
    Name       | ヤマダ^タロウ       | Yamada^Tarou=山田^太郎=やまだ^たろう | no
    Name       | 山田*               | Yamada^Tarou=山田^太郎=やまだ^たろう | yes
    Name       | 山?^太郎            | Yamada^Tarou=山田^太郎=やまだ^たろう | yes
    Name       | 山田                | Yamada^Tarou=山田^太郎=やまだ^たろう | no
    Name       | =山田^太郎          | Yamada^Tarou=山田^太郎=やまだ^たろう | yes
    Name       | =山田^太郎          | 山田^太郎                 | no
    Name       | Yamada^Tarou=山田^太郎 | Yamada^Tarou=山田^太郎=やまだ^たろう | yes
    Name       | Yamada^Tarou=山本^太郎 | Yamada^Tarou=山田^太郎  | no
    Name       | Yamada*=山田*       | Yamada^Tarou=山田^太郎    | yes
    Name       | Tarou=*             | Yamada^Tarou=山田^太郎    | no
    Name       | ﾔﾏﾀﾞ^ﾀﾛｳ            | ヤマダ^タロウ=山田^太郎   | yes
    Name       | ＹＡＭＡＤＡ＊      | Yamada^Tarou              | yes
    Name       | 김*                 | Kim^Huijung=金^喜中=김^희중 | yes
    Name       | 기*                 | Kim^Huijung=金^喜中=김^희중 | no
    Name       | ?^희중              | Kim^Huijung=金^喜中=김^희중 | yes
    Name       | House               | Wilson\House              | yes
    Name       | Wilson*House        | Wilson\House              | no
    Name       | House\Cuddy         | Cuddy                     | yes
    # codes
    Code       | P5-09051            | P5-09051^SRT^MRI Head     | yes
    Code       | P5-09051^SRT        | P5-09051^SRT^MRI Head     | yes
    Code       | P5-09051^DCM        | P5-09051^SRT^MRI Head     | no
    Code       | ^SRT                | P5-09051^SRT^MRI Head     | yes
    Code       | ^^mri head          | P5-09051^SRT^MRI Head     | yes
    Code       | MRI Head            | P5-09051^SRT^MRI Head     | no
    Code       | mri*                | P5-09051^SRT^MRI Head     | yes
    Code       | B                   | A^X^a\B^Y^b               | yes
    Code       | B^X                 | A^X^a\B^Y^b               | no
    Code       | A^X^a^more          | A^X^a                     | no
";

/// Query | name | whether each word fits.
const WORDS: &str = r"
                    | Müller^Jörg               | yes
    *               | Müller^Jörg               | yes
    mül             | Müller^Jörg               | yes
    jörg mül        | Müller^Jörg               | yes
    Müller, Jörg    | Müller^Jörg               | yes
    mul jor         | Müller^Jörg               | yes
    mul jorx        | Müller^Jörg               | no
    ller            | Müller^Jörg               | no
    *ller           | Müller^Jörg               | yes
    *ller*          | Müller^Jörg               | yes
    m?l             | Müller^Jörg               | yes
    mul*jor         | Müller^Jörg               | yes
    jor*mul         | Müller^Jörg               | no
    müller^jörg     | Müller^Jörg               | yes
    luden           | Müller-Lüdenscheidt^Karl  | yes
    müller-lüd      | Müller-Lüdenscheidt^Karl  | yes
    karl müller     | Müller-Lüdenscheidt^Karl  | yes
    van             | van der Berg^Anna         | yes
    berg anna       | van der Berg^Anna         | yes
    山田            | Yamada^Tarou=山田^太郎    | yes
    山田 tarou      | Yamada^Tarou=山田^太郎    | yes
    山田 jiro       | Yamada^Tarou=山田^太郎    | no
    smith ann       | Smith^John\Doe^Ann        | no
    doe ann         | Smith^John\Doe^Ann        | yes
    smith           |                           | no
";

fn kind(name: &str) -> ValueKind {
    use ValueKind::*;
    let all = [Age, Code, CodeString, Date, Id, Integer, Name, Text, Time, Uid, Unsigned];
    all.into_iter().find(|kind| format!("{kind:?}") == name).unwrap()
}

fn rows(table: &str) -> impl Iterator<Item = Vec<String>> {
    let rows = table.lines().filter(|line| line.contains('|'));
    rows.map(|row| row.split('|').map(|column| column.trim().replace('_', " ")).collect())
}

/// What an index may rely on to find the values that fit.
fn narrows(wanted: &Match, kind: ValueKind, value: &str) {
    let keys: Vec<_> = value.split('\\').map(|one| search_key(kind, one)).collect();
    let literals = wanted.literals(kind);
    assert!(keys.iter().any(|key| literals.iter().all(|run| key.contains(run))), "{literals:?} in {value}");
    let prefix = wanted.prefix(kind);
    let begins = |key: &String| key.starts_with(&prefix) || key.split('=').any(|group| group.starts_with(&prefix));
    assert!(keys.iter().any(begins), "{prefix} before {value}");
}

#[test]
fn values_match_as_they_should() {
    let mut count = 0;
    for row in rows(CASES) {
        let [of, query, value, expected] = row.as_slice() else { panic!("{row:?}") };
        let kind = kind(of);
        let wanted = Match::parse(kind, query).unwrap_or_else(|e| panic!("{row:?}: {e}"));
        assert_eq!(wanted.matches(kind, value), expected == "yes", "{row:?}: {wanted:?}");
        if expected == "yes" {
            narrows(&wanted, kind, value);
        }
        count += 1;
    }
    assert!(count >= 190, "{count} cases were read");
}

#[test]
fn words_match_names_in_any_order() {
    for row in rows(WORDS) {
        let [query, value, expected] = row.as_slice() else { panic!("{row:?}") };
        let wanted = Match::words(query);
        assert_eq!(wanted.matches(ValueKind::Name, value), expected == "yes", "{row:?}: {wanted:?}");
        if expected == "yes" {
            narrows(&wanted, ValueKind::Name, value);
        }
    }
}

#[test]
fn what_cannot_be_asked_is_refused() {
    use MatchError::{Date, Number, Time, Wildcard};
    let cases = [
        (ValueKind::Date, "2024", Date),
        (ValueKind::Date, "20241301", Date),
        (ValueKind::Date, "20240132", Date),
        (ValueKind::Date, "20240131-2024", Date),
        (ValueKind::Date, "2024-01-31", Date),
        (ValueKind::Date, "-", Date),
        (ValueKind::Date, "202401*", Date),
        (ValueKind::Date, "２０２４０１３１", Date),
        (ValueKind::Date, "20240131\\20240201", Date),
        (ValueKind::Time, "1", Time),
        (ValueKind::Time, "24", Time),
        (ValueKind::Time, "1060", Time),
        (ValueKind::Time, "101530.1234567", Time),
        (ValueKind::Time, "10.5", Time),
        (ValueKind::Time, "-", Time),
        (ValueKind::Time, "10*", Time),
        (ValueKind::Integer, "x", Number),
        (ValueKind::Integer, "1.5", Number),
        (ValueKind::Integer, "1*", Wildcard),
        (ValueKind::Unsigned, "?", Wildcard),
        (ValueKind::Uid, "1.2.*", Wildcard),
        (ValueKind::Age, "03?Y", Wildcard),
        (ValueKind::CodeString, "CT\\M*", Wildcard),
        (ValueKind::Name, "a*\\b", Wildcard),
    ];
    for (kind, query, expected) in cases {
        assert_eq!(Match::parse(kind, query), Err(expected), "{kind:?} {query}");
    }
}

#[test]
fn queries_have_one_form() {
    let parsed = |kind, query| Match::parse(kind, query).unwrap();
    assert_eq!(parsed(ValueKind::Uid, "2\\1,2"), Match::List(vec!["1".to_owned(), "2".to_owned()]));
    assert_eq!(parsed(ValueKind::Uid, "2\\2"), Match::One("2".to_owned()));
    assert_eq!(parsed(ValueKind::Date, "2024.01.31"), Match::One("20240131".to_owned()));
    let hour = Match::Range { from: Some("100000.000000".to_owned()), to: Some("105959.999999".to_owned()) };
    assert_eq!(parsed(ValueKind::Time, "10"), hour);
    assert_eq!(parsed(ValueKind::Time, "10-10"), hour);
    let name = parsed(ValueKind::Name, "Mül**r^J?rg^^");
    assert!(matches!(&name, Match::Pattern(pattern) if pattern.as_str() == "mul*r^j?rg"));
    assert_eq!(
        (name.literals(ValueKind::Name).join("|"), name.prefix(ValueKind::Name)),
        ("mul|r^j|rg".into(), "mul".into())
    );
    assert!(matches!(Match::words("Ann Smi"), Match::Words(words) if words.len() == 2 && words[1].as_str() == "smi*"));
}

#[test]
fn patterns_take_no_more_steps_than_they_may() {
    let value = "a".repeat(1_000) + "b";
    let wanted = Match::parse(ValueKind::Text, &("a*".repeat(500) + "c")).unwrap();
    for _ in 0..50 {
        assert!(!wanted.matches(ValueKind::Text, &value));
    }
}
