//! The values that the scanner keeps, of top-level elements and of a few in the items of top-level sequences, as they
//! stand in the file; and what an index keeps of them.

use std::borrow::Cow;
use std::ops::Range;

use super::charset::Charset;
use super::element::Encoding;
use super::tags::{self, KEPT};
use super::{Attribute, Attributes, CATALOGUE, Tag, ValueKind, text};
use crate::ids::StandardUid;

/// As much of an element as is kept, and longest attribute that comes of it, in bytes.
pub(super) const ELEMENT_BYTES_MAX: usize = 1024;

/// As much of an element of an item as is kept.
pub(super) const ITEM_VALUE_BYTES_MAX: usize = 256;

/// Items of a sequence of which values are kept.
const ITEMS_MAX: usize = 16;

/// Elements of a code (PS3.3 table 8.8-1).
const CODE_PARTS: [Tag; 5] =
    [tags::CODE_VALUE, tags::CODING_SCHEME_DESIGNATOR, tags::CODE_MEANING, tags::LONG_CODE_VALUE, tags::URN_CODE_VALUE];

/// Values by tag; the first of each.
#[derive(Debug)]
pub(super) struct Values {
    /// One behind the other: a small instance is scanned in the time of a few dozen allocations.
    bytes: Vec<u8>,
    places: [Option<Range<usize>>; KEPT.len()],
    items: Vec<ItemValue>,
    big_endian: bool,
}

/// Where the value of an element of an item of a top-level sequence stands.
#[derive(Debug)]
struct ItemValue {
    sequence: Tag,
    /// Counted from 1.
    item: usize,
    tag: Tag,
    place: Range<usize>,
}

/// Room for the values of nearly every file.
const VALUES_BYTES: usize = 1 << 10;

impl Values {
    pub(super) fn new(encoding: Encoding) -> Self {
        let bytes = Vec::with_capacity(VALUES_BYTES);
        Self { bytes, places: [const { None }; KEPT.len()], items: Vec::new(), big_endian: encoding.big_endian }
    }

    /// Whether values of this tag are kept.
    pub(super) fn keeps(tag: Tag) -> bool {
        KEPT.binary_search(&tag).is_ok()
    }

    /// Keeps a value. Returns `false` when there was another one of this tag, which stays.
    pub(super) fn keep(&mut self, tag: Tag, value: &[u8]) -> bool {
        let place = KEPT.binary_search(&tag).ok().and_then(|i| self.places.get_mut(i));
        match place {
            Some(place @ None) => {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(value);
                *place = Some(start..self.bytes.len());
                true
            }
            Some(Some(_)) => false,
            None => true,
        }
    }

    /// Whether there is an element of this tag, which may be empty.
    pub(super) fn has(&self, tag: Tag) -> bool {
        KEPT.binary_search(&tag).is_ok_and(|at| self.places.get(at).is_some_and(Option::is_some))
    }

    /// Whether the data set names its study, series and instance, be it by what is no UID.
    pub(super) fn has_uids(&self) -> bool {
        [tags::SOP_INSTANCE_UID, tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID].iter().all(|tag| self.has(*tag))
    }

    /// Whether anything says who or what this is.
    pub(super) fn identifies_something(&self) -> bool {
        let known_by = [
            tags::SOP_CLASS_UID,
            tags::SOP_INSTANCE_UID,
            tags::STUDY_INSTANCE_UID,
            tags::SERIES_INSTANCE_UID,
            tags::PATIENT_ID,
        ];
        known_by.iter().any(|tag| !self.raw(*tag).is_empty())
    }

    /// Whether it has a SOP class and a UID of its own, of its study or of its series, both as they should be.
    pub(super) fn names_an_instance(&self) -> bool {
        let is_uid = |tag: &Tag| self.uid(*tag).is_some_and(|uid| StandardUid::new(uid).is_ok());
        let known_by = [tags::SOP_INSTANCE_UID, tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID];
        self.sop_class().is_some() && known_by.iter().any(is_uid)
    }

    /// Whether values of items of this top-level sequence are kept.
    pub(super) fn keeps_items(sequence: Tag) -> bool {
        matches!(
            sequence,
            tags::REQUEST_ATTRIBUTES_SEQUENCE
                | tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE
                | tags::PROCEDURE_CODE_SEQUENCE
                | tags::CONCEPT_NAME_CODE_SEQUENCE
        )
    }

    /// Whether values of this tag are kept of such a sequence's items.
    pub(super) fn keeps_in_item(sequence: Tag, tag: Tag) -> bool {
        let is_code = |sequence| Attribute::of(sequence).is_some_and(|found| found.kind == ValueKind::Code);
        let is_within = || Attribute::of(tag).is_some_and(|found| found.within == Some(sequence));
        tag == tags::SPECIFIC_CHARACTER_SET || is_within() || CODE_PARTS.contains(&tag) && is_code(sequence)
    }

    /// Keeps a value of an item, which is counted from 1. There are at most as many as there are tags that
    /// [`Values::keeps_in_item`] and items that are kept.
    pub(super) fn keep_in_item(&mut self, sequence: Tag, item: usize, tag: Tag, value: &[u8]) {
        if item <= ITEMS_MAX && self.in_item(sequence, item, tag).is_none() {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(value);
            self.items.push(ItemValue { sequence, item, tag, place: start..self.bytes.len() });
        }
    }

    fn in_item(&self, sequence: Tag, item: usize, tag: Tag) -> Option<&[u8]> {
        let found = self.items.iter().find(|kept| (kept.sequence, kept.item, kept.tag) == (sequence, item, tag));
        found.and_then(|kept| self.bytes.get(kept.place.clone()))
    }

