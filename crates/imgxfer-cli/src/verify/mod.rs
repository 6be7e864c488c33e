//! Checking what is on disk.

pub(crate) mod compare;
pub(crate) mod folder;
pub(crate) mod store;
pub(crate) mod tree;

use std::path::Path;

use crate::exit::{Exit, problem};

/// A folder without files is nothing that could be in order.
fn nothing_in(dir: &Path, dicom_only: bool) -> anyhow::Error {
    let what = if dicom_only { "DICOM files" } else { "files" };
    problem(Exit::NotFound, format!("no {what} to verify in {}", imgxfer_core::send::printable(dir)))
}
