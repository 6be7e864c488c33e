//! Tags: those of the attributes that an index keeps, and those that the scanner looks for besides.

use super::Tag;
use super::catalogue::CATALOGUE;

pub use super::catalogue::tags::*;

/// `SOPClassUID`.
pub const SOP_CLASS_UID: Tag = Tag(0x0008_0016);
/// `SOPInstanceUID`.
pub const SOP_INSTANCE_UID: Tag = Tag(0x0008_0018);
/// `StudyInstanceUID`.
pub const STUDY_INSTANCE_UID: Tag = Tag(0x0020_000d);
/// `SeriesInstanceUID`.
pub const SERIES_INSTANCE_UID: Tag = Tag(0x0020_000e);
/// `ModalitiesInStudy`.
pub const MODALITIES_IN_STUDY: Tag = Tag(0x0008_0061);
/// `RequestAttributesSequence`.
pub const REQUEST_ATTRIBUTES_SEQUENCE: Tag = Tag(0x0040_0275);
/// `IssuerOfAccessionNumberSequence`.
pub const ISSUER_OF_ACCESSION_NUMBER_SEQUENCE: Tag = Tag(0x0008_0051);

pub(super) const FILE_META_GROUP_LENGTH: Tag = Tag(0x0002_0000);
pub(super) const MEDIA_STORAGE_SOP_CLASS_UID: Tag = Tag(0x0002_0002);
pub(super) const MEDIA_STORAGE_SOP_INSTANCE_UID: Tag = Tag(0x0002_0003);
pub(super) const TRANSFER_SYNTAX_UID: Tag = Tag(0x0002_0010);
pub(super) const CODE_VALUE: Tag = Tag(0x0008_0100);
pub(super) const CODING_SCHEME_DESIGNATOR: Tag = Tag(0x0008_0102);
pub(super) const CODE_MEANING: Tag = Tag(0x0008_0104);
pub(super) const LONG_CODE_VALUE: Tag = Tag(0x0008_0119);
pub(super) const URN_CODE_VALUE: Tag = Tag(0x0008_0120);
pub(super) const IMAGE_POSITION: Tag = Tag(0x0020_0032);
pub(super) const SAMPLES_PER_PIXEL: Tag = Tag(0x0028_0002);
pub(super) const PHOTOMETRIC_INTERPRETATION: Tag = Tag(0x0028_0004);
pub(super) const PLANAR_CONFIGURATION: Tag = Tag(0x0028_0006);
pub(super) const BITS_STORED: Tag = Tag(0x0028_0101);
pub(super) const HIGH_BIT: Tag = Tag(0x0028_0102);
pub(super) const PIXEL_REPRESENTATION: Tag = Tag(0x0028_0103);
pub(super) const EXTENDED_OFFSET_TABLE: Tag = Tag(0x7fe0_0001);
pub(super) const FLOAT_PIXEL_DATA: Tag = Tag(0x7fe0_0008);
pub(super) const DOUBLE_FLOAT_PIXEL_DATA: Tag = Tag(0x7fe0_0009);
pub(super) const PIXEL_DATA: Tag = Tag(0x7fe0_0010);

/// Top-level elements whose values the scanner keeps besides those of the catalogue.
const SCANNED: [Tag; 11] = [
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    SERIES_INSTANCE_UID,
    IMAGE_POSITION,
    SAMPLES_PER_PIXEL,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    BITS_STORED,
    HIGH_BIT,
    PIXEL_REPRESENTATION,
];

/// Every top-level element whose value is kept, ascending.
pub(super) const KEPT: [Tag; SCANNED.len() + CATALOGUE.len()] = kept();

const fn kept() -> [Tag; SCANNED.len() + CATALOGUE.len()] {
    let mut all = [Tag(0); SCANNED.len() + CATALOGUE.len()];
    let mut filled = 0;
    while filled < all.len() {
        let next = if filled < SCANNED.len() { SCANNED[filled] } else { CATALOGUE[filled - SCANNED.len()].tag };
        let mut at = filled;
        while at > 0 && all[at - 1].0 > next.0 {
            all[at] = all[at - 1];
            at -= 1;
        }
        all[at] = next;
        filled += 1;
    }
    all
}
