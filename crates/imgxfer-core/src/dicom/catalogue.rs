//! The attributes that an index keeps: those that QIDO-RS and C-FIND must match or return (PS3.18 section 10.6,
//! PS3.4 section C.6), and the few beside them that people ask for.

use super::Tag;

/// What an attribute is a property of (PS3.4 section C.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the standard has these four")]
pub enum Level {
    /// A patient.
    Patient,
    /// A study.
    Study,
    /// A series.
    Series,
    /// An instance.
    Instance,
}

/// The value representation of an attribute, as far as it says how values are compared (PS3.5 section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValueKind {
    /// Age string: `034Y`.
    Age,
    /// Items of a sequence of codes, each as `value^scheme^meaning`.
    Code,
    /// Code string: compared as it stands.
    CodeString,
    /// Date: `YYYYMMDD`; can be asked for by range.
    Date,
    /// What people or systems know something by, of VR LO or SH: compared as it stands, without regard to case only by
    /// a pattern.
    Id,
    /// A number in text, of VR IS.
    Integer,
    /// A person's name: compared without regard to case and accents.
    Name,
    /// Text of VR LO, SH or ST: compared without regard to case and accents.
    Text,
    /// Time: `HHMMSS.FFFFFF`, any suffix absent; can be asked for by range.
    Time,
    /// UID: can be asked for by a list.
    Uid,
    /// A number of VR US, kept as text.
    Unsigned,
}

/// An attribute of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute {
    /// Its tag.
    pub tag: Tag,
    /// The sequence that it stands in; it is taken from all of its items.
    pub within: Option<Tag>,
    /// What it is a property of.
    pub level: Level,
    /// How values are compared.
    pub kind: ValueKind,
    /// Its keyword (PS3.6).
    pub keyword: &'static str,
}

const fn plain(tag: Tag, level: Level, kind: ValueKind, keyword: &'static str) -> Attribute {
    Attribute { tag, within: None, level, kind, keyword }
}

