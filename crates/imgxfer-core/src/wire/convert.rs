//! Questions and answers about studies, as messages and as what the store speaks.
//!
//! Texts from a peer are bounded here, so that what passes can be kept and shown.

use bytes::Bytes;

use super::message::{Query, Study};
use crate::clock::UnixSeconds;
use crate::dicom::tags;
use crate::ids::{ManifestRoot, PeerId, StudyUid};
use crate::store::{StudyQuery, StudyRow};

/// Longest text of an attribute in an answer, in characters.
const TEXT_MAX: usize = 256;

/// A query as a message.
#[must_use]
pub fn query_to_wire(query: &StudyQuery) -> Query {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Query {
        study: query.study.as_ref().map(ToString::to_string).unwrap_or_default(),
        patient_id: text(&query.patient_id),
        accession_number: text(&query.accession_number),
        modality: text(&query.modality),
        date_from: text(&query.date_from),
        date_to: text(&query.date_to),
        limit: query.limit.unwrap_or(0),
    }
}

/// A query from a message; `None` when its Study UID is malformed.
#[must_use]
pub fn query_from_wire(query: Query) -> Option<StudyQuery> {
    let text = |value: String| (!value.is_empty()).then(|| value.chars().take(TEXT_MAX).collect());
    let study = match query.study.as_str() {
        "" => None,
        uid => Some(StudyUid::new(uid).ok()?),
    };
    Some(StudyQuery {
        study,
        patient_id: text(query.patient_id),
        accession_number: text(query.accession_number),
        modality: text(query.modality),
        date_from: text(query.date_from),
        date_to: text(query.date_to),
        limit: (query.limit > 0).then_some(query.limit),
    })
}

/// A study as a message.
#[must_use]
pub fn study_to_wire(row: &StudyRow) -> Study {
    let attributes = &row.attributes;
    Study {
        study: row.study.to_string(),
        owner: Bytes::copy_from_slice(row.owner.as_bytes()),
        patient_id: attributes.get(tags::PATIENT_ID).to_owned(),
        patient_name: attributes.get(tags::PATIENT_NAME).to_owned(),
        accession_number: attributes.get(tags::ACCESSION_NUMBER).to_owned(),
        study_date: attributes.get(tags::STUDY_DATE).to_owned(),
        study_time: attributes.get(tags::STUDY_TIME).to_owned(),
        study_description: attributes.get(tags::STUDY_DESCRIPTION).to_owned(),
        modalities: row.modalities.clone(),
        series: row.series,
        instances: row.instances,
        conflicts: row.conflicts,
        bytes: row.bytes,
        version: row.version,
        arriving: row.arriving,
        root: row.root.map(|root| Bytes::copy_from_slice(root.as_bytes())).unwrap_or_default(),
        updated: row.updated.0,
    }
}

/// A study from a message; `None` when an identifier is malformed.
#[must_use]
pub fn study_from_wire(study: Study) -> Option<StudyRow> {
    let text = |value: String| -> String { value.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect() };
    let attributes = [
        (tags::PATIENT_ID, text(study.patient_id)),
        (tags::PATIENT_NAME, text(study.patient_name)),
        (tags::ACCESSION_NUMBER, text(study.accession_number)),
        (tags::STUDY_DATE, text(study.study_date)),
        (tags::STUDY_TIME, text(study.study_time)),
        (tags::STUDY_DESCRIPTION, text(study.study_description)),
    ];
    let attributes = attributes.into_iter().collect();
    let root = match study.root.len() {
        0 => None,
        _ => Some(ManifestRoot::from_slice(&study.root)?),
    };
    Some(StudyRow {
        study: StudyUid::new(&study.study).ok()?,
        owner: PeerId::from_slice(&study.owner)?,
        attributes,
        modalities: text(study.modalities),
        series: study.series,
        instances: study.instances,
        conflicts: study.conflicts,
        bytes: study.bytes,
        version: study.version,
        arriving: study.arriving,
        root,
        updated: UnixSeconds(study.updated),
    })
}
