//! Experiments on simulated lines, in virtual time: what protocol and congestion control make of a line. The machine
//! plays no part in them, and QUIC draws from the seed as the lines do: each seed gives the same figures, to the packet.
//!
//! Each file is one kind of experiment and returns [`Figure`]s; [`experiments`] is all of them. Timers of tokio tick
//! once a millisecond, so on lines of 1 Gbit/s what is sent comes in batches of a millisecond, as it does from a busy
//! machine.

mod alone;
mod beside_call;
mod beside_tcp;
mod bulk;
mod loss;
mod outage;
mod profiles;
mod short_queue;
mod start_up;
mod stat;
mod study;
mod two;

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use imgxfer_core::sim::line::{LineParams, LineProfile};
use tokio::runtime::Builder;

use crate::figure::Figure;

pub use profiles::profiles;
pub use study::{Study, StudyRow, Taken, studies};

/// How much is computed.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Each experiment runs with so many seeds, from 1.
    pub seeds: u64,
    /// Shorter runs, for a first look.
    pub quick: bool,
}

impl Scale {
    fn secs(self, whole: u64) -> Duration {
        Duration::from_secs(if self.quick { whole.div_ceil(4) } else { whole })
    }
}

/// The table of the congestion controller; of `only` those experiments whose name has that in it.
///
/// # Errors
/// When a session ends that should not.
pub fn experiments(scale: Scale, only: Option<&str>, told: &dyn Fn(&str)) -> anyhow::Result<Vec<Figure>> {
    type Experiment = fn(Scale) -> anyhow::Result<Vec<Figure>>;
    let all: [(&str, Experiment); 8] = [
        ("one flow on lines with loss", loss::figures),
        ("short queues and policers", short_queue::figures),
        ("start-up", start_up::figures),
        ("beside TCP", beside_tcp::figures),
        ("two of ours", two::figures),
        ("beside a video call", beside_call::figures),
        ("STAT behind routine", stat::figures),
        ("a line with outages", outage::figures),
    ];
    let mut figures = Vec::new();
    for (name, experiment) in all.into_iter().filter(|(name, _)| only.is_none_or(|only| name.contains(only))) {
        told(name);
        figures.extend(experiment(scale).context(name)?);
    }
    Ok(figures)
}

/// Runs `work` with a clock that stands still while it computes.
///
/// # Errors
/// What `work` says, or that there is no runtime.
fn in_virtual_time<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    Builder::new_current_thread().enable_all().start_paused(true).build()?.block_on(work)
}

/// Runs `work` for each seed, on all cores. Virtual time does not care who else computes.
fn each_seed<T: Send>(scale: Scale, work: impl Fn(u64) -> anyhow::Result<T> + Sync) -> anyhow::Result<Vec<T>> {
    let at_once = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let mut results = Vec::new();
    let mut next = 1;
    while next <= scale.seeds {
        let until = (next + at_once).min(scale.seeds + 1);
        let batch: Vec<anyhow::Result<T>> = std::thread::scope(|threads| {
            let work = &work;
            let all: Vec<_> = (next..until).map(|seed| threads.spawn(move || work(seed))).collect();
            all.into_iter().map(|one| one.join().map_err(|_| anyhow::anyhow!("an experiment panicked"))?).collect()
        });
        for (seed, result) in (next..until).zip(batch) {
            results.push(result.with_context(|| format!("seed {seed}"))?);
        }
        next = until;
    }
    Ok(results)
}

/// A line that is alike both ways: Mbit/s, round trip and queue in ms.
fn line(mbit: u64, rtt_ms: u64, queue_ms: u64) -> LineProfile {
    let one_way = LineParams::new(mbit * 1_000_000, Duration::from_micros(rtt_ms * 500));
    LineProfile::symmetric(one_way.with_queue(Duration::from_millis(queue_ms)))
}

/// Loses this share of packets both ways, each by itself.
fn lossy(line: LineProfile, share: f64) -> LineProfile {
    line.map(|way| way.with_loss(share, 1.0))
}

/// In milliseconds.
fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
