//! Studies from an inbox of one site into the store of another.

use std::path::{Path, PathBuf};
use std::time::Duration;

use imgxfer_core::clock::Stopwatch;
use imgxfer_core::ids::ManifestRoot;
use imgxfer_core::priority::Priority;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::{InstancesOf, Scope, StoredReader};
use imgxferd::Daemon;
use imgxferd::config::{After, Inbox, PeerConfig, PeerRights, Sees};
use imgxferd::queue::JobState;

use crate::support::{all_in, cloud_and_hospital, eventually, jobs, site, start};

const SEND: fn() -> PeerRights = || PeerRights::parse(&["send"]).unwrap();

fn quick(path: PathBuf) -> Inbox {
    Inbox::new(path, "cloud").with_times(Duration::from_millis(50), Duration::from_millis(200))
}

fn spec(seed: u64, instances: u32) -> StudySpec {
    StudySpec::new(seed).with_instances(1, instances).with_size(64, 64)
}

/// Number of instances of a study that a site holds, each read back and verified.
fn verified(daemon: &Daemon, spec: &StudySpec) -> usize {
    let depot = daemon.depot();
    let instances =
        depot.index.instances(&Scope::All, &InstancesOf::all_versions(spec.study_uid()), None, 10_000).unwrap();
    let count = instances.len();
    for instance in instances {
        StoredReader::of(std::sync::Arc::clone(&depot.records), depot.registry.clone(), instance)
            .unwrap()
            .verify()
            .unwrap();
    }
    count
}

