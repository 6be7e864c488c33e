//! The beginning of a file: preamble, file meta information, and how the data set is written.

use std::io;

use super::NotDicom;
use super::element::{Element, Encoding, HEADER_BYTES_MAX, ITEM, is_known_vr};
use super::tags;
use super::window::{Input, Window};
use crate::ids::StandardUid;
use crate::units::{to_u64, to_usize};

/// Bytes of the preamble (PS3.10 section 7.1).
pub(super) const PREAMBLE_BYTES: usize = 128;

const MARKER: &[u8; 4] = b"DICM";

/// What stands before the data set.
#[expect(clippy::struct_excessive_bools, reason = "independent observations, no states")]
#[derive(Debug)]
pub(super) struct Start {
    /// Offset of the data set.
    pub(super) data_set: u64,
    /// The file says that it is DICOM.
    pub(super) has_marker: bool,
    pub(super) suspicious_preamble: bool,
    pub(super) transfer_syntax: Option<StandardUid>,
    /// Media Storage SOP Class UID (0002,0002).
    pub(super) media_storage_sop_class: Option<StandardUid>,
    /// Media Storage SOP Instance UID (0002,0003), as it stands; at most 65 bytes of it.
    pub(super) media_storage_sop_instance: Vec<u8>,
    pub(super) truncated: bool,
    pub(super) irregular: bool,
}

/// Whether a file whose first bytes these are would run, or be taken for something else, when
/// opened by a careless system (CVE-2019-11687).
///
/// Knows executables of Windows, Linux and macOS, scripts, ZIP archives and PDF. A TIFF header, which
/// PS3.10 names as a legitimate use of the preamble, is not suspicious.
///
/// ```
/// assert!(imgxfer_core::dicom::preamble_is_suspicious(b"MZ\x90\x00"));
/// assert!(!imgxfer_core::dicom::preamble_is_suspicious(&[0; 128]));
/// ```
#[must_use]
pub fn preamble_is_suspicious(preamble: &[u8]) -> bool {
    const SIGNATURES: [&[u8]; 12] = [
        b"MZ",
        b"\x7fELF",
        b"\xfe\xed\xfa\xce",
        b"\xfe\xed\xfa\xcf",
        b"\xce\xfa\xed\xfe",
        b"\xcf\xfa\xed\xfe",
        b"\xca\xfe\xba\xbe",
        b"\xca\xfe\xba\xbf",
        b"#!",
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"%PDF",
    ];
    SIGNATURES.iter().any(|signature| preamble.starts_with(signature))
}

/// Reads up to the data set.
pub(super) fn start(window: &mut Window<'_>) -> Result<Start, NotDicom> {
    let head = window.peek(0, PREAMBLE_BYTES + MARKER.len())?;
    let blank = Start {
        data_set: 0,
        has_marker: false,
        suspicious_preamble: false,
        transfer_syntax: None,
        media_storage_sop_class: None,
        media_storage_sop_instance: Vec::new(),
        truncated: false,
        irregular: false,
    };
    if let Some((preamble, marker)) = head.split_first_chunk::<PREAMBLE_BYTES>()
        && marker == MARKER
    {
        let suspicious_preamble = preamble_is_suspicious(preamble);
        return meta(window, Start { data_set: 132, has_marker: true, suspicious_preamble, ..blank });
    }
    if head.starts_with(MARKER) {
        return meta(window, Start { data_set: 4, has_marker: true, irregular: true, ..blank });
    }
    // Old archives hold files without preamble, some even without file meta information. What follows must make sense
    // as a data set, and say who or what it is.
    let group = head.first_chunk::<2>().map_or(0, |group| u16::from_le_bytes(*group));
    match group {
        0x0002 => meta(window, Start { irregular: true, ..blank }),
        _ if head.is_empty() => Err(NotDicom::Empty),
        _ => Ok(Start { irregular: true, ..blank }),
    }
}

/// Whether a file without the marker begins as DICOM does: with file meta information, or with an element of group 0008
/// whose value representation is written.
pub(super) fn begins_as_dicom(head: &[u8]) -> bool {
    let has_vr = matches!(head, &[_, _, _, _, a, b, ..] if is_known_vr([a, b]));
    has_vr && matches!(head, [0x02 | 0x08, 0, ..] | [0, 0x08, ..])
}

/// Walks the elements of group 0002 (PS3.10 section 7.1), which ends where another group begins.
fn meta(window: &mut Window<'_>, mut start: Start) -> Result<Start, NotDicom> {
    let mut group_end = None;
    loop {
        let head = window.peek(start.data_set, HEADER_BYTES_MAX)?;
        let Some(element) = Element::parse(head, Encoding::EXPLICIT).filter(|e| e.tag.group() == 2) else { break };
        // A deflated data set may begin with any bytes, so there the group's own length counts.
        let deflated = start.transfer_syntax.as_ref().is_some_and(|ts| Syntax::of(Some(ts)).deflated);
        if deflated && group_end == Some(start.data_set) {
            break;
        }
        start.irregular |= element.guessed;
        let value = start.data_set + element.header_len;
        let Some(end) = element.len.map(|len| value.saturating_add(len)) else {
            start.irregular = true;
            break;
        };
        if end > window.end() {
            (start.truncated, start.data_set) = (true, window.end());
            break;
        }
        let bytes = window.peek(value, to_usize(end - value).min(crate::ids::UID_BYTES_MAX + 1))?;
        match element.tag {
            tags::FILE_META_GROUP_LENGTH => {
                let len = bytes.first_chunk::<4>().map(|b| u64::from(u32::from_le_bytes(*b)));
                group_end = len.and_then(|len| end.checked_add(len));
            }
            tags::TRANSFER_SYNTAX_UID => start.transfer_syntax = uid(bytes),
            tags::MEDIA_STORAGE_SOP_INSTANCE_UID => start.media_storage_sop_instance = bytes.to_vec(),
            tags::MEDIA_STORAGE_SOP_CLASS_UID => start.media_storage_sop_class = uid(bytes),
            _ => {}
        }
        start.data_set = end;
    }
    let left = window.peek(start.data_set, HEADER_BYTES_MAX)?;
    // Cut within the header of an element of the group.
    start.truncated |= !left.is_empty() && left.len() < 8;
    Ok(start)
}

