//! The answering side, paved: takes in pushes, serves pulls and answers questions, each by the peer's rights.

mod frames;
mod host;
mod removing;
mod slots;
mod told;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::client::first_message;
use crate::codec::{CodecId, LevelChoice};
use crate::depot::Depot;
use crate::dicom::Level;
use crate::error::TransferError;
use crate::limits::HANDSHAKE_DEADLINE;
use crate::priority::Priority;
use crate::progress::TransferEvent;
use crate::receive::{DepotIntake, ReceiveSettings, Router, receive};
use crate::send::{FetchOrder, Following, Selection, SendSettings, send};
use crate::store::search::messages::{RowsToWire, criteria_from_wire, end_to_wire, find_from_wire};
use crate::store::search::{Search, SearchError};
use crate::store::{Scope, StoreError, Versions};
use crate::transfer::{refuse, session_span};
use crate::transport::{CloseCode, ControlSender, ControlStream, Endpoint, Session};
use crate::units::to_u64;
use crate::wire::message::{Body, Fetch, Find, RefuseCode, Refused, Start};
use crate::work::{WorkError, blocking, ended};

use host::Watched;
pub use host::{Direction, Host, Rights, TransferWatch};
use slots::{Slot, Slots};
use told::Witness;
pub use told::{Answered, Asked, AskedBy, AskedFrames, Published};

/// How much a server does at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLimits {
    /// Transfers in and out at once, over all peers. Each may take up to about 60 MB of memory. One peer has at most half
    /// of them, and an eighth is kept for emergencies. Default 16.
    pub transfers_max: usize,
    /// Transfers at once of one session. Default 4.
    pub transfers_per_session_max: usize,
    /// How long a drain waits for running transfers. Default 60 s.
    pub drain_deadline: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self { transfers_max: 16, transfers_per_session_max: 4, drain_deadline: Duration::from_secs(60) }
    }
}

