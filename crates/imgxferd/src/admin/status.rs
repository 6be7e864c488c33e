//! What is going on, for monitoring and for people. Nothing of patients.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use imgxfer_core::clock::Stopwatch;
use imgxfer_core::codec::Level;
use imgxfer_core::depot::Depot;
use imgxfer_core::progress::LineFigures;
use imgxfer_core::server::Direction;
use imgxfer_core::store::Scope;
use imgxfer_core::store::search::Search;
use imgxfer_core::units::{mbit_of_bytes, to_f64, to_u64, to_whole};
use imgxfer_core::work::blocking;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Problem, on_queue, problem};
use crate::app::Shared;
use crate::config::{Inbox, PeerKey, SELF};
use crate::live::Running;
use crate::metrics::{RunningLine, Snapshot};
use crate::queue::Past;

/// Counting the store reads its index: not more often than this.
const COUNT_EVERY: Duration = Duration::from_secs(60);

/// Jobs in one status.
const JOBS_SHOWN: u32 = 200;

/// What the store holds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct StoreTotals {
    studies: u64,
    instances: u64,
    /// SOP Instance UIDs of one study with more than one content.
    conflicts: u64,
    /// Original bytes of the instances.
    original_bytes: u64,
    packs: u64,
    pack_bytes: u64,
    /// Bytes of those that nothing needs since something was removed; they are given back in time.
    waste_bytes: u64,
    /// Instances that are known to be damaged, up to a thousand.
    damaged_instances: u64,
    slow_packs: u64,
}

/// Damaged instances that are counted.
const DAMAGED_MAX: usize = 1_000;

/// Past transfers in one status.
const PAST_SHOWN: u32 = 10;

/// Ready to take and to send: index open, space on disk, socket open, not stopping.
pub(super) async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let (checks, _) = checks(&shared).await;
    // Work goes on without an audit, unless the configuration says otherwise.
    let forgiven = |name: &str| name == "audit" && shared.audit.takes_work();
    let ready = checks.iter().all(|(name, sound, _)| *sound || forgiven(name));
    let checks: BTreeMap<&str, Value> = checks
        .into_iter()
        .map(|(name, sound, remedy)| {
            (name, if sound { json!({ "ok": true }) } else { json!({ "ok": false, "remedy": remedy }) })
        })
        .collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "checks": checks }))).into_response()
}

/// Name of each check, whether it holds, and what to do where it does not; and bytes left for the store, where known.
async fn checks(shared: &Shared) -> ([(&'static str, bool, &'static str); 6], Option<u64>) {
    let depot = shared.depot.clone();
    let store = blocking("look whether the store works", move || {
        let nobody = Scope::none();
        let index = !depot.index.has_failed() && depot.index.find(&nobody, &Search::default()).is_ok();
        (index, depot.records.space_left())
    });
    let (index, space) = store.await.unwrap_or((false, Some(0)));
    let queue = shared.queue.is_sound() && on_queue(shared, |queue| queue.job(0)).await.is_ok();
    let checks = [
        ("index", index, "the index cannot be used: look at the log and the disk; it is tried again every few seconds"),
        ("disk", space.is_none_or(|bytes| bytes > 0), "the disk is full down to its reserve: make room"),
        (
            "queue",
            queue,
            "the queue cannot be read or written: look at the log and the disk; it is tried again by itself",
        ),
        (
            "audit",
            shared.audit.is_sound(),
            "the audit cannot be written: look at the log and the disk; it is tried again by itself",
        ),
        ("quic", shared.endpoint.local_address().is_ok(), "the UDP socket is gone: restart"),
        ("running", !*shared.stopping.borrow(), "the daemon is stopping"),
    ];
    (checks, space)
}

