//! A push over bad copper that is cut for five seconds every thirty: it must finish, and send again no more than what
//! was on the way, and probes.

use std::fs;
use std::time::Duration;

use imgxfer_core::sim::line::{LineCounters, LineProfile, VirtualNet};
use imgxfer_core::transport::Congestion;
use imgxfer_core::units::to_f64;
use tempfile::TempDir;

use super::alone::rate_of;
use super::study::push_over;
use super::{Scale, each_seed, in_virtual_time};
use crate::figure::{Bar, Figure};

const PERIOD: Duration = Duration::from_secs(30);
const LASTS: Duration = Duration::from_secs(5);
/// A minute of 0.5 Mbit/s.
const FILES: u8 = 16;
const FILE_BYTES: usize = 256 << 10;

pub(super) fn figures(scale: Scale) -> anyhow::Result<Vec<Figure>> {
    let line: LineProfile = "bad-copper".parse()?;
    let cut = line.clone().map(|way| way.with_outages_every(PERIOD, LASTS));
    let study = study()?;
    let calm = each_seed(scale, |seed| over(&line, &study, seed))?;
    let cut = each_seed(scale, |seed| over(&cut, &study, seed))?;
    // A full queue and a round trip: more cannot be on the way.
    let holds = to_f64(rate_of(&line.up).unwrap_or(1)) / 8.0 * (2 * line.up.delay + line.up.queue).as_secs_f64();
    let again = calm.iter().zip(&cut).map(|(calm, cut)| cut.again(calm) / holds).collect();
    let beyond = calm.iter().zip(&cut).map(|(calm, cut)| cut.beyond(calm)).collect();
    let on = "bad-copper, cut for 5 s every 30 s";
    Ok(vec![
        Figure::new(on, "outages until a push of 4 MiB was whole", cut.iter().map(Push::outages).collect(), Bar::None),
        // What was on the way, and the probes that QUIC sends while there is no line.
        Figure::new(on, "sent again an outage, of what the line holds", again, Bar::AtMost(1.5)),
        Figure::new(on, "time lost an outage beyond its own, s", beyond, Bar::None),
    ])
}

/// Files that no codec makes smaller.
fn study() -> anyhow::Result<TempDir> {
    let folder = TempDir::new()?;
    for file in 0..FILES {
        let mut noise = vec![0; FILE_BYTES];
        blake3::Hasher::new().update(&[file]).finalize_xof().fill(&mut noise);
        fs::write(folder.path().join(format!("{file}.bin")), noise)?;
    }
    Ok(folder)
}

/// How one push went.
struct Push {
    seconds: f64,
    up: LineCounters,
}

impl Push {
    fn outages(&self) -> f64 {
        (self.seconds / PERIOD.as_secs_f64()).floor()
    }

    /// Bytes an outage that it swallowed, or that came twice because of it.
    fn again(&self, calm: &Self) -> f64 {
        let packet = to_f64(self.up.offered_bytes) / to_f64(self.up.offered_packets.max(1));
        let swallowed = to_f64(self.up.dropped_outage) * packet;
        let twice = to_f64(self.up.delivered_bytes) - to_f64(calm.up.delivered_bytes);
        (swallowed + twice.max(0.0)) / self.outages().max(1.0)
    }

    /// Seconds an outage, without those that the line was cut.
    fn beyond(&self, calm: &Self) -> f64 {
        (self.seconds - calm.seconds) / self.outages().max(1.0) - LASTS.as_secs_f64()
    }
}

/// An error if not every byte arrives.
fn over(line: &LineProfile, study: &TempDir, seed: u64) -> anyhow::Result<Push> {
    in_virtual_time(async {
        let net = VirtualNet::new(line.clone(), seed);
        let seconds = push_over(&net, study.path(), Congestion::Rate).await?;
        Ok(Push { seconds, up: net.up().counters() })
    })
}
