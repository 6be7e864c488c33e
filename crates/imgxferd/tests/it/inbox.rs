//! Studies from an inbox into the site's own store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use imgxfer_core::client::{Client, PullOptions, PullTarget, RetryPolicy};
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::Depot;
use imgxfer_core::dicom::ReadAt as _;
use imgxfer_core::ids::PeerId;
use imgxfer_core::priority::Priority;
use imgxfer_core::receive::DepotIntake;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::{InstancesOf, MemIndex, MemRecords, Scope, StoredInstance, StoredReader};
use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Trust};
use imgxferd::Daemon;
use imgxferd::audit::{AUDIT_FILE, files_in, verify};
use imgxferd::config::{After, Config, Inbox, PeerConfig, PeerRights, Sees};
use imgxferd::queue::{JobState, NewJob, Ordered, Stamp};

use crate::support::{all_in, eventually, get, jobs, site, start};

fn quick(path: &Path) -> Inbox {
    Inbox::into_store(path).with_times(Duration::from_millis(50), Duration::from_millis(200))
}

fn spec(seed: u64, instances: u32) -> StudySpec {
    StudySpec::new(seed).with_instances(1, instances).with_size(64, 64)
}

fn files_below(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.map(|e| e.unwrap().path()).map(|p| if p.is_dir() { files_below(&p) } else { 1 }).sum()
}

/// What the site itself has of a study.
fn own(depot: &Depot, spec: &StudySpec) -> Vec<StoredInstance> {
    let mine = Scope::owner(PeerId::SELF);
    depot.index.instances(&mine, &InstancesOf::all_versions(spec.study_uid()), None, 10_000).unwrap()
}

/// The bytes of stored instances, in no order that means anything.
fn bytes_of(depot: &Depot, instances: Vec<StoredInstance>) -> Vec<Vec<u8>> {
    let read = |instance| {
        let reader = StoredReader::of(Arc::clone(&depot.records), depot.registry.clone(), instance).unwrap();
        reader.verify().unwrap();
        let mut bytes = vec![0; usize::try_from(reader.len()).unwrap()];
        reader.read_exact_at(0, &mut bytes).unwrap();
        bytes
    };
    let mut all: Vec<Vec<u8>> = instances.into_iter().map(read).collect();
    all.sort();
    all
}

fn bytes_of_spec(spec: &StudySpec) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = spec.instances().map(|instance| instance.bytes).collect();
    all.sort();
    all
}

/// Records of the audit with this event.
fn audit(config: &Config, event: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(config.audit.path.join(AUDIT_FILE)).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["event"] == event).collect()
}

fn nothing(_: &imgxfer_core::progress::TransferEvent) {}

