//! Gives what is asked for of a store, and goes on while it is still arriving there.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::time::Duration;

use super::depot_source::{DepotSource, Selection};
use super::source::{Shortfall, Source, SourceItem, Totals};
use crate::depot::Depot;
use crate::ids::{InstanceHash, PeerId, StudyUid};
use crate::store::{Index, Scope, StoreError, StudyRow};

/// How often it is looked whether more has arrived.
const LOOK: Duration = Duration::from_millis(250);
/// So many looks are between two walks over what is there, and one more for so many instances: a walk costs a step for
/// each.
const LOOKS: usize = 4;
const INSTANCES_A_LOOK: usize = 5_000;

/// Gives what is wanted of a store to a puller.
///
/// A study of which no version was stated yet, and that a transfer is adding to, is followed: what arrives is given as
/// it is committed, until that transfer ends. Of a study that has a version, what is there is given; that more of it
/// arrives is said at the end ([`Source::shortfall`]), since what a transfer brings may take the place of what was
/// given. Who asks for instances by name waits for nothing.
///
/// Memory: 40 bytes for each instance given, and of a study's size only while it is followed.
#[derive(Debug)]
pub struct Following {
    depot: Depot,
    scope: Scope,
    wanted: Selection,
    /// The walk that gives instances now.
    walk: Option<DepotSource>,
    /// Looks since the last walk.
    looks: usize,
    studies: Vec<StudyUid>,
    /// What stood there at the start, and when the last walk began.
    first: Standing,
    before: Standing,
    given: HashSet<InstanceHash>,
    /// Whose studies have instances among what was met that no version of theirs states.
    unstated: BTreeSet<(StudyUid, PeerId)>,
    totals: Totals,
    others: u64,
    follows: bool,
    /// Whether instances were gone when it came to them.
    fewer: bool,
    shortfall: Shortfall,
}

/// What is stated of the studies, and whether they grow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Standing {
    rows: Vec<Stated>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stated {
    study: StudyUid,
    owner: PeerId,
    version: u64,
    arriving: bool,
    instances: u64,
    contents: u64,
}

impl Stated {
    /// Whether no version of it was stated yet.
    fn is_unstated(&self) -> bool {
        self.version == 0
    }
}

impl From<StudyRow> for Stated {
    fn from(row: StudyRow) -> Self {
        let StudyRow { study, owner, version, arriving, instances, contents, .. } = row;
        Self { study, owner, version, arriving, instances, contents }
    }
}

impl Standing {
    fn of(index: &dyn Index, scope: &Scope, studies: &[StudyUid]) -> Result<Self, StoreError> {
        let mut rows = Vec::new();
        for study in studies {
            rows.extend(index.study(scope, study)?.into_iter().map(Stated::from));
        }
        Ok(Self { rows })
    }

    /// Whether studies arrive of which no version was stated.
    fn grows(&self) -> bool {
        self.rows.iter().any(|row| row.arriving && row.is_unstated())
    }

    /// Whether a study that stood still then is gone, or has another version now.
    fn has_changed(&self, now: &Self) -> bool {
        let still = self.rows.iter().filter(|row| !(row.arriving && row.is_unstated()));
        still.into_iter().any(|then| {
            let same = |row: &&Stated| row.study == then.study && row.owner == then.owner;
            now.rows.iter().find(same).is_none_or(|row| row.version != then.version)
        })
    }

    /// Instances of studies whose transfer has never ended whole. What arrives at this site by itself has no transfer.
    fn unstated(&self) -> u64 {
        let rows = self.rows.iter().filter(|row| row.is_unstated() && !row.arriving && row.owner != PeerId::SELF);
        rows.map(|row| row.instances).sum()
    }
}

impl Following {
    /// Gives what is `wanted` and within `scope`; `None` when there is nothing. With `now`, nothing is waited for.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn new(depot: &Depot, scope: Scope, wanted: Selection, now: bool) -> Result<Option<Self>, StoreError> {
        let Some(walk) = DepotSource::new(depot, scope.clone(), wanted.clone())? else { return Ok(None) };
        let studies = walk.studies().to_vec();
        let first = Standing::of(&*depot.index, &scope, &studies)?;
        let follows = !now && wanted.what.instances.is_empty() && first.grows();
        let (totals, others) = (walk.totals(), walk.others());
        Ok(Some(Self {
            depot: depot.clone(),
            scope,
            wanted,
            walk: Some(if follows { walk.besides(HashSet::new()) } else { walk }),
            looks: 0,
            studies,
            before: first.clone(),
            first,
            given: HashSet::new(),
            unstated: BTreeSet::new(),
            totals,
            others,
            follows,
            fewer: false,
            shortfall: Shortfall::default(),
        }))
    }

    /// The studies of which something is given.
    pub(crate) fn studies(&self) -> &[StudyUid] {
        &self.studies
    }

    fn standing(&self) -> Result<Standing, StoreError> {
        Standing::of(&*self.depot.index, &self.scope, &self.studies)
    }

    /// Goes over what is there once more, for what was not given yet.
    fn walk_again(&mut self, before: Standing) -> Result<(), StoreError> {
        self.before = before;
        let given = std::mem::take(&mut self.given);
        match DepotSource::new(&self.depot, self.scope.clone(), self.wanted.clone())? {
            Some(walk) => {
                self.studies = walk.studies().to_vec();
                self.walk = Some(walk.besides(given));
            }
            // All of it was removed meanwhile.
            None => self.fewer = true,
        }
        Ok(())
    }

    /// A walk has come to its end. Whether the first one met all that it had counted is known now.
    fn walked(&mut self, walk: DepotSource) {
        self.fewer |= walk.has_met_fewer();
        (self.given, self.unstated) = walk.into_given();
        self.looks = 0;
    }

    fn end(&mut self, now: &Standing) {
        // Instances that were asked for by name are all there is of them.
        let named = !self.wanted.what.instances.is_empty();
        // A transfer that has been cut off runs on for a while; what it has brought may be part of a version by now.
        let grows = |row: &Stated| {
            let adds = row.is_unstated() || self.unstated.contains(&(row.study.clone(), row.owner));
            row.arriving && adds
        };
        self.shortfall = Shortfall {
            changed: self.fewer || self.first.has_changed(now),
            arriving: !named && now.rows.iter().any(grows),
            unstated: if named { 0 } else { now.unstated() },
        };
    }
}

impl Source for Following {
    fn totals(&self) -> Totals {
        self.totals
    }

    fn others(&self) -> u64 {
        self.others
    }

    fn follows(&self) -> bool {
        self.follows
    }

    fn shortfall(&self) -> Shortfall {
        self.shortfall
    }

    fn next_item(&mut self) -> io::Result<Option<SourceItem>> {
        loop {
            if let Some(mut walk) = self.walk.take() {
                if let Some(item) = walk.next_item()? {
                    self.walk = Some(walk);
                    return Ok(Some(item));
                }
                self.walked(walk);
            }
            let now = self.standing().map_err(io::Error::other)?;
            if !self.follows || self.fewer || (!now.grows() && now == self.before) {
                self.end(&now);
                return Ok(None);
            }
            let is_time = self.looks >= LOOKS + self.given.len() / INSTANCES_A_LOOK;
            if !now.grows() || (now != self.before && is_time) {
                self.walk_again(now).map_err(io::Error::other)?;
                continue;
            }
            self.looks += 1;
            std::thread::sleep(LOOK);
            return Ok(Some(SourceItem::Nothing));
        }
    }
}
