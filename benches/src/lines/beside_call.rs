//! A video call beside a bulk transfer: how late the call's packets come, and how many never do.

use std::time::Duration;

use imgxfer_core::priority::Priority;
use imgxfer_core::sim::line::{CallParams, Direction, LineProfile, VirtualNet};
use imgxfer_core::transport::Congestion;
use imgxfer_core::units::to_f64;
use tokio::time::sleep;

use super::bulk::{Joined, pack_for};
use super::{Scale, each_seed, in_virtual_time, line, ms};
use crate::figure::{Bar, Figure};

/// The call begins when the transfer has found its rate.
const LATER: Duration = Duration::from_secs(3);

struct Heard {
    delay_p95_ms: f64,
    loss_percent: f64,
    bulk_mbit: f64,
}

pub(super) fn figures(scale: Scale) -> anyhow::Result<Vec<Figure>> {
    let line = line(8, 30, 150);
    let length = scale.secs(30);
    let cases = [
        ("a foreground transfer", Congestion::Rate, Priority::Routine, Bar::AtMost(50.0), Bar::AtMost(0.1)),
        ("a background transfer", Congestion::Rate, Priority::Background, Bar::AtMost(35.0), Bar::AtMost(0.1)),
        ("quinn's Cubic", Congestion::Cubic, Priority::Routine, Bar::None, Bar::None),
    ];
    let mut figures = Vec::new();
    for (name, congestion, priority, delay, loss) in cases {
        let on = format!("call of 1.5 of 8 Mbit/s beside {name}");
        let heard = each_seed(scale, |seed| beside(&line, &congestion, priority, length, seed))?;
        let of = |value: fn(&Heard) -> f64| heard.iter().map(value).collect();
        figures.push(Figure::new(&on, "one-way delay p95, ms", of(|h| h.delay_p95_ms), delay));
        figures.push(Figure::new(&on, "call packets lost, %", of(|h| h.loss_percent), loss));
        figures.push(Figure::new(&on, "transfer, Mbit/s", of(|h| h.bulk_mbit), Bar::None));
    }
    Ok(figures)
}

fn beside(
    line: &LineProfile,
    congestion: &Congestion,
    priority: Priority,
    length: Duration,
    seed: u64,
) -> anyhow::Result<Heard> {
    in_virtual_time(async {
        let net = VirtualNet::new(line.clone(), seed);
        let joined = Joined::new(&net, 0, congestion.clone()).await?;
        let _rank = joined.session.rank(priority);
        let bulk = joined.bulk(pack_for(line));
        sleep(LATER).await;
        let before = bulk.taken();
        let call = net.start_call(Direction::Up, CallParams::default());
        sleep(length).await;
        let report = call.report();
        Ok(Heard {
            delay_p95_ms: ms(report.delay.percentile(0.95)),
            loss_percent: 100.0 * report.loss(),
            bulk_mbit: to_f64(bulk.taken() - before) * 8e-6 / length.as_secs_f64(),
        })
    })
}
