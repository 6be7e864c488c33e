//! `imgxfer pair` and `imgxfer status`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread::JoinHandle;

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;

use crate::harness::{Site, User, event, study};

#[test]
fn a_code_makes_a_peer() {
    let user = User::with_identity();
    let site = Site::inviting(&user, "428-519-063");
    let arguments = ["pair", &site.address, "428519063", "--name", "cloud"];
    user.run(&arguments).code(2).stderr(contains("--yes"));
    user.run(&["pair", &site.address, "111-111-111", "--yes"]).code(6).stderr(contains("code is wrong"));
    let key = site.key.fingerprint();
    user.run(&[&arguments[..], &["--yes"]].concat()).success().stderr(contains(&key));
    let (_, lines) = user.json(&["peers"]);
    assert_eq!((&lines[0]["name"], &lines[0]["key"]), (&"cloud".into(), &key.into()));
    user.run(&[&arguments[..], &["--yes"]].concat()).code(2).stderr(contains("already"));
    user.run(&["pair", &site.address, "12-34", "--yes"]).code(2);
}

#[test]
fn two_sites_meet_through_a_real_daemon() {
    let user = User::with_identity();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = imgxferd::config::Config::in_folder(&user.path("daemon"), "cloud");
    let starting = Box::pin(imgxferd::Daemon::start(config, imgxferd::Options::default()));
    let daemon = runtime.block_on(starting).unwrap();
    let admin = format!("http://{}", daemon.admin_address());
    let token = user.path("daemon").join(imgxferd::ADMIN_TOKEN_FILE);
    let let_in = ["--admin", &admin, "--token-file", token.to_str().unwrap()];

    let mut inviting = user.command();
    inviting.args(["pair", "--invite", "--yes", "--name", "ward", "--json"]).args(let_in);
    let mut inviting = inviting.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(inviting.stdout.take().unwrap()).lines();
    let invited: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(invited["fingerprint"], daemon.fingerprint());
    let address = daemon.quic_address().to_string();
    let code = invited["code"].as_str().unwrap();
    user.run(&["pair", &address, code, "--name", "cloud", "--yes"]).success();
    assert!(lines.next().unwrap().unwrap().contains("\"paired\""));
    assert!(inviting.wait().unwrap().success());
    let closed = user.run(&["pair", &address, "428-519-063", "--name", "again", "--yes"]).code(6);
    closed.stderr(contains("not open for pairing").and(contains("imgxfer pair --invite")));

    let uid = study(&user.path("in"), 1, 2);
    user.run(&["push", "in", "--to", "cloud"]).success();
    user.run(&["ls", "--from", "cloud"]).success().stdout(contains(uid));
    let status = user.run(&[&["status"], &let_in[..2]].concat()).success();
    status.stdout(contains("cloud").and(contains("ward")).and(contains("no transfer is running")));

    let daemon_does = |arguments: &[&str]| user.run(&[arguments, &let_in[..]].concat());
    daemon_does(&["consultation", "end"]).success().stdout(contains("there was none"));
    let started = daemon_does(&["consultation", "start", "--minutes", "20", "--limit", "0.5"]).success();
    started.stdout(contains("share 0.5 Mbit/s").and(contains("in 20 min")));
    daemon_does(&["consultation", "start", "--minutes", "300"]).code(1).stderr(contains("1 and 240"));
    daemon_does(&["status"]).success().stdout(contains("consultation on: transfers share 0.5 Mbit/s"));
    daemon_does(&["consultation", "end"]).success().stdout(contains("usual pace"));
    daemon_does(&["priority", "7", "stat"]).code(4).stderr(contains("no job 7"));
    daemon_does(&["priority", "7", "soon"]).code(2);
    runtime.block_on(daemon.stop());
    // So that no other program gets the port, and answers.
    let _held = std::net::UdpSocket::bind(&address).unwrap();
    user.run(&["push", "in", "--to", "cloud", "--give-up-after", "0"]).code(5);
    user.run(&["status", "--admin", &admin])
        .code(5)
        .stderr(contains("systemctl start imgxferd").and(contains("--admin")));
}

/// A daemon that gives these answers, one after the other, and hands back what it was asked.
fn daemon(answers: Vec<(&'static str, &'static str)>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let answer = |(status, body): (&str, &str)| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut asked, mut len) = (String::new(), 0);
            loop {
                let before = asked.len();
                reader.read_line(&mut asked).unwrap();
                let line = &asked[before..];
                if let Some(value) = line.strip_prefix("Content-Length: ") {
                    len = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    break;
                }
            }
            let mut body_asked = vec![0; len];
            reader.read_exact(&mut body_asked).unwrap();
            write!(stream, "HTTP/1.0 {status}\r\n\r\n{body}").unwrap();
            asked + &String::from_utf8(body_asked).unwrap()
        };
        answers.into_iter().map(answer).collect()
    });
    (url, serving)
}

#[test]
fn an_invitation_goes_through_the_daemon() {
    let user = User::new();
    std::fs::write(user.path("token"), "secret\n").unwrap();
    let (url, asked) = daemon(vec![
        ("200 OK", r#"{"code":"428-519-063","minutes":10,"fingerprint":"ix-me"}"#),
        ("200 OK", r#"{"state":"asking","name":"south\u001b","fingerprint":"ix-them"}"#),
        ("200 OK", "{}"),
        ("200 OK", r#"{"state":"paired","name":"south"}"#),
    ]);
    let arguments = ["pair", "--invite", "--yes", "--rights", "send", "--sees", "own", "--admin", &url];
    let paired = user.run(&[&arguments[..], &["--token-file", "token"]].concat());
    paired.success().stdout(contains("428-519-063").and(contains("paired with south"))).stderr(contains("ix-them"));
    let asked = asked.join().unwrap();
    assert!(asked.iter().all(|request| request.contains("Authorization: Bearer secret\r\n")), "{asked:?}");
    assert!(asked[2].starts_with("POST /pair/") && asked[2].contains(r#""rights":["send"]"#), "{asked:?}");
}

#[test]
fn the_status_is_shown() {
    let user = User::new();
    let answer = r#"{"site":"north","transfers":[{"peer":"cloud","bytes":5}]}"#;
    let (url, _asked) = daemon(vec![("200 OK", answer), ("200 OK", answer), ("401 Unauthorized", "{}")]);
    user.run(&["status", "--admin", &url]).success().stdout(contains("north").and(contains("TRANSFERS")));
    let (code, lines) = user.json(&["status", "--admin", &url]);
    assert_eq!((code, &lines[0]["site"]), (0, &"north".into()));
    let (code, lines) = user.json(&["status", "--admin", &url]);
    assert_eq!((code, &event(&lines, "error")["exit"]), (6, &6.into()));
    user.run(&["status", "--admin", "http://127.0.0.1:1"]).code(5).stderr(contains("imgxferd"));
    user.run(&["status", "--admin", "ftp://x"]).code(78);
    user.run(&["status", "--token-file", "none"]).code(78);
}