    /// A value as it stands in the file, empty where there is none.
    pub(super) fn raw(&self, tag: Tag) -> &[u8] {
        let place = KEPT.binary_search(&tag).ok().and_then(|i| self.places.get(i)?.clone());
        place.and_then(|place| self.bytes.get(place)).unwrap_or(&[])
    }

    /// A UID as text, unchecked; `None` where there is none or it is not text.
    pub(super) fn uid(&self, tag: Tag) -> Option<&str> {
        std::str::from_utf8(self.raw(tag)).ok()
    }

    /// SOP Class UID (0008,0016).
    pub(super) fn sop_class(&self) -> Option<StandardUid> {
        StandardUid::new(self.uid(tags::SOP_CLASS_UID)?).ok()
    }

    /// Stands for a value; `None` where there is none.
    pub(super) fn fingerprint(&self, tag: Tag) -> Option<u64> {
        let value = Some(self.raw(tag)).filter(|value| !value.is_empty())?;
        blake3::hash(value).as_bytes().first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// The first number of a US value; of a UL value where a writer chose that.
    pub(super) fn number(&self, tag: Tag) -> Option<u32> {
        let encoding = Encoding { implicit: false, big_endian: self.big_endian };
        match *self.raw(tag) {
            [a, b, c, d] => {
                let long = encoding.u32([a, b, c, d]);
                // Two US values, or one UL.
                Some(if long > u32::from(u16::MAX) { u32::from(encoding.u16([a, b])) } else { long })
            }
            [a, b, ..] => Some(u32::from(encoding.u16([a, b]))),
            _ => None,
        }
    }

    /// The first number of an IS value.
    pub(super) fn integer_text(&self, tag: Tag) -> Option<u32> {
        let text = std::str::from_utf8(self.raw(tag)).ok()?;
        text.split('\\').next()?.trim_matches(['\0', ' ']).parse().ok()
    }

    /// A code string, as it stands.
    pub(super) fn code(&self, tag: Tag) -> &str {
        self.uid(tag).unwrap_or("").trim_matches(['\0', ' '])
    }

    /// Everything that an index keeps of what stands in the file, decoded by its character sets.
    pub(super) fn attributes(&self) -> Attributes {
        let charset = Charset::of(self.raw(tags::SPECIFIC_CHARACTER_SET));
        let value = |attribute: &Attribute| match (attribute.kind, attribute.within) {
            (_, Some(sequence)) => self.of_items(attribute, sequence, charset),
            (ValueKind::Code, None) => self.codes(attribute.tag, charset),
            (ValueKind::Unsigned, None) => {
                self.number(attribute.tag).map_or_else(String::new, |number| number.to_string())
            }
            (kind, None) => {
                let text = charset.decode(self.raw(attribute.tag), kind == ValueKind::Name);
                if attribute.is_one_value() { text::one(&text) } else { text::values(kind, &text) }
            }
        };
        let in_file = CATALOGUE.iter().filter(|attribute| attribute.tag != tags::DERIVED_UIDS);
        in_file.map(|attribute| (attribute.tag, value(attribute))).collect()
    }

    /// The distinct values that an attribute has in the items of a sequence.
    fn of_items(&self, attribute: &Attribute, sequence: Tag, charset: Charset) -> String {
        let texts = (1..=ITEMS_MAX).filter_map(|item| {
            let raw = self.in_item(sequence, item, attribute.tag)?;
            Some(self.charset_of_item(sequence, item, charset).decode(raw, attribute.kind == ValueKind::Name))
        });
        text::distinct(attribute.kind, texts)
    }

    /// The distinct codes in the items of a sequence, each as `value^scheme^meaning`.
    fn codes(&self, sequence: Tag, charset: Charset) -> String {
        let codes = (1..=ITEMS_MAX).filter_map(|item| {
            let charset = self.charset_of_item(sequence, item, charset);
            let part = |tag| {
                let raw = self.in_item(sequence, item, tag).filter(|raw| !raw.is_empty())?;
                Some(text::one(&charset.decode(raw, false)).replace('^', " "))
            };
            let value = [tags::CODE_VALUE, tags::LONG_CODE_VALUE, tags::URN_CODE_VALUE].into_iter().find_map(part);
            let meaning = part(tags::CODE_MEANING);
            let scheme = part(tags::CODING_SCHEME_DESIGNATOR);
            // A scheme alone says nothing.
            let is_code = value.is_some() || meaning.is_some();
            let parts = [value, scheme, meaning].map(Option::unwrap_or_default);
            is_code.then(|| Cow::Owned(parts.join("^").trim_end_matches('^').to_owned()))
        });
        text::distinct(ValueKind::Code, codes)
    }

    /// An item may have character sets of its own (PS3.3 section C.12.1.1.2).
    fn charset_of_item(&self, sequence: Tag, item: usize, outer: Charset) -> Charset {
        self.in_item(sequence, item, tags::SPECIFIC_CHARACTER_SET).map_or(outer, Charset::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_kept_of_the_sequences_of_the_catalogue() {
        for attribute in &CATALOGUE {
            let sequence = if attribute.kind == ValueKind::Code { Some(attribute.tag) } else { attribute.within };
            assert!(sequence.is_none_or(Values::keeps_items), "{attribute:?}");
            assert!(attribute.within.is_none_or(|sequence| Values::keeps_in_item(sequence, attribute.tag)));
        }
    }
}
