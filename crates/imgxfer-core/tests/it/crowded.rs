//! A peer gone bad takes its share and no more; an emergency of another gets in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use imgxfer_core::ALPN;
use imgxfer_core::client::{PushOptions, RetryPolicy};
use imgxfer_core::limits::MESSAGE_BYTES_MAX;
use imgxfer_core::manifest::Page;
use imgxfer_core::priority::Priority;
use imgxfer_core::send::{FileSource, OtherFiles};
use imgxfer_core::server::{Host, Rights, Server, ServerLimits};
use imgxfer_core::sim::line::{LineProfile, VirtualNet};
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::testing::{noise, pair::Item};
use imgxfer_core::transport::{ControlStream, Dial, Endpoint, EndpointConfig, Identity, Session, Trust};
use imgxfer_core::wire::message::{Body, End, PageBody, RefuseCode, Start};

use crate::harness::{SameRights, Site, client_of, depot_at};

/// A transfer that is begun by hand.
struct Raw {
    control: ControlStream,
}

impl Raw {
    /// Begins it.
    async fn begin(session: &Session, number: u8, priority: Priority) -> Self {
        let transfer = Bytes::copy_from_slice(&[number; 16]);
        let start = Start { transfer, priority: priority.number(), instances: 1, bytes: 100_000, ..Start::default() };
        let mut raw = Self { control: session.open_control().await.unwrap() };
        raw.say(Body::Start(start)).await;
        raw
    }

    async fn say(&mut self, body: Body) {
        self.control.send(&body.into_bytes()).await.unwrap();
    }

    /// The next answer that is no count of what arrived.
    async fn hear(&mut self) -> Body {
        loop {
            let bytes = self.control.recv(MESSAGE_BYTES_MAX).await.unwrap().expect("an answer");
            match Body::from_bytes(bytes).unwrap() {
                Body::Received(_) | Body::Working(_) => {}
                body => return body,
            }
        }
    }

    async fn is_accepted(&mut self) -> bool {
        match self.hear().await {
            Body::Accept(_) => true,
            body => {
                assert!(is_busy(&body), "{body:?}");
                false
            }
        }
    }
}

fn is_busy(body: &Body) -> bool {
    matches!(body, Body::Refused(refused) if refused.code == RefuseCode::Busy.number())
}

#[tokio::test]
async fn an_emergency_gets_in_beside_peers_that_hold_everything() {
    let (store, input) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    StudySpec::new(1).with_instances(1, 3).with_size(32, 32).write_to(input.path()).unwrap();
    let site = Site::start(Identity::generate().unwrap(), depot_at(store.path()), Rights::all());
    let (mut held, mut sessions, mut endpoints) = (Vec::new(), Vec::new(), Vec::new());
    let (mut accepted, mut number) = ([0, 0], 0);
    for of in &mut accepted {
        let bad = Identity::generate().unwrap();
        site.trust.pin(bad.peer_id());
        let config = EndpointConfig::new("127.0.0.1:0".parse().unwrap(), bad, Trust::new(), ALPN);
        let endpoint = Endpoint::bind(config).unwrap();
        for _ in 0..3 {
            let session = endpoint.connect(&site.dial).await.unwrap();
            for _ in 0..4 {
                number += 1;
                let mut raw = Raw::begin(&session, number, Priority::Routine).await;
                *of += u32::from(raw.is_accepted().await);
                held.push(raw);
            }
            sessions.push(session);
        }
        endpoints.push(endpoint);
    }
    assert_eq!(accepted, [8, 6], "a share for one, and for the other what is not kept for emergencies");
    let paths = [input.path().to_owned()];
    let source = || Box::new(FileSource::new(&paths, OtherFiles::Skip)) as _;
    let push = async |priority| {
        let options = PushOptions::default().with_retry(RetryPolicy::once()).with_priority(priority);
        client_of(&site).push(&site.dial, source, &options, &|_: &_| {}).await
    };
    push(Priority::Routine).await.unwrap_err();
    assert!(push(Priority::Stat).await.unwrap().receipt.complete);
}

