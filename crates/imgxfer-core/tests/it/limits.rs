//! Limits of rate, in virtual time: what is sent, what is fetched, what peers fetch and send.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use imgxfer_core::client::{PullOptions, PullTarget, PushOptions};
use imgxfer_core::codec::{Level, LevelChoice};
use imgxfer_core::pace::{Pace, RateLimit};
use imgxfer_core::progress::{LineFigures, Progress, TransferEvent};
use imgxfer_core::receive::DepotIntake;
use imgxfer_core::send::{FileSource, OtherFiles};
use imgxfer_core::server::{Direction, Host, Rights, TransferWatch};
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::Scope;
use imgxfer_core::testing::pair;
use imgxfer_core::transport::Session;
use tokio::time::Instant;

use crate::virtual_time::Sites;

/// 4 Mbit/s.
const LIMIT: u64 = 500_000;

/// Lets every transfer go under one limit.
struct Limited(RateLimit);

impl Host for Limited {
    fn rights(&self, _: &Session) -> Rights {
        Rights::all()
    }

    fn begin(&self, _: &Session, _: Direction, _: imgxfer_core::priority::Priority) -> Box<dyn TransferWatch> {
        Box::new(Self(self.0.clone()))
    }
}

impl TransferWatch for Limited {
    fn pace(&self) -> Pace {
        Pace::under([self.0.clone()])
    }
}

fn spec() -> StudySpec {
    StudySpec::new(5).with_instances(1, 40).with_size(256, 256)
}

/// What a transfer came to: its counts, how long it took, the newest figures of its line, and how many record
/// bytes at most went over the line in any half second after the first.
struct Run {
    progress: Progress,
    seconds: f64,
    line: LineFigures,
    burst: u64,
}

impl Run {
    fn rate(&self) -> f64 {
        self.progress.payload_bytes as f64 / self.seconds
    }

    /// At the limit, and no faster at any time: what a window of flow control holds would be megabytes.
    fn keeps_to(&self, limit: u64) {
        let share = self.rate() / limit as f64;
        eprintln!("{:.3} of the limit, at most {} bytes in half a second", share, self.burst);
        assert!((0.85..1.02).contains(&share), "{share}");
        assert_eq!(self.line.limit_bytes, Some(limit));
        assert!(self.burst < limit * 3 / 4, "{} bytes in half a second", self.burst);
    }
}

/// Notes how the line's bytes grow.
#[derive(Default)]
struct Watch(Mutex<Noted>);

#[derive(Default)]
struct Noted {
    bytes: Vec<(Instant, u64)>,
    line: Option<LineFigures>,
}

impl Watch {
    fn note(&self, event: &TransferEvent) {
        let TransferEvent::Progress(progress) = event else { return };
        let mut state = self.0.lock().unwrap();
        state.bytes.push((Instant::now(), progress.line_bytes));
        state.line = progress.line.or(state.line);
    }

    fn run(&self, progress: Progress, begun: Instant) -> Run {
        let state = self.0.lock().unwrap();
        let grown = |(from, before): &(Instant, u64)| {
            let end = *from + Duration::from_millis(500);
            state.bytes.iter().take_while(|(at, _)| *at <= end).last().map_or(0, |(_, bytes)| bytes - before)
        };
        let late = state.bytes.iter().filter(|(at, _)| *at > begun + Duration::from_millis(500));
        let burst = late.map(grown).max().unwrap_or(0);
        Run { progress, seconds: begun.elapsed().as_secs_f64(), line: state.line.unwrap(), burst }
    }
}

async fn push(sites: &Sites, pace: Pace) -> Run {
    let folder = tempfile::tempdir().unwrap();
    spec().write_to(folder.path()).unwrap();
    let paths = [folder.path().to_owned()];
    let source = || Box::new(FileSource::new(&paths, OtherFiles::Skip)) as _;
    // A fixed level: in virtual time all of them take no time.
    let options = PushOptions::default().with_level(LevelChoice::Fixed(Level::FAST)).with_pace(pace);
    let (watch, begun) = (Watch::default(), Instant::now());
    let observer = |event: &TransferEvent| watch.note(event);
    let report = sites.client.push(&sites.dial(), source, &options, &observer).await.unwrap();
    assert!(report.receipt.complete);
    watch.run(report.progress, begun)
}

async fn pull(sites: &Sites, pace: Pace) -> Run {
    let here = pair::Site::default();
    let depot = here.depot.clone();
    let intake = move |peer| Ok(Arc::new(DepotIntake::new(&depot, peer, Scope::owner(peer))?) as _);
    let target = PullTarget::study(spec().study_uid());
    let options = PullOptions::default().with_level(LevelChoice::Fixed(Level::FAST)).with_pace(pace);
    let (watch, begun) = (Watch::default(), Instant::now());
    let observer = |event: &TransferEvent| watch.note(event);
    let report = sites.client.pull(&sites.dial(), &target, intake, &options, &observer).await.unwrap();
    assert_eq!(here.visible().len(), 40);
    watch.run(report.progress, begun)
}

#[tokio::test(start_paused = true)]
async fn what_this_side_limits_goes_at_the_limit() {
    let site = pair::Site::default();
    let sites = Sites::new("fibre100", &site.depot, 1);
    push(&sites, Pace::under([RateLimit::of(LIMIT)])).await.keeps_to(LIMIT);
    pull(&sites, Pace::under([RateLimit::of(LIMIT)])).await.keeps_to(LIMIT);
    let free = pull(&sites, Pace::default()).await;
    assert!(free.rate() > 8.0 * LIMIT as f64 && free.line.limit_bytes.is_none(), "{}", free.rate());
}

#[tokio::test(start_paused = true)]
async fn what_the_other_side_limits_goes_at_the_limit() {
    let site = pair::Site::default();
    let mut sites = Sites::new("fibre100", &site.depot, 2);
    sites.kill_cloud().await;
    let limit = RateLimit::of(LIMIT);
    sites.serve_by(&site.depot, Arc::new(Limited(limit.clone())));
    push(&sites, Pace::default()).await.keeps_to(LIMIT);
    let pulled = pull(&sites, Pace::default()).await;
    let share = pulled.rate() / LIMIT as f64;
    assert!((0.85..1.02).contains(&share), "{share}");
    limit.set(None);
    assert!(pull(&sites, Pace::default()).await.rate() > 8.0 * LIMIT as f64);
}

/// So slow that one record takes longer than either side waits for a sign of life.
#[tokio::test(start_paused = true)]
async fn a_record_that_takes_minutes_is_no_standstill() {
    let site = pair::Site::default();
    let sites = Sites::new("fibre100", &site.depot, 3);
    let run = push(&sites, Pace::under([RateLimit::of(2_000)])).await;
    assert!(run.seconds > 600.0, "{}", run.seconds);
}
