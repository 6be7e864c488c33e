//! Files that are not what they should be, pushed for real: the rest of the study goes, reasons are right.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imgxfer_core::client::{PullOptions, PullTarget, PushOptions, PushReport, RetryPolicy};
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::Depot;
use imgxfer_core::error::{Retry, TransferError};
use imgxfer_core::progress::TransferEvent;
use imgxfer_core::proto::ProtocolError;
use imgxfer_core::receive::FolderIntake;
use imgxfer_core::send::{FileSource, OtherFiles, Source, SourceItem, Totals, printable};
use imgxfer_core::server::Rights;
use imgxfer_core::sim::studies::{StudySpec, not_dicom, without_meta};
use imgxfer_core::store::{FsOptions, FsRecords, SqliteIndex, Versions};
use imgxfer_core::testing::noise;
use imgxfer_core::transport::Identity;
use imgxfer_core::wire::message::RefuseCode;

use crate::harness::{Site, client_of, contents, depot_at, push, rows};

/// A study on disk, and a site to push it to.
struct Bench {
    input: tempfile::TempDir,
    _store: tempfile::TempDir,
    site: Site,
    spec: StudySpec,
}

/// What came of a push of everything in the folder.
struct Pushed {
    report: PushReport,
    skipped: Vec<(String, String)>,
    failed: Vec<(String, String)>,
}

impl Bench {
    /// A folder with five good instances.
    fn new(seed: u64) -> Self {
        let (input, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let spec = StudySpec::new(seed).with_instances(1, 5).with_size(64, 64);
        spec.write_to(input.path()).unwrap();
        let site = Site::start(Identity::generate().unwrap(), depot_at(store.path()), Rights::all());
        Self { input, _store: store, site, spec }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.input.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    async fn push(&self, other: OtherFiles) -> Pushed {
        self.push_paths(&[self.input.path().to_owned()], other).await
    }

    async fn push_paths(&self, paths: &[PathBuf], other: OtherFiles) -> Pushed {
        let (report, events) = push(&client_of(&self.site), &self.site, paths, other).await;
        let (skipped, failed) = told(events);
        Pushed { report: report.unwrap(), skipped, failed }
    }

    /// Everything the site has, as files.
    async fn pull_all(&self) -> Vec<Vec<u8>> {
        let out = tempfile::tempdir().unwrap();
        let client = client_of(&self.site);
        let rows = rows(self.site.depot.index.as_ref());
        for row in &rows {
            let path = out.path().to_owned();
            let intake = move |peer| Ok(Arc::new(FolderIntake::open(&path, peer, Registry::default())?) as _);
            let target = PullTarget::study(row.study.clone()).with_versions(Versions::All);
            let pulled = client.pull(&self.site.dial, &target, intake, &PullOptions::default(), &|_: &_| {}).await;
            // A transfer that left something out stated no version: nobody knows whether the study is whole.
            let is_stated = rows.iter().filter(|other| other.study == row.study).all(|other| other.version > 0);
            let pulled = pulled.unwrap();
            assert_eq!((pulled.receipt.complete, pulled.shortfall.unstated == 0), (is_stated, is_stated));
        }
        contents(out.path()).into_iter().map(|(_, path)| std::fs::read(path).unwrap()).collect()
    }

    /// The five good instances are there, byte for byte, and so are `others` and nothing else.
    async fn assert_holds(self, others: &[&[u8]]) {
        let mut expected: BTreeSet<Vec<u8>> = self.spec.instances().map(|instance| instance.bytes).collect();
        expected.extend(others.iter().map(|bytes| bytes.to_vec()));
        let found: BTreeSet<Vec<u8>> = self.pull_all().await.into_iter().collect();
        assert_eq!(found.len(), expected.len());
        assert!(found == expected, "some file is not what was sent");
        self.site.stop().await;
    }
}

type Told = Vec<(String, String)>;

fn told(events: Vec<TransferEvent>) -> (Told, Told) {
    let (mut skipped, mut failed) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            TransferEvent::Skipped { label, reason } => skipped.push((label, reason)),
            TransferEvent::Failed { label, reason } => failed.push((label, reason)),
            _ => {}
        }
    }
    (skipped, failed)
}

