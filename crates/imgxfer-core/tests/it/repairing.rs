//! A store is mended from a peer that holds the same: exactly what is damaged, for whom it belongs to, and nothing else.

use std::path::{Path, PathBuf};

use imgxfer_core::client::{Client, PullOptions, RetryPolicy};
use imgxfer_core::depot::Depot;
use imgxfer_core::ids::InstanceHash;
use imgxfer_core::repair::{Outcome, RepairReport, renew_notes, repair};
use imgxfer_core::send::OtherFiles;
use imgxfer_core::server::Rights;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::{CheckOptions, CheckReport, Finding, RecordAt, StoredInstance, check};
use imgxfer_core::transport::Identity;

use crate::harness::{Site, all_of, client_of, client_with, depot_at, flip, push, rows};

const SIZE: u16 = 64;

/// A store with the study of a sender, and a peer with what it was given.
struct Two {
    store: tempfile::TempDir,
    peer: Site,
    sender: Identity,
    client: Client,
    _peer_store: tempfile::TempDir,
    _input: tempfile::TempDir,
}

fn study(seed: u64) -> StudySpec {
    StudySpec::new(seed).with_instances(2, 4).with_size(SIZE, SIZE)
}

impl Two {
    /// Both are given the study by different senders; the peer gets the files of `peer_has`.
    async fn new(peer_has: impl FnOnce(&Path)) -> Self {
        let (store, peer_store, input) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mine, theirs) = (input.path().join("mine"), input.path().join("theirs"));
        study(7).write_to(&mine).unwrap();
        std::fs::create_dir(&theirs).unwrap();
        peer_has(&theirs);
        let sender = Identity::generate().unwrap();
        let here = Site::start(Identity::generate().unwrap(), depot_at(store.path()), Rights::all());
        here.trust.pin(sender.peer_id());
        let (pushed, _) = push(&client_with(sender.clone()), &here, &[mine], OtherFiles::Skip).await;
        assert!(pushed.unwrap().receipt.complete);
        here.stop().await;
        let peer = Site::start(Identity::generate().unwrap(), depot_at(peer_store.path()), Rights::all());
        if std::fs::read_dir(&theirs).unwrap().next().is_some() {
            let (pushed, _) = push(&client_of(&peer), &peer, &[theirs], OtherFiles::Skip).await;
            assert!(pushed.unwrap().receipt.complete);
        }
        let client = client_of(&peer);
        Self { store, peer, sender, client, _peer_store: peer_store, _input: input }
    }

    fn depot(&self) -> Depot {
        depot_at(self.store.path())
    }

    fn instances(&self) -> Vec<StoredInstance> {
        let depot = self.depot();
        let study = study(7).study_uid();
        all_of(depot.index.as_ref(), &study)
    }

    fn pack(&self, at: &RecordAt) -> PathBuf {
        let id = at.pack.to_string();
        self.store.path().join("packs").join(&id[..2]).join(format!("{id}.pack"))
    }

    /// Spoils the record of an instance's pixels; returns the hashes of all instances in it, and their bytes in it.
    fn spoil(&self, which: usize) -> (Vec<InstanceHash>, u64) {
        let instances = self.instances();
        let at = instances[which].chunks[2].record;
        flip(&self.pack(&at), at.offset + u64::from(at.len) - 1);
        let hit = |i: &&StoredInstance| i.chunks.iter().any(|chunk| chunk.record == at);
        let bytes = instances.iter().flat_map(|i| i.entry.chunks.iter().zip(&i.chunks));
        let bytes = bytes.filter(|(_, place)| place.record == at).map(|(chunk, _)| u64::from(chunk.len)).sum();
        (instances.iter().filter(hit).map(|i| i.entry.hash).collect(), bytes)
    }

    fn check(&self) -> CheckReport {
        let depot = self.depot();
        let options = CheckOptions { read_data: true, ..CheckOptions::default() };
        check(&depot.records, depot.index.as_ref(), &options, &mut |_| true).unwrap()
    }

    async fn repair(&self) -> RepairReport {
        let options = PullOptions::default().with_retry(RetryPolicy::once());
        repair(&self.client, &self.peer.dial, &self.depot(), &options, &|_: &_| {}).await.unwrap()
    }

    /// That nothing but places differs from `before`.
    fn assert_same_rows(&self, before: &[StoredInstance]) {
        let after = self.instances();
        assert_eq!(after.len(), before.len(), "no row more or less");
        for (now, before) in after.iter().zip(before) {
            assert_eq!((&now.entry, now.owner, &now.attributes), (&before.entry, before.owner, &before.attributes));
            assert_eq!(now.owner, self.sender.peer_id());
        }
        let rows = rows(self.depot().index.as_ref());
        assert_eq!(rows.len(), 1, "no owner more");
        assert_eq!((rows[0].version, rows[0].arriving), (1, false), "no version more");
    }
}

#[tokio::test]
async fn exactly_what_is_damaged_is_fetched() {
    let two = Two::new(|folder| drop(study(7).write_to(folder).unwrap())).await;
    let before = two.instances();
    let (hit, bytes) = two.spoil(3);
    assert!(two.check().findings.iter().any(Finding::is_loss));
    let events = std::sync::Mutex::new(Vec::new());
    let observer = |event: &imgxfer_core::progress::TransferEvent| events.lock().unwrap().push(event.clone());
    let options = PullOptions::default().with_retry(RetryPolicy::once());
    let report = repair(&two.client, &two.peer.dial, &two.depot(), &options, &observer).await.unwrap();
    assert_eq!((report.healed(), report.instances.len()), (hit.len(), hit.len()), "{report:?}");
    assert!(report.instances.iter().all(|mended| hit.contains(&mended.instance.entry.hash)));
    assert!(report.payload_bytes > 0 && report.payload_bytes < bytes + 4096, "{} for {bytes}", report.payload_bytes);
    two.assert_same_rows(&before);
    let found = two.check();
    assert!(found.is_sound(), "nothing needs what is rotten any more: {found:?}");
    assert!(two.repair().await.instances.is_empty(), "nothing is left to mend");
    // The healed places count for an index made anew.
    std::fs::remove_file(two.store.path().join("index.db")).unwrap();
    two.assert_same_rows(&before);
    assert!(two.check().is_sound());
}

