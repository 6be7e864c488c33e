//! Receiving into a folder of plain files: what a clinician's pull does.
//!
//! Records go to a spool inside the folder first, so that an interrupted pull resumes where it stopped.
//! An instance becomes a file, whole and hashed, when its last chunk is there. The spool goes when
//! everything is settled.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::intake::{Intake, Staged};
use crate::codec::Registry;
use crate::depot::{identify, unproven};
use crate::dicom::{Attributes, tags};
use crate::ids::{ChunkId, ManifestRoot, PageHash, PeerId, StudyUid};
use crate::manifest::Page;
use crate::proto::{Lookup, Unproven, VerifyJob};
use crate::store::search::Search;
use crate::store::{
    ChunkAt, FolderError, FolderOptions, FolderSink, FsOptions, FsRecords, InstanceError, MemIndex, PackWriter,
    RecordAt, RecordCache, RecordStore, SpoolLimits, StoreError, StoredInstance, StoredReader, spool_chunks,
};
use crate::sync::lock;
use crate::wire::message::FailCode;
use crate::wire::record::Record;

/// Name of the spool inside the folder.
const SPOOL: &str = ".imgxfer-spool";

/// Takes one transfer into a folder of plain files, laid out `study/series/instance.dcm`.
#[derive(Debug)]
pub struct FolderIntake {
    sink: FolderSink,
    spool: PathBuf,
    records: Arc<dyn RecordStore>,
    registry: Registry,
    owner: PeerId,
    known: HashMap<ChunkId, ChunkAt>,
    pack: Mutex<Pack>,
    cache: RecordCache,
    written: Mutex<Vec<PathBuf>>,
    patients: Mutex<BTreeMap<StudyUid, BTreeSet<[String; 3]>>>,
}

#[derive(Debug, Default)]
struct Pack {
    writer: Option<Box<dyn PackWriter>>,
    unsynced_bytes: u64,
}

fn store_error(error: FolderError) -> StoreError {
    match error {
        FolderError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            StoreError::Full { free: 0 }
        }
        FolderError::Io { what, source } => StoreError::Io { what, source },
        other => StoreError::Io { what: "write a file", source: std::io::Error::other(other) },
    }
}

/// Who a patient is: identifier and issuer, or where there is no identifier, the name.
fn patient(attributes: &Attributes) -> [&str; 3] {
    let (id, issuer) = (attributes.patient_id(), attributes.get(tags::ISSUER_OF_PATIENT_ID));
    [id, issuer, if id.is_empty() { attributes.patient_name() } else { "" }]
}

impl FolderIntake {
    /// Opens the folder `out`, making it where needed, for a transfer from `owner`. Blocks.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Locked`] when another pull is writing to the folder.
    pub fn open(out: &Path, owner: PeerId, registry: Registry) -> Result<Self, StoreError> {
        let options = FolderOptions { batch_dir_syncs: true };
        let sink = FolderSink::open(out, options).map_err(store_error)?;
        let spool = out.join(SPOOL);
        let records: Arc<dyn RecordStore> = Arc::new(FsRecords::open(&spool, FsOptions::default())?);
        // Nothing in a spool is ever committed there: an empty index says so.
        let found =
            spool_chunks(records.as_ref(), &MemIndex::default(), &owner, SpoolLimits::default(), &mut |_| Ok(true))?;
        Ok(Self {
            sink,
            spool,
            records,
            registry,
            owner,
            known: found.into_iter().map(|(id, (at, _))| (id, at)).collect(),
            pack: Mutex::new(Pack::default()),
            cache: RecordCache::new(RecordCache::BYTES_SHARED),
            written: Mutex::new(Vec::new()),
            patients: Mutex::default(),
        })
    }

    /// Files written so far.
    #[must_use]
    pub fn written(&self) -> Vec<PathBuf> {
        lock(&self.written).clone()
    }

