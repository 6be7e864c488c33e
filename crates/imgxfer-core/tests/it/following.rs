//! A pull of what is still arriving, or changes meanwhile, never ends as if it were whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use imgxfer_core::client::{
    Client, PullOptions, PullReport, PullTarget, PushOptions, PushReport, RetryPolicy, Shortfall,
};
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::Unwanted;
use imgxfer_core::error::TransferError;
use imgxfer_core::ids::PeerId;
use imgxfer_core::progress::{Observer, TransferEvent};
use imgxfer_core::receive::FolderIntake;
use imgxfer_core::send::{FileSource, Following, OtherFiles, Selection, Source, SourceItem, Totals};
use imgxfer_core::server::Rights;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::Scope;
use imgxfer_core::transport::Identity;
use tokio::task::JoinHandle;

use crate::harness::{Site, client_of, contents, depot_at, push, rows};

/// Gives `first` files, and the others once it may.
struct Gated {
    files: FileSource,
    first: usize,
    open: Arc<AtomicBool>,
}

impl Source for Gated {
    fn totals(&self) -> Totals {
        self.files.totals()
    }

    fn next_item(&mut self) -> std::io::Result<Option<SourceItem>> {
        if self.first == 0 && !self.open.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
            return Ok(Some(SourceItem::Nothing));
        }
        self.first = self.first.saturating_sub(1);
        self.files.next_item()
    }
}

/// A site that a study of six images is being sent to, of which some have arrived.
struct Arriving {
    site: Site,
    client: Client,
    study: StudySpec,
    open: Arc<AtomicBool>,
    push: JoinHandle<Result<PushReport, TransferError>>,
    _folders: [tempfile::TempDir; 2],
}

impl Arriving {
    /// Sends `sent` images before, as the whole study, and then all six; `first` of these have arrived.
    async fn start(sent: usize, first: usize) -> Self {
        let (store, input) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let site = Site::start(Identity::generate().unwrap(), depot_at(store.path()), Rights::all());
        let client = client_of(&site);
        let study = StudySpec::new(5).with_instances(1, 6).with_size(32, 32);
        study.write_to(input.path()).unwrap();
        let mut paths: Vec<_> = contents(input.path()).into_iter().map(|(_, path)| path).collect();
        paths.sort();
        if sent > 0 {
            push(&client, &site, &paths[..sent], OtherFiles::Skip).await.0.unwrap().complete().unwrap();
        }
        let open = Arc::new(AtomicBool::new(false));
        let (gate, sender, dial) = (Arc::clone(&open), client.clone(), site.dial.clone());
        let push = tokio::spawn(async move {
            let source = || {
                let files = FileSource::new(&paths, OtherFiles::Skip);
                Box::new(Gated { files, first, open: Arc::clone(&gate) }) as _
            };
            let options = PushOptions::default().with_retry(RetryPolicy::once());
            sender.push(&dial, source, &options, &|_: &_| {}).await
        });
        let all = Self { site, client, study, open, push, _folders: [store, input] };
        all.until(|rows| rows.iter().any(|(arriving, has)| *arriving && *has == first.max(sent))).await;
        all
    }

    /// Waits until what is there of the study (whether more arrives, instances) is as it should be.
    async fn until(&self, is: impl Fn(&[(bool, usize)]) -> bool + Send + Sync) {
        let look = async {
            loop {
                let rows = rows(&*self.site.depot.index);
                let rows: Vec<_> = rows.iter().map(|row| (row.arriving, row.instances as usize)).collect();
                if is(&rows) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), look).await.expect("it comes to that");
    }

    async fn pull(&self, target: PullTarget, now: bool, observer: &dyn Observer) -> (PullReport, usize) {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().to_owned();
        let open = move |peer: PeerId| {
            Ok(Arc::new(FolderIntake::open(&path, peer, Registry::default())?)
                as Arc<dyn imgxfer_core::receive::Intake>)
        };
        let options = PullOptions::default().with_retry(RetryPolicy::once()).with_now(now);
        let report = self.client.pull(&self.site.dial, &target, open, &options, observer).await.unwrap();
        let files = contents(out.path()).into_iter().filter(|(_, path)| path.extension().is_some_and(|e| e == "dcm"));
        (report, files.count())
    }

    /// Lets the rest come, whole.
    async fn finish(self) {
        self.open.store(true, Ordering::Relaxed);
        self.push.await.unwrap().unwrap().complete().unwrap();
        self.site.stop().await;
    }