macro_rules! catalogue {
    ($($(#[doc = $doc:literal])* $name:ident = ($number:literal $(within $sequence:ident)?, $level:ident, $kind:ident, $keyword:literal);)*) => {
        /// Tags of the attributes of the catalogue.
        pub(super) mod tags {
            use super::Tag;
            $(
                #[doc = concat!("`", $keyword, "`.")]
                $(#[doc = $doc])*
                pub const $name: Tag = Tag($number);
            )*
        }

        /// All attributes, by tag, ascending.
        pub const CATALOGUE: [Attribute; [$($number),*].len()] = [
            $(catalogue!(@one $name, $level, $kind, $keyword $(, $sequence)?)),*
        ];
    };
    (@one $name:ident, $level:ident, $kind:ident, $keyword:literal) => {
        plain(tags::$name, Level::$level, ValueKind::$kind, $keyword)
    };
    (@one $name:ident, $level:ident, $kind:ident, $keyword:literal, $sequence:ident) => {
        Attribute { within: Some(super::tags::$sequence), ..plain(tags::$name, Level::$level, ValueKind::$kind, $keyword) }
    };
}

catalogue! {
    /// Which UIDs of an instance cannot be used, so that others were derived: `STUDY`, `SERIES`, `INSTANCE`. No element
    /// of a data set: its group is one that none may have (PS3.5 section 7.8).
    DERIVED_UIDS = (0x0001_0010, Study, CodeString, "DerivedUIDs");
    SPECIFIC_CHARACTER_SET = (0x0008_0005, Instance, CodeString, "SpecificCharacterSet");
    IMAGE_TYPE = (0x0008_0008, Instance, CodeString, "ImageType");
    STUDY_DATE = (0x0008_0020, Study, Date, "StudyDate");
    SERIES_DATE = (0x0008_0021, Series, Date, "SeriesDate");
    CONTENT_DATE = (0x0008_0023, Instance, Date, "ContentDate");
    STUDY_TIME = (0x0008_0030, Study, Time, "StudyTime");
    SERIES_TIME = (0x0008_0031, Series, Time, "SeriesTime");
    CONTENT_TIME = (0x0008_0033, Instance, Time, "ContentTime");
    ACCESSION_NUMBER = (0x0008_0050, Study, Id, "AccessionNumber");
    MODALITY = (0x0008_0060, Series, CodeString, "Modality");
    MANUFACTURER = (0x0008_0070, Series, Text, "Manufacturer");
    INSTITUTION_NAME = (0x0008_0080, Series, Text, "InstitutionName");
    REFERRING_PHYSICIAN_NAME = (0x0008_0090, Study, Name, "ReferringPhysicianName");
    TIMEZONE_OFFSET_FROM_UTC = (0x0008_0201, Study, Text, "TimezoneOffsetFromUTC");
    STATION_NAME = (0x0008_1010, Series, Text, "StationName");
    STUDY_DESCRIPTION = (0x0008_1030, Study, Text, "StudyDescription");
    PROCEDURE_CODE_SEQUENCE = (0x0008_1032, Study, Code, "ProcedureCodeSequence");
    SERIES_DESCRIPTION = (0x0008_103e, Series, Text, "SeriesDescription");
    PERFORMING_PHYSICIAN_NAME = (0x0008_1050, Series, Name, "PerformingPhysicianName");
    PHYSICIANS_READING_STUDY = (0x0008_1060, Study, Name, "NameOfPhysiciansReadingStudy");
    PATIENT_NAME = (0x0010_0010, Patient, Name, "PatientName");
    PATIENT_ID = (0x0010_0020, Patient, Id, "PatientID");
    ISSUER_OF_PATIENT_ID = (0x0010_0021, Patient, Id, "IssuerOfPatientID");
    PATIENT_BIRTH_DATE = (0x0010_0030, Patient, Date, "PatientBirthDate");
    PATIENT_SEX = (0x0010_0040, Patient, CodeString, "PatientSex");
    PATIENT_AGE = (0x0010_1010, Study, Age, "PatientAge");
    BODY_PART_EXAMINED = (0x0018_0015, Series, CodeString, "BodyPartExamined");
    PROTOCOL_NAME = (0x0018_1030, Series, Text, "ProtocolName");
    STUDY_ID = (0x0020_0010, Study, Id, "StudyID");
    SERIES_NUMBER = (0x0020_0011, Series, Integer, "SeriesNumber");
    INSTANCE_NUMBER = (0x0020_0013, Instance, Integer, "InstanceNumber");
    FRAME_OF_REFERENCE_UID = (0x0020_0052, Series, Uid, "FrameOfReferenceUID");
    LATERALITY = (0x0020_0060, Series, CodeString, "Laterality");
    NUMBER_OF_FRAMES = (0x0028_0008, Instance, Integer, "NumberOfFrames");
    ROWS = (0x0028_0010, Instance, Unsigned, "Rows");
    COLUMNS = (0x0028_0011, Instance, Unsigned, "Columns");
    BITS_ALLOCATED = (0x0028_0100, Instance, Unsigned, "BitsAllocated");
    SCHEDULED_PROCEDURE_STEP_ID = (0x0040_0009 within REQUEST_ATTRIBUTES_SEQUENCE, Series, Id, "ScheduledProcedureStepID");
    LOCAL_NAMESPACE_ENTITY_ID = (0x0040_0031 within ISSUER_OF_ACCESSION_NUMBER_SEQUENCE, Study, Id, "LocalNamespaceEntityID");
    PERFORMED_PROCEDURE_STEP_START_DATE = (0x0040_0244, Series, Date, "PerformedProcedureStepStartDate");
    PERFORMED_PROCEDURE_STEP_START_TIME = (0x0040_0245, Series, Time, "PerformedProcedureStepStartTime");
    REQUESTED_PROCEDURE_ID = (0x0040_1001 within REQUEST_ATTRIBUTES_SEQUENCE, Series, Id, "RequestedProcedureID");
    CONCEPT_NAME_CODE_SEQUENCE = (0x0040_a043, Instance, Code, "ConceptNameCodeSequence");
    COMPLETION_FLAG = (0x0040_a491, Instance, CodeString, "CompletionFlag");
    VERIFICATION_FLAG = (0x0040_a493, Instance, CodeString, "VerificationFlag");
    DOCUMENT_TITLE = (0x0042_0010, Instance, Text, "DocumentTitle");
}

/// Grows with each change of [`CATALOGUE`] or of how values are kept: attributes that were found by an older one lack
/// what is new.
pub const CATALOGUE_VERSION: u16 = 3;

impl Attribute {
    /// The attribute with this tag; `None` when the catalogue has none.
    #[must_use]
    pub fn of(tag: Tag) -> Option<&'static Self> {
        const { assert!(is_ascending(&CATALOGUE), "the catalogue is in order") }
        static ALL: [Attribute; CATALOGUE.len()] = CATALOGUE;
        ALL.binary_search_by_key(&tag, |attribute| attribute.tag).ok().and_then(|at| ALL.get(at))
    }

    /// Whether `\` is a character like others in it (VR ST, PS3.5 section 6.4).
    pub(super) fn is_one_value(&self) -> bool {
        self.tag == tags::DOCUMENT_TITLE
    }

    /// The attribute with this keyword, or with this tag in eight hexadecimal digits, as QIDO-RS writes them.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        let by_keyword = || CATALOGUE.iter().find(|attribute| attribute.keyword == name).map(|found| found.tag);
        let by_number = || (name.len() == 8).then(|| u32::from_str_radix(name, 16).ok().map(Tag::from_number))?;
        by_keyword().or_else(by_number).and_then(Self::of)
    }
}

const fn is_ascending(all: &[Attribute]) -> bool {
    let mut at = 1;
    while at < all.len() {
        if all[at - 1].tag.number() >= all[at].tag.number() {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_by_tag_and_name() {
        for attribute in &CATALOGUE {
            assert_eq!(Attribute::of(attribute.tag), Some(attribute));
            assert_eq!(Attribute::named(attribute.keyword), Some(attribute));
        }
        assert_eq!(Attribute::named("00100020").map(|a| a.tag), Some(tags::PATIENT_ID));
        assert_eq!(Attribute::named("0040A043").map(|a| a.tag), Some(tags::CONCEPT_NAME_CODE_SEQUENCE));
        assert_eq!(Attribute::named("PatientComments"), None);
        assert_eq!(Attribute::of(Tag::new(0x7fe0, 0x0010)), None);
    }
}
