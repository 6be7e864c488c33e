//! Questions that people and systems ask of a store, and the answers.
//!
//! An index narrows by whatever it keeps sorted; what it finds is compared here, by [`Search`] itself, so that every
//! index gives the same answer. Rows come in one order, newest study first, and an answer can be continued behind its
//! last row.

mod merge;
pub mod messages;
#[cfg(feature = "fs")]
pub(super) mod pieces;

use std::fmt;
use std::sync::Arc;

use super::{StudyPatient, StudyRow};
use crate::clock::UnixSeconds;
use crate::dicom::{Attribute, Attributes, Level, Match, Tag, ValueKind, search_key, tags};
use crate::ids::{ContentId, InstanceHash, ManifestRoot, PeerId, SeriesUid, SopInstanceUid, StandardUid, StudyUid};
use crate::limits::QUERY_ROWS_MAX;
use crate::store::StoredInstance;
use crate::store::summary::patient_key;
use crate::units::to_usize;

pub(super) use merge::{Counts, merge};

/// One attribute and what it must be.
#[derive(Clone, PartialEq, Eq)]
pub struct Criterion {
    /// The attribute, of the catalogue.
    pub attribute: &'static Attribute,
    /// The question as it was asked.
    pub value: String,
    /// Whether that is the value itself, and not a pattern, range or list.
    pub exact: bool,
    /// What it must be.
    pub matching: Match,
}

/// A question. All that is set must hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Search {
    /// What is asked for: studies, series or instances.
    pub level: Level,
    /// These studies alone; empty for any.
    pub studies: Vec<StudyUid>,
    /// These series alone; empty for any.
    pub series: Vec<SeriesUid>,
    /// These instances alone; empty for any.
    pub instances: Vec<SopInstanceUid>,
    /// One of these modalities, of any series of a study; empty for any.
    pub modalities: Vec<String>,
    /// What attributes must be.
    pub criteria: Vec<Criterion>,
    /// The row that the answer begins behind.
    pub after: Option<Cursor>,
    /// Rows behind that to pass over.
    pub skip: u32,
    /// Most rows to return. Default and most 100,000.
    pub limit: u32,
    /// Whether all rows are counted, which may take longer than finding the first.
    pub count: bool,
}

impl Default for Search {
    /// All studies.
    fn default() -> Self {
        Self {
            level: Level::Study,
            studies: Vec::new(),
            series: Vec::new(),
            instances: Vec::new(),
            modalities: Vec::new(),
            criteria: Vec::new(),
            after: None,
            skip: 0,
            limit: QUERY_ROWS_MAX,
            count: false,
        }
    }
}