/// A site in virtual time, and the endpoint of one peer.
fn virtual_site(store: &tempfile::TempDir) -> (Endpoint, Dial, Server) {
    let net = Arc::new(VirtualNet::new("fibre1g".parse::<LineProfile>().unwrap(), 1));
    let (hospital, cloud) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let (trust, dial) = (Trust::new(), Dial::new(VirtualNet::CLOUD.to_string()).with_peer(cloud.peer_id()));
    trust.pin(hospital.peer_id());
    let host: Arc<dyn Host> = Arc::new(SameRights(Rights::all()));
    let endpoint =
        Endpoint::with_socket(EndpointConfig::new(VirtualNet::CLOUD, cloud, trust, ALPN), net.cloud()).unwrap();
    let server = Server::new(endpoint, depot_at(store.path()), host, ServerLimits::default());
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(std::future::pending()).await });
    let config = EndpointConfig::new(VirtualNet::HOSPITAL, hospital, Trust::new(), ALPN);
    (Endpoint::with_socket(config, net.hospital()).unwrap(), dial, server)
}

#[tokio::test(start_paused = true)]
async fn a_transfer_in_which_nothing_moves_gives_its_place_to_one_that_waits() {
    let store = tempfile::tempdir().unwrap();
    let (endpoint, dial, _) = virtual_site(&store);
    let mut idle = Vec::new();
    let mut sessions = Vec::new();
    for number in 0..8 {
        if number % 4 == 0 {
            sessions.push(endpoint.connect(&dial).await.unwrap());
        }
        let mut raw = Raw::begin(sessions.last().unwrap(), number, Priority::Routine).await;
        assert!(raw.is_accepted().await);
        idle.push(raw);
    }
    let session = endpoint.connect(&dial).await.unwrap();
    assert!(!Raw::begin(&session, 8, Priority::Routine).await.is_accepted().await, "they have only just begun");
    tokio::time::sleep(Duration::from_secs(21)).await;
    assert!(Raw::begin(&session, 9, Priority::Routine).await.is_accepted().await);
    assert!(is_busy(&idle[0].hear().await), "and is told why");
}

#[tokio::test(start_paused = true)]
async fn pages_wait_for_room_and_are_refused_when_there_is_none() {
    let store = tempfile::tempdir().unwrap();
    let (endpoint, dial, _) = virtual_site(&store);
    let session = endpoint.connect(&dial).await.unwrap();
    let mut transfers = Vec::new();
    for number in 0..3 {
        let mut raw = Raw::begin(&session, number, Priority::Routine).await;
        assert!(raw.is_accepted().await);
        // As many chunks as an instance may have: nearly 4 MiB of page.
        let page = Page { instances: vec![Item::opaque(&noise(u64::from(number), 100_000), 1).entry] };
        let encoded = page.encode();
        let zstd = zstd::bulk::compress(&encoded, 1).unwrap().into();
        raw.say(Body::Page(PageBody { index: 0, raw_len: encoded.len() as u32, zstd })).await;
        transfers.push(raw);
    }
    let mut answers = Vec::new();
    for raw in &mut transfers {
        answers.push(raw.hear().await);
    }
    assert_eq!(answers.iter().filter(|body| matches!(body, Body::Need(_))).count(), 2, "two fit");
    assert_eq!(answers.iter().filter(|body| is_busy(body)).count(), 1, "and one waits in vain");
}

#[tokio::test(start_paused = true)]
async fn a_drain_refuses_what_begins_and_lets_end_what_runs() {
    let store = tempfile::tempdir().unwrap();
    let (endpoint, dial, server) = virtual_site(&store);
    let session = endpoint.connect(&dial).await.unwrap();
    let mut running = Raw::begin(&session, 0, Priority::Routine).await;
    assert!(running.is_accepted().await);
    server.refuse_new();
    let refused = Raw::begin(&session, 1, Priority::Stat).await.hear().await;
    let code = RefuseCode::ShuttingDown.number();
    assert!(matches!(&refused, Body::Refused(refused) if refused.code == code), "{refused:?}");
    let root = imgxfer_core::manifest::root(&[], &Default::default());
    let root = Bytes::copy_from_slice(root.as_bytes());
    running.say(Body::End(End { pages: 0, root, complete: true, ..End::default() })).await;
    assert!(matches!(running.hear().await, Body::Receipt(_)));
}
