//! `imgxfer daemon`: two real daemons meet, and their operators run them by command.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use imgxfer_core::priority::Priority;
use imgxferd::config::{Config, Inbox};
use imgxferd::{Daemon, Options};
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::harness::{User, eventually, study};

/// A daemon in this process, with the configuration that the command line finds it by.
pub(crate) struct Site {
    pub(crate) daemon: Option<Daemon>,
    pub(crate) config: Config,
    pub(crate) file: String,
}

impl Site {
    pub(crate) fn start(runtime: &Runtime, user: &User, name: &str) -> Self {
        Self::with(runtime, user, name, |_| {})
    }

    pub(crate) fn with(runtime: &Runtime, user: &User, name: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::in_folder(&user.path(name), name);
        change(&mut config);
        let mut site = Self { daemon: None, config, file: user.arg(&format!("{name}.toml")) };
        site.run(runtime, name);
        site
    }

    fn run(&mut self, runtime: &Runtime, name: &str) {
        let daemon = runtime.block_on(Box::pin(Daemon::start(self.config.clone(), Options::default()))).unwrap();
        let text = format!("state_dir = {name:?}\n[admin]\nlisten = \"{}\"\n", daemon.admin_address());
        std::fs::write(&self.file, text).unwrap();
        self.daemon = Some(daemon);
    }

    /// Stops it, and starts it anew with what it has kept.
    fn restart(&mut self, runtime: &Runtime, name: &str) {
        self.stop(runtime);
        let kept = self.config.state_dir.join("peers.toml");
        let file = self.config.state_dir.join("only-for-its-peers.toml");
        std::fs::write(&file, "state_dir = \".\"\n").unwrap();
        let peers = Config::load(&imgxferd::config::Sources::file(file)).unwrap().peers;
        assert!(kept.exists());
        self.config.peers = peers;
        self.run(runtime, name);
    }

    pub(crate) fn stop(&mut self, runtime: &Runtime) {
        runtime.block_on(self.daemon.take().unwrap().stop());
    }

    pub(crate) fn address(&self) -> String {
        self.daemon.as_ref().unwrap().quic_address().to_string()
    }

    pub(crate) fn does<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [arguments, &["--config", &self.file]].concat()
    }
}

/// Two daemons pair by command: `here` invites, `there` accepts.
pub(crate) fn pair(user: &User, here: &Site, there: &Site, (here_is, there_is): (&str, &str)) {
    let mut inviting = user.command();
    let arguments = ["daemon", "pair", "--invite", "--yes", "--name", there_is, "--rights", "send", "--json"];
    let mut inviting: Child = inviting.args(here.does(&arguments)).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(inviting.stdout.take().unwrap()).lines();
    let invited: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let code = invited["code"].as_str().unwrap();
    let address = here.address();
    let accept = ["daemon", "pair", "--accept", code, "--address", &address, "--name", here_is, "--yes"];
    user.run(&there.does(&accept)).success().stdout(contains(format!("paired with {here_is}")));
    let paired: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!((&paired["event"], &paired["name"]), (&"paired".into(), &there_is.into()));
    assert_eq!(paired["rights"], serde_json::json!(["send"]));
    assert!(inviting.wait().unwrap().success());
}

#[test]
fn two_daemons_pair_and_their_rights_change_while_they_run() {
    let (user, runtime) = (User::new(), Runtime::new().unwrap());
    let (mut cloud, hospital) = (Site::start(&runtime, &user, "cloud"), Site::start(&runtime, &user, "hospital"));
    user.run(&cloud.does(&["daemon", "pair", "--invite"])).code(2).stderr(contains("--yes"));
    user.run(&cloud.does(&["daemon", "pair", "--accept", "428-519-063"])).code(2).stderr(contains("--address"));
    let nobody = ["daemon", "pair", "--accept", "428-519-063", "--address", "127.0.0.1:1", "--yes"];
    user.run(&hospital.does(&nobody)).code(6).stderr(contains("not paired"));
    pair(&user, &cloud, &hospital, ("cloud", "hospital"));

    let (_, peers) = user.json(&cloud.does(&["daemon", "peers"]));
    assert_eq!((&peers[0]["name"], &peers[0]["rights"]), (&"hospital".into(), &serde_json::json!(["send"])));
    user.run(&cloud.does(&["daemon", "peers"])).success().stdout(contains("may send, sees what it sent"));
    let change = ["daemon", "rights", "hospital", "--rights", "send,query", "--sees", "all"];
    user.run(&cloud.does(&change)).success().stdout(contains("may send, query here, and sees everything"));
    user.run(&cloud.does(&["daemon", "rights", "ward", "--rights", "none"])).code(4).stderr(contains("no peer"));
    user.run(&cloud.does(&["daemon", "rights", "hospital", "--sees", "nobody"])).code(1).stderr(contains("nobody"));
    user.run(&cloud.does(&["daemon", "rights", "hospital", "--rights", "look"])).code(2);
    cloud.restart(&runtime, "cloud");
    let shown = user.run(&cloud.does(&["daemon", "rights", "hospital"])).success();
    shown.stdout(contains("may send, query here, and sees everything"));
    cloud.daemon.as_ref().unwrap().peers().named("hospital").expect("it is known after a restart");
}

