//! The dialling side, paved: push, pull and query, over as many connections as a bad line needs.
//!
//! ```no_run
//! # async fn push() -> Result<(), Box<dyn std::error::Error>> {
//! use imgxfer_core::client::{Client, PushOptions};
//! use imgxfer_core::send::{FileSource, OtherFiles};
//! use imgxfer_core::ids::PeerId;
//! use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Trust};
//!
//! let identity = Identity::load_or_create("/var/lib/radiology/imgxfer".as_ref())?;
//! let peer = PeerId::parse("ix-...")?;
//! let trust = Trust::new();
//! trust.pin(peer);
//! let endpoint = Endpoint::bind(EndpointConfig::new("[::]:0".parse()?, identity, trust, imgxfer_core::ALPN))?;
//! let client = Client::new(endpoint);
//! let source = || Box::new(FileSource::new(&["/data/study".into()], OtherFiles::Skip)) as _;
//! let dial = Dial::new("cloud.example:11120").with_peer(peer);
//! let receipt = client.push(&dial, source, &PushOptions::default(), &|_: &_| {}).await?.complete()?;
//! println!("{} instances committed, receipt {}", receipt.instances, receipt.root);
//! # Ok(()) }
//! ```

mod attempts;
mod frames;
mod options;
mod removing;

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

use crate::codec::Registry;
use crate::dicom::{Level, Tag, tags};
use crate::error::TransferError;
use crate::ids::{PeerId, StudyUid};
use crate::limits::{
    ANSWER_BYTES_MAX, MESSAGE_BYTES_MAX, PROGRESS_DEADLINE, QUERY_ROWS_MAX, REQUEST_BYTES_MAX, ROW_BYTES_MAX,
};
use crate::progress::{Observer, Progress, TransferEvent};
use crate::proto::ProtocolError;
use crate::receipt::{Receipt, SignedReceipt};
use crate::receive::{Intake, ReceiveOutcome, ReceiveSettings, Router, receive};
use crate::send::{FetchOrder, SendOutcome, SendSettings, Source, send};
use crate::store::Versions;
use crate::store::search::messages::{AnswerFromWire, criteria_to_wire, find_to_wire};
use crate::store::search::{Answer, Search};
use crate::transfer::{Notice, session_span};
use crate::transport::{CloseCode, ControlReceiver, ControlSender, Dial, Endpoint, Session, TransportError, verify};
use crate::units::to_usize;
use crate::wire::message::{Body, Fetch};

pub use crate::proto::{Frame, FrameRequest, Frames, Shortfall};
use attempts::Attempts;
pub use options::{PullOptions, PushOptions, RetryPolicy};
pub use removing::RemoveReport;

/// How a push ended. One that left instances out ends so as well: [`PushReport::complete`] tells.
#[derive(Debug, Clone)]
#[must_use = "a push that left instances out ends with a report as well: ask `complete()`"]
#[non_exhaustive]
pub struct PushReport {
    /// The receiver's word, checked: signed by its key, for exactly this manifest.
    pub receipt: Receipt,
    /// The same with its signature, to be kept.
    pub signed: SignedReceipt,
    /// What was moved, over all connections.
    pub progress: Progress,
    /// Connections that it took.
    pub connections: u32,
}

impl PushReport {
    /// The receipt of a push that left nothing out.
    ///
    /// # Errors
    /// [`TransferError::Incomplete`] when instances are not committed: those that failed at either end, files that could not be
    /// read, and all when there was nothing to send.
    pub fn complete(self) -> Result<Receipt, TransferError> {
        if whole(&self.receipt) { Ok(self.receipt) } else { Err(incomplete(&self.receipt)) }
    }
}

const fn whole(receipt: &Receipt) -> bool {
    receipt.complete && receipt.instances > 0
}

const fn incomplete(receipt: &Receipt) -> TransferError {
    TransferError::Incomplete { committed: receipt.instances }
}

/// What to pull.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PullTarget {
    /// The instances: those for which all that is asked holds. Of a study that has other patients' instances besides
    /// those of a patient who is asked for, they are left out, and counted.
    pub what: Search,
    /// Which of the contents of an instance. Default the current one.
    pub versions: Versions,
    /// In which order they are wished for. Default as they are kept.
    pub order: FetchOrder,
}

impl PullTarget {
    /// What `what` asks for.
    #[must_use]
    pub const fn new(what: Search) -> Self {
        Self { what, versions: Versions::Current, order: FetchOrder::AsKept }
    }

    /// The study with this Study Instance UID.
    #[must_use]
    pub fn study(study: StudyUid) -> Self {
        Self::new(Search { level: Level::Instance, ..Search::study(study) })
    }

