//! Push, list, pull and verify against a site on loopback.

use crate::harness::{Site, User, event, study};
use imgxfer_core::ids::PeerId;
use imgxfer_core::server::Rights;
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;

#[test]
fn a_study_goes_there_and_back() {
    let user = User::with_identity();
    let site = Site::serving(&user, Rights::all()).known_to(&user, "cloud");
    let uid = study(&user.path("in"), 1, 5);
    std::fs::write(user.path("in/note.txt"), "hello").unwrap();

    let pushed = user.run(&["push", "in", "--to", "cloud"]).success();
    let said = String::from_utf8(pushed.get_output().stdout.clone()).unwrap();
    assert!(said.contains("5 instances") && said.contains("line multiple"), "{said}");
    let talk = String::from_utf8(pushed.get_output().stderr.clone()).unwrap();
    assert!(talk.contains("skipped: 1 file") && talk.contains("note.txt"), "{talk}");
    assert!(!talk.contains('\u{1b}'), "no bar where there is no terminal");

    // The receipt was kept and holds.
    let receipt = said.lines().find_map(|line| line.strip_prefix("receipt")).unwrap().trim();
    user.run(&["receipt", receipt, "--key", &site.key.fingerprint()]).success().stdout(contains("instances    5"));
    let other = PeerId::of_key(b"other").fingerprint();
    user.run(&["receipt", receipt, "--key", &other]).code(7);

    // A second push finds everything there.
    let (code, lines) = user.json(&["push", "in", "--to", "cloud"]);
    assert_eq!(code, 0);
    let done = event(&lines, "done");
    assert_eq!((&done["instances"], &done["payload_bytes"], &done["complete"]), (&5.into(), &0.into(), &true.into()));
    assert_eq!(event(&lines, "skipped")["file"], "in/note.txt");
    assert!(event(&lines, "progress")["bytes_expected"].as_u64().unwrap() > 0);

    let listed = user.run(&["ls", "--from", "cloud", "--modality", "ct"]).success();
    let listed = String::from_utf8(listed.get_output().stdout.clone()).unwrap();
    assert!(listed.contains(&uid) && listed.contains("2026-01-02") && listed.contains("complete v1"), "{listed}");
    assert!(!listed.contains("CONFLICTS"), "{listed}");
    assert_eq!(user.json(&["ls", "--from", "cloud", "--date", "20260101-20260131"]).1[0]["instances"], 5);
    assert!(user.json(&["ls", "--from", "cloud", "--date", "-20251231"]).1.is_empty());

    user.run(&["pull", &uid, "--from", "cloud", "--out", "out"]).success().stdout(contains("written       5 files"));
    user.run(&["verify", "out"]).success();
    user.run(&["verify", "--original", "in", "--copy", "out", "--dicom-only"]).success();
    let (code, lines) = user.json(&["pull", "--accession", "ACC000001", "--from", "cloud", "--out", "out2"]);
    assert_eq!((code, &event(&lines, "done")["written"]), (0, &5.into()));
    user.run(&["pull", "1.2.3", "--from", "cloud", "--out", "out3"]).code(4);
    user.run(&["pull", &uid, "--accession", "ACC000002", "--from", "cloud", "--out", "out3"]).code(4);
}

