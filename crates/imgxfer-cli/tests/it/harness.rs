//! A user with folders of its own, and a site to talk to, in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use assert_cmd::Command;
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::Depot;
use imgxfer_core::ids::PeerId;
use imgxfer_core::server::{Host, Rights, Server, ServerLimits};
use imgxfer_core::store::{FsOptions, FsRecords, SqliteIndex};
use imgxfer_core::transport::pairing::{Invitation, invite};
use imgxfer_core::transport::{Endpoint, EndpointConfig, Identity, Session, Trust};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A user: a home folder, and the program run in it.
pub(crate) struct User {
    home: TempDir,
}

impl User {
    /// Somebody who has never used the program.
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    /// Somebody with an identity.
    pub(crate) fn with_identity() -> Self {
        let user = Self::new();
        user.run(&["init", "--name", "test"]).success();
        user
    }

    /// A path in the home folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The same as text, for arguments.
    pub(crate) fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The program, to be run.
    pub(crate) fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_imgxfer"));
        command.env_clear().env("HOME", self.home.path()).env("PATH", std::env::var_os("PATH").unwrap());
        command.current_dir(self.home.path());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> assert_cmd::assert::Assert {
        Command::from_std(self.command()).args(arguments).assert()
    }

    /// Runs the program with `--json`; its exit code and its lines.
    pub(crate) fn json(&self, arguments: &[&str]) -> (i32, Vec<Value>) {
        let mut with_json = arguments.to_vec();
        with_json.push("--json");
        let output = self.run(&with_json).get_output().clone();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("every line is an object")).collect();
        (output.status.code().unwrap(), lines)
    }

    /// The user's key.
    pub(crate) fn key(&self) -> PeerId {
        Identity::load(&self.path(".config/imgxfer")).unwrap().peer_id()
    }
}

/// The one line with this event.
pub(crate) fn event<'a>(lines: &'a [Value], name: &str) -> &'a Value {
    lines.iter().find(|line| line["event"] == name).unwrap_or_else(|| panic!("no {name} in {lines:?}"))
}

/// Asks again and again until the answer is there, however busy the machine.
pub(crate) fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = imgxfer_core::clock::Stopwatch::start();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came to be");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Gives everybody the same rights.
struct SameRights(Rights);

impl Host for SameRights {
    fn rights(&self, _: &Session) -> Rights {
        self.0.clone()
    }
}

/// A site on loopback that serves in the background until it is dropped.
pub(crate) struct Site {
    pub(crate) address: String,
    pub(crate) key: PeerId,
    _runtime: Runtime,
}

impl Site {
    /// Serves `user` with these rights, from a store in the user's folder `store`.
    pub(crate) fn serving(user: &User, rights: Rights) -> Self {
        Self::serving_from(user, "store", rights)
    }

    /// The same from a store in another folder of the user's.
    pub(crate) fn serving_from(user: &User, folder: &str, rights: Rights) -> Self {
        let store = user.path(folder);
        let records = FsRecords::open(&store, FsOptions::default()).unwrap();
        let index = SqliteIndex::open(&store.join("index.db")).unwrap();
        Self::start(user, move |endpoint| {
            let registry = Registry::default();
            let depot = Depot::new(Arc::new(records), Arc::new(index), registry);
            let server = Server::new(endpoint, depot, Arc::new(SameRights(rights)), ServerLimits::default());
            tokio::spawn(async move { server.serve(std::future::pending()).await });
        })
    }

    /// Accepts connections of `user` and never says a word on them.
    pub(crate) fn silent(user: &User) -> Self {
        Self::start(user, |endpoint| {
            tokio::spawn(async move {
                let mut sessions = Vec::new();
                while let Some(session) = endpoint.accept().await {
                    sessions.push(session);
                }
            });
        })
    }

    /// Pairs with whoever knows `code`, and says yes.
    pub(crate) fn inviting(user: &User, code: &str) -> Self {
        let code = code.parse().unwrap();
        Self::start(user, |endpoint| {
            tokio::spawn(async move {
                let mut window = endpoint.open_pairing();
                let invitation = Invitation::new(code, Duration::from_secs(60));
                while let Some(session) = window.accept().await {
                    let me = endpoint.identity();
                    let paired = invite(&session, me, &invitation, "north", |_| async { true }).await;
                    session.closed().await;
                    drop(paired);
                }
            });
        })
    }

    fn start(user: &User, serve: impl FnOnce(Endpoint)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let identity = Identity::generate().unwrap();
        let trust = Trust::new();
        trust.pin(user.key());
        let key = identity.peer_id();
        let address = runtime.block_on(async {
            let config = EndpointConfig::new("127.0.0.1:0".parse().unwrap(), identity, trust, imgxfer_core::ALPN);
            let endpoint = Endpoint::bind(config).unwrap();
            let address = endpoint.local_address().unwrap().to_string();
            serve(endpoint);
            address
        });
        Self { address, key, _runtime: runtime }
    }

    /// Makes the site known to a user.
    pub(crate) fn known_to(self, user: &User, name: &str) -> Self {
        let key = self.key.fingerprint();
        user.run(&["peers", "add", name, "--address", &self.address, "--key", &key]).success();
        self
    }
}

/// A small synthetic study in a folder; its UID.
pub(crate) fn study(folder: &Path, seed: u64, instances: u32) -> String {
    let study = imgxfer_core::sim::studies::StudySpec::new(seed).with_instances(1, instances).with_size(64, 64);
    study.write_to(folder).unwrap();
    study.study_uid().as_str().to_owned()
}
