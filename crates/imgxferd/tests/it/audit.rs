//! The audit tells what happened at every door, and nothing of a patient.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use imgxfer_core::client::{Client, FrameRequest, PullOptions, PullTarget, PushOptions, RetryPolicy};
use imgxfer_core::codec::{Level, LevelChoice, Registry};
use imgxfer_core::depot::Depot;
use imgxfer_core::dicom::tags;
use imgxfer_core::ids::PeerId;
use imgxfer_core::priority::Priority;
use imgxfer_core::receive::DepotIntake;
use imgxfer_core::send::{FileSource, OtherFiles};
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::search::Search;
use imgxfer_core::store::{MemIndex, MemRecords, Scope};
use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Trust};
use imgxferd::audit::{AUDIT_FILE, Record, files_in, read_line, verify};
use imgxferd::config::{Config, Inbox, PeerConfig, PeerRights, Schedule, Sees, Sources};
use imgxferd::queue::JobState;

use crate::support::{all_in, ask, cloud_and_hospital, eventually, get, jobs, raw, site, start};

const SECRETS: [&str; 4] = ["Mustermann", "Erika", "PID-4711", "ACC-0815"];

fn study(seed: u64, instances: u32) -> StudySpec {
    let spec = StudySpec::new(seed).with_instances(1, instances).with_size(32, 32);
    spec.with_patient_name("Mustermann^Erika").with_patient_id("PID-4711").with_accession_number("ACC-0815")
}

fn records(state: &Path) -> Vec<Record> {
    let files = files_in(&state.join("audit")).unwrap();
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    text.lines().map(|line| read_line(line.as_bytes()).unwrap()).collect()
}

/// Everything but the audit's own: event, who, outcome.
fn story(records: &[Record]) -> Vec<(String, String, String)> {
    let told = records.iter().filter(|record| record.text("event") != "checkpoint");
    let field = |record: &Record, name: &str| record.text(name).to_owned();
    told.map(|record| (field(record, "event"), field(record, "actor"), field(record, "outcome"))).collect()
}

fn told<'a>(records: &'a [Record], event: &str) -> &'a Record {
    records.iter().find(|record| record.text("event") == event).unwrap_or_else(|| panic!("no {event} in {records:?}"))
}

/// The whole folder holds together, is signed to its end, and tells nothing of a patient.
fn sound(state: &Path, key: PeerId) {
    let folder = state.join("audit");
    let found = verify(&files_in(&folder).unwrap(), Some(&folder), &[key]).unwrap();
    assert!(found.faults.is_empty(), "{found:?}");
    assert_eq!(found.signed, found.last, "{found:?}");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
}

fn uids(record: &Record) -> Vec<String> {
    let studies = record.fields()["studies"].as_array().unwrap();
    studies.iter().map(|uid| uid.as_str().unwrap().to_owned()).collect()
}

fn client(identity: &Identity) -> Client {
    let config =
        EndpointConfig::new("127.0.0.1:0".parse().unwrap(), identity.clone(), Trust::new(), imgxfer_core::ALPN);
    Client::new(Endpoint::bind(config).unwrap())
}

fn nothing(_: &imgxfer_core::progress::TransferEvent) {}

async fn push(client: &Client, to: &Dial, folder: &Path) -> bool {
    let paths = [folder.to_owned()];
    let source = || Box::new(FileSource::new(&paths, OtherFiles::Skip)) as _;
    let options = PushOptions::default().with_retry(RetryPolicy::once());
    client.push(to, source, &options, &nothing).await.is_ok()
}

