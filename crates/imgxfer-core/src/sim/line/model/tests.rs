//! The model against what its parameters promise.

use super::*;

const MBIT: u64 = 1_000_000;
/// 1,500 bytes of IP: 12 ms at 1 Mbit/s.
const FULL: usize = 1500 - HEADER_BYTES;

/// Sends a full packet every `every` and returns the fates.
fn run(line: &mut Line, start: Instant, every: Duration, packets: u32) -> Vec<Fate> {
    (0..packets).map(|i| line.send(start + every * i, FULL)).collect()
}

fn share_dropped(fates: &[Fate], why: Dropped) -> f64 {
    let dropped = fates.iter().filter(|f| **f == Fate::Dropped(why)).count();
    to_f64(to_u64(dropped)) / to_f64(to_u64(fates.len()))
}

#[test]
fn a_packet_takes_its_line_time_and_the_delay() {
    let now = Instant::now();
    let mut line = Line::new(LineParams::new(MBIT, Duration::from_millis(30)), 1, now);
    assert_eq!(line.send(now, FULL), Fate::Arrives(now + Duration::from_millis(42)));
    assert_eq!(line.send(now, FULL), Fate::Arrives(now + Duration::from_millis(54)));
    assert_eq!(line.queued(now), Duration::from_millis(24));
    let later = now + Duration::from_secs(1);
    assert_eq!(line.send(later, FULL), Fate::Arrives(later + Duration::from_millis(42)));
}

#[test]
fn the_queue_drops_what_would_wait_too_long() {
    let now = Instant::now();
    let params = LineParams::new(MBIT, Duration::ZERO).with_queue(Duration::from_millis(48));
    let mut line = Line::new(params, 1, now);
    let fates = run(&mut line, now, Duration::ZERO, 6);
    assert!(fates[..4].iter().all(|f| matches!(f, Fate::Arrives(_))));
    assert_eq!(fates[4..], [Fate::Dropped(Dropped::Queue); 2]);
}

#[test]
fn a_queue_shorter_than_a_packet_still_passes_one_at_a_time() {
    let now = Instant::now();
    let params = LineParams::new(MBIT, Duration::ZERO).with_queue(Duration::ZERO);
    let fates = run(&mut Line::new(params, 1, now), now, Duration::from_millis(12), 10);
    assert!(fates.iter().all(|f| matches!(f, Fate::Arrives(_))), "{fates:?}");
}

#[test]
fn loss_has_its_share_alone_and_in_bursts() {
    for (loss, burst) in [(0.001, 1.0), (0.01, 1.0), (0.03, 2.0), (0.05, 8.0), (0.01, 20.0)] {
        let now = Instant::now();
        let mut line = Line::new(LineParams::new(100 * MBIT, Duration::ZERO).with_loss(loss, burst), 7, now);
        // As fast as the line takes them.
        let fates = run(&mut line, now, Duration::from_micros(120), 400_000);
        let share = share_dropped(&fates, Dropped::Loss);
        assert!((0.8 * loss..1.2 * loss).contains(&share), "{loss} in bursts of {burst}: {share}");

        let bursts = fates.windows(2).filter(|w| !is_lost(w[0]) && is_lost(w[1])).count();
        let mean = share * to_f64(to_u64(fates.len())) / to_f64(to_u64(bursts));
        assert!((0.7 * burst..1.3 * burst).contains(&mean), "{loss} in bursts of {burst}: {mean}");
    }
}

fn is_lost(fate: Fate) -> bool {
    fate == Fate::Dropped(Dropped::Loss)
}

#[test]
fn a_slow_sender_gets_out_of_a_burst() {
    let now = Instant::now();
    let mut line = Line::new(LineParams::new(100 * MBIT, Duration::ZERO).with_loss(0.05, 20.0), 3, now);
    let fates = run(&mut line, now, Duration::from_secs(1), 20_000);
    let together = fates.windows(2).filter(|w| is_lost(w[0]) && is_lost(w[1])).count();
    assert!(together < 10, "{together}");
}

#[test]
fn the_same_seed_gives_the_same_line() {
    let now = Instant::now();
    let fates = |seed| {
        let params =
            LineParams::new(MBIT, Duration::from_millis(10)).with_loss(0.1, 3.0).with_jitter(Duration::from_millis(7));
        run(&mut Line::new(params, seed, now), now, Duration::from_millis(5), 2_000)
    };
    assert_eq!(fates(1), fates(1));
    assert_ne!(fates(1), fates(2));
}

#[test]
fn jitter_keeps_the_order() {
    let now = Instant::now();
    let params = LineParams::new(100 * MBIT, Duration::from_millis(10)).with_jitter(Duration::from_millis(10));
    let fates = run(&mut Line::new(params, 1, now), now, Duration::from_millis(1), 1_000);
    let arrivals: Vec<Instant> = fates
        .into_iter()
        .map(|fate| match fate {
            Fate::Arrives(at) => at,
            Fate::Dropped(why) => panic!("{why:?}"),
        })
        .collect();
    assert!(arrivals.is_sorted());
}

