//! The data streams of a sender: a few at a time, each carrying a bounded pack of records.
//!
//! Bounded because a QUIC stream with too many gaps kills its connection (quinn allows 1,024 for one
//! stream), and because what a cut stream had carried only in part is lost.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::ids::TransferId;
use crate::pace::Pace;
use crate::sync::lock;
use crate::transport::{DataSender, Session, TransportError};
use crate::units::{to_f64, to_u64};
use crate::wire::record::Record;
use crate::wire::stream::stream_head;

/// A stream is finished, and another opened, once it has carried this much.
const PACK_STREAM_BYTES: u64 = 2 << 20;

/// What a line of unknown rate is thought to hold: enough that the first records are made fast, and not for a slow line.
const FIRST_GUESS_BYTES: u64 = 64 << 10;

/// Streams open at once on a fast line, where one lost packet then holds up less.
const LANES: usize = 4;

/// Streams open at once on a line of `rate` bytes a second: what they carry side by side is lost with the line, and at
/// 8 Mbit/s a record takes a quarter of a second.
fn lanes_at(rate: f64) -> usize {
    match rate {
        ..2.5e6 => 1,
        ..12.5e6 => 2,
        _ => LANES,
    }
}

#[derive(Debug)]
struct Lane {
    stream: DataSender,
    sent: u64,
}

/// What is known of the line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    /// What it seems to carry, or what may be sent.
    pub(super) bytes_a_second: f64,
    /// The round trip.
    pub(super) rtt: Duration,
}

/// Sends records on data streams.
#[derive(Debug)]
pub(super) struct Lanes {
    session: Session,
    transfer: TransferId,
    priority: i32,
    pace: Pace,
    /// Bytes of records that the transport has taken over.
    taken: AtomicU64,
    free: Semaphore,
    /// Permits there are in all.
    lanes: AtomicUsize,
    open: Mutex<Vec<Lane>>,
}

impl Lanes {
    pub(super) fn new(session: Session, transfer: TransferId, priority: i32, pace: Pace) -> Arc<Self> {
        let (free, lanes) = (Semaphore::new(LANES), AtomicUsize::new(LANES));
        Arc::new(Self {
            session,
            transfer,
            priority,
            pace,
            taken: AtomicU64::new(0),
            free,
            lanes,
            open: Mutex::default(),
        })
    }

    /// Sends a record whole; returns when the transport has taken it over.
    ///
    /// If the future is dropped half-way, so is the stream: the receiver sees it end in the middle of a
    /// record, which it drops.
    pub(super) async fn send(&self, record: &Record) -> Result<(), TransportError> {
        let Ok(_permit) = self.free.acquire().await else { return Ok(()) };
        let idle = lock(&self.open).pop();
        let mut lane = match idle {
            Some(lane) => lane,
            None => self.open_lane().await?,
        };
        let mut rest = record.bytes().clone();
        while !rest.is_empty() {
            let slice = rest.split_to(self.pace.slice(rest.len()));
            let bytes = slice.len();
            self.pace.take(bytes).await;
            lane.stream.send(slice).await?;
            self.taken.fetch_add(to_u64(bytes), Ordering::Relaxed);
        }
        lane.sent += to_u64(record.bytes().len());
        if lane.sent >= PACK_STREAM_BYTES {
            lane.stream.finish()?;
        } else {
            lock(&self.open).push(lane);
        }
        Ok(())
    }

    /// Bytes of records that the transport has taken over so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Uses as many streams as suit the line. Call it a few times a second.
    pub(super) fn adapt(&self) {
        let wanted = lanes_at(self.line_figures().bytes_a_second);
        let there = self.lanes.load(Ordering::Relaxed);
        if wanted > there {
            self.free.add_permits(wanted - there);
            self.lanes.store(wanted, Ordering::Relaxed);
        } else {
            // What is in use goes next time.
            let gone = self.free.forget_permits(there - wanted);
            self.lanes.store(there - gone, Ordering::Relaxed);
        }
    }

    /// How the line is now.
    pub(super) fn line_figures(&self) -> Figures {
        let stats = self.session.stats();
        // Unknown at the start, and not every congestion control says what it found.
        let rate = match stats.rate_bytes {
            0 => to_f64(stats.cwnd_bytes.max(FIRST_GUESS_BYTES)) / stats.rtt.as_secs_f64().max(1e-6),
            measured => to_f64(measured),
        };
        let bytes_a_second = self.pace.rate().map_or(rate, |limit| rate.min(to_f64(limit)));
        Figures { bytes_a_second, rtt: stats.rtt }
    }

    async fn open_lane(&self) -> Result<Lane, TransportError> {
        let mut stream = self.session.open_data().await?;
        stream.set_priority(self.priority);
        stream.send(stream_head(self.transfer)).await?;
        Ok(Lane { stream, sent: 0 })
    }
}
