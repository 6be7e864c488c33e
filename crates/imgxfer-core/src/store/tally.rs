//! Whether an index says of a study what its instances say: a flipped bit in a row is no error of any database.

use super::summary::{self, Headers};
use super::{RecordCache, StoredInstance, StoredReader, StudyRow};
use crate::dicom;
use crate::units::to_u64;

/// What the instances of a study add up to, beside the row that the index has of it.
#[derive(Debug)]
pub(super) struct Tally {
    row: StudyRow,
    instances: u64,
    contents: u64,
    bytes: u64,
    headers: Headers,
    is_header: bool,
    /// Whether attributes were read with another catalogue, so that this program cannot say what they should be.
    is_stale: bool,
}

impl Tally {
    pub(super) fn new(row: StudyRow) -> Self {
        Self { row, instances: 0, contents: 0, bytes: 0, headers: Headers::default(), is_header: true, is_stale: false }
    }

    pub(super) fn add(&mut self, instance: &StoredInstance) {
        self.contents += 1;
        if instance.current {
            self.instances += 1;
            self.bytes = self.bytes.saturating_add(instance.entry.len);
        }
        self.headers.add(instance);
        self.is_stale |= instance.catalogue != dicom::CATALOGUE_VERSION;
    }

    /// Compares what the index has of a sound instance's attributes with its own header. A DICOMDIR is carried as opaque
    /// bytes, and has none there.
    pub(super) fn add_header(&mut self, instance: &StoredInstance, reader: StoredReader, cache: &RecordCache) {
        let reader = reader.with_cache(cache.clone());
        if instance.entry.name.is_empty()
            && instance.catalogue == dicom::CATALOGUE_VERSION
            && let Ok(scan) = dicom::scan(&reader)
            && !scan.is_dicomdir()
        {
            self.is_header &= scan.attributes == instance.attributes;
        }
    }

    /// What the row `now` has wrong, if it is the same as before all instances were looked at.
    pub(super) fn wrong(self, now: Option<&StudyRow>) -> Option<&'static str> {
        let Self { row, instances, contents, bytes, headers, is_header, is_stale } = self;
        if row.arriving || now != Some(&row) {
            return None;
        }
        let series = to_u64(headers.series());
        if (row.instances, row.contents, row.bytes, row.series) != (instances, contents, bytes, series) {
            return Some("its counts are not those of its instances");
        }
        let summary = summary::of_study(headers.into_vec());
        let told = (&row.attributes, &row.patients, &row.modalities, &row.sop_classes);
        if !is_stale && told != (&summary.attributes, &summary.patients, &summary.modalities, &summary.sop_classes) {
            return Some("its attributes are not those of its instances");
        }
        (!is_header).then_some("the attributes of an instance are not those of its header")
    }
}
