//! The daemon reads headers again that another version of it kept other attributes of.

use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::codec::CodecId;
use imgxfer_core::depot::Described;
use imgxfer_core::dicom::{Attributes, CATALOGUE_VERSION, scan, tags};
use imgxfer_core::ids::PeerId;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::search::Search;
use imgxfer_core::store::{ChunkAt, FsOptions, FsRecords, PackWriter, RecordStore as _, Scope, StoredInstance, note};
use imgxfer_core::wire::record::{Record, RecordChunk};

use crate::support::{eventually, get, site, start};

/// Stores a file as another version of the program did: nothing is known of it.
fn store(file: &[u8], pack: &mut dyn PackWriter) -> StoredInstance {
    let scan = scan(&file).unwrap();
    let Described { entry, cuts } = Described::of_bytes(file, Some(&scan), b"").unwrap();
    let mut append = |(cut, chunk): (&imgxfer_core::chunk::Cut, &imgxfer_core::manifest::ChunkEntry)| {
        let start = usize::try_from(cut.offset).unwrap();
        let bytes = &file[start..start + usize::try_from(cut.len).unwrap()];
        let chunks = [RecordChunk { id: chunk.id, len: chunk.len }];
        let record = Record::encode(CodecId::STORE, chunk.class.in_record(), &chunks, bytes);
        ChunkAt { record: pack.append(&record).unwrap(), slot: 0 }
    };
    let chunks = cuts.iter().zip(&entry.chunks).map(&mut append).collect();
    StoredInstance {
        catalogue: CATALOGUE_VERSION - 1,
        ..StoredInstance::new(PeerId::SELF, entry, chunks, Attributes::default())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_headers_are_read_again_and_status_says_so() {
    let root = tempfile::tempdir().unwrap();
    let (config, _) = site(root.path(), "site");
    let spec = StudySpec::new(1).with_instances(1, 70).with_size(16, 16).with_patient_name("Curie^Marie");
    {
        std::fs::create_dir_all(&config.store).unwrap();
        let records = FsRecords::open(&config.store, FsOptions::default()).unwrap();
        let mut pack = records.create_pack(PeerId::SELF).unwrap();
        let mut instances: Vec<_> = spec.instances().map(|one| store(&one.bytes, pack.as_mut())).collect();
        // One that another file stands in the place of.
        instances[3].chunks = instances[4].chunks.clone();
        for note in note::committed(PeerId::SELF, UnixSeconds(1), None, &instances) {
            pack.note(&note).unwrap();
        }
        pack.sync().unwrap();
    }
    let daemon = start(config).await;
    let read = async || {
        let progress = get(&daemon, "/status").await.json()["backfill"].clone();
        (progress["instances_done"] == 69).then_some(progress)
    };
    let progress = eventually(read).await;
    assert_eq!((&progress["instances_left"], &progress["instances_unreadable"]), (&0.into(), &1.into()), "{progress}");
    let metrics = get(&daemon, "/metrics").await.body;
    for line in [
        "imgxfer_store_backfill_left_instances 0",
        "imgxfer_store_backfill_instances_total 69",
        "imgxfer_store_backfill_unreadable_instances 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
    let search = Search::default().by(tags::PATIENT_NAME, "curie*").unwrap();
    let answer = daemon.depot().find(&Scope::All, &search).unwrap();
    assert_eq!((answer.rows.len(), answer.incomplete), (1, false));
    assert_eq!(answer.rows[0].study.patients.iter().map(|patient| patient.instances).collect::<Vec<_>>(), [1, 69]);
    daemon.stop().await;
}
