//! The receiver: what has arrived, and when it says so.

use super::Ack;
use std::time::Duration;
use tokio::time::Instant;

/// Longest that Linux keeps an acknowledgement back on a busy connection.
const DELAY: Duration = Duration::from_millis(40);
/// Segments that Linux acknowledges each by itself at first, so that slow start is not held up.
const QUICK: u64 = 16;
/// Ranges that fit into an acknowledgement beside time stamps (RFC 2018).
pub(super) const RANGES: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Receiver {
    /// Everything below has arrived.
    next: u64,
    /// Ranges above it, the one that grew last first.
    ranges: Vec<(u64, u64)>,
    /// In order and not acknowledged yet.
    pending: u32,
    ack_at: Option<Instant>,
}

impl Receiver {
    /// Segments that the application could read so far.
    pub(super) fn delivered(&self) -> u64 {
        self.next
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.ack_at
    }

    pub(super) fn on_timer(&mut self) -> Ack {
        self.ack()
    }

    /// A segment arrives. Says what to acknowledge, if it is time: each second segment in order, and any
    /// that is out of order or fills a gap.
    pub(super) fn on_segment(&mut self, now: Instant, seq: u64) -> Option<Ack> {
        let in_order = seq == self.next && self.ranges.is_empty();
        if seq >= self.next {
            self.insert(seq);
        }
        self.pending += 1;
        if !in_order || self.pending >= 2 || self.next <= QUICK {
            return Some(self.ack());
        }
        self.ack_at = Some(now + DELAY);
        None
    }

    fn insert(&mut self, seq: u64) {
        let (mut from, mut to) = (seq, seq + 1);
        self.ranges.retain(|&(start, end)| {
            let apart = end < from || start > to;
            if !apart {
                (from, to) = (from.min(start), to.max(end));
            }
            apart
        });
        if from == self.next {
            self.next = to;
        } else {
            self.ranges.insert(0, (from, to));
        }
    }

    fn ack(&mut self) -> Ack {
        (self.pending, self.ack_at) = (0, None);
        let mut ranges = [(0, 0); RANGES];
        for (slot, range) in ranges.iter_mut().zip(&self.ranges) {
            *slot = *range;
        }
        Ack { next: self.next, ranges }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_segment_in_order_is_acknowledged() {
        let now = Instant::now();
        let mut receiver = Receiver::default();
        (0..QUICK).for_each(|seq| assert!(receiver.on_segment(now, seq).is_some()));
        assert_eq!(receiver.on_segment(now, 16), None);
        assert_eq!(receiver.next_timer(), Some(now + DELAY));
        assert_eq!(receiver.on_segment(now, 17).unwrap().next, 18);
        assert_eq!(receiver.next_timer(), None);
        assert_eq!(receiver.on_segment(now, 18), None);
        assert_eq!(receiver.on_timer().next, 19);
    }

    #[test]
    fn gaps_are_told_of_at_once_the_newest_range_first() {
        let now = Instant::now();
        let mut receiver = Receiver::default();
        let mut on = |seq| receiver.on_segment(now, seq).unwrap();
        assert_eq!(on(0), Ack { next: 1, ranges: [(0, 0); 3] });
        on(2);
        on(4);
        on(6);
        assert_eq!(on(8), Ack { next: 1, ranges: [(8, 9), (6, 7), (4, 5)] });
        assert_eq!(on(3), Ack { next: 1, ranges: [(2, 5), (8, 9), (6, 7)] });
        assert_eq!(on(3), Ack { next: 1, ranges: [(2, 5), (8, 9), (6, 7)] });
        assert_eq!(on(1), Ack { next: 5, ranges: [(8, 9), (6, 7), (0, 0)] });
        assert_eq!(on(0).next, 5);
    }
}
