//! The competitor alone on lines, against what is known of the real one.

use crate::sim::line::{Direction, LineParams, LineProfile, TcpParams, TcpReport, VirtualNet};
use crate::units::to_f64;
use std::time::Duration;

const MBIT: f64 = 1e6;
const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A connection alone on a line for `seconds`; its share of the line's rate from second 2.
async fn alone(line: LineParams, seconds: u64, seed: u64) -> (f64, TcpReport) {
    let rate = line.rate_bps.unwrap();
    let net = VirtualNet::new(LineProfile::symmetric(line), seed);
    let tcp = net.start_tcp(Direction::Up, TcpParams::default());
    tokio::time::sleep(secs(seconds)).await;
    let report = tcp.report();
    (report.rate_bps(secs(2), secs(seconds)) / to_f64(rate), report)
}

fn named(name: &str) -> LineParams {
    name.parse::<LineProfile>().unwrap().down.with_loss(0.0, 1.0)
}

#[tokio::test(start_paused = true)]
async fn probe() {
    for (name, line) in [
        ("adsl", named("adsl")),
        ("fttc", named("fttc")),
        ("fibre100", named("fibre100")),
        ("fibre1g", named("fibre1g")),
        ("fibre1g-far", named("fibre1g-far")),
        ("adsl .1", named("adsl").with_loss(0.001, 1.0)),
        ("adsl .5", named("adsl").with_loss(0.005, 1.0)),
        ("adsl 1", named("adsl").with_loss(0.01, 1.0)),
        ("adsl 3", named("adsl").with_loss(0.03, 1.0)),
        ("40/20 1", named("fttc").with_loss(0.01, 1.0)),
        ("40/20 .05", named("fttc").with_loss(0.0005, 1.0)),
        ("1g .01", named("fibre1g").with_loss(0.0001, 1.0)),
        ("1g .1", named("fibre1g").with_loss(0.001, 1.0)),
        ("50/5ms", LineParams::new(50_000_000, Duration::from_millis(10)).with_queue(Duration::from_millis(5))),
        ("policer", LineParams::new(50_000_000, Duration::from_millis(10)).with_policer(40_000_000, 50_000)),
    ] {
        let t = std::time::Instant::now();
        let (share, r) = alone(line, 20, 1).await;
        println!(
            "{name}: {share:.3} seg {} re {} red {} to {} wall {:?}",
            r.segments,
            r.retransmitted,
            r.reductions,
            r.timeouts,
            t.elapsed()
        );
    }
}
