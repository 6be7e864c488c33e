//! Comparing a copy with its original by content.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use imgxfer_core::send::printable;
use imgxfer_core::units::human_bytes;
use serde_json::json;

use super::nothing_in;
use super::tree::{What, walk};
use crate::exit::Exit;
use crate::output::Output;

/// A file of either folder.
#[derive(Debug)]
struct File {
    path: PathBuf,
    bytes: u64,
    /// Its SOP Instance UID.
    instance: Option<String>,
}

/// The contents of a folder.
#[derive(Debug, Default)]
struct Contents {
    /// By content: where it stands.
    files: BTreeMap<[u8; 32], File>,
    /// Files whose content is not compared, for what they are: not DICOM where DICOM alone counts.
    aside: Vec<File>,
    unreadable: Vec<(File, String)>,
}

impl Contents {
    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.unreadable.is_empty()
    }
}

/// A file of the copy that holds something else than the original.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Changed {
    copy: PathBuf,
    original: PathBuf,
}

/// How a copy differs from its original.
#[derive(Debug, Default, PartialEq, Eq)]
struct Differences {
    /// In the original, and nothing in the copy that could have been it.
    missing: Vec<PathBuf>,
    changed: Vec<Changed>,
    /// In the copy, and nothing in the original that it could have been.
    extra: Vec<PathBuf>,
    /// What cannot be read, in either, with the reason.
    unreadable: Vec<(PathBuf, String)>,
}

/// Compares `copy` with `original` and lists what is missing from, changed in or added to the copy.
pub(crate) fn run(original: &Path, copy: &Path, dicom_only: bool, output: &Output) -> anyhow::Result<Exit> {
    let (theirs, ours) = (contents(original, dicom_only)?, contents(copy, dicom_only)?);
    for (dir, empty) in [(original, theirs.is_empty()), (copy, ours.is_empty() && ours.aside.is_empty())] {
        if empty {
            return Err(nothing_in(dir, dicom_only));
        }
    }
    let differences = differences(&theirs, &ours, (original, copy));
    tell(&differences, output)?;
    let same: Vec<u64> =
        ours.files.iter().filter(|(hash, _)| theirs.files.contains_key(*hash)).map(|(_, file)| file.bytes).collect();
    let Differences { missing, changed, extra, .. } = &differences;
    output.line(&format!(
        "{} contents are the same ({}); {} missing, {} changed, {} extra",
        same.len(),
        human_bytes(same.iter().sum()),
        missing.len(),
        changed.len(),
        extra.len()
    ))?;
    let identical = differences == Differences::default();
    output.object(&json!({
        "event": "done",
        "same": same.len(),
        "bytes": same.iter().sum::<u64>(),
        "missing": missing.len(),
        "changed": changed.len(),
        "extra": extra.len(),
        "unreadable": differences.unreadable.len(),
        "identical": identical,
    }))?;
    Ok(if identical { Exit::Done } else { Exit::Integrity })
}

fn tell(differences: &Differences, output: &Output) -> anyhow::Result<()> {
    for (kind, paths) in [("missing", &differences.missing), ("extra", &differences.extra)] {
        for path in paths {
            output.line(&format!("{kind}: {}", printable(path)))?;
            output.object(&json!({ "event": "finding", "kind": kind, "file": printable(path) }))?;
        }
    }
    for Changed { copy, original } in &differences.changed {
        let (file, original) = (printable(copy), printable(original));
        output.line(&format!("changed: {file}: not the bytes of {original}"))?;
        output.object(&json!({ "event": "finding", "kind": "changed", "file": file, "original": original }))?;
    }
    for (path, reason) in &differences.unreadable {
        let file = printable(path);
        output.line(&format!("unreadable: {file}: {reason}"))?;
        output.object(&json!({ "event": "finding", "kind": "unreadable", "file": file, "reason": reason }))?;
    }
    Ok(())
}

/// How many DICOM files `copy` and `original` hold, when nothing differs.
pub(crate) fn identical(original: &Path, copy: &Path) -> anyhow::Result<Option<usize>> {
    let (theirs, ours) = (contents(original, true)?, contents(copy, true)?);
    let same = differences(&theirs, &ours, (original, copy)) == Differences::default();
    Ok(same.then_some(theirs.files.len()))
}

fn contents(dir: &Path, dicom_only: bool) -> anyhow::Result<Contents> {
    let mut contents = Contents::default();
    for seen in walk(dir)? {
        let mut file = File { path: seen.path, bytes: 0, instance: None };
        let content = match seen.what {
            What::File(content) => content,
            What::Leftover => {
                contents.unreadable.push((file, "left by a pull that was interrupted".to_owned()));
                continue;
            }
            What::Unreadable(reason) => {
                contents.unreadable.push((file, reason));
                continue;
            }
        };
        file.bytes = content.bytes;
        let identity = content.dicom.ok().and_then(|dicom| dicom.identity);
        file.instance = identity.map(|identity| identity.sop_instance.as_str().to_owned());
        if dicom_only && file.instance.is_none() {
            contents.aside.push(file);
        } else {
            contents.files.insert(*content.hash.as_bytes(), file);
        }
    }
    Ok(contents)
}

/// The originals of which the copy lacks the content, and by what a file of the copy tells that it should be one of them.
struct Lacking<'a> {
    files: Vec<&'a File>,
    by_instance: HashMap<&'a str, usize>,
    by_place: HashMap<&'a Path, usize>,
}