    fn target(&self) -> PullTarget {
        PullTarget::study(self.study.study_uid())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_study_that_is_arriving_is_followed_to_its_end() {
    let arriving = Arriving::start(0, 2).await;
    let follows = AtomicBool::new(false);
    let observer = |event: &TransferEvent| match event {
        TransferEvent::Following => follows.store(true, Ordering::Relaxed),
        // Two have come: the line carries what is there while the rest is not.
        TransferEvent::Progress(progress) if progress.instances_committed == 2 => {
            arriving.open.store(true, Ordering::Relaxed);
        }
        _ => {}
    };
    let (report, files) = arriving.pull(arriving.target(), false, &observer).await;
    assert!(follows.load(Ordering::Relaxed), "it is told");
    assert_eq!((report.receipt.instances, files), (6, 6));
    assert!(report.receipt.complete && report.shortfall.is_none(), "{:?}", report.shortfall);
    arriving.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_wait_gets_what_is_there_and_is_told() {
    let arriving = Arriving::start(0, 2).await;
    let (report, files) = arriving.pull(arriving.target(), true, &|_: &_| {}).await;
    assert_eq!((report.receipt.instances, files), (2, 2));
    assert!(!report.receipt.complete && report.shortfall.arriving, "{:?}", report.shortfall);
    // One image that is asked for by name is all there is of it.
    let all = crate::harness::all_of(&*arriving.site.depot.index, &arriving.study.study_uid());
    let mut one = arriving.target();
    one.what.instances = vec![all[0].entry.sop_instance.clone()];
    let (report, _) = arriving.pull(one, false, &|_: &_| {}).await;
    assert!(report.receipt.complete && report.receipt.instances == 1);
    arriving.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_is_given_at_once_and_what_arrives_beside_it_is_told() {
    let arriving = Arriving::start(3, 4).await;
    let (report, files) = arriving.pull(arriving.target(), false, &|_: &_| {}).await;
    assert_eq!((report.receipt.instances, files), (4, 4));
    assert!(!report.receipt.complete && report.shortfall.arriving, "{:?}", report.shortfall);
    arriving.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broken_transfer_left_is_never_complete() {
    let arriving = Arriving::start(0, 2).await;
    let observer = |event: &TransferEvent| {
        if matches!(event, TransferEvent::Progress(progress) if progress.instances_committed == 2) {
            arriving.push.abort();
        }
    };
    let (report, files) = arriving.pull(arriving.target(), false, &observer).await;
    assert_eq!((report.receipt.instances, files), (2, 2));
    let Shortfall { changed, arriving: more, unstated, .. } = report.shortfall;
    assert_eq!((report.receipt.complete, changed, more, unstated), (false, false, false, 2));
    // And as little when it is asked for later.
    let (report, _) = arriving.pull(arriving.target(), false, &|_: &_| {}).await;
    assert_eq!((report.receipt.complete, report.shortfall.unstated), (false, 2));
    arriving.site.stop().await;
}

/// What a source gives that something happens to before its first instance.
fn given(arriving: &Arriving, happens: impl FnOnce()) -> (usize, Shortfall) {
    let wanted = Selection::study(arriving.study.study_uid());
    let mut source = Following::new(&arriving.site.depot, Scope::All, wanted, true).unwrap().unwrap();
    happens();
    let mut count = 0;
    while source.next_item().unwrap().is_some() {
        count += 1;
    }
    (count, source.shortfall())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_removed_or_stated_anew_meanwhile_is_told() {
    let arriving = Arriving::start(0, 6).await;
    arriving.open.store(true, Ordering::Relaxed);
    arriving.until(|rows| rows.iter().all(|(arriving, _)| !arriving)).await;
    let depot = arriving.site.depot.clone();
    let study = arriving.study.study_uid();
    assert_eq!(given(&arriving, || {}), (6, Shortfall::default()));
    let owner = rows(&*depot.index)[0].owner;
    let all = crate::harness::all_of(&*depot.index, &study);
    let part = Unwanted { instances: vec![all[1].entry.sop_instance.clone()], ..Unwanted::study(study.clone()) };
    let (count, shortfall) = given(&arriving, || drop(depot.remove_unwanted(owner, &part).unwrap()));
    assert_eq!((count, shortfall.changed), (5, true));
    let (count, shortfall) = given(&arriving, || drop(depot.remove_unwanted(owner, &Unwanted::study(study)).unwrap()));
    assert_eq!((count, shortfall.changed), (0, true));
    arriving.site.stop().await;
}