#[test]
fn the_queue_is_seen_and_a_removed_peer_takes_its_jobs_along() {
    let (user, runtime) = (User::new(), Runtime::new().unwrap());
    let mut cloud = Site::start(&runtime, &user, "cloud");
    let hospital = Site::with(&runtime, &user, "hospital", |config| config.drain = std::time::Duration::ZERO);
    pair(&user, &cloud, &hospital, ("cloud", "hospital"));
    let uid = study(&user.path("in"), 1, 2);
    let daemon = hospital.daemon.as_ref().unwrap();
    let enqueue = || daemon.enqueue("cloud", &[user.path("in")], Priority::Routine).unwrap().to_string();
    let first = enqueue();
    let state = |job: &str| user.json(&hospital.does(&["daemon", "queue", job])).1[0]["job"]["state"].clone();
    eventually(|| (state(&first) == "done").then_some(()));
    user.run(&hospital.does(&["daemon", "queue"])).success().stderr(contains("nothing waits"));
    user.run(&hospital.does(&["daemon", "queue", "--all"])).success().stdout(contains("2 instances"));
    user.run(&hospital.does(&["daemon", "queue", &first])).success().stdout(contains("committed"));

    // What it did is in the history at both ends, and the receipt names the study.
    user.run(&hospital.does(&["receipts", "--daemon", &uid])).success().stdout(contains("cloud").and(contains(&uid)));
    user.run(&hospital.does(&["receipts", "--daemon", "1.2.3"])).code(4).stderr(contains("no receipt for 1.2.3"));
    let (_, kept) = user.json(&hospital.does(&["receipts", "--daemon"]));
    assert_eq!((&kept[0]["instances"], &kept[0]["complete"]), (&2.into(), &true.into()));
    let past = contains("to cloud, 1 study of 2 instances").and(contains("receipt")).and(contains("B free"));
    user.run(&hospital.does(&["status"])).success().stdout(past);
    let received = eventually(|| {
        let status = user.json(&cloud.does(&["status"])).1.remove(0);
        status["history"].get(0).cloned()
    });
    assert_eq!((&received["peer"], &received["direction"]), (&"hospital".into(), &"in".into()));

    // The cloud is gone, and nobody gets its port meanwhile.
    let address = cloud.address();
    cloud.stop(&runtime);
    let _held = std::net::UdpSocket::bind(&address).unwrap();
    let waits = enqueue();
    let job = eventually(|| {
        let job = user.json(&hospital.does(&["daemon", "queue"])).1.into_iter().next()?;
        job["last_error"].is_string().then_some(job)
    });
    assert_eq!((&job["id"], &job["peer"]), (&waits.parse::<u64>().unwrap().into(), &"cloud".into()));
    user.run(&hospital.does(&["daemon", "dismiss", &waits])).code(6).stderr(contains("only failed and cancelled"));
    user.run(&hospital.does(&["daemon", "cancel", &waits])).success().stdout(contains("is cancelled"));
    user.run(&hospital.does(&["daemon", "cancel", &waits])).code(6).stderr(contains("the job is cancelled"));
    user.run(&hospital.does(&["daemon", "retry", &waits])).success().stdout(contains("is queued"));
    user.run(&hospital.does(&["daemon", "retry", "99"])).code(4).stderr(contains("no job 99"));

    user.run(&hospital.does(&["daemon", "peers", "remove", "ward"])).code(4);
    let removed = user.run(&hospital.does(&["daemon", "peers", "remove", "cloud"])).success();
    removed.stdout(contains("no peer any more").and(contains("1 jobs for it failed")));
    user.run(&hospital.does(&["daemon", "peers"])).success().stderr(contains("no peer is known"));
    user.run(&hospital.does(&["daemon", "queue"])).success().stdout(contains("failed").and(contains("peer-removed")));
    user.run(&hospital.does(&["daemon", "dismiss", &waits])).success().stdout(contains("is dismissed"));
    assert_eq!(state(&waits), "dismissed");
    let told = |event: &str| {
        eventually(|| {
            let audit = std::fs::read_to_string(user.path("hospital/audit/audit.log")).ok()?;
            audit.contains(&format!("\"event\":\"{event}\"")).then_some(())
        })
    };
    for event in ["job-cancelled", "job-dismissed", "job-retried", "peer-removed", "peer-added"] {
        told(event);
    }
}

