//! Every named line: our congestion control beside Cubic, in the same transport.

use std::time::Duration;

use imgxfer_core::sim::line::LineProfile;
use imgxfer_core::transport::Congestion;

use super::alone::{Outcome, Who, Window, alone};
use super::{Scale, each_seed};
use crate::figure::{Bar, Figure};

/// What each named line carries of raw bytes from the hospital.
///
/// # Errors
/// When a session ends that should not.
pub fn profiles(scale: Scale, told: &dyn Fn(&str)) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for name in LineProfile::NAMES {
        told(name);
        let line: LineProfile = name.parse()?;
        let window = window_for(&line, scale);
        for (who, congestion) in [("ours", Congestion::Rate), ("Cubic", Congestion::Cubic)] {
            let outcomes = each_seed(scale, |seed| alone(&line, &Who::Ours(congestion.clone()), window, seed))?;
            figures.extend(rows(&format!("{name}, {who}"), &line, &outcomes));
        }
    }
    Ok(figures)
}

/// Long on slow lines; short where every second is a gigabit or more to compute.
fn window_for(line: &LineProfile, scale: Scale) -> Window {
    match line.up.rate_bps {
        Some(..80_000_000) => Window::new(Duration::from_secs(5), scale.secs(30)),
        Some(80_000_000..=200_000_000) => Window::new(Duration::from_secs(3), scale.secs(10)),
        Some(_) => Window::new(Duration::from_secs(2), scale.secs(4)),
        None => Window::new(Duration::from_millis(200), Duration::from_millis(200)),
    }
}

fn rows(on: &str, line: &LineProfile, outcomes: &[Outcome]) -> Vec<Figure> {
    let of = |value: fn(&Outcome) -> f64| outcomes.iter().map(value).collect();
    let mut rows = vec![Figure::new(on, "payload, Mbit/s", of(|o| o.bps * 1e-6), Bar::None)];
    if line.up.rate_bps.is_some() {
        rows.push(Figure::new(on, "payload, share of the line", of(|o| o.of_line), Bar::None));
        rows.push(Figure::new(on, "queue p95, ms", of(|o| o.queue_p95_ms), Bar::None));
    }
    rows.push(Figure::new(on, "line bytes for a payload byte", of(|o| o.wire), Bar::None));
    rows
}
