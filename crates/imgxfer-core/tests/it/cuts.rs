//! Lines that are cut, and ends that die, at any moment of a transfer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use imgxfer_core::client::{PullOptions, PullReport, PullTarget, PushOptions, PushReport, RetryPolicy};
use imgxfer_core::codec::{Level, LevelChoice};
use imgxfer_core::error::TransferError;
use imgxfer_core::ids::StudyUid;
use imgxfer_core::progress::{Observer, TransferEvent};
use imgxfer_core::receive::DepotIntake;
use imgxfer_core::send::{FileSource, OtherFiles};
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::Scope;
use imgxfer_core::testing::pair;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::harness::rows;
use crate::virtual_time::Sites;

/// Nearly 4 MB: 100 instances of 128 x 128 pixels, eight to a record.
fn study() -> StudySpec {
    StudySpec::new(77).with_instances(2, 50).with_size(128, 128)
}

struct Study {
    folder: tempfile::TempDir,
    hashes: BTreeSet<[u8; 32]>,
    bytes: u64,
    uid: StudyUid,
}

impl Study {
    fn write() -> Self {
        let (folder, spec) = (tempfile::tempdir().unwrap(), study());
        let files = spec.write_to(folder.path()).unwrap();
        let read = |path: &PathBuf| std::fs::read(path).unwrap();
        let hashes = files.iter().map(|path| *blake3::hash(&read(path)).as_bytes()).collect();
        let bytes = files.iter().map(|path| read(path).len() as u64).sum();
        Self { folder, hashes, bytes, uid: spec.study_uid() }
    }
}

fn nothing(_: &TransferEvent) {}

/// Waits as long for the first connection, in which a cut may fall, as for later ones.
fn patient() -> RetryPolicy {
    RetryPolicy::default().reaching_within(RetryPolicy::default().give_up_after)
}

async fn push(sites: &Sites, folder: &Path, observer: &dyn Observer) -> Result<PushReport, TransferError> {
    let paths = [folder.to_owned()];
    let source = || Box::new(FileSource::new(&paths, OtherFiles::Skip)) as _;
    // A fixed level, so that two runs put the same bytes on the line.
    let options = PushOptions::default().with_level(LevelChoice::Fixed(Level::FAST)).with_retry(patient());
    sites.client.push(&sites.dial(), source, &options, observer).await
}

/// A site that has the study already.
fn stocked(study: &Study) -> pair::Site {
    let site = pair::Site::default();
    let items = study_items(study);
    let outcome = pair::Drive::new(&site, &items, 1).run();
    assert!(outcome.settled.is_some());
    site
}

