//! What a host is told for its audit: what was asked for and with what answer, and what a push has left here.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::TransferWatch;
use crate::dicom::FrameNumbers;
use crate::ids::{ManifestRoot, PageHash, SeriesUid, SopInstanceUid, StudyUid};
use crate::manifest::Page;
use crate::proto::{FrameRequest, Lookup, Unproven, VerifyJob};
use crate::receive::{Intake, Staged};
use crate::store::search::Search;
use crate::store::{CommitPace, RecordAt, StoreError};
use crate::sync::lock;
use crate::units::to_u64;
use crate::wire::message::RefuseCode;
use crate::wire::record::Record;

/// By what was asked: the keywords of attributes, never their values, except those that are UIDs of studies, series and
/// instances.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AskedBy {
    /// Keywords of all attributes that were asked by, each once: `StudyInstanceUID`, `PatientID`.
    pub attributes: Vec<&'static str>,
    /// The studies that were named.
    pub studies: Vec<StudyUid>,
    /// The series that were named.
    pub series: Vec<SeriesUid>,
    /// The instances that were named.
    pub instances: Vec<SopInstanceUid>,
}

impl AskedBy {
    pub(super) fn of(search: &Search) -> Self {
        let named = [
            ("StudyInstanceUID", !search.studies.is_empty()),
            ("SeriesInstanceUID", !search.series.is_empty()),
            ("SOPInstanceUID", !search.instances.is_empty()),
            ("ModalitiesInStudy", !search.modalities.is_empty()),
        ];
        let named = named.into_iter().filter(|(_, named)| *named).map(|(keyword, _)| keyword);
        let mut attributes = Vec::new();
        for keyword in named.chain(search.criteria.iter().map(|criterion| criterion.attribute.keyword)) {
            if !attributes.contains(&keyword) {
                attributes.push(keyword);
            }
        }
        Self {
            attributes,
            studies: search.studies.clone(),
            series: search.series.clone(),
            instances: search.instances.clone(),
        }
    }
}

/// Frames of an instance that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AskedFrames {
    /// The study.
    pub study: StudyUid,
    /// The series, where one was named.
    pub series: Option<SeriesUid>,
    /// The instance.
    pub sop_instance: SopInstanceUid,
    /// Which frames, counted from 1.
    pub frames: FrameNumbers,
}

impl AskedFrames {
    pub(super) fn of(request: &FrameRequest) -> Self {
        let FrameRequest { study, series, sop_instance, frames, .. } = request.clone();
        Self { study, series, sop_instance, frames }
    }
}

/// What a peer asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Asked {
    /// To send studies to this site.
    Send,
    /// What is here.
    Query(AskedBy),
    /// To fetch from here.
    Pull(AskedBy),
    /// To remove what it has sent.
    Remove(AskedBy),
    /// Frames of an instance.
    Frames(Box<AskedFrames>),
    /// Something that makes no sense to this version.
    Other,
}

/// What a peer was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answered {
    /// That it does not get it.
    Refused(RefuseCode),
    /// So many rows.
    Rows(u64),
    /// What it has sent is removed.
    Removed {
        /// Number of contents.
        contents: u64,
        /// Their original bytes.
        bytes: u64,
    },
    /// Frames, which are sent now.
    Frames {
        /// How many: the first of those that were asked for.
        given: u64,
        /// Their bytes as they stand in the file.
        bytes: u64,
    },
}

/// A push of which everything is durable and published, before its receipt is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published<'a> {
    /// The studies that it was about.
    pub studies: &'a [StudyUid],
    /// Root of its manifest.
    pub root: ManifestRoot,
    /// Whether whole studies are there; only then they have a new version.
    pub complete: bool,
    /// Instances that this transfer has committed; those that were there before do not count.
    pub instances: u64,
    /// Their original bytes.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Seen {
    studies: BTreeSet<StudyUid>,
    instances: u64,
    bytes: u64,
}

/// An intake that remembers what was committed, and tells the watch of it before a receipt is given.
pub(super) struct Witness<I> {
    inner: I,
    watch: Arc<dyn TransferWatch>,
    seen: Mutex<Seen>,
}

impl<I> Witness<I> {
    pub(super) fn new(inner: I, watch: Arc<dyn TransferWatch>) -> Self {
        Self { inner, watch, seen: Mutex::default() }
    }

    /// Tells the watch of which studies instances were committed, where there are any.
    pub(super) fn tell_left(&self) {
        let studies: Vec<_> = lock(&self.seen).studies.iter().cloned().collect();
        if !studies.is_empty() {
            self.watch.on_left(&studies);
        }
    }
}

impl<I: fmt::Debug> fmt::Debug for Witness<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<I: Intake> Intake for Witness<I> {
    fn find_page(&self, hash: &PageHash) -> Result<Option<Bytes>, StoreError> {
        self.inner.find_page(hash)
    }

    fn look_up(&self, page: &Page) -> Result<Lookup, StoreError> {
        self.inner.look_up(page)
    }

    fn keep(&self, record: &Record) -> Result<RecordAt, StoreError> {
        self.inner.keep(record)
    }

    fn check(&self, job: &VerifyJob, asked: &Search) -> Result<Result<Staged, Unproven>, StoreError> {
        self.inner.check(job, asked)
    }

    fn commit(&self, staged: Vec<Staged>, pages: Vec<(PageHash, Bytes)>) -> Result<(), StoreError> {
        let mut now = Seen::default();
        for staged in &staged {
            let entry = &staged.instance.entry;
            if !now.studies.contains(&entry.study) {
                now.studies.insert(entry.study.clone());
            }
            now.bytes += entry.len;
        }
        now.instances = to_u64(staged.len());
        self.inner.commit(staged, pages)?;
        let mut seen = lock(&self.seen);
        seen.studies.append(&mut now.studies);
        seen.instances += now.instances;
        seen.bytes += now.bytes;
        Ok(())
    }

    fn uncommitted_bytes(&self) -> u64 {
        self.inner.uncommitted_bytes()
    }

    fn commit_pace(&self) -> CommitPace {
        self.inner.commit_pace()
    }

    fn nothing_left(&self) -> Result<(), StoreError> {
        self.inner.nothing_left()
    }

    fn settle(&self, studies: &[StudyUid], root: ManifestRoot, complete: bool) -> Result<(), StoreError> {
        self.inner.settle(studies, root, complete)?;
        let (instances, bytes) = {
            let seen = lock(&self.seen);
            (seen.instances, seen.bytes)
        };
        let published = Published { studies, root, complete, instances, bytes };
        self.watch.on_published(&published);
        Ok(())
    }
}
