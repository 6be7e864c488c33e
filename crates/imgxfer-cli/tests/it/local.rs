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
        &["verify", "a", "--against", "b"],
        &["verify", "--original", "a"],
        &["verify", "--copy", "a"],
        &["verify", "c", "--original", "a", "--copy", "b"],
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
    user.run(&["verify", "--original", "b", "--copy", "a"]).code(7).stdout(contains("extra: a/note.txt"));
    user.run(&["verify", "--original", "b", "--copy", "a", "--dicom-only"]).success();

    std::fs::write(user.path("a/.imgxfer-1-0.part"), "").unwrap();
    user.run(&["verify", "a"]).code(3).stdout(contains("unfinished"));
    let file = user.path("a/S001I00002.dcm");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 100]).unwrap();
    user.run(&["verify", "a"]).code(7).stdout(contains("damaged"));
    user.run(&["verify", "none"]).code(4);
    user.run(&["verify", "--store", "a"]).code(4);
}

#[test]
fn a_copy_is_compared_with_its_original() {
    let user = User::new();
    study(&user.path("a"), 1, 3);
    study(&user.path("b"), 1, 3);
    let compare = ["verify", "--copy", "b", "--original", "a"];
    user.run(&compare).success().stdout(contains("0 missing, 0 changed, 0 extra"));

    let damaged = user.path("b/S001I00002.dcm");
    let mut bytes = std::fs::read(&damaged).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    std::fs::remove_file(user.path("b/S001I00001.dcm")).unwrap();
    std::fs::write(user.path("b/note.txt"), "hello").unwrap();
    let told = contains("missing: a/S001I00001.dcm").and(contains("changed: b/S001I00002.dcm"));
    user.run(&compare).code(7).stdout(told.and(contains("extra: b/note.txt")));
    let (code, lines) = user.json(&compare);
    let finding = |kind: &str| lines.iter().find(|line| line["kind"] == kind).unwrap()["file"].clone();
    assert_eq!((code, &event(&lines, "done")["identical"]), (7, &false.into()));
    assert_eq!(finding("missing"), "a/S001I00001.dcm");
    assert_eq!(finding("changed"), "b/S001I00002.dcm");
    assert_eq!(finding("extra"), "b/note.txt");
}

#[test]
fn a_folder_without_files_is_not_in_order() {
    let user = User::new();
    study(&user.path("a"), 1, 1);
    std::fs::create_dir_all(user.path("empty/below")).unwrap();
    let nothing = contains("no files to verify in empty");
    for arguments in [
        &["verify", "empty"][..],
        &["verify", "--original", "a", "--copy", "empty"],
        &["verify", "--original", "empty", "--copy", "a"],
    ] {
        user.run(arguments).code(4).stderr(nothing.clone());
    }
    let (code, lines) = user.json(&["verify", "empty"]);
    assert_eq!((code, &event(&lines, "error")["exit"]), (4, &4.into()));
    std::fs::write(user.path("empty/note.txt"), "hello").unwrap();
    let nothing = contains("no DICOM files to verify in empty");
    user.run(&["verify", "--original", "empty", "--copy", "a", "--dicom-only"]).code(4).stderr(nothing);
}