impl<'a> Lacking<'a> {
    fn new(files: Vec<&'a File>, root: &Path) -> Self {
        let instances = files.iter().enumerate().filter_map(|(at, file)| Some((file.instance.as_deref()?, at)));
        let by_instance = instances.collect();
        let places = files.iter().enumerate().filter_map(|(at, file)| Some((file.path.strip_prefix(root).ok()?, at)));
        let by_place = places.collect();
        Self { files, by_instance, by_place }
    }

    /// What a file of the copy should be: the instance that it is or is named for, or what stands at its place. What is
    /// another instance by all that it says of itself is not taken for the one at its place.
    fn counterpart(&self, file: &File, root: &Path) -> Option<usize> {
        let instance = |uid: &str| self.by_instance.get(uid).copied();
        let stem = file.path.file_stem().and_then(|stem| stem.to_str());
        // A pull names a file for its instance, and marks a second content by a part of its hash.
        let named = stem.and_then(|stem| instance(stem).or_else(|| instance(stem.rsplit_once('.')?.0)));
        let place = || {
            let at = self.by_place.get(file.path.strip_prefix(root).ok()?).copied()?;
            (file.instance.is_none() || self.files[at].bytes == file.bytes).then_some(at)
        };
        file.instance.as_deref().and_then(instance).or(named).or_else(place)
    }
}

fn differences(original: &Contents, copy: &Contents, (root, copy_root): (&Path, &Path)) -> Differences {
    let lacks = |other: &Contents, hash: &[u8; 32]| !other.files.contains_key(hash);
    let files = original.files.iter().filter(|(hash, _)| lacks(copy, hash)).map(|(_, file)| file).collect();
    let lacking = Lacking::new(files, root);
    let (mut differences, mut accounted) = (Differences::default(), BTreeSet::new());
    let surplus = copy.files.iter().filter(|(hash, _)| lacks(original, hash)).map(|(_, file)| (file, true));
    for (file, counts) in surplus.chain(copy.aside.iter().map(|file| (file, false))) {
        if let Some(at) = lacking.counterpart(file, copy_root) {
            accounted.insert(at);
            let original = lacking.files[at].path.clone();
            differences.changed.push(Changed { copy: file.path.clone(), original });
        } else if counts {
            differences.extra.push(file.path.clone());
        }
    }
    for (file, _) in &copy.unreadable {
        accounted.extend(lacking.counterpart(file, copy_root));
    }
    let unreadable = original.unreadable.iter().chain(&copy.unreadable);
    differences.unreadable = unreadable.map(|(file, reason)| (file.path.clone(), reason.clone())).collect();
    let missing = lacking.files.iter().enumerate().filter(|(at, _)| !accounted.contains(at));
    differences.missing = missing.map(|(_, file)| file.path.clone()).collect();
    differences.missing.sort_unstable();
    differences.changed.sort_unstable();
    differences.extra.sort_unstable();
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgxfer_core::sim::studies::StudySpec;

    fn compared(a: &Path, b: &Path, dicom_only: bool) -> Differences {
        differences(&contents(a, dicom_only).unwrap(), &contents(b, dicom_only).unwrap(), (a, b))
    }

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
        let found = compared(a.path(), b.path(), false);
        let changed = Changed { copy: b.path().join("x/1"), original: a.path().join("S001I00002.dcm") };
        assert_eq!(found.changed, [changed]);
        assert_eq!(found.extra, [b.path().join("note.txt")]);
        assert_eq!(found.missing, [a.path().join("S001I00001.dcm")]);
        assert_eq!(identical(a.path(), b.path()).unwrap(), None);
        // The other way round, surplus and missing change places.
        assert_eq!(compared(b.path(), a.path(), false).extra, found.missing);
    }

    #[test]
    fn a_copy_that_does_not_say_any_more_what_it_is_is_told_by_its_own_name() {
        let study = StudySpec::new(1).with_instances(1, 1).with_size(16, 16);
        let instance = study.instance(1, 1);
        let uid = imgxfer_core::dicom::scan(&instance.bytes).unwrap().identity.unwrap().sop_instance;
        let pulled = format!("{}.dcm", uid.as_str());
        let marked = format!("{}.0a1b2c3d.dcm", uid.as_str());
        // At the place of the original, and under the names that a pull gives.
        for (name, dicom_only) in [("S001I00001.dcm", false), (&*pulled, true), (&*marked, false)] {
            for damaged in [Vec::new(), vec![0; instance.bytes.len()]] {
                let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
                study.write_to(a.path()).unwrap();
                std::fs::write(b.path().join(name), damaged).unwrap();
                let found = compared(a.path(), b.path(), dicom_only);
                let changed = Changed { copy: b.path().join(name), original: a.path().join("S001I00001.dcm") };
                assert_eq!(found, Differences { changed: vec![changed], ..Differences::default() }, "{name}");
            }
        }
    }

    #[test]
    fn another_instance_at_the_same_place_is_not_a_changed_one() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        StudySpec::new(1).with_instances(1, 1).with_size(16, 16).write_to(a.path()).unwrap();
        StudySpec::new(2).with_instances(1, 1).with_size(32, 16).write_to(b.path()).unwrap();
        let found = compared(a.path(), b.path(), false);
        assert_eq!(found.missing, [a.path().join("S001I00001.dcm")]);
        assert_eq!(found.extra, [b.path().join("S001I00001.dcm")]);
        assert!(found.changed.is_empty());
    }
}