fn uid(bytes: &[u8]) -> Option<StandardUid> {
    StandardUid::new(std::str::from_utf8(bytes).ok()?).ok()
}

/// What a transfer syntax says about the data set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Syntax {
    pub(super) encoding: Encoding,
    pub(super) deflated: bool,
    /// Pixel data is big endian whatever the data set is.
    pub(super) big_endian_pixels: bool,
}

impl Syntax {
    /// PS3.5 chapter 10 and annex A. Whatever is not listed is explicit little endian, as all
    /// encapsulated transfer syntaxes are.
    pub(super) fn of(uid: Option<&StandardUid>) -> Self {
        let plain = |encoding| Self { encoding, deflated: false, big_endian_pixels: false };
        match uid.map_or("", StandardUid::as_str) {
            // The second is of the withdrawn Papyrus 3.
            "1.2.840.10008.1.2" | "1.2.840.10008.1.20" => plain(Encoding::IMPLICIT),
            // GE's private one: implicit with big endian pixel data.
            "1.2.840.113619.5.2" => Self { big_endian_pixels: true, ..plain(Encoding::IMPLICIT) },
            "1.2.840.10008.1.2.2" => Self { big_endian_pixels: true, ..plain(Encoding::EXPLICIT_BIG) },
            "1.2.840.10008.1.2.1.99" | "1.2.840.10008.1.2.4.95" | "1.2.840.10008.1.2.4.205" => {
                Self { deflated: true, ..plain(Encoding::EXPLICIT) }
            }
            _ => plain(Encoding::EXPLICIT),
        }
    }
}

/// How what may be a data set is written, if it is one: no reader has found sense in its first elements.
pub(super) fn guess(head: &[u8], declared: Encoding) -> Encoding {
    let [little, big] =
        [u16::from_le_bytes, u16::from_be_bytes].map(|of| head.first_chunk().map_or(0, |group| of(*group)));
    Encoding { big_endian: big < little, ..detect_first(head, declared) }
}

/// How a data set is really written: as `declared` unless its first elements make no sense so and
/// do in another way. `None` when they make sense in none.
pub(super) fn detect(window: &mut Window<'_>, offset: u64, declared: Encoding) -> io::Result<Option<Encoding>> {
    // Whatever an implicit one declares: a length that looks like a value representation is hardly ever one.
    let first = detect_first(window.peek(offset, HEADER_BYTES_MAX)?, declared);
    let others = [Encoding::EXPLICIT, Encoding::IMPLICIT, Encoding::EXPLICIT_BIG, Encoding::IMPLICIT_BIG];
    for encoding in [first, declared].into_iter().chain(others) {
        if is_plausible(window, offset, encoding)? {
            return Ok(Some(encoding));
        }
    }
    Ok(None)
}

/// The same by the first element alone: explicit where it has a value representation, implicit where it has none.
pub(super) fn detect_first(head: &[u8], declared: Encoding) -> Encoding {
    match head {
        &[_, _, _, _, a, b, ..] => Encoding { implicit: !is_known_vr([a, b]), ..declared },
        _ => declared,
    }
}

/// Whether a data set that should be deflated is not: its first elements make sense as they stand.
pub(super) fn is_plain(window: &mut Window<'_>, offset: u64) -> io::Result<bool> {
    let is_first_group = window.peek(offset, 2)? == [0x08, 0];
    Ok(is_plausible(window, offset, Encoding::EXPLICIT)? && window.peek(offset, 1)?.len() == 1
        || is_first_group && is_plausible(window, offset, Encoding::IMPLICIT)?)
}

/// Elements that must make sense.
const PROBE_ELEMENTS: usize = 3;

/// Whether the first elements make sense in this encoding.
fn is_plausible(window: &mut Window<'_>, offset: u64, encoding: Encoding) -> io::Result<bool> {
    let mut position = offset;
    let mut last_tag = None;
    for _ in 0..PROBE_ELEMENTS {
        let head = window.peek(position, HEADER_BYTES_MAX)?;
        let Some(element) = Element::parse(head, encoding) else {
            return Ok(head.is_empty() || last_tag.is_some());
        };
        // Some writers do not keep the order.
        let ascends = !encoding.implicit || last_tag.is_none_or(|last| element.tag > last);
        let known = encoding.implicit || element.vr.is_some_and(is_known_vr);
        // Group 0008 in the other byte order is one that nobody uses.
        if !ascends || !known || element.tag >= ITEM || element.tag.group() == 0x0800 {
            return Ok(false);
        }
        let Some(len) = element.len else { return Ok(true) };
        position = position + element.header_len + len;
        if position > window.end() {
            // Cut short in a first element that is plausible of itself: at most a few kilobytes.
            return Ok(last_tag.is_some() && len <= to_u64(PREAMBLE_BYTES << 5));
        }
        last_tag = Some(element.tag);
    }
    Ok(true)
}
