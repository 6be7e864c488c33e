//! How fast an index answers what a hospital asks, with as many studies as a large one has.
//!
//! ```text
//! search INDEX [STUDIES [TIMES]]
//! ```
//!
//! fills the database INDEX where it holds fewer STUDIES (100,000), by committing as a transfer does, then asks each
//! question TIMES (100) and prints the median and the 95th percentile.
#![allow(clippy::print_stdout, reason = "a tool of the benches, which reports to whoever started it")]

use std::env;
use std::error::Error;
use std::path::Path;

use imgxfer_core::clock::{Stopwatch, UnixSeconds};
use imgxfer_core::dicom::{Attributes, Level, Tag, tags};
use imgxfer_core::store::search::Search;
use imgxfer_core::store::{CommitBatch, Index, Scope, SqliteIndex, StoredInstance};
use imgxfer_core::testing::{Sample, peer};

type Outcome = Result<(), Box<dyn Error>>;

const FAMILIES: [&str; 24] = [
    "SMITH", "JONES", "TAYLOR", "BROWN", "WILLIAMS", "WILSON", "JOHNSON", "DAVIES", "PATEL", "ROBINSON", "WRIGHT",
    "THOMPSON", "EVANS", "WALKER", "WHITE", "ROBERTS", "GREEN", "HALL", "WOOD", "JACKSON", "Müller", "Nowak",
    "O'NEILL", "山田",
];
const GIVEN: [&str; 16] = [
    "Oliver", "Amelia", "George", "Isla", "Harry", "Ava", "Noah", "Mia", "Jack", "Ivy", "Leo", "Lily", "Muhammad",
    "Freya", "Zoë", "太郎",
];
const DESCRIPTIONS: [&str; 8] = [
    "CT Thorax with contrast",
    "MRI Head",
    "XR Chest PA",
    "US Abdomen",
    "CT Head",
    "MRI Knee left",
    "XR Hand right",
    "MG Screening",
];
const MODALITIES: [&str; 6] = ["CT", "MR", "CR", "US", "DX", "MG"];

/// Numbers that depend on the seed alone (`SplitMix64`).
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn one_of<'a>(list: &[&'a str], seed: u64) -> &'a str {
    list[usize::try_from(mixed(seed) % list.len() as u64).unwrap_or(0)]
}

/// Syllables make names that are mostly rare, as people's are.
fn family(seed: u64) -> String {
    const SYLLABLES: [&str; 20] = [
        "ba", "ker", "son", "mar", "lin", "dor", "ham", "ton", "wes", "ley", "gra", "fos", "ter", "abc", "ric", "hol",
        "den", "cro", "per", "nel",
    ];
    match mixed(seed) % 3 {
        0 => one_of(&FAMILIES, seed ^ 1).to_owned(),
        parts => (0..=parts).map(|n| one_of(&SYLLABLES, seed ^ (n + 7))).collect::<String>().to_uppercase(),
    }
}

fn study(number: u64) -> StoredInstance {
    // Two studies a patient, on the whole.
    let patient = mixed(number) % 500_000;
    let day = mixed(number ^ 0xda7e) % 3650;
    let (year, month, day) = (2017 + day / 365, 1 + day % 365 / 31, 1 + day % 365 % 22);
    let modality = one_of(&MODALITIES, number ^ 3);
    let attributes = Attributes::default()
        .with(tags::PATIENT_ID, format!("{:08}", 10_000_000 + patient * 7))
        .with(tags::PATIENT_NAME, format!("{}^{}", family(patient), one_of(&GIVEN, patient ^ 2)))
        .with(tags::PATIENT_BIRTH_DATE, format!("{:04}0{}1{}", 1930 + patient % 90, 1 + patient % 9, patient % 9))
        .with(tags::PATIENT_SEX, if patient.is_multiple_of(2) { "F" } else { "M" })
        .with(tags::ACCESSION_NUMBER, format!("RF{number:09}"))
        .with(tags::STUDY_DATE, format!("{year:04}{month:02}{day:02}"))
        .with(tags::STUDY_TIME, format!("{:02}{:02}00", number % 24, number % 60))
        .with(tags::STUDY_DESCRIPTION, one_of(&DESCRIPTIONS, number ^ 4))
        .with(tags::REFERRING_PHYSICIAN_NAME, format!("{}^Dr", family(number % 900)))
        .with(tags::STUDY_ID, (number % 100_000).to_string())
        .with(tags::MODALITY, modality)
        .with(tags::SERIES_DESCRIPTION, "axial")
        .with(tags::INSTITUTION_NAME, "General Hospital")
        .with(tags::INSTANCE_NUMBER, "1");
    Sample::new(peer(1), number, 1, 1, 100).stored_with(attributes)
}

fn fill(index: &SqliteIndex, studies: u64) -> Outcome {
    let there = index.totals()?.studies;
    let started = Stopwatch::start();
    let mut next = there;
    while next < studies {
        let end = (next + 2_000).min(studies);
        let orders = index.reserve(end - next)?;
        let instances =
            (next..end).zip(0..).map(|(number, place)| StoredInstance { order: orders.nth(place), ..study(number) });
        let batch = CommitBatch { instances: instances.collect(), at: UnixSeconds(1), ..CommitBatch::default() };
        index.commit(&batch)?;
        next = end;
    }
    if next > there {
        let seconds = started.elapsed().as_secs_f64();
        println!("filled {} studies in {seconds:.0} s, {:.0} a second", next - there, (next - there) as f64 / seconds);
    }
    Ok(())
}

