//! What a daemon has written down is shown and checked.

use std::path::PathBuf;

use imgxferd::config::{PeerConfig, PeerRights, Sees};
use imgxferd::{Daemon, Options};
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use tokio::runtime::Runtime;

use crate::harness::{User, event, study};

/// A daemon that knows the user, and its configuration file.
pub(crate) struct Kept {
    pub(crate) runtime: Runtime,
    pub(crate) daemon: Daemon,
}

pub(crate) fn keeps(user: &User, rights: &[&str]) -> Kept {
    let text = "state_dir = \"daemon\"\n[site]\nname = \"cloud\"\n";
    std::fs::write(user.path("imgxferd.toml"), text).unwrap();
    let mut config = imgxferd::config::Config::in_folder(&user.path("daemon"), "cloud");
    let rights = PeerRights::parse(rights).unwrap();
    config.peers.push(PeerConfig::pinned("north", user.key()).with_rights(rights, Sees::Own));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let daemon = runtime.block_on(Box::pin(Daemon::start(config, Options::default()))).unwrap();
    let (address, key) = (daemon.quic_address().to_string(), daemon.fingerprint());
    user.run(&["peers", "add", "cloud", "--address", &address, "--key", &key]).success();
    Kept { runtime, daemon }
}

fn log(user: &User) -> PathBuf {
    user.path("daemon/audit").join(imgxferd::audit::AUDIT_FILE)
}

#[test]
fn a_daemons_audit_is_shown_and_verified() {
    let user = User::with_identity();
    let uid = study(&user.path("in"), 1, 3);
    let Kept { runtime, daemon } = keeps(&user, &["send", "query"]);
    user.run(&["push", "in", "--to", "cloud"]).success();
    user.run(&["ls", "--from", "cloud"]).success();
    user.run(&["pull", &uid, "--from", "cloud", "--out", "out"]).code(6);
    let fingerprint = daemon.fingerprint();
    runtime.block_on(daemon.stop());

    let shown = user.run(&["audit", "show", "--config", "imgxferd.toml"]).success();
    let line = contains("peer:north").and(contains("received")).and(contains(&uid)).and(contains("3 instances"));
    shown.stdout(line.and(contains("no right to this")).and(contains("checkpoint").not()));
    let filtered = |more: &[&str]| {
        let (code, lines) = user.json(&[&["audit", "show", "--config", "imgxferd.toml"], more].concat());
        assert_eq!(code, 0);
        lines
    };
    let all = filtered(&[]);
    // A push over a line that broke is told as well.
    let whole = |line: &&serde_json::Value| line["event"] == "received" && line["outcome"] == "ok";
    assert_eq!(all.iter().find(whole).unwrap()["studies"][0], uid);
    assert_eq!(event(&all, "query")["rows"], 1);
    assert_eq!(filtered(&["--study", &uid, "--event", "received"]).len(), 1);
    assert!(filtered(&["--study", "1.2.3"]).is_empty());
    assert!(filtered(&["--peer", "north"]).len() >= 6 && filtered(&["--peer", "south"]).is_empty());
    assert_eq!(filtered(&["--from", "2020-01-01", "--to", "2999-12-31"]).len(), all.len());
    assert!(filtered(&["--to", "2020-01-01"]).is_empty() && filtered(&["--from", "2999-01-01"]).is_empty());
    assert!(!filtered(&["--event", "checkpoint"]).is_empty());
    user.run(&["audit", "show", "--from", "soon"]).code(2);

    let holds = contains("nothing was changed").and(contains(&fingerprint));
    user.run(&["audit", "verify", "--config", "imgxferd.toml"]).success().stdout(holds);
    let text = std::fs::read_to_string(log(&user)).unwrap();
    std::fs::write(log(&user), text.replace("\"rows\":1", "\"rows\":0")).unwrap();
    let wrong = contains("its content was changed").and(contains("doubt    everything from"));
    user.run(&["audit", "verify", "--config", "imgxferd.toml"]).code(7).stdout(wrong);
    let (code, lines) = user.json(&["audit", "verify", "daemon/audit"]);
    assert_eq!((code, &lines[0]["valid"], &lines[0]["faults"][0]["seq"].is_u64()), (7, &false.into(), &true));
    user.run(&["audit", "show", "--file", "daemon/audit"]).code(7).stderr(contains("1 lines are no records"));

    // Cut off at its end.
    let cut: String = text.split_inclusive('\n').take(4).collect();
    std::fs::write(log(&user), cut).unwrap();
    user.run(&["audit", "verify", "--config", "imgxferd.toml"]).code(7).stdout(contains("records are missing"));
    std::fs::write(log(&user), &text).unwrap();
    user.run(&["audit", "verify", "daemon/audit/audit.log", "--key", &fingerprint]).success();
    let stranger = user.key().fingerprint();
    user.run(&["audit", "verify", "daemon/audit", "--key", &stranger]).code(7).stdout(contains("another key"));
}

#[test]
fn what_is_not_there_is_said() {
    let user = User::with_identity();
    user.run(&["audit", "verify", "--config", "none.toml"]).code(78).stderr(contains("there is no such file"));
    std::fs::write(user.path("imgxferd.toml"), "state_dir = \"daemon\"\n").unwrap();
    for action in ["show", "verify"] {
        user.run(&["audit", action, "--config", "imgxferd.toml"]).code(4).stderr(contains("there is no audit"));
    }
    std::fs::write(user.path("imgxferd.toml"), "[audit]\nenabled = false\n").unwrap();
    user.run(&["audit", "show", "--config", "imgxferd.toml"]).code(4).stderr(contains("audit.enabled is false"));
    std::fs::write(user.path("other"), "something\n").unwrap();
    user.run(&["audit", "verify", "other"]).code(7).stdout(contains("is no record"));
}

#[test]
fn what_comes_is_followed() {
    use std::io::{BufRead as _, BufReader};
    let user = User::with_identity();
    study(&user.path("in"), 2, 1);
    let Kept { runtime, daemon } = keeps(&user, &["send"]);
    let mut command = user.command();
    command.args(["audit", "show", "--config", "imgxferd.toml", "--follow", "--event", "receipt-given", "--json"]);
    let mut shown = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    user.run(&["push", "in", "--to", "cloud"]).success();
    let line = BufReader::new(shown.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    assert!(line.contains("\"instances\":1"), "{line}");
    shown.kill().unwrap();
    shown.wait().unwrap();
    runtime.block_on(daemon.stop());
}
