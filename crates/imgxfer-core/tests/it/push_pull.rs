//! Push, pull and query over real QUIC on loopback.

use std::collections::BTreeSet;
use std::sync::Arc;

use imgxfer_core::client::{PullOptions, PullTarget};
use imgxfer_core::codec::Registry;
use imgxfer_core::progress::TransferEvent;
use imgxfer_core::receive::FolderIntake;
use imgxfer_core::send::OtherFiles;
use imgxfer_core::server::Rights;
use imgxfer_core::sim::data::real_data_dir;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::Versions;
use imgxfer_core::store::search::{Found, Search};
use imgxfer_core::transport::Identity;

use crate::harness::{Site, client_of, contents, depot_at, push};

#[tokio::test(flavor = "multi_thread")]
async fn every_real_file_arrives_and_comes_back_byte_for_byte() {
    let Some(data) = real_data_dir() else {
        eprintln!("no real data here: skipped");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(Identity::generate().unwrap(), depot_at(folder.path()), Rights::all());
    let client = client_of(&site);
    let (report, events) = push(&client, &site, std::slice::from_ref(&data), OtherFiles::Send).await;
    let report = report.unwrap();
    let failed: Vec<_> = events.iter().filter(|e| matches!(e, TransferEvent::Failed { .. })).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(report.receipt.complete);
    eprintln!("{:?}", report.progress);

    let out = tempfile::tempdir().unwrap();
    let rows = client.find(&site.dial, &Search::default()).await.unwrap().rows;
    for row in &rows {
        let path = out.path().to_owned();
        let intake = move |peer| Ok(Arc::new(FolderIntake::open(&path, peer, Registry::default())?) as _);
        let target = PullTarget::study(row.study.study.clone()).with_versions(Versions::All);
        let pulled = client.pull(&site.dial, &target, intake, &PullOptions::default(), &|_: &TransferEvent| {}).await;
        assert!(pulled.unwrap().receipt.complete);
    }
    let sent: BTreeSet<_> = contents(&data).iter().map(|(hash, _)| *hash.as_bytes()).collect();
    let came: BTreeSet<_> = contents(out.path()).iter().map(|(hash, _)| *hash.as_bytes()).collect();
    assert_eq!(sent, came);

    let (again, _) = push(&client, &site, &[data], OtherFiles::Send).await;
    let again = again.unwrap();
    eprintln!("again: {:?}", again.progress);
    assert_eq!(again.progress.payload_bytes, 0);
    site.depot.index.totals().unwrap();
    site.stop().await;
}

/// Two sites that both had the study send it: who sees both gets each instance once.
#[tokio::test]
async fn the_same_content_of_two_owners_comes_once() {
    let (store, input, out) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    StudySpec::new(5).with_instances(2, 3).with_size(32, 32).write_to(input.path()).unwrap();
    let site = Site::start(Identity::generate().unwrap(), depot_at(store.path()), Rights::all());
    let paths = [input.path().to_owned()];
    let client = client_of(&site);
    for client in [&client, &client_of(&site)] {
        assert!(push(client, &site, &paths, OtherFiles::Skip).await.0.unwrap().receipt.complete);
    }
    let rows = client.find(&site.dial, &Search::default()).await.unwrap().rows;
    let counts = |row: &Found| (row.study.owners.len(), row.study.instances, row.study.contents);
    assert_eq!(rows.iter().map(counts).collect::<Vec<_>>(), [(2, 6, 6)], "one study of two owners");
    let of_each = crate::harness::rows(site.depot.index.as_ref());
    assert_eq!(of_each.iter().map(|row| row.instances).collect::<Vec<_>>(), [6, 6], "each owner has all of them");
    let path = out.path().to_owned();
    let intake = move |peer| Ok(Arc::new(FolderIntake::open(&path, peer, Registry::default())?) as _);
    let target = PullTarget::study(rows[0].study.study.clone());
    let pulled = client.pull(&site.dial, &target, intake, &PullOptions::default(), &|_: &TransferEvent| {}).await;
    let receipt = pulled.unwrap().receipt;
    assert!(receipt.complete && receipt.instances == 6, "{receipt:?}");
    let hashes = |folder: &std::path::Path| {
        let mut hashes: Vec<_> = contents(folder).iter().map(|(hash, _)| *hash.as_bytes()).collect();
        hashes.sort_unstable();
        hashes
    };
    let came = hashes(out.path());
    assert!(hashes(input.path()).iter().all(|hash| came.iter().filter(|came| *came == hash).count() == 1), "once each");
    site.stop().await;
}
