//! Removes studies that have been kept long enough, once the configured peer has signed that it holds exactly the same.
//!
//! Before a study goes it is pushed to that peer, which reads back what it has of it and is sent what it lacks. Its
//! receipt for everything that is to go is what allows the removal; without one the study stays.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use imgxfer_core::client::{Client, PushOptions, PushReport, RetryPolicy};
use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::depot::Depot;
use imgxfer_core::error::TransferError;
use imgxfer_core::ids::{InstanceHash, PeerId, StudyUid};
use imgxfer_core::priority::Priority;
use imgxfer_core::progress::TransferEvent;
use imgxfer_core::send::{DepotSource, Selection, Source, SourceItem, Totals};
use imgxfer_core::server::Direction;
use imgxfer_core::store::{InstancesOf, Scope, StoreError, StoredInstance, Versions, What};
use imgxfer_core::units::to_u64;
use imgxfer_core::work::{WorkError, blocking};

use crate::app::Shared;
use crate::audit::{About, Actor, By, Entry, Event};
use crate::owners;
use crate::queue::code_of;
use crate::scrub::sleep_unless;

/// How often it is looked for what has been kept long enough.
const LOOK_EVERY: Duration = Duration::from_hours(1);
/// One try ends when nothing moved for this long; the next one is an hour later.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
/// Studies read from the index at once.
const STUDIES_AT_ONCE: usize = 256;
/// Instances read from the index at once.
const INSTANCES_AT_ONCE: usize = 256;

/// Why a study stays for now.
#[derive(Debug, thiserror::Error)]
enum StaysError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("the other site cannot take it now")]
    Transfer(#[from] TransferError),
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error("the other site has not signed for all of it")]
    NotAll,
    #[error("the peer has no address")]
    NoAddress,
    #[error("the daemon is stopping")]
    Stopping,
}

/// Looks every hour until the daemon stops; does nothing where everything is kept for ever.
pub(crate) async fn keep_no_longer(shared: Arc<Shared>) {
    let Some(at) = shared.config.retention.at.clone() else { return };
    let mut stopping = shared.stopping.subscribe();
    loop {
        match pass(&shared, &at).await {
            Ok(()) => {}
            Err(StaysError::Stopping | StaysError::Work(WorkError::Stopping)) => return,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(peer = %at, %error, cause, "studies that have been kept long enough stay for now; it is tried again in an hour");
            }
        }
        if sleep_unless(&mut stopping, LOOK_EVERY).await {
            return;
        }
    }
}

