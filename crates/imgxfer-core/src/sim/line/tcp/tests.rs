//! The competitor on lines, against what is known of the real one.

use crate::sim::line::{CallParams, Direction, LineParams, LineProfile, TcpParams, TcpReport, VirtualNet};
use crate::units::to_f64;
use std::time::Duration;

/// Payload of a full packet of 1,500 bytes.
const PAYLOAD_SHARE: f64 = 1_448.0 / 1_500.0;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn net(line: LineParams, seed: u64) -> VirtualNet {
    VirtualNet::new(LineProfile::symmetric(line), seed)
}

/// What hospitals receive on the line with this name, without its loss.
fn clean(name: &str) -> LineParams {
    name.parse::<LineProfile>().unwrap().down.with_loss(0.0, 1.0)
}

/// A connection alone on a line for `seconds`: its share of the line's rate from second 2.
async fn alone(line: LineParams, seconds: u64, seed: u64) -> (f64, TcpReport) {
    let rate = line.rate_bps.unwrap();
    let net = net(line, seed);
    let tcp = net.start_tcp(Direction::Up, TcpParams::default());
    tokio::time::sleep(secs(seconds)).await;
    let report = tcp.report();
    (report.rate_bps(secs(2), secs(seconds)) / to_f64(rate), report)
}

/// The mean share of five seeds.
async fn mean_alone(line: LineParams, seconds: u64) -> f64 {
    let mut sum = 0.0;
    for seed in 1..=5 {
        sum += alone(line.clone(), seconds, seed).await.0;
    }
    sum / 5.0
}

#[tokio::test(start_paused = true)]
async fn it_fills_lines_without_loss() {
    for name in ["adsl", "fttc", "fibre100", "fibre1g"] {
        let seconds = if name == "fibre1g" { 5 } else { 20 };
        let (share, report) = alone(clean(name), seconds, 1).await;
        assert!((0.99 * PAYLOAD_SHARE..=PAYLOAD_SHARE).contains(&share), "{name}: {share} {report:?}");
        assert_eq!(report.timeouts, 0, "{name}");
        assert!(report.retransmitted * 500 < report.segments, "{name}: {report:?}");
    }
}

/// What RFC 9438 5.1 expects of a connection, as a share of the line: the better of Reno's window and Cubic's own.
fn expected(mbps: f64, rtt: f64, loss: f64) -> f64 {
    let reno = (1.5 / loss).sqrt();
    let cubic = 1.054 * (rtt / loss).powf(0.75);
    reno.max(cubic) * 1_448.0 * 8.0 / rtt / (mbps * 1e6)
}

