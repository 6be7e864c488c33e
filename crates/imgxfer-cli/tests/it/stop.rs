//! Ctrl-C and SIGTERM.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use crate::harness::{Site, User, study};

fn stopped_by(signal: &str) {
    let user = User::with_identity();
    let _site = Site::silent(&user).known_to(&user, "cloud");
    study(&user.path("two words"), 1, 1);
    let mut push = user.command();
    push.args(["push", "two words", "--to", "cloud", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut push = push.spawn().unwrap();
    let mut lines = BufReader::new(push.stdout.take().unwrap()).lines();
    let started = lines.find(|line| line.as_ref().unwrap().contains("\"started\""));
    assert!(started.is_some(), "it begins");
    let killed = std::process::Command::new("kill").args([signal, &push.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let mut talk = String::new();
    push.stderr.take().unwrap().read_to_string(&mut talk).unwrap();
    assert_eq!(push.wait().unwrap().code(), Some(130), "{talk}");
    assert!(talk.contains("push 'two words' --to cloud --json"), "{talk}");
    assert!(rest.iter().any(|line| line.contains("\"resume\"")), "{rest:?}");
}

#[test]
fn an_interrupt_leaves_a_command_that_resumes() {
    stopped_by("-INT");
}

#[test]
fn so_does_a_request_to_terminate() {
    stopped_by("-TERM");
}
