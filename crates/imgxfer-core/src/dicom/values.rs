//! The values of top-level elements that the scanner keeps, as they stand in the file.

use std::ops::Range;

use super::charset::Charset;
use super::element::Encoding;
use super::tags::{self, KEPT};
use super::{Attribute, Attributes, CATALOGUE, Tag, ValueKind, text};
use crate::ids::StandardUid;

/// As much of an element as is kept, and longest attribute that comes of it, in bytes.
pub(super) const ELEMENT_BYTES_MAX: usize = 1024;

/// Values by tag; the first of each.
#[derive(Debug)]
pub(super) struct Values {
    /// One behind the other: a small instance is scanned in the time of a few dozen allocations.
    bytes: Vec<u8>,
    places: [Option<Range<usize>>; KEPT.len()],
    big_endian: bool,
}

/// Room for the values of nearly every file.
const VALUES_BYTES: usize = 1 << 10;

impl Values {
    pub(super) fn new(encoding: Encoding) -> Self {
        let bytes = Vec::with_capacity(VALUES_BYTES);
        Self { bytes, places: [const { None }; KEPT.len()], big_endian: encoding.big_endian }
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

    fn raw(&self, tag: Tag) -> &[u8] {
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

    /// Everything that an index keeps, decoded by the file's character sets.
    pub(super) fn attributes(&self) -> Attributes {
        let charset = Charset::of(self.raw(tags::SPECIFIC_CHARACTER_SET));
        let value = |attribute: &Attribute| match attribute.kind {
            ValueKind::Unsigned => self.number(attribute.tag).map_or_else(String::new, |number| number.to_string()),
            kind => {
                let text = charset.decode(self.raw(attribute.tag), kind == ValueKind::Name);
                if attribute.is_one_value() { text::one(&text) } else { text::values(kind, &text) }
            }
        };
        let kept = CATALOGUE.iter().filter(|attribute| attribute.within.is_none() && attribute.kind != ValueKind::Code);
        kept.map(|attribute| (attribute.tag, value(attribute))).collect()
    }
}
