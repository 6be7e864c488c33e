//! The tags that the scanner looks for.

use super::element::Tag;

pub(super) const MEDIA_STORAGE_SOP_CLASS_UID: Tag = 0x0002_0002;
pub(super) const TRANSFER_SYNTAX_UID: Tag = 0x0002_0010;
pub(super) const SPECIFIC_CHARACTER_SET: Tag = 0x0008_0005;
pub(super) const SOP_CLASS_UID: Tag = 0x0008_0016;
pub(super) const SOP_INSTANCE_UID: Tag = 0x0008_0018;
pub(super) const STUDY_DATE: Tag = 0x0008_0020;
pub(super) const STUDY_TIME: Tag = 0x0008_0030;
pub(super) const ACCESSION_NUMBER: Tag = 0x0008_0050;
pub(super) const MODALITY: Tag = 0x0008_0060;
pub(super) const STUDY_DESCRIPTION: Tag = 0x0008_1030;
pub(super) const SERIES_DESCRIPTION: Tag = 0x0008_103e;
pub(super) const PATIENT_NAME: Tag = 0x0010_0010;
pub(super) const PATIENT_ID: Tag = 0x0010_0020;
pub(super) const STUDY_INSTANCE_UID: Tag = 0x0020_000d;
pub(super) const SERIES_INSTANCE_UID: Tag = 0x0020_000e;
pub(super) const SERIES_NUMBER: Tag = 0x0020_0011;
pub(super) const INSTANCE_NUMBER: Tag = 0x0020_0013;
pub(super) const IMAGE_POSITION: Tag = 0x0020_0032;
pub(super) const SAMPLES_PER_PIXEL: Tag = 0x0028_0002;
pub(super) const PHOTOMETRIC_INTERPRETATION: Tag = 0x0028_0004;
pub(super) const PLANAR_CONFIGURATION: Tag = 0x0028_0006;
pub(super) const NUMBER_OF_FRAMES: Tag = 0x0028_0008;
pub(super) const ROWS: Tag = 0x0028_0010;
pub(super) const COLUMNS: Tag = 0x0028_0011;
pub(super) const BITS_ALLOCATED: Tag = 0x0028_0100;
pub(super) const BITS_STORED: Tag = 0x0028_0101;
pub(super) const HIGH_BIT: Tag = 0x0028_0102;
pub(super) const PIXEL_REPRESENTATION: Tag = 0x0028_0103;
pub(super) const EXTENDED_OFFSET_TABLE: Tag = 0x7fe0_0001;
pub(super) const FLOAT_PIXEL_DATA: Tag = 0x7fe0_0008;
pub(super) const DOUBLE_FLOAT_PIXEL_DATA: Tag = 0x7fe0_0009;
pub(super) const PIXEL_DATA: Tag = 0x7fe0_0010;

/// Every tag whose value is kept, ascending.
pub(super) const KEPT: [Tag; 26] = [
    SPECIFIC_CHARACTER_SET,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_DATE,
    STUDY_TIME,
    ACCESSION_NUMBER,
    MODALITY,
    STUDY_DESCRIPTION,
    SERIES_DESCRIPTION,
    PATIENT_NAME,
    PATIENT_ID,
    STUDY_INSTANCE_UID,
    SERIES_INSTANCE_UID,
    SERIES_NUMBER,
    INSTANCE_NUMBER,
    IMAGE_POSITION,
    SAMPLES_PER_PIXEL,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    NUMBER_OF_FRAMES,
    ROWS,
    COLUMNS,
    BITS_ALLOCATED,
    BITS_STORED,
    HIGH_BIT,
    PIXEL_REPRESENTATION,
];
