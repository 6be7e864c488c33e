//! Studies are removed, here and at a peer, and never without a yes.

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;

use crate::audit::{Kept, keeps};
use crate::harness::{User, study};

#[test]
fn a_study_is_removed_at_a_peer_that_allows_it() {
    let user = User::with_identity();
    let (first, second) = (study(&user.path("in/1"), 1, 3), study(&user.path("in/2"), 2, 3));
    let Kept { runtime, daemon } = keeps(&user, &["send", "query", "delete"]);
    user.run(&["push", "in", "--to", "cloud"]).success();
    user.run(&["rm", &first, "--from", "cloud"]).code(2).stderr(contains("say --yes"));
    user.run(&["rm", "not a uid", "--from", "cloud", "--yes"]).code(2);
    let listed = user.json(&["ls", "--from", "cloud", "--level", "instances", "--study", &second]).1;
    let one = listed[0]["instance"].as_str().unwrap();
    user.run(&["rm", &second, "--instance", one, "--from", "cloud", "--yes"]).success().stdout(contains("1 file"));
    user.run(&["rm", &first, "--from", "cloud", "--yes"]).success().stdout(contains("removed 3 files at cloud"));
    user.run(&["rm", &first, "--from", "cloud", "--yes"]).code(4);
    let left = user.json(&["ls", "--from", "cloud"]).1;
    assert_eq!((left.len(), &left[0]["study"], &left[0]["instances"]), (1, &second.as_str().into(), &2.into()));
    runtime.block_on(daemon.stop());
    let shown = user.run(&["audit", "show", "--file", "daemon/audit", "--event", "removed"]).success();
    shown.stdout(contains("peer:north").and(contains(&first)));
}

#[test]
fn a_study_is_removed_at_the_daemon_of_this_machine() {
    let user = User::with_identity();
    let uid = study(&user.path("in"), 1, 3);
    let Kept { runtime, daemon } = keeps(&user, &["send", "query"]);
    user.run(&["push", "in", "--to", "cloud"]).success();
    user.run(&["rm", &uid, "--from", "cloud", "--yes"]).code(6).stderr(contains("`delete`"));
    let admin = format!("http://{}", daemon.admin_address());
    let token = user.path("daemon").join(imgxferd::ADMIN_TOKEN_FILE);
    let rm = |more: &[&str]| {
        let let_in = ["rm", &uid, "--admin", &admin, "--token-file", token.to_str().unwrap()];
        [&let_in[..], more].concat().iter().map(|part| (*part).to_owned()).collect::<Vec<_>>()
    };
    let run = |more: &[&str]| user.run(&rm(more).iter().map(String::as_str).collect::<Vec<_>>());
    run(&[]).code(2).stderr(contains("3 files from north").and(contains("say --yes")));
    run(&["--owner", "self", "--yes"]).code(4);
    run(&["--owner", "north", "--yes"]).success().stdout(contains("removed 3 files"));
    run(&["--yes"]).code(4);
    assert!(user.json(&["ls", "--from", "cloud"]).1.is_empty());
    // It may be sent again.
    user.run(&["push", "in", "--to", "cloud"]).success();
    let removed = rm(&["--yes"]);
    let (code, lines) = user.json(&removed.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((code, &lines[0]["contents"], &lines[0]["owners"][0]["owner"]), (0, &3.into(), &"north".into()));
    runtime.block_on(daemon.stop());
}
