//! Comparing two folders by content.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use imgxfer_core::send::printable;
use imgxfer_core::units::human_bytes;
use serde_json::json;

use super::tree::{What, walk};
use crate::exit::Exit;
use crate::output::Output;

/// What makes two files versions of each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// The same SOP Instance UID.
    Instance(String),
    /// The same place in the folder.
    Place(PathBuf),
}

/// The contents of a folder.
#[derive(Debug, Default)]
struct Contents {
    /// By content: where it stands.
    files: BTreeMap<[u8; 32], (Key, PathBuf, u64)>,
    unreadable: Vec<(PathBuf, String)>,
}

/// How two folders differ.
#[derive(Debug, Default, PartialEq, Eq)]
struct Differences {
    missing: Vec<PathBuf>,
    changed: Vec<PathBuf>,
    extra: Vec<PathBuf>,
}

/// Compares `dir` with `reference` and lists what is missing from, changed in or added to `dir`.
pub(crate) fn run(dir: &Path, reference: &Path, dicom_only: bool, output: &Output) -> anyhow::Result<Exit> {
    let (ours, theirs) = (contents(dir, dicom_only)?, contents(reference, dicom_only)?);
    let differences = differences(&ours, &theirs);
    let mut different = 0;
    let lists = [("missing", &differences.missing), ("changed", &differences.changed), ("extra", &differences.extra)];
    for (kind, paths) in lists {
        different += paths.len();
        for path in paths {
            output.line(&format!("{kind}: {}", printable(path)))?;
            output.object(&json!({ "event": "finding", "kind": kind, "file": printable(path) }))?;
        }
    }
    for (path, reason) in ours.unreadable.iter().chain(&theirs.unreadable) {
        different += 1;
        output.line(&format!("unreadable: {}: {reason}", printable(path)))?;
        output
            .object(&json!({ "event": "finding", "kind": "unreadable", "file": printable(path), "reason": reason }))?;
    }
    let same: Vec<u64> =
        ours.files.iter().filter(|(hash, _)| theirs.files.contains_key(*hash)).map(|(_, (_, _, len))| *len).collect();
    output.line(&format!(
        "{} contents are the same ({}); {} missing, {} changed, {} extra",
        same.len(),
        human_bytes(same.iter().sum()),
        differences.missing.len(),
        differences.changed.len(),
        differences.extra.len()
    ))?;
    output.object(&json!({
        "event": "done",
        "same": same.len(),
        "bytes": same.iter().sum::<u64>(),
        "missing": differences.missing.len(),
        "changed": differences.changed.len(),
        "extra": differences.extra.len(),
        "identical": different == 0,
    }))?;
    Ok(if different == 0 { Exit::Done } else { Exit::Integrity })
}

/// How many files of `dir` a comparison with `reference` finds the same, when nothing differs.
pub(crate) fn identical(dir: &Path, reference: &Path) -> anyhow::Result<Option<usize>> {
    let (ours, theirs) = (contents(dir, true)?, contents(reference, true)?);
    let whole = ours.unreadable.is_empty() && theirs.unreadable.is_empty();
    let same = differences(&ours, &theirs) == Differences::default();
    Ok((whole && same).then_some(theirs.files.len()))
}

fn contents(dir: &Path, dicom_only: bool) -> anyhow::Result<Contents> {
    let mut contents = Contents::default();
    for seen in walk(dir)? {
        let content = match seen.what {
            What::File(content) => content,
            What::Leftover => {
                contents.unreadable.push((seen.path, "left by a pull that was interrupted".to_owned()));
                continue;
            }
            What::Unreadable(reason) => {
                contents.unreadable.push((seen.path, reason));
                continue;
            }
        };
        let identity = content.dicom.ok().and_then(|dicom| dicom.identity);
        if dicom_only && identity.is_none() {
            continue;
        }
        let key = identity.map_or_else(
            || Key::Place(seen.path.strip_prefix(dir).unwrap_or(&seen.path).to_owned()),
            |identity| Key::Instance(identity.sop_instance.as_str().to_owned()),
        );
        contents.files.insert(*content.hash.as_bytes(), (key, seen.path, content.bytes));
    }
    Ok(contents)
}

fn differences(ours: &Contents, theirs: &Contents) -> Differences {
    let lacks = |other: &Contents, hash: &[u8; 32]| !other.files.contains_key(hash);
    let missing: Vec<_> = theirs.files.iter().filter(|(hash, _)| lacks(ours, hash)).map(|(_, file)| file).collect();
    let extra: Vec<_> = ours.files.iter().filter(|(hash, _)| lacks(theirs, hash)).map(|(_, file)| file).collect();
    let keys_missing: BTreeSet<&Key> = missing.iter().map(|(key, _, _)| key).collect();
    let keys_extra: BTreeSet<&Key> = extra.iter().map(|(key, _, _)| key).collect();
    let mut differences = Differences::default();
    for (key, path, _) in missing {
        if !keys_extra.contains(key) {
            differences.missing.push(path.clone());
        }
    }
    for (key, path, _) in extra {
        let list = if keys_missing.contains(key) { &mut differences.changed } else { &mut differences.extra };
        list.push(path.clone());
    }
    for list in [&mut differences.missing, &mut differences.changed, &mut differences.extra] {
        list.sort_unstable();
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgxfer_core::sim::studies::StudySpec;

    #[test]
    fn content_counts_not_names() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let study = StudySpec::new(1).with_instances(1, 3).with_size(16, 16);
        study.write_to(a.path()).unwrap();
        for (number, instance) in study.instances().enumerate() {
            std::fs::create_dir_all(b.path().join("x")).unwrap();
            std::fs::write(b.path().join("x").join(number.to_string()), instance.bytes).unwrap();
        }
        assert_eq!(identical(a.path(), b.path()).unwrap(), Some(3));

        let corrected = study.with_patient_name("Corrected^Name").instance(1, 2);
        std::fs::write(b.path().join("x/1"), corrected.bytes).unwrap();
        std::fs::remove_file(b.path().join("x/0")).unwrap();
        std::fs::write(b.path().join("note.txt"), "hello").unwrap();
        let (ours, theirs) = (contents(b.path(), false).unwrap(), contents(a.path(), false).unwrap());
        let found = differences(&ours, &theirs);
        assert_eq!(found.changed, [b.path().join("x/1")]);
        assert_eq!(found.extra, [b.path().join("note.txt")]);
        assert_eq!(found.missing, [a.path().join("S001I00001.dcm")]);
        assert_eq!(identical(b.path(), a.path()).unwrap(), None);
    }
}
