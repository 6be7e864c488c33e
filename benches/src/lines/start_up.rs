//! The first seconds: how much is dropped, and how long the queue gets, before the rate is known.

use std::time::Duration;

use imgxfer_core::sim::line::LineProfile;
use imgxfer_core::transport::Congestion;

use super::alone::{Outcome, Who, Window, alone};
use super::{Scale, each_seed};
use crate::figure::{Bar, Figure};

pub(super) fn figures(scale: Scale) -> anyhow::Result<Vec<Figure>> {
    let mut figures = far(scale)?;
    figures.extend(adsl(scale)?);
    Ok(figures)
}

/// 1 Gbit/s over 80 ms, start included.
fn far(scale: Scale) -> anyhow::Result<Vec<Figure>> {
    let line: LineProfile = "fibre1g-far".parse()?;
    let window = Window::new(Duration::ZERO, Duration::from_secs(10));
    let run = |who: Who| each_seed(scale, |seed| alone(&line, &who, window, seed));
    let ours = run(Who::Ours(Congestion::Rate))?;
    let quinn = run(Who::QuinnDefaults)?;
    let early = Window::new(Duration::ZERO, Duration::from_secs(3));
    let early = each_seed(scale, |seed| alone(&line, &Who::Ours(Congestion::Rate), early, seed))?;
    let of = |outcomes: &[Outcome], value: fn(&Outcome) -> f64| outcomes.iter().map(value).collect::<Vec<_>>();
    let times = ours.iter().zip(&quinn).map(|(o, q)| o.bps / q.bps.max(1.0)).collect();
    let on = "fibre1g-far, start included";
    Ok(vec![
        Figure::new(on, "payload in 10 s, share of the line", of(&ours, |o| o.of_line), Bar::AtLeast(0.86)),
        Figure::new(on, "times quinn's defaults, one stream", times, Bar::AtLeast(5.0)),
        Figure::new(on, "dropped by the queue in 3 s, %", of(&early, |o| o.queue_drops * 100.0), Bar::AtMost(2.0)),
        Figure::new(on, "line bytes for a payload byte", of(&ours, |o| o.wire), Bar::None),
    ])
}

/// One flow on ADSL, up and (the line turned round) down.
fn adsl(scale: Scale) -> anyhow::Result<Vec<Figure>> {
    let up: LineProfile = "adsl".parse()?;
    let down = LineProfile::new(up.down.clone(), up.up.clone());
    let window = Window::new(Duration::ZERO, scale.secs(20));
    let mut figures = Vec::new();
    for (on, line) in [("adsl, up 0.8 Mbit/s", up), ("adsl, down 8 Mbit/s", down)] {
        let run = |who: Who| each_seed(scale, |seed| alone(&line, &who, window, seed));
        let longest = |outcomes: &[Outcome]| outcomes.iter().map(|o| o.queue_longest_ms).collect();
        let ours = longest(&run(Who::Ours(Congestion::Rate))?);
        let tcp = longest(&run(Who::Tcp)?);
        figures.push(Figure::new(on, "longest queue from the start, ms", ours, Bar::AtMost(60.0)));
        figures.push(Figure::new(on, "longest queue of TCP Cubic, ms", tcp, Bar::None));
    }
    Ok(figures)
}