impl fmt::Debug for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.attribute.keyword)
    }
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked: Vec<_> = self.criteria.iter().map(|criterion| criterion.attribute.keyword).collect();
        f.debug_struct("Search")
            .field("level", &self.level)
            .field("by", &asked)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Why something cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The catalogue has no such attribute.
    #[error("{0} is not an attribute that can be searched by")]
    Unknown(Tag),
    /// The value makes no sense for the attribute.
    #[error("the value given for {0} is malformed: see the value representations of DICOM PS3.5 section 6.2")]
    Value(&'static str),
    /// Two lists of UIDs or modalities: a question has one of each kind.
    #[error("{0} is asked for twice: put all values into one list")]
    Twice(&'static str),
    /// The attribute is one of something below what is asked for.
    #[error("{0} is an attribute of series or instances: ask for those")]
    Level(&'static str),
}

impl Search {
    /// All of one study.
    #[must_use]
    pub fn study(study: StudyUid) -> Self {
        Self { studies: vec![study], ..Self::default() }
    }

    /// Whether nothing narrows it.
    #[must_use]
    pub fn is_universal(&self) -> bool {
        self.studies.is_empty()
            && self.series.is_empty()
            && self.instances.is_empty()
            && self.modalities.is_empty()
            && self.criteria.is_empty()
    }

    /// The same, of what has `value` for the attribute, matched by the rules of its value representation (PS3.4
    /// section C.2.2.2). An empty value narrows nothing.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn by(mut self, tag: Tag, value: &str) -> Result<Self, SearchError> {
        if self.by_uid(tag, value)? {
            return Ok(self);
        }
        let attribute = Attribute::of(tag).ok_or(SearchError::Unknown(tag))?;
        if attribute.level > self.level {
            return Err(SearchError::Level(attribute.keyword));
        }
        let matching = Match::parse(attribute.kind, value).map_err(|_| SearchError::Value(attribute.keyword))?;
        if matching != Match::Any {
            self.criteria.push(Criterion { attribute, value: value.to_owned(), exact: false, matching });
        }
        Ok(self)
    }

    /// The same, of what has exactly this value, whatever characters are in it. An empty value narrows nothing.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn exactly(mut self, tag: Tag, value: &str) -> Result<Self, SearchError> {
        let attribute = Attribute::of(tag).ok_or(SearchError::Unknown(tag))?;
        if attribute.level > self.level {
            return Err(SearchError::Level(attribute.keyword));
        }
        if !value.trim().is_empty() {
            let value = value.trim();
            let matching = Match::One(match attribute.kind {
                ValueKind::Id => value.to_owned(),
                kind => search_key(kind, value),
            });
            self.criteria.push(Criterion { attribute, value: value.to_owned(), exact: true, matching });
        }
        Ok(self)
    }

    /// Takes what is asked for by UID, or by modality. Returns whether the tag is one of those.
    fn by_uid(&mut self, tag: Tag, value: &str) -> Result<bool, SearchError> {
        /// An empty list means any: what is given must never become one.
        fn each<T, E>(
            list: &mut Vec<T>,
            keyword: &'static str,
            value: &str,
            parse: impl Fn(&str) -> Result<T, E>,
        ) -> Result<(), SearchError> {
            if value.is_empty() {
                return Ok(());
            }
            if !list.is_empty() {
                return Err(SearchError::Twice(keyword));
            }
            let parts = value.split(['\\', ',']).map(str::trim).filter(|part| !part.is_empty());
            *list = parts.map(|part| parse(part).map_err(|_| SearchError::Value(keyword))).collect::<Result<_, _>>()?;
            if list.is_empty() { Err(SearchError::Value(keyword)) } else { Ok(()) }
        }
        match tag {
            tags::STUDY_INSTANCE_UID => each(&mut self.studies, "StudyInstanceUID", value, StudyUid::new)?,
            tags::SERIES_INSTANCE_UID => each(&mut self.series, "SeriesInstanceUID", value, SeriesUid::new)?,
            tags::SOP_INSTANCE_UID => each(&mut self.instances, "SOPInstanceUID", value, SopInstanceUid::new)?,
            tags::MODALITIES_IN_STUDY => {
                let parse = |part: &str| Ok::<_, SearchError>(part.to_uppercase());
                each(&mut self.modalities, "ModalitiesInStudy", value, parse)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether it names neither series nor instances.
    pub(super) fn names_no_part(&self) -> bool {
        self.series.is_empty() && self.instances.is_empty()
    }

    /// Whether a study is among those asked for, or may hold what is.
    pub(super) fn admits_study(&self, row: &FoundStudy) -> bool {
        (self.studies.is_empty() || self.studies.contains(&row.study))
            && (self.modalities.is_empty() || row.modalities.iter().any(|m| self.modalities.contains(m)))
            && self.holds(Level::Study, &row.attributes)
            && self.admits_patients(&row.patients)
    }

    /// All that is asked of the patient must be so of one patient.
    fn admits_patients(&self, patients: &[StudyPatient]) -> bool {
        self.of_level(Level::Patient).next().is_none()
            || patients.iter().any(|patient| self.holds(Level::Patient, &patient.attributes))
    }

    /// Whether a series of an admitted study is asked for, or may hold what is.
    pub(super) fn admits_series(&self, series: &FoundSeries) -> bool {
        let modality =
            || series.attributes.each(tags::MODALITY).any(|m| self.modalities.iter().any(|wanted| wanted == m));
        (self.series.is_empty() || self.series.contains(&series.series))
            && (self.modalities.is_empty() || modality())
            && self.holds(Level::Series, &series.attributes)
    }

    /// Whether an instance of an admitted series of `study` is asked for. All its attributes say which of the study's
    /// patients it is of; what is asked of a patient must be so of that one.
    pub(super) fn admits_instance(
        &self,
        study: &FoundStudy,
        instance: &FoundInstance,
        attributes: &Attributes,
    ) -> bool {
        let patient = || {
            let key = patient_key(attributes);
            let known = study.patients.iter().find(|patient| patient_key(&patient.attributes) == key);
            known.map_or(attributes, |patient| &patient.attributes)
        };
        (self.instances.is_empty() || self.instances.contains(&instance.sop_instance))
            && self.holds(Level::Instance, &instance.attributes)
            && (!self.is_of_patient() || self.holds(Level::Patient, patient()))
    }

    fn of_level(&self, level: Level) -> impl Iterator<Item = &Criterion> {
        self.criteria.iter().filter(move |criterion| criterion.attribute.level == level)
    }

    /// Whether an instance of a study that is admitted is asked for.
    #[must_use]
    pub fn admits(&self, series: &SeriesUid, sop_instance: &SopInstanceUid, attributes: &Attributes) -> bool {
        let modality = || attributes.each(tags::MODALITY).any(|m| self.modalities.iter().any(|wanted| wanted == m));
        (self.series.is_empty() || self.series.contains(series))
            && (self.instances.is_empty() || self.instances.contains(sop_instance))
            && (self.modalities.is_empty() || modality())
            && [Level::Patient, Level::Series, Level::Instance].iter().all(|level| self.holds(*level, attributes))
    }

    fn holds(&self, level: Level, attributes: &Attributes) -> bool {
        self.of_level(level).all(|criterion| {
            criterion.matching.matches(criterion.attribute.kind, attributes.get(criterion.attribute.tag))
        })
    }

    /// Whether it asks of patients: answers then name their instances alone.
    #[must_use]
    pub fn is_of_patient(&self) -> bool {
        self.of_level(Level::Patient).next().is_some()
    }

    /// Whether studies are asked for as a whole: nothing is asked of patients, series or instances.
    #[must_use]
    pub fn asks_of_studies_alone(&self) -> bool {
        self.names_no_part()
            && self.modalities.is_empty()
            && self.criteria.iter().all(|criterion| criterion.attribute.level == Level::Study)
    }

    /// Whether this patient is one that is asked for.
    #[must_use]
    pub fn admits_patient(&self, attributes: &Attributes) -> bool {
        self.holds(Level::Patient, attributes)
    }

    pub(super) fn limit(&self) -> usize {
        to_usize(u64::from(self.limit.min(QUERY_ROWS_MAX)))
    }

    /// Exact values of an attribute that all rows must have, where that is asked.
    #[cfg(feature = "fs")]
    pub(super) fn exact(&self, tag: Tag) -> Option<&str> {
        self.criteria.iter().find(|criterion| criterion.attribute.tag == tag).and_then(|criterion| {
            match &criterion.matching {
                Match::One(value) if criterion.attribute.kind == ValueKind::Id => Some(value.as_str()),
                _ => None,
            }
        })
    }
}

/// The place of a row in the order of answers: by study date, newest first, then by study, series and instance.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cursor {
    /// Study date of the row, `YYYYMMDD`; empty where it has none.
    pub date: String,
    /// Its study.
    pub study: StudyUid,
    /// Its series, if it has one.
    pub series: Option<SeriesUid>,
    /// Its instance, if it has one.
    pub sop_instance: Option<SopInstanceUid>,
}

impl Cursor {
    /// What rows are sorted by.
    pub(super) fn key(&self) -> impl Ord + '_ {
        (std::cmp::Reverse(&self.date), &self.study, &self.series, &self.sop_instance)
    }
}

/// What an owner of a study has published of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerVersion {
    /// The owner.
    pub owner: PeerId,
    /// How often a manifest of the study was completed.
    pub version: u64,
    /// Root of the newest.
    pub root: Option<ManifestRoot>,
}