/// One report, about the file with this name, for a reason that holds these words.
fn assert_told(told: &[(String, String)], name: &str, words: &str) {
    let [(label, reason)] = told else { panic!("not one report: {told:?}") };
    assert!(label.ends_with(name), "{label} is not {name}");
    assert!(reason.contains(words), "{reason:?} does not say {words:?}");
}

#[tokio::test]
async fn what_is_not_dicom_is_left_out_or_carried_as_it_is() {
    let bench = Bench::new(1);
    let text = not_dicom(1, 4000);
    bench.write("report.bin", &text);
    let pushed = bench.push(OtherFiles::Skip).await;
    assert_told(&pushed.skipped, "report.bin", "not DICOM");
    assert!(pushed.failed.is_empty() && pushed.report.receipt.complete);
    assert_eq!(pushed.report.receipt.instances, 5);
    let pushed = bench.push(OtherFiles::Send).await;
    assert!(pushed.skipped.is_empty() && pushed.failed.is_empty());
    assert_eq!(pushed.report.receipt.instances, 6);
    bench.assert_holds(&[&text]).await;
}

#[tokio::test]
async fn truncated_dicom_is_carried_as_it_is() {
    let bench = Bench::new(2);
    let whole = bench.spec.clone().with_instances(2, 5).instance(2, 1).bytes;
    // Within the pixel data, within the header, and within the preamble.
    let parts = [&whole[..whole.len() - 1001], &whole[..700], &whole[..100]];
    for (n, part) in parts.iter().enumerate() {
        bench.write(&format!("truncated{n}.dcm"), part);
    }
    let pushed = bench.push(OtherFiles::Send).await;
    assert!(pushed.skipped.is_empty() && pushed.failed.is_empty(), "{:?} {:?}", pushed.skipped, pushed.failed);
    bench.assert_holds(&parts).await;
}

#[tokio::test]
async fn a_data_set_without_meta_information_is_carried() {
    let bench = Bench::new(3);
    let bare = without_meta(&bench.spec);
    bench.write("bare.dcm", &bare);
    let pushed = bench.push(OtherFiles::Send).await;
    assert!(pushed.failed.is_empty());
    bench.assert_holds(&[&bare]).await;
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let bench = Bench::new(4);
    bench.write("empty.dcm", b"");
    let pushed = bench.push(OtherFiles::Skip).await;
    assert_told(&pushed.skipped, "empty.dcm", "not DICOM");
    let pushed = bench.push(OtherFiles::Send).await;
    assert_eq!(pushed.report.receipt.instances, 6);
    bench.assert_holds(&[b""]).await;
}

#[tokio::test]
async fn a_pipe_is_not_waited_for() {
    let bench = Bench::new(5);
    let made = std::process::Command::new("mkfifo").arg(bench.path("pipe.dcm")).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("mkfifo is not here: skipped");
        return;
    }
    let pushed = bench.push(OtherFiles::Send).await;
    assert_told(&pushed.failed, "pipe.dcm", "not a file");
    assert!(!pushed.report.receipt.complete, "something was left out");
    bench.assert_holds(&[]).await;
}

#[tokio::test]
async fn links_that_lead_nowhere_or_in_circles() {
    let bench = Bench::new(6);
    std::fs::create_dir(bench.path("below")).unwrap();
    std::os::unix::fs::symlink("..", bench.path("below/up")).unwrap();
    let pushed = bench.push(OtherFiles::Send).await;
    assert_told(&pushed.failed, "below/up", "leads back");
    std::fs::remove_file(bench.path("below/up")).unwrap();
    std::os::unix::fs::symlink("nowhere", bench.path("below/dangling")).unwrap();
    let pushed = bench.push(OtherFiles::Send).await;
    assert_told(&pushed.failed, "below/dangling", "no such file");
    std::fs::remove_file(bench.path("below/dangling")).unwrap();
    std::os::unix::fs::symlink("self", bench.path("below/self")).unwrap();
    let pushed = bench.push(OtherFiles::Send).await;
    assert_eq!(pushed.failed.len(), 1, "{:?}", pushed.failed);
    assert!(pushed.failed[0].0.ends_with("below/self"));
    bench.assert_holds(&[]).await;
}

