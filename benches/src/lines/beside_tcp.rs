//! Ours beside one TCP connection with Cubic, in the foreground and in the background.

use std::time::Duration;

use imgxfer_core::priority::Priority;
use imgxfer_core::sim::line::{Direction, LineProfile, TcpParams, VirtualNet};
use imgxfer_core::transport::Congestion;
use imgxfer_core::units::to_f64;
use tokio::time::sleep;

use super::alone::{Who, Window, alone, rate_of};
use super::bulk::{Joined, pack_for};
use super::{Scale, each_seed, in_virtual_time, line, lossy};
use crate::figure::{Bar, Figure};

/// Bits a second of payload.
struct Shared {
    ours: f64,
    tcp: f64,
}

/// What becomes of a line beside TCP hangs on its few losses: fewer seeds and shorter runs say nothing.
const SECONDS: Duration = Duration::from_secs(30);
const SEEDS_MIN: u64 = 9;
/// Of TCP, when it is there first.
const HEAD_START: Duration = Duration::from_secs(10);

pub(super) fn figures(scale: Scale) -> anyhow::Result<Vec<Figure>> {
    let window = Window::new(Duration::from_secs(10), SECONDS);
    let scale = Scale { seeds: scale.seeds.max(SEEDS_MIN), ..scale };
    let mut figures = Vec::new();
    for (name, line) in [("8 Mbit/s, 30 ms", line(8, 30, 150)), ("40 Mbit/s, 20 ms", line(40, 20, 100))] {
        for percent in [0.0, 0.05] {
            let on = format!("{name}, {percent} % loss, TCP beside");
            figures.extend(on_line(&on, &lossy(line.clone(), percent / 100.0), window, scale)?);
        }
    }
    Ok(figures)
}

fn on_line(on: &str, line: &LineProfile, window: Window, scale: Scale) -> anyhow::Result<Vec<Figure>> {
    let alone = each_seed(scale, |seed| alone(line, &Who::Tcp, window, seed))?;
    let run = |priority, later| each_seed(scale, |seed| beside(line, priority, later, window, seed));
    let share = |all: Vec<Shared>| all.iter().map(|both| 100.0 * both.ours / (both.ours + both.tcp)).collect();
    let together = share(run(Priority::Routine, Duration::ZERO)?);
    let later = share(run(Priority::Routine, HEAD_START)?);
    let background = run(Priority::Background, Duration::ZERO)?;
    let cost = background.iter().zip(&alone).map(|(both, alone)| 100.0 * (1.0 - both.tcp / alone.bps)).collect();
    let rate = to_f64(rate_of(&line.up).unwrap_or(1));
    let filled = background.iter().map(|both| (both.ours + both.tcp) / rate).collect();
    Ok(vec![
        Figure::new(on, "share of the foreground, %", together, Bar::Between(35.0, 60.0)),
        Figure::new(on, "the same 10 s later than TCP, %", later, Bar::None),
        Figure::new(on, "what background takes from TCP, %", cost, Bar::AtMost(10.0)),
        Figure::new(on, "background and TCP, share of the line", filled, Bar::None),
    ])
}

fn beside(
    line: &LineProfile,
    priority: Priority,
    later: Duration,
    window: Window,
    seed: u64,
) -> anyhow::Result<Shared> {
    in_virtual_time(async {
        let net = VirtualNet::new(line.clone(), seed);
        let tcp = net.start_tcp(Direction::Up, TcpParams::default());
        sleep(later).await;
        let joined = Joined::new(&net, 0, Congestion::Rate).await?;
        let _rank = joined.session.rank(priority);
        let bulk = joined.bulk(pack_for(line));
        sleep(window.from).await;
        let before = (bulk.taken(), tcp.report().delivered_bytes);
        sleep(window.to - window.from).await;
        let after = (bulk.taken(), tcp.report().delivered_bytes);
        let bps = |bytes: u64| to_f64(bytes) * 8.0 / window.seconds();
        Ok(Shared { ours: bps(after.0 - before.0), tcp: bps(after.1 - before.1) })
    })
}
