//! The binary: flags and exit codes.

use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;

fn imgxferd(config: &Path) -> Command {
    let mut command = Command::cargo_bin("imgxferd").unwrap();
    command.env_clear().arg("--config").arg(config).timeout(crate::support::DEADLINE);
    command
}

fn written(folder: &Path, text: &str) -> std::path::PathBuf {
    let file = folder.join("imgxferd.toml");
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn check_shows_the_settings_with_their_origin() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), "state_dir = \"state\"\n[limits]\ntransfers = 3\n");
    let shown = contains("limits.transfers = 3  # ").and(contains("imgxferd.toml:3:13"));
    let shown = shown.and(contains("listen.quic = \"[::]:11120\"  # default"));
    imgxferd(&file).arg("--check").assert().code(0).stdout(shown);
    let by_flag = contains("limits.transfers = 4  # flag --set limits.transfers=4");
    imgxferd(&file).args(["--check", "--set", "limits.transfers=4"]).assert().code(0).stdout(by_flag);
    assert!(!folder.path().join("state").exists(), "a check leaves nothing behind");
}

#[test]
fn a_bad_configuration_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), "[site]\nname = \"x\"\nnmae = \"y\"\n");
    for check in [true, false] {
        let mut command = imgxferd(&file);
        if check {
            command.arg("--check");
        }
        command.assert().code(78).stderr(contains("imgxferd.toml:3:1").and(contains("no setting `nmae`")));
    }
    imgxferd(&folder.path().join("none.toml")).assert().code(78).stderr(contains("there is no such file"));
    imgxferd(&file).arg("--chekc").assert().code(2);
    imgxferd(&file).arg("--version").assert().code(0).stdout(contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_taken_port_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let quic = taken.local_addr().unwrap();
    let text = format!("state_dir = \"state\"\n[listen]\nquic = \"{quic}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n");
    let file = written(folder.path(), &text);
    imgxferd(&file)
        .assert()
        .code(1)
        .stderr(contains(format!("UDP {quic} is in use")).count(1).and(contains("listen.quic")));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = taken.local_addr().unwrap();
    let text = format!("state_dir = \"state\"\n[listen]\nquic = \"127.0.0.1:0\"\n[admin]\nlisten = \"{admin}\"\n");
    let file = written(folder.path(), &text);
    imgxferd(&file).assert().code(1).stderr(contains(format!("TCP {admin}")).count(1).and(contains("admin.listen")));
}

#[test]
fn a_signal_stops_it_in_order() {
    use std::io::{BufRead as _, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let text = "state_dir = \"state\"\n[listen]\nquic = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n";
    let file = written(folder.path(), text);
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("imgxferd"));
    let mut daemon =
        command.env_clear().arg("--config").arg(&file).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(daemon.stderr.take().unwrap()).lines().map(Result::unwrap);
    let ready = log.by_ref().find(|line| line.contains("ready")).expect("it never became ready");
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    assert!(ready["fingerprint"].as_str().unwrap().starts_with("ix-"), "{ready}");
    assert!(ready["quic"].as_str().unwrap().starts_with("127.0.0.1:"), "{ready}");
    let pid = rustix::process::Pid::from_child(&daemon);
    // A mistake in what is read anew stops nothing.
    for (added, said) in [
        ("[limits]\nrates = 3\n", "what was read before holds"),
        ("", "read anew"),
        ("[log]\nlevel = \"warn\"\n", "\"waiting\":\"[\\\"log.level\\\"]\""),
    ] {
        written(folder.path(), &format!("{text}{added}"));
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        assert!(log.any(|line| line.contains(said)), "{said}");
    }
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(log.any(|line| line.contains("stopped")));
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}
