//! `bench`: what it measures, and what it says of files that it cannot measure.

use std::path::PathBuf;

use crate::harness::{User, study};
use imgxfer_core::sim::studies::{StudySpec, Syntax};
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use serde_json::Value;

#[test]
fn parts_are_measured() {
    let user = User::new();
    study(&user.path("a"), 1, 2);
    user.run(&["bench", "a"]).success().stdout(contains("BLAKE3").and(contains("zstd, level 2")));
    assert!(user.json(&["bench", "a"]).1.iter().all(|line| line["mb_per_s"].is_number()));
    user.run(&["bench", "none"]).code(4);
}

/// A folder with CT, colour, a compressed cine and what has no pixels.
fn mixed(user: &User) {
    let write = |name: &str, spec: StudySpec| -> PathBuf {
        spec.write_to(&user.path("a").join(name)).unwrap();
        user.path("a").join(name)
    };
    write("ct", StudySpec::new(1).with_instances(2, 3).with_size(64, 64));
    let colour = StudySpec::new(2).with_modality("US").with_samples(3).with_bits(8, 8).with_size(48, 40);
    write("us", colour.with_frames(4).with_instances(1, 2));
    let cine = StudySpec::new(3).with_modality("XA").with_frames(5).with_size(32, 32).with_instances(1, 1);
    write("xa", cine.with_syntax(Syntax::EncapsulatedBasicTable));
    std::fs::write(
        write("deflated", StudySpec::new(4).with_instances(1, 1).with_syntax(Syntax::Deflated)).join("x"),
        "x",
    )
    .unwrap();
}

#[test]
fn each_level_of_each_modality_is_one_line() {
    let user = User::new();
    mixed(&user);
    let (code, lines) = user.json(&["bench", "--codec", "a"]);
    assert_eq!(code, 0, "{lines:?}");
    let levels = ["0", "1", "2", "3", "4", "zstd-1", "zstd-3", "zstd-19"];
    let wanted: Vec<(&str, &str)> =
        ["CT", "US", "XA (JPEG lossless)"].iter().flat_map(|kind| levels.map(|level| (*kind, level))).collect();
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let found: Vec<(String, String)> = lines.iter().map(|line| (text(line, "modality"), text(line, "level"))).collect();
    assert_eq!(found.iter().map(|(kind, level)| (kind.as_str(), level.as_str())).collect::<Vec<_>>(), wanted);
    for line in &lines {
        assert_eq!(line["exact"], true, "{line}");
        assert!(line["encode_mb_s"].as_f64().unwrap() > 0.0 && line["decode_mb_s"].as_f64().unwrap() > 0.0, "{line}");
        let (original, encoded) = (line["original_bytes"].as_u64().unwrap(), line["encoded_bytes"].as_u64().unwrap());
        assert!(encoded <= original, "{line}");
        let frames = match text(line, "modality").as_str() {
            "CT" => (6, 6 * 64 * 64 * 2),
            "US" => (8, 8 * 48 * 40 * 3),
            _ => (5, original),
        };
        assert_eq!((line["frames"].as_u64().unwrap(), original), frames, "{line}");
        if line["level"] == "0" {
            assert_eq!(original, encoded);
        }
    }
}

#[test]
fn keys_stand_in_their_order() {
    let user = User::new();
    study(&user.path("a"), 1, 2);
    let output = user.run(&["bench", "--codec", "--level", "2", "--json", "a"]).success().get_output().stdout.clone();
    let text = String::from_utf8(output).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    let keys = [
        "\"level\":\"2\"",
        "\"modality\":\"CT\"",
        "\"frames\":2",
        "\"original_bytes\":16384",
        "\"encoded_bytes\":",
        "\"encode_mb_s\":",
        "\"decode_mb_s\":",
        "\"exact\":true",
    ];
    let places: Vec<_> = keys.iter().map(|key| text.find(key).unwrap_or_else(|| panic!("{key} in {text}"))).collect();
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn people_get_a_table() {
    let user = User::new();
    mixed(&user);
    let table = user.run(&["bench", "--codec", "a"]).success();
    let table = table.stdout(contains("MODALITY").and(contains("XA (JPEG lossless)")).and(contains("all")));
    table.stderr(contains("9 files").and(contains("1 without pixel data, 1 not DICOM")));
    let quiet = user.run(&["bench", "--codec", "--quiet", "--level", "1", "a/ct"]).success();
    quiet.stderr("").stdout(contains("CT"));
}

#[test]
fn what_cannot_be_measured_is_named() {
    let user = User::new();
    study(&user.path("a"), 1, 1);
    user.run(&["bench", "--codec", "none"]).code(4).stderr(contains("none"));
    user.run(&["bench", "--codec", "a", "none"]).code(3).stderr(contains("none: there is no such file"));
    std::fs::write(user.path("note.txt"), "hello").unwrap();
    user.run(&["bench", "--codec", "note.txt"]).code(4).stderr(contains("1 not DICOM"));
    user.run(&["bench", "--codec", "--level", "5", "a"]).code(2);
    user.run(&["bench", "--level", "2", "a"]).code(2);
}

#[test]
fn a_line_carries_a_study_there_and_back() {
    let user = User::new();
    let (code, rows) = user.json(&["bench", "--link", "fibre100", "--limit", "3"]);
    assert_eq!(code, 0);
    let ways: Vec<_> = rows.iter().map(|row| (row["direction"].as_str().unwrap(), row["verified"].as_bool())).collect();
    assert_eq!(ways, [("push", Some(true)), ("pull", Some(true))]);
    assert!(
        rows.iter().all(|row| row["line"] == "fibre100" && row["line_multiple"].as_f64().unwrap() > 1.0),
        "{rows:?}"
    );
    user.run(&["bench", "--link", "dsl"]).code(2).stderr(contains("bad-copper"));
}
