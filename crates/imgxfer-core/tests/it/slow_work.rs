//! Work at one end is no silence at the other: slow disks, in virtual time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use imgxfer_core::client::{PushOptions, RetryPolicy};
use imgxfer_core::effort;
use imgxfer_core::engine::{FileSource, OtherFiles, Source, SourceItem, Totals};
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::testing::pair;
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
    let seconds = std::sync::Mutex::new(Some(seconds));
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
