//! STAT while a routine transfer fills the line: how long until its first byte is there.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use imgxfer_core::priority::Priority;
use imgxfer_core::sim::line::{LineProfile, VirtualNet};
use imgxfer_core::transport::{Congestion, Session};
use tokio::time::{Instant, sleep};

use super::bulk::{Joined, pack_for};
use super::{Scale, each_seed, in_virtual_time, ms};
use crate::figure::{Bar, Figure};

/// What the routine transfer has before the emergency.
const LATER: Duration = Duration::from_secs(10);
const STAT_BYTES: usize = 256 << 10;

struct Arrival {
    first_ms: f64,
    /// Against the line's rate, from the first byte wanted to the last one there.
    of_line: f64,
}

pub(super) fn figures(scale: Scale) -> anyhow::Result<Vec<Figure>> {
    let up: LineProfile = "adsl".parse()?;
    let down = LineProfile::new(up.down.clone(), up.up.clone());
    let mut figures = Vec::new();
    for (on, line, rate) in [("adsl, up 0.8 Mbit/s", up, 0.8e6), ("adsl, down 8 Mbit/s", down, 8e6)] {
        let all = each_seed(scale, |seed| overtake(&line, rate, seed))?;
        let on = format!("STAT behind routine, {on}");
        // A round trip of 30 ms, and 50 ms.
        figures.push(Figure::new(
            &on,
            "first byte of STAT after, ms",
            all.iter().map(|a| a.first_ms).collect(),
            Bar::AtMost(80.0),
        ));
        let of_line = all.iter().map(|a| a.of_line).collect();
        figures.push(Figure::new(&on, "256 KiB of STAT, share of the line", of_line, Bar::None));
    }
    Ok(figures)
}

fn overtake(line: &LineProfile, rate_bps: f64, seed: u64) -> anyhow::Result<Arrival> {
    in_virtual_time(async {
        let net = VirtualNet::new(line.clone(), seed);
        let joined = Joined::new(&net, 0, Congestion::Rate).await?;
        let (stat, accepted) = joined.another().await?;
        let _routine = joined.session.rank(Priority::Routine);
        let _bulk = joined.bulk(pack_for(line));
        sleep(LATER).await;
        let begun = Instant::now();
        let _rank = stat.rank(Priority::Stat);
        let ((), first) = tokio::try_join!(urgent(&stat), arrival(&accepted))?;
        let bits = f64::from(u32::try_from(STAT_BYTES * 8)?);
        let took = begun.elapsed().as_secs_f64();
        Ok(Arrival { first_ms: ms(first - begun), of_line: bits / took / rate_bps })
    })
}

async fn urgent(session: &Session) -> anyhow::Result<()> {
    let mut stream = session.open_data().await?;
    stream.send(Bytes::from(vec![1; STAT_BYTES])).await?;
    stream.finish()?;
    Ok(stream.received().await?)
}

/// When the first byte came. Returns when all have come.
async fn arrival(session: &Session) -> anyhow::Result<Instant> {
    let mut stream = session.accept_data().await?;
    stream.read_bytes(1).await?.context("an empty stream")?;
    let first = Instant::now();
    stream.read_bytes(STAT_BYTES - 1).await?.context("a short stream")?;
    Ok(first)
}
