//! What the headers of a study's instances say of the study, its patients and its series.
//!
//! Instances of one series mostly have the same attributes but a few of their own. What they share is a [`Header`]; an
//! index keeps each once. A study is what its headers say, the newest last: so a corrected name shows as soon as the
//! corrected content is current, and an attribute that only some instances have is there.

use std::collections::BTreeMap;

use super::{Order, StoredInstance};
use crate::dicom::{Attributes, Level, Tag, tags};
use crate::ids::SeriesUid;

/// What instances of a series share: attributes of patient, study and series, and the SOP class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) attributes: Attributes,
    /// Current instances that have it.
    pub(super) instances: u64,
    /// The newest order of an instance that has it.
    pub(super) newest: Order,
}

/// A patient of a study, as far as instances say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StudyPatient {
    /// The patient's attributes.
    pub attributes: Attributes,
    /// Current instances of this patient.
    pub instances: u64,
}

/// What a study's headers say of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// Attributes of the study.
    pub(super) attributes: Attributes,
    /// Its patients, ordered by identifier and issuer.
    pub(super) patients: Vec<StudyPatient>,
    /// Modalities of its series, each once, sorted.
    pub(super) modalities: Vec<String>,
    /// SOP classes of its instances, each once, sorted.
    pub(super) sop_classes: Vec<String>,
}

/// Whether an attribute is kept with each instance, since it differs from one to the next.
fn is_own(tag: Tag) -> bool {
    crate::dicom::Attribute::of(tag).is_some_and(|attribute| attribute.level == Level::Instance)
}

/// The attributes of an instance, divided: what its header has, and what is its own.
pub(super) fn divide(instance: &StoredInstance) -> (Attributes, Attributes) {
    let (own, mut shared): (Vec<_>, Vec<_>) =
        instance.attributes.iter().map(|(tag, value)| (tag, value.to_owned())).partition(|(tag, _)| is_own(*tag));
    shared.push((tags::SOP_CLASS_UID, instance.entry.sop_class.as_ref().map_or("", |uid| uid.as_str()).to_owned()));
    (shared.into_iter().collect(), own.into_iter().collect())
}

/// Who a patient is: identifier and issuer, or where there is neither, the name.
pub(super) fn patient_key(patient: &Attributes) -> [&str; 3] {
    let (id, issuer) = (patient.get(tags::PATIENT_ID), patient.get(tags::ISSUER_OF_PATIENT_ID));
    [id, issuer, if id.is_empty() { patient.get(tags::PATIENT_NAME) } else { "" }]
}

/// What these headers of one study say of it. Those that no current instance has are left out.
pub(super) fn of_study(mut headers: Vec<Header>) -> Summary {
    headers.retain(|header| header.instances > 0);
    headers.sort_by(|a, b| (a.newest, &a.attributes).cmp(&(b.newest, &b.attributes)));
    let mut summary = Summary::default();
    let mut patients: BTreeMap<[String; 3], StudyPatient> = BTreeMap::new();
    let mut derived: Vec<&str> = Vec::new();
    for header in &headers {
        let of_level = |level| header.attributes.of_level(level);
        summary.attributes.extend(&of_level(Level::Study));
        derived.extend(header.attributes.each(tags::DERIVED_UIDS));
        summary.modalities.extend(header.attributes.each(tags::MODALITY).map(str::to_owned));
        summary.sop_classes.extend(header.attributes.each(tags::SOP_CLASS_UID).map(str::to_owned));
        let attributes = of_level(Level::Patient);
        let patient = patients.entry(patient_key(&attributes).map(str::to_owned)).or_default();
        patient.attributes.extend(&attributes);
        patient.instances += header.instances;
    }
    // Of all, and not of the newest: each concerns instances of its own.
    derived.sort_unstable();
    derived.dedup();
    summary.attributes.set(tags::DERIVED_UIDS, derived.join("\\"));
    for list in [&mut summary.modalities, &mut summary.sop_classes] {
        list.sort_unstable();
        list.dedup();
    }
    summary.patients = patients.into_values().collect();
    summary
}

/// What headers of one study say that its summary does not: what a newer one says otherwise, and what only contents
/// say that are not current. Somebody who sees a part of the study may see it.
#[cfg(feature = "fs")]
pub(super) fn aside(headers: &[Header], summary: &Summary) -> Vec<Attributes> {
    let mut aside = std::collections::BTreeSet::new();
    // An instance that comes again may have left a header that none has.
    for Header { attributes, .. } in headers.iter().filter(|header| header.newest > Order(0)) {
        let (study, patient) = (attributes.of_level(Level::Study), attributes.of_level(Level::Patient));
        let says = |known: &Attributes, these: &Attributes| these.iter().all(|(tag, value)| known.get(tag) == value);
        let is_said = says(&summary.attributes, &study)
            && summary.patients.iter().any(|known| says(&known.attributes, &patient))
            && attributes.each(tags::MODALITY).all(|modality| summary.modalities.iter().any(|m| m == modality));
        if !is_said {
            let mut said = study;
            said.extend(&patient);
            said.set(tags::MODALITY, attributes.get(tags::MODALITY));
            aside.insert(said);
        }
    }
    aside.into_iter().collect()
}

#[cfg(feature = "fs")]
impl Summary {
    /// What a study is searched by of which headers say this `aside`.
    pub(super) fn with(mut self, aside: &[Attributes]) -> Self {
        for said in aside {
            self.modalities.extend(said.each(tags::MODALITY).map(str::to_owned));
            self.patients.push(StudyPatient { attributes: said.clone(), instances: 0 });
        }
        self
    }
}

/// What these headers of one series say of it: its attributes, and how many current instances it has.
pub(super) fn of_series(mut headers: Vec<Header>) -> (Attributes, u64) {
    headers.retain(|header| header.instances > 0);
    headers.sort_by(|a, b| (a.newest, &a.attributes).cmp(&(b.newest, &b.attributes)));
    let mut attributes = Attributes::default();
    headers.iter().for_each(|header| attributes.extend(&header.attributes.of_level(Level::Series)));
    (attributes, headers.iter().map(|header| header.instances).sum())
}

/// The headers of instances that are looked at one after the other.
#[derive(Debug, Default)]
pub(super) struct Headers(BTreeMap<(SeriesUid, Attributes), Header>);

impl Headers {
    pub(super) fn add(&mut self, instance: &StoredInstance) {
        let (attributes, _) = divide(instance);
        let key = (instance.entry.series.clone(), attributes.clone());
        let header = self.0.entry(key).or_insert(Header { attributes, instances: 0, newest: Order(0) });
        header.instances += u64::from(instance.current);
        header.newest = header.newest.max(instance.order).max(instance.stated.unwrap_or_default());
    }

    /// Number of series that have current instances.
    pub(super) fn series(&self) -> usize {
        let current = self.0.iter().filter(|(_, header)| header.instances > 0);
        current.map(|((series, _), _)| series).collect::<std::collections::BTreeSet<_>>().len()
    }

    pub(super) fn into_vec(self) -> Vec<Header> {
        self.0.into_values().collect()
    }
}

/// The headers of instances, each once.
pub(super) fn headers_of<'a>(instances: impl IntoIterator<Item = &'a StoredInstance>) -> Vec<Header> {
    let mut headers = Headers::default();
    instances.into_iter().for_each(|instance| headers.add(instance));
    headers.into_vec()
}