#[test]
fn a_removed_peer_is_shut_out_at_once() {
    let (user, runtime) = (User::new(), Runtime::new().unwrap());
    let (cloud, hospital) = (Site::start(&runtime, &user, "cloud"), Site::start(&runtime, &user, "hospital"));
    pair(&user, &cloud, &hospital, ("cloud", "hospital"));
    study(&user.path("in"), 1, 1);
    let daemon = hospital.daemon.as_ref().unwrap();
    user.run(&cloud.does(&["daemon", "peers", "remove", "hospital"])).success();
    daemon.enqueue("cloud", &[user.path("in")], Priority::Routine).unwrap();
    let reason = eventually(|| {
        let job = user.json(&hospital.does(&["daemon", "queue"])).1.into_iter().next()?;
        job["last_error"].as_str().map(str::to_owned)
    });
    assert!(reason.starts_with("refused") || reason.starts_with("peer-closed"), "{reason}");
}

#[test]
fn the_token_is_found_or_the_remedy_named() {
    let (user, runtime) = (User::new(), Runtime::new().unwrap());
    let site = Site::with(&runtime, &user, "site", |config| config.inboxes.push(Inbox::into_store(user.path("inbox"))));
    user.run(&site.does(&["daemon", "reload"])).code(6).stderr(contains("no configuration file"));
    let token = user.path("site").join(imgxferd::ADMIN_TOKEN_FILE);
    let aside = token.with_extension("aside");
    std::fs::rename(&token, &aside).unwrap();
    let refused = user.run(&site.does(&["daemon", "retry", "1"])).code(6);
    refused.stderr(contains("admin.token").and(contains("--token-file")).and(contains("root")));
    user.run(&site.does(&["daemon", "peers"])).success();
    user.run(&site.does(&["daemon", "retry", "1", "--token-file", aside.to_str().unwrap()])).code(4);
    let admin = site.daemon.as_ref().unwrap().admin_address().to_string();
    user.run(&["daemon", "queue", "--admin", &admin]).success();
    user.run(&["daemon", "queue", "--config", "none.toml"]).code(78).stderr(contains("no such file"));
}

/// Stops with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

#[test]
fn a_reload_says_what_waits_for_a_restart() {
    let user = User::new();
    let program = Path::new(env!("CARGO_BIN_EXE_imgxfer")).with_file_name("imgxferd");
    assert!(program.exists(), "build the daemon first: cargo build -p imgxferd");
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!("state_dir = \"state\"\n[listen]\nquic = \"127.0.0.1:0\"\n[admin]\nlisten = \"{admin}\"\n");
    let file = user.path("imgxferd.toml");
    std::fs::write(&file, &text).unwrap();
    let mut command = std::process::Command::new(program);
    command.env_clear().arg("--config").arg(&file).stderr(Stdio::piped());
    let mut daemon = Running(command.spawn().unwrap());
    let mut log = BufReader::new(daemon.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    log.by_ref().find(|line| line.contains("ready")).expect("it never became ready");
    let rest = std::thread::spawn(move || log.count());
    let reload = ["daemon", "reload", "--config", "imgxferd.toml"];
    user.run(&reload).success().stdout(contains("nothing has changed").and(contains("restart").not()));
    std::fs::write(&file, format!("{text}[limits]\ntransfers = 3\nrates = [{{ mbps = 4 }}]\n")).unwrap();
    user.run(&reload).success().stdout(contains("waiting for a restart: limits.transfers"));
    let (_, lines) = user.json(&reload);
    assert_eq!(lines[0]["waits_for_restart"], serde_json::json!(["limits.transfers"]));
    std::fs::write(&file, format!("{text}[limits]\ntransfers = \"x\"\n")).unwrap();
    // Such a file does not say where the daemon is, either.
    user.run(&reload).code(78).stderr(contains("imgxferd.toml:7"));
    let outright = ["daemon", "reload", "--admin", &admin.to_string(), "--token-file", "state/admin.token"];
    user.run(&outright).code(6).stderr(contains("imgxferd.toml:7").and(contains("what was read before holds")));
    drop(daemon);
    rest.join().unwrap();
}
