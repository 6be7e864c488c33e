//! One flow on lines that lose packets, beside Cubic.

use std::time::Duration;

use imgxfer_core::sim::line::LineProfile;
use imgxfer_core::transport::Congestion;

use super::alone::{Outcome, Who, Window, alone};
use super::{Scale, each_seed, line, lossy};
use crate::figure::{Bar, Figure};

/// A line, and what must be reached on it.
struct Case {
    on: String,
    line: LineProfile,
    window: Window,
    of_line: Bar,
    wire: Bar,
    /// Against Cubic.
    times: Bar,
}

pub(super) fn figures(scale: Scale) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for case in cases(scale) {
        figures.extend(case.figures(scale)?);
    }
    Ok(figures)
}

fn cases(scale: Scale) -> Vec<Case> {
    let copper = Window::new(Duration::from_secs(5), scale.secs(30));
    let fibre = Window::new(Duration::from_secs(1), scale.secs(4));
    let case = |mbit, rtt, queue, percent: f64, window, of_line, wire, times| Case {
        on: format!("{mbit} Mbit/s, {rtt} ms, {percent} % loss"),
        line: lossy(line(mbit, rtt, queue), percent / 100.0),
        window,
        of_line: Bar::AtLeast(of_line),
        wire,
        times,
    };
    let wire = Bar::AtMost(1.12);
    vec![
        case(8, 30, 150, 0.0, copper, 0.94, wire, Bar::None),
        case(8, 30, 150, 0.1, copper, 0.93, wire, Bar::None),
        case(8, 30, 150, 1.0, copper, 0.92, wire, Bar::AtLeast(1.8)),
        case(8, 30, 150, 3.0, copper, 0.90, wire, Bar::AtLeast(3.0)),
        case(40, 20, 100, 1.0, copper, 0.92, Bar::None, Bar::None),
        case(1_000, 10, 20, 0.0, fibre, 0.92, Bar::None, Bar::None),
        case(1_000, 10, 20, 0.01, fibre, 0.92, Bar::None, Bar::AtLeast(3.0)),
        case(1_000, 10, 20, 0.1, fibre, 0.92, Bar::None, Bar::None),
    ]
}

impl Case {
    fn figures(&self, scale: Scale) -> anyhow::Result<Vec<Figure>> {
        let run = |who: &Who| each_seed(scale, |seed| alone(&self.line, who, self.window, seed));
        let ours = run(&Who::Ours(Congestion::Rate))?;
        let cubic = run(&Who::Ours(Congestion::Cubic))?;
        let tcp = run(&Who::Tcp)?;
        let share = |outcomes: &[Outcome]| outcomes.iter().map(|o| o.of_line).collect::<Vec<_>>();
        let times = |others: &[Outcome]| ours.iter().zip(others).map(|(o, c)| o.bps / c.bps.max(1.0)).collect();
        let figure = |what, values, bar| Figure::new(&self.on, what, values, bar);
        Ok(vec![
            figure("payload, share of the line", share(&ours), self.of_line),
            figure("line bytes for a payload byte", ours.iter().map(|o| o.wire).collect(), self.wire),
            figure("queue p95, ms", ours.iter().map(|o| o.queue_p95_ms).collect(), Bar::None),
            figure("quinn's Cubic, share of the line", share(&cubic), Bar::None),
            figure("times quinn's Cubic", times(&cubic), self.times),
            figure("TCP Cubic, share of the line", share(&tcp), Bar::None),
            figure("times TCP Cubic", times(&tcp), self.times),
        ])
    }
}
