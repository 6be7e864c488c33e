//! By which ways a study came here.

use std::collections::BTreeMap;

use super::Depot;
use crate::clock::UnixSeconds;
use crate::ids::{PeerId, StudyUid};
use crate::store::{Arrival, Provenance, StoreError};

/// One way by which contents of a study came that the site itself owns. For those who run the site alone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Way {
    /// The way.
    pub provenance: Provenance,
    /// Contents that came by it.
    pub contents: u64,
    /// When the first of them did, by the wall clock.
    pub first: UnixSeconds,
    /// When the newest of them did.
    pub newest: UnixSeconds,
}

impl Depot {
    /// The ways by which a study came that the site itself owns, the first one first. Cost: a look-up for each
    /// content. Blocks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ways(&self, study: &StudyUid) -> Result<Vec<Way>, StoreError> {
        let mut ways: BTreeMap<Provenance, Way> = BTreeMap::new();
        self.each_of(&(PeerId::SELF, study.clone()), &mut |instance| {
            for Arrival { at, provenance } in self.index.arrivals(instance)? {
                let new = || Way { provenance: provenance.clone(), contents: 0, first: at, newest: at };
                let way = ways.entry(provenance.clone()).or_insert_with(new);
                way.contents += 1;
                (way.first, way.newest) = (way.first.min(at), way.newest.max(at));
            }
            Ok(())
        })?;
        let mut ways: Vec<Way> = ways.into_values().collect();
        ways.sort_by(|a, b| (a.first, &a.provenance).cmp(&(b.first, &b.provenance)));
        Ok(ways)
    }
}
