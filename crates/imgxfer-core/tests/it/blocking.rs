//! The blocking client, the examples that use it, and what a client leaves behind when its program goes on or ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use imgxfer_core::blocking;
use imgxfer_core::client::{PullOptions, PullTarget, PushOptions, RetryPolicy};
use imgxfer_core::codec::Registry;
use imgxfer_core::error::TransferError;
use imgxfer_core::receive::FolderIntake;
use imgxfer_core::send::{FileSource, OtherFiles};
use imgxfer_core::server::{Host, Rights};
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::search::Search;
use imgxfer_core::transport::pairing::{Invitation, invite};
use imgxfer_core::transport::{CloseCode, Endpoint, EndpointConfig, Identity, Session, TransportError, Trust};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use crate::harness::{Site, client_with, contents, depot_at};

#[expect(dead_code, reason = "its main is for the program")]
#[path = "../../examples/pair.rs"]
mod pair;
#[expect(dead_code, reason = "its main is for the program")]
#[path = "../../examples/query.rs"]
mod query;

/// Lets everybody do everything, and tells how each session ended.
struct Ends(mpsc::UnboundedSender<TransportError>);

impl Host for Ends {
    fn rights(&self, _: &Session) -> Rights {
        Rights::all()
    }

    fn on_session(&self, session: &Session) {
        let (session, ends) = (session.clone(), self.0.clone());
        drop(tokio::spawn(async move {
            let end = session.closed().await;
            drop(session);
            drop(ends.send(end));
        }));
    }
}

fn site(runtime: &Runtime, folder: &Path) -> (Site, mpsc::UnboundedReceiver<TransportError>) {
    let (ends, ended) = mpsc::unbounded_channel();
    let depot = depot_at(folder);
    let start = async { Site::start_with(Identity::generate().unwrap(), depot, Arc::new(Ends(ends))) };
    (runtime.block_on(start), ended)
}

/// As programs do that push now and then: each call has an endpoint and a runtime of its own, which end with it.
#[test]
fn twenty_calls_in_a_row_leave_no_session_behind() {
    let (runtime, folder) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let (site, mut ended) = site(&runtime, folder.path());
    let identity = Identity::generate().unwrap();
    site.trust.pin(identity.peer_id());
    for _ in 0..20 {
        let call = Builder::new_current_thread().enable_all().build().unwrap();
        call.block_on(async {
            let client = client_with(identity.clone());
            client.find(&site.dial, &Search::default()).await.unwrap();
        });
    }
    for _ in 0..20 {
        // Far below the time after which a silent line counts as lost.
        let end = async { tokio::time::timeout(Duration::from_secs(10), ended.recv()).await };
        let end = runtime.block_on(end).expect("the peer is left waiting").unwrap();
        assert!(matches!(end, TransportError::PeerClosed { code: CloseCode::Done, .. }), "{end:?}");
    }
}

#[test]
fn a_program_without_async_pushes_asks_and_pulls() {
    let (runtime, folder) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let (site, _ended) = site(&runtime, &folder.path().join("store"));
    let keys = folder.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    let identity = Identity::load_or_create(&keys).unwrap();
    site.trust.pin(identity.peer_id());
    let (input, out) = (folder.path().join("in"), folder.path().join("out"));
    let study = StudySpec::new(5).with_instances(1, 3).with_size(16, 16);
    study.write_to(&input).unwrap();

    let client = blocking::Client::new(identity).unwrap();
    let source = || Box::new(FileSource::new(std::slice::from_ref(&input), OtherFiles::Skip)) as _;
    let receipt = client.push(&site.dial, source, &PushOptions::default(), &|_: &_| {}).unwrap().complete().unwrap();
    assert_eq!(receipt.instances, 3);
    assert_eq!(client.query(&site.dial, &Search::default()).unwrap().rows.len(), 1);
    let folder_intake = {
        let out = out.clone();
        move |peer| Ok(Arc::new(FolderIntake::open(&out, peer, Registry::default())?) as _)
    };
    let target = PullTarget::study(study.study_uid());
    let pulled = client.pull(&site.dial, &target, folder_intake, &PullOptions::default(), &|_: &_| {}).unwrap();
    assert_eq!(pulled.complete().unwrap().instances, 3);
    let hashes = |folder: &Path| contents(folder).into_iter().map(|(hash, _)| hash).collect::<Vec<_>>();
    assert_eq!(hashes(&input), hashes(&out));

    let args = [keys.to_str().unwrap(), &site.address.to_string(), &fingerprint(&site)].map(ToOwned::to_owned);
    query::query(&args).unwrap();
    query::query(&[&args[..], &["*".to_owned()]].concat()).unwrap();
    query::query(&args[..2]).unwrap_err();
}

fn fingerprint(site: &Site) -> String {
    site.peer.fingerprint()
}

#[test]
fn what_is_not_there_is_an_error_with_its_name_and_what_was_left_out_shows() {
    let (runtime, folder) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let (site, _ended) = site(&runtime, &folder.path().join("store"));
    let identity = Identity::generate().unwrap();
    site.trust.pin(identity.peer_id());
    let client = blocking::Client::new(identity).unwrap();
    let push = |name: &str| {
        let paths = [folder.path().join(name)];
        let source = || Box::new(FileSource::new(&paths, OtherFiles::Skip)) as _;
        client.push(&site.dial, source, &PushOptions::default().with_retry(RetryPolicy::once()), &|_: &_| {})
    };
    let error = push("nowhere").unwrap_err();
    assert!(matches!(&error, TransferError::NoSuchPath(path) if path.ends_with("nowhere")), "{error:?}");
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let error = push("empty").unwrap().complete().unwrap_err();
    assert!(matches!(error, TransferError::Incomplete { committed: 0 }), "{error:?}");
}

#[test]
fn a_program_without_async_pairs() {
    let (runtime, folder) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let there = Identity::generate().unwrap();
    let config = EndpointConfig::new("127.0.0.1:0".parse().unwrap(), there.clone(), Trust::new(), imgxfer_core::ALPN);
    let endpoint = runtime.block_on(async { Endpoint::bind(config) }).unwrap();
    let address = endpoint.local_address().unwrap().to_string();
    let mut window = endpoint.open_pairing();
    let inviting = {
        let there = there.clone();
        runtime.spawn(async move {
            let invitation = Invitation::new("428-519-063".parse().unwrap(), Duration::from_secs(600));
            let session = window.accept().await.unwrap();
            invite(&session, &there, &invitation, "The cloud", |_| async { true }).await
        })
    };
    let keys = folder.path().to_str().unwrap().to_owned();
    let args = [keys, address, "428519063".to_owned(), there.peer_id().fingerprint()];
    pair::pair(&args).unwrap();
    let paired = runtime.block_on(inviting).unwrap().unwrap();
    assert_eq!(paired.peer, Identity::load(folder.path()).unwrap().peer_id());
}

/// What the README shows is a program that compiles: the example of the same text does.
#[test]
fn the_lines_of_the_readme_are_those_of_the_example() {
    let readme = include_str!("../../../../README.md");
    let shown: Vec<&str> = readme.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let (_, example) = include_str!("../../examples/readme.rs").split_once("\n\n").unwrap();
    assert_eq!(shown, [example]);
}
