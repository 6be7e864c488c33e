//! Lines that drop instead of queueing: a buffer of 5 ms, and a policer without any.

use std::time::Duration;

use imgxfer_core::sim::line::{LineParams, LineProfile};
use imgxfer_core::transport::Congestion;

use super::alone::{Who, Window, alone};
use super::{Scale, each_seed, line};
use crate::figure::{Bar, Figure};

/// What the policers allow, bits a second.
const POLICED_BPS: u64 = 50_000_000;

pub(super) fn figures(scale: Scale) -> anyhow::Result<Vec<Figure>> {
    let window = Window::new(Duration::from_secs(5), scale.secs(20));
    let mut figures = Vec::new();
    for (on, line) in lines() {
        let run = |who: Who| each_seed(scale, |seed| alone(&line, &who, window, seed));
        let ours = run(Who::Ours(Congestion::Rate))?;
        let cubic = run(Who::Ours(Congestion::Cubic))?;
        let tcp = run(Who::Tcp)?;
        let shares = |outcomes: &[super::alone::Outcome]| outcomes.iter().map(|o| o.of_line).collect();
        let wire = ours.iter().map(|o| o.wire).collect();
        figures.push(Figure::new(&on, "payload, share of the line", shares(&ours), Bar::AtLeast(0.90)));
        figures.push(Figure::new(&on, "line bytes for a payload byte", wire, Bar::AtMost(1.06)));
        figures.push(Figure::new(&on, "quinn's Cubic, share of the line", shares(&cubic), Bar::None));
        figures.push(Figure::new(&on, "TCP Cubic, share of the line", shares(&tcp), Bar::None));
    }
    Ok(figures)
}

fn lines() -> Vec<(String, LineProfile)> {
    let mut lines = vec![("50 Mbit/s, 20 ms, queue of 5 ms".to_owned(), line(50, 20, 5))];
    let mut way = LineParams::default();
    way.delay = Duration::from_millis(10);
    for bucket_kb in [64, 250] {
        let up = way.clone().with_policer(POLICED_BPS, bucket_kb * 1_000);
        let policed = LineProfile::new(up, way.clone());
        lines.push((format!("policed to 50 Mbit/s, 20 ms, bucket of {bucket_kb} kB"), policed));
    }
    lines
}
