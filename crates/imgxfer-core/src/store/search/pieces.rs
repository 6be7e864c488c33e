//! Pieces of text by which an index finds what holds a pattern: single characters, and pairs of neighbours.
//!
//! Whatever matches a pattern has all pieces of its literal runs; what has them need not match, and is compared. Pairs
//! are enough for Chinese and Japanese names of two characters, and few enough to be kept for all studies. Common names
//! have common pairs: each group of a name is a piece of its own besides, by its hash.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Criterion, Search};
use crate::dicom::{Attribute, Attributes, Match, Tag, ValueKind, search_key, tags};
use crate::store::StudyPatient;

/// Attributes that pieces are kept of, each with the letter that stands in front of them.
const FIELDS: [(Tag, char); 8] = [
    (tags::PATIENT_NAME, 'n'),
    (tags::PATIENT_ID, 'i'),
    (tags::ACCESSION_NUMBER, 'a'),
    (tags::STUDY_DESCRIPTION, 'd'),
    (tags::REFERRING_PHYSICIAN_NAME, 'r'),
    (tags::PHYSICIANS_READING_STUDY, 'p'),
    (tags::STUDY_ID, 's'),
    (tags::PROCEDURE_CODE_SEQUENCE, 'c'),
];

/// Letters of what is kept whole: modalities and birth dates.
const MODALITY: char = 'm';
const BIRTH_DATE: char = 'b';

fn push(pieces: &mut BTreeSet<String>, field: char, piece: &[char]) {
    let mut word = String::with_capacity(1 + 6 * piece.len());
    word.push(field);
    for c in piece {
        // The tokeniser takes letters and digits.
        let _ = write!(word, "{:x}x", u32::from(*c));
    }
    pieces.insert(word);
}

/// A group of a name as a whole. Names of equal hashes are told apart when they are compared.
fn group(field: char, folded: &str) -> String {
    let mut word = format!("{field}w");
    for byte in &blake3::hash(folded.as_bytes()).as_bytes()[..5] {
        let _ = write!(word, "{byte:02x}");
    }
    word
}

/// The groups of a folded name.
fn groups(folded: &str) -> impl Iterator<Item = &str> {
    folded.split('=').filter(|group| !group.is_empty())
}

/// All pieces of folded text.
fn pieces_of(field: char, text: &str, pieces: &mut BTreeSet<String>) {
    let chars: Vec<char> = text.chars().collect();
    chars.iter().for_each(|c| push(pieces, field, &[*c]));
    chars.windows(2).for_each(|pair| push(pieces, field, pair));
}

/// The pieces of a study, divided by blanks, each once and in order.
pub(in crate::store) fn of_study(attributes: &Attributes, patients: &[StudyPatient], modalities: &[String]) -> String {
    let mut pieces = BTreeSet::new();
    for (tag, field) in FIELDS {
        let values = patients.iter().map(|patient| &patient.attributes).chain([attributes]);
        let kind = Attribute::of(tag).map_or(ValueKind::Text, |attribute| attribute.kind);
        let keys = values.flat_map(|values| values.each(tag)).map(|value| search_key(kind, value));
        for text in keys {
            pieces_of(field, &text, &mut pieces);
            if kind == ValueKind::Name {
                pieces.extend(groups(&text).map(|text| group(field, text)));
            }
        }
    }
    let dates = patients.iter().flat_map(|patient| patient.attributes.each(tags::PATIENT_BIRTH_DATE));
    let dates = dates.map(|date| (BIRTH_DATE, search_key(ValueKind::Date, date)));
    for (letter, whole) in modalities.iter().map(|modality| (MODALITY, modality.clone())).chain(dates) {
        push(&mut pieces, letter, &whole.chars().collect::<Vec<_>>());
    }
    Vec::from_iter(pieces).join(" ")
}

/// A question by pieces that everything has which `search` admits; `None` where it asks of nothing that pieces are
/// kept of. In the language of SQLite's FTS5.
pub(in crate::store) fn question(search: &Search) -> Option<String> {
    let mut terms: Vec<String> = search.criteria.iter().filter_map(of_criterion).collect();
    if !search.modalities.is_empty() {
        let mut pieces = BTreeSet::new();
        search.modalities.iter().for_each(|m| push(&mut pieces, MODALITY, &m.chars().collect::<Vec<_>>()));
        terms.push(format!("({})", Vec::from_iter(pieces).join(" OR ")));
    }
    (!terms.is_empty()).then(|| terms.join(" AND "))
}

/// Whether few studies can have what is asked for: a whole name, or a day of birth.
pub(in crate::store) fn are_few(search: &Search) -> bool {
    search.criteria.iter().any(|criterion| {
        let is_whole =
            criterion.attribute.tag == tags::PATIENT_NAME || criterion.attribute.tag == tags::PATIENT_BIRTH_DATE;
        is_whole && matches!(criterion.matching, Match::One(_))
    })
}

fn of_criterion(criterion: &Criterion) -> Option<String> {
    let tag = criterion.attribute.tag;
    if let (tags::PATIENT_BIRTH_DATE, Match::One(date)) = (tag, &criterion.matching) {
        let mut pieces = BTreeSet::new();
        push(&mut pieces, BIRTH_DATE, &date.chars().collect::<Vec<_>>());
        return pieces.pop_first();
    }
    let field = FIELDS.iter().find(|(of, _)| *of == tag).map(|(_, field)| *field)?;
    let of_text = |text: &str| {
        let folded: Vec<char> = text.chars().collect();
        let mut pieces = BTreeSet::new();
        match folded.as_slice() {
            [] => {}
            [one] => push(&mut pieces, field, &[*one]),
            more => more.windows(2).for_each(|pair| push(&mut pieces, field, pair)),
        }
        pieces
    };
    let all = |texts: &mut dyn Iterator<Item = &str>| {
        let pieces: BTreeSet<String> = texts.flat_map(of_text).collect();
        (!pieces.is_empty()).then(|| Vec::from_iter(pieces).join(" AND "))
    };
    match &criterion.matching {
        // One of several would do.
        Match::List(_) => None,
        Match::One(name) if criterion.attribute.kind == ValueKind::Name => {
            let all: BTreeSet<String> = groups(name).map(|text| group(field, text)).collect();
            (!all.is_empty()).then(|| Vec::from_iter(all).join(" AND "))
        }
        matching => all(&mut matching.literals(criterion.attribute.kind).iter().map(String::as_str)),
    }
}
