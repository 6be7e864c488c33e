//! Mending a store: what is damaged in it is fetched anew from a peer that holds it, and notes that cannot be read
//! any more are written anew from the index.
//!
//! What is damaged is what the index says is damaged ([`Index::note_damage`](crate::store::Index::note_damage)):
//! a check with [`CheckOptions::read_data`](crate::store::CheckOptions::read_data) finds it.

mod mending;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::client::{Client, PullOptions, PullTarget};
use crate::depot::Depot;
use crate::error::TransferError;
use crate::ids::{PeerId, StudyUid};
use crate::progress::Observer;
use crate::proto::ProtocolError;
use crate::receive::Intake;
use crate::store::{Held, RetellReport, Scope, StoreError, StoredInstance, Versions, retell};
use crate::transport::Dial;
use crate::wire::message::RefuseCode;
use crate::work::blocking;

use mending::{MendingIntake, Offered, Wounded, row_of};

/// Most damaged instances that one repair deals with; a few kB of memory each. The next one deals with the rest.
pub const INSTANCES_MAX: usize = 100_000;

/// What became of a damaged instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It is whole again, proven byte for byte and durable.
    Healed,
    /// The peer has no such instance, or does not let this site see it.
    NotHeld,
    /// The peer has another content under its SOP Instance UID. It was not taken.
    OtherContent,
    /// The peer has it and did not give it whole: it may be damaged there, too.
    NotGiven,
}

/// A damaged instance, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mended {
    /// The instance as it stood before the repair.
    pub instance: StoredInstance,
    /// What became of it.
    pub outcome: Outcome,
}

/// What [`repair`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// The damaged instances, up to [`INSTANCES_MAX`], by study and owner.
    pub instances: Vec<Mended>,
    /// Bytes of records that came over the line.
    pub payload_bytes: u64,
}

impl RepairReport {
    /// How many instances are whole again.
    #[must_use]
    pub fn healed(&self) -> usize {
        self.instances.iter().filter(|mended| mended.outcome == Outcome::Healed).count()
    }
}

/// Fetches the damaged instances of `depot` from a peer: exactly the records that are lost, for the owners whose
/// rows they are. What the peer holds of those studies otherwise is refused, no version is published, and the
/// receipts that the peer gets are about the healed instances alone.
///
/// Goes over one connection after the other, study by study. Dropping the future stops it; what was healed stays so.
///
/// # Errors
/// [`TransferError`], when the peer cannot be reached or breaks off; what was healed before stays so.
pub async fn repair(
    client: &Client,
    dial: &Dial,
    depot: &Depot,
    options: &PullOptions,
    observer: &dyn Observer,
) -> Result<RepairReport, TransferError> {
    let mut report = RepairReport::default();
    for wounded in damaged(depot).await? {
        let wounded = Arc::new(wounded);
        let target = PullTarget::study(wounded.study.clone()).with_versions(Versions::All);
        let intake = {
            let (depot, wounded) = (depot.clone(), Arc::clone(&wounded));
            move |_: PeerId| -> Result<Arc<dyn Intake>, StoreError> {
                Ok(Arc::new(MendingIntake::new(&depot, Arc::clone(&wounded))?))
            }
        };
        match Box::pin(client.pull(dial, &target, intake, options, observer)).await {
            Ok(pulled) => report.payload_bytes += pulled.progress.payload_bytes,
            Err(TransferError::Protocol(ProtocolError::Refused { code: RefuseCode::NotFound, .. })) => {}
            Err(error) => return Err(error),
        }
        report.instances.extend(outcomes(depot, &wounded).await?);
    }
    Ok(report)
}

/// Writes anew what no readable note tells ([`retell`]). Blocks.
///
/// # Errors
/// [`StoreError`].
pub fn renew_notes(depot: &Depot) -> Result<RetellReport, StoreError> {
    retell(depot.records.as_ref(), depot.index.as_ref())
}

/// What is damaged now, by study and owner.
async fn damaged(depot: &Depot) -> Result<Vec<Wounded>, TransferError> {
    let mut studies: BTreeMap<(StudyUid, PeerId), Vec<StoredInstance>> = BTreeMap::new();
    let index = Arc::clone(&depot.index);
    let listed = blocking("list what is damaged", move || index.damaged(INSTANCES_MAX)).await??;
    for instance in listed {
        studies.entry((instance.entry.study.clone(), instance.owner)).or_default().push(instance);
    }
    Ok(studies.into_iter().map(|((study, owner), instances)| Wounded::new(owner, study, instances)).collect())
}

async fn outcomes(depot: &Depot, wounded: &Arc<Wounded>) -> Result<Vec<Mended>, TransferError> {
    let (index, asked) = (Arc::clone(&depot.index), Arc::clone(wounded));
    let whole = move || {
        let hashes: Vec<_> = asked.offers().map(|(instance, _)| instance.entry.hash).collect();
        let whole = index.has(&Scope::owner(asked.owner), &asked.study, &hashes)?;
        Ok::<HashSet<_>, StoreError>(
            hashes.into_iter().zip(whole).filter(|(_, held)| *held != Held::Absent).map(|(hash, _)| hash).collect(),
        )
    };
    let whole = blocking("look what is whole again", whole).await??;
    let outcome = |(instance, offered): (&StoredInstance, Offered)| {
        let outcome = match offered {
            _ if whole.contains(&instance.entry.hash) => Outcome::Healed,
            Offered { same: true, .. } => Outcome::NotGiven,
            Offered { other_content: true, .. } => Outcome::OtherContent,
            _ => Outcome::NotHeld,
        };
        Mended { instance: instance.clone(), outcome }
    };
    let mut outcomes: Vec<Mended> = wounded.offers().map(outcome).collect();
    outcomes.sort_by_key(|mended| row_of(&mended.instance.entry));
    Ok(outcomes)
}