    /// All studies with this accession number.
    #[must_use]
    pub fn accession_number(number: &str) -> Self {
        Self::by(tags::ACCESSION_NUMBER, number)
    }

    /// All instances of the patient with this patient ID.
    #[must_use]
    pub fn patient_id(id: &str) -> Self {
        Self::by(tags::PATIENT_ID, id)
    }

    fn by(tag: Tag, value: &str) -> Self {
        let all = Search { level: Level::Instance, ..Search::default() };
        // The catalogue has the attribute: nothing can be wrong with the question.
        Self::new(all.exactly(tag, value).unwrap_or_default())
    }

    /// The same with every content of an instance.
    #[must_use]
    pub const fn with_versions(mut self, versions: Versions) -> Self {
        self.versions = versions;
        self
    }

    /// The same in another order.
    #[must_use]
    pub const fn with_order(mut self, order: FetchOrder) -> Self {
        self.order = order;
        self
    }
}

/// How a pull ended. One that left instances out ends so as well: [`PullReport::complete`] tells.
#[derive(Debug, Clone)]
#[must_use = "a pull that left instances out ends with a report as well: ask `complete()`"]
#[non_exhaustive]
pub struct PullReport {
    /// The receipt that was given to the sender.
    pub receipt: Receipt,
    /// The studies that came.
    pub studies: Vec<StudyUid>,
    /// What was moved, over all connections.
    pub progress: Progress,
    /// Connections that it took.
    pub connections: u32,
    /// Instances of the same studies that were not sent, since they are of other patients than those asked for.
    pub others: u64,
    /// Why this is not all that was asked for. Where there is a reason, the receipt is not `complete`.
    pub shortfall: Shortfall,
}

impl PullReport {
    /// The receipt of a pull that left nothing out of what was asked for.
    ///
    /// # Errors
    /// [`TransferError::Incomplete`] when instances did not come whole, or are not all that there is to be had:
    /// [`PullReport::shortfall`] says why.
    pub fn complete(self) -> Result<Receipt, TransferError> {
        if whole(&self.receipt) { Ok(self.receipt) } else { Err(incomplete(&self.receipt)) }
    }
}

/// Dials peers and moves studies. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Arc<Endpoint>,
    registry: Registry,
}

impl Client {
    /// Dials through `endpoint`, with all built-in codecs.
    #[must_use]
    pub fn new(endpoint: impl Into<Arc<Endpoint>>) -> Self {
        Self { endpoint: endpoint.into(), registry: Registry::default() }
    }

    /// Uses these codecs instead.
    #[must_use]
    pub fn with_registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Pushes all that `source` gives, over one connection after the other until it is done.
    ///
    /// `source` is called once for each connection: it must give the same instances each time. It is called on the
    /// thread of this task: what takes long, as walking over folders does, is done before, or at its first item, which
    /// is asked for on a thread for such work. Sources of files share what they read by [`KnownFiles`](crate::send::KnownFiles). Dropping the
    /// future stops the push; the same call resumes it, and sends only what the receiver lacks.
    ///
    /// # Errors
    /// [`TransferError`], when trying again cannot help or nothing new arrived for too long.
    pub async fn push(
        &self,
        dial: &Dial,
        source: impl Fn() -> Box<dyn Source> + Send + Sync,
        options: &PushOptions,
        observer: &dyn Observer,
    ) -> Result<PushReport, TransferError> {
        let mut attempts = Attempts::new(options.retry, observer);
        loop {
            match self.push_once(dial, source(), options, &attempts).await {
                Ok((progress, receipt, signed)) => {
                    let progress = progress.with_line_of(&attempts.earlier);
                    observer.on_event(&TransferEvent::Settled { root: receipt.root, complete: receipt.complete });
                    return Ok(PushReport { receipt, signed, progress, connections: attempts.connections });
                }
                Err(error) => tokio::time::sleep(attempts.next(error)?).await,
            }
        }
    }

    async fn push_once(
        &self,
        dial: &Dial,
        source: Box<dyn Source>,
        options: &PushOptions,
        observer: &dyn Observer,
    ) -> Result<(Progress, Receipt, SignedReceipt), TransferError> {
        let visit = Visit::pay(&self.endpoint, dial).await?;
        let span = session_span(&visit.0);
        let pushed = Box::pin(self.push_over(&visit.0, source, options, observer)).instrument(span).await;
        visit.end(pushed).await
    }

    async fn push_over(
        &self,
        session: &Session,
        source: Box<dyn Source>,
        options: &PushOptions,
        observer: &dyn Observer,
    ) -> Result<(Progress, Receipt, SignedReceipt), TransferError> {
        let settings = SendSettings {
            priority: options.priority.number(),
            level: options.level,
            registry: self.registry.clone(),
            codecs: None,
            pace: options.pace.clone(),
            notice: Notice::default(),
            prove: options.prove,
        };
        let control = session.open_control().await?.into_split();
        let outcome = Box::pin(send(session, control, source, settings, observer)).await?;
        let (receipt, signed) = check_receipt(&outcome, session, self.endpoint.identity().peer_id())?;
        Ok((outcome.progress, receipt, signed))
    }

