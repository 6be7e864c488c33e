//! Places for transfers. Some are kept for emergencies, no peer takes more than its share, and a transfer in which
//! nothing moves gives its place up when somebody waits for one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::ids::PeerId;
use crate::priority::Priority;
use crate::progress::Progress;
use crate::receive::PageRoom;
use crate::sync::lock;
use crate::transfer::Notice;

/// A transfer that moves less than [`MOVED_BYTES`] in so long, while this end does nothing in it, gives way to one that
/// waits.
const IDLE: Duration = Duration::from_secs(20);
/// Well over what keeps a connection alive, and under what the slowest line carries in that time.
const MOVED_BYTES: u64 = 10_000;
/// A request waits so long for the place of a transfer that was told to go.
const WAIT: Duration = Duration::from_secs(8);

/// The places of a server.
#[derive(Debug)]
pub(super) struct Slots {
    held: Mutex<Held>,
    freed: Notify,
    places: usize,
    /// Of these, for emergencies.
    kept: usize,
    /// Most that one peer may hold.
    share: usize,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    places: HashMap<u64, Place>,
    rooms: HashMap<PeerId, Weak<PageRoom>>,
}

#[derive(Debug)]
struct Place {
    peer: PeerId,
    kept: bool,
    moved: Instant,
    line_bytes: u64,
    done: u64,
    leave: watch::Sender<bool>,
}

/// Why there is no place.
enum Taken {
    /// The peer holds its share.
    ByThePeer,
    /// All are taken.
    ByAll,
}

impl Slots {
    /// An eighth of the places, at the least one of two, is for emergencies, and half is one peer's share.
    pub(super) fn new(places: usize) -> Arc<Self> {
        let kept = if places < 2 { 0 } else { (places / 8).max(1) };
        let share = places.div_ceil(2);
        Arc::new(Self { held: Mutex::default(), freed: Notify::new(), places, kept, share })
    }

    /// A place for a transfer, or `None` when there is none and none can be had in a few seconds.
    pub(super) async fn take(self: &Arc<Self>, peer: PeerId, priority: Priority) -> Option<Slot> {
        let end = Instant::now() + WAIT;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let of = match self.try_take(peer, priority) {
                Ok(slot) => return Some(slot),
                Err(Taken::ByThePeer) => Some(peer),
                Err(Taken::ByAll) => None,
            };
            if !self.send_idlest_away(of) || tokio::time::timeout_at(end, freed).await.is_err() {
                return None;
            }
        }
    }

    /// Waits until no transfer runs.
    pub(super) async fn all_free(&self) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.held().places.is_empty() {
                return;
            }
            freed.await;
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }

    fn try_take(self: &Arc<Self>, peer: PeerId, priority: Priority) -> Result<Slot, Taken> {
        let mut held = self.held();
        let of_peer = held.places.values().filter(|place| place.peer == peer);
        let has_kept = of_peer.clone().any(|place| place.kept);
        if of_peer.count() >= self.share {
            return Err(Taken::ByThePeer);
        }
        let ordinary = held.places.values().filter(|place| !place.kept).count();
        let kept = ordinary >= self.places - self.kept;
        // One of those kept for each peer, so that one alone cannot take them all.
        if held.places.len() >= self.places || kept && (priority != Priority::Stat || has_kept) {
            return Err(Taken::ByAll);
        }
        let room = held.rooms.get(&peer).and_then(Weak::upgrade).unwrap_or_default();
        held.rooms.retain(|_, room| room.strong_count() > 0);
        held.rooms.insert(peer, Arc::downgrade(&room));
        let (leave, told) = watch::channel(false);
        let number = held.next;
        held.next += 1;
        held.places.insert(number, Place { peer, kept, moved: Instant::now(), line_bytes: 0, done: 0, leave });
        drop(held);
        let done = Arc::default();
        let notice = Notice::new(told, Arc::clone(&done));
        Ok(Slot { slots: Arc::clone(self), number, notice, done, room })
    }

    /// Tells the transfer that has not moved for longest, of that peer or of any, to go. Returns whether one goes.
    fn send_idlest_away(&self, of: Option<PeerId>) -> bool {
        let held = self.held();
        let may = |place: &&Place| of.is_none_or(|peer| place.peer == peer) && place.moved.elapsed() >= IDLE;
        let Some(idlest) = held.places.values().filter(may).min_by_key(|place| (*place.leave.borrow(), place.moved))
        else {
            return false;
        };
        idlest.leave.send_replace(true);
        true
    }
}

