//! What came over a slow line is coded anew where there is nothing else to do, and not before.

use std::time::Duration;

use imgxfer_core::codec::{Level, LevelChoice};
use imgxfer_core::depot::PutOptions;
use imgxfer_core::dicom::ReadAt as _;
use imgxfer_core::ids::StudyUid;
use imgxfer_core::priority::Priority;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::{InstancesOf, Provenance, Scope};
use imgxferd::Daemon;
use imgxferd::config::{PeerRights, Schedule};

use crate::support::{ask, cloud_and_hospital, eventually, get, site, start};

/// Keeps a study of two images at a level.
fn keep(daemon: &Daemon, seed: u64, size: u16, level: Level) -> StudyUid {
    let study = StudySpec::new(seed).with_instances(1, 2).with_size(size, size);
    let mut options = PutOptions::of(Provenance::of("inbox:/in"));
    options.level = level;
    for instance in study.instances() {
        daemon.depot().put(&instance.bytes, &options).unwrap();
    }
    study.study_uid()
}

/// Has all packs looked at that are to be rewritten: something is removed, and its room is given back.
async fn look_around(daemon: &Daemon, seed: u64) {
    let study = keep(daemon, seed, 160, Level::FAST);
    let removed = ask(daemon, "POST", "/studies/remove", &format!("{{\"study\":\"{study}\"}}")).await;
    assert_eq!(removed.status, 200, "{}", removed.body);
    eventually(async || get(daemon, "/metrics").await.body.contains("imgxfer_store_waste_bytes 0\n").then_some(()))
        .await;
}

/// Two rounds: when the second gives room back, the first has come to its end.
async fn look_around_twice(daemon: &Daemon, seed: u64) {
    look_around(daemon, seed).await;
    look_around(daemon, seed + 1).await;
}

fn bytes_of(daemon: &Daemon, study: &StudyUid) -> Vec<Vec<u8>> {
    let depot = daemon.depot();
    let instances = depot.index.instances(&Scope::All, &InstancesOf::study(study.clone()), None, 10).unwrap();
    let read = instances.into_iter().map(|instance| {
        let reader = depot.reader(instance).unwrap();
        let mut bytes = vec![0; usize::try_from(reader.len()).unwrap()];
        reader.read_exact_at(0, &mut bytes).unwrap();
        bytes
    });
    read.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_slow_to_read_is_coded_anew_when_nothing_runs() {
    let root = tempfile::tempdir().unwrap();
    let (cloud, mut hospital) = cloud_and_hospital(root.path(), PeerRights::all()).await;
    // As little as may be, without compression: it takes longer than the test looks at it.
    hospital.peers[0].limits = Schedule::always(0.1);
    hospital.peers[0].level = LevelChoice::Fixed(Level::STORE);
    hospital.drain = Duration::ZERO;
    let sender = start(hospital).await;
    let files = root.path().join("files");
    StudySpec::new(1).with_instances(1, 40).with_size(256, 256).write_to(&files).unwrap();
    sender.enqueue("cloud", &[files], Priority::Background).unwrap();
    let is_busy = async || !get(&cloud, "/status").await.json()["transfers"].as_array().unwrap().is_empty();
    eventually(async || is_busy().await.then_some(())).await;

    let study = keep(&cloud, 2, 48, Level::COPPER);
    let before = bytes_of(&cloud, &study);
    look_around_twice(&cloud, 10).await;
    assert!(is_busy().await, "the transfer is still running");
    assert_eq!(cloud.depot().slow().unwrap().len(), 1, "and nothing is coded anew beside it");
    assert!(get(&cloud, "/metrics").await.body.contains("imgxfer_store_slow_packs 1\n"));

    sender.stop().await;
    eventually(async || (!is_busy().await).then_some(())).await;
    look_around(&cloud, 20).await;
    eventually(async || cloud.depot().slow().unwrap().is_empty().then_some(())).await;
    eventually(async || {
        let metrics = get(&cloud, "/metrics").await.body;
        (metrics.contains("imgxfer_store_slow_packs 0\n") && !metrics.contains("imgxfer_store_recoded_bytes_total 0\n"))
            .then_some(())
    })
    .await;
    assert_eq!((before.len(), bytes_of(&cloud, &study)), (2, before), "the same bytes");
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_coded_anew_where_that_is_off() {
    let root = tempfile::tempdir().unwrap();
    let (mut config, _) = site(root.path(), "cloud");
    config.recode = false;
    let cloud = start(config.clone()).await;
    keep(&cloud, 2, 48, Level::COPPER);
    look_around_twice(&cloud, 10).await;
    assert_eq!(cloud.depot().slow().unwrap().len(), 1);
    cloud.stop().await;
    // After a restart it is done, where it is on.
    config.recode = true;
    let cloud = start(config).await;
    eventually(async || cloud.depot().slow().unwrap().is_empty().then_some(())).await;
    cloud.stop().await;
}