#[test]
fn frames_are_fetched_into_files() {
    let user = User::with_identity();
    let _site = Site::serving(&user, Rights::all()).known_to(&user, "cloud");
    let spec = imgxfer_core::sim::studies::StudySpec::new(3).with_instances(1, 1).with_size(64, 48).with_frames(6);
    let paths = spec.write_to(&user.path("in")).unwrap();
    let file = std::fs::read(&paths[0]).unwrap();
    let scanned = imgxfer_core::dicom::scan(&file).unwrap();
    let (identity, table) = (scanned.identity.clone().unwrap(), scanned.frame_table().unwrap());
    let (study, instance) = (identity.study.as_str(), identity.sop_instance.as_str());
    user.run(&["push", "in", "--to", "cloud"]).success();
    let pull = ["pull", study, "--from", "cloud", "--instance", instance, "--out", "out", "--frames"];
    user.run(&[&pull[..], &["1,5-6"]].concat())
        .success()
        .stdout(contains("frames        3 of 6").and(contains("1.2.840.10008.1.2.1, pixels")))
        .stdout(contains("64 rows, 48 columns, 1 samples, 12 of 16 bits, high bit 11, MONOCHROME2"));
    for number in [1, 5, 6] {
        let written = std::fs::read(user.path(&format!("out/{instance}/frame-{number:04}.raw"))).unwrap();
        let range = table.range(number - 1).unwrap();
        assert_eq!(written, file[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]);
    }
    let (code, lines) = user.json(&[&pull[..], &["2"]].concat());
    assert_eq!((code, &event(&lines, "done")["rows"], &event(&lines, "frame")["number"]), (0, &64.into(), &2.into()));
    assert_eq!(event(&lines, "done")["transfer_syntax"], "1.2.840.10008.1.2.1");
    user.run(&[&pull[..], &["6-7"]].concat()).code(4).stderr(contains("the instance has 6 frames"));
    user.run(&[&pull[..], &["0"]].concat()).code(2);
    let two = format!("{instance},1.2.3");
    user.run(&["pull", study, "--from", "cloud", "--instance", &two, "--frames", "1", "--out", "out"]).code(2);
    user.run(&["pull", study, "--from", "cloud", "--frames", "1", "--out", "out"]).code(2);
    user.run(&["pull", study, "--from", "cloud", "--instance", "1.2.3", "--frames", "1", "--out", "out"]).code(4);
}

#[test]
fn series_and_instances_are_listed_and_fetched() {
    let user = User::with_identity();
    let _site = Site::serving(&user, Rights::all()).known_to(&user, "cloud");
    let spec = imgxfer_core::sim::studies::StudySpec::new(1).with_instances(2, 3).with_size(64, 64);
    spec.write_to(&user.path("in/first")).unwrap();
    study(&user.path("in/second"), 2, 1);
    let uid = spec.study_uid();
    user.run(&["push", "in", "--to", "cloud"]).success();
    let ls = |arguments: &[&str]| user.json(&[&["ls", "--from", "cloud"], arguments].concat()).1;
    let series = ls(&["--level", "series", "--study", uid.as_str()]);
    assert_eq!(series.iter().map(|row| &row["instances"]).collect::<Vec<_>>(), [&3, &3], "{series:?}");
    let series = series[1]["series"].as_str().unwrap();
    let instances = ls(&["--level", "instances", "--series", series]);
    assert_eq!(instances.len(), 3, "{instances:?}");
    let instance = instances[2]["instance"].as_str().unwrap();
    user.run(&["ls", "--from", "cloud", "--level", "instances", "--count", "--limit", "2"])
        .success()
        .stderr(contains("7 match").and(contains("more match than these 2")));
    assert_eq!(ls(&["--skip", "1"]).len(), 1);
    assert_eq!(ls(&["--patient-name", "synthetic*"]).len(), 2, "whatever the case");
    assert_eq!(ls(&["--by", "PatientID=SYN000002"]).len(), 1);
    let pull = |arguments: &[&str], out: &str| {
        let (code, lines) = user.json(&[&["pull", "--from", "cloud", "--out", out], arguments].concat());
        assert_eq!(code, 0, "{lines:?}");
        event(&lines, "done")["written"].as_u64().unwrap()
    };
    assert_eq!(pull(&["--series", series], "series"), 3);
    assert_eq!(pull(&["--instance", instance], "instance"), 1);
    assert_eq!(pull(&[uid.as_str(), "--middles-first"], "whole"), 6);
    user.run(&["verify", "whole"]).success();
}

