//! Whether an index says of a study what its instances say: a flipped bit in a row is no error of any database.

use std::collections::{BTreeSet, HashSet};

use super::{RecordCache, StoredInstance, StoredReader, StudyRow};
use crate::dicom;
use crate::dicom::tags;
use crate::ids::SeriesUid;

/// What the instances of a study add up to, beside the row that the index has of it.
#[derive(Debug)]
pub(super) struct Tally {
    row: StudyRow,
    instances: u64,
    bytes: u64,
    series: HashSet<SeriesUid>,
    modalities: BTreeSet<String>,
    attributes: bool,
    header: bool,
}

impl Tally {
    pub(super) fn new(row: StudyRow) -> Self {
        Self {
            row,
            instances: 0,
            bytes: 0,
            series: HashSet::new(),
            modalities: BTreeSet::new(),
            attributes: false,
            header: true,
        }
    }

    pub(super) fn add(&mut self, instance: &StoredInstance) {
        self.instances += 1;
        self.bytes = self.bytes.saturating_add(instance.entry.len);
        self.series.insert(instance.entry.series.clone());
        if !instance.attributes.get(tags::MODALITY).is_empty() {
            self.modalities.insert(instance.attributes.get(tags::MODALITY).to_owned());
        }
        self.attributes |= instance.attributes == self.row.attributes;
    }

    /// Compares what the index has of a sound instance's attributes with its own header. One without an identity of its
    /// own is carried as opaque bytes, and has none there.
    pub(super) fn add_header(&mut self, instance: &StoredInstance, reader: StoredReader, cache: &RecordCache) {
        let reader = reader.with_cache(cache.clone());
        if instance.entry.name.is_empty()
            && let Ok(scan) = dicom::scan(&reader)
            && scan.identity.is_some()
        {
            self.header &= scan.attributes == instance.attributes;
        }
    }

    /// What the row `now` has wrong, if it is the same as before all instances were looked at.
    pub(super) fn wrong(self, now: Option<&StudyRow>) -> Option<&'static str> {
        let Self { row, instances, bytes, series, modalities, attributes, header } = self;
        if row.arriving || now != Some(&row) {
            return None;
        }
        let modalities = modalities.into_iter().collect::<Vec<_>>().join("\\");
        let series = u64::try_from(series.len()).unwrap_or(u64::MAX);
        if (row.instances, row.bytes, row.series) != (instances, bytes, series) {
            return Some("its counts are not those of its instances");
        }
        if row.modalities != modalities || instances > 0 && !attributes {
            return Some("its attributes are not those of any of its instances");
        }
        (!header).then_some("the attributes of an instance are not those of its header")
    }
}
