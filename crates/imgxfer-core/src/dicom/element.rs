//! The header of one data element: tag, value representation and length (PS3.5 section 7.1).

use super::Tag;

/// (FFFE,E000), the beginning of an item.
pub(super) const ITEM: Tag = Tag(0xfffe_e000);
/// (FFFE,E00D), the end of an item of undefined length.
pub(super) const ITEM_END: Tag = Tag(0xfffe_e00d);
/// (FFFE,E0DD), the end of a sequence of undefined length.
pub(super) const SEQUENCE_END: Tag = Tag(0xfffe_e0dd);

/// Bytes of the longest element header.
pub(super) const HEADER_BYTES_MAX: usize = 12;

/// How the elements of a data set are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encoding {
    /// Value representations are not written.
    pub(super) implicit: bool,
    /// Most significant byte first.
    pub(super) big_endian: bool,
}

impl Encoding {
    pub(super) const IMPLICIT: Self = Self { implicit: true, big_endian: false };
    pub(super) const EXPLICIT: Self = Self { implicit: false, big_endian: false };
    pub(super) const EXPLICIT_BIG: Self = Self { implicit: false, big_endian: true };

    pub(super) const IMPLICIT_BIG: Self = Self { implicit: true, big_endian: true };

    pub(super) fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    pub(super) fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    pub(super) fn tag(self, [a, b, c, d]: [u8; 4]) -> Tag {
        Tag::new(self.u16([a, b]), self.u16([c, d]))
    }
}

/// An element's header, or an item's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) tag: Tag,
    /// As written; `None` where it is not.
    pub(super) vr: Option<[u8; 2]>,
    /// Bytes of the header: 8 or 12.
    pub(super) header_len: u64,
    /// Bytes of the value; `None` when undefined.
    pub(super) len: Option<u64>,
    /// The header breaks the standard and was guessed at.
    pub(super) guessed: bool,
}

impl Element {
    /// Reads a header from its first bytes; `None` when there are too few.
    pub(super) fn parse(head: &[u8], encoding: Encoding) -> Option<Self> {
        let (first, rest) = head.split_first_chunk::<4>()?;
        let tag = encoding.tag(*first);
        let (second, rest) = rest.split_first_chunk::<4>()?;
        let [v0, v1, l0, l1] = *second;
        let without_vr = |guessed| {
            let len = defined(encoding.u32(*second));
            Some(Self { tag, vr: None, header_len: 8, len, guessed })
        };
        if encoding.implicit || tag.group() == 0xfffe {
            return without_vr(false);
        }
        let vr = [v0, v1];
        let form = match LengthForm::of(vr) {
            // A value representation of a later edition has the long form (PS3.5 section 7.1.2).
            None if v0.is_ascii_uppercase() && v1.is_ascii_uppercase() => {
                if [l0, l1] == [0, 0] {
                    LengthForm::Long
                } else {
                    LengthForm::Short
                }
            }
            // Some writers leave single elements without it.
            None => return without_vr(true),
            Some(form) => form,
        };
        let vr = Some(vr);
        match form {
            LengthForm::Short => {
                Some(Self { tag, vr, header_len: 8, len: Some(u64::from(encoding.u16([l0, l1]))), guessed: false })
            }
            LengthForm::Long => {
                let len = defined(encoding.u32(*rest.first_chunk::<4>()?));
                Some(Self { tag, vr, header_len: 12, len, guessed: false })
            }
        }
    }

    /// Reads a header that was written another way than `encoding` says of all: one with a value representation among
    /// those without, one with a length of two bytes where there should be four, or one whose value representation is
    /// none. `None` where it is no such header either.
    pub(super) fn parse_other(head: &[u8], encoding: Encoding) -> Option<Self> {
        let (_, rest) = head.split_first_chunk::<4>()?;
        let ([v0, v1, l0, l1], _) = rest.split_first_chunk::<4>()?;
        let (vr, reserved) = ([*v0, *v1], [*l0, *l1]);
        let form = LengthForm::of(vr);
        let other = match (encoding.implicit, form, reserved) {
            (true, Some(LengthForm::Short), _) | (true, Some(LengthForm::Long), [0, 0]) => {
                Self::parse(head, Encoding { implicit: false, ..encoding })?
            }
            (true, ..) | (false, Some(_), [0, 0]) | (false, Some(LengthForm::Short), _) => return None,
            (false, ..) => {
                let tag = Self::parse(head, Encoding { implicit: true, ..encoding })?.tag;
                Self { tag, vr: Some(vr), header_len: 8, len: Some(u64::from(encoding.u16(reserved))), guessed: true }
            }
        };
        Some(Self { guessed: true, ..other })
    }

    /// Whether a value of undefined length consists of fragments rather than of items with elements.
    pub(super) fn holds_fragments(&self) -> bool {
        self.tag == super::tags::PIXEL_DATA
            || matches!(self.vr.as_ref(), Some(b"OB" | b"OW" | b"OF" | b"OD" | b"OL" | b"OV"))
    }

    /// Whether a value of defined length is a sequence, or may be one if it begins with an item.
    pub(super) fn may_be_sequence(&self) -> bool {
        matches!(self.vr.as_ref(), None | Some(b"SQ" | b"UN"))
    }
}

fn defined(len: u32) -> Option<u64> {
    (len != u32::MAX).then_some(u64::from(len))
}

/// Whether the length has two bytes or, behind two reserved ones, four.
#[derive(Clone, Copy)]
enum LengthForm {
    Short,
    Long,
}

impl LengthForm {
    /// The form of a value representation that the standard knows (PS3.5 tables 7.1-1 and 7.1-2).
    fn of(vr: [u8; 2]) -> Option<Self> {
        match &vr {
            b"AE" | b"AS" | b"AT" | b"CS" | b"DA" | b"DS" | b"DT" | b"FL" | b"FD" | b"IS" | b"LO" | b"LT" | b"PN"
            | b"SH" | b"SL" | b"SS" | b"ST" | b"TM" | b"UI" | b"UL" | b"US" => Some(Self::Short),
            b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT" | b"UV" => {
                Some(Self::Long)
            }
            _ => None,
        }
    }
}

/// Whether the standard knows this value representation.
pub(super) fn is_known_vr(vr: [u8; 2]) -> bool {
    LengthForm::of(vr).is_some()
}