async fn pull(client: &Client, from: &Dial, target: PullTarget) -> bool {
    let depot = Depot::new(Arc::new(MemRecords::default()), Arc::new(MemIndex::default()), Registry::default());
    let intake = move |peer| Ok(Arc::new(DepotIntake::new(&depot, peer, Scope::owner(peer))?) as _);
    let options = PullOptions::default().with_retry(RetryPolicy::once());
    client.pull(from, &target, intake, &options, &nothing).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_does_is_told_in_order() {
    let root = tempfile::tempdir().unwrap();
    let (mut cloud, key) = site(root.path(), "cloud");
    let state = cloud.state_dir.clone();
    let (friend, stranger, mute) =
        (Identity::generate().unwrap(), Identity::generate().unwrap(), Identity::generate().unwrap());
    cloud.peers.push(PeerConfig::pinned("north", friend.peer_id()).with_rights(PeerRights::all(), Sees::Own));
    cloud.peers.push(PeerConfig::pinned("mute", mute.peer_id()));
    let daemon = start(cloud).await;
    let to = Dial::from(daemon.quic_address()).with_peer(key.peer_id());
    let files = root.path().join("Mustermann^Erika");
    let spec = study(1, 3);
    spec.write_to(&files).unwrap();

    let north = client(&friend);
    assert!(push(&north, &to, &files).await);
    let search = Search::default().by(tags::PATIENT_ID, "PID-4711").unwrap();
    assert_eq!(north.find(&to, &search).await.unwrap().rows.len(), 1);
    assert!(pull(&north, &to, PullTarget::patient_id("PID-4711")).await);
    assert!(!pull(&north, &to, PullTarget::accession_number("none")).await);
    let image = spec.instance(1, 2).bytes;
    let image = imgxfer_core::dicom::scan(&image).unwrap().identity.unwrap();
    let frames =
        |numbers: &str| FrameRequest::new(image.study.clone(), image.sop_instance.clone(), numbers.parse().unwrap());
    assert_eq!(north.frames(&to, &frames("1")).await.unwrap().frames[0].bytes.len(), 32 * 32 * 2);
    north.frames(&to, &frames("2-3")).await.unwrap_err();
    assert!(!push(&client(&stranger), &to, &files).await);
    let mute_client = client(&mute);
    assert!(!push(&mute_client, &to, &files).await);
    mute_client.find(&to, &search).await.unwrap_err();
    let uid = spec.study_uid();
    assert!(!pull(&mute_client, &to, PullTarget::study(uid.clone())).await);
    daemon.stop().await;

    let records = records(&state);
    let all = story(&records);
    let all: Vec<_> = all.iter().map(|(event, who, how)| (event.as_str(), who.as_str(), how.as_str())).collect();
    // A connection serves one thing here; what a transfer tells at its end may come behind the next one's beginning.
    let (mut ends, rest): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(event, ..)| ["receipt-given", "receipt-got", "sent"].contains(event));
    ends.sort_unstable();
    let north = |event| (event, "peer:north", "ok");
    let session = ("session", "peer:mute", "ok");
    assert_eq!(ends, [north("receipt-given"), north("receipt-got"), north("sent")]);
    assert_eq!(
        rest,
        [
            ("start", "daemon", "ok"),
            north("session"),
            north("received"),
            north("session"),
            north("query"),
            north("session"),
            north("pull-asked"),
            north("session"),
            ("pull-asked", "peer:north", "refused"),
            north("session"),
            north("frames"),
            north("session"),
            ("frames", "peer:north", "refused"),
            ("session", "stranger", "refused"),
            session,
            ("send", "peer:mute", "refused"),
            session,
            ("query", "peer:mute", "refused"),
            session,
            ("pull-asked", "peer:mute", "refused"),
            ("stop", "daemon", "ok"),
        ]
    );
    let received = told(&records, "received");
    assert_eq!(uids(received), [uid.as_str()]);
    assert_eq!((received.number("instances"), received.fields()["complete"].as_bool()), (Some(3), Some(true)));
    assert_eq!(received.text("key"), friend.peer_id().fingerprint());
    let given = told(&records, "receipt-given");
    assert_eq!((given.text("root"), given.text("transfer")), (received.text("root"), received.text("transfer")));
    let query = told(&records, "query");
    assert_eq!((query.fields()["by"].clone(), query.number("rows")), (serde_json::json!(["PatientID"]), Some(1)));
    let given = told(&records, "frames");
    assert_eq!((given.text("frames"), given.number("given"), given.number("bytes")), ("1", Some(1), Some(2048)));
    assert_eq!(given.fields()["by_instances"], serde_json::json!([image.sop_instance.as_str()]));
    let sent = told(&records, "sent");
    assert_eq!((uids(sent), sent.number("instances")), (vec![uid.as_str().to_owned()], Some(3)));
    let refused = records.iter().find(|record| record.text("actor") == "stranger").unwrap();
    assert_eq!((refused.text("why"), refused.text("key")), ("unknown", stranger.peer_id().fingerprint().as_str()));
    let last = records.iter().rfind(|record| record.text("event") == "pull-asked").unwrap();
    assert_eq!((last.fields()["by_studies"][0].as_str(), last.text("why")), (Some(uid.as_str()), "no right to this"));
    sound(&state, key.peer_id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_daemons_that_pair_and_forward_tell_the_same_story() {
    let root = tempfile::tempdir().unwrap();
    let (cloud, cloud_key) = site(root.path(), "Cloud");
    let (mut hospital, hospital_key) = site(root.path(), "St Elsewhere");
    let inbox = root.path().join("inbox");
    std::fs::create_dir_all(&inbox).unwrap();
    let states = [cloud.state_dir.clone(), hospital.state_dir.clone()];
    let quick = Inbox::new(&inbox, "vault").with_times(Duration::from_millis(50), Duration::from_millis(200));
    hospital.inboxes.push(quick);
    let (cloud, hospital) = (start(cloud).await, start(hospital).await);
    let invited = ask(&cloud, "POST", "/pair/invite", "{\"rights\": [\"send\"], \"minutes\": 5}").await.json();
    let code = invited["code"].as_str().unwrap().to_owned();
    let join = serde_json::json!({ "address": cloud.quic_address().to_string(), "code": code }).to_string();
    assert_eq!(ask(&hospital, "POST", "/pair/join", &join).await.status, 202);
    for (daemon, body) in [
        (&cloud, "{\"accept\": true, \"name\": \"elsewhere\"}"),
        (&hospital, "{\"accept\": true, \"name\": \"vault\"}"),
    ] {
        eventually(async || (ask(daemon, "POST", "/pair/confirm", body).await.status == 202).then_some(())).await;
    }
    for daemon in [&cloud, &hospital] {
        let state = async || ask(daemon, "GET", "/pair/state", "").await.json();
        eventually(async || (state().await["state"] == "paired").then_some(())).await;
    }
    let address = hospital.admin_address();
    let bare = format!("POST /drain HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    assert_eq!(raw(address, &bare).await.status, 401);
    ask(&hospital, "POST", "/consultation/start", "{\"minutes\": 5, \"mbps\": 50}").await;
    ask(&hospital, "POST", "/consultation/end", "").await;
    let spec = study(2, 4);
    spec.write_to(&inbox.join("ct")).unwrap();
    let done = jobs(hospital.queue(), all_in(JobState::Done)).await;
    ask(&hospital, "POST", &format!("/queue/{}/retry", done[0].id), "").await;
    hospital.stop().await;
    cloud.stop().await;

    let of_cloud: Vec<String> = story(&records(&states[0])).into_iter().map(|(event, ..)| event).collect();
    let expected =
        ["start", "pairing-opened", "pairing-code-used", "peer-added", "session", "received", "receipt-given", "stop"];
    assert_eq!(of_cloud, expected);
    let of_hospital = records(&states[1]);
    let events: Vec<String> = story(&of_hospital).into_iter().map(|(event, ..)| event).collect();
    let expected = [
        "start",
        "pairing-joined",
        "pairing-code-used",
        "peer-added",
        "admin",
        "consultation-started",
        "consultation-ended",
        "receipt-got",
        "forwarded",
        "stop",
    ];
    assert_eq!(events, expected);
    let forwarded = told(&of_hospital, "forwarded");
    assert_eq!(
        (forwarded.text("actor"), forwarded.text("peer")),
        (format!("inbox:{}", inbox.display()).as_str(), "vault")
    );
    assert_eq!((uids(forwarded), forwarded.number("instances")), (vec![spec.study_uid().to_string()], Some(4)));
    let received = told(&records(&states[0]), "received").clone();
    assert_eq!(received.text("root"), forwarded.text("root"), "both ends name the same manifest");
    let added = told(&records(&states[0]), "peer-added").clone();
    assert_eq!(added.fields()["peer"]["key"], hospital_key.peer_id().fingerprint());
    assert_eq!(added.fields()["peer"]["rights"], serde_json::json!(["send"]));
    for (state, key) in states.iter().zip([cloud_key, hospital_key]) {
        sound(state, key.peer_id());
        let text = std::fs::read_to_string(state.join("audit").join(AUDIT_FILE)).unwrap();
        assert!(!text.contains(&code) && !text.contains(&code.replace('-', "")), "the code is nowhere");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_is_cut_short_is_told_with_what_it_left() {
    let root = tempfile::tempdir().unwrap();
    let (cloud, mut hospital) = cloud_and_hospital(root.path(), PeerRights::all()).await;
    let states = [root.path().join("cloud"), hospital.state_dir.clone()];
    hospital.peers[0].limits = Schedule::always(4.0);
    hospital.peers[0].level = LevelChoice::Fixed(Level::STORE);
    hospital.drain = Duration::ZERO;
    let daemon = start(hospital).await;
    let files = root.path().join("files");
    let spec = StudySpec::new(4).with_instances(1, 16).with_size(512, 512);
    spec.write_to(&files).unwrap();
    daemon.enqueue("cloud", &[files], Priority::Routine).unwrap();
    eventually(async || {
        let status = get(&cloud, "/status").await.json();
        (status["transfers"][0]["instances_committed"].as_u64()? > 0).then_some(())
    })
    .await;
    daemon.stop().await;
    eventually(async || (get(&cloud, "/status").await.json()["transfers"] == serde_json::json!([])).then_some(()))
        .await;
    cloud.stop().await;
    let (here, there) = (records(&states[0]), records(&states[1]));
    let (received, forwarded) = (told(&here, "received"), told(&there, "forwarded"));
    for record in [received, forwarded] {
        assert_eq!(
            (record.text("outcome"), uids(record)),
            ("failed", vec![spec.study_uid().to_string()]),
            "{record:?}"
        );
    }
    let left = received.number("instances").unwrap();
    assert!((1..16).contains(&left), "{received:?}");
    assert_eq!((received.text("transfer"), forwarded.text("why")), (forwarded.text("transfer"), "stopped"));
    assert!(story(&here).iter().all(|(event, ..)| event != "receipt-given"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_rights_are_told() {
    let root = tempfile::tempdir().unwrap();
    let (mut config, key) = site(root.path(), "cloud");
    let peer = |name, n: u8, rights: &[&str]| {
        PeerConfig::pinned(name, PeerId::of_key(&[n])).with_rights(PeerRights::parse(rights).unwrap(), Sees::Own)
    };
    config.peers = vec![peer("north", 1, &["send"]), peer("south", 2, &[])];
    let state = config.state_dir.clone();
    let daemon = start(config.clone()).await;
    config.peers = vec![peer("north", 1, &["send", "pull"]), peer("west", 3, &[])];
    daemon.reload(&config);
    daemon.stop().await;
    let records = records(&state);
    assert_eq!(told(&records, "start").fields()["peers"][0]["rights"], serde_json::json!(["send"]));
    let changed = told(&records, "rights-changed");
    assert_eq!(changed.fields()["before"]["rights"], serde_json::json!(["send"]));
    assert_eq!(changed.fields()["peer"]["rights"], serde_json::json!(["send", "pull"]));
    assert_eq!(told(&records, "peer-removed").fields()["peer"]["name"], "south");
    assert_eq!(told(&records, "peer-added").fields()["peer"]["name"], "west");
    sound(&state, key.peer_id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_audit_work_goes_on_or_does_not_as_it_is_set() {
    for required in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let (mut cloud, key) = site(root.path(), "cloud");
        let friend = Identity::generate().unwrap();
        cloud.peers.push(PeerConfig::pinned("north", friend.peer_id()).with_rights(PeerRights::all(), Sees::Own));
        // A file where the folder should be.
        cloud.audit.path = root.path().join("taken");
        cloud.audit.required = required;
        std::fs::write(&cloud.audit.path, "x").unwrap();
        let daemon = start(cloud).await;
        let health = eventually(async || {
            let health = get(&daemon, "/readyz").await;
            (health.json()["checks"]["audit"]["ok"] == false).then_some(health)
        })
        .await;
        assert_eq!(health.status, if required { 503 } else { 200 }, "{}", health.body);
        assert!(get(&daemon, "/metrics").await.body.contains("imgxfer_audit_failed 1"));
        let files = root.path().join("files");
        study(3, 1).write_to(&files).unwrap();
        let to = Dial::from(daemon.quic_address()).with_peer(key.peer_id());
        assert_eq!(push(&client(&friend), &to, &files).await, !required);
        let invited = ask(&daemon, "POST", "/pair/invite", "{}").await;
        assert_eq!(invited.status, if required { 503 } else { 200 });
        std::fs::remove_file(root.path().join("taken")).unwrap();
        eventually(async || {
            let checks = get(&daemon, "/readyz").await.json();
            (checks["checks"]["audit"]["ok"] == true).then_some(())
        })
        .await;
        assert!(push(&client(&friend), &to, &files).await);
        daemon.stop().await;
        let text = std::fs::read_to_string(root.path().join("taken").join(AUDIT_FILE)).unwrap();
        assert_eq!(text.matches("\"event\":\"receipt-given\"").count(), if required { 1 } else { 2 }, "{text}");
        let refused = text.lines().filter(|line| line.contains("no work is taken while the audit cannot be written"));
        let refused: Vec<&str> = refused.collect();
        assert_eq!(refused.len(), usize::from(required), "{text}");
        assert!(refused.iter().all(|line| line.contains("\"event\":\"send\"") && line.contains("peer:north")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stopping_site_refuses_is_told() {
    let root = tempfile::tempdir().unwrap();
    let (mut config, key) = site(root.path(), "site");
    let friend = Identity::generate().unwrap();
    config.peers.push(PeerConfig::pinned("north", friend.peer_id()).with_rights(PeerRights::all(), Sees::Own));
    // Nobody answers there, so that the stopping takes its time.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    config.peers.push(PeerConfig::pinned("silent", PeerId::of_key(b"silent")).with_address(address));
    let state = config.state_dir.clone();
    let daemon = start(config).await;
    let files = root.path().join("files");
    study(5, 1).write_to(&files).unwrap();
    daemon.enqueue("silent", &[files], Priority::Routine).unwrap();
    jobs(daemon.queue(), all_in(JobState::Running)).await;
    let (to, client) = (Dial::from(daemon.quic_address()).with_peer(key.peer_id()), client(&friend));
    let stopping = tokio::spawn(daemon.stop());
    let search = Search::default().by(tags::PATIENT_ID, "PID-4711").unwrap();
    eventually(async || client.find(&to, &search).await.is_err().then_some(())).await;
    stopping.abort();
    drop(stopping.await);
    let records = records(&state);
    let refused = records.iter().find(|record| record.text("outcome") == "refused").unwrap();
    assert_eq!((refused.text("event"), refused.text("why")), ("query", "the site is stopping"), "{records:?}");
    assert_eq!((refused.text("actor"), &refused.fields()["by"]), ("peer:north", &serde_json::json!(["PatientID"])));
    sound(&state, key.peer_id());
}

fn written(folder: &Path, key: PeerId) -> PathBuf {
    let file = folder.join("imgxferd.toml");
    let text = format!(
        "state_dir = \"state\"\n[listen]\nquic = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [[peers]]\nname = \"north\"\nkey = \"{}\"\nrights = [\"query\"]\n",
        key.fingerprint()
    );
    std::fs::write(&file, text).unwrap();
    file
}

/// A daemon of its own process, and where it listens.
fn spawn(config: &Path) -> (std::process::Child, Dial) {
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("imgxferd"));
    command.env_clear().arg("--config").arg(config).stderr(std::process::Stdio::piped());
    let mut daemon = command.spawn().unwrap();
    let mut log = BufReader::new(daemon.stderr.take().unwrap()).lines().map(Result::unwrap);
    let ready = log.by_ref().find(|line| line.contains("\"ready\"")).expect("it never became ready");
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let dial = Dial::new(ready["quic"].as_str().unwrap());
    let dial = dial.with_peer(PeerId::parse(ready["fingerprint"].as_str().unwrap()).unwrap());
    // The pipe is read on, so that the daemon never waits for it.
    drop(std::thread::spawn(move || log.for_each(drop)));
    (daemon, dial)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_killed_while_it_writes_leaves_a_chain_that_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let friend = Identity::generate().unwrap();
    let config = written(root.path(), friend.peer_id());
    let north = client(&friend);
    let mut last = 0;
    for round in 0..6u32 {
        let (mut daemon, dial) = spawn(&config);
        // Enough that something is always being written, and killed at another moment each time.
        let asking = async {
            loop {
                let search = Search::default();
                let asked = (0..8).map(|_| north.find(&dial, &search));
                for answer in asked {
                    drop(answer.await);
                }
            }
        };
        let most = Duration::from_millis(300 + u64::from(round) * 37);
        drop(tokio::time::timeout(most, asking).await);
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        if round == 3 {
            // As a loss of power may leave it.
            let log = root.path().join("state/audit").join(AUDIT_FILE);
            let text = std::fs::read(&log).unwrap();
            std::fs::write(&log, [&text[..], &text[..40]].concat()).unwrap();
        }
        let state = root.path().join("state");
        let found = verify(&files_in(&state.join("audit")).unwrap(), Some(&state.join("audit")), &[]).unwrap();
        assert!(found.faults.is_empty(), "round {round}: {found:?}");
        assert!(found.records > last, "round {round}: {found:?}");
        last = found.records;
    }
    let config = Config::load(&Sources::file(config)).unwrap();
    let (state, key) = (config.state_dir.clone(), Identity::load(&config.state_dir.join("identity")).unwrap());
    start(config).await.stop().await;
    let records = records(&state);
    assert_eq!(records.iter().filter(|record| record.text("event") == "start").count(), 7);
    assert_eq!(records.iter().filter(|record| record.text("event") == "torn").count(), 1);
    sound(&state, key.peer_id());
}
