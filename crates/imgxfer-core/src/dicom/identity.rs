//! Who an instance is: by its own UIDs, and where these cannot be used, by UIDs derived from what it carries.
//!
//! Files come with UIDs that are too long, hold letters, or are not there at all. They travel all the same: what is
//! derived is the same for the same bytes at every site, so both ends of a transfer find it without being told, and
//! what belongs together by an unusable UID and the patient stays together. `docs/wire-format.md` has the rule.

use super::values::Values;
use super::{Level, Tag, tags};
use crate::ids::{InstanceHash, SeriesUid, SopInstanceUid, StudyUid};

/// Context strings of what is derived (BLAKE3 key derivation mode, BLAKE3 paper section 2.3).
const STUDY_CONTEXT: &str = "imgxfer 2026 derived study uid v1";
const SERIES_CONTEXT: &str = "imgxfer 2026 derived series uid v1";
const INSTANCE_CONTEXT: &str = "imgxfer 2026 derived sop instance uid v1";

/// Who an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Study Instance UID (0020,000D).
    pub study: StudyUid,
    /// Series Instance UID (0020,000E).
    pub series: SeriesUid,
    /// SOP Instance UID (0008,0018).
    pub sop_instance: SopInstanceUid,
}

/// What a data set says of who it is, usable or not.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Naming {
    study: Option<StudyUid>,
    series: Option<SeriesUid>,
    sop_instance: Option<SopInstanceUid>,
    /// Stands for what the study is known by, where its UID cannot be used; `None` where it is known by nothing.
    study_seed: Option<[u8; 32]>,
    /// Stands for what the series is known by within its study.
    series_seed: [u8; 32],
}

impl std::fmt::Debug for Naming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Seeds are made of what is known of a patient.
        f.debug_struct("Naming").field("derived", &self.derived().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

impl Naming {
    /// `media_storage_sop_instance` is (0002,0003), for a data set without a SOP Instance UID.
    pub(super) fn of(values: &Values, media_storage_sop_instance: &[u8]) -> Self {
        let own = |tag| text(values.raw(tag));
        let sop_instance = match own(tags::SOP_INSTANCE_UID) {
            Some("") => text(media_storage_sop_instance),
            own => own,
        };
        let series_seed = match trimmed(values.raw(tags::SERIES_INSTANCE_UID)) {
            [] => seed(values, &[tags::MODALITY, tags::SERIES_NUMBER]),
            _ => seed(values, &[tags::SERIES_INSTANCE_UID]),
        };
        Self {
            study: own(tags::STUDY_INSTANCE_UID).and_then(|uid| StudyUid::new(uid).ok()),
            series: own(tags::SERIES_INSTANCE_UID).and_then(|uid| SeriesUid::new(uid).ok()),
            sop_instance: sop_instance.and_then(|uid| SopInstanceUid::new(uid).ok()),
            study_seed: study_seed(values),
            series_seed: series_seed.unwrap_or_default(),
        }
    }

    /// By its own UIDs alone.
    pub(super) fn own(&self) -> Option<Identity> {
        let Self { study, series, sop_instance, .. } = self;
        Some(Identity { study: study.clone()?, series: series.clone()?, sop_instance: sop_instance.clone()? })
    }

    /// Which UIDs cannot be used.
    pub(super) fn derived(&self) -> impl Iterator<Item = Level> {
        let unusable = [
            (self.study.is_none(), Level::Study),
            (self.series.is_none(), Level::Series),
            (self.sop_instance.is_none(), Level::Instance),
        ];
        unusable.into_iter().filter_map(|(unusable, level)| unusable.then_some(level))
    }

    /// The study; `None` where only the whole file's hash tells.
    pub(super) fn study(&self) -> Option<StudyUid> {
        let derived = || self.study_seed.map(|seed| StudyUid::derived(&blake3::derive_key(STUDY_CONTEXT, &seed)));
        self.study.clone().or_else(derived)
    }

    /// By its own UIDs, and derived ones where these cannot be used. `hash` is of the whole file.
    pub(super) fn identify(&self, hash: &InstanceHash) -> Identity {
        let of_hash = || StudyUid::derived(&blake3::derive_key(STUDY_CONTEXT, hash.as_bytes()));
        let study = self.study().unwrap_or_else(of_hash);
        let series = self.series.clone().unwrap_or_else(|| {
            let known_by = [study.as_str().as_bytes(), &[0], &self.series_seed].concat();
            SeriesUid::derived(&blake3::derive_key(SERIES_CONTEXT, &known_by))
        });
        let of_content = || SopInstanceUid::derived(&blake3::derive_key(INSTANCE_CONTEXT, hash.as_bytes()));
        let sop_instance = self.sop_instance.clone().unwrap_or_else(of_content);
        Identity { study, series, sop_instance }
    }
}

/// The text of a UID, without what writers put around it; `None` where it is no text.
fn text(raw: &[u8]) -> Option<&str> {
    std::str::from_utf8(trimmed(raw)).ok()
}

/// A value without white space and NULs at its ends.
fn trimmed(raw: &[u8]) -> &[u8] {
    let is_padding = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
    let start = raw.iter().position(|byte| !is_padding(byte)).unwrap_or(raw.len());
    let end = raw.iter().rposition(|byte| !is_padding(byte)).map_or(start, |last| last + 1);
    &raw[start..end]
}

/// Who the patient is as far as the data set says, and the unusable UID; where there is none, what else a study is known
/// by. Values count as they stand in the file: how text is decoded may change.
fn study_seed(values: &Values) -> Option<[u8; 32]> {
    const PATIENT: [Tag; 3] = [tags::PATIENT_ID, tags::ISSUER_OF_PATIENT_ID, tags::PATIENT_NAME];
    let patient = if trimmed(values.raw(tags::PATIENT_ID)).is_empty() { &PATIENT[..] } else { &PATIENT[..2] };
    let study = match trimmed(values.raw(tags::STUDY_INSTANCE_UID)) {
        [] => &[tags::STUDY_DATE, tags::ACCESSION_NUMBER, tags::STUDY_ID][..],
        _ => &[tags::STUDY_INSTANCE_UID],
    };
    seed(values, &[study, patient].concat())
}

/// Stands for these values; `None` where none says anything.
fn seed(values: &Values, known_by: &[Tag]) -> Option<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    let mut says_something = false;
    for tag in known_by {
        let value = trimmed(values.raw(*tag));
        says_something |= !value.is_empty();
        hasher.update(&tag.number().to_le_bytes());
        hasher.update(&crate::units::to_u64(value.len()).to_le_bytes());
        hasher.update(value);
    }
    says_something.then(|| *hasher.finalize().as_bytes())
}
