//! Questions and answers, as messages and as what the store speaks.
//!
//! Texts from a peer are bounded here, so that what passes can be kept and shown.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::UnixSeconds;
use crate::dicom::{Attributes, Level, Tag, tags};
use crate::ids::{ContentId, InstanceHash, ManifestRoot, PeerId, SeriesUid, SopInstanceUid, StandardUid, StudyUid};
use crate::limits::QUERY_ROWS_MAX;
use crate::store::StudyPatient;
use crate::store::search::{
    Answer, Cursor, Found, FoundInstance, FoundSeries, FoundStudy, OwnerVersion, Search, SearchError,
};
use crate::wire::message::{Find, FindEnd, InstancePart, Owner, Patient, Place, Row, SeriesPart, StudyPart, Value};

/// Longest text of an attribute in an answer, in bytes.
const TEXT_BYTES_MAX: usize = 2_000;
/// Most of anything that a row lists.
const LIST_MAX: usize = 10_000;

/// What a question asks by, as values.
#[must_use]
pub fn criteria_to_wire(search: &Search) -> Vec<Value> {
    let uids = [
        (tags::STUDY_INSTANCE_UID, join(search.studies.iter().map(StudyUid::as_str))),
        (tags::SERIES_INSTANCE_UID, join(search.series.iter().map(SeriesUid::as_str))),
        (tags::SOP_INSTANCE_UID, join(search.instances.iter().map(SopInstanceUid::as_str))),
        (tags::MODALITIES_IN_STUDY, search.modalities.join("\\")),
    ];
    let uids = uids.into_iter().filter(|(_, value)| !value.is_empty());
    let uids = uids.map(|(tag, value)| Value { tag: tag.number(), value, exact: false });
    let asked = search.criteria.iter().map(|criterion| Value {
        tag: criterion.attribute.tag.number(),
        value: criterion.value.clone(),
        exact: criterion.exact,
    });
    uids.chain(asked).collect()
}

fn join<'a>(uids: impl Iterator<Item = &'a str>) -> String {
    uids.collect::<Vec<_>>().join("\\")
}

/// A question at `level` by these values.
///
/// # Errors
/// [`SearchError`] for an attribute that this program does not know, or a value that makes no sense.
pub fn criteria_from_wire(level: Level, by: &[Value]) -> Result<Search, SearchError> {
    let search = Search { level, ..Search::default() };
    by.iter().try_fold(search, |search, Value { tag, value, exact }| match exact {
        true => search.exactly(Tag::from_number(*tag), value),
        false => search.by(Tag::from_number(*tag), value),
    })
}

/// A question as a message.
#[must_use]
pub fn find_to_wire(search: &Search) -> Find {
    Find {
        level: match search.level {
            Level::Patient | Level::Study => 0,
            Level::Series => 1,
            Level::Instance => 2,
        },
        by: criteria_to_wire(search),
        after: search.after.as_ref().map(|after| Place {
            date: after.date.clone(),
            study: after.study.to_string(),
            series: after.series.as_ref().map(ToString::to_string).unwrap_or_default(),
            sop_instance: after.sop_instance.as_ref().map(ToString::to_string).unwrap_or_default(),
        }),
        skip: search.skip,
        limit: search.limit,
        count: search.count,
    }
}

/// A question from a message.
///
/// # Errors
/// [`SearchError`].
pub fn find_from_wire(find: &Find) -> Result<Search, SearchError> {
    let level = match find.level {
        0 => Level::Study,
        1 => Level::Series,
        2 => Level::Instance,
        _ => return Err(SearchError::Value("the level")),
    };
    let place = |_| SearchError::Value("the place to begin behind");
    let after = find.after.as_ref().map(|after| {
        let series = (!after.series.is_empty()).then(|| SeriesUid::new(&after.series)).transpose().map_err(place)?;
        let sop_instance =
            (!after.sop_instance.is_empty()).then(|| SopInstanceUid::new(&after.sop_instance)).transpose();
        Ok(Cursor {
            date: text(&after.date),
            study: StudyUid::new(&after.study).map_err(place)?,
            series,
            sop_instance: sop_instance.map_err(place)?,
        })
    });
    let limit = if find.limit == 0 { QUERY_ROWS_MAX } else { find.limit.min(QUERY_ROWS_MAX) };
    let asked = criteria_from_wire(level, &find.by)?;
    Ok(Search { after: after.transpose()?, skip: find.skip, limit, count: find.count, ..asked })
}

fn values(attributes: &Attributes) -> Vec<Value> {
    attributes.iter().map(|(tag, value)| Value { tag: tag.number(), value: value.to_owned(), exact: false }).collect()
}

/// Text from a peer: bounded, and without control characters.
fn text(value: &str) -> String {
    let value = &value[..value.floor_char_boundary(TEXT_BYTES_MAX)];
    value.chars().filter(|c| !c.is_control()).collect()
}

fn attributes(values: &[Value]) -> Attributes {
    values.iter().take(LIST_MAX).map(|value| (Tag::from_number(value.tag), text(&value.value))).collect()
}

/// Makes messages of rows that follow each other.
#[derive(Debug, Default)]
pub struct RowsToWire {
    study: Option<StudyUid>,
    series: Option<SeriesUid>,
}

impl RowsToWire {
    /// The next row.
    pub fn row(&mut self, found: &Found) -> Row {
        let study = (self.study.as_ref() != Some(&found.study.study)).then(|| Box::new(study_to_wire(&found.study)));
        if study.is_some() {
            (self.study, self.series) = (Some(found.study.study.clone()), None);
        }
        let new_series = found.series.as_ref().filter(|series| self.series.as_ref() != Some(&series.series));
        let series = new_series.map(|series| {
            Box::new(SeriesPart {
                series: series.series.to_string(),
                attributes: values(&series.attributes),
                instances: series.instances,
            })
        });
        if let Some(series) = new_series {
            self.series = Some(series.series.clone());
        }
        Row { study, series, instance: found.instance.as_ref().map(|instance| Box::new(instance_to_wire(instance))) }
    }
}

