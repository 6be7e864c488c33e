//! Two sites that have never met become peers through their admin listeners.

use imgxfer_core::priority::Priority;
use imgxfer_core::sim::studies::StudySpec;
use imgxferd::Daemon;
use imgxferd::queue::JobState;

use crate::support::{all_in, ask, eventually, jobs, site, start};

async fn asked(daemon: &Daemon) -> serde_json::Value {
    eventually(async || {
        let state = ask(daemon, "GET", "/pair/state", "").await.json();
        (state["state"] != "waiting").then_some(state)
    })
    .await
}

async fn paired(daemon: &Daemon) -> serde_json::Value {
    eventually(async || {
        let state = ask(daemon, "GET", "/pair/state", "").await.json();
        (state["state"] != "asking").then_some(state)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_pairs_two_sites_that_then_work_together() {
    let root = tempfile::tempdir().unwrap();
    let cloud = start(site(root.path(), "Cloud").0).await;
    let hospital = start(site(root.path(), "St Elsewhere").0).await;
    let invited = ask(&cloud, "POST", "/pair/invite", "{\"rights\": [\"send\"], \"minutes\": 5}").await.json();
    let join = serde_json::json!({ "address": cloud.quic_address().to_string(), "code": invited["code"] }).to_string();
    assert_eq!(ask(&hospital, "POST", "/pair/join", &join).await.status, 202);
    let (seen_here, seen_there) = (asked(&cloud).await, asked(&hospital).await);
    assert_eq!((&seen_here["state"], &seen_here["name"]), (&"asking".into(), &"St Elsewhere".into()), "{seen_here}");
    assert_eq!(seen_here["fingerprint"], hospital.fingerprint());
    assert_eq!(seen_there["fingerprint"], cloud.fingerprint());
    assert_eq!(ask(&cloud, "POST", "/pair/confirm", "{\"accept\": true}").await.status, 202);
    assert_eq!(ask(&hospital, "POST", "/pair/confirm", "{\"accept\": true, \"name\": \"vault\"}").await.status, 202);
    let (state_here, state_there) = (paired(&cloud).await, paired(&hospital).await);
    assert_eq!((&state_here["state"], &state_here["name"]), (&"paired".into(), &"st-elsewhere".into()), "{state_here}");
    assert_eq!(state_there["name"], "vault");

    let files = root.path().join("files");
    StudySpec::new(1).with_instances(1, 2).with_size(32, 32).write_to(&files).unwrap();
    hospital.enqueue("vault", &[files], Priority::Routine).unwrap();
    jobs(hospital.queue(), all_in(JobState::Done)).await;
    hospital.stop().await;
    cloud.stop().await;
    let kept = std::fs::read_to_string(root.path().join("Cloud/peers.toml")).unwrap();
    assert!(kept.contains("name = \"st-elsewhere\"") && kept.contains("rights = [\"send\"]"), "{kept}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_declined_is_no_peer() {
    let root = tempfile::tempdir().unwrap();
    let cloud = start(site(root.path(), "cloud").0).await;
    let hospital = start(site(root.path(), "hospital").0).await;
    let invited = ask(&cloud, "POST", "/pair/invite", "{}").await.json();
    let join = serde_json::json!({ "address": cloud.quic_address().to_string(), "code": invited["code"] }).to_string();
    ask(&hospital, "POST", "/pair/join", &join).await;
    asked(&cloud).await;
    asked(&hospital).await;
    ask(&cloud, "POST", "/pair/confirm", "{\"accept\": false}").await;
    ask(&hospital, "POST", "/pair/confirm", "{\"accept\": true}").await;
    assert_eq!(paired(&cloud).await["state"], "failed");
    assert_eq!(paired(&hospital).await["state"], "failed");
    assert!(cloud.peers().all().is_empty() && hospital.peers().all().is_empty());
    hospital.stop().await;
    cloud.stop().await;
}
