//! What is to be sent: a first look at it, and a source that walks only when asked.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use imgxfer_core::dicom;
use imgxfer_core::ids::StudyUid;
use imgxfer_core::send::{FileSource, KnownFiles, OtherFiles, Source, SourceItem, Totals, printable};
use imgxfer_core::store::FileBytes;
use imgxfer_core::sync::lock;

use crate::progress::Findings;

/// What a first look has found.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Files, and their bytes.
    pub(crate) totals: Totals,
    /// Number of files.
    pub(crate) files: u64,
    /// Whether one of them can be sent.
    pub(crate) something: bool,
    /// Why those could not that came before.
    pub(crate) findings: Findings,
}

/// Walks `paths`, and looks into files until one can be sent: in most cases the first.
pub(crate) async fn survey(paths: &Arc<[PathBuf]>, other: OtherFiles) -> anyhow::Result<Survey> {
    let paths = Arc::clone(paths);
    let looking = tokio::task::spawn_blocking(move || {
        let source = FileSource::new(&paths, other);
        let mut survey = Survey { totals: source.totals(), files: source.totals().instances, ..Survey::default() };
        let failures = source.failures().map(|(label, reason)| (label.to_owned(), reason.to_owned()));
        survey.findings.failed.extend(failures);
        for file in source.files() {
            match sendable(file, other) {
                Ok(()) => {
                    survey.something = true;
                    break;
                }
                Err(Refusal::Skipped(reason)) => survey.findings.skipped.insert(printable(file), reason),
                Err(Refusal::Failed(reason)) => survey.findings.failed.insert(printable(file), reason),
            };
        }
        survey
    });
    looking.await.context("looking at the files failed")
}

enum Refusal {
    Skipped(String),
    Failed(String),
}

/// By the same rules as [`FileSource`].
fn sendable(path: &Path, other: OtherFiles) -> Result<(), Refusal> {
    let file = FileBytes::open(path).map_err(|error| Refusal::Failed(error.to_string()))?;
    if other == OtherFiles::Send {
        return Ok(());
    }
    match dicom::scan(&file) {
        Ok(scan) if scan.is_dicomdir() => Err(Refusal::Skipped("a DICOMDIR: an index of the medium".to_owned())),
        Ok(_) => Ok(()),
        Err(dicom::NotDicom::Read(error)) => Err(Refusal::Failed(format!("it cannot be read: {error}"))),
        Err(error) if error.is_dicom() => Err(Refusal::Failed(format!("DICOM that cannot be taken: {error}"))),
        Err(error) => Err(Refusal::Skipped(format!("not DICOM: {error}"))),
    }
}

/// A [`FileSource`] that walks the folders at its first item, which is on a thread for such work.
#[derive(Debug)]
pub(crate) struct LazyFiles {
    paths: Arc<[PathBuf]>,
    other: OtherFiles,
    totals: Totals,
    known: KnownFiles,
    source: Option<FileSource>,
    studies: Studies,
}

/// The studies that were met.
pub(crate) type Studies = Arc<Mutex<BTreeSet<StudyUid>>>;

impl LazyFiles {
    /// A source of what is under `paths`, with the totals of an earlier look, and what earlier sources read. Notes the
    /// studies that it meets.
    pub(crate) fn new(
        paths: Arc<[PathBuf]>,
        other: OtherFiles,
        totals: Totals,
        known: KnownFiles,
        studies: Studies,
    ) -> Self {
        lock(&studies).clear();
        Self { paths, other, totals, known, source: None, studies }
    }
}

impl Source for LazyFiles {
    fn totals(&self) -> Totals {
        self.totals
    }

    fn next_item(&mut self) -> io::Result<Option<SourceItem>> {
        let Self { paths, other, known, source, .. } = self;
        let source = source.get_or_insert_with(|| FileSource::new(paths, *other).with_known(known.clone()));
        let item = source.next_item()?;
        if let Some(SourceItem::Instance(instance)) = &item {
            let mut studies = lock(&self.studies);
            if !studies.contains(&instance.entry.study) {
                studies.insert(instance.entry.study.clone());
            }
        }
        Ok(item)
    }
}