#[tokio::test]
async fn a_record_whose_check_is_rotten_is_fetched() {
    let two = Two::new(|folder| drop(study(7).write_to(folder).unwrap())).await;
    let before = two.instances();
    let at = before[3].chunks[2].record;
    flip(&two.pack(&at), at.offset + 16);
    two.check();
    let report = two.repair().await;
    assert!(report.healed() > 0 && report.healed() == report.instances.len(), "{report:?}");
    two.assert_same_rows(&before);
    assert!(two.check().is_sound());
}

#[tokio::test]
async fn what_the_peer_lacks_or_has_otherwise_stays_damaged() {
    // The peer has another content of the instance that is damaged, and the rest of the study.
    let two = Two::new(|folder| {
        study(7).write_to(folder).unwrap();
        let mut files: Vec<_> = walk(folder);
        files.sort();
        for file in files {
            // The last byte of the pixels.
            let len = std::fs::metadata(&file).unwrap().len();
            flip(&file, len - 1);
        }
    })
    .await;
    let before = two.instances();
    let (hit, _) = two.spoil(3);
    two.check();
    let report = two.repair().await;
    assert_eq!((report.healed(), report.instances.len(), report.payload_bytes), (0, hit.len(), 0));
    assert!(report.instances.iter().all(|mended| mended.outcome == Outcome::OtherContent), "{report:?}");
    two.assert_same_rows(&before);
    assert_eq!(two.depot().index.damaged(100).unwrap().len(), hit.len(), "still damaged");

    let two = Two::new(|_| {}).await;
    let (hit, _) = two.spoil(3);
    two.check();
    let report = two.repair().await;
    assert_eq!(report.instances.len(), hit.len());
    assert!(report.instances.iter().all(|mended| mended.outcome == Outcome::NotHeld), "{report:?}");
    assert!(!two.check().is_sound());
}

#[tokio::test]
async fn what_is_damaged_at_the_peer_too_is_not_given() {
    let two = Two::new(|folder| drop(study(7).write_to(folder).unwrap())).await;
    let (hit, _) = two.spoil(3);
    two.check();
    let theirs = two.peer.depot.clone();
    let at_peer = all_of(theirs.index.as_ref(), &study(7).study_uid());
    let at = at_peer[3].chunks[2].record;
    let id = at.pack.to_string();
    let pack = two._peer_store.path().join("packs").join(&id[..2]).join(format!("{id}.pack"));
    flip(&pack, at.offset + u64::from(at.len) - 1);
    let report = two.repair().await;
    assert_eq!(report.instances.len(), hit.len());
    assert!(report.instances.iter().any(|mended| mended.outcome == Outcome::NotGiven), "{report:?}");
    assert!(!two.check().is_sound());
}

#[tokio::test]
async fn notes_that_cannot_be_read_are_written_anew() {
    for spoilt in ["notes", "last note", "record in front of them", "record in front of what a trailer lists"] {
        let two = Two::new(|folder| drop(study(7).write_to(folder).unwrap())).await;
        let before = two.instances();
        let at = before[0].chunks[0].record;
        let pack = two.pack(&at);
        let mut ends = Vec::new();
        two.depot()
            .records
            .notes(at.pack, 0, &mut |end, bytes| {
                ends.push((end, u64::try_from(bytes.len()).unwrap()));
                Ok(())
            })
            .unwrap();
        match spoilt {
            // Their packed content.
            "notes" => ends.iter().for_each(|(end, len)| flip(&pack, end - len + 14)),
            "last note" => flip(&pack, ends[ends.len() - 1].0 - 1),
            // Its magic: nothing behind it can be walked over, but for what the trailer lists.
            "record in front of them" => {
                flip(&pack, at.offset);
                flip(&pack, std::fs::metadata(&pack).unwrap().len() - 1);
            }
            _ => flip(&pack, at.offset),
        }
        let is_listed = spoilt == "record in front of what a trailer lists";
        let lost = if spoilt == "last note" { 0 } else { 8 };
        let found = two.check();
        assert!(!found.is_sound(), "{spoilt}: {found:?}");
        let is_untold =
            |f: &Finding| matches!(f, Finding::Untold(untold) if (untold.instances, untold.versions) == (lost, 1));
        assert_eq!(found.findings.iter().any(is_untold), !is_listed, "{spoilt}: {found:?}");
        let mended = two.repair().await;
        assert_eq!(mended.healed(), mended.instances.len(), "{spoilt}: {mended:?}");
        let renewed = renew_notes(&two.depot()).unwrap();
        // What was healed has a note already.
        let mended = u64::try_from(mended.healed()).unwrap();
        assert_eq!((renewed.instances + mended, renewed.versions), (lost, u64::from(!is_listed)), "{spoilt}");
        assert_eq!(renew_notes(&two.depot()).unwrap(), Default::default(), "{spoilt}: once is enough");
        let found = two.check();
        assert!(found.is_sound() && !found.is_clean(), "{spoilt}: {found:?}");
        std::fs::remove_file(two.store.path().join("index.db")).unwrap();
        two.assert_same_rows(&before);
        assert!(two.check().is_sound(), "{spoilt}: nothing was lost with the index");
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    crate::harness::contents(folder).into_iter().map(|(_, path)| path).collect()
}
