//! A study as somebody sees it: what each of its owners has of it within a scope.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::study::{Place, Study, place_of};
use crate::dicom::Level;
use crate::ids::{InstanceHash, PeerId, SopInstanceUid, StudyUid};
use crate::store::search::{Counts, Found, FoundInstance, FoundSeries, FoundStudy, Search, merge};
use crate::store::summary::{self, headers_of};
use crate::store::versions::is_conflict;
use crate::store::{Held, InstancesOf, Scope, StoreError, StoredInstance, StudyRow, Versions};
use crate::units::to_u64;

/// What is within a scope of one study.
pub(super) struct View<'a> {
    study: &'a StudyUid,
    /// In the order of owners.
    parts: Vec<(PeerId, Cow<'a, Study>)>,
}

impl<'a> View<'a> {
    pub(super) fn of(
        studies: impl IntoIterator<Item = (&'a (PeerId, StudyUid), &'a Study)>,
        scope: &Scope,
        study: &'a StudyUid,
    ) -> Self {
        let mine = studies.into_iter().filter(|((_, uid), _)| uid == study);
        let parts = mine.filter_map(|((owner, _), all)| Some((*owner, within(scope, owner, all)?)));
        Self { study, parts: parts.collect() }
    }

    pub(super) fn rows(&self) -> Vec<StudyRow> {
        self.parts.iter().map(|(owner, part)| part.row(*owner, self.study)).collect()
    }

    /// The instances that are asked for, ordered, without those that another owner's stand in front of.
    pub(super) fn instances(&self, of: &InstancesOf) -> BTreeMap<(Place, PeerId), &StoredInstance> {
        let first =
            |sop: &SopInstanceUid| self.parts.iter().filter_map(|(owner, part)| Some((part.first(sop)?, *owner))).min();
        let mut found = BTreeMap::new();
        for (owner, part) in &self.parts {
            for instance in part.instances.values() {
                let entry = &instance.entry;
                let asked = of.series.as_ref().is_none_or(|series| *series == entry.series)
                    && of.sop_instance.as_ref().is_none_or(|sop| *sop == entry.sop_instance);
                let shown = of.versions == Versions::All
                    || instance.current && first(&entry.sop_instance).is_none_or(|(_, first)| first == *owner);
                if asked && shown {
                    found.insert((place_of(instance), *owner), instance);
                }
            }
        }
        found
    }

    pub(super) fn contents_of(&self, sop: &SopInstanceUid) -> usize {
        self.parts.iter().map(|(_, part)| part.contents_of(sop)).sum()
    }

    pub(super) fn has(&self, hash: &InstanceHash) -> Held {
        let whole = self.parts.iter().flat_map(|(_, part)| part.whole(hash));
        match whole.map(|instance| instance.current).max() {
            None => Held::Absent,
            Some(true) => Held::Current,
            Some(false) => Held::Older,
        }
    }

    /// All that is seen of it, as one study.
    fn found(&self) -> Option<FoundStudy> {
        merge(self.rows(), |_| Ok::<_, StoreError>(self.counts())).ok().flatten()
    }

    fn counts(&self) -> Counts {
        let current = self.instances(&InstancesOf::study(self.study.clone()));
        let all = self.instances(&InstancesOf::all_versions(self.study.clone()));
        let mut contents: HashMap<_, Vec<_>> = HashMap::new();
        for instance in all.values() {
            let entry = &instance.entry;
            contents.entry(&entry.sop_instance).or_default().push((entry.content_id(), entry.transfer_syntax.clone()));
        }
        let distinct: HashSet<_> = all.values().map(|i| (&i.entry.sop_instance, i.entry.hash)).collect();
        Counts {
            series: to_u64(current.values().map(|i| &i.entry.series).collect::<BTreeSet<_>>().len()),
            instances: to_u64(contents.len()),
            contents: to_u64(distinct.len()),
            conflicts: to_u64(contents.values().filter(|contents| is_conflict(contents)).count()),
            bytes: current.values().map(|i| i.entry.len).sum(),
        }
    }

    /// Takes what `search` admits of it.
    pub(super) fn search(&self, search: &Search, rows: &mut Vec<Found>) {
        let Some(study) = self.found().filter(|study| search.admits_study(study)) else { return };
        let instances = self.instances(&InstancesOf::study(self.study.clone()));
        // Of one owner's study a header is as new as the newest that has it, current or not.
        let all = match study.owners.len() {
            1 => self.instances(&InstancesOf::all_versions(self.study.clone())),
            _ => instances.clone(),
        };
        let study = Arc::new(study);
        if search.level <= Level::Study {
            let named = |i: &&StoredInstance| {
                (search.series.is_empty() || search.series.contains(&i.entry.series))
                    && (search.instances.is_empty() || search.instances.contains(&i.entry.sop_instance))
            };
            if instances.values().copied().any(|i| named(&i)) || search.names_no_part() {
                rows.push(Found { study, series: None, instance: None });
            }
            return;
        }
        let mut by_series: BTreeMap<_, Vec<&StoredInstance>> = BTreeMap::new();
        instances.values().for_each(|i| by_series.entry(&i.entry.series).or_default().push(i));
        for (uid, instances) in by_series {
            let of_series = all.values().copied().filter(|i| i.entry.series == *uid);
            let (attributes, _) = summary::of_series(headers_of(of_series));
            let series = FoundSeries { series: uid.clone(), attributes, instances: to_u64(instances.len()) };
            if !search.admits_series(&series) {
                continue;
            }
            let series = Some(Arc::new(series));
            let admitted = instances
                .iter()
                .map(|i| (FoundInstance::of(i), &i.attributes))
                .filter(|(found, attributes)| search.admits_instance(&study, found, attributes));
            if search.level == Level::Series {
                if admitted.count() > 0 {
                    rows.push(Found { study: Arc::clone(&study), series, instance: None });
                }
                continue;
            }
            rows.extend(admitted.map(|(instance, _)| Found {
                study: Arc::clone(&study),
                series: series.clone(),
                instance: Some(instance),
            }));
        }
    }
}

/// What an owner has of a study within a scope.
fn within<'a>(scope: &Scope, owner: &PeerId, study: &'a Study) -> Option<Cow<'a, Study>> {
    if scope.admits(owner) {
        return Some(Cow::Borrowed(study));
    }
    let sources = scope.deciding_sources();
    if *owner == PeerId::SELF && !sources.is_empty() { study.that_came_by(sources).map(Cow::Owned) } else { None }
}
