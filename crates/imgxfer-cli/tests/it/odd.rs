//! Files that are odd: what is said of them, where, and how it ends.

use std::path::Path;

use imgxfer_core::server::Rights;
use imgxfer_core::sim::studies::{self, StudySpec};
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;

use crate::harness::{Site, User, event};

/// Writes a study of one patient, and changes bytes of some of its files: each of the second for the first.
fn write(folder: &Path, seed: u64, patient: &str, change: impl Fn(usize, &mut Vec<u8>)) -> String {
    let spec = StudySpec::new(seed).with_instances(1, 4).with_size(32, 32).with_patient_id(patient);
    for (n, path) in spec.write_to(folder).unwrap().iter().enumerate() {
        let mut bytes = std::fs::read(path).unwrap();
        change(n, &mut bytes);
        std::fs::write(path, bytes).unwrap();
    }
    spec.study_uid().as_str().to_owned()
}

/// Puts other text of the same length in the place of the last of its kind.
fn replace(bytes: &mut [u8], old: &str, new: &str) {
    let at = bytes.windows(old.len()).rposition(|text| text == old.as_bytes()).unwrap();
    bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
}

#[test]
fn what_is_odd_is_told_everywhere_and_what_is_left_out_is_a_failure() {
    let user = User::with_identity();
    let _site = Site::serving(&user, Rights::all()).known_to(&user, "cloud");
    let uid = write(&user.path("in"), 1, "PAT-A", |n, bytes| match n {
        1 => {
            let own = imgxfer_core::dicom::scan(bytes).unwrap().identity.unwrap().sop_instance;
            replace(bytes, own.as_str(), "x");
        }
        2 => bytes.truncate(bytes.len() - 100),
        3 => replace(bytes, "PAT-A", "PAT-B"),
        _ => {}
    });
    let first = std::fs::read_dir(user.path("in")).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    for name in ["in/copy.dcm", "in/copy(1).dcm"] {
        std::fs::copy(&first, user.path(name)).unwrap();
    }

    let (code, lines) = user.json(&["push", "in", "--to", "cloud"]);
    let done = event(&lines, "done");
    let counts = ["instances", "copies", "derived_uids", "truncated", "failed"].map(|key| done[key].as_u64().unwrap());
    assert_eq!((code, counts, &done["complete"]), (0, [4, 2, 1, 1, 0], &true.into()), "{done}");
    user.run(&["push", "in", "--to", "cloud", "-q"])
        .success()
        .stderr(contains("1 of the instances end before").and(contains("1 of the instances have no usable")));

    user.run(&["ls", "--from", "cloud"])
        .success()
        .stdout(contains("2 PATIENTS").and(contains("no usable UID: instance")))
        .stderr(contains("1 of these studies name several patients"));
    let row = &user.json(&["ls", "--from", "cloud"]).1[0];
    assert_eq!((&row["several_patients"], &row["derived_uids"]), (&true.into(), &"INSTANCE".into()));
    user.run(&["ls", "--from", "cloud", "--study", &uid, "--level", "instances"]).success().stdout(contains("DERIVED"));

    user.run(&["pull", &uid, "--from", "cloud", "--out", "out", "-q"])
        .success()
        .stderr(contains("holds images of 2 patients").and(contains("1 instances without a usable UID")));
    user.run(&["verify", "--original", "in", "--copy", "out", "--dicom-only"]).success();
    user.run(&["verify", "out"]).code(7).stdout(contains("ends before").and(contains("misnamed").not()));
    let (_, lines) = user.json(&["verify", "out"]);
    let uids = lines.iter().filter_map(|line| line["sop_instance"].as_str());
    assert_eq!(uids.filter(|uid| uid.starts_with("2.25.14013699854225")).count(), 1, "under its derived UID");
    let (code, lines) = user.json(&["pull", "--patient-id", "PAT-B", "--from", "cloud", "--out", "of-b"]);
    let done = event(&lines, "done");
    assert_eq!((code, &done["written"], &done["others"]), (0, &1.into(), &3.into()));

    // DICOM that cannot be taken, beside what can.
    std::fs::write(user.path("in/deep.dcm"), studies::deep_sequences(100)).unwrap();
    let (code, lines) = user.json(&["push", "in", "--to", "cloud"]);
    let done = event(&lines, "done");
    assert_eq!((code, &done["complete"], &done["failed"]), (3, &false.into(), &1.into()));
    user.run(&["push", "in", "--to", "cloud", "-q"])
        .code(3)
        .stderr(contains("in/deep.dcm: DICOM that cannot be taken"));
}

#[test]
fn one_instance_uid_in_two_studies_is_told() {
    let user = User::with_identity();
    let _site = Site::serving(&user, Rights::all()).known_to(&user, "cloud");
    let spec = |seed| StudySpec::new(seed).with_instances(1, 1).with_size(32, 32).with_patient_id("PAT-A");
    let [one, mut two] = [1, 2].map(|seed| spec(seed).instance(1, 1));
    let uid = one.identity.sop_instance.as_str();
    let other = two.identity.sop_instance.as_str();
    assert_eq!(uid.len(), other.len(), "one fits in the other's place");
    replace(&mut two.bytes, other, uid);
    std::fs::create_dir(user.path("in")).unwrap();
    std::fs::write(user.path("in/1.dcm"), &one.bytes).unwrap();
    std::fs::write(user.path("in/2.dcm"), &two.bytes).unwrap();
    user.run(&["push", "in", "--to", "cloud"]).success();
    let instances = ["ls", "--from", "cloud", "--level", "instances", "--instance", uid];
    user.run(&instances).success().stderr(contains("is in 2 studies"));
    let rows = user.json(&instances).1;
    assert_eq!((rows.len(), &rows[0]["other_studies"][0]), (2, &rows[1]["study"]));
    let (code, lines) = user.json(&["pull", "--patient-id", "PAT-A", "--from", "cloud", "--out", "out"]);
    assert_eq!((code, &event(&lines, "done")["in_several_studies"][0]), (0, &uid.into()));
}