fn study_to_wire(study: &FoundStudy) -> StudyPart {
    let owner = |owner: &OwnerVersion| Owner {
        owner: Bytes::copy_from_slice(owner.owner.as_bytes()),
        version: owner.version,
        root: owner.root.map(|root| Bytes::copy_from_slice(root.as_bytes())).unwrap_or_default(),
    };
    let patient =
        |patient: &StudyPatient| Patient { attributes: values(&patient.attributes), instances: patient.instances };
    StudyPart {
        study: study.study.to_string(),
        owners: study.owners.iter().map(owner).collect(),
        attributes: values(&study.attributes),
        patients: study.patients.iter().map(patient).collect(),
        modalities: study.modalities.clone(),
        sop_classes: study.sop_classes.clone(),
        series: study.series,
        instances: study.instances,
        contents: study.contents,
        conflicts: study.conflicts,
        bytes: study.bytes,
        arriving: study.arriving,
        updated: study.updated.0,
    }
}

fn instance_to_wire(instance: &FoundInstance) -> InstancePart {
    let uid = |uid: &Option<StandardUid>| uid.as_ref().map(ToString::to_string).unwrap_or_default();
    InstancePart {
        sop_instance: instance.sop_instance.to_string(),
        sop_class: uid(&instance.sop_class),
        transfer_syntax: uid(&instance.transfer_syntax),
        attributes: values(&instance.attributes),
        hash: Bytes::copy_from_slice(instance.hash.as_bytes()),
        content: Bytes::copy_from_slice(instance.content.as_bytes()),
        len: instance.len,
    }
}

/// Puts an answer together from its messages.
#[derive(Debug, Default)]
pub struct AnswerFromWire {
    answer: Answer,
}

impl AnswerFromWire {
    /// Takes the next row. `None` when it is malformed, or there are more rows than one may ask for.
    pub fn row(&mut self, row: &Row) -> Option<()> {
        if self.answer.rows.len() >= crate::units::to_usize(u64::from(QUERY_ROWS_MAX)) {
            return None;
        }
        let before = self.answer.rows.last();
        let study = match &row.study {
            Some(study) => Arc::new(study_from_wire(study)?),
            None => Arc::clone(&before?.study),
        };
        let series = match &row.series {
            Some(part) => Some(Arc::new(FoundSeries {
                series: SeriesUid::new(&part.series).ok()?,
                attributes: attributes(&part.attributes),
                instances: part.instances,
            })),
            None if row.instance.is_some() => {
                Some(Arc::clone(before.filter(|_| row.study.is_none())?.series.as_ref()?))
            }
            None => None,
        };
        let instance = match &row.instance {
            Some(part) => Some(instance_from_wire(part)?),
            None => None,
        };
        self.answer.rows.push(Found { study, series, instance });
        Some(())
    }

    /// The whole answer.
    #[must_use]
    pub fn end(self, end: &FindEnd) -> Answer {
        Answer { more: end.more, total: end.total_and_one.checked_sub(1), incomplete: end.incomplete, ..self.answer }
    }
}

/// The end of an answer as a message.
#[must_use]
pub fn end_to_wire(answer: &Answer) -> FindEnd {
    let total_and_one = answer.total.map_or(0, |total| total.saturating_add(1));
    FindEnd { more: answer.more, total_and_one, incomplete: answer.incomplete }
}

fn study_from_wire(part: &StudyPart) -> Option<FoundStudy> {
    let owner = |owner: &Owner| {
        let root = match owner.root.len() {
            0 => None,
            _ => Some(ManifestRoot::from_slice(&owner.root)?),
        };
        Some(OwnerVersion { owner: PeerId::from_slice(&owner.owner)?, version: owner.version, root })
    };
    let patient =
        |patient: &Patient| StudyPatient { attributes: attributes(&patient.attributes), instances: patient.instances };
    let list = |list: &[String]| list.iter().take(LIST_MAX).map(|value| text(value)).collect();
    let attributes = attributes(&part.attributes);
    Some(FoundStudy {
        study: StudyUid::new(&part.study).ok()?,
        owners: part.owners.iter().take(LIST_MAX).map(owner).collect::<Option<_>>()?,
        date: attributes.get(tags::STUDY_DATE).to_owned(),
        attributes,
        patients: part.patients.iter().take(LIST_MAX).map(patient).collect(),
        modalities: list(&part.modalities),
        sop_classes: list(&part.sop_classes),
        series: part.series,
        instances: part.instances,
        contents: part.contents,
        conflicts: part.conflicts,
        bytes: part.bytes,
        arriving: part.arriving,
        updated: UnixSeconds(part.updated),
    })
}

fn instance_from_wire(part: &InstancePart) -> Option<FoundInstance> {
    let uid = |text: &str| match text {
        "" => Some(None),
        text => StandardUid::new(text).ok().map(Some),
    };
    Some(FoundInstance {
        sop_instance: SopInstanceUid::new(&part.sop_instance).ok()?,
        sop_class: uid(&part.sop_class)?,
        transfer_syntax: uid(&part.transfer_syntax)?,
        attributes: attributes(&part.attributes),
        hash: InstanceHash::from_slice(&part.hash)?,
        content: ContentId::from_slice(&part.content)?,
        len: part.len,
    })
}
