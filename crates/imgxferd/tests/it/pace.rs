//! Limits, consultations and priorities, as an operator sets and sees them.

use imgxfer_core::codec::{Level, LevelChoice};
use imgxfer_core::priority::Priority;
use imgxfer_core::sim::studies::StudySpec;
use imgxferd::Daemon;
use imgxferd::config::{PeerRights, Schedule};
use imgxferd::queue::JobState;
use serde_json::Value;

use crate::support::{all_in, ask, cloud_and_hospital, eventually, get, jobs, site, start};

/// The one transfer that runs, once its line is known.
async fn running(daemon: &Daemon) -> Value {
    eventually(async || {
        let status = get(daemon, "/status").await.json();
        let transfer = status["transfers"].get(0)?.clone();
        (transfer["rtt_ms"].is_number() && transfer["line_bytes_per_second"].as_u64()? > 0).then_some(transfer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limited_transfer_is_shown_with_its_line_and_lifted_for_an_emergency() {
    let root = tempfile::tempdir().unwrap();
    let (cloud, mut hospital) = cloud_and_hospital(root.path(), PeerRights::all()).await;
    // As little as may be, without compression: it takes longer than the test looks at it.
    hospital.peers[0].limits = Schedule::always(0.1);
    hospital.peers[0].level = LevelChoice::Fixed(Level::STORE);
    let daemon = start(hospital).await;
    let (slow, urgent) = (root.path().join("slow"), root.path().join("urgent"));
    let study = |seed| StudySpec::new(seed).with_instances(1, 4).with_size(256, 256);
    study(1).write_to(&slow).unwrap();
    study(2).write_to(&urgent).unwrap();
    let slow = daemon.enqueue("cloud", &[slow], Priority::Background).unwrap();

    let out = running(&daemon).await;
    assert_eq!((&out["direction"], &out["peer"], &out["job"]), (&"out".into(), &"cloud".into(), &slow.into()));
    assert_eq!(
        (&out["priority"], &out["limit_mbps"], &out["carrier"]),
        (&"background".into(), &0.1.into(), &"udp".into())
    );
    assert!(out["queue_ms"].is_number() && out["loss_percent"].is_number(), "{out}");
    let inward = running(&cloud).await;
    assert_eq!((&inward["direction"], &inward["priority"]), (&"in".into(), &"background".into()));
    let status = get(&daemon, "/status").await.json();
    assert_eq!((&status["peers"][0]["limit_mbps"], &status["consultation"]), (&0.1.into(), &Value::Null));
    let metrics = get(&daemon, "/metrics").await.body;
    for name in [
        "imgxfer_limit_bytes_per_second{peer=\"cloud\"} 12500",
        "imgxfer_running_line_bytes_per_second{peer=\"cloud\",direction=\"out\"}",
        "imgxfer_running_loss_ratios{",
        "imgxfer_running_queue_delay_seconds{",
        "imgxfer_quic_rtt_seconds{peer=\"cloud\"}",
    ] {
        assert!(metrics.contains(name), "{name} is not in:\n{metrics}");
    }

    // An emergency goes beside it, above the limit.
    daemon.enqueue("cloud", &[urgent], Priority::Stat).unwrap();
    let now = jobs(daemon.queue(), |jobs| jobs.iter().any(|job| job.state == JobState::Done)).await;
    let state = |priority| now.iter().find(|job| job.priority == priority).unwrap().state;
    assert_eq!((state(Priority::Stat), state(Priority::Background)), (JobState::Done, JobState::Running));
    let answer = ask(&daemon, "POST", &format!("/queue/{slow}/priority"), "{\"priority\": \"stat\"}").await;
    assert_eq!(answer.status, 409, "{}", answer.body);
    drop(daemon);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consultation_caps_what_runs_until_it_ends() {
    let root = tempfile::tempdir().unwrap();
    let (cloud, mut hospital) = cloud_and_hospital(root.path(), PeerRights::all()).await;
    hospital.peers[0].level = LevelChoice::Fixed(Level::STORE);
    let daemon = start(hospital).await;
    for (body, status) in [("{\"minutes\": 241}", 400), ("{\"mbps\": 0}", 400), ("{\"hours\": 1}", 422)] {
        assert_eq!(ask(&daemon, "POST", "/consultation/start", body).await.status, status, "{body}");
    }
    let begun = ask(&daemon, "POST", "/consultation/start", "{\"minutes\": 5, \"mbps\": 0.2}").await.json();
    assert_eq!(begun["consultation"]["limit_mbps"], 0.2);
    let files = root.path().join("files");
    StudySpec::new(3).with_instances(1, 8).with_size(256, 256).write_to(&files).unwrap();
    daemon.enqueue("cloud", &[files], Priority::Routine).unwrap();
    assert_eq!(running(&daemon).await["limit_mbps"], 0.2);
    let shown = get(&daemon, "/status").await.json()["consultation"].clone();
    assert!((200..=300).contains(&shown["seconds_left"].as_u64().unwrap()), "{shown}");
    assert!(get(&daemon, "/metrics").await.body.contains("imgxfer_consultation 1"));

    // A megabyte at 0.2 Mbit/s would take most of a minute.
    assert_eq!(ask(&daemon, "POST", "/consultation/end", "").await.json()["was_on"], true);
    jobs(daemon.queue(), all_in(JobState::Done)).await;
    assert_eq!(get(&daemon, "/status").await.json()["consultation"], Value::Null);
    daemon.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_and_limits_are_read_anew_while_it_runs() {
    let root = tempfile::tempdir().unwrap();
    let (cloud, hospital) = cloud_and_hospital(root.path(), PeerRights::all()).await;
    let (mut alone, mut limited) = (hospital.clone(), hospital.clone());
    alone.peers.clear();
    limited.peers[0].limits = Schedule::always(4.0);
    let daemon = start(alone.clone()).await;
    daemon.reload(&limited);
    assert_eq!(get(&daemon, "/status").await.json()["peers"][0]["limit_mbps"], 4.0);
    let files = root.path().join("files");
    StudySpec::new(6).with_instances(1, 2).with_size(16, 16).write_to(&files).unwrap();
    daemon.enqueue("cloud", std::slice::from_ref(&files), Priority::Routine).unwrap();
    jobs(daemon.queue(), all_in(JobState::Done)).await;
    daemon.reload(&alone);
    assert!(daemon.enqueue("cloud", &[files], Priority::Routine).is_err());
    assert!(get(&daemon, "/status").await.json()["peers"].as_array().unwrap().is_empty());
    daemon.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_job_gets_another_priority() {
    let root = tempfile::tempdir().unwrap();
    let (mut config, _) = site(root.path(), "hospital");
    // Nobody is there.
    let nobody = imgxfer_core::ids::PeerId::of_key(b"nobody");
    let peer = imgxferd::config::PeerConfig::pinned("cloud", nobody).with_address("no-such-host.invalid:9");
    config.peers.push(peer);
    config.drain = std::time::Duration::ZERO;
    let daemon = start(config).await;
    let files = root.path().join("files");
    StudySpec::new(4).with_instances(1, 1).with_size(16, 16).write_to(&files).unwrap();
    let id = daemon.enqueue("cloud", &[files], Priority::Routine).unwrap();
    let path = format!("/queue/{id}/priority");
    eventually(async || (ask(&daemon, "POST", &path, "{\"priority\": \"stat\"}").await.status == 200).then_some(()))
        .await;
    assert_eq!(daemon.queue().job(id).unwrap().unwrap().priority, Priority::Stat);
    assert_eq!(get(&daemon, "/status").await.json()["queue"]["jobs"][0]["priority"], "stat");
    assert_eq!(ask(&daemon, "POST", &path, "{\"priority\": \"soon\"}").await.status, 422);
    assert_eq!(ask(&daemon, "POST", "/queue/99/priority", "{\"priority\": \"stat\"}").await.status, 404);
    daemon.stop().await;
}