#[test]
fn conflicting_contents_are_kept_and_told() {
    let user = User::with_identity();
    let _site = Site::serving(&user, Rights::all()).known_to(&user, "cloud");
    let uid = study(&user.path("a"), 1, 2);
    let spec = imgxfer_core::sim::studies::StudySpec::new(1).with_instances(1, 2).with_size(64, 64);
    spec.with_patient_name("Corrected^Name").write_to(&user.path("b")).unwrap();
    user.run(&["push", "a", "--to", "cloud"]).success();
    user.run(&["push", "b", "--to", "cloud"]).success();
    study(&user.path("c"), 2, 1);
    user.run(&["push", "c", "--to", "cloud"]).success();
    user.run(&["ls", "--from", "cloud", "--limit", "1"]).success().stderr(contains("than these 1: raise --limit"));
    user.run(&["ls", "--from", "cloud", "--limit", "2"]).success().stderr(contains("more match").not());
    user.run(&["ls", "--from", "cloud"]).success().stdout(contains("CONFLICTS").and(contains("complete v2")));
    let (code, lines) = user.json(&["pull", &uid, "--from", "cloud", "--out", "out", "--all-versions"]);
    assert_eq!(code, 0);
    let done = event(&lines, "done");
    assert_eq!((&done["written"], done["conflicts"].as_array().unwrap().len()), (&4.into(), 2));
    user.run(&["verify", "out"]).success();
    // What was sent last is what comes where nothing else is asked for.
    let (code, lines) = user.json(&["pull", &uid, "--from", "cloud", "--out", "now"]);
    let done = event(&lines, "done");
    assert_eq!((code, &done["written"], done["conflicts"].as_array().unwrap().len()), (0, &2.into(), 0));
    user.run(&["verify", "--original", "b", "--copy", "now"]).success();
}

#[test]
fn an_unreadable_file_makes_it_partial() {
    let user = User::with_identity();
    let _site = Site::serving(&user, Rights::all()).known_to(&user, "cloud");
    study(&user.path("in"), 1, 3);
    let made = std::process::Command::new("mkfifo").arg(user.path("in/pipe.dcm")).status().unwrap();
    assert!(made.success());
    user.run(&["push", "in", "--to", "cloud"]).code(3).stderr(contains("FAILED: 1 file").and(contains("in/pipe.dcm")));
    let (code, lines) = user.json(&["push", "in", "--to", "cloud"]);
    assert_eq!(code, 3);
    assert_eq!(event(&lines, "failed")["file"], "in/pipe.dcm");
    assert_eq!(event(&lines, "done")["complete"], false);
}

#[test]
fn nothing_to_send_is_not_found() {
    let user = User::with_identity();
    let key = PeerId::of_key(b"nobody").fingerprint();
    std::fs::create_dir(user.path("in")).unwrap();
    user.run(&["push", "in", "--to", "127.0.0.1:9", "--peer-key", &key]).code(4).stderr(contains("no files"));
    std::fs::write(user.path("in/note.txt"), "hello").unwrap();
    user.run(&["push", "in", "--to", "127.0.0.1:9", "--peer-key", &key]).code(4).stderr(contains("no DICOM"));
    user.run(&["push", "nowhere", "--to", "127.0.0.1:9", "--peer-key", &key]).code(4).stderr(contains("nowhere"));
}

#[test]
fn all_files_are_sent_when_asked() {
    let user = User::with_identity();
    let _site = Site::serving(&user, Rights::all()).known_to(&user, "cloud");
    std::fs::create_dir(user.path("in")).unwrap();
    std::fs::write(user.path("in/note.txt"), "hello").unwrap();
    let (code, lines) = user.json(&["push", "in", "--to", "cloud", "--all-files"]);
    assert_eq!((code, &event(&lines, "done")["instances"]), (0, &1.into()));
}

#[test]
fn peers_that_are_not_there_or_not_known() {
    let user = User::with_identity();
    study(&user.path("in"), 1, 1);
    user.run(&["push", "in", "--to", "nobody"]).code(78).stderr(contains("no peer is called nobody"));
    user.run(&["push", "in", "--to", "127.0.0.1:9"]).code(2).stderr(contains("--peer-key"));
    let key = PeerId::of_key(b"nobody").fingerprint();
    let arguments = ["--to", "no-such-host.invalid:9", "--peer-key", &key, "--give-up-after", "0"];
    let (code, lines) = user.json(&[&["push", "in"], &arguments[..]].concat());
    assert_eq!((code, &event(&lines, "error")["exit"]), (5, &5.into()));
}