fn files_below(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.map(|e| e.unwrap().path()).map(|p| if p.is_dir() { files_below(&p) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_study_in_the_inbox_arrives_and_its_files_move_only_then() {
    let root = tempfile::tempdir().unwrap();
    let (cloud, mut hospital) = cloud_and_hospital(root.path(), SEND()).await;
    let (inbox, sent) = (root.path().join("inbox"), root.path().join("sent"));
    let study = spec(1, 6);
    study.write_to(&inbox.join("ct")).unwrap();
    std::fs::write(inbox.join("readme.txt"), "not DICOM").unwrap();

    // Nobody listens there: the study waits, and its files stay where they are.
    let real = hospital.peers[0].address.clone();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    hospital.peers[0].address = Some(silent.local_addr().unwrap().to_string());
    hospital.inboxes.push(quick(inbox.clone()).with_after(After::Move(sent.clone())));
    let mut config = hospital.clone();
    config.drain = Duration::ZERO;
    let daemon = start(config).await;
    jobs(daemon.queue(), |jobs| jobs.iter().any(|job| job.attempts > 0)).await;
    assert_eq!((files_below(&inbox), files_below(&sent)), (7, 0));
    daemon.stop().await;

    // The next start finds the job again, and the right address.
    hospital.peers[0].address = real;
    let daemon = start(hospital).await;
    let done = jobs(daemon.queue(), all_in(JobState::Done)).await;
    assert_eq!((done.len(), done[0].files, done[0].instances), (1, 6, Some(6)));
    assert_eq!(verified(&cloud, &study), 6);
    // A file is there before it is gone here; what is not DICOM stays.
    eventually(async || (files_below(&sent) == 6 && files_below(&inbox) == 1).then_some(())).await;
    for instance in study.instances() {
        assert_eq!(std::fs::read(sent.join("ct").join(&instance.file_name)).unwrap(), instance.bytes);
    }
    let root_hash = ManifestRoot::from_hex(done[0].root.as_deref().unwrap()).unwrap();
    let receipts = daemon.queue().receipts(&root_hash).unwrap();
    let (receipt, signer) = receipts[0].verify(imgxfer_core::transport::verify).unwrap();
    assert_eq!((receipt.instances, receipt.root, signer), (6, root_hash, cloud.peer_id()));

    // More of the same study later is another job.
    let more = spec(1, 8);
    std::fs::write(inbox.join("late.dcm"), more.instance(1, 8).bytes).unwrap();
    jobs(daemon.queue(), |jobs| jobs.len() == 2 && all_in(JobState::Done)(jobs)).await;
    assert_eq!(verified(&cloud, &study), 7);
    daemon.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_files_are_sent_once_and_deleted_ones_only_when_committed() {
    let root = tempfile::tempdir().unwrap();
    let (cloud, mut hospital) = cloud_and_hospital(root.path(), SEND()).await;
    let (keep, delete) = (root.path().join("keep"), root.path().join("delete"));
    spec(2, 3).write_to(&keep).unwrap();
    spec(3, 3).write_to(&delete).unwrap();
    hospital.inboxes.push(quick(keep.clone()));
    hospital.inboxes.push(quick(delete.clone()).with_after(After::Delete));
    let daemon = start(hospital.clone()).await;
    jobs(daemon.queue(), |jobs| jobs.len() == 2 && all_in(JobState::Done)(jobs)).await;
    eventually(async || (files_below(&delete) == 0).then_some(())).await;
    assert_eq!(files_below(&keep), 3);
    daemon.stop().await;

    let daemon = start(hospital).await;
    spec(4, 1).write_to(&keep.join("new")).unwrap();
    let all = jobs(daemon.queue(), |jobs| jobs.len() == 3 && all_in(JobState::Done)(jobs)).await;
    assert_eq!(all.iter().map(|job| job.files).sum::<u64>(), 7, "what was kept is not sent again");
    assert_eq!(verified(&cloud, &spec(2, 3)) + verified(&cloud, &spec(3, 3)) + verified(&cloud, &spec(4, 1)), 7);
    daemon.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_the_right_is_refused_until_it_has_it() {
    let root = tempfile::tempdir().unwrap();
    let (cloud, hospital) = cloud_and_hospital(root.path(), PeerRights::default()).await;
    let files = root.path().join("files");
    let study = spec(5, 2);
    study.write_to(&files).unwrap();
    let daemon = start(hospital).await;
    let id = daemon.enqueue("cloud", std::slice::from_ref(&files), Priority::Stat).unwrap();
    let failed = jobs(daemon.queue(), all_in(JobState::Failed)).await;
    assert_eq!(failed[0].id, id);
    assert!(failed[0].last_error.as_deref().unwrap().starts_with("not-allowed"), "{failed:?}");
    assert_eq!(verified(&cloud, &study), 0);
    assert_eq!(files_below(&files), 2);
    assert!(daemon.enqueue("nobody", &[files], Priority::Stat).is_err());
    daemon.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (cloud, cloud_key) = site(root.path(), "cloud");
    let cloud = start(cloud).await;
    let (mut hospital, _) = site(root.path(), "hospital");
    hospital
        .peers
        .push(PeerConfig::pinned("cloud", cloud_key.peer_id()).with_address(cloud.quic_address().to_string()));
    let daemon = start(hospital).await;
    spec(6, 1).write_to(&root.path().join("files")).unwrap();
    daemon.enqueue("cloud", &[root.path().join("files")], Priority::Routine).unwrap();
    let failed = jobs(daemon.queue(), all_in(JobState::Failed)).await;
    assert!(failed[0].last_error.as_deref().unwrap().starts_with("refused"), "{failed:?}");
    daemon.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_with_a_file_that_cannot_be_sent_is_not_done() {
    let root = tempfile::tempdir().unwrap();
    let (cloud, hospital) = cloud_and_hospital(root.path(), SEND()).await;
    let files = root.path().join("files");
    let paths = spec(7, 3).write_to(&files).unwrap();
    let daemon = start(hospital).await;
    // Queued with three files, of which one is a folder when its turn comes.
    let bytes = std::fs::read(&paths[1]).unwrap();
    let stamps = paths.iter().map(|p| (p.clone(), imgxferd::queue::Stamp::of(&p.metadata().unwrap()).unwrap()));
    let job = imgxferd::queue::NewJob::new("cloud", stamps.collect());
    std::fs::remove_file(&paths[1]).unwrap();
    std::fs::create_dir(&paths[1]).unwrap();
    let id = daemon.queue().push(&job).unwrap();
    let waiting = jobs(daemon.queue(), |jobs| jobs[0].last_error.is_some()).await;
    assert!(waiting[0].last_error.as_deref().unwrap().starts_with("partial: 1 of 3"), "{waiting:?}");
    std::fs::remove_dir(&paths[1]).unwrap();
    std::fs::write(&paths[1], bytes).unwrap();
    jobs(daemon.queue(), |jobs| {
        // Whatever it does now, it may be told to hurry.
        if matches!(jobs[0].state, JobState::Waiting | JobState::Failed) {
            daemon.queue().retry(id).unwrap();
        }
        jobs[0].state == JobState::Done
    })
    .await;
    assert_eq!(verified(&cloud, &spec(7, 3)), 3);
    daemon.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_site_is_ready_soon() {
    let root = tempfile::tempdir().unwrap();
    let watch = Stopwatch::start();
    let mut config = imgxferd::config::Config::in_folder(&root.path().join("site"), "site");
    config.peers.push(PeerConfig::pinned("a", imgxfer_core::ids::PeerId::of_key(b"a")).with_rights(SEND(), Sees::Own));
    let daemon = start(config).await;
    let started = watch.elapsed();
    let ready = crate::support::get(&daemon, "/readyz").await;
    println!("start to Daemon: {started:?}; to a ready answer over HTTP: {:?}", watch.elapsed());
    assert_eq!(ready.status, 200, "{}", ready.body);
    assert!(daemon.depot().index.study_keys(None, 10).unwrap().is_empty());
    daemon.stop().await;
}