/// Serves a depot on an endpoint.
#[derive(Clone)]
pub struct Server {
    endpoint: Arc<Endpoint>,
    depot: Depot,
    host: Arc<dyn Host>,
    limits: ServerLimits,
    transfers: Arc<Slots>,
    draining: tokio::sync::watch::Sender<bool>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Server {
    /// Joins the parts; nothing runs before [`Server::serve`].
    #[must_use]
    pub fn new(endpoint: impl Into<Arc<Endpoint>>, depot: Depot, host: Arc<dyn Host>, limits: ServerLimits) -> Self {
        let transfers = Slots::new(limits.transfers_max);
        let (draining, _) = tokio::sync::watch::channel(false);
        Self { endpoint: endpoint.into(), depot, host, limits, transfers, draining }
    }

    /// Refuses new requests from now on, as a drain does; what runs goes on. For a program that still has things of its
    /// own to end on the same endpoint before it lets [`serve`](Self::serve) close it.
    pub fn refuse_new(&self) {
        self.draining.send_replace(true);
    }

    /// Serves until `shutdown` resolves, then drains: new requests are refused, running transfers are given
    /// [`ServerLimits::drain_deadline`], and the endpoint is closed.
    pub async fn serve(&self, shutdown: impl Future<Output = ()> + Send) {
        let mut sessions = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                session = self.endpoint.accept() => {
                    let Some(session) = session else { break };
                    while let Some(session) = sessions.try_join_next() {
                        note_end(session);
                    }
                    let span = session_span(&session);
                    sessions.spawn(self.clone().serve_session(session).instrument(span));
                }
            }
        }
        self.draining.send_replace(true);
        let drained = tokio::time::timeout(self.limits.drain_deadline, self.transfers.all_free()).await;
        if drained.is_err() {
            tracing::warn!("transfers were still running at the end of the drain; they resume when this site is back");
        }
        self.endpoint.close(CloseCode::ShuttingDown, "");
        drop(tokio::time::timeout(Duration::from_secs(2), self.endpoint.wait_idle()).await);
    }

    async fn serve_session(self, session: Session) {
        self.host.on_session(&session);
        let router = Router::start(session.clone());
        let mut requests = JoinSet::new();
        while let Ok(control) = session.accept_control().await {
            while let Some(request) = requests.try_join_next() {
                note_end(request);
            }
            if requests.len() >= self.limits.transfers_per_session_max {
                let busy = (RefuseCode::Busy, "too many requests at once on one connection");
                requests.spawn(async move { say_refused(control.into_split().0, busy.0, busy.1).await });
                continue;
            }
            let request = self.clone().serve_request(session.clone(), router.clone(), control);
            requests.spawn(request.in_current_span());
        }
        // The connection is gone: what still runs on it ends by itself, with its own error.
        while let Some(request) = requests.join_next().await {
            note_end(request);
        }
    }

    async fn serve_request(self, session: Session, router: Router, control: ControlStream) {
        let (control_out, mut control_in) = control.into_split();
        let first = tokio::time::timeout(HANDSHAKE_DEADLINE, first_message(&mut control_in)).await;
        let Ok(Ok(first)) = first else {
            self.host.on_asked(&session, &Asked::Other, Answered::Refused(RefuseCode::Protocol));
            return say_refused(control_out, RefuseCode::Protocol, "a request that this version does not know").await;
        };
        let no = |asked: Asked, code| self.host.on_asked(&session, &asked, Answered::Refused(code));
        if *self.draining.borrow() {
            no(asked_by(&first), RefuseCode::ShuttingDown);
            let remedy = "the site is shutting down; try again in a few minutes";
            return say_refused(control_out, RefuseCode::ShuttingDown, remedy).await;
        }
        if !self.host.takes_work() {
            no(asked_by(&first), RefuseCode::Busy);
            let remedy = "the site takes no work just now: try again later";
            return say_refused(control_out, RefuseCode::Busy, remedy).await;
        }
        let rights = self.host.rights(&session);
        let control = (control_out, control_in);
        match first {
            Body::Start(start) if rights.send => {
                Box::pin(self.take_in(&session, &router, control, &start, rights)).await;
            }
            Body::Fetch(fetch) if rights.pull => Box::pin(self.send_out(&session, control, fetch, rights)).await,
            Body::FetchFrames(fetch) => Box::pin(self.give_frames(&session, control, &fetch, rights)).await,
            Body::Find(find) if rights.query => self.answer(&session, control.0, &find, rights).await,
            Body::Remove(wish) if rights.delete => self.remove(&session, control.0, &wish, rights).await,
            first @ Body::Start(_) => {
                no(asked_by(&first), RefuseCode::NotAllowed);
                say_refused(control.0, RefuseCode::NotAllowed, not_allowed("send")).await;
            }
            first @ Body::Fetch(_) => {
                no(asked_by(&first), RefuseCode::NotAllowed);
                say_refused(control.0, RefuseCode::NotAllowed, not_allowed("pull")).await;
            }
            first @ Body::Find(_) => {
                no(asked_by(&first), RefuseCode::NotAllowed);
                say_refused(control.0, RefuseCode::NotAllowed, not_allowed("query")).await;
            }
            first @ Body::Remove(_) => {
                no(asked_by(&first), RefuseCode::NotAllowed);
                say_refused(control.0, RefuseCode::NotAllowed, not_allowed("delete")).await;
            }
            _ => {
                no(Asked::Other, RefuseCode::Protocol);
                say_refused(control.0, RefuseCode::Protocol, "a request that makes no sense").await;
            }
        }
    }

    async fn take_in(
        &self,
        session: &Session,
        router: &Router,
        control: crate::client::Control,
        start: &Start,
        rights: Rights,
    ) {
        let peer = session.peer();
        let priority = Priority::from_number(start.priority);
        let Some(slot) = self.transfers.take(peer, priority).await else {
            self.host.on_asked(session, &Asked::Send, Answered::Refused(RefuseCode::Busy));
            return say_refused(control.0, RefuseCode::Busy, BUSY).await;
        };
        let depot = self.depot.clone();
        // Dedupe looks at what the peer may see, and at what it sent itself.
        let scope = if rights.pull { rights.scope } else { Scope::owner(peer) };
        let proves = start.prove;
        let intake = move || {
            Ok::<_, StoreError>(DepotIntake::new(&depot, peer, scope)?.proving(proves).with_quota(rights.quota_bytes))
        };
        let intake = blocking("open the store", intake).await;
        let mut control = control;
        let watched = Watched::new(self.host.begin(session, Direction::In, priority));
        let result = match intake {
            Ok(Ok(intake)) => {
                let intake = Arc::new(Witness::new(intake, watched.share()));
                let settings = ReceiveSettings {
                    registry: self.depot.registry.clone(),
                    identity: self.endpoint.identity().clone(),
                    pace: watched.pace(),
                    asked: Search::default(),
                    notice: slot.notice(),
                    room: slot.room(),
                };
                let observer = |event: &TransferEvent| saw(&slot, &watched, event);
                let witness = Arc::clone(&intake);
                let result = receive((session, router), control, start, intake, settings, &observer).await;
                if result.is_err() {
                    witness.tell_left();
                }
                result
            }
            Ok(Err(error)) => {
                let error = TransferError::from(error);
                refuse(&mut control.0, &error, 0).await;
                Err(error)
            }
            Err(error) => {
                let error = TransferError::from(error);
                refuse(&mut control.0, &error, 0).await;
                Err(error)
            }
        };
        if let Ok(outcome) = &result {
            watched.on_committed(&outcome.studies, outcome.receipt.root);
        }
        watched.ended(result.as_ref().map(|outcome| &outcome.progress));
    }

    async fn send_out(&self, session: &Session, control: crate::client::Control, fetch: Fetch, rights: Rights) {
        let peer = session.peer();
        let priority = Priority::from_number(fetch.priority);
        let what = criteria_from_wire(Level::Instance, &fetch.by);
        let by = what.as_ref().map(AskedBy::of).unwrap_or_default();
        let no = |code| self.host.on_asked(session, &Asked::Pull(by.clone()), Answered::Refused(code));
        let Some(slot) = self.transfers.take(peer, priority).await else {
            no(RefuseCode::Busy);
            return say_refused(control.0, RefuseCode::Busy, BUSY).await;
        };
        // What was set here for the peer goes before what it asks for.
        let asked = LevelChoice::from_wire(fetch.level);
        let level = if rights.level == LevelChoice::Auto { asked } else { rights.level };
        let codecs =
            fetch.codecs.iter().take(256).filter_map(|id| u8::try_from(*id).ok()).map(CodecId).collect::<Vec<_>>();
        let what = match what {
            Ok(what) => what,
            Err(error) => {
                no(RefuseCode::Protocol);
                return say_refused(control.0, RefuseCode::Protocol, &error.to_string()).await;
            }
        };
        let versions = if fetch.all_versions { Versions::All } else { Versions::Current };
        let wanted = Selection { what, versions, order: FetchOrder::from_number(fetch.order) };
        let now = fetch.now;
        let depot = self.depot.clone();
        let source = blocking("look up what is asked for", move || {
            // A pull names what it wants: an empty one would be everything.
            if wanted.what.is_universal() { Ok(None) } else { Following::new(&depot, rights.scope, wanted, now) }
        });
        let source = match source.await {
            Ok(Ok(Some(source))) => source,
            // The same words whether there is none or none that the peer may see.
            Ok(Ok(None)) => {
                no(RefuseCode::NotFound);
                let remedy =
                    "no such study here, or none that this site may see: check the identifier, and its rights there";
                return say_refused(control.0, RefuseCode::NotFound, remedy).await;
            }
            Ok(Err(_)) | Err(_) => {
                no(RefuseCode::Internal);
                return say_refused(control.0, RefuseCode::Internal, "the site's index failed: ask its operator").await;
            }
        };
        let watched = Watched::new(self.host.begin(session, Direction::Out, priority));
        watched.on_pull(&by, source.studies());
        let settings = SendSettings {
            priority: priority.number(),
            level,
            registry: self.depot.registry.clone(),
            codecs: (!codecs.is_empty()).then_some(codecs),
            pace: watched.pace(),
            notice: slot.notice(),
            prove: false,
        };
        let observer = |event: &TransferEvent| saw(&slot, &watched, event);
        let result = send(session, control, Box::new(source), settings, &observer).await;
        let result = result.and_then(|outcome| {
            let (_, signed) = crate::client::check_receipt(&outcome, session, self.endpoint.identity().peer_id())?;
            watched.on_receipt(&signed);
            Ok(outcome.progress)
        });
        watched.ended(result.as_ref());
    }

    async fn answer(&self, session: &Session, mut control: ControlSender, find: &Find, rights: Rights) {
        let told = |by, answer| self.host.on_asked(session, &Asked::Query(by), answer);
        let search = match find_from_wire(find) {
            Ok(search) => search,
            Err(error) => {
                told(AskedBy::default(), Answered::Refused(RefuseCode::Protocol));
                return say_refused(control, RefuseCode::Protocol, &error.to_string()).await;
            }
        };
        let by = AskedBy::of(&search);
        let index = Arc::clone(&self.depot.index);
        let answer = blocking("search", move || index.find(&rights.scope, &search)).await;
        let Ok(Ok(answer)) = answer else {
            told(by, Answered::Refused(RefuseCode::Internal));
            return say_refused(control, RefuseCode::Internal, "the site's index failed: ask its operator").await;
        };
        told(by, Answered::Rows(to_u64(answer.rows.len())));
        let mut to_wire = RowsToWire::default();
        for rows in answer.rows.chunks(ROWS_AT_ONCE) {
            let messages: Vec<_> = rows.iter().map(|row| Body::Row(to_wire.row(row)).into_bytes()).collect();
            if control.send_all(&messages).await.is_err() {
                return;
            }
        }
        let end = Body::FindEnd(end_to_wire(&answer)).into_bytes();
        if control.send(&end).await.is_ok() && control.finish().is_ok() {
            drop(tokio::time::timeout(HANDSHAKE_DEADLINE, control.received()).await);
        }
    }
}

