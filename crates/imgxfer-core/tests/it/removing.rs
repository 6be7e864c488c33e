//! What a peer removes, and what it may not; and how much a peer may have.

use imgxfer_core::client::{Client, PullTarget};
use imgxfer_core::depot::Unwanted;
use imgxfer_core::error::TransferError;
use imgxfer_core::ids::{PeerId, StudyUid};
use imgxfer_core::proto::ProtocolError;
use imgxfer_core::send::OtherFiles;
use imgxfer_core::server::Rights;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::search::Search;
use imgxfer_core::store::{InstancesOf, Scope};
use imgxfer_core::transport::Identity;
use imgxfer_core::wire::message::RefuseCode;

use crate::harness::{Site, client_of, depot_at, push};

fn code(error: TransferError) -> RefuseCode {
    match error {
        TransferError::Protocol(ProtocolError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

async fn studies(client: &Client, site: &Site) -> usize {
    client.find(&site.dial, &Search::default()).await.unwrap().rows.len()
}

/// A study of two series with three images each.
fn write(folder: &std::path::Path) -> StudyUid {
    let study = StudySpec::new(41).with_instances(2, 3).with_size(32, 32);
    study.write_to(folder).unwrap();
    study.study_uid()
}

#[tokio::test]
async fn a_peer_removes_what_it_has_sent_and_may_send_it_again() {
    let (store, input) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let uid = write(input.path());
    let site = Site::start(Identity::generate().unwrap(), depot_at(store.path()), Rights::all());
    let client = client_of(&site);
    let from = [input.path().to_owned()];
    let send = || push(&client, &site, &from, OtherFiles::Skip);
    send().await.0.unwrap().complete().unwrap();
    let all = site.depot.index.instances(&Scope::All, &InstancesOf::study(uid.clone()), None, 100).unwrap();
    let series = vec![all[0].entry.series.clone()];
    let part = Unwanted { series, ..Unwanted::study(uid.clone()) };
    let removed = client.remove(&site.dial, &part).await.unwrap();
    assert_eq!((removed.contents, removed.left), (3, 0));
    assert_eq!(removed.bytes, all[..3].iter().map(|instance| instance.entry.len).sum::<u64>());
    let one = Unwanted { instances: vec![all[5].entry.sop_instance.clone()], ..Unwanted::study(uid.clone()) };
    assert_eq!(client.remove(&site.dial, &one).await.unwrap().contents, 1);
    assert_eq!(code(client.remove(&site.dial, &one).await.unwrap_err()), RefuseCode::NotFound, "it is gone");
    let found = client.find(&site.dial, &Search::study(uid.clone())).await.unwrap().rows;
    assert_eq!((found[0].study.series, found[0].study.instances), (1, 2));
    assert_eq!(client.remove(&site.dial, &Unwanted::study(uid.clone())).await.unwrap().contents, 2);
    assert_eq!(studies(&client, &site).await, 0);
    // What is sent again is taken as if it had never been there.
    let report = send().await.0.unwrap();
    assert!(report.receipt.complete && report.receipt.instances == 6);
    let found = client.find(&site.dial, &Search::study(uid)).await.unwrap().rows;
    assert_eq!((found[0].study.instances, found[0].study.version()), (6, 1));
    site.stop().await;
}

#[tokio::test]
async fn a_peer_removes_nothing_of_others_and_nothing_without_the_right() {
    let (store, input) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let uid = write(input.path());
    let site = Site::start(Identity::generate().unwrap(), depot_at(store.path()), Rights::all());
    let (mine, other) = (client_of(&site), client_of(&site));
    push(&other, &site, &[input.path().to_owned()], OtherFiles::Skip).await.0.unwrap().complete().unwrap();
    let whole = Unwanted::study(uid.clone());
    assert_eq!(code(mine.remove(&site.dial, &whole).await.unwrap_err()), RefuseCode::NotFound, "it is another's");
    push(&mine, &site, &[input.path().to_owned()], OtherFiles::Skip).await.0.unwrap().complete().unwrap();
    let removed = mine.remove(&site.dial, &whole).await.unwrap();
    assert_eq!((removed.contents, removed.left), (6, 6), "the other's stay, and that is told");
    // The other's records may be those that this site had sent.
    let out = tempfile::tempdir().unwrap();
    let path = out.path().to_owned();
    let open = move |peer: PeerId| {
        let registry = imgxfer_core::codec::Registry::default();
        Ok(std::sync::Arc::new(imgxfer_core::receive::FolderIntake::open(&path, peer, registry)?) as _)
    };
    let report = other.pull(&site.dial, &PullTarget::study(uid), open, &Default::default(), &|_: &_| {}).await.unwrap();
    assert!(report.receipt.complete && report.receipt.instances == 6);
    site.stop().await;

    let store = tempfile::tempdir().unwrap();
    let site = Site::start(Identity::generate().unwrap(), depot_at(store.path()), Rights::all().with_delete(false));
    let client = client_of(&site);
    push(&client, &site, &[input.path().to_owned()], OtherFiles::Skip).await.0.unwrap().complete().unwrap();
    assert_eq!(code(client.remove(&site.dial, &whole).await.unwrap_err()), RefuseCode::NotAllowed);
    assert_eq!(studies(&client, &site).await, 1);
    site.stop().await;
}

#[tokio::test]
async fn a_peer_has_no_more_than_its_quota() {
    let (store, input) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let uid = write(input.path());
    let quota = 10_000;
    let rights = Rights::all().with_quota(Some(quota));
    let site = Site::start(Identity::generate().unwrap(), depot_at(store.path()), rights);
    let client = client_of(&site);
    let refused = push(&client, &site, &[input.path().to_owned()], OtherFiles::Skip).await.0.unwrap_err();
    assert!(refused.to_string().contains("10000") || format!("{refused:?}").contains("10000"), "{refused:?}");
    assert_eq!(code(refused), RefuseCode::NoSpace);
    let has: u64 = site.depot.index.study(&Scope::All, &uid).unwrap().iter().map(|row| row.bytes).sum();
    assert!(has <= quota, "{has}");
    site.stop().await;
}
