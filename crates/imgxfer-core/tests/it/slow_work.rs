//! Work at one end is no silence at the other: slow disks, in virtual time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use imgxfer_core::client::{PullOptions, PullTarget, PushOptions, RetryPolicy};
use imgxfer_core::effort;
use imgxfer_core::ids::{ManifestRoot, PageHash, StudyUid};
use imgxfer_core::manifest::Page;
use imgxfer_core::proto::{Lookup, Unproven, VerifyJob};
use imgxfer_core::receive::{DepotIntake, Intake, Staged};
use imgxfer_core::send::{FileSource, OtherFiles, Source, SourceItem, Totals};
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::search::Search;
use imgxfer_core::store::{RecordAt, Scope, StoreError};
use imgxfer_core::testing::pair;
use imgxfer_core::wire::record::Record;
use tokio::sync::Notify;

use crate::virtual_time::Sites;

/// A source on a share so slow that the first instance takes as long as the test says.
struct SlowSource {
    inner: FileSource,
    /// One for each virtual second that the first instance takes; closed when it has been read.
    seconds: Option<Receiver<()>>,
    reads: bool,
    begun: Arc<Notify>,
}

impl Source for SlowSource {
    fn totals(&self) -> Totals {
        self.inner.totals()
    }

    fn next_item(&mut self) -> std::io::Result<Option<SourceItem>> {
        if let Some(seconds) = self.seconds.take() {
            self.begun.notify_one();
            while seconds.recv().is_ok() {
                if self.reads {
                    effort::note(1 << 20);
                }
            }
        }
        self.inner.next_item()
    }
}

/// An intake on a disk so slow that reading the first instance back takes as long as the test says.
#[derive(Debug)]
struct SlowIntake {
    inner: DepotIntake,
    seconds: Mutex<Option<Receiver<()>>>,
    begun: Arc<Notify>,
}

impl Intake for SlowIntake {
    fn find_page(&self, hash: &PageHash) -> Result<Option<Bytes>, StoreError> {
        self.inner.find_page(hash)
    }

    fn look_up(&self, page: &Page) -> Result<Lookup, StoreError> {
        self.inner.look_up(page)
    }

    fn keep(&self, record: &Record) -> Result<RecordAt, StoreError> {
        self.inner.keep(record)
    }

    fn check(&self, job: &VerifyJob, asked: &Search) -> Result<Result<Staged, Unproven>, StoreError> {
        let seconds = self.seconds.lock().unwrap().take();
        if let Some(seconds) = seconds {
            self.begun.notify_one();
            while seconds.recv().is_ok() {
                effort::note(1 << 20);
            }
        }
        self.inner.check(job, asked)
    }

    fn commit(&self, staged: Vec<Staged>, pages: Vec<(PageHash, Bytes)>) -> Result<(), StoreError> {
        self.inner.commit(staged, pages)
    }

    fn uncommitted_bytes(&self) -> u64 {
        self.inner.uncommitted_bytes()
    }

    fn settle(&self, studies: &[StudyUid], root: ManifestRoot, complete: bool) -> Result<(), StoreError> {
        self.inner.settle(studies, root, complete)
    }
}

/// While a thread blocks, virtual time stands: it is moved by hand, with room for the packets of each second.
async fn seconds_pass(count: u32, clock: &SyncSender<()>, over: &AtomicBool) -> u32 {
    for second in 0..count {
        if over.load(Ordering::Relaxed) || clock.send(()).is_err() {
            return second;
        }
        for _ in 0..4 {
            tokio::time::advance(Duration::from_millis(250)).await;
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
    }
    count
}

/// Pushes a study whose first instance takes so many seconds to read. Returns how many passed before the push
/// ended, and whether it ended well.
async fn push_slowly(count: u32, reads: bool) -> (u32, bool) {
    let folder = tempfile::tempdir().unwrap();
    StudySpec::new(1).with_instances(1, 1).write_to(folder.path()).unwrap();
    let path: PathBuf = folder.path().into();
    let site = pair::Site::default();
    let sites = Sites::new("fttc", &site.depot, 1);
    let (clock, seconds) = sync_channel(0);
    let seconds = Mutex::new(Some(seconds));
    let begun = Arc::new(Notify::new());
    let source = || {
        let inner = FileSource::new(std::slice::from_ref(&path), OtherFiles::Skip);
        Box::new(SlowSource { inner, seconds: seconds.lock().unwrap().take(), reads, begun: Arc::clone(&begun) })
            as Box<dyn Source>
    };
    let over = Arc::new(AtomicBool::new(false));
    let options = PushOptions::default().with_retry(RetryPolicy::once());
    let push = async {
        let dial = sites.dial();
        let report = sites.client.push(&dial, source, &options, &|_: &_| {}).await;
        over.store(true, Ordering::Relaxed);
        report.is_ok_and(|report| report.receipt.complete)
    };
    let time = async {
        // Until a thread blocks, time goes by itself.
        begun.notified().await;
        let passed = seconds_pass(count, &clock, &over).await;
        drop(clock);
        passed
    };
    let (good, passed) = tokio::join!(push, time);
    (passed, good)
}

#[tokio::test(start_paused = true)]
async fn a_first_instance_that_takes_long_to_read_is_waited_for() {
    assert_eq!(push_slowly(900, true).await, (900, true));
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_reads_nothing_any_more_is_given_up() {
    let (passed, good) = push_slowly(900, false).await;
    assert!(!good && (120..700).contains(&passed), "{passed} s");
}

/// The sender hears nothing of content for a quarter of an hour, and waits, since the receiver reads.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_takes_long_to_read_back_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    StudySpec::new(1).with_instances(1, 1).write_to(folder.path()).unwrap();
    let (here, there) = (pair::Site::default(), pair::Site::default());
    let sites = Sites::new("fttc", &there.depot, 1);
    let dial = sites.dial();
    let paths = [PathBuf::from(folder.path())];
    let source = || Box::new(FileSource::new(&paths, OtherFiles::Skip)) as Box<dyn Source>;
    let options = PushOptions::default().with_retry(RetryPolicy::once());
    let sent = sites.client.push(&dial, source, &options, &|_: &_| {}).await.unwrap();
    assert!(sent.receipt.complete);
    let study = sites.client.find(&dial, &Search::default()).await.unwrap().rows.remove(0).study.study.clone();

    let (clock, seconds) = sync_channel(0);
    let seconds = Arc::new(Mutex::new(Some(seconds)));
    let begun = Arc::new(Notify::new());
    let (depot, started) = (here.depot.clone(), Arc::clone(&begun));
    let intake = move |peer| {
        let inner = DepotIntake::new(&depot, peer, Scope::All)?;
        Ok(Arc::new(SlowIntake {
            inner,
            seconds: Mutex::new(seconds.lock().unwrap().take()),
            begun: Arc::clone(&started),
        }) as Arc<dyn Intake>)
    };
    let over = AtomicBool::new(false);
    let pull = async {
        let options = PullOptions::default().with_retry(RetryPolicy::once());
        let report = sites.client.pull(&dial, &PullTarget::study(study), intake, &options, &|_: &_| {}).await;
        over.store(true, Ordering::Relaxed);
        report.unwrap().receipt.complete
    };
    let time = async {
        begun.notified().await;
        let passed = seconds_pass(900, &clock, &over).await;
        drop(clock);
        passed
    };
    assert_eq!(tokio::join!(pull, time), (true, 900));
}
