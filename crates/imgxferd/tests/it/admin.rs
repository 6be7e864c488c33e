//! The admin listener over real HTTP.

use imgxfer_core::priority::Priority;
use imgxfer_core::sim::studies::StudySpec;
use imgxferd::config::PeerRights;
use imgxferd::queue::JobState;

use crate::support::{all_in, ask, cloud_and_hospital, get, jobs, raw, site, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_metrics_and_status_show_work_and_no_patient() {
    let root = tempfile::tempdir().unwrap();
    let (cloud, hospital) = cloud_and_hospital(root.path(), PeerRights::all()).await;
    let daemon = start(hospital).await;
    let files = root.path().join("Mustermann^Erika");
    let study = StudySpec::new(1).with_instances(1, 3).with_size(32, 32).with_patient_name("Mustermann^Erika");
    let study = study.with_patient_id("PID-4711").with_accession_number("ACC-0815");
    study.write_to(&files).unwrap();
    let id = daemon.enqueue("cloud", &[files], Priority::Routine).unwrap();
    jobs(daemon.queue(), all_in(JobState::Done)).await;

    assert_eq!(get(&daemon, "/livez").await.status, 200);
    let ready = get(&daemon, "/readyz").await;
    assert_eq!(ready.status, 200, "{}", ready.body);
    assert_eq!(ready.json()["checks"]["disk"]["ok"], true);
    for (site, way) in [(&daemon, "out"), (&cloud, "in")] {
        let metrics = crate::support::eventually(async || {
            let text = get(site, "/metrics").await.body;
            text.contains(&format!("imgxfer_instances_total{{direction=\"{way}\",result=\"committed\"}} 3"))
                .then_some(text)
        })
        .await;
        for name in [
            "imgxfer_build_info{version=",
            "imgxfer_transfer_bytes_total{direction=",
            "stage=\"wire\"",
            "imgxfer_transfer_duration_seconds_bucket",
            "imgxfer_certificate_expiry_timestamp_seconds",
            "imgxfer_store_space_left_bytes",
            "imgxfer_chunk_dedup_bytes_total",
            "imgxfer_quic_lost_packets_total",
            "imgxfer_consultation 0",
        ] {
            assert!(metrics.contains(name), "{name} is not in:\n{metrics}");
        }
        let status = get(site, "/status").await;
        assert_eq!(status.status, 200);
        for text in [&metrics, &status.body] {
            for secret in ["Mustermann", "Erika", "4711", "0815", study.study_uid().as_str()] {
                assert!(!text.contains(secret), "{secret} is in:\n{text}");
            }
        }
    }
    assert!(get(&daemon, "/metrics").await.body.contains("imgxfer_queue_depth{destination=\"cloud\"} 0"));
    let status = get(&daemon, "/status").await.json();
    assert_eq!(status["site"], "hospital");
    assert_eq!(status["fingerprint"], daemon.fingerprint());
    assert_eq!(status["queue"]["jobs"][0]["id"], id);
    assert_eq!(status["queue"]["jobs"][0]["state"], "done");
    assert_eq!(status["peers"][0]["name"], "cloud");
    let store = &get(&cloud, "/status").await.json()["store"];
    assert_eq!((&store["studies"], &store["instances"]), (&1.into(), &3.into()));
    for (site, way, peer) in [(&daemon, "out", "cloud"), (&cloud, "in", "hospital")] {
        let past = crate::support::eventually(async || {
            let past = ask(site, "GET", "/history", "").await.json()["transfers"].as_array()?.clone();
            past.first().cloned()
        })
        .await;
        assert_eq!((&past["direction"], &past["peer"], &past["instances"]), (&way.into(), &peer.into(), &3.into()));
        assert_eq!((&past["studies"][0], &past["receipt"]), (&study.study_uid().as_str().into(), &true.into()));
        let shown = get(site, "/status").await.json()["history"][0].clone();
        assert_eq!((&shown["study_count"], &shown["studies"]), (&1.into(), &serde_json::Value::Null));
    }
    let of = async |uid: String| ask(&daemon, "GET", &format!("/receipts/{uid}"), "").await.json()["receipts"].clone();
    let receipts = of(study.study_uid().to_string()).await;
    assert_eq!((&receipts[0]["peer"], &receipts[0]["instances"]), (&"cloud".into(), &3.into()));
    assert_eq!(receipts[0]["key"], cloud.fingerprint());
    assert!(of("1.2.3".to_owned()).await.as_array().unwrap().is_empty());
    assert_eq!(ask(&daemon, "GET", "/receipts/x", "").await.status, 400);
    assert_eq!(ask(&daemon, "GET", "/receipts", "").await.json()["receipts"].as_array().unwrap().len(), 1);
    let job = ask(&daemon, "GET", &format!("/queue/{id}"), "").await;
    assert_eq!(job.json()["files"].as_array().unwrap().len(), 3, "{}", job.body);
    daemon.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_something_needs_the_token() {
    let root = tempfile::tempdir().unwrap();
    let daemon = start(site(root.path(), "site").0).await;
    let address = daemon.admin_address();
    for (method, path) in [
        ("POST", "/drain"),
        ("POST", "/queue/1/retry"),
        ("POST", "/queue/1/priority"),
        ("POST", "/queue/1/cancel"),
        ("POST", "/queue/1/dismiss"),
        ("POST", "/peers/x/rights"),
        ("POST", "/peers/x/remove"),
        ("POST", "/reload"),
        ("POST", "/consultation/start"),
        ("POST", "/consultation/end"),
        ("GET", "/queue/1"),
        ("GET", "/history"),
        ("GET", "/receipts"),
        ("GET", "/receipts/1.2.3"),
        ("POST", "/pair/invite"),
        ("GET", "/pair/state"),
        ("POST", "/pair/join"),
        ("POST", "/pair/confirm"),
    ] {
        for authorisation in ["", "Authorization: Bearer 0000\r\n", "Authorization: Basic 0000\r\n"] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{authorisation}Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
            assert_eq!(raw(address, &request).await.status, 401, "{method} {path} {authorisation}");
        }
    }
    assert_eq!(ask(&daemon, "POST", "/queue/1/retry", "").await.status, 404);
    assert_eq!(ask(&daemon, "GET", "/pair/state", "").await.json()["state"], "idle");
    assert_eq!(ask(&daemon, "POST", "/pair/confirm", "{\"accept\": true}").await.status, 409);
    assert_eq!(ask(&daemon, "POST", "/pair/invite", "{\"rihgts\": []}").await.status, 422);
    assert_eq!(ask(&daemon, "POST", "/pair/invite", "{\"rights\": [\"remove\"]}").await.status, 400);
    assert_eq!(get(&daemon, "/../etc/passwd").await.status, 404);
    use std::os::unix::fs::PermissionsExt as _;
    let token = root.path().join("site").join(imgxferd::ADMIN_TOKEN_FILE);
    assert_eq!(token.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(ask(&daemon, "POST", "/drain", "").await.status, 202);
    tokio::time::timeout(crate::support::DEADLINE, daemon.drain_wanted()).await.unwrap();
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_names_and_long_bodies_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let daemon = start(site(root.path(), "site").0).await;
    let address = daemon.admin_address();
    for (host, status) in [("evil.example", 421), ("localhost", 200), ("evil.example\r\nHost: localhost", 400)] {
        let request = format!("GET /status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(raw(address, &request).await.status, status, "{host}");
    }
    assert_eq!(raw(address, "GET /status HTTP/1.1\r\nConnection: close\r\n\r\n").await.status, 400);
    let long = ask(&daemon, "POST", "/pair/invite", &format!("{{\"x\": \"{}\"}}", "y".repeat(20 << 10))).await;
    assert_eq!(long.status, 413);
    // What is only announced is not waited for.
    let head = "POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9223372036854775807\r\n\r\n";
    assert_eq!(raw(address, head).await.status, 413);
    daemon.stop().await;
}