#[tokio::test]
async fn paths_that_are_not_there_and_paths_named_twice() {
    let bench = Bench::new(7);
    let folder = bench.input.path().to_owned();
    let one = bench.path("S001I00001.dcm");
    let with_missing = [one.clone(), bench.path("missing"), folder.clone()];
    let (refused, _) = push(&client_of(&bench.site), &bench.site, &with_missing, OtherFiles::Skip).await;
    let error = refused.unwrap_err();
    assert!(matches!(&error, TransferError::NoSuchPath(path) if path.ends_with("missing")), "{error:?}");
    let pushed = bench.push_paths(&[one.clone(), folder, one], OtherFiles::Skip).await;
    assert_eq!((pushed.report.receipt.instances, pushed.report.receipt.complete), (5, true));
    bench.assert_holds(&[]).await;
}

#[tokio::test]
async fn names_that_are_no_text() {
    let bench = Bench::new(8);
    let names: [&[u8]; 3] = [b"new\nline.bin", b"not\xff utf-8.bin", b"-rf \x1b[31m.bin"];
    let files: Vec<Vec<u8>> = (0..3).map(|n| noise(800 + n, 500)).collect();
    for (name, bytes) in names.iter().zip(&files) {
        std::fs::write(bench.input.path().join(OsStr::from_bytes(name)), bytes).unwrap();
    }
    let pushed = bench.push(OtherFiles::Skip).await;
    let labels: Vec<_> = pushed.skipped.iter().map(|(label, _)| label.as_str()).collect();
    assert_eq!(labels.len(), 3);
    assert!(labels.iter().all(|label| !label.contains(char::is_control)), "{labels:?}");
    assert!(labels.iter().any(|label| label.ends_with("new\\nline.bin")), "{labels:?}");
    assert!(labels.iter().any(|label| label.ends_with("not\\xff utf-8.bin")), "{labels:?}");
    assert_eq!(printable(Path::new(OsStr::from_bytes(names[2]))), "-rf \\u{1b}[31m.bin");
    let pushed = bench.push(OtherFiles::Send).await;
    assert!(pushed.failed.is_empty());
    let others: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    bench.assert_holds(&others).await;
}

#[tokio::test]
async fn two_contents_under_one_uid_are_both_kept() {
    let bench = Bench::new(9);
    let other = bench.spec.clone().with_patient_name("Somebody^Else").instance(1, 1).bytes;
    bench.write("other.dcm", &other);
    let pushed = bench.push(OtherFiles::Skip).await;
    assert_eq!(pushed.report.receipt.instances, 6);
    let rows = rows(bench.site.depot.index.as_ref());
    assert_eq!((rows.len(), rows[0].conflicts, rows[0].instances, rows[0].contents), (1, 1, 5, 6));
    bench.assert_holds(&[&other]).await;
}

/// Gives what a [`FileSource`] gives, and changes a file once its instance has been hashed.
struct Meddling {
    inner: FileSource,
    victim: PathBuf,
    meddle: fn(&Path),
    done: Arc<AtomicBool>,
}

impl Source for Meddling {
    fn totals(&self) -> Totals {
        self.inner.totals()
    }

    fn next_item(&mut self) -> std::io::Result<Option<SourceItem>> {
        let item = self.inner.next_item()?;
        if let Some(SourceItem::Instance(instance)) = &item
            && Path::new(&instance.label) == self.victim
            && !self.done.swap(true, Ordering::SeqCst)
        {
            (self.meddle)(&self.victim);
        }
        Ok(item)
    }
}

