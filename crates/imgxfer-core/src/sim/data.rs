//! Where real DICOM files for tests and benches are, if this machine has them.

use std::path::{Path, PathBuf};

/// The folder that the environment variable `IMGXFER_TEST_DATA` names, or else `shared/data` beside the
/// workspace; `None` when there is no such folder.
///
/// Tests that need it print that they skip, and pass, when it is absent.
#[must_use]
pub fn real_data_dir() -> Option<PathBuf> {
    let named = std::env::var_os("IMGXFER_TEST_DATA").map(PathBuf::from);
    let dir = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"));
    dir.is_dir().then_some(dir)
}