#[test]
fn a_peer_that_gives_no_rights_refuses() {
    let user = User::with_identity();
    let site = Site::serving(&user, Rights::none()).known_to(&user, "cloud");
    study(&user.path("in"), 1, 1);
    user.run(&["push", "in", "--to", "cloud"])
        .code(6)
        .stderr(contains("push to cloud: ").and(contains("right `send`")));
    user.run(&["ls", "--from", "cloud"]).code(6);
    user.run(&["pull", "1.2.3", "--from", "cloud", "--out", "out"]).code(6);
    // Somebody that the site does not know at all.
    let stranger = User::with_identity();
    let key = site.key.fingerprint();
    stranger.run(&["ls", "--from", &site.address, "--peer-key", &key]).code(6);
    // Another key than expected.
    let other = PeerId::of_key(b"other").fingerprint();
    stranger.run(&["ls", "--from", &site.address, "--peer-key", &other]).code(6);
}

#[test]
fn a_store_is_checked() {
    let user = User::with_identity();
    let _site = Site::serving(&user, Rights::all()).known_to(&user, "cloud");
    study(&user.path("in"), 1, 3);
    user.run(&["push", "in", "--to", "cloud"]).success();
    user.run(&["verify", "--store", "store", "--read-data"]).success().stdout(contains("3 instances"));
    let (code, lines) = user.json(&["verify", "--store", "store"]);
    assert_eq!((code, &event(&lines, "done")["clean"]), (0, &true.into()));

    let pack = walkdir::WalkDir::new(user.path("store")).into_iter().map(Result::unwrap);
    let pack = pack.filter(|entry| entry.path().to_string_lossy().contains("pack") && entry.file_type().is_file());
    let pack = pack.max_by_key(|entry| entry.metadata().unwrap().len()).unwrap().into_path();
    let mut bytes = std::fs::read(&pack).unwrap();

    // What a crash leaves of what was being written.
    let torn = [&bytes[..], b"IXR1"].concat();
    std::fs::write(&pack, torn).unwrap();
    user.run(&["verify", "--store", "store", "--read-data"]).success().stdout(contains("torn ends are harmless"));
    let (code, lines) = user.json(&["verify", "--store", "store"]);
    let done = event(&lines, "done");
    assert_eq!((code, &done["clean"], &done["sound"]), (0, &false.into(), &true.into()));

    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    user.run(&["verify", "--store", "store", "--read-data"]).code(7).stdout(contains("LOST"));
}

#[test]
fn a_limit_is_kept_both_ways_and_shown() {
    let user = User::with_identity();
    let _site = Site::serving(&user, Rights::all()).known_to(&user, "cloud");
    let spec = imgxfer_core::sim::studies::StudySpec::new(9).with_instances(1, 4).with_size(256, 256);
    spec.write_to(&user.path("in")).unwrap();
    let check = |arguments: &[&str]| {
        let (code, lines) = user.json(&[arguments, &["--limit", "1", "--level", "0"]].concat());
        assert_eq!(code, 0, "{lines:?}");
        let progress = lines.iter().rfind(|line| line["event"] == "progress").unwrap();
        assert_eq!((&progress["limit_mbps"], &progress["carrier"]), (&1.0.into(), &"udp".into()));
        assert!(progress["rtt_ms"].as_f64().unwrap() > 0.0 && progress["loss_percent"].is_number(), "{progress}");
        let done = event(&lines, "done");
        let (bytes, seconds) = (done["payload_bytes"].as_f64().unwrap(), done["seconds"].as_f64().unwrap());
        assert!(bytes > 100_000.0 && bytes / seconds < 1.1 * 125_000.0, "{bytes} bytes in {seconds} s");
    };
    check(&["push", "in", "--to", "cloud"]);
    check(&["pull", spec.study_uid().as_str(), "--from", "cloud", "--out", "out"]);
    user.run(&["push", "in", "--to", "cloud", "--limit", "0"]).code(2).stderr(contains("0.1"));
}
