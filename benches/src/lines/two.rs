//! Two of ours on one line.

use std::time::Duration;

use imgxfer_core::sim::line::{LineProfile, VirtualNet};
use imgxfer_core::transport::Congestion;
use imgxfer_core::units::to_f64;
use tokio::time::sleep;

use super::alone::{Window, rate_of};
use super::bulk::{Joined, pack_for};
use super::{Scale, each_seed, in_virtual_time, line, ms};
use crate::figure::{Bar, Figure};

/// The second begins so much later, when the first has found its rate.
const LATER: Duration = Duration::from_secs(5);

struct Pair {
    /// Of the first, %.
    share: f64,
    of_line: f64,
    queue_p95_ms: f64,
}

pub(super) fn figures(scale: Scale) -> anyhow::Result<Vec<Figure>> {
    let window = Window::new(Duration::from_secs(10), scale.secs(30));
    let mut figures = Vec::new();
    for (on, line) in
        [("8 Mbit/s, 30 ms, two of ours", line(8, 30, 150)), ("40 Mbit/s, 20 ms, two of ours", line(40, 20, 100))]
    {
        let pairs = each_seed(scale, |seed| both(&line, window, seed))?;
        let of = |value: fn(&Pair) -> f64| pairs.iter().map(value).collect();
        figures.push(Figure::new(on, "share of the first, %", of(|p| p.share), Bar::Between(45.0, 55.0)));
        figures.push(Figure::new(on, "queue p95, ms", of(|p| p.queue_p95_ms), Bar::AtMost(60.0)));
        figures.push(Figure::new(on, "payload of both, share of the line", of(|p| p.of_line), Bar::None));
    }
    Ok(figures)
}

fn both(line: &LineProfile, window: Window, seed: u64) -> anyhow::Result<Pair> {
    in_virtual_time(async {
        let net = VirtualNet::new(line.clone(), seed);
        let first = Joined::new(&net, 0, Congestion::Rate).await?;
        let one = first.bulk(pack_for(line));
        sleep(LATER).await;
        let second = Joined::new(&net, 1, Congestion::Rate).await?;
        let other = second.bulk(pack_for(line));
        sleep(window.from).await;
        let before = (one.taken(), other.taken());
        sleep(window.to - window.from).await;
        let (one, other) = (to_f64(one.taken() - before.0), to_f64(other.taken() - before.1));
        let rate = to_f64(rate_of(&line.up).unwrap_or(1));
        Ok(Pair {
            share: 100.0 * one / (one + other),
            of_line: (one + other) * 8.0 / window.seconds() / rate,
            queue_p95_ms: ms(net.up().queue_over_time().percentile(0.95)),
        })
    })
}