/// Reads what the metrics need.
pub(super) async fn snapshot(shared: &Shared) -> Result<Snapshot, Problem> {
    let summary = on_queue(shared, crate::queue::Queue::summary).await?;
    let mut queue: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
    for peer in shared.peers.all() {
        if peer.address.is_some() {
            queue.insert(peer.name, (0, 0, 0));
        }
    }
    if shared.config.inboxes.iter().any(|inbox| inbox.to.is_none()) {
        queue.insert(SELF.to_owned(), (0, 0, 0));
    }
    for of_peer in summary {
        queue.insert(of_peer.peer, (of_peer.open, of_peer.failed, of_peer.oldest_age_seconds));
    }
    let depot = shared.depot.clone();
    let store = blocking("measure the store", move || {
        let packs = depot.records.packs().unwrap_or_default();
        let slow = depot.slow().unwrap_or_default().len();
        (depot.records.space_left(), packs.iter().map(|pack| pack.len).sum::<u64>(), waste(&depot), slow)
    });
    let (space_left, pack_bytes, waste_bytes, slow) = store.await.unwrap_or((None, 0, 0, 0));
    shared.metrics.wastes(waste_bytes);
    shared.metrics.slow_packs(slow);
    shared.metrics.store_bytes.set(i64::try_from(pack_bytes).unwrap_or(i64::MAX));
    let mut sessions: BTreeMap<String, (u64, f64)> = BTreeMap::new();
    for (id, session) in shared.live.sessions() {
        let entry = sessions.entry(shared.peers.name_of(id)).or_default();
        *entry = (entry.0 + 1, session.stats().rtt.as_secs_f64());
    }
    Ok(Snapshot {
        queue: queue.into_iter().map(|(name, (open, failed, age))| (name, open, failed, age)).collect(),
        sessions: sessions.into_iter().map(|(name, (connections, rtt))| (name, connections, rtt)).collect(),
        lines: shared.live.running().into_iter().map(line_of).collect(),
        limits: shared
            .peers
            .all()
            .into_iter()
            .filter_map(|peer| Some((shared.rates.of_peer(&peer.name)?, peer.name)))
            .map(|(limit, name)| (name, limit))
            .collect(),
        consultation: shared.rates.shown_call().is_some(),
        audit: (!shared.audit.is_sound(), shared.audit.lost()),
        running: shared.live.count(),
        space_left,
    })
}

/// Bytes in packs that nothing needs since something was removed.
fn waste(depot: &Depot) -> u64 {
    depot.wasteful(u64::MAX).unwrap_or_default().iter().map(|(_, bytes)| bytes).sum()
}

fn line_of(running: Running) -> RunningLine {
    let Running { peer, direction, rate, line_rate, progress, .. } = running;
    RunningLine { peer, direction, rate, line_rate, line: progress.line }
}

async fn totals(shared: &Arc<Shared>) -> StoreTotals {
    let cached = *shared.totals.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((counted, totals)) = cached
        && counted.elapsed() < COUNT_EVERY
    {
        return totals;
    }
    let depot = shared.depot.clone();
    let count = blocking("count what is stored", move || {
        let mut totals = StoreTotals::default();
        let counted = depot.index.totals().unwrap_or_default();
        totals.studies = counted.studies;
        totals.instances = counted.instances;
        totals.conflicts = counted.conflicts;
        totals.original_bytes = counted.bytes;
        for pack in depot.records.packs().unwrap_or_default() {
            totals.packs += 1;
            totals.pack_bytes += pack.len;
        }
        totals.waste_bytes = waste(&depot);
        totals.damaged_instances = to_u64(depot.index.damaged(DAMAGED_MAX).map_or(0, |damaged| damaged.len()));
        totals.slow_packs = to_u64(depot.slow().unwrap_or_default().len());
        totals
    });
    let totals = count.await.unwrap_or_default();
    *shared.totals.lock().unwrap_or_else(PoisonError::into_inner) = Some((Stopwatch::start(), totals));
    totals
}

pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let summary = on_queue(&shared, crate::queue::Queue::summary).await?;
    let jobs = on_queue(&shared, |queue| queue.jobs(JOBS_SHOWN)).await?;
    let past = on_queue(&shared, |queue| queue.history(PAST_SHOWN)).await?;
    let totals = totals(&shared).await;
    let (checks, space_left) = checks(&shared).await;
    let mut store = serde_json::to_value(totals).unwrap_or_default();
    store["space_left_bytes"] = json!(space_left);
    let failed = summary.iter().map(|of_peer| of_peer.failed).sum();
    let problems = problems(&shared, &checks, totals.damaged_instances, failed);
    let sessions: Vec<(String, Value)> = shared
        .live
        .sessions()
        .into_iter()
        .map(|(id, session)| {
            let stats = session.stats();
            let line = json!({
                "address": session.peer_address().to_string(),
                "carrier": session.carrier().to_string(),
                "rtt_ms": tenths(stats.rtt.as_secs_f64() * 1e3),
                "queue_ms": tenths(stats.queue_delay.as_secs_f64() * 1e3),
                "packet_bytes": stats.mtu_bytes,
                "sent_packets": stats.sent_packets,
                "lost_packets": stats.lost_packets,
                "loss_percent": hundredths(100.0 * to_f64(stats.lost_packets) / to_f64(stats.sent_packets.max(1))),
                "sent_bytes": stats.sent_bytes,
                "received_bytes": stats.received_bytes,
            });
            (shared.peers.name_of(id), line)
        })
        .collect();
    let running = shared.live.running();
    let peers: Vec<Value> = shared
        .peers
        .all()
        .into_iter()
        .map(|peer| {
            let lines: Vec<&Value> = sessions.iter().filter(|(name, _)| *name == peer.name).map(|(_, l)| l).collect();
            let sending = running.iter().any(|r| r.peer == peer.name && r.direction == Direction::Out);
            json!({
                "name": peer.name,
                "key": match &peer.key {
                    PeerKey::Pinned(id) => json!({ "fingerprint": id.fingerprint() }),
                    PeerKey::Subject(subject) => json!({ "subject": subject }),
                },
                "address": peer.address,
                "rights": peer.rights.names(),
                "sees": super::peers::sees(&peer),
                "level": peer.level.to_string(),
                "priority": peer.priority,
                "limit_mbps": shared.rates.of_peer(&peer.name).map(mbit_of_bytes),
                "connected": !lines.is_empty() || sending,
                "connections": lines,
            })
        })
        .collect();
    let Ok(door) = serde_json::to_value(shared.pairings.state()) else {
        return Err(problem(StatusCode::INTERNAL_SERVER_ERROR, "the state of pairing cannot be shown"));
    };
    let accepted = shared.endpoint.accept_counters();
    Ok(Json(json!({
        "site": shared.config.site_name,
        "version": env!("CARGO_PKG_VERSION"),
        "fingerprint": shared.identity.peer_id().fingerprint(),
        "certificate_expires": shared.identity.expires().0,
        "listen": shared.quic_address.to_string(),
        "uptime_seconds": shared.uptime.elapsed().as_secs(),
        "stopping": *shared.stopping.borrow(),
        "pairing": door.get("state"),
        "limit_mbps": shared.rates.of_site().map(mbit_of_bytes),
        "consultation": shared.rates.shown_call(),
        "peers": peers,
        "refused_connections": accepted.failed,
        "transfers": running.iter().map(transfer).collect::<Vec<_>>(),
        "queue": { "peers": summary, "jobs": jobs },
        "store": store,
        "problems": problems,
        "history": past.iter().map(without_uids).collect::<Vec<_>>(),
        "inboxes": inboxes(&shared),
        "without_usable_uid": {
            "sent": shared.metrics.derived_so_far(Direction::Out),
            "stored": shared.metrics.derived_so_far(Direction::In),
        },
        "backfill": backfill(&shared),
    }))
    .into_response())
}

