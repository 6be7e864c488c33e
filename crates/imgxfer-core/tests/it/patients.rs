//! Whose images a pull gives, and which of several versions.

use std::path::Path;
use std::sync::Arc;

use imgxfer_core::client::{Client, PullOptions, PullReport, PullTarget};
use imgxfer_core::codec::Registry;
use imgxfer_core::dicom::tags;
use imgxfer_core::progress::TransferEvent;
use imgxfer_core::receive::FolderIntake;
use imgxfer_core::send::{FetchOrder, OtherFiles};
use imgxfer_core::server::Rights;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::Versions;
use imgxfer_core::store::search::Search;
use imgxfer_core::transport::Identity;

use crate::harness::{Site, client_of, contents, depot_at, push};

/// Writes a study of three images, and gives some of them another patient ID of the same length.
fn write(folder: &Path, ids: [&str; 3]) {
    StudySpec::new(31).with_instances(1, 3).with_size(32, 32).with_patient_id("PAT-A").write_to(folder).unwrap();
    for ((_, path), id) in contents(folder).into_iter().zip(ids) {
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(5).position(|five| five == b"PAT-A").unwrap();
        bytes[at..at + 5].copy_from_slice(id.as_bytes());
        std::fs::write(&path, bytes).unwrap();
    }
}

async fn pull(client: &Client, site: &Site, out: &Path, target: &PullTarget) -> PullReport {
    let path = out.to_owned();
    let intake = move |peer| Ok(Arc::new(FolderIntake::open(&path, peer, Registry::default())?) as _);
    client.pull(&site.dial, target, intake, &PullOptions::default(), &|_: &TransferEvent| {}).await.unwrap()
}

#[tokio::test]
async fn a_pull_by_patient_gives_that_patient_alone_and_says_what_else_is_there() {
    let (store, input) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(input.path(), ["PAT-A", "PAT-B", "PAT-B"]);
    let site = Site::start(Identity::generate().unwrap(), depot_at(store.path()), Rights::all());
    let client = client_of(&site);
    push(&client, &site, &[input.path().to_owned()], OtherFiles::Skip).await.0.unwrap().complete().unwrap();
    for (id, its, others) in [("PAT-A", 1, 2), ("PAT-B", 2, 1)] {
        let search = Search::default().by(tags::PATIENT_ID, id).unwrap();
        let rows = client.find(&site.dial, &search).await.unwrap().rows;
        assert_eq!(rows.len(), 1, "found by {id}");
        assert_eq!(rows[0].study.patients.len(), 2, "and both are told");
        let out = tempfile::tempdir().unwrap();
        let report = pull(&client, &site, out.path(), &PullTarget::patient_id(id)).await;
        assert_eq!((contents(out.path()).len(), report.others), (its, others), "{id}");
        assert!(report.receipt.complete, "all that was asked for");
    }
    site.stop().await;
}

#[tokio::test]
async fn a_corrected_study_is_given_as_corrected_and_as_it_was() {
    let (store, input, fixed) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(input.path(), ["PAT-A"; 3]);
    write(fixed.path(), ["PAT-C"; 3]);
    let site = Site::start(Identity::generate().unwrap(), depot_at(store.path()), Rights::all());
    let client = client_of(&site);
    for folder in [input.path(), fixed.path()] {
        push(&client, &site, &[folder.to_owned()], OtherFiles::Skip).await.0.unwrap().complete().unwrap();
    }
    let rows = client.find(&site.dial, &Search::default()).await.unwrap().rows;
    let row = &rows[0].study;
    assert_eq!((row.shown().patient_id(), row.patients.len()), ("PAT-C", 1), "as corrected");
    assert_eq!((row.instances, row.contents, row.version()), (3, 6, 2));
    let target = PullTarget::study(row.study.clone()).with_order(FetchOrder::MiddlesFirst);
    let hashes = |folder: &Path| {
        let mut hashes: Vec<_> = contents(folder).iter().map(|(hash, _)| *hash.as_bytes()).collect();
        hashes.sort_unstable();
        hashes
    };
    let out = tempfile::tempdir().unwrap();
    pull(&client, &site, out.path(), &target).await.complete().unwrap();
    assert_eq!(hashes(out.path()), hashes(fixed.path()), "the corrected files alone");
    let out = tempfile::tempdir().unwrap();
    pull(&client, &site, out.path(), &target.with_versions(Versions::All)).await.complete().unwrap();
    assert_eq!(hashes(out.path()).len(), 6, "every content, where each is asked for");
    // What was sent first and is sent again is what the sender holds to be right now.
    push(&client, &site, &[input.path().to_owned()], OtherFiles::Skip).await.0.unwrap().complete().unwrap();
    let rows = client.find(&site.dial, &Search::default()).await.unwrap().rows;
    assert_eq!(rows[0].study.shown().patient_id(), "PAT-A", "stated again");
    assert_eq!(rows[0].study.version(), 3);
    site.stop().await;
}