/// A study as somebody sees it who may see what several owners have of it: one study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundStudy {
    /// Study Instance UID.
    pub study: StudyUid,
    /// Whose it is; who had it first comes first.
    pub owners: Vec<OwnerVersion>,
    /// Date that it is sorted by, `YYYYMMDD`.
    pub date: String,
    /// Attributes of the study. Where owners differ, those of the first.
    pub attributes: Attributes,
    /// All patients that instances of it are of: one, if all is well.
    pub patients: Vec<StudyPatient>,
    /// Modalities of its series, each once, sorted.
    pub modalities: Vec<String>,
    /// SOP classes of its instances, each once, sorted.
    pub sop_classes: Vec<String>,
    /// Number of series.
    pub series: u64,
    /// Number of instances: of SOP Instance UIDs.
    pub instances: u64,
    /// Number of contents: an instance may have several.
    pub contents: u64,
    /// SOP Instance UIDs with contents that are at odds.
    pub conflicts: u64,
    /// Original bytes of its current instances.
    pub bytes: u64,
    /// Whether a transfer runs that has added to it.
    pub arriving: bool,
    /// When it last changed.
    pub updated: UnixSeconds,
}

impl FoundStudy {
    /// Attributes of the study and of the patient that most of it is of; what people are shown of a study.
    #[must_use]
    pub fn shown(&self) -> Attributes {
        let mut shown = self.attributes.clone();
        if let Some(most) = self.patients.iter().rev().max_by_key(|patient| patient.instances) {
            shown.extend(&most.attributes);
        }
        shown
    }

    /// The highest version that an owner has published.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.owners.iter().map(|owner| owner.version).max().unwrap_or(0)
    }

    /// Its place among the rows of an answer.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { date: self.date.clone(), study: self.study.clone(), series: None, sop_instance: None }
    }
}