fn saw(slot: &Slot, watched: &Watched, event: &TransferEvent) {
    if let TransferEvent::Progress(progress) = event {
        slot.saw(progress);
    }
    watched.on_event(event);
}

/// Tells of a panic in the task of a connection or request; it has ended only that.
fn note_end(task: Result<(), tokio::task::JoinError>) {
    if let Err(error @ WorkError::Panicked(_)) = ended("serve a peer", task) {
        tracing::error!(%error, "a connection or request was cut short");
    }
}

/// Rows of an answer that are sent together, some 100 kB.
const ROWS_AT_ONCE: usize = 500;

const BUSY: &str = "too many transfers at once at this site: try again later";

/// What a first message asks for, as an audit tells it.
fn asked_by(first: &Body) -> Asked {
    let of = |search: Result<Search, SearchError>| search.as_ref().map(AskedBy::of).unwrap_or_default();
    match first {
        Body::Start(_) => Asked::Send,
        Body::Fetch(fetch) => Asked::Pull(of(criteria_from_wire(Level::Instance, &fetch.by))),
        Body::Find(find) => Asked::Query(of(find_from_wire(find))),
        Body::Remove(wish) => Asked::Remove(removing::asked_by(wish)),
        _ => Asked::Other,
    }
}

const fn not_allowed(right: &str) -> &str {
    match right.as_bytes() {
        b"send" => "this site has no right to send there: ask the other site's operator for the right `send`",
        b"delete" => "this site has no right to remove there: ask the other site's operator for the right `delete`",
        b"pull" => "this site has no right to pull from there: ask the other site's operator for the right `pull`",
        _ => "this site has no right to query there: ask the other site's operator for the right `query`",
    }
}

async fn say_refused(mut control: ControlSender, code: RefuseCode, remedy: &str) {
    let body = Body::Refused(Refused { code: code.number(), remedy: remedy.to_owned() });
    if control.send(&body.into_bytes()).await.is_ok() && control.finish().is_ok() {
        drop(tokio::time::timeout(Duration::from_secs(5), control.received()).await);
    }
}
