//! Commands that need no other site.

use crate::harness::{User, event, study};
use imgxfer_core::ids::PeerId;
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;

#[test]
fn help_tells_commands_and_exit_codes() {
    let user = User::new();
    let help = user.run(&["--help"]).success();
    let help = String::from_utf8(help.get_output().stdout.clone()).unwrap();
    for word in ["demo", "push", "pull", "verify", "75  temporary", "130  interrupted", "--json", "--quiet"] {
        assert!(help.contains(word), "{word}");
    }
    user.run(&["push", "--help"]).success().stdout(contains("--give-up-after"));
}

#[test]
fn what_makes_no_sense_is_usage() {
    let user = User::new();
    for wrong in [
        &["fly"][..],
        &["push", "x"],
        &["pull", "--from", "a", "--out", "b"],
        &["pull", "1.2", "--accession", " ", "--from", "a", "--out", "b"],
        &["pull", "--series", ",", "--from", "a", "--out", "b"],
        &["pull", "1.2", "--instance", "not-a-uid", "--from", "a", "--out", "b"],
        &["pull", "not-a-uid", "--from", "a", "--out", "b"],
        &["push", "x", "--to", "a", "--priority", "soon"],
        &["ls", "--from", "a", "--date", "tomorrow"],
        &["ls", "--from", "a", "--by", "Nonsense=1"],
        &["ls", "--from", "a", "--by", "Modality"],
        &["ls", "--from", "a", "--level", "patients"],
        &["ls", "--from", "a", "--study", ""],
        &["verify"],
        &["peers", "add", "a b", "--address", "x:1", "--key", "ix-"],
    ] {
        user.run(wrong).code(2);
    }
}

#[test]
fn init_is_safe_to_run_twice() {
    let user = User::new();
    user.run(&["id"]).code(78).stderr(contains("imgxfer init"));
    let first = user.run(&["init", "--name", "ward 3"]).success().get_output().stdout.clone();
    let again = user.run(&["init"]).success().get_output().stdout.clone();
    assert_eq!(first, again);
    let id = user.run(&["id"]).success().get_output().stdout.clone();
    assert_eq!(String::from_utf8(id).unwrap().trim(), user.key().fingerprint());
    let (code, lines) = user.json(&["id"]);
    assert_eq!(code, 0);
    assert_eq!(lines[0]["expires"], "never");
    let config = std::fs::read_to_string(user.path(".config/imgxfer/config.toml")).unwrap();
    assert!(config.contains("name = \"ward 3\""), "{config}");
}

#[test]
fn the_folder_can_be_named() {
    let user = User::new();
    let dir = user.arg("elsewhere");
    user.run(&["--config-dir", &dir, "init"]).success();
    user.run(&["id"]).code(78);
    let with_variable = user.command().env("IMGXFER_CONFIG_DIR", &dir).arg("id").output().unwrap();
    assert!(with_variable.status.success());
}

#[test]
fn peers_are_added_renamed_and_removed() {
    let user = User::with_identity();
    let key = PeerId::of_key(b"cloud").fingerprint();
    user.run(&["peers", "add", "cloud", "--address", "cloud.example:11120", "--key", &key]).success();
    user.run(&["peers", "add", "cloud", "--address", "other.example:11120", "--key", &key]).code(2);
    user.run(&["peers", "rename", "cloud", "north"]).success();
    user.run(&["peers"]).success().stdout(contains("north").and(contains("cloud.example:11120")));
    let (_, lines) = user.json(&["peers", "list"]);
    assert_eq!(lines[0]["key"], key);
    user.run(&["peers", "remove", "cloud"]).code(4);
    user.run(&["peers", "remove", "north"]).success();
    assert!(user.json(&["peers"]).1.is_empty());
    std::fs::write(user.path(".config/imgxfer/peers.toml"), "what = 1").unwrap();
    user.run(&["peers"]).code(78).stderr(contains("peers.toml"));
}

#[test]
fn a_folder_is_verified() {
    let user = User::new();
    study(&user.path("a"), 1, 3);
    study(&user.path("b"), 1, 3);
    std::fs::write(user.path("a/note.txt"), "hello").unwrap();
    let (code, lines) = user.json(&["verify", "a"]);
    assert_eq!(code, 0);
    assert_eq!(event(&lines, "done")["instances"], 3);
    assert_eq!(event(&lines, "file")["blake3"].as_str().unwrap().len(), 64);
    assert!(event(&lines, "file")["sop_instance"].is_string());
    user.run(&["verify", "a", "--against", "b"]).code(7).stdout(contains("extra: a/note.txt"));
    user.run(&["verify", "a", "--against", "b", "--dicom-only"]).success();

    std::fs::write(user.path("a/.imgxfer-1-0.part"), "").unwrap();
    user.run(&["verify", "a"]).code(3).stdout(contains("unfinished"));
    let file = user.path("a/S001I00002.dcm");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 100]).unwrap();
    user.run(&["verify", "a"]).code(7).stdout(contains("damaged"));
    user.run(&["verify", "none"]).code(4);
    user.run(&["verify", "--store", "a"]).code(4);
}
