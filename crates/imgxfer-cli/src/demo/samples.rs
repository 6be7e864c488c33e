//! What the demonstration moves.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use imgxfer_core::dicom;
use imgxfer_core::dicom::ReadAt as _;
use imgxfer_core::ids::StudyUid;
use imgxfer_core::send::{FileSource, OtherFiles, Totals};
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::FileBytes;

use crate::exit::{Exit, problem};

/// Bytes of one synthetic instance: 512 x 512 pixels of 16 bits, and a header.
const SYNTHETIC_BYTES: u64 = 530_000;

/// Files in a folder of their own.
#[derive(Debug, Clone)]
pub(crate) struct Samples {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// The same, as a source takes it.
    pub(crate) paths: Arc<[PathBuf]>,
    /// Their studies.
    pub(crate) studies: BTreeSet<StudyUid>,
    /// How many they are.
    pub(crate) instances: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

impl Samples {
    /// For the expectation of progress.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        (totals.instances, totals.bytes) = (self.instances, self.bytes);
        totals
    }
}

/// Puts up to `bytes_max` into `folder`: links to the DICOM files under `data`, the smallest first, or
/// a synthetic study. Blocks.
pub(crate) fn make(folder: &Path, data: Option<&Path>, bytes_max: u64, seed: u64) -> anyhow::Result<Samples> {
    std::fs::create_dir_all(folder).context("make a temporary folder")?;
    let mut samples = Samples {
        folder: folder.to_owned(),
        paths: [folder.to_owned()].into(),
        studies: BTreeSet::new(),
        instances: 0,
        bytes: 0,
    };
    match data {
        Some(data) => link(data, bytes_max, &mut samples)?,
        None => synthesise(bytes_max, seed, &mut samples).context("write synthetic instances")?,
    }
    Ok(samples)
}

fn synthesise(bytes_max: u64, seed: u64, samples: &mut Samples) -> std::io::Result<()> {
    let count = u32::try_from((bytes_max / SYNTHETIC_BYTES).max(2)).unwrap_or(u32::MAX);
    let study = StudySpec::new(seed).with_instances(1, count);
    for path in study.write_to(&samples.folder)? {
        samples.instances += 1;
        samples.bytes += path.metadata()?.len();
    }
    samples.studies.insert(study.study_uid());
    Ok(())
}

fn link(data: &Path, bytes_max: u64, samples: &mut Samples) -> anyhow::Result<()> {
    let data = data
        .canonicalize()
        .map_err(|error| problem(Exit::NotFound, format!("cannot use the folder {}: {error}", data.display())))?;
    let mut found: Vec<(u64, PathBuf, StudyUid)> = Vec::new();
    for path in FileSource::new(std::slice::from_ref(&data), OtherFiles::Skip).files() {
        let Ok(file) = FileBytes::open(path) else { continue };
        let Ok(scan) = dicom::scan(&file) else { continue };
        let is_instance = !scan.is_dicomdir();
        if let Some(identity) = scan.identity.filter(|_| is_instance) {
            found.push((file.len(), path.to_owned(), identity.study));
        }
    }
    found.sort_by_key(|(len, _, _)| *len);
    for (number, (len, path, study)) in found.into_iter().enumerate() {
        if samples.instances > 0 && samples.bytes + len > bytes_max {
            break;
        }
        std::os::unix::fs::symlink(&path, samples.folder.join(format!("{number:06}.dcm")))?;
        samples.instances += 1;
        samples.bytes += len;
        samples.studies.insert(study);
    }
    if samples.instances == 0 {
        return Err(problem(Exit::NotFound, format!("there is no DICOM in {}", data.display())));
    }
    Ok(())
}