fn truncate(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

fn append(path: &Path) {
    use std::io::Write;
    std::fs::File::options().append(true).open(path).unwrap().write_all(b"more").unwrap();
}

fn overwrite(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_file_that_changes_after_it_was_hashed() {
    type Case = (&'static str, fn(&Path), Option<&'static str>);
    let cases: [Case; 4] = [
        ("truncate", truncate, Some("changed while it was being sent")),
        ("overwrite", overwrite, Some("changed while it was being sent")),
        ("remove", remove, Some("could not be read")),
        // What was offered is still there, whole.
        ("append", append, None),
    ];
    for (seed, (what, meddle, reason)) in (20..).zip(cases) {
        let bench = Bench::new(seed);
        let victim = bench.path("S001I00003.dcm");
        let original = std::fs::read(&victim).unwrap();
        let paths = [bench.input.path().to_owned()];
        let done = Arc::new(AtomicBool::new(false));
        let source = || {
            let inner = FileSource::new(&paths, OtherFiles::Skip);
            Box::new(Meddling { inner, victim: victim.clone(), meddle, done: Arc::clone(&done) }) as Box<dyn Source>
        };
        let events = Mutex::new(Vec::new());
        let observer = |event: &TransferEvent| events.lock().unwrap().push(event.clone());
        let options = PushOptions::default().with_retry(RetryPolicy::once());
        let report = client_of(&bench.site).push(&bench.site.dial, source, &options, &observer).await.unwrap();
        let (_, failed) = told(events.into_inner().unwrap());
        let found: BTreeSet<Vec<u8>> = bench.pull_all().await.into_iter().collect();
        match reason {
            Some(reason) => {
                assert_told(&failed, "S001I00003.dcm", reason);
                assert_eq!((report.receipt.instances, report.receipt.complete), (4, false), "{what}");
                assert_eq!(report.progress.instances_failed, 1, "{what}");
                assert_eq!((found.len(), found.contains(&original)), (4, false), "{what}");
            }
            None => {
                assert!(failed.is_empty(), "{what}: {failed:?}");
                assert_eq!((report.receipt.instances, found.contains(&original)), (5, true), "{what}");
            }
        }
        bench.site.stop().await;
    }
}

/// A DICOMDIR (PS3.3 annex F) with an image record for each of these file identifiers.
fn dicomdir(references: &[&str]) -> Vec<u8> {
    fn element(out: &mut Vec<u8>, tag: (u16, u16), vr: &str, value: &[u8]) {
        out.extend(tag.0.to_le_bytes());
        out.extend(tag.1.to_le_bytes());
        out.extend(vr.as_bytes());
        let pad = if vr == "UI" || vr == "OB" { 0 } else { b' ' };
        let mut value = value.to_vec();
        if value.len() % 2 == 1 {
            value.push(pad);
        }
        if ["OB", "SQ"].contains(&vr) {
            out.extend([0, 0]);
            out.extend((value.len() as u32).to_le_bytes());
        } else {
            out.extend((value.len() as u16).to_le_bytes());
        }
        out.extend(value);
    }
    let mut meta = Vec::new();
    element(&mut meta, (2, 1), "OB", &[0, 1]);
    element(&mut meta, (2, 2), "UI", b"1.2.840.10008.1.3.10");
    element(&mut meta, (2, 3), "UI", b"1.2.3.99");
    element(&mut meta, (2, 0x10), "UI", b"1.2.840.10008.1.2.1");
    element(&mut meta, (2, 0x12), "UI", b"1.2.3.98");
    let mut records = Vec::new();
    for reference in references {
        let mut record = Vec::new();
        element(&mut record, (4, 0x1400), "UL", &0u32.to_le_bytes());
        element(&mut record, (4, 0x1410), "US", &0xffffu16.to_le_bytes());
        element(&mut record, (4, 0x1420), "UL", &0u32.to_le_bytes());
        element(&mut record, (4, 0x1430), "CS", b"IMAGE");
        element(&mut record, (4, 0x1500), "CS", reference.as_bytes());
        records.extend([0xfe, 0xff, 0x00, 0xe0]);
        records.extend((record.len() as u32).to_le_bytes());
        records.extend(record);
    }
    let mut out = vec![0; 128];
    out.extend(b"DICM");
    element(&mut out, (2, 0), "UL", &(meta.len() as u32).to_le_bytes());
    out.extend(meta);
    element(&mut out, (4, 0x1130), "CS", b"MEDIUM");
    element(&mut out, (4, 0x1200), "UL", &0u32.to_le_bytes());
    element(&mut out, (4, 0x1202), "UL", &0u32.to_le_bytes());
    element(&mut out, (4, 0x1212), "US", &0u16.to_le_bytes());
    element(&mut out, (4, 0x1220), "SQ", &records);
    out
}

#[tokio::test]
async fn a_medium_is_what_its_dicomdir_refers_to_and_never_leaves_it() {
    let bench = Bench::new(10);
    let medium = bench.path("MEDIUM");
    let images = medium.join("IMAGES");
    std::fs::create_dir_all(&images).unwrap();
    for n in 1..=3 {
        std::fs::rename(bench.path(&format!("S001I0000{n}.dcm")), images.join(format!("IM{n}"))).unwrap();
    }
    // The second is on the medium, but not referred to; two references lead out of it, and one nowhere.
    let references =
        ["IMAGES\\IM1", "IMAGES\\IM3", "..\\S001I00004.dcm", "IMAGES\\..\\..\\S001I00005.dcm", "IMAGES\\IM9"];
    std::fs::write(medium.join("DICOMDIR"), dicomdir(&references)).unwrap();
    let pushed = bench.push_paths(&[medium.join("DICOMDIR")], OtherFiles::Skip).await;
    let said: Vec<bool> = ["does not refer to", "no file on the medium", "no file on the medium", "no such file"]
        .iter()
        .map(|words| pushed.failed.iter().any(|(_, reason)| reason.contains(words)))
        .collect();
    assert_eq!((pushed.failed.len(), said, pushed.skipped.len()), (4, vec![true; 4], 0), "{:?}", pushed.failed);
    assert_eq!((pushed.report.receipt.instances, pushed.report.receipt.complete), (2, false));
    // The folder as a whole: all three, and the index of the medium is left out with a word.
    let pushed = bench.push_paths(&[medium], OtherFiles::Skip).await;
    assert_told(&pushed.skipped, "DICOMDIR", "index of the medium");
    assert_eq!(pushed.report.receipt.instances, 3);
    bench.push(OtherFiles::Skip).await;
    bench.assert_holds(&[]).await;
}

#[tokio::test]
async fn a_full_disk_refuses_and_the_rest_goes_when_there_is_room() {
    let (input, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let spec = StudySpec::new(11).with_instances(1, 6).with_size(64, 64);
    spec.write_to(input.path()).unwrap();
    let identity = Identity::generate().unwrap();
    let open = |reserve_bytes| {
        let options = FsOptions { reserve_bytes, ..FsOptions::default() };
        let records = FsRecords::open(&store.path().join("records"), options).unwrap();
        let index = SqliteIndex::open(&store.path().join("index.db")).unwrap();
        Depot::new(Arc::new(records), Arc::new(index), Registry::default())
    };
    // Half of the study while there is room ...
    let half: Vec<_> = (1..=3).map(|n| input.path().join(format!("S001I0000{n}.dcm"))).collect();
    let site = Site::start(identity.clone(), open(None), Rights::all());
    let sender = Identity::generate().unwrap();
    let client = |site: &Site| {
        site.trust.pin(sender.peer_id());
        crate::harness::client_with(sender.clone())
    };
    push(&client(&site), &site, &half, OtherFiles::Skip).await.0.unwrap().complete().unwrap();
    site.stop().await;
    // ... the rest when there is none ...
    let site = Site::start(identity.clone(), open(Some(u64::MAX)), Rights::all());
    let all = [input.path().to_owned()];
    let (refused, _) = push(&client(&site), &site, &all, OtherFiles::Skip).await;
    let error = refused.unwrap_err();
    assert_eq!(error.retry(), Retry::Later, "{error}");
    let TransferError::Protocol(ProtocolError::Refused { code: RefuseCode::NoSpace, remedy }) = error else {
        panic!("{error:?}")
    };
    assert!(remedy.contains("disk is full") && remedy.contains("what arrived is safe"), "{remedy}");
    let rows = rows(site.depot.index.as_ref());
    assert_eq!((rows[0].instances, rows[0].arriving), (3, false), "nothing arrives any more");
    site.stop().await;
    // ... and again when there is room: only the rest travels.
    let site = Site::start(identity, open(None), Rights::all());
    let (done, _) = push(&client(&site), &site, &all, OtherFiles::Skip).await;
    let done = done.unwrap();
    assert!(done.receipt.complete);
    assert!(done.progress.bytes_present * 5 >= done.progress.bytes_committed * 2, "{:?}", done.progress);
    site.stop().await;
}

#[tokio::test]
async fn a_push_waits_for_room_and_goes_on() {
    use imgxfer_core::store::{MemIndex, MemRecords};
    let input = tempfile::tempdir().unwrap();
    StudySpec::new(12).with_instances(1, 6).with_size(64, 64).write_to(input.path()).unwrap();
    // Full as long as there is ballast in the store.
    let records = MemRecords::with_limit(1 << 20);
    let ballast = imgxfer_core::ids::PackId::from_bytes([9; 16]);
    let owner = imgxfer_core::testing::peer(9);
    records.insert_pack(ballast, owner, imgxfer_core::clock::UnixSeconds(0), vec![0; 1 << 20]);
    let index = Arc::new(MemIndex::default());
    let depot = Depot::new(Arc::new(records.clone()), index, Registry::default());
    let site = Site::start(Identity::generate().unwrap(), depot, Rights::all());
    let client = client_of(&site);
    let paths = [input.path().to_owned()];
    let source = || Box::new(FileSource::new(&paths, OtherFiles::Skip)) as _;
    let room = records.clone();
    let interrupted = AtomicBool::new(false);
    let observer = |event: &TransferEvent| {
        if let TransferEvent::Interrupted { reason, .. } = event {
            assert!(reason.contains("disk is full"), "{reason}");
            interrupted.store(true, Ordering::SeqCst);
            room.edit_pack(ballast, Vec::clear);
        }
    };
    let mut retry = RetryPolicy::default().giving_up_after(Duration::from_secs(60));
    retry.wait_min = Duration::from_millis(1);
    let report = client.push(&site.dial, source, &PushOptions::default().with_retry(retry), &observer).await.unwrap();
    assert!(report.receipt.complete && interrupted.load(Ordering::SeqCst));
    site.stop().await;
}

/// What the scanner has not walked over from end to end reaches no other parser: those believe lengths.
#[tokio::test]
async fn a_dicomdir_that_lies_is_told_and_not_followed() {
    let bench = Bench::new(2);
    let medium = bench.path("MEDIUM");
    std::fs::create_dir_all(medium.join("IMAGES")).unwrap();
    std::fs::rename(bench.path("S001I00001.dcm"), medium.join("IMAGES/IM1")).unwrap();
    let mut lying = dicomdir(&["IMAGES\\IM1"]);
    // (0009,1001) UN, 4 GB long, of which nothing is there.
    lying.extend([0x09, 0x00, 0x01, 0x10, b'U', b'N', 0, 0, 0xf0, 0xff, 0xff, 0xff]);
    let path = medium.join("DICOMDIR");
    std::fs::write(&path, lying).unwrap();
    let mut source = FileSource::new(std::slice::from_ref(&path), OtherFiles::Skip);
    assert_eq!(source.files().count(), 0, "nothing is followed");
    let told: Vec<_> = source.failures().map(|(_, reason)| reason.to_owned()).collect();
    assert!(told.len() == 1 && told[0].contains("DICOMDIR is damaged"), "{told:?}");
    assert!(matches!(source.next_item().unwrap(), Some(SourceItem::Failed { .. })));
    // Whoever sends everything gets it sent as it is.
    let source = FileSource::new(std::slice::from_ref(&path), OtherFiles::Send);
    assert!(source.files().eq([path.as_path()]));
}
