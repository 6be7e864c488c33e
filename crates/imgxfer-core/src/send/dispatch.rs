//! One record's way to the line: waits for a worker, is given a level, encoded, and sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::choose::{Chooser, Kind, RecordSize};
use super::encode::{Coding, Encoded, encode};
use super::lanes::Lanes;
use super::plan::Plan;
use crate::chunk::ChunkClass;
use crate::codec::{CodecId, Level};
use crate::ids::StandardUid;
use crate::manifest::InstanceAt;
use crate::progress::Coded;
use crate::proto::InstanceFailure;
use crate::sync::lock;
use crate::transport::TransportError;
use crate::units::to_u64;
use crate::wire::record::Record;
use crate::work::{blocking, guarded};

/// What became of a plan.
#[derive(Debug, Default)]
pub(super) struct Dispatched {
    /// Instances to withdraw.
    pub(super) withdrawn: Vec<(InstanceAt, InstanceFailure)>,
    /// What the records sent hold and take.
    pub(super) sent: RecordSize,
    /// How they were coded; `None` for headers.
    pub(super) coded: Option<Coded>,
}

/// What all records of a transfer on their way share.
#[derive(Debug, Clone)]
pub(super) struct Dispatch {
    pub(super) lanes: Arc<Lanes>,
    pub(super) chooser: Arc<Mutex<Chooser>>,
    /// One permit for each worker, of so many.
    pub(super) workers: Arc<Semaphore>,
    workers_max: usize,
    /// Original bytes of plans that no worker has begun.
    pub(super) queued_bytes: Arc<AtomicU64>,
}

impl Dispatch {
    pub(super) fn new(lanes: Arc<Lanes>, chooser: Chooser, workers: usize) -> Self {
        Self {
            lanes,
            chooser: Arc::new(Mutex::new(chooser)),
            workers: Arc::new(Semaphore::new(workers)),
            workers_max: workers,
            queued_bytes: Arc::default(),
        }
    }

    /// The receiver said how many workers it has.
    pub(super) fn peer_workers(&self, workers: usize) {
        self.choose(|chooser| chooser.peer_workers(workers));
    }

    /// The receiver has verified so many original bytes since the start.
    pub(super) fn received(&self, raw_bytes: u64) {
        self.choose(|chooser| chooser.received(raw_bytes, Instant::now()));
    }

    /// The receiver asks for so many original bytes again.
    pub(super) fn again(&self, raw_bytes: u64) {
        self.choose(|chooser| chooser.again(raw_bytes, Instant::now()));
    }

    /// Looks at the transport.
    pub(super) fn look(&self) {
        self.lanes.adapt();
        let line = self.lanes.line_figures();
        self.choose(|chooser| chooser.transport(line.bytes_a_second, line.rtt));
    }

    /// Whether the line's rate is known.
    pub(super) fn knows_line(&self) -> bool {
        self.choose(|chooser| chooser.knows_line())
    }

    fn choose<T>(&self, ask: impl FnOnce(&mut Chooser) -> T) -> T {
        ask(&mut lock(&self.chooser))
    }

    /// Whether a worker is reading or encoding.
    pub(super) fn are_encoding(&self) -> bool {
        self.workers.available_permits() < self.workers_max
    }

    /// Some plans were added: so many original bytes.
    pub(super) fn queued(&self, raw_bytes: u64) {
        self.queued_bytes.fetch_add(raw_bytes, Ordering::Relaxed);
    }

    /// Encodes and sends what `plan` says.
    pub(super) async fn run(self, plan: Plan, mut coding: Coding) -> Result<Dispatched, TransportError> {
        let kind = kind(&plan);
        let raw_bytes = plan.raw_len();
        let Ok(worker) = self.workers.acquire().await else { return Ok(Dispatched::default()) };
        let queued = |queued: u64| Some(queued.saturating_sub(raw_bytes));
        let queued = self.queued_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, queued).unwrap_or(0);
        let begun = Instant::now();
        let making = kind.map(|kind| self.choose(|chooser| chooser.begin(kind, raw_bytes, queued, begun)));
        if let Some(making) = &making {
            (coding.level, coding.recode_below) = (making.level, making.recode_below);
        }
        let level = coding.level;
        let encoded = blocking("encode", move || encode_or_withdraw(&plan, coding)).await;
        drop(worker);
        // Nothing only when the program is stopping.
        let Encoded { records, withdrawn, coded } = encoded.unwrap_or_default();
        let made = Instant::now();
        let sizes: Vec<RecordSize> = records.iter().map(size).collect();
        let all: RecordSize = sizes.iter().copied().sum();
        self.choose(|chooser| match &making {
            Some(making) => chooser.made(making, &sizes, coded.then(|| made - begun), made),
            None => chooser.made_aside(&sizes, made),
        });
        for (record, size) in records.iter().zip(&sizes) {
            self.lanes.send(record).await?;
            self.choose(|chooser| chooser.taken(size.bytes));
        }
        let newest = records.last().filter(|_| making.is_some());
        let coded = newest.map(|record| Coded { codec: record.header().codec, level: coded.then_some(level) });
        Ok(Dispatched { withdrawn, sent: all, coded })
    }
}

/// Encodes; what a codec breaks on goes as it is, and what cannot go at all is withdrawn with all that it is part of.
fn encode_or_withdraw(plan: &Plan, mut coding: Coding) -> Encoded {
    if let Ok(encoded) = guarded("encode", || encode(plan, &coding)) {
        return encoded;
    }
    coding.accepted = vec![CodecId::STORE];
    coding.level = Level::STORE;
    guarded("read what is sent", || encode(plan, &coding)).unwrap_or_else(|_| {
        let mut withdrawn: Vec<_> =
            plan.chunks.iter().map(|at| (plan.instance_at(*at), InstanceFailure::Defect)).collect();
        withdrawn.dedup_by_key(|(at, _)| *at);
        Encoded { withdrawn, ..Encoded::default() }
    })
}

fn size(record: &Record) -> RecordSize {
    RecordSize { raw_bytes: u64::from(record.header().raw_len()), bytes: to_u64(record.bytes().len()) }
}

/// What a plan holds, for the chooser; `None` for headers, for which there is no choice.
fn kind(plan: &Plan) -> Option<Kind> {
    let first = plan.chunks.first()?;
    match plan.class(*first) {
        ChunkClass::Meta | ChunkClass::Header => None,
        ChunkClass::Opaque => Some(Kind::Opaque),
        ChunkClass::Pixels => {
            let instance = &plan.page.instances[first.place];
            let syntax = instance.entry.transfer_syntax.as_ref().map(StandardUid::as_str);
            // What comes from a store has no shape yet.
            let native = instance.shape.is_some() || plan.stored.is_some() && syntax.is_none_or(is_native);
            Some(if native { Kind::Native } else { Kind::Encapsulated })
        }
    }
}

/// Implicit and explicit little endian, deflated, and big endian (PS3.5 annex A).
fn is_native(syntax: &str) -> bool {
    matches!(syntax, "1.2.840.10008.1.2" | "1.2.840.10008.1.2.1" | "1.2.840.10008.1.2.1.99" | "1.2.840.10008.1.2.2")
}

/// Headers are nearly alike, and one level is best for all of them at any rate of the line.
pub(super) const HEADER_LEVEL: Level = Level::STRONG;