    /// Pulls `target` into what `intake` gives, over one connection after the other until it is done.
    ///
    /// `intake` is called once for each connection, with the peer's identity, on a blocking thread.
    ///
    /// # Errors
    /// [`TransferError`]; [`RefuseCode::NotFound`](crate::wire::message::RefuseCode::NotFound) inside when
    /// there is no such study, or none that this site may see.
    pub async fn pull(
        &self,
        dial: &Dial,
        target: &PullTarget,
        intake: impl Fn(PeerId) -> Result<Arc<dyn Intake>, crate::store::StoreError> + Send + Sync + Clone + 'static,
        options: &PullOptions,
        observer: &dyn Observer,
    ) -> Result<PullReport, TransferError> {
        let mut attempts = Attempts::new(options.retry, observer);
        loop {
            match self.pull_once(dial, target, intake.clone(), options, &attempts).await {
                Ok((outcome, others)) => {
                    let progress = outcome.progress.with_line_of(&attempts.earlier);
                    let ReceiveOutcome { receipt, studies, shortfall, .. } = outcome;
                    let connections = attempts.connections;
                    return Ok(PullReport { receipt, studies, progress, connections, others, shortfall });
                }
                Err(error) => tokio::time::sleep(attempts.next(error)?).await,
            }
        }
    }

    async fn pull_once(
        &self,
        dial: &Dial,
        target: &PullTarget,
        intake: impl FnOnce(PeerId) -> Result<Arc<dyn Intake>, crate::store::StoreError> + Send + 'static,
        options: &PullOptions,
        observer: &dyn Observer,
    ) -> Result<(ReceiveOutcome, u64), TransferError> {
        let visit = Visit::pay(&self.endpoint, dial).await?;
        let span = session_span(&visit.0);
        let pulled = Box::pin(self.pull_over(&visit.0, target, intake, options, observer)).instrument(span).await;
        visit.end(pulled).await
    }

    async fn pull_over(
        &self,
        session: &Session,
        target: &PullTarget,
        intake: impl FnOnce(PeerId) -> Result<Arc<dyn Intake>, crate::store::StoreError> + Send + 'static,
        options: &PullOptions,
        observer: &dyn Observer,
    ) -> Result<(ReceiveOutcome, u64), TransferError> {
        let peer = session.peer();
        let intake = crate::work::blocking("open a store", move || intake(peer)).await??;
        let (mut control_out, mut control_in) = session.open_control().await?.into_split();
        control_out.send(&Body::Fetch(self.fetch_message(target, options)).into_bytes()).await?;
        let give_up_after = options.retry.give_up_after;
        let patience = if give_up_after.is_zero() { PROGRESS_DEADLINE } else { give_up_after.min(PROGRESS_DEADLINE) };
        let start = match answer_within(patience, &mut control_in, MESSAGE_BYTES_MAX).await?.0 {
            Body::Start(start) if start.prove => {
                return Err(ProtocolError::Unexpected("a wish for proof in answer to a pull").into());
            }
            Body::Start(start) => start,
            Body::Refused(refused) => return Err(ProtocolError::refused(&refused).into()),
            _ => return Err(ProtocolError::Unexpected("something other than a transfer").into()),
        };
        let settings = ReceiveSettings {
            registry: self.registry.clone(),
            identity: self.endpoint.identity().clone(),
            pace: options.pace.clone(),
            asked: target.what.clone(),
            notice: Notice::default(),
            room: Arc::default(),
        };
        if start.follows {
            observer.on_event(&TransferEvent::Following);
        }
        let router = Router::start(session.clone());
        let control = (control_out, control_in);
        let outcome = Box::pin(receive((session, &router), control, &start, intake, settings, observer)).await?;
        Ok((outcome, start.others))
    }

    fn fetch_message(&self, target: &PullTarget, options: &PullOptions) -> Fetch {
        Fetch {
            by: criteria_to_wire(&target.what),
            all_versions: target.versions == Versions::All,
            order: target.order.number(),
            priority: options.priority.number(),
            codecs: self.registry.ids().iter().map(|id| u32::from(id.0)).collect(),
            level: options.level.to_wire(),
            now: options.now,
        }
    }