/// A place that is held until this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    number: u64,
    notice: Notice,
    /// What has been done at this end.
    done: Arc<AtomicU64>,
    room: Arc<PageRoom>,
}

impl Slot {
    /// Looks whether the transfer moves.
    pub(super) fn saw(&self, progress: &Progress) {
        let done = self.done.load(Ordering::Relaxed);
        if let Some(place) = self.slots.held().places.get_mut(&self.number)
            && (progress.line_bytes >= place.line_bytes + MOVED_BYTES || done != place.done)
        {
            (place.moved, place.line_bytes, place.done) = (Instant::now(), progress.line_bytes, done);
        }
    }

    /// Says when the place has to be given up.
    pub(super) fn notice(&self) -> Notice {
        self.notice.clone()
    }

    /// What the peer's transfers share for manifest pages.
    pub(super) fn room(&self) -> Arc<PageRoom> {
        Arc::clone(&self.room)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.held().places.remove(&self.number);
        self.slots.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    #[tokio::test(start_paused = true)]
    async fn an_emergency_gets_in_where_routine_has_taken_all() {
        let slots = Slots::new(16);
        let mut held = Vec::new();
        for n in 0..20 {
            held.extend(slots.take(peer(n % 2), Priority::Routine).await);
        }
        assert_eq!(held.len(), 14, "two are kept");
        assert!(slots.take(peer(2), Priority::Routine).await.is_none());
        assert!(slots.take(peer(0), Priority::Stat).await.is_some());
        let stat = slots.take(peer(2), Priority::Stat).await;
        assert!(stat.is_some());
        assert!(slots.take(peer(2), Priority::Stat).await.is_none(), "one of those kept is enough for one peer");
        assert!(slots.take(peer(3), Priority::Stat).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_peer_has_no_more_than_its_share() {
        let slots = Slots::new(16);
        let mut held = Vec::new();
        for _ in 0..20 {
            held.extend(slots.take(peer(1), Priority::Stat).await);
        }
        assert_eq!(held.len(), 8);
        held.pop();
        assert!(slots.take(peer(1), Priority::Background).await.is_some(), "what is given back can be had");
    }

    #[tokio::test(start_paused = true)]
    async fn who_moves_nothing_gives_way_and_who_moves_stays() {
        let slots = Slots::new(2);
        let one = slots.take(peer(1), Priority::Routine).await.unwrap();
        assert!(slots.take(peer(2), Priority::Routine).await.is_none());
        let mut moved = 0;
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(5)).await;
            moved += MOVED_BYTES;
            one.saw(&Progress { line_bytes: moved, ..Progress::default() });
        }
        assert!(slots.take(peer(2), Priority::Routine).await.is_none(), "it moves");
        let still = Progress { line_bytes: moved + 500, ..Progress::default() };
        tokio::time::advance(IDLE).await;
        one.notice().has_done(1);
        one.saw(&still);
        assert!(slots.take(peer(2), Priority::Routine).await.is_none(), "this end works");
        tokio::time::advance(IDLE).await;
        one.saw(&still);
        let mut notice = one.notice();
        let leaves = async move {
            notice.given().await;
            drop(one);
        };
        let (other, ()) = tokio::join!(slots.take(peer(2), Priority::Routine), leaves);
        assert!(other.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_place_does_not_wait_for_ever() {
        let slots = Slots::new(1);
        let deaf = slots.take(peer(1), Priority::Routine).await;
        tokio::time::advance(IDLE).await;
        assert!(slots.take(peer(2), Priority::Stat).await.is_none());
        drop(deaf);
        slots.all_free().await;
    }
}
