//! Handles on a line: what sockets send into it and take out of it, and what a test does to it.

use super::world::{Direction, Parcel, World};
use super::{Flow, Histogram, Line, LineCounters, LineParams};
use crate::sync::lock;
use bytes::Bytes;
use quinn::udp::Transmit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// A line that several hold.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// The world as it is now.
    pub(super) fn lock(&self) -> (MutexGuard<'_, World>, Instant) {
        let mut world = lock(&self.0);
        let now = Instant::now();
        world.play(now);
        (world, now)
    }
}

/// One direction of a line with the datagrams on it. Clones are the same line.
#[derive(Debug, Clone)]
pub struct LineControl {
    world: Shared,
    direction: Direction,
}

impl LineControl {
    pub(super) fn new(world: Shared, direction: Direction) -> Self {
        Self { world, direction }
    }

    /// A line that goes one way.
    pub(super) fn alone(params: LineParams, seed: u64) -> Self {
        let world = World::new((params, seed), (LineParams::default(), seed), Instant::now());
        Self::new(Shared::new(world), Direction::Up)
    }

    /// Cuts the line: what is on the way is lost, and all that is sent until [`LineControl::restore`].
    pub fn cut(&self) {
        let (mut world, now) = self.world.lock();
        world.cut(now, self.direction);
    }

    /// Mends the line.
    pub fn restore(&self) {
        self.world.lock().0.way(self.direction).cut = false;
    }

    /// Puts other parameters into force, keeping what is on the way.
    pub fn replace(&self, params: LineParams, seed: u64) {
        let (mut world, now) = self.world.lock();
        world.way(self.direction).line = Line::new(params, seed, now);
    }

    /// Sends packets another way from now on: see [`super::RouteChange`].
    pub fn reroute(&self, delay: Duration, rate_bps: Option<u64>) {
        self.world.lock().0.way(self.direction).line.reroute(delay, rate_bps);
    }

    /// What has gone over the line so far.
    #[must_use]
    pub fn counters(&self) -> LineCounters {
        self.world.lock().0.way(self.direction).total().clone()
    }

    /// The same by flow, for the first 64 flows.
    #[must_use]
    pub fn flows(&self) -> Vec<(Flow, LineCounters)> {
        self.world.lock().0.way(self.direction).flows().to_vec()
    }

    /// What has gone over the line from one address to another.
    #[must_use]
    pub fn flow(&self, flow: Flow) -> LineCounters {
        let (mut world, _) = self.world.lock();
        let flows = world.way(self.direction).flows();
        flows.iter().find(|(known, _)| *known == flow).map(|(_, counters)| counters.clone()).unwrap_or_default()
    }

    /// Time until the queue would be empty, looked at once a millisecond since the line was made.
    #[must_use]
    pub fn queue_over_time(&self) -> Histogram {
        let (mut world, now) = self.world.lock();
        world.way(self.direction).samples(now).clone()
    }

    /// Sends one datagram.
    pub(super) fn send(&self, parcel: Parcel) {
        let waker = {
            let (mut world, now) = self.world.lock();
            world.send(now, self.direction, parcel)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Sends every datagram of a transmission.
    pub(super) fn transmit(&self, from: SocketAddr, transmit: &Transmit<'_>) {
        let all = Bytes::copy_from_slice(transmit.contents);
        let segment = transmit.segment_size.unwrap_or(all.len()).max(1);
        let flow = Flow::new(from, transmit.destination);
        let mut start = 0;
        while start < all.len() {
            let end = (start + segment).min(all.len());
            self.send(Parcel { flow, ecn: transmit.ecn, bytes: all.slice(start..end) });
            start = end;
        }
    }

    /// Where datagrams come out of the line: those to `address`, or all.
    pub(super) fn outlet(&self, address: Option<SocketAddr>) -> Outlet {
        let inbox = self.world.lock().0.open(self.direction, address);
        Outlet { world: self.world.clone(), inbox, timer: Mutex::default() }
    }
}

/// Where datagrams come out of a line. For one task.
#[derive(Debug)]
pub(super) struct Outlet {
    world: Shared,
    inbox: usize,
    /// Set anew for each datagram.
    timer: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.world.lock().0.close(self.inbox);
    }
}

impl Outlet {
    /// Takes the next datagram that has arrived, if `fits` lets it.
    pub(super) fn take_due(&self, now: Instant, fits: impl Fn(&Parcel) -> bool) -> Option<Parcel> {
        self.world.lock().0.take_due(now, self.inbox, fits)
    }

    /// Waits until a datagram has arrived.
    pub(super) fn poll_due(&self, cx: &mut Context<'_>) -> Poll<()> {
        let next = self.world.lock().0.next_due(self.inbox, cx.waker());
        let Some(at) = next else { return Poll::Pending };
        if at <= Instant::now() {
            return Poll::Ready(());
        }
        let mut timer = lock(&self.timer);
        let sleep = timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        sleep.as_mut().reset(at);
        sleep.as_mut().poll(cx)
    }
}
