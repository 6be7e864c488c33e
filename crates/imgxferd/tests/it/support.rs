//! Sites for tests, a small HTTP client, and waiting without sleeping for luck.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use imgxfer_core::transport::Identity;
use imgxferd::config::{Config, PeerConfig, PeerRights, Sees};
use imgxferd::queue::{Job, JobState, Queue};
use imgxferd::{Daemon, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// No step of a test takes longer than this, however busy the machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A site's configuration in a folder of its own, and the key it will have.
pub(crate) fn site(root: &Path, name: &str) -> (Config, Identity) {
    let folder = root.join(name);
    let config = Config::in_folder(&folder, name);
    std::fs::create_dir_all(folder.join("identity")).unwrap();
    let identity = Identity::load_or_create(&folder.join("identity")).unwrap();
    (config, identity)
}

pub(crate) async fn start(config: Config) -> Daemon {
    Box::pin(Daemon::start(config, Options::default())).await.unwrap()
}

/// A cloud that takes studies from a hospital, and the hospital's configuration with the cloud as a peer.
pub(crate) async fn cloud_and_hospital(root: &Path, rights: PeerRights) -> (Daemon, Config) {
    let (mut cloud, cloud_key) = site(root, "cloud");
    let (mut hospital, hospital_key) = site(root, "hospital");
    cloud.peers.push(PeerConfig::pinned("hospital", hospital_key.peer_id()).with_rights(rights, Sees::Own));
    let cloud = start(cloud).await;
    hospital.peers.push(PeerConfig::pinned("cloud", cloud_key.peer_id()).with_address(cloud.quic_address()));
    (cloud, hospital)
}

/// Waits until the queue's jobs are as `wanted` says.
pub(crate) async fn jobs(queue: &Arc<Queue>, wanted: impl Fn(&[Job]) -> bool) -> Vec<Job> {
    let mut changes = queue.changes();
    let all = async {
        loop {
            let jobs = queue.jobs(100).unwrap();
            if wanted(&jobs) {
                return jobs;
            }
            changes.changed().await.unwrap();
        }
    };
    match tokio::time::timeout(DEADLINE, all).await {
        Ok(jobs) => jobs,
        Err(_) => panic!("the jobs are still {:?}", queue.jobs(100)),
    }
}

pub(crate) fn all_in(state: JobState) -> impl Fn(&[Job]) -> bool {
    move |jobs| !jobs.is_empty() && jobs.iter().all(|job| job.state == state)
}

/// Asks again and again until the answer is there.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asked).await.expect("it never came to be")
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

/// One request over HTTP/1.1 with exactly these headers.
pub(crate) async fn raw(address: SocketAddr, request: &str) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A server that refuses early may reset the line behind its answer.
        let _unused: std::io::Result<usize> = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    let answer = tokio::time::timeout(DEADLINE, exchange).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    Answer { status, body: body.to_owned() }
}

pub(crate) async fn get(daemon: &Daemon, path: &str) -> Answer {
    let address = daemon.admin_address();
    raw(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).await
}

/// A request with the token.
pub(crate) async fn ask(daemon: &Daemon, method: &str, path: &str, body: &str) -> Answer {
    let address = daemon.admin_address();
    let token = daemon.admin_token().unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    raw(address, &request).await
}