/// The number of instances of a study that somebody with this key can pull from a site, all verified.
async fn pulled(by: &Identity, from: &Daemon, spec: &StudySpec) -> usize {
    let config = EndpointConfig::new("127.0.0.1:0".parse().unwrap(), by.clone(), Trust::new(), imgxfer_core::ALPN);
    let client = Client::new(Endpoint::bind(config).unwrap());
    let depot = Depot::new(Arc::new(MemRecords::default()), Arc::new(MemIndex::default()), Registry::default());
    let into = depot.clone();
    let intake = move |peer| Ok(Arc::new(DepotIntake::new(&into, peer, Scope::owner(peer))?) as _);
    let options = PullOptions::default().with_retry(RetryPolicy::once());
    let dial = Dial::from(from.quic_address()).with_peer(from.peer_id());
    let target = PullTarget::study(spec.study_uid());
    if client.pull(&dial, &target, intake, &options, &nothing).await.is_err() {
        return 0;
    }
    let got = depot.index.instances(&Scope::All, &InstancesOf::study(spec.study_uid()), None, 10_000).unwrap();
    let count = got.len();
    assert_eq!(bytes_of(&depot, got), bytes_of_spec(spec));
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_study_in_an_inbox_without_a_peer_lands_in_the_store_and_can_be_pulled() {
    let root = tempfile::tempdir().unwrap();
    let (mut config, _) = site(root.path(), "site");
    let (inbox, done) = (root.path().join("inbox"), root.path().join("done"));
    let (friend, narrow) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let reads = || PeerRights::parse(&["query", "pull"]).unwrap();
    config.peers.push(PeerConfig::pinned("archive", friend.peer_id()).with_rights(reads(), Sees::All));
    config.peers.push(PeerConfig::pinned("narrow", narrow.peer_id()).with_rights(reads(), Sees::Own));
    config.inboxes.push(quick(&inbox).with_after(After::Move(done.clone())));
    let (ct, mr) = (spec(1, 6), spec(2, 3));
    ct.write_to(&inbox.join("ct")).unwrap();
    mr.write_to(&inbox.join("mr")).unwrap();
    std::fs::write(inbox.join("readme.txt"), "not DICOM").unwrap();
    let daemon = start(config.clone()).await;
    let ended = jobs(daemon.queue(), |jobs| jobs.len() == 2 && all_in(JobState::Done)(jobs)).await;
    assert!(ended.iter().all(|job| job.peer == "self" && job.root.is_none() && job.instances == Some(job.files)));
    eventually(async || (files_below(&done) == 9 && files_below(&inbox) == 1).then_some(())).await;
    for study in [&ct, &mr] {
        let stored = own(daemon.depot(), study);
        for instance in &stored {
            let arrivals = daemon.depot().index.arrivals(instance).unwrap();
            let sources: Vec<&str> = arrivals.iter().map(|arrival| arrival.provenance.source.as_str()).collect();
            assert_eq!(sources, [format!("inbox:{}", inbox.display())]);
        }
        assert_eq!(bytes_of(daemon.depot(), stored), bytes_of_spec(study));
    }
    assert_eq!((pulled(&friend, &daemon, &ct).await, pulled(&narrow, &daemon, &ct).await), (6, 0));
    assert!(get(&daemon, "/metrics").await.body.contains("imgxfer_queue_failed{destination=\"self\"} 0"));
    let status = get(&daemon, "/status").await.json();
    assert_eq!(
        (&status["queue"]["peers"][0]["peer"], &status["queue"]["peers"][0]["done"]),
        (&"self".into(), &2.into())
    );
    daemon.stop().await;

    let stored = audit(&config, "stored");
    assert_eq!(stored.len(), 2);
    let of_ct = stored.iter().find(|record| record["studies"][0] == ct.study_uid().as_str()).unwrap();
    let source = format!("inbox:{}", inbox.display());
    assert_eq!((of_ct["actor"].as_str(), of_ct["source"].as_str()), (Some(source.as_str()), Some(source.as_str())));
    let bytes: usize = ct.instances().map(|instance| instance.bytes.len()).sum();
    assert_eq!((&of_ct["outcome"], &of_ct["instances"], &of_ct["bytes"]), (&"ok".into(), &6.into(), &bytes.into()));
    let emptied = audit(&config, "inbox-emptied");
    assert_eq!(emptied.iter().map(|record| record["moved"].as_u64().unwrap()).sum::<u64>(), 9, "{emptied:?}");
    assert!(emptied.iter().all(|record| record["deleted"] == 0 && record["kept"] == 0 && record["actor"] == source));
    let found = verify(&files_in(&config.audit.path).unwrap(), Some(&config.audit.path), &[]).unwrap();
    assert!(found.faults.is_empty(), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_deleted_only_when_all_of_the_job_is_in_the_store_over_restarts() {
    const FILES: u32 = 120;
    let root = tempfile::tempdir().unwrap();
    let (mut config, _) = site(root.path(), "site");
    let inbox = root.path().join("inbox");
    config.inboxes.push(quick(&inbox).with_after(After::Delete));
    config.drain = Duration::ZERO;
    let study = StudySpec::new(3).with_instances(1, FILES).with_size(32, 32);
    study.write_to(&inbox).unwrap();
    let daemon = start(config.clone()).await;
    eventually(async || (!own(daemon.depot(), &study).is_empty()).then_some(())).await;
    daemon.stop().await;
    assert_eq!(files_below(&inbox), FILES as usize, "the job was cut, so nothing of it goes");
    assert!(audit(&config, "stored").iter().all(|record| record["why"] == "stopped"));

    let daemon = start(config.clone()).await;
    let done = jobs(daemon.queue(), all_in(JobState::Done)).await;
    assert_eq!((done.len(), done[0].instances, done[0].attempts), (1, Some(FILES.into()), 1));
    eventually(async || (files_below(&inbox) == 0).then_some(())).await;
    assert_eq!(bytes_of(daemon.depot(), own(daemon.depot(), &study)), bytes_of_spec(&study));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let (mut config, _) = site(root.path(), "site");
    let inbox = root.path().join("inbox");
    config.inboxes.push(quick(&inbox).with_after(After::Delete));
    let study = spec(4, 2);
    study.write_to(&inbox).unwrap();
    let mut full = config.clone();
    full.reserve_bytes = Some(1 << 60);
    let daemon = start(full).await;
    let waiting = jobs(daemon.queue(), |jobs| jobs.iter().any(|job| job.last_error.is_some())).await;
    assert!(waiting[0].last_error.as_deref().unwrap().starts_with("store-full"), "{waiting:?}");
    assert_eq!((waiting[0].state, files_below(&inbox)), (JobState::Waiting, 2));
    daemon.stop().await;
    let daemon = start(config).await;
    jobs(daemon.queue(), all_in(JobState::Done)).await;
    eventually(async || (files_below(&inbox) == 0).then_some(())).await;
    assert_eq!(own(daemon.depot(), &study).len(), 2);
    daemon.stop().await;
}

/// A job that puts these files into the store, as they are now.
fn job_of(paths: &[PathBuf]) -> NewJob {
    let stamps = paths.iter().map(|path| (path.clone(), Stamp::of(&path.metadata().unwrap()).unwrap()));
    NewJob::new("self", stamps.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_by_hand_fails_file_by_file() {
    let root = tempfile::tempdir().unwrap();
    let (config, _) = site(root.path(), "site");
    let files = root.path().join("files");
    let study = spec(5, 3);
    let paths = study.write_to(&files).unwrap();
    let daemon = start(config.clone()).await;
    daemon.enqueue("self", std::slice::from_ref(&files), Priority::Stat).unwrap();
    jobs(daemon.queue(), all_in(JobState::Done)).await;
    let stored = own(daemon.depot(), &study);
    assert_eq!(daemon.depot().index.arrivals(&stored[0]).unwrap()[0].provenance.source, "user:admin");
    assert_eq!(files_below(&files), 3, "nobody touches them");

    // One is a link when its turn comes, and there is nothing but text in the other job.
    let text = files.join("note.txt");
    std::fs::write(&text, "not DICOM").unwrap();
    let bytes = std::fs::read(&paths[1]).unwrap();
    let away = paths[1].with_extension("away");
    std::fs::write(&away, &bytes).unwrap();
    let jobs_of = [job_of(&[paths[0].clone(), away.clone()]), job_of(std::slice::from_ref(&text))];
    std::fs::remove_file(&away).unwrap();
    std::os::unix::fs::symlink(&paths[1], &away).unwrap();
    let [partial, none] = jobs_of.map(|job| daemon.queue().push(&job).unwrap());
    let of = |id: i64| daemon.queue().job(id).unwrap().unwrap();
    jobs(daemon.queue(), |_| {
        for id in [partial, none] {
            // Whatever it waits for, it may be told to hurry.
            if of(id).state == JobState::Waiting {
                daemon.queue().retry(id).unwrap();
            }
        }
        [partial, none].iter().all(|id| of(*id).state == JobState::Failed)
    })
    .await;
    assert!(of(partial).last_error.unwrap().starts_with("partial: 1 of 2"), "{:?}", of(partial));
    assert!(of(none).last_error.unwrap().starts_with("nothing-to-put"), "{:?}", of(none));
    // What has vanished is no part of a job any more, and the rest of it is done.
    std::fs::remove_file(&away).unwrap();
    assert_eq!(daemon.queue().retry(partial).unwrap(), Ordered::Yes);
    jobs(daemon.queue(), |_| of(partial).state == JobState::Done).await;
    assert_eq!((of(partial).gone, of(partial).instances), (1, Some(1)));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_all_files_others_are_stored_as_they_are() {
    let root = tempfile::tempdir().unwrap();
    let (mut config, _) = site(root.path(), "site");
    let inbox = root.path().join("inbox");
    let mut all = quick(&inbox).with_after(After::Delete);
    all.all_files = true;
    config.inboxes.push(all);
    std::fs::create_dir_all(&inbox).unwrap();
    std::fs::write(inbox.join("report.pdf"), "%PDF: not DICOM").unwrap();
    let daemon = start(config).await;
    jobs(daemon.queue(), all_in(JobState::Done)).await;
    eventually(async || (files_below(&inbox) == 0).then_some(())).await;
    let (owner, study) = daemon.depot().index.study_keys(None, 10).unwrap().remove(0);
    assert_eq!(owner, PeerId::SELF);
    let stored = daemon.depot().index.instances(&Scope::All, &InstancesOf::study(study), None, 10).unwrap();
    assert_eq!(stored[0].entry.name, b"report.pdf");
    assert_eq!(bytes_of(daemon.depot(), stored), [b"%PDF: not DICOM".to_vec()]);
    daemon.stop().await;
}
