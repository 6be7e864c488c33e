//! Datagrams on their way over a [`Line`]: the queue behind both kinds of simulated socket.

use super::{Dropped, Fate, Line, LineParams};
use crate::units::to_u64;
use bytes::Bytes;
use quinn::udp::{EcnCodepoint, Transmit};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Datagrams that may be on the way at once, whatever the line's rate and delay: about 100 MB.
const IN_FLIGHT_MAX: usize = 1 << 16;

/// What has gone over one direction of a line. Bytes are of IP packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LineCounters {
    /// Packets sent into the line.
    pub offered_packets: u64,
    /// Their bytes.
    pub offered_bytes: u64,
    /// Packets that came out.
    pub delivered_packets: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// Packets dropped because the queue was full.
    pub dropped_queue: u64,
    /// Packets lost to noise.
    pub dropped_loss: u64,
    /// Packets lost to a cut.
    pub dropped_outage: u64,
    /// Packets too large for the line.
    pub dropped_size: u64,
    /// Longest wait in the queue.
    pub longest_queue: Duration,
}

/// One datagram.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) bytes: Bytes,
}

#[derive(Debug)]
struct State {
    line: Line,
    cut: bool,
    on_the_way: VecDeque<(Instant, Parcel)>,
    counters: LineCounters,
    waker: Option<Waker>,
}

impl State {
    fn count_drop(&mut self, why: Dropped) {
        let counter = match why {
            Dropped::Queue => &mut self.counters.dropped_queue,
            Dropped::Loss => &mut self.counters.dropped_loss,
            Dropped::Outage => &mut self.counters.dropped_outage,
            Dropped::Size => &mut self.counters.dropped_size,
        };
        *counter += 1;
    }

    fn send(&mut self, now: Instant, parcel: Parcel) {
        self.counters.offered_packets += 1;
        self.counters.offered_bytes += to_u64(Line::packet_bytes(parcel.bytes.len()));
        if self.cut {
            return self.count_drop(Dropped::Outage);
        }
        if self.on_the_way.len() >= IN_FLIGHT_MAX {
            return self.count_drop(Dropped::Queue);
        }
        match self.line.send(now, parcel.bytes.len()) {
            Fate::Arrives(at) => self.on_the_way.push_back((at, parcel)),
            Fate::Dropped(why) => self.count_drop(why),
        }
        self.counters.longest_queue = self.counters.longest_queue.max(self.line.queued(now));
    }
}

/// One direction of a line with the datagrams on it. Clones are the same line.
#[derive(Debug, Clone)]
pub struct LineControl(Arc<Mutex<State>>);

impl LineControl {
    pub(super) fn new(params: LineParams, seed: u64) -> Self {
        let line = Line::new(params, seed, Instant::now());
        let counters = LineCounters::default();
        Self(Arc::new(Mutex::new(State { line, cut: false, on_the_way: VecDeque::new(), counters, waker: None })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the line: what is on the way is lost, and all that is sent until [`LineControl::restore`].
    pub fn cut(&self) {
        let mut state = self.lock();
        state.cut = true;
        state.counters.dropped_outage += to_u64(state.on_the_way.len());
        state.on_the_way.clear();
    }

    /// Mends the line.
    pub fn restore(&self) {
        self.lock().cut = false;
    }

    /// Puts other parameters into force, keeping what is on the way.
    pub fn replace(&self, params: LineParams, seed: u64) {
        self.lock().line = Line::new(params, seed, Instant::now());
    }

    /// What has gone over the line so far.
    #[must_use]
    pub fn counters(&self) -> LineCounters {
        self.lock().counters
    }

    /// Sends one datagram.
    pub(super) fn send(&self, parcel: Parcel) {
        let waker = {
            let mut state = self.lock();
            let was_empty = state.on_the_way.is_empty();
            state.send(Instant::now(), parcel);
            // Whoever waits for an earlier datagram knows when to look again.
            if was_empty && !state.on_the_way.is_empty() { state.waker.take() } else { None }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Sends every datagram of a transmission.
    pub(super) fn transmit(&self, from: SocketAddr, transmit: &Transmit<'_>) {
        let all = Bytes::copy_from_slice(transmit.contents);
        let segment = transmit.segment_size.unwrap_or(all.len()).max(1);
        let mut start = 0;
        while start < all.len() {
            let end = (start + segment).min(all.len());
            let bytes = all.slice(start..end);
            self.send(Parcel { from, to: transmit.destination, ecn: transmit.ecn, bytes });
            start = end;
        }
    }

    /// Takes the next datagram that has arrived, if `fits` lets it.
    pub(super) fn take_due(&self, now: Instant, fits: impl Fn(&Parcel) -> bool) -> Option<Parcel> {
        let mut state = self.lock();
        let (at, parcel) = state.on_the_way.front()?;
        if *at > now || !fits(parcel) {
            return None;
        }
        let (_, parcel) = state.on_the_way.pop_front()?;
        state.counters.delivered_packets += 1;
        state.counters.delivered_bytes += to_u64(Line::packet_bytes(parcel.bytes.len()));
        Some(parcel)
    }

    /// Waits until a datagram has arrived. For one task.
    pub(super) fn poll_due(&self, cx: &mut Context<'_>, timer: &mut Timer) -> Poll<()> {
        let next = {
            let mut state = self.lock();
            state.waker = Some(cx.waker().clone());
            state.on_the_way.front().map(|(at, _)| *at)
        };
        match next {
            Some(at) => timer.poll_until(cx, at),
            None => Poll::Pending,
        }
    }
}

/// A timer that is set anew for each datagram.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn poll_until(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        if at <= Instant::now() {
            return Poll::Ready(());
        }
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        sleep.as_mut().reset(at);
        sleep.as_mut().poll(cx)
    }
}
