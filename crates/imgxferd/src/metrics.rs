//! What a monitoring system sees. Labels are bounded: names of configured peers and fixed words, never a
//! UID, a path or anything of a patient.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64};

use imgxfer_core::progress::{LineFigures, Progress};
use imgxfer_core::server::Direction;
use imgxfer_core::sync::lock;
use imgxfer_core::units::{to_u64, to_whole};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Which way, as a label.
type Way = &'static str;

const fn way(direction: Direction) -> Way {
    match direction {
        Direction::In => "in",
        _ => "out",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Bytes {
    direction: Way,
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    direction: Way,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Directed {
    direction: Way,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Destination {
    destination: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Peer {
    peer: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerWay {
    peer: String,
    direction: Way,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Work {
    work: &'static str,
}

type IntGauge = Gauge<i64, AtomicI64>;
type FloatGauge = Gauge<f64, AtomicU64>;
type IntCounter = Counter<u64, AtomicU64>;

/// All metrics of a daemon.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    bytes: Family<Bytes, IntCounter>,
    instances: Family<Ended, IntCounter>,
    transfers: Family<Ended, IntCounter>,
    running: Family<Directed, IntGauge>,
    seconds: Family<Directed, Histogram>,
    dedup: IntCounter,
    queue_depth: Family<Destination, IntGauge>,
    queue_failed: Family<Destination, IntGauge>,
    queue_age: Family<Destination, IntGauge>,
    rtt: Family<Peer, FloatGauge>,
    line: LineGauges,
    limit: Family<Peer, IntGauge>,
    consultation: IntGauge,
    connections: Family<Peer, IntGauge>,
    lost: IntCounter,
    refused: Family<Reason, IntCounter>,
    panics: Family<Work, IntGauge>,
    audit_failed: IntGauge,
    audit_lost: IntGauge,
    space: IntGauge,
    pub(crate) store_bytes: IntGauge,
    collected: IntCounter,
    compacted: IntCounter,
    waste: IntGauge,
    recoded: IntCounter,
    slow: IntGauge,
    scrubbed: IntCounter,
    scrub_damage: IntCounter,
    scrub_pass: IntGauge,
    pub(crate) backfill: BackfillGauges,
    pub(crate) inboxes: InboxGauges,
    derived: Family<Directed, IntCounter>,
}

/// What stands in inboxes and is in no job; gauges of all together.
#[derive(Debug, Default)]
pub(crate) struct InboxGauges {
    waiting: IntGauge,
    held: IntGauge,
    refused: IntGauge,
    by_inbox: Mutex<BTreeMap<PathBuf, [usize; 3]>>,
}

impl InboxGauges {
    fn register(&self, registry: &mut Registry) {
        let help = "Files in inboxes that are in no job yet";
        registry.register("inbox_waiting_files", help, self.waiting.clone());
        let help = "Files in inboxes that hold their study: they end before their elements do, or are open for writing";
        registry.register("inbox_held_files", help, self.held.clone());
        let help =
            "Files in inboxes that are DICOM and cannot be taken: they hold what is beside them, and need an operator";
        registry.register("inbox_refused_files", help, self.refused.clone());
    }

    /// What an inbox holds now: files that wait, that hold their study, and that cannot be taken.
    pub(crate) fn set(&self, inbox: &Path, files: [usize; 3]) {
        let mut all = lock(&self.by_inbox);
        all.insert(inbox.to_owned(), files);
        for (at, gauge) in [&self.waiting, &self.held, &self.refused].into_iter().enumerate() {
            gauge.set(signed(to_u64(all.values().map(|files| files[at]).sum())));
        }
    }

    /// The same, as it was set last.
    pub(crate) fn of(&self, inbox: &Path) -> [usize; 3] {
        lock(&self.by_inbox).get(inbox).copied().unwrap_or_default()
    }
}

/// How far the reading of headers is that are of another version of the catalogue.
#[derive(Debug, Default)]
pub(crate) struct BackfillGauges {
    left: IntGauge,
    unreadable: IntGauge,
    read: IntCounter,
}

impl BackfillGauges {
    fn register(&self, registry: &mut Registry) {
        let help = "Instances whose headers are to be read again, since what is kept of them has changed";
        registry.register("store_backfill_left_instances", help, self.left.clone());
        let help = "Instances whose headers could not be read again";
        registry.register("store_backfill_unreadable_instances", help, self.unreadable.clone());
        let help = "Instances whose headers have been read again";
        registry.register("store_backfill_instances", help, self.read.clone());
    }

    /// What is left was counted.
    pub(crate) fn set(&self, left: u64, unreadable: u64) {
        self.left.set(signed(left));
        self.unreadable.set(signed(unreadable));
    }

    /// Headers were read, or could not be.
    pub(crate) fn read(&self, read: u64, unreadable: u64) {
        self.read.inc_by(read);
        self.unreadable.inc_by(signed(unreadable));
        self.left.set(self.left.get().saturating_sub(signed(read + unreadable)).max(0));
    }

    /// How many have been read since the start, and how many could not be.
    pub(crate) fn done(&self) -> (u64, i64) {
        (self.read.get(), self.unreadable.get())
    }

    /// How many are left.
    pub(crate) fn left(&self) -> i64 {
        self.left.get()
    }
}

/// How the lines of running transfers are; nothing where none runs.
#[derive(Debug, Default)]
struct LineGauges {
    original: Family<PeerWay, IntGauge>,
    line: Family<PeerWay, IntGauge>,
    queue: Family<PeerWay, FloatGauge>,
    loss: Family<PeerWay, FloatGauge>,
}

impl LineGauges {
    fn register(&self, registry: &mut Registry) {
        let help = "Original bytes a second of running transfers";
        registry.register("running_bytes_per_second", help, self.original.clone());
        let help = "Bytes a second, both ways, on the lines of running transfers";
        registry.register("running_line_bytes_per_second", help, self.line.clone());
        let help = "Longest waiting in queues on the way, over running transfers";
        registry.register_with_unit("running_queue_delay", help, Unit::Seconds, self.queue.clone());
        let help = "Highest share of packets lost in the last seconds, over running transfers";
        registry.register_with_unit("running_loss", help, Unit::Ratios, self.loss.clone());
    }

    fn set(&self, running: &[RunningLine]) {
        self.original.clear();
        self.line.clear();
        self.queue.clear();
        self.loss.clear();
        for of in running {
            let label = PeerWay { peer: of.peer.clone(), direction: way(of.direction) };
            self.original.get_or_create(&label).inc_by(signed(to_whole(of.rate)));
            self.line.get_or_create(&label).inc_by(signed(to_whole(of.line_rate)));
            let worse = |gauge: &Family<PeerWay, FloatGauge>, figure: f64| {
                let gauge = gauge.get_or_create(&label);
                gauge.set(gauge.get().max(figure));
            };
            if let Some(line) = of.line {
                worse(&self.queue, line.queue_delay.as_secs_f64());
                worse(&self.loss, line.loss());
            }
        }
    }
}

/// The line of one running transfer.
#[derive(Debug, Clone)]
pub(crate) struct RunningLine {
    pub(crate) peer: String,
    pub(crate) direction: Direction,
    /// Original bytes, and bytes on the line, a second.
    pub(crate) rate: f64,
    pub(crate) line_rate: f64,
    pub(crate) line: Option<LineFigures>,
}

/// What is looked up when somebody asks for the metrics.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Destination, waiting, failed, age of the oldest in seconds.
    pub(crate) queue: Vec<(String, u64, u64, u64)>,
    /// Peer, connections, smoothed round trip in seconds.
    pub(crate) sessions: Vec<(String, u64, f64)>,
    /// Transfers that run.
    pub(crate) lines: Vec<RunningLine>,
    /// Peers with a limit in force, in bytes a second.
    pub(crate) limits: Vec<(String, u64)>,
    /// Whether a consultation is on the line.
    pub(crate) consultation: bool,
    /// Whether the audit cannot be written, and how many records were lost for that.
    pub(crate) audit: (bool, u64),
    /// Inbound and outbound transfers that run.
    pub(crate) running: (u64, u64),
    /// Bytes that the store may still take.
    pub(crate) space_left: Option<u64>,
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Metrics {
    /// Registers everything. `expires` is the last second of this site's certificate.
    pub(crate) fn new(expires: i64) -> Self {
        let mut registry = Registry::with_prefix("imgxfer");
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.25, 2.0, 16));
        let seconds = Family::new_with_constructor(histogram);
        let metrics = Self {
            registry: Registry::default(),
            bytes: Family::default(),
            instances: Family::default(),
            transfers: Family::default(),
            running: Family::default(),
            seconds,
            dedup: IntCounter::default(),
            queue_depth: Family::default(),
            queue_failed: Family::default(),
            queue_age: Family::default(),
            rtt: Family::default(),
            line: LineGauges::default(),
            limit: Family::default(),
            consultation: IntGauge::default(),
            connections: Family::default(),
            lost: IntCounter::default(),
            refused: Family::default(),
            panics: Family::default(),
            audit_failed: IntGauge::default(),
            audit_lost: IntGauge::default(),
            space: IntGauge::default(),
            store_bytes: IntGauge::default(),
            collected: IntCounter::default(),
            compacted: IntCounter::default(),
            waste: IntGauge::default(),
            recoded: IntCounter::default(),
            slow: IntGauge::default(),
            scrubbed: IntCounter::default(),
            scrub_damage: IntCounter::default(),
            scrub_pass: IntGauge::default(),
            backfill: BackfillGauges::default(),
            inboxes: InboxGauges::default(),
            derived: Family::default(),
        };
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the daemon", build);
        registry.register("transfer_bytes", "Bytes moved by transfers that ended well", metrics.bytes.clone());
        registry.register("instances", "Instances that were committed or failed", metrics.instances.clone());
        registry.register("transfers", "Transfers that ended", metrics.transfers.clone());
        registry.register("transfers_running", "Transfers that run now", metrics.running.clone());
        let help = "How long transfers took that ended well";
        registry.register_with_unit("transfer_duration", help, Unit::Seconds, metrics.seconds.clone());
        let help = "Original bytes that were at the receiver already";
        registry.register("chunk_dedup_bytes", help, metrics.dedup.clone());
        registry.register("queue_depth", "Jobs that are not done or failed", metrics.queue_depth.clone());
        registry.register("queue_failed", "Jobs that need an operator", metrics.queue_failed.clone());
        let help = "Age of the oldest job that is not done or failed";
        registry.register_with_unit("queue_oldest_age", help, Unit::Seconds, metrics.queue_age.clone());
        let help = "Round trip of a connection with the peer, smoothed";
        registry.register_with_unit("quic_rtt", help, Unit::Seconds, metrics.rtt.clone());
        metrics.line.register(&mut registry);
        let help = "Limit in force for a peer, each way";
        registry.register("limit_bytes_per_second", help, metrics.limit.clone());
        let help = "1 while a consultation by video is on the line";
        registry.register("consultation", help, metrics.consultation.clone());
        registry.register("connections", "Connections that peers have opened", metrics.connections.clone());
        let help = "Packets given up for lost on connections that have ended";
        registry.register("quic_lost_packets", help, metrics.lost.clone());
        registry.register("connections_refused", "Connections turned away", metrics.refused.clone());
        registry.register("panics", "Defects met by this process: please report them", metrics.panics.clone());
        registry.register("audit_failed", "1 while the audit cannot be written", metrics.audit_failed.clone());
        let help = "Records of the audit that found no room while it could not be written";
        registry.register("audit_lost_records", help, metrics.audit_lost.clone());
        let help = "Bytes that the store may still take, less its reserve";
        registry.register("store_space_left_bytes", help, metrics.space.clone());
        registry.register("store_pack_bytes", "Bytes in the store's packs", metrics.store_bytes.clone());
        registry.register("store_collected_bytes", "Bytes of remains removed", metrics.collected.clone());
        let help = "Bytes given back of what was removed";
        registry.register("store_compacted_bytes", help, metrics.compacted.clone());
        let help = "Bytes in packs that nothing needs since something was removed, and that are not given back yet";
        registry.register("store_waste_bytes", help, metrics.waste.clone());
        let help = "Bytes of packs that were coded anew, to be read faster";
        registry.register("store_recoded_bytes", help, metrics.recoded.clone());
        let help = "Packs in which something takes long to read, and is to be coded anew";
        registry.register("store_slow_packs", help, metrics.slow.clone());
        registry.register("store_scrubbed_bytes", "Bytes of records that scrubbing has read", metrics.scrubbed.clone());
        let help = "Damaged records that scrubbing has found";
        registry.register("store_scrub_damaged_records", help, metrics.scrub_damage.clone());
        let help = "When scrubbing had read all of the store; 0 for never";
        registry.register("store_scrub_pass_timestamp_seconds", help, metrics.scrub_pass.clone());
        metrics.backfill.register(&mut registry);
        metrics.inboxes.register(&mut registry);
        let help =
            "Instances without a usable UID of their own that were sent, or put into the store, under derived ones";
        registry.register("derived_uid_instances", help, metrics.derived.clone());
        let certificate: IntGauge = Gauge::default();
        certificate.set(expires);
        let help = "Last second of this site's certificate";
        registry.register("certificate_expiry_timestamp_seconds", help, certificate);
        Self { registry, ..metrics }
    }

    /// Instances without a usable UID of their own were committed.
    pub(crate) fn derived(&self, direction: Direction, instances: u64) {
        self.derived.get_or_create(&Directed { direction: way(direction) }).inc_by(instances);
    }

    /// How many of these there were since the start.
    pub(crate) fn derived_so_far(&self, direction: Direction) -> u64 {
        self.derived.get_or_create(&Directed { direction: way(direction) }).get()
    }

    /// A transfer ended well.
    pub(crate) fn transfer_done(&self, direction: Direction, progress: &Progress, seconds: f64) {
        let direction = way(direction);
        let bytes = |stage, n| self.bytes.get_or_create(&Bytes { direction, stage }).inc_by(n);
        bytes("logical", progress.bytes_committed);
        bytes("payload", progress.payload_bytes);
        bytes("wire", progress.line_bytes);
        let instances = |result, n| self.instances.get_or_create(&Ended { direction, result }).inc_by(n);
        instances("committed", progress.instances_committed);
        instances("failed", progress.instances_failed);
        self.transfers.get_or_create(&Ended { direction, result: "done" }).inc();
        self.seconds.get_or_create(&Directed { direction }).observe(seconds);
        self.dedup.inc_by(progress.bytes_present);
    }

    /// A transfer ended otherwise.
    pub(crate) fn transfer_failed(&self, direction: Direction, result: &'static str) {
        self.transfers.get_or_create(&Ended { direction: way(direction), result }).inc();
    }

    /// A connection was turned away.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    /// A connection ended.
    pub(crate) fn connection_ended(&self, lost_packets: u64) {
        self.lost.inc_by(lost_packets);
    }

    /// The store's remains were collected.
    pub(crate) fn collected(&self, bytes: u64) {
        self.collected.inc_by(bytes);
    }

    /// Room of what was removed was given back.
    pub(crate) fn compacted(&self, bytes: u64) {
        self.compacted.inc_by(bytes);
    }

    /// So much of the packs is needed by nobody.
    pub(crate) fn wastes(&self, bytes: u64) {
        self.waste.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// So many bytes of a pack were coded anew.
    pub(crate) fn recoded(&self, bytes: u64) {
        self.recoded.inc_by(bytes);
    }

    /// In so many packs something takes long to read.
    pub(crate) fn slow_packs(&self, packs: usize) {
        self.slow.set(i64::try_from(packs).unwrap_or(i64::MAX));
    }

    /// Scrubbing has read a record.
    pub(crate) fn scrubbed(&self, bytes: u64) {
        self.scrubbed.inc_by(bytes);
    }

    /// Scrubbing has found a damaged record.
    pub(crate) fn scrub_found_damage(&self) {
        self.scrub_damage.inc();
    }

    /// Scrubbing had read everything at this time, in seconds since 1970.
    pub(crate) fn scrub_passed(&self, at: i64) {
        self.scrub_pass.set(at);
    }

    /// The `OpenMetrics` text, with what is current.
    pub(crate) fn encode(&self, now: &Snapshot) -> String {
        for (destination, waiting, failed, age) in &now.queue {
            let label = Destination { destination: destination.clone() };
            self.queue_depth.get_or_create(&label).set(signed(*waiting));
            self.queue_failed.get_or_create(&label).set(signed(*failed));
            self.queue_age.get_or_create(&label).set(signed(*age));
        }
        self.connections.clear();
        for (peer, connections, rtt) in &now.sessions {
            let label = Peer { peer: peer.clone() };
            self.connections.get_or_create(&label).set(signed(*connections));
            self.rtt.get_or_create(&label).set(*rtt);
        }
        for of in &now.lines {
            let Some(line) = of.line else { continue };
            self.rtt.get_or_create(&Peer { peer: of.peer.clone() }).set(line.rtt.as_secs_f64());
        }
        self.line.set(&now.lines);
        self.limit.clear();
        for (peer, limit) in &now.limits {
            self.limit.get_or_create(&Peer { peer: peer.clone() }).set(signed(*limit));
        }
        for (work, count) in imgxfer_core::work::panics() {
            self.panics.get_or_create(&Work { work }).set(signed(count));
        }
        self.consultation.set(i64::from(now.consultation));
        self.audit_failed.set(i64::from(now.audit.0));
        self.audit_lost.set(signed(now.audit.1));
        self.running.get_or_create(&Directed { direction: way(Direction::In) }).set(signed(now.running.0));
        self.running.get_or_create(&Directed { direction: way(Direction::Out) }).set(signed(now.running.1));
        if let Some(space) = now.space_left {
            self.space.set(signed(space));
        }
        let mut text = String::new();
        // Writing into a text cannot fail.
        let _: Result<(), std::fmt::Error> = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
