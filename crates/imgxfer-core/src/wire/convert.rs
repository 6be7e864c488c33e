//! Questions and answers about studies, as messages and as what the store speaks.
//!
//! Texts from a peer are bounded here, so that what passes can be kept and shown.

use bytes::Bytes;

use super::message::{Query, Study};
use crate::clock::UnixSeconds;
use crate::dicom::Attributes;
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
        patient_id: attributes.patient_id.clone(),
        patient_name: attributes.patient_name.clone(),
        accession_number: attributes.accession_number.clone(),
        study_date: attributes.study_date.clone(),
        study_time: attributes.study_time.clone(),
        study_description: attributes.study_description.clone(),
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
    let text = |value: String| value.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect();
    let attributes = Attributes {
        patient_id: text(study.patient_id),
        patient_name: text(study.patient_name),
        accession_number: text(study.accession_number),
        study_date: text(study.study_date),
        study_time: text(study.study_time),
        study_description: text(study.study_description),
        ..Attributes::default()
    };
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