/// Asks `question` with a value of each number, and prints how long the answers took.
fn ask(index: &SqliteIndex, name: &str, times: u64, question: &dyn Fn(u64) -> Search) -> Outcome {
    let scope = Scope::owner(peer(1));
    let mut rows = 0;
    let mut took = Vec::new();
    for number in 0..times {
        let search = question(mixed(number ^ 0xa5));
        let started = Stopwatch::start();
        rows += index.find(&scope, &search)?.rows.len();
        took.push(started.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    let at = |part: usize| took[(took.len() * part / 100).min(took.len() - 1)];
    println!(
        "{name:<34} median {:>8.2} ms   p95 {:>8.2} ms   {:>7.1} rows",
        at(50),
        at(95),
        rows as f64 / times as f64
    );
    Ok(())
}

fn main() -> Outcome {
    let mut args = env::args().skip(1);
    let path = args.next().ok_or("usage: search INDEX [STUDIES [TIMES]]")?;
    let studies = args.next().map_or(Ok(100_000), |n| n.parse())?;
    let times = args.next().map_or(Ok(100), |n| n.parse())?;
    let index = SqliteIndex::open(Path::new(&path))?;
    fill(&index, studies)?;
    let by = |tag: Tag, value: &str| Search { limit: 100, ..Search::default() }.by(tag, value);
    let of = |number: u64| study(number % studies);
    let value = |number: u64, tag: Tag| of(number).attributes.get(tag).to_owned();
    let part = |text: &str, at: u64| -> String {
        let chars: Vec<char> = text.chars().collect();
        let start = usize::try_from(at).unwrap_or(0) % chars.len().saturating_sub(2).max(1);
        format!("*{}*", chars[start..(start + 3).min(chars.len())].iter().collect::<String>())
    };
    let asked = |search: Result<Search, imgxfer_core::store::search::SearchError>| search.unwrap_or_default();
    type Question<'a> = Box<dyn Fn(u64) -> Search + 'a>;
    let questions: Vec<(&str, Question<'_>)> = vec![
        ("patient ID, exact", Box::new(|n| asked(by(tags::PATIENT_ID, &value(n, tags::PATIENT_ID))))),
        ("accession number, exact", Box::new(|n| asked(by(tags::ACCESSION_NUMBER, &value(n, tags::ACCESSION_NUMBER))))),
        (
            "20 Study UIDs",
            Box::new(|n| Search {
                studies: (0..20).map(|k| of(mixed(n ^ k)).entry.study).collect(),
                ..Search::default()
            }),
        ),
        (
            "SOP Instance UID alone",
            Box::new(|n| Search {
                level: Level::Instance,
                instances: vec![of(n).entry.sop_instance],
                ..Search::default()
            }),
        ),
        ("one day", Box::new(|n| asked(by(tags::STUDY_DATE, &value(n, tags::STUDY_DATE))))),
        (
            "a week and CT",
            Box::new(|n| {
                let date = value(n, tags::STUDY_DATE);
                let week = format!("{date}-{:08}", (date.parse::<u64>().unwrap_or(0) + 6).min(20_261_231));
                asked(by(tags::STUDY_DATE, &week).and_then(|search| search.by(tags::MODALITIES_IN_STUDY, "CT")))
            }),
        ),
        ("name, exact", Box::new(|n| asked(by(tags::PATIENT_NAME, &value(n, tags::PATIENT_NAME))))),
        (
            "name, 'ABC*'",
            Box::new(|n| {
                let name = value(n, tags::PATIENT_NAME);
                asked(by(tags::PATIENT_NAME, &format!("{}*", name.chars().take(3).collect::<String>())))
            }),
        ),
        ("name, '*abc*'", Box::new(|n| asked(by(tags::PATIENT_NAME, &part(&value(n, tags::PATIENT_NAME), n))))),
        (
            "name, '*abc*', nobody's",
            Box::new(|n| {
                let letter = |k: u64| char::from(b'a' + u8::try_from(mixed(n ^ k) % 26).unwrap_or(0));
                asked(by(tags::PATIENT_NAME, &format!("*{}q{}*", letter(1), letter(2))))
            }),
        ),
        ("name, two characters of Japanese", Box::new(|_| asked(by(tags::PATIENT_NAME, "*山田*")))),
        (
            "name, one letter",
            Box::new(|n| {
                asked(by(
                    tags::PATIENT_NAME,
                    &format!("*{}*", value(n, tags::PATIENT_NAME).chars().next().unwrap_or('a')),
                ))
            }),
        ),
        ("ID, '*123*'", Box::new(|n| asked(by(tags::PATIENT_ID, &part(&value(n, tags::PATIENT_ID), n))))),
        ("description, '*thorax*'", Box::new(|_| asked(by(tags::STUDY_DESCRIPTION, "*thorax*")))),
        ("birth date, exact", Box::new(|n| asked(by(tags::PATIENT_BIRTH_DATE, &value(n, tags::PATIENT_BIRTH_DATE))))),
        (
            "series of a day",
            Box::new(|n| {
                let series = Search { level: Level::Series, limit: 100, ..Search::default() };
                asked(series.by(tags::STUDY_DATE, &value(n, tags::STUDY_DATE)))
            }),
        ),
        ("100 newest", Box::new(|_| Search { limit: 100, ..Search::default() })),
    ];
    for (name, question) in &questions {
        ask(&index, name, times, question.as_ref())?;
    }
    ask(&index, "10,000 rows", times.min(20), &|_| Search { limit: 10_000, ..Search::default() })?;
    let all = |_| Search { limit: 1, count: true, ..Search::default() };
    ask(&index, "count of all", times.min(3), &all)
}