impl From<StudyRow> for FoundStudy {
    fn from(row: StudyRow) -> Self {
        Self {
            date: row.attributes.get(tags::STUDY_DATE).to_owned(),
            study: row.study,
            owners: vec![OwnerVersion { owner: row.owner, version: row.version, root: row.root }],
            attributes: row.attributes,
            patients: row.patients,
            modalities: row.modalities,
            sop_classes: row.sop_classes,
            series: row.series,
            instances: row.instances,
            contents: row.contents,
            conflicts: row.conflicts,
            bytes: row.bytes,
            arriving: row.arriving,
            updated: row.updated,
        }
    }
}

/// A series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSeries {
    /// Series Instance UID.
    pub series: SeriesUid,
    /// Its attributes.
    pub attributes: Attributes,
    /// Number of its instances.
    pub instances: u64,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundInstance {
    /// SOP Instance UID.
    pub sop_instance: SopInstanceUid,
    /// SOP Class UID.
    pub sop_class: Option<StandardUid>,
    /// Transfer Syntax UID that it is stored in.
    pub transfer_syntax: Option<StandardUid>,
    /// Its attributes.
    pub attributes: Attributes,
    /// Hash of the whole file.
    pub hash: InstanceHash,
    /// Id of what it holds.
    pub content: ContentId,
    /// Length of the file in bytes.
    pub len: u64,
}

impl FoundInstance {
    pub(super) fn of(instance: &StoredInstance) -> Self {
        Self {
            sop_instance: instance.entry.sop_instance.clone(),
            sop_class: instance.entry.sop_class.clone(),
            transfer_syntax: instance.entry.transfer_syntax.clone(),
            attributes: instance.attributes.of_level(Level::Instance),
            hash: instance.entry.hash,
            content: instance.entry.content_id(),
            len: instance.entry.len,
        }
    }
}

/// A row of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The study, or the one that it belongs to.
    pub study: Arc<FoundStudy>,
    /// The series, or the one that the instance belongs to.
    pub series: Option<Arc<FoundSeries>>,
    /// The instance.
    pub instance: Option<FoundInstance>,
}

impl Found {
    /// Its place in the order of answers.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor {
            series: self.series.as_ref().map(|series| series.series.clone()),
            sop_instance: self.instance.as_ref().map(|instance| instance.sop_instance.clone()),
            ..self.study.cursor()
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The rows, in order.
    pub rows: Vec<Found>,
    /// Whether more come behind the last.
    pub more: bool,
    /// How many rows there are in all, where they were to be counted.
    pub total: Option<u64>,
    /// Whether headers of stored instances are still to be read again after a change of the catalogue
    /// ([`Index::stale`](super::Index::stale)), so that something may be missing.
    pub incomplete: bool,
}

/// Takes rows in order as far as they are wanted.
#[derive(Debug)]
pub(super) struct Collector<'s> {
    search: &'s Search,
    to_skip: usize,
    answer: Answer,
    total: u64,
}

impl<'s> Collector<'s> {
    pub(super) fn new(search: &'s Search) -> Self {
        Self { search, to_skip: to_usize(u64::from(search.skip)), answer: Answer::default(), total: 0 }
    }

    /// Takes a row that is admitted. Returns whether more are wanted.
    pub(super) fn push(&mut self, found: Found) -> bool {
        self.total += 1;
        let is_behind = self.search.after.as_ref().is_none_or(|after| found.cursor().key() > after.key());
        if !is_behind {
            return true;
        }
        if self.to_skip > 0 {
            self.to_skip -= 1;
        } else if self.answer.rows.len() < self.search.limit() {
            self.answer.rows.push(found);
        } else {
            self.answer.more = true;
            return self.search.count;
        }
        true
    }

    pub(super) fn finish(mut self) -> Answer {
        self.answer.total = self.search.count.then_some(self.total);
        self.answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_given_narrows() {
        let by = |values: &[&str]| {
            values.iter().try_fold(Search::default(), |search, value| search.by(tags::SERIES_INSTANCE_UID, value))
        };
        assert_eq!(by(&["1.2,1.3"]).map(|search| search.series.len()), Ok(2));
        assert_eq!(by(&["1.2", ""]).map(|search| search.series.len()), Ok(1), "nothing takes nothing away");
        assert_eq!(by(&[","]), Err(SearchError::Value("SeriesInstanceUID")));
        assert_eq!(by(&["x"]), Err(SearchError::Value("SeriesInstanceUID")));
        assert_eq!(by(&["1.2", "1.3"]), Err(SearchError::Twice("SeriesInstanceUID")));
    }
}