fn study_items(study: &Study) -> Vec<Vec<pair::Item>> {
    let mut files: Vec<_> = std::fs::read_dir(study.folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    vec![files.iter().map(|path| pair::Item::dicom(std::fs::read(path).unwrap())).collect()]
}

async fn pull(sites: &Sites, study: &Study, into: &pair::Site) -> Result<PullReport, TransferError> {
    let depot = into.depot.clone();
    let intake = move |peer| Ok(Arc::new(DepotIntake::new(&depot, peer, Scope::owner(peer))?) as _);
    let target = PullTarget::study(study.uid.clone());
    sites.client.pull(&sites.dial(), &target, intake, &PullOptions::default().with_retry(patient()), &nothing).await
}

/// What a cut cost, over many cuts.
struct Costs {
    what: &'static str,
    /// Payload of a run without a cut, and what the line delivered in it.
    clean: (u64, u64),
    study: u64,
    /// The same less a clean run's, for each cut.
    payload_again: Vec<u64>,
    line_again: Vec<u64>,
}

impl Costs {
    fn add(&mut self, payload: u64, line: u64) {
        self.payload_again.push(payload.saturating_sub(self.clean.0));
        self.line_again.push(line.saturating_sub(self.clean.1));
    }

    /// Prints the distributions; fails when one cut cost more than 1 % of the study and what was in flight.
    ///
    /// Two counts, each over all connections and less a clean run's. What the line delivered: all packets that
    /// came out of it in the direction of the study, handshakes and the manifest's second offer included.
    /// Payload: whole records, at a sender those handed to the transport, and so those too that waited there
    /// for the line; at a receiver those kept.
    fn check(mut self) {
        for (what, again) in [("delivered", &mut self.line_again), ("payload", &mut self.payload_again)] {
            again.sort_unstable();
            let at = |part: usize| again[(again.len() - 1) * part / 100] / 1000;
            eprintln!(
                "{}, {} cuts, study {} kB, payload {} kB; {what} again, kB: least {}, median {}, 90 % {}, most {}",
                self.what,
                again.len(),
                self.study / 1000,
                self.clean.0 / 1000,
                at(0),
                at(50),
                at(90),
                at(100)
            );
        }
        let most = |again: &[u64]| again.last().copied().unwrap_or(0);
        assert!(most(&self.line_again) <= self.study / 100 + LINE_IN_FLIGHT_BYTES, "{}", most(&self.line_again));
        assert!(most(&self.payload_again) <= self.study / 100 + IN_FLIGHT_BYTES, "{}", most(&self.payload_again));
    }
}

/// Records of up to 256 KiB that may be handed to the transport and not kept: four on streams, four being verified.
const IN_FLIGHT_BYTES: u64 = 8 * 256 * 1024;
/// Of those, what may have come out of the line already and not be kept: four streams that each end within a
/// record, and what waits behind a gap. When a young connection has overrun the queue of the line and is
/// filling its gaps, that is up to a third of a second of the line: 1 to 1.5 MB at 40 Mbit/s.
const LINE_IN_FLIGHT_BYTES: u64 = 2 << 20;

/// Numbers between 0 and 1 that are spread evenly and in no order.
fn spread(count: u32) -> impl Iterator<Item = f64> {
    (1..=count).map(|n| (f64::from(n) * 0.618_033_988_749_895).fract())
}

#[tokio::test(start_paused = true)]
async fn a_push_cut_at_a_hundred_moments_sends_little_again() {
    let study = Study::write();
    let begun = Instant::now();
    let clean = {
        let site = pair::Site::default();
        let sites = Sites::new("fttc", &site.depot, 1);
        let report = push(&sites, study.folder.path(), &nothing).await.unwrap();
        (report.progress.payload_bytes, sites.net.up().counters().delivered_bytes)
    };
    let took = begun.elapsed();
    let mut costs =
        Costs { what: "push", clean, study: study.bytes, payload_again: Vec::new(), line_again: Vec::new() };
    for (seed, part) in (2..).zip(spread(100)) {
        let site = pair::Site::default();
        let sites = Sites::new("fttc", &site.depot, seed);
        let cut = sites.cut_once(took.mul_f64(part));
        let report = push(&sites, study.folder.path(), &nothing).await.unwrap();
        cut.abort();
        assert!(report.receipt.complete, "cut at {part} of the way");
        assert_eq!(site.visible(), study.hashes, "cut at {part} of the way");
        costs.add(report.progress.payload_bytes, sites.net.up().counters().delivered_bytes);
    }
    costs.check();
}

#[tokio::test(start_paused = true)]
async fn a_pull_cut_at_thirty_moments_sends_little_again() {
    let study = Study::write();
    let there = stocked(&study);
    let begun = Instant::now();
    let clean = {
        let sites = Sites::new("fttc", &there.depot, 1);
        let report = pull(&sites, &study, &pair::Site::default()).await.unwrap();
        (report.progress.payload_bytes, sites.net.down().counters().delivered_bytes)
    };
    let took = begun.elapsed();
    let mut costs =
        Costs { what: "pull", clean, study: study.bytes, payload_again: Vec::new(), line_again: Vec::new() };
    for (seed, part) in (2..).zip(spread(30)) {
        let here = pair::Site::default();
        let sites = Sites::new("fttc", &there.depot, seed);
        let cut = sites.cut_once(took.mul_f64(part));
        let report = pull(&sites, &study, &here).await.unwrap();
        cut.abort();
        assert!(report.receipt.complete, "cut at {part} of the way");
        assert_eq!(here.visible(), study.hashes, "cut at {part} of the way");
        costs.add(report.progress.payload_bytes, sites.net.down().counters().delivered_bytes);
    }
    costs.check();
}

/// Tells when so much of a transfer has arrived.
struct Halfway {
    bytes: u64,
    there: Notify,
}

impl Observer for Halfway {
    fn on_event(&self, event: &TransferEvent) {
        if let TransferEvent::Progress(progress) = event
            && progress.bytes_arrived >= self.bytes
        {
            self.there.notify_one();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_is_dropped_resumes() {
    let study = Study::write();
    let site = pair::Site::default();
    let sites = Sites::new("fttc", &site.depot, 1);
    let halfway = Halfway { bytes: study.bytes / 2, there: Notify::new() };
    tokio::select! {
        done = push(&sites, study.folder.path(), &halfway) => panic!("not halfway yet: {done:?}"),
        () = halfway.there.notified() => {}
    }
    assert!(site.visible().is_subset(&study.hashes));
    let report = push(&sites, study.folder.path(), &nothing).await.unwrap();
    assert_eq!(site.visible(), study.hashes);
    assert!(report.progress.bytes_present >= study.bytes * 2 / 5, "{:?}", report.progress);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_dies_is_found_again() {
    let study = Study::write();
    let site = pair::Site::default();
    let mut sites = Sites::new("fttc", &site.depot, 1);
    let halfway = Halfway { bytes: study.bytes / 2, there: Notify::new() };
    tokio::select! {
        done = push(&sites, study.folder.path(), &halfway) => panic!("not halfway yet: {done:?}"),
        () = halfway.there.notified() => {}
    }
    sites.kill_cloud().await;
    assert!(site.visible().is_subset(&study.hashes));
    sites.serve(&site.depot);
    let report = push(&sites, study.folder.path(), &nothing).await.unwrap();
    assert_eq!(site.visible(), study.hashes);
    assert!(report.progress.bytes_present >= study.bytes * 2 / 5, "{:?}", report.progress);
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_is_dropped_resumes() {
    let study = Study::write();
    let (there, here) = (stocked(&study), pair::Site::default());
    let sites = Sites::new("adsl", &there.depot, 1);
    let enough = tokio::time::sleep(Duration::from_millis(500));
    tokio::select! {
        done = pull(&sites, &study, &here) => panic!("done too soon: {done:?}"),
        () = enough => {}
    }
    assert!(here.visible().is_subset(&study.hashes));
    let report = pull(&sites, &study, &here).await.unwrap();
    assert_eq!(here.visible(), study.hashes);
    assert!(report.progress.bytes_present > 0, "{:?}", report.progress);
    let rows = rows(here.depot.index.as_ref());
    assert_eq!((rows.len(), rows[0].arriving), (1, false));
}