/// Goes once over all studies.
async fn pass(shared: &Arc<Shared>, at: &str) -> Result<(), StaysError> {
    let mut after = None;
    loop {
        let (looking, last) = (Arc::clone(shared), after.take());
        let (due, last) =
            blocking("look for what has been kept long enough", move || due(&looking, last.as_ref())).await??;
        for (owner, study) in due {
            one(shared, at, owner, study).await?;
        }
        after = last;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// A study of an owner.
type OwnedStudy = (PeerId, StudyUid);

/// Those of the next studies that have been kept long enough, and where to go on.
fn due(shared: &Shared, after: Option<&OwnedStudy>) -> Result<(Vec<OwnedStudy>, Option<OwnedStudy>), StoreError> {
    let index = &shared.depot.index;
    let keys = index.study_keys(after, STUDIES_AT_ONCE)?;
    let now = UnixSeconds::now().0;
    let mut due = Vec::new();
    for (owner, study) in &keys {
        let Some(keep) = owners::keep(shared, *owner) else { continue };
        let keep = i64::try_from(keep.as_secs()).unwrap_or(i64::MAX);
        let row = index.study(&Scope::owner(*owner), study)?.pop();
        if row.is_some_and(|row| !row.arriving && now.saturating_sub(row.updated.0) >= keep) {
            due.push((*owner, study.clone()));
        }
    }
    Ok((due, keys.into_iter().next_back()))
}

/// Has the peer sign for a study, and removes it.
async fn one(shared: &Arc<Shared>, at: &str, owner: PeerId, study: StudyUid) -> Result<(), StaysError> {
    let (depot, of) = (shared.depot.clone(), study.clone());
    let contents = blocking("list a study", move || contents(&depot, owner, &of)).await??;
    let report = tokio::select! {
        report = push(shared, at, owner, &study) => report?,
        _ = stopped(shared) => return Err(StaysError::Stopping),
    };
    let key = report.receipt.receiver;
    let peer = Actor::Peer { name: at.to_owned(), key };
    shared.audit.tell(&Entry::new(peer, Event::ReceiptGot(About::of_receipt(&report.receipt))));
    if !report.receipt.complete || report.receipt.instances != to_u64(contents.len()) {
        return Err(StaysError::NotAll);
    }
    let (working, of, signed, name) = (Arc::clone(shared), study.clone(), report.signed, at.to_owned());
    let removed = blocking("remove a study", move || {
        if let Err(error) = working.queue.keep_receipt((&name, key), &signed, std::slice::from_ref(&of)) {
            tracing::error!(%error, "a receipt could not be kept");
        }
        working.depot.remove(owner, &of, What::Contents(contents))
    });
    let removed = removed.await??;
    shared.room_wanted.notify_one();
    tracing::info!(study = ?study, peer = %at, instances = removed.instances, bytes = removed.bytes, "kept long enough, and held by the other site: removed here");
    let by = By { by_studies: vec![study], ..By::default() };
    let (owners, held_at) = (vec![owners::name(shared, owner)], Some(at.to_owned()));
    let event = Event::Removed { by, owners, instances: removed.instances, bytes: removed.bytes, held_at };
    shared.audit.tell(&Entry::new(Actor::Daemon, event));
    Ok(())
}

/// Returns when the daemon stops.
async fn stopped(shared: &Shared) {
    let mut stopping = shared.stopping.subscribe();
    // An error means that the daemon is gone.
    drop(stopping.wait_for(|stopping| *stopping).await);
}

/// All contents of a study.
fn contents(depot: &Depot, owner: PeerId, study: &StudyUid) -> Result<Vec<InstanceHash>, StoreError> {
    let (mine, of) = (Scope::owner(owner), InstancesOf::all_versions(study.clone()));
    let (mut contents, mut last): (Vec<InstanceHash>, Option<StoredInstance>) = Default::default();
    loop {
        let page = depot.index.instances(&mine, &of, last.as_ref(), INSTANCES_AT_ONCE)?;
        contents.extend(page.iter().map(|instance| instance.entry.hash));
        last = page.into_iter().next_back();
        if last.is_none() {
            return Ok(contents);
        }
    }
}

async fn push(shared: &Arc<Shared>, at: &str, owner: PeerId, study: &StudyUid) -> Result<PushReport, StaysError> {
    let dial = shared.peers.dial(at).ok_or(StaysError::NoAddress)?;
    let level = shared.peers.named(at).map(|peer| peer.level).unwrap_or_default();
    let options = PushOptions::default()
        .with_priority(Priority::Background)
        .with_retry(RetryPolicy::default().giving_up_after(GIVE_UP_AFTER))
        .with_level(level)
        .with_pace(shared.rates.pace(at, Direction::Out, Priority::Background))
        .with_proof(true);
    let ticket = shared.live.begin(at.to_owned(), Direction::Out, None, Priority::Background);
    let observer = |event: &TransferEvent| match event {
        TransferEvent::Started { transfer } => shared.live.update(ticket, Some(*transfer), None),
        TransferEvent::Progress(progress) => shared.live.update(ticket, None, Some(*progress)),
        _ => {}
    };
    let client = Client::new(Arc::clone(&shared.endpoint));
    let depot = &shared.depot;
    let source = || Box::new(StudySource { depot: depot.clone(), owner, study: study.clone(), opened: None }) as _;
    let report = client.push(&dial, source, &options, &observer).await;
    shared.live.end(ticket);
    Ok(report.inspect_err(|error| tracing::debug!(problem = code_of(error), "a push before a removal failed"))?)
}

/// Everything that an owner has of a study, looked up when the first of it is asked for.
#[derive(Debug)]
struct StudySource {
    depot: Depot,
    owner: PeerId,
    study: StudyUid,
    opened: Option<DepotSource>,
}

impl Source for StudySource {
    /// Nobody waits for the progress of this.
    fn totals(&self) -> Totals {
        Totals::default()
    }

    fn next_item(&mut self) -> io::Result<Option<SourceItem>> {
        if self.opened.is_none() {
            let wanted = Selection { versions: Versions::All, ..Selection::study(self.study.clone()) };
            let scope = Scope::owner(self.owner);
            self.opened = DepotSource::new(&self.depot, scope, wanted).map_err(io::Error::other)?;
        }
        // Without one it was removed meanwhile.
        self.opened.as_mut().map_or(Ok(None), DepotSource::next_item)
    }
}
