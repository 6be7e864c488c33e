//! The daemon reads its store by itself, and tells what is damaged.

use std::os::unix::fs::FileExt as _;

use imgxfer_core::priority::Priority;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::{InstancesOf, RecordAt, Scope};
use imgxferd::Daemon;
use imgxferd::config::{Config, PeerRights};
use imgxferd::queue::JobState;

use crate::support::{all_in, cloud_and_hospital, eventually, get, jobs, start};

/// The value of a metric without labels.
async fn metric(daemon: &Daemon, name: &str) -> f64 {
    let text = get(daemon, "/metrics").await.body;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("imgxfer_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().unwrap()
}

/// A cloud's configuration with a store that holds one study, and a record of it.
async fn stored(root: &std::path::Path) -> (Config, RecordAt, u64) {
    let (cloud, hospital) = cloud_and_hospital(root, PeerRights::all()).await;
    let daemon = start(hospital).await;
    let study = StudySpec::new(1).with_instances(1, 4).with_size(64, 64);
    study.write_to(&root.join("files")).unwrap();
    daemon.enqueue("cloud", &[root.join("files")], Priority::Routine).unwrap();
    jobs(daemon.queue(), all_in(JobState::Done)).await;
    let of = InstancesOf::study(study.study_uid());
    let instances = cloud.depot().index.instances(&Scope::All, &of, None, 100).unwrap();
    let records: std::collections::HashSet<RecordAt> =
        instances.iter().flat_map(|i| &i.chunks).map(|chunk| chunk.record).collect();
    daemon.stop().await;
    cloud.stop().await;
    let config = Config::in_folder(&root.join("cloud"), "cloud");
    (config, instances[1].chunks[2].record, records.iter().map(|at| u64::from(at.len)).sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_is_found_counted_and_not_told_twice() {
    let root = tempfile::tempdir().unwrap();
    let (mut config, rotten, bytes) = stored(root.path()).await;
    let id = rotten.pack.to_string();
    let pack = config.store.join("packs").join(&id[..2]).join(format!("{id}.pack"));
    let file = std::fs::File::options().read(true).write(true).open(pack).unwrap();
    let last = rotten.offset + u64::from(rotten.len) - 1;
    let mut byte = [0];
    file.read_exact_at(&mut byte, last).unwrap();
    file.write_all_at(&[byte[0] ^ 1], last).unwrap();

    let off = start(config.clone()).await;
    assert!(metric(&off, "store_scrubbed_bytes_total").await < 1.0, "off unless it is asked for");
    off.stop().await;
    config.scrub_bytes_a_second = Some(100_000_000);
    let daemon = start(config.clone()).await;
    eventually(async || (metric(&daemon, "store_scrub_pass_timestamp_seconds").await > 0.0).then_some(())).await;
    assert!((metric(&daemon, "store_scrub_damaged_records_total").await - 1.0).abs() < 0.5);
    let read = metric(&daemon, "store_scrubbed_bytes_total").await;
    assert!((read - imgxfer_core::units::to_f64(bytes)).abs() < 0.5, "everything once: {read} of {bytes}");
    assert!(!daemon.depot().index.damaged(10).unwrap().is_empty(), "noted, so that it heals");
    daemon.stop().await;
    // After a restart the pass is known, and none begins before its time.
    let daemon = start(config).await;
    eventually(async || (metric(&daemon, "store_scrub_pass_timestamp_seconds").await > 0.0).then_some(())).await;
    assert!(metric(&daemon, "store_scrubbed_bytes_total").await < 1.0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_slowly_and_stops_at_once() {
    let root = tempfile::tempdir().unwrap();
    let (mut config, _, bytes) = stored(root.path()).await;
    // Hours for the whole.
    config.scrub_bytes_a_second = Some(1);
    let daemon = start(config).await;
    eventually(async || (metric(&daemon, "store_scrubbed_bytes_total").await > 0.0).then_some(())).await;
    assert!(metric(&daemon, "store_scrubbed_bytes_total").await < imgxfer_core::units::to_f64(bytes));
    let stopping = imgxfer_core::clock::Stopwatch::start();
    daemon.stop().await;
    assert!(stopping.elapsed() < std::time::Duration::from_secs(10), "{:?}", stopping.elapsed());
}