#[tokio::test(start_paused = true)]
async fn loss_slows_it_down_as_the_formulas_say() {
    let us = Duration::from_micros;
    // The last is Cubic's own region, the others follow Reno.
    for (mbps, one_way, loss, seconds) in [
        (40_u32, us(10_000), 0.01, 30),
        (40, us(10_000), 0.003, 30),
        (1_000, us(5_000), 0.001, 20),
        (1_000, us(5_000), 0.000_1, 20),
        (1_000, us(40_000), 0.000_01, 60),
    ] {
        let line = LineParams::new(u64::from(mbps) * 1_000_000, one_way).with_loss(loss, 1.0);
        let share = mean_alone(line, seconds).await;
        let expected = expected(f64::from(mbps), 2.0 * one_way.as_secs_f64(), loss);
        println!("seeds 1 to 5: {mbps} Mbit/s, {one_way:?}, loss {loss}: {share:.3}, expected {expected:.3}");
        // Formulas of steady states, without mending, and without the time before the first loss.
        assert!((0.7 * expected..1.8 * expected).contains(&share), "{share}, expected {expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_collapses_on_copper_as_measured() {
    // Real kernels over a link emulator and quinn's Cubic in simulation lie within these.
    for (loss, least, most) in [(0.001, 0.85, 0.966), (0.01, 0.40, 0.65), (0.03, 0.18, 0.36)] {
        let share = mean_alone(clean("adsl").with_loss(loss, 1.0), 30).await;
        println!("seeds 1 to 5: adsl with loss {loss}: {share:.3}");
        assert!((least..most).contains(&share), "seeds 1 to 5, adsl with loss {loss}: {share}");
    }
}

#[tokio::test(start_paused = true)]
async fn bursts_policers_and_short_queues_do_not_stop_it() {
    let base = LineParams::new(50_000_000, Duration::from_millis(10));
    let short = alone(base.clone().with_queue(Duration::from_millis(5)), 20, 1).await;
    assert!(short.0 > 0.85, "{short:?}");
    // Of the line; the policer lets four fifths of it through.
    let policed = alone(base.with_policer(40_000_000, 50_000), 20, 1).await;
    println!("short queue {:.3}, policed {:.3}", short.0, policed.0);
    assert!((0.5..0.8).contains(&policed.0), "{policed:?}");
    let bursts = alone(clean("bad-copper").with_loss(0.02, 8.0), 60, 1).await;
    assert!(bursts.0 > 0.15 && bursts.1.retransmitted > 50, "seed 1: {bursts:?}");
}

#[tokio::test(start_paused = true)]
async fn it_comes_back_after_an_outage() {
    let line = clean("fttc").with_outages_every(secs(30), secs(5));
    let net = net(line, 1);
    let tcp = net.start_tcp(Direction::Down, TcpParams::default());
    tokio::time::sleep(secs(60)).await;
    let report = tcp.report();
    assert_eq!(report.over_time.len(), 600);
    assert!(report.over_time.is_sorted());
    assert!(report.timeouts > 2, "{report:?}");
    assert!(report.rate_bps(secs(31), secs(35)) < 1.0, "{report:?}");
    // Back-off may sleep for some seconds more.
    assert!(report.rate_bps(secs(45), secs(60)) > 0.9 * PAYLOAD_SHARE * 40e6, "{report:?}");
    assert!(net.down().flow(tcp.flow()).dropped_outage > 0);
}

#[tokio::test(start_paused = true)]
async fn two_share_a_line_and_leave_it() {
    for name in ["adsl", "fttc", "fibre100"] {
        let line = clean(name);
        let rate = to_f64(line.rate_bps.unwrap());
        let net = net(line, 1);
        let first = net.start_tcp(Direction::Down, TcpParams::default());
        let second = net.start_tcp(Direction::Down, TcpParams::default().with_start(secs(5)).with_end(secs(90)));
        tokio::time::sleep(secs(100)).await;
        let shares = [first.report(), second.report()]
            .map(|r| [(0, 5), (30, 90), (95, 100)].map(|(from, to)| r.rate_bps(secs(from), secs(to)) / rate));
        let [[alone, beside, after], [before, with, gone]] = shares;
        println!("{name}: {shares:.3?}");
        assert!(alone > 0.8 && after > 0.95 && before < 0.001 && gone < 0.001, "{name}: {shares:?}");
        assert!(beside + with > 0.95 && with > 0.25 && beside > 0.25, "{name}: {shares:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_course() {
    let line = || clean("fttc").with_loss(0.01, 3.0).with_jitter(Duration::from_millis(3));
    let first = alone(line(), 10, 1).await.1;
    assert_eq!(first, alone(line(), 10, 1).await.1);
    assert_ne!(first, alone(line(), 10, 2).await.1);
}

#[tokio::test(start_paused = true)]
async fn a_call_suffers_from_the_queue_that_tcp_fills() {
    let net = net(clean("adsl"), 1);
    let call = net.start_call(Direction::Down, CallParams::default().with_end(secs(40)));
    let tcp = net.start_tcp(Direction::Down, TcpParams::default().with_start(secs(10)));
    tokio::time::sleep(secs(9)).await;
    let quiet = call.report();
    // 1,278 bytes take 1.28 ms; of three together the last waits for two, and 15 ms are the way.
    assert_eq!((quiet.sent, quiet.arrived, quiet.on_the_way), (1_353, 1_350, 3));
    assert_eq!(quiet.delay.longest(), Duration::from_micros(15_000 + 3 * 1_278));
    assert!(quiet.loss() < 1e-9);

    tokio::time::sleep(secs(41)).await;
    let report = call.report();
    assert_eq!((report.sent, report.on_the_way), (6_000, 0));
    let p95 = report.delay.percentile(0.95);
    assert!((Duration::from_millis(130)..Duration::from_millis(170)).contains(&p95), "{p95:?}");
    assert!(report.loss() < 0.03, "{}", report.loss());
    let with_call = tcp.report().rate_bps(secs(20), secs(40));
    assert!((5.8e6..6.4e6).contains(&with_call), "{with_call}");
    let flow = net.down().flow(call.flow());
    assert_eq!((flow.offered_packets, flow.delivered_packets), (report.sent, report.arrived));
    let queue = net.down().queue_over_time();
    assert!(queue.longest() <= Duration::from_millis(150) && queue.percentile(0.5) > Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn a_cut_by_hand_takes_what_is_on_the_way() {
    let net = net(clean("fttc"), 1);
    let tcp = net.start_tcp(Direction::Down, TcpParams::default());
    tokio::time::sleep(secs(5)).await;
    net.cut();
    tokio::time::sleep(secs(1)).await;
    net.restore();
    let before = tcp.report().delivered_bytes;
    tokio::time::sleep(secs(5)).await;
    let report = tcp.report();
    assert!(report.delivered_bytes > before + 10_000_000 && report.timeouts > 0, "{report:?}");
}
