//! Studies are removed by those who may, their room is given back, and what has been kept long enough goes where it is
//! held elsewhere.

use std::time::Duration;

use imgxfer_core::ids::{PeerId, StudyUid};
use imgxfer_core::priority::Priority;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::{InstancesOf, Scope};
use imgxferd::Daemon;
use imgxferd::audit::AUDIT_FILE;
use imgxferd::config::{Config, PeerConfig, PeerRights, Sees};
use imgxferd::queue::JobState;

use crate::support::{all_in, ask, cloud_and_hospital, eventually, get, jobs, site, start};

/// Sends studies of these seeds, four images each, from a hospital to a cloud.
async fn sent(root: &std::path::Path, hospital: Config, seeds: &[u64]) -> Vec<StudyUid> {
    let daemon = start(hospital).await;
    let mut studies = Vec::new();
    for seed in seeds {
        let study = StudySpec::new(*seed).with_instances(1, 4).with_size(128, 128);
        let folder = root.join(format!("files-{seed}"));
        study.write_to(&folder).unwrap();
        daemon.enqueue("cloud", &[folder], Priority::Routine).unwrap();
        studies.push(study.study_uid());
    }
    let all = seeds.len();
    jobs(daemon.queue(), move |jobs| jobs.len() == all && all_in(JobState::Done)(jobs)).await;
    daemon.stop().await;
    studies
}

fn instances(daemon: &Daemon, study: &StudyUid) -> usize {
    daemon.depot().index.instances(&Scope::All, &InstancesOf::study(study.clone()), None, 100).unwrap().len()
}

fn pack_bytes(daemon: &Daemon) -> u64 {
    daemon.depot().records.packs().unwrap().iter().map(|pack| pack.len).sum()
}

/// Records of the audit with this event.
fn audit(root: &std::path::Path, site: &str, event: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(root.join(site).join("audit").join(AUDIT_FILE)).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["event"] == event).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_removes_a_study_and_its_room_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let (cloud, hospital) = cloud_and_hospital(root.path(), PeerRights::all()).await;
    let studies = sent(root.path(), hospital, &[1, 2]).await;
    let wish = |more: &str| format!("{{\"study\":\"{}\"{more}}}", studies[0]);
    let counted = ask(&cloud, "POST", "/studies/remove", &wish(",\"dry_run\":true")).await.json();
    assert_eq!((&counted["removed"], &counted["contents"]), (&false.into(), &4.into()));
    assert_eq!(counted["owners"][0]["owner"], "hospital");
    assert_eq!(instances(&cloud, &studies[0]), 4, "only counted");
    assert_eq!(ask(&cloud, "POST", "/studies/remove", &wish(",\"owners\":[\"self\"]")).await.status, 404);
    assert_eq!(ask(&cloud, "POST", "/studies/remove", "{\"study\":\"no uid\"}").await.status, 400);
    let part = cloud.depot().index.instances(&Scope::All, &InstancesOf::study(studies[0].clone()), None, 1).unwrap();
    let part = format!(",\"instances\":[\"{}\"]", part[0].entry.sop_instance);
    assert_eq!(ask(&cloud, "POST", "/studies/remove", &wish(&part)).await.json()["contents"], 1);
    let room = pack_bytes(&cloud);
    let removed = ask(&cloud, "POST", "/studies/remove", &wish("")).await;
    assert_eq!((removed.status, &removed.json()["contents"]), (200, &3.into()), "{}", removed.body);
    assert_eq!((instances(&cloud, &studies[0]), instances(&cloud, &studies[1])), (0, 4));
    assert_eq!(ask(&cloud, "POST", "/studies/remove", &wish("")).await.status, 404);
    eventually(async || (pack_bytes(&cloud) < room * 3 / 4).then_some(())).await;
    eventually(async || get(&cloud, "/metrics").await.body.contains("imgxfer_store_waste_bytes 0").then_some(())).await;
    assert!(!get(&cloud, "/metrics").await.body.contains("imgxfer_store_compacted_bytes_total 0\n"));
    assert_eq!(instances(&cloud, &studies[1]), 4);
    cloud.stop().await;
    let told = audit(root.path(), "cloud", "removed");
    assert_eq!(told.len(), 2);
    assert_eq!((&told[1]["actor"], &told[1]["by_studies"][0]), (&"admin".into(), &studies[0].as_str().into()));
    assert_eq!((&told[1]["owners"][0], &told[1]["instances"]), (&"hospital".into(), &3.into()));
    let cloud = start(Config::in_folder(&root.path().join("cloud"), "cloud")).await;
    assert_eq!((instances(&cloud, &studies[0]), instances(&cloud, &studies[1])), (0, 4), "after a restart");
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_long_enough_goes_when_the_other_site_has_signed_for_it() {
    let root = tempfile::tempdir().unwrap();
    let (mut cloud, cloud_key) = site(root.path(), "cloud");
    let (_, hospital_key) = site(root.path(), "hospital");
    let (mut archive, archive_key) = site(root.path(), "archive");
    let taking = PeerRights::parse(&["send"]).unwrap();
    archive.peers.push(PeerConfig::pinned("cloud", cloud_key.peer_id()).with_rights(taking, Sees::Own));
    cloud.peers.push(PeerConfig::pinned("hospital", hospital_key.peer_id()).with_rights(PeerRights::all(), Sees::Own));
    let first = start(cloud.clone()).await;
    let (mut hospital, _) = site(root.path(), "hospital");
    hospital
        .peers
        .push(PeerConfig::pinned("cloud", cloud_key.peer_id()).with_address(first.quic_address().to_string()));
    let studies = sent(root.path(), hospital, &[3, 4]).await;
    first.stop().await;

    // Nobody answers there: everything stays.
    let dead = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut at = PeerConfig::pinned("archive", archive_key.peer_id());
    cloud.peers.push(at.clone().with_address(dead.local_addr().unwrap().to_string()));
    cloud.retention.keep = Some(Duration::ZERO);
    cloud.retention.at = Some("archive".to_owned());
    let silent = start(cloud.clone()).await;
    eventually(async || get(&silent, "/status").await.body.contains("archive").then_some(())).await;
    silent.stop().await;

    let archive = start(archive).await;
    at.address = Some(archive.quic_address().to_string());
    *cloud.peers.last_mut().unwrap() = at;
    // What the hospital sends is kept for a day.
    let mut keeping = cloud.clone();
    keeping.peers[0].keep = Some(Duration::from_hours(24));
    let kept = start(keeping).await;
    eventually(async || (kept.depot().index.totals().unwrap().studies == 2).then_some(())).await;
    kept.stop().await;
    assert!(archive.depot().index.study_keys(None, 10).unwrap().is_empty(), "nothing was due");

    let cloud = start(cloud).await;
    eventually(async || (cloud.depot().index.totals().unwrap().studies == 0).then_some(())).await;
    for study in &studies {
        assert_eq!((instances(&cloud, study), instances(&archive, study)), (0, 4), "it is there, and only there");
        let rows = archive.depot().index.study(&Scope::All, study).unwrap();
        assert_eq!((rows[0].owner, rows[0].version), (cloud_key.peer_id(), 1));
    }
    cloud.stop().await;
    archive.stop().await;
    let told = audit(root.path(), "cloud", "removed");
    assert_eq!(told.len(), 2);
    assert_eq!((&told[0]["actor"], &told[0]["held_at"]), (&"daemon".into(), &"archive".into()));
    assert_eq!(audit(root.path(), "cloud", "receipt-got").len(), 2);
    let _: PeerId = archive_key.peer_id();
}