/// A past transfer as everybody may see it: which studies, only who has the token (`/history`).
fn without_uids(past: &Past) -> Value {
    let mut past = serde_json::to_value(past).unwrap_or_default();
    if let Some(past) = past.as_object_mut() {
        past.remove("studies");
    }
    past
}

/// What needs somebody, each with what he can do.
fn problems(shared: &Shared, checks: &[(&str, bool, &str)], damaged: u64, failed: u64) -> Vec<Value> {
    let unsound = checks.iter().filter(|(_, sound, _)| !sound);
    let mut problems: Vec<Value> = unsound.map(|(name, _, remedy)| json!({ "what": name, "remedy": remedy })).collect();
    if damaged > 0 {
        let remedy = "instances in the store are damaged: push them again, or run imgxfer repair";
        problems.push(json!({ "what": "damaged", "instances": damaged, "remedy": remedy }));
    }
    if failed > 0 {
        let remedy = "jobs failed: imgxfer daemon queue says why; then retry or dismiss them";
        problems.push(json!({ "what": "failed", "jobs": failed, "remedy": remedy }));
    }
    let refused: usize = shared.config.inboxes.iter().map(|inbox| shared.metrics.inboxes.of(&inbox.path)[2]).sum();
    if refused > 0 {
        let remedy = "files in inboxes are DICOM and cannot be taken: the log says where; repair or remove them";
        problems.push(json!({ "what": "refused", "files": refused, "remedy": remedy }));
    }
    problems
}

/// What stands in inboxes and is in no job.
fn inboxes(shared: &Shared) -> Vec<Value> {
    let of = |inbox: &Inbox| {
        let [waiting, held, refused] = shared.metrics.inboxes.of(&inbox.path);
        json!({ "path": inbox.path.display().to_string(), "waiting_files": waiting, "held_files": held, "refused_files": refused })
    };
    shared.config.inboxes.iter().map(of).collect()
}

/// How far the reading of headers is whose attributes are of another version.
fn backfill(shared: &Shared) -> Value {
    let (done, unreadable) = shared.metrics.backfill.done();
    json!({ "instances_left": shared.metrics.backfill.left(), "instances_done": done, "instances_unreadable": unreadable })
}

fn transfer(running: &Running) -> Value {
    let progress = running.progress;
    let line = progress.line;
    let of_line = |figure: fn(&LineFigures) -> f64| line.as_ref().map(figure);
    json!({
        "peer": running.peer,
        "direction": if running.direction == Direction::In { "in" } else { "out" },
        "transfer": running.transfer.map(|id| id.to_string()),
        "job": running.job,
        "priority": running.priority,
        "seconds": running.since.elapsed().as_secs_f64(),
        "instances_expected": progress.instances_expected,
        "instances_committed": progress.instances_committed,
        "instances_failed": progress.instances_failed,
        "bytes_expected": progress.bytes_expected,
        "bytes_arrived": progress.bytes_arrived,
        "bytes_committed": progress.bytes_committed,
        "bytes_present": progress.bytes_present,
        "line_bytes": progress.line_bytes,
        "bytes_per_second": to_whole(running.rate),
        "line_bytes_per_second": to_whole(running.line_rate),
        "seconds_left": running.seconds_left().map(to_whole),
        "rtt_ms": of_line(|line| tenths(line.rtt.as_secs_f64() * 1e3)),
        "queue_ms": of_line(|line| tenths(line.queue_delay.as_secs_f64() * 1e3)),
        "loss_percent": of_line(|line| hundredths(line.loss() * 100.0)),
        "carrier": line.map(|line| line.carrier),
        "limit_mbps": line.and_then(|line| line.limit_bytes).map(mbit_of_bytes),
        "codec": progress.coded.map(|coded| coded.codec.to_string()),
        "level": progress.coded.and_then(|coded| coded.level).map(Level::get),
        "ratio": progress.ratio().map(hundredths),
    })
}

fn tenths(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}

fn hundredths(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}
