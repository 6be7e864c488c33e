//! One study out of what several owners have of it.

use super::{FoundStudy, OwnerVersion};
use crate::dicom::tags;
use crate::store::summary::patient_key;
use crate::store::{StudyPatient, StudyRow};

/// Counts over distinct contents of several owners.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::store) struct Counts {
    pub(in crate::store) series: u64,
    pub(in crate::store) instances: u64,
    pub(in crate::store) contents: u64,
    pub(in crate::store) conflicts: u64,
    pub(in crate::store) bytes: u64,
}

/// Joins the rows of one study. `counts` is asked where there are several: instances of two owners may be the same.
/// `None` where there is no row.
pub(in crate::store) fn merge<E>(
    mut rows: Vec<StudyRow>,
    counts: impl FnOnce(&[StudyRow]) -> Result<Counts, E>,
) -> Result<Option<FoundStudy>, E> {
    rows.sort_by_key(|row| (row.first, row.owner));
    if rows.len() < 2 {
        return Ok(rows.pop().map(FoundStudy::from));
    }
    let Counts { series, instances, contents, conflicts, bytes } = counts(&rows)?;
    let mut all = rows.into_iter();
    let Some(first) = all.next() else { return Ok(None) };
    let mut merged = FoundStudy::from(first);
    for row in all {
        merged.owners.push(OwnerVersion { owner: row.owner, version: row.version, root: row.root });
        let mut attributes = row.attributes;
        attributes.extend(&merged.attributes);
        merged.attributes = attributes;
        row.patients.into_iter().for_each(|patient| add_patient(&mut merged.patients, patient));
        merged.modalities.extend(row.modalities);
        merged.sop_classes.extend(row.sop_classes);
        merged.arriving |= row.arriving;
        merged.updated = merged.updated.max(row.updated);
    }
    for list in [&mut merged.modalities, &mut merged.sop_classes] {
        list.sort_unstable();
        list.dedup();
    }
    merged.attributes.get(tags::STUDY_DATE).clone_into(&mut merged.date);
    Ok(Some(FoundStudy { series, instances, contents, conflicts, bytes, ..merged }))
}

fn add_patient(patients: &mut Vec<StudyPatient>, new: StudyPatient) {
    let is_same = |known: &&mut StudyPatient| patient_key(&known.attributes) == patient_key(&new.attributes);
    match patients.iter_mut().find(is_same) {
        // The same instances may be counted twice: at least so many are of this patient.
        Some(known) => known.instances = known.instances.max(new.instances),
        None => patients.push(new),
    }
}