#[test]
fn an_outage_takes_what_is_sent_and_what_is_on_the_way() {
    let now = Instant::now();
    let ms = Duration::from_millis;
    let outage = Outage::new(OutageStart::After(ms(100)), ms(50));
    let params = LineParams { delay: ms(20), ..LineParams::default() }.with_outage(outage);
    let mut line = Line::new(params, 1, now);
    let fates = run(&mut line, now, ms(10), 20);
    for (i, fate) in (0..).zip(fates) {
        let sent = 10 * i;
        let expected = !(80..150).contains(&sent);
        assert_eq!(matches!(fate, Fate::Arrives(_)), expected, "sent after {sent} ms: {fate:?}");
    }
}

#[test]
fn an_outage_can_begin_with_a_byte() {
    let now = Instant::now();
    let outage = Outage::new(OutageStart::AtBytes(4_000), Duration::from_secs(1));
    let mut line = Line::new(LineParams::default().with_outage(outage), 1, now);
    let fates = run(&mut line, now, Duration::from_millis(500), 6);
    let arrived: Vec<bool> = fates.iter().map(|f| matches!(f, Fate::Arrives(_))).collect();
    assert_eq!(arrived, [true, true, false, false, true, true]);
}

#[test]
fn packets_too_large_for_the_line_are_dropped() {
    let now = Instant::now();
    let mut line = Line::new(LineParams::default(), 1, now);
    assert_eq!(line.send(now, FULL), Fate::Arrives(now));
    assert_eq!(line.send(now, FULL + 1), Fate::Dropped(Dropped::Size));
}

#[test]
fn a_policer_passes_its_bucket_and_then_its_rate() {
    let now = Instant::now();
    // Ten packets at once, then one each 12 ms; nothing is delayed.
    let params = LineParams::default().with_policer(MBIT, 15_000);
    let mut line = Line::new(params, 1, now);
    let burst = run(&mut line, now, Duration::ZERO, 12);
    assert_eq!(burst[..10], [Fate::Arrives(now); 10]);
    assert_eq!(burst[10..], [Fate::Dropped(Dropped::Policer); 2]);
    let twice_the_rate = run(&mut line, now + Duration::from_millis(6), Duration::from_millis(6), 1_000);
    let share = share_dropped(&twice_the_rate, Dropped::Policer);
    assert!((0.49..0.51).contains(&share), "{share}");
    let later = now + Duration::from_secs(60);
    assert_eq!(run(&mut line, later, Duration::ZERO, 10), [Fate::Arrives(later); 10]);
}

#[test]
fn a_policer_before_a_faster_line_keeps_its_queue_short() {
    let now = Instant::now();
    let params = LineParams::new(2 * MBIT, Duration::ZERO).with_policer(MBIT, 6_000);
    let mut line = Line::new(params, 1, now);
    let fates = run(&mut line, now, Duration::from_millis(1), 1_200);
    let passed = fates.iter().filter(|f| matches!(f, Fate::Arrives(_))).count();
    assert!((100..=104).contains(&passed), "{passed}");
    assert!(fates.iter().all(|f| *f != Fate::Dropped(Dropped::Queue)));
}

#[test]
fn a_route_change_keeps_the_order_and_the_queue() {
    let now = Instant::now();
    let ms = Duration::from_millis;
    let params = LineParams::new(MBIT, ms(20)).with_route_change(ms(1_000), ms(60)).with_route_and_rate_change(
        ms(2_000),
        ms(10),
        2 * MBIT,
    );
    let mut line = Line::new(params, 1, now);
    assert_eq!(line.send(now, FULL), Fate::Arrives(now + ms(32)));
    assert_eq!(line.send(now + ms(999), FULL), Fate::Arrives(now + ms(1_031)));
    // Behind the packet in the queue, then on the longer way.
    assert_eq!(line.send(now + ms(1_000), FULL), Fate::Arrives(now + ms(1_083)));
    assert_eq!(line.send(now + ms(1_999), FULL), Fate::Arrives(now + ms(2_071)));
    // 11 ms left of the packet before, 6 ms of its own, and 10: but none overtakes.
    assert_eq!(line.send(now + ms(2_000), FULL), Fate::Arrives(now + ms(2_071)));
    assert_eq!(line.send(now + ms(2_100), FULL), Fate::Arrives(now + ms(2_116)));
    line.reroute(ms(40), None);
    assert_eq!(line.send(now + ms(2_200), FULL), Fate::Arrives(now + ms(2_246)));
}

#[test]
fn outages_come_again() {
    let now = Instant::now();
    let ms = Duration::from_millis;
    let params = LineParams { delay: ms(20), ..LineParams::default() }.with_outages_every(ms(300), ms(50));
    let mut line = Line::new(params, 1, now);
    for (i, fate) in (0..).zip(run(&mut line, now, ms(10), 200)) {
        let sent = 10 * i;
        // What is on the way when the cut comes is lost: from 20 ms before it.
        let cut = sent >= 280 && (sent % 300 < 50 || sent % 300 >= 280);
        assert_eq!(fate == Fate::Dropped(Dropped::Outage), cut, "sent after {sent} ms: {fate:?}");
    }
}
