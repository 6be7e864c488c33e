//! The first packets on a line that nothing is known of: few enough for the slowest, and what they show allows the
//! next ones to be many.

use std::time::Instant;

/// Packets of the first flight: 58 ms of 0.8 Mbit/s, the slowest line that hospitals send over.
pub(super) const FIRST_PACKETS: f64 = 4.0;
/// Packets of the second, at most: acknowledgements may come bunched, and make a slow line look fast.
const SECOND_PACKETS: f64 = 64.0;
/// The queue that the second may make, seconds.
const QUEUE: f64 = 0.035;
/// So many packets that leave at once are a flight. Lone ones tell nothing: they wait for the peer to acknowledge two
/// at once.
const FLIGHT_PACKETS: f64 = 1.9;
/// A line is slow that takes this long for a packet, seconds: 1.2 Mbit/s. Jitter looks like it, so that so many flights
/// must say so.
const SLOW_PACKET: f64 = 0.010;
const SLOW_FLIGHTS: u32 = 2;
/// Packets after which the flight, or its acknowledgements, must be lost.
const PATIENCE_PACKETS: f64 = 16.0;

/// What is allowed after the first flight.
#[derive(Debug, Clone, Copy)]
pub(super) enum Allowed {
    /// It is not back yet.
    Nothing,
    /// This window, bytes.
    Window(f64),
    /// No more than there is: the line is slow.
    Enough,
    /// There was none that could be watched: grow as always.
    Growth,
}

/// Watches the first flight.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FirstFlight {
    /// What left last, and when; once it is a flight, that one.
    left: Option<Instant>,
    bytes: f64,
    is_flight: bool,
    /// What of the flight is back, and what is back at all.
    back: f64,
    acked: f64,
    slow_flights: u32,
}

impl FirstFlight {
    /// `bytes` leave at once; a packet has `packet` bytes.
    pub(super) fn sent(&mut self, now: Instant, bytes: f64, packet: f64) {
        if self.is_flight {
            return;
        }
        self.bytes = if self.left == Some(now) { self.bytes + bytes } else { bytes };
        self.left = Some(now);
        self.is_flight = self.bytes >= FLIGHT_PACKETS * packet;
    }

    /// `bytes` that left at `sent` are back after `queue` seconds more than the shortest round trip.
    pub(super) fn acked(&mut self, sent: Instant, bytes: f64, queue: f64, packet: f64) -> Allowed {
        self.acked += bytes;
        // It was the handshake's, or the application had no more then: wait for the next.
        if self.left.is_some_and(|left| left < sent) {
            self.is_flight = false;
            self.back = 0.0;
        }
        if self.is_flight && self.left == Some(sent) {
            self.back += bytes;
        }
        if self.is_flight && self.back >= 0.9 * self.bytes {
            // The first packet makes no queue of its own.
            let packet_time = queue.max(0.0) * packet / (self.back - packet).max(0.5 * packet);
            if packet_time < SLOW_PACKET {
                let packets = (QUEUE / packet_time.max(1e-6)).clamp(FIRST_PACKETS, SECOND_PACKETS);
                return Allowed::Window(packets * packet);
            }
            self.slow_flights += 1;
            if self.slow_flights >= SLOW_FLIGHTS {
                return Allowed::Enough;
            }
            self.is_flight = false;
            self.back = 0.0;
        }
        if self.acked >= PATIENCE_PACKETS * packet { Allowed::Growth } else { Allowed::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const PACKET: f64 = 1452.0;

    /// What two flights of four packets allow that come back with these queues, ms.
    fn after(queues: [f64; 4]) -> Allowed {
        let begun = tokio::time::Instant::now().into_std();
        let mut first = FirstFlight::default();
        for now in [begun, begun + Duration::from_millis(100)] {
            first.sent(now, 4.0 * PACKET, PACKET);
            for queue in queues {
                match first.acked(now, PACKET, queue / 1e3, PACKET) {
                    Allowed::Nothing => {}
                    allowed => return allowed,
                }
            }
        }
        Allowed::Nothing
    }

    #[test]
    fn the_second_flight_fits_the_line() {
        let packets = |allowed| match allowed {
            Allowed::Window(bytes) => bytes / PACKET,
            other => panic!("{other:?}"),
        };
        // Pairs are acknowledged together, as the second of them arrives.
        assert!(matches!(after([14.5, 14.5, 43.5, 43.5]), Allowed::Enough), "0.8 Mbit/s");
        let copper = packets(after([1.5, 1.5, 4.4, 4.4]));
        assert!((20.0..30.0).contains(&copper), "8 Mbit/s: {copper}");
        let jittery = packets(after([0.0, 5.0, 9.0, 18.0]));
        assert!((5.0..7.0).contains(&jittery), "4 Mbit/s and 10 ms of jitter: {jittery}");
        assert!((packets(after([0.0; 4])) - SECOND_PACKETS).abs() < 0.01, "fibre");
    }

    #[test]
    fn lone_packets_and_those_of_the_handshake_are_no_flight() {
        let begun = tokio::time::Instant::now().into_std();
        let mut first = FirstFlight::default();
        first.sent(begun, PACKET, PACKET);
        first.sent(begun, PACKET, PACKET);
        let later = begun + Duration::from_millis(30);
        first.sent(later, PACKET, PACKET);
        assert!(matches!(first.acked(later, PACKET, 0.025, PACKET), Allowed::Nothing), "it waited for a second");
        let flight = later + Duration::from_millis(1);
        first.sent(flight, PACKET, PACKET);
        first.sent(flight, PACKET, PACKET);
        assert!(matches!(first.acked(flight, PACKET, 0.0, PACKET), Allowed::Nothing));
        assert!(matches!(first.acked(flight, PACKET, 0.0, PACKET), Allowed::Window(_)));
    }

    #[test]
    fn a_flight_that_is_lost_does_not_hold_the_start_up() {
        let begun = tokio::time::Instant::now().into_std();
        let mut first = FirstFlight::default();
        let grows = (0..32_u32).find(|&n| {
            let now = begun + Duration::from_millis(30) * n;
            first.sent(now, PACKET, PACKET);
            matches!(first.acked(now, PACKET, 0.02, PACKET), Allowed::Growth)
        });
        assert_eq!(grows, Some(15));
    }
}