    /// Asks what is there; of more than the question's limit, or the peer's own, only the first.
    ///
    /// # Errors
    /// [`TransferError`].
    pub async fn find(&self, dial: &Dial, search: &Search) -> Result<Answer, TransferError> {
        let visit = Visit::pay(&self.endpoint, dial).await?;
        let found = Self::find_over(&visit.0, search).await;
        visit.end(found).await
    }

    async fn find_over(session: &Session, search: &Search) -> Result<Answer, TransferError> {
        let (mut control_out, mut control_in) = session.open_control().await?.into_split();
        control_out.send(&Body::Find(find_to_wire(search)).into_bytes()).await?;
        control_out.finish()?;
        let rows_max = to_usize(u64::from(search.limit.min(QUERY_ROWS_MAX)));
        let (mut rows, mut bytes, mut found) = (0, 0, AnswerFromWire::default());
        let answer = loop {
            let (message, len) = answer_within(PROGRESS_DEADLINE, &mut control_in, ROW_BYTES_MAX).await?;
            bytes += len;
            match message {
                Body::Row(_) if rows >= rows_max || bytes > ANSWER_BYTES_MAX => {
                    return Err(ProtocolError::Invalid("more rows than were asked for").into());
                }
                Body::Row(row) => {
                    rows += 1;
                    found.row(&row).ok_or(ProtocolError::Invalid("a row"))?;
                }
                Body::FindEnd(end) => break found.end(&end),
                Body::Refused(refused) => return Err(ProtocolError::refused(&refused).into()),
                _ => return Err(ProtocolError::Unexpected("something other than a row").into()),
            }
        };
        Ok(answer)
    }
}

/// A session for one request. Dropping it ends the session.
struct Visit(Session);

impl Visit {
    async fn pay(endpoint: &Endpoint, dial: &Dial) -> Result<Self, TransferError> {
        Ok(Self(endpoint.connect(dial).await?))
    }

    /// Ends the session, and waits until the peer can know.
    async fn end<T>(self, result: Result<T, TransferError>) -> Result<T, TransferError> {
        self.0.end(if result.is_ok() { CloseCode::Done } else { CloseCode::Cancelled }).await;
        result
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.close(CloseCode::Cancelled, "");
    }
}

/// The next message and its length, if it comes in time.
async fn answer_within(
    patience: Duration,
    control: &mut ControlReceiver,
    limit: usize,
) -> Result<(Body, usize), TransferError> {
    let message = tokio::time::timeout(patience, control.recv(limit)).await.map_err(|_| TransferError::Stalled)?;
    let message = message?.ok_or(TransportError::Truncated)?;
    let len = message.len();
    Ok((Body::from_bytes(message).map_err(ProtocolError::from)?, len))
}

pub(crate) async fn first_message(control: &mut ControlReceiver) -> Result<Body, TransferError> {
    let message = control.recv(REQUEST_BYTES_MAX).await?.ok_or(TransportError::Truncated)?;
    Ok(Body::from_bytes(message).map_err(ProtocolError::from)?)
}

/// A control stream's two directions.
pub(crate) type Control = (ControlSender, ControlReceiver);

/// Checks that a receipt is the peer's signed word for exactly what was sent.
pub(crate) fn check_receipt(
    outcome: &SendOutcome,
    session: &Session,
    me: PeerId,
) -> Result<(Receipt, SignedReceipt), TransferError> {
    let signed = SignedReceipt::from_wire(&outcome.receipt);
    let (receipt, signer) = signed.verify(verify).map_err(|_| TransferError::Receipt("its signature does not hold"))?;
    let about_this = receipt.transfer == outcome.transfer && outcome.sender.announced(&receipt.root);
    if signer != session.peer() || receipt.receiver != signer || receipt.sender != me {
        return Err(TransferError::Receipt("it is signed by, or made out to, somebody else"));
    }
    if !about_this {
        return Err(TransferError::Receipt("it is for another manifest"));
    }
    Ok((receipt, signed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_send<T: Send>(future: T) -> T {
        future
    }

    #[test]
    fn futures_can_be_spawned() {
        // Never run: that it compiles is the test.
        let _ = |client: &'static Client, dial: &'static Dial, intake: fn(PeerId) -> _| {
            let quiet: &'static dyn Observer = &|_: &TransferEvent| {};
            let source = || -> Box<dyn Source> { unreachable!("never run") };
            let push = is_send(client.push(dial, source, Box::leak(Box::default()), quiet));
            let target: &'static PullTarget = Box::leak(Box::new(PullTarget::patient_id("P")));
            let pull = is_send(client.pull(dial, target, intake, Box::leak(Box::default()), quiet));
            let request: fn() -> &'static FrameRequest = || unreachable!("never run");
            drop((
                push,
                pull,
                is_send(client.find(dial, Box::leak(Box::default()))),
                is_send(client.frames(dial, request())),
            ));
        };
    }
}