    /// Studies of which instances of more than one patient were written so far, each with the number of its patients.
    #[must_use]
    pub fn mixed(&self) -> Vec<(StudyUid, usize)> {
        let patients = lock(&self.patients);
        let mixed = patients.iter().filter(|(_, patients)| patients.len() > 1);
        mixed.map(|(study, patients)| (study.clone(), patients.len())).collect()
    }
}

impl Intake for FolderIntake {
    fn find_page(&self, _: &PageHash) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }

    fn look_up(&self, page: &Page) -> Result<Lookup, StoreError> {
        let existing = |entry| self.sink.existing(entry);
        let committed: Result<Vec<bool>, _> = page.instances.iter().map(existing).collect();
        let committed = committed.map_err(|source| StoreError::Io { what: "read the folder", source })?;
        let chunks = page.instances.iter().flat_map(|i| &i.chunks).map(|c| self.known.get(&c.id).copied());
        Ok(Lookup { committed, chunks: chunks.collect(), unwanted: Vec::new() })
    }

    fn keep(&self, record: &Record) -> Result<RecordAt, StoreError> {
        let mut pack = lock(&self.pack);
        let writer = match &mut pack.writer {
            Some(writer) => writer,
            none => none.insert(self.records.create_pack(self.owner)?),
        };
        let at = writer.append(record)?;
        pack.unsynced_bytes += u64::from(at.len);
        Ok(at)
    }

    fn check(&self, job: &VerifyJob, asked: &Search) -> Result<Result<Staged, Unproven>, StoreError> {
        let (records, registry) = (Arc::clone(&self.records), self.registry.clone());
        let Ok(reader) = StoredReader::new(records, registry, job.entry.clone(), job.chunks.clone()) else {
            return Ok(Err(Unproven::Failed(FailCode::Integrity)));
        };
        let reader = reader.with_cache(self.cache.clone());
        let seen = match identify(&reader, &job.entry) {
            Ok(Some(seen)) => seen,
            // Unless what stands here is damaged.
            Ok(None) => match unproven(&reader, InstanceError::Whole)? {
                Unproven::Failed(_) => return Ok(Err(Unproven::Failed(FailCode::Identity))),
                damaged => return Ok(Err(damaged)),
            },
            Err(error) => return unproven(&reader, error).map(Err),
        };
        if !asked.admits(&job.entry.series, &job.entry.sop_instance, &seen.attributes) {
            return Ok(Err(Unproven::Failed(FailCode::Unwanted)));
        }
        match self.sink.write(&job.entry, &reader) {
            Ok(path) => {
                lock(&self.written).push(path);
                // What is not DICOM has no patient.
                if job.entry.name.is_empty() {
                    let patient = patient(&seen.attributes).map(str::to_owned);
                    lock(&self.patients).entry(job.entry.study.clone()).or_default().insert(patient);
                }
            }
            Err(FolderError::Content) => return unproven(&reader, InstanceError::Whole).map(Err),
            Err(FolderError::Source(error)) => {
                let error = error.downcast().unwrap_or(InstanceError::Whole);
                return unproven(&reader, error).map(Err);
            }
            Err(error) => return Err(store_error(error)),
        }
        let instance = StoredInstance::new(self.owner, job.entry.clone(), job.chunks.clone(), seen.attributes);
        Ok(Ok(Staged { at: job.at, instance }))
    }

    fn commit(&self, _: Vec<Staged>, _: Vec<(PageHash, Bytes)>) -> Result<(), StoreError> {
        {
            let mut pack = lock(&self.pack);
            if let Some(writer) = &mut pack.writer {
                writer.sync()?;
            }
            pack.unsynced_bytes = 0;
        }
        self.sink.finish().map_err(store_error)
    }

    fn uncommitted_bytes(&self) -> u64 {
        lock(&self.pack).unsynced_bytes
    }

    fn nothing_left(&self) -> Result<(), StoreError> {
        std::fs::remove_dir_all(&self.spool).map_err(|source| StoreError::Io { what: "remove the spool", source })
    }

    fn settle(&self, _: &[StudyUid], _: ManifestRoot, _: bool) -> Result<(), StoreError> {
        Ok(())
    }
}
