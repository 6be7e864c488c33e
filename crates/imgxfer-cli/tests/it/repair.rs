//! A damaged store is listed and mended.

use std::path::PathBuf;

use imgxfer_core::server::Rights;
use predicates::str::contains;

use crate::harness::{Site, User, event, study};

/// A user with a store that holds a study; `peer` holds the same where asked for.
fn hospital(with_peer: bool) -> (User, Option<Site>, String) {
    let user = User::with_identity();
    let uid = study(&user.path("in"), 1, 6);
    drop(push_to(&user, "store", "here", true));
    let peer = with_peer.then(|| push_to(&user, "peer", "there", true));
    (user, peer, uid)
}

fn push_to(user: &User, folder: &str, name: &str, all: bool) -> Site {
    let site = Site::serving_from(user, folder, Rights::all()).known_to(user, name);
    if all {
        user.run(&["push", "in", "--to", name]).success();
    }
    site
}

fn biggest_pack(user: &User) -> PathBuf {
    let packs = walkdir::WalkDir::new(user.path("store/packs")).into_iter().map(Result::unwrap);
    let packs = packs.filter(|entry| entry.file_type().is_file());
    packs.max_by_key(|entry| entry.metadata().unwrap().len()).unwrap().into_path()
}

fn spoil(user: &User) {
    let pack = biggest_pack(user);
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
}

#[test]
fn what_is_damaged_is_fetched_from_a_peer() {
    let (user, _peer, uid) = hospital(true);
    user.run(&["repair", "--store", "store"]).success().stdout(contains("nothing is known to be damaged"));
    spoil(&user);
    user.run(&["repair", "--store", "store"]).success().stdout(contains("nothing is known"));
    user.run(&["verify", "--store", "store", "--read-data"]).code(7).stdout(contains("imgxfer repair"));
    user.run(&["repair", "--store", "store"]).code(7).stdout(contains("damaged: instance"));
    let (code, lines) = user.json(&["repair", "--store", "store", "--from", "there"]);
    let done = event(&lines, "done");
    assert_eq!((code, &done["still_damaged"]), (0, &0.into()), "{lines:?}");
    assert!(done["healed"].as_u64().unwrap() > 0 && done["payload_bytes"].as_u64().unwrap() > 0, "{done}");
    let instance = event(&lines, "instance");
    assert_eq!((&instance["state"], &instance["study"]), (&"healed".into(), &uid.as_str().into()));
    user.run(&["verify", "--store", "store", "--read-data"]).success().stdout(contains("damaged remains"));
    // What comes out is what went in.
    let site = push_to(&user, "store", "mended", false);
    user.run(&["pull", &uid, "--from", "mended", "--out", "out"]).success();
    user.run(&["verify", "--original", "in", "--copy", "out", "--dicom-only"]).success();
    user.run(&["repair", "--store", "store", "--from", "there"]).code(75).stderr(contains("stop it, repair"));
    user.run(&["repair", "--store", "store"]).success().stderr(contains("a daemon has the store open"));
    drop(site);
}

#[test]
fn what_no_peer_holds_stays_damaged() {
    let (user, _, _) = hospital(false);
    let _empty = push_to(&user, "peer", "there", false);
    spoil(&user);
    let (code, lines) = user.json(&["repair", "--store", "store", "--from", "there", "--read-data"]);
    let done = event(&lines, "done");
    assert_eq!((code, &done["healed"], &done["payload_bytes"]), (7, &0.into(), &0.into()), "{lines:?}");
    assert!(event(&lines, "instance")["reason"].as_str().unwrap().contains("does not have it"));
    user.run(&["repair", "--store", "store", "--from", "there"]).code(7).stdout(contains("STILL DAMAGED"));
    user.run(&["repair", "--store", "in"]).code(4);
}

#[test]
fn a_push_that_proves_heals_what_nobody_has_looked_at() {
    let (user, _, uid) = hospital(false);
    spoil(&user);
    let site = push_to(&user, "store", "proven", false);
    let moved = |arguments: &[&str]| {
        let (code, lines) = user.json(arguments);
        assert_eq!(code, 0, "{lines:?}");
        event(&lines, "done")["payload_bytes"].as_u64().unwrap()
    };
    assert_eq!(moved(&["push", "in", "--to", "proven"]), 0);
    assert!(moved(&["push", "in", "--to", "proven", "--prove"]) > 0);
    assert_eq!(moved(&["push", "in", "--to", "proven", "--prove"]), 0);
    user.run(&["pull", &uid, "--from", "proven", "--out", "out"]).success();
    user.run(&["verify", "--original", "in", "--copy", "out", "--dicom-only"]).success();
    drop(site);
    user.run(&["verify", "--store", "store", "--read-data"]).success();
}
