//! What an operator wants of peers and jobs while the daemon runs, over the admin listener.

use std::path::PathBuf;
use std::time::Duration;

use imgxfer_core::priority::Priority;
use imgxfer_core::sim::studies::StudySpec;
use imgxferd::config::{After, Inbox, PeerRights, Schedule};
use imgxferd::queue::JobState;

use crate::support::{all_in, ask, cloud_and_hospital, eventually, get, jobs, site, start};

fn quick(path: PathBuf) -> Inbox {
    Inbox::new(path, "cloud").with_times(Duration::from_millis(50), Duration::from_millis(200))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_is_cancelled_and_tried_again() {
    let root = tempfile::tempdir().unwrap();
    let (cloud, mut hospital) = cloud_and_hospital(root.path(), PeerRights::all()).await;
    // As little as may be, without compression: it takes longer than the test looks at it.
    hospital.peers[0].limits = Schedule::always(0.1);
    hospital.peers[0].level = imgxfer_core::codec::LevelChoice::Fixed(imgxfer_core::codec::Level::STORE);
    let daemon = start(hospital.clone()).await;
    let files = root.path().join("files");
    StudySpec::new(1).with_instances(1, 4).with_size(256, 256).write_to(&files).unwrap();
    let id = daemon.enqueue("cloud", &[files], Priority::Routine).unwrap();
    let runs = async || {
        let status = get(&daemon, "/status").await.json();
        (status["transfers"][0]["bytes_arrived"].as_u64()? > 0).then_some(())
    };
    eventually(runs).await;
    let cancelled = ask(&daemon, "POST", &format!("/queue/{id}/cancel"), "").await;
    assert_eq!((cancelled.status, &cancelled.json()["state"]), (200, &"cancelled".into()));
    eventually(async || get(&daemon, "/status").await.json()["transfers"].as_array()?.is_empty().then_some(())).await;
    assert_eq!(daemon.queue().job(id).unwrap().unwrap().state, JobState::Cancelled);
    let again = ask(&daemon, "POST", &format!("/queue/{id}/cancel"), "").await;
    assert_eq!((again.status, again.body.contains("cancelled")), (409, true), "{}", again.body);
    assert_eq!(ask(&daemon, "POST", "/queue/99/cancel", "").await.status, 404);

    hospital.peers[0].limits = Schedule::default();
    daemon.reload(&hospital);
    assert_eq!(ask(&daemon, "POST", &format!("/queue/{id}/retry"), "").await.status, 200);
    jobs(daemon.queue(), all_in(JobState::Done)).await;
    assert_eq!(ask(&daemon, "POST", &format!("/queue/{id}/dismiss"), "").await.status, 409);
    daemon.stop().await;
    cloud.stop().await;
    let audit = std::fs::read_to_string(root.path().join("hospital/audit/audit.log")).unwrap();
    assert!(audit.contains("\"event\":\"job-cancelled\"") && audit.contains("\"event\":\"job-retried\""), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dismissed_job_is_done_with_what_is_committed_of_it() {
    let root = tempfile::tempdir().unwrap();
    let (cloud, mut hospital) = cloud_and_hospital(root.path(), PeerRights::all()).await;
    let inbox = root.path().join("inbox");
    let files = StudySpec::new(2).with_instances(1, 3).with_size(32, 32).write_to(&inbox).unwrap();
    hospital.inboxes.push(quick(inbox.clone()).with_after(After::Delete));
    // It is queued, and then one of its files becomes something that cannot be sent.
    let address = hospital.peers[0].address.replace("no-such-host.invalid:9".to_owned());
    let daemon = start(hospital.clone()).await;
    let id = jobs(daemon.queue(), |jobs| !jobs.is_empty()).await[0].id;
    std::fs::remove_file(&files[1]).unwrap();
    std::os::unix::fs::symlink(&files[0], &files[1]).unwrap();
    hospital.peers[0].address = address;
    daemon.reload(&hospital);
    let failed = jobs(daemon.queue(), |jobs| {
        if jobs[0].state == JobState::Waiting {
            daemon.queue().retry(id).unwrap();
        }
        jobs[0].state == JobState::Failed
    });
    let failed = failed.await.remove(0);
    assert!(failed.last_error.as_deref().is_some_and(|error| error.starts_with("partial")), "{failed:?}");
    assert!(files.iter().all(|file| file.symlink_metadata().is_ok()), "nothing is touched before somebody says so");
    assert_eq!(ask(&daemon, "POST", &format!("/queue/{id}/dismiss"), "").await.status, 200);
    eventually(async || (!files[0].exists() && !files[2].exists()).then_some(())).await;
    assert!(files[1].symlink_metadata().is_ok(), "what was not committed stays");
    assert_eq!(daemon.queue().job(id).unwrap().unwrap().state, JobState::Dismissed);
    assert_eq!(ask(&daemon, "POST", &format!("/queue/{id}/retry"), "").await.status, 409);
    daemon.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_files_are_gone_can_be_dismissed() {
    let root = tempfile::tempdir().unwrap();
    let (cloud, mut hospital) = cloud_and_hospital(root.path(), PeerRights::all()).await;
    let address = hospital.peers[0].address.replace("no-such-host.invalid:9".to_owned());
    let daemon = start(hospital.clone()).await;
    let files = root.path().join("files");
    let paths = StudySpec::new(3).with_instances(1, 3).with_size(32, 32).write_to(&files).unwrap();
    let all = daemon.enqueue("cloud", std::slice::from_ref(&paths[0]), Priority::Routine).unwrap();
    let some = daemon.enqueue("cloud", &paths[1..], Priority::Routine).unwrap();
    std::fs::remove_file(&paths[0]).unwrap();
    std::fs::remove_file(&paths[1]).unwrap();
    hospital.peers[0].address = address;
    daemon.reload(&hospital);
    let of = |id: i64| daemon.queue().job(id).unwrap().unwrap();
    jobs(daemon.queue(), |_| {
        for id in [all, some] {
            if of(id).state == JobState::Waiting {
                daemon.queue().retry(id).unwrap();
            }
        }
        of(all).state == JobState::Failed && of(some).state == JobState::Done
    })
    .await;
    assert_eq!((of(some).gone, of(some).instances), (1, Some(1)), "the rest is done");
    assert!(of(all).last_error.unwrap().starts_with("files-gone"), "{:?}", of(all));
    let shown = ask(&daemon, "GET", &format!("/queue/{all}"), "").await.json();
    assert_eq!(shown["files"][0]["state"], "gone");
    assert_eq!(ask(&daemon, "POST", &format!("/queue/{all}/dismiss"), "").await.status, 200);
    daemon.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_configuration_is_not_changed_from_here() {
    let root = tempfile::tempdir().unwrap();
    let (cloud, mut hospital) = cloud_and_hospital(root.path(), PeerRights::all()).await;
    hospital.inboxes.push(quick(root.path().join("inbox")));
    let daemon = start(hospital).await;
    let removed = ask(&daemon, "POST", "/peers/cloud/remove", "").await;
    assert_eq!((removed.status, removed.body.contains("inbox")), (409, true), "{}", removed.body);
    let changed = ask(&daemon, "POST", "/peers/cloud/rights", "{\"rights\": [\"query\"]}").await;
    assert_eq!((changed.status, changed.body.contains("not from pairing")), (409, true), "{}", changed.body);
    for (path, body, status) in [
        ("/peers/nobody/remove", "", 404),
        ("/peers/nobody/rights", "{\"sees\": \"own\"}", 404),
        ("/peers/cloud/rights", "{}", 400),
        ("/peers/cloud/rights", "{\"rights\": [\"see\"]}", 400),
        ("/peers/cloud/rights", "{\"sees\": \"everything\"}", 400),
        ("/peers/cloud/rights", "{\"sees\": [\"nobody\"]}", 400),
        ("/reload", "", 409),
    ] {
        assert_eq!(ask(&daemon, "POST", path, body).await.status, status, "{path} {body}");
    }
    daemon.stop().await;
    cloud.stop().await;
    let (alone, _) = site(root.path(), "alone");
    let daemon = start(alone).await;
    assert!(get(&daemon, "/status").await.json()["peers"].as_array().unwrap().is_empty());
    daemon.stop().await;
}
