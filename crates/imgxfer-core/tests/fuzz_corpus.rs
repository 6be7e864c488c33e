//! Replays the seeds of every fuzz target, and bytes near them, with the very code that is fuzzed.
//!
//! `IMGXFER_WRITE_VECTORS=1` writes the seeds that are made from the golden vectors and are not there yet.

#![cfg(feature = "fs")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic is the report")]

#[path = "../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, missing_docs, clippy::all, reason = "the code of another crate, which has its own rules")]
mod targets;

use std::path::{Path, PathBuf};

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 10] = [
    ("chunk_cut", targets::chunk_cut::check),
    ("codec_decode", targets::codec_decode::check),
    ("dicom_scan", targets::dicom_scan::check),
    ("manifest", targets::manifest::check),
    ("pixel_decode", targets::pixel_decode::check),
    ("pixel_round_trip", targets::pixel_round_trip::check),
    ("proto_ops", targets::proto_ops::check),
    ("record", targets::record::check),
    ("store_recover", targets::store_recover::check),
    ("wire_message", targets::wire_message::check),
];

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    found.sort();
    found
}

/// Golden vectors whose name begins so, as bytes.
fn vectors(folder: &str, start: &str) -> Vec<(String, Vec<u8>)> {
    let of = |(name, path): (String, PathBuf)| {
        let name = name.strip_suffix(".hex").filter(|name| name.starts_with(start))?.to_owned();
        let text = std::fs::read_to_string(path).unwrap();
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        Some((name, digits.chunks(2).map(byte).collect()))
    };
    files(&here("tests/vectors").join(folder)).into_iter().filter_map(of).collect()
}

/// The seeds that each target should have.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    match target {
        "manifest" => vectors("wire", "page-"),
        "record" => [vectors("wire", "record-"), vectors("store", "record-")].concat(),
        "codec_decode" => {
            let head = |(name, mut bytes): (String, Vec<u8>)| {
                // Length 73, middling level, then the payload behind head and list of one chunk.
                bytes.splice(..60, [73, 0, 0, 2, 31, 0x59]);
                (name, bytes)
            };
            let of_records = vectors("wire", "record-").into_iter().map(head);
            // Length of what it decodes to, and most effort; then a payload, or what encodes to one.
            let recoded = vectors("codec", "recode-");
            let raw_len = recoded.iter().map(|(_, bytes)| bytes.len()).max().unwrap();
            let [a, b, ..] = u32::try_from(raw_len).unwrap().to_le_bytes();
            let whole = |(name, bytes): (String, Vec<u8>)| (name, [&[a, b, 0, 4, 31, 0x59], &bytes[..]].concat());
            of_records.chain(recoded.into_iter().map(whole)).collect()
        }
        "store_recover" => vectors("store", ""),
        "pixel_decode" => pixels(|_, payload, raw| [&raw.len().to_le_bytes()[..3], payload].concat()),
        "pixel_round_trip" => pixels(|name, payload, raw| {
            // As in the payload's head: flags, columns, rows of a frame, each of one byte.
            let [flags, columns, rows] = [payload[1], payload[2], payload[3]];
            let bits = if name == "overlay" || name.starts_with("signed") { 12 } else { 16 };
            let level = if name == "reference" { 3 } else { 2 };
            [&[rows, columns, flags, 0, bits, bits - 1, level, 0, 0, 0][..], raw].concat()
        }),
        "wire_message" => {
            let framed = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat();
            let messages = vectors("wire", "message-");
            let all = messages.iter().flat_map(|(_, bytes)| framed(bytes)).collect();
            let each = messages.iter().map(|(name, bytes)| (name.clone(), framed(bytes)));
            each.chain([("all".to_owned(), all)]).collect()
        }
        "proto_ops" => proto_ops(),
        "chunk_cut" | "dicom_scan" => dicom(),
        _ => Vec::new(),
    }
}

/// What is made of each golden payload of pixels and its bytes.
fn pixels(seed: impl Fn(&str, &[u8], &[u8]) -> Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let all = vectors("pixel", "");
    let raw = |name: &str| all.iter().find(|(other, _)| *other == format!("{name}.raw")).map(|(_, raw)| raw);
    all.iter().filter_map(|(name, payload)| Some((name.clone(), seed(name, payload, raw(name)?)))).collect()
}

/// Lists of operations: a first transfer, one with damage, one where the receiver has everything, and one
/// into which each golden message is put.
fn proto_ops() -> Vec<(String, Vec<u8>)> {
    let page = [0, 0, 3, 2, 1, 2, 1, 3, 3, 0];
    let start = [4, 6];
    let mut plain = start.to_vec();
    plain.extend([&page[..], &[4, 9, 0, 0, 6, 10, 0, 10, 0, 6, 12, 9, 13, 6]].concat());
    let mut damaged = start.to_vec();
    damaged.extend([&page[..], &[4, 9, 0, 0, 6, 11, 0, 6, 11, 0, 6, 11, 0, 6, 12, 0, 2, 1, 3, 1]].concat());
    let mut present = start.to_vec();
    for _ in 0..4 {
        present.extend([&page[..], &[4, 8, 1, 9, 255, 255, 6, 6, 3, 0x85]].concat());
    }
    let intrusions = vectors("wire", "message-").into_iter().flat_map(|(name, bytes)| {
        [0, 1].map(|side| {
            let len = u8::try_from(bytes.len().min(127)).unwrap();
            let put_in = [15, len << 1 | side];
            let operations = [&start[..], &page, &[4], &put_in, &bytes[..usize::from(len)], &[4, 6, 9, 0, 0, 4, 6]];
            (format!("{name}-{side}"), operations.concat())
        })
    });
    let own = [("plain", plain), ("damaged", damaged), ("present", present)];
    own.map(|(name, bytes)| (name.to_owned(), bytes)).into_iter().chain(intrusions).collect()
}

/// Small synthetic files in every transfer syntax.
fn dicom() -> Vec<(String, Vec<u8>)> {
    use imgxfer_core::sim::studies::{StudySpec, Syntax};
    let file = |syntax| {
        let spec = StudySpec::new(1).with_size(8, 8).with_frames(2).with_syntax(syntax);
        (format!("{syntax:?}").to_lowercase(), spec.instance(1, 1).bytes)
    };
    Syntax::ALL.map(file).to_vec()
}

#[test]
fn every_target_has_its_seeds() {
    for (target, _) in TARGETS {
        let folder = here("../../fuzz/seeds").join(target);
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{target}");
        for (name, bytes) in seeds {
            let path = folder.join(&name);
            if std::env::var_os("IMGXFER_WRITE_VECTORS").is_some() && !path.exists() {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(&path, &bytes).unwrap();
            }
            assert!(path.exists(), "fuzz/seeds/{target}/{name} is missing: IMGXFER_WRITE_VECTORS=1 writes it");
        }
    }
}

#[test]
fn every_target_is_here_and_in_the_script() {
    let names: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let bins: Vec<_> = files(&here("../../fuzz/fuzz_targets"))
        .into_iter()
        .map(|(name, _)| name.trim_end_matches(".rs").to_owned())
        .collect();
    assert_eq!(names, bins);
    let script = std::fs::read_to_string(here("../../fuzz/run.sh")).unwrap();
    let listed = script.lines().find_map(|line| line.split_once("|| set -- ")).unwrap().1;
    let mut listed: Vec<_> = listed.split(' ').map(str::to_owned).collect();
    listed.sort();
    assert_eq!(names, listed);
}

#[test]
fn seeds_pass_whole_cut_short_and_damaged() {
    for (target, check) in TARGETS {
        for (name, path) in files(&here("../../fuzz/seeds").join(target)) {
            println!("{target}/{name}");
            let bytes = std::fs::read(path).unwrap();
            check(&bytes);
            // A picture is some thousands of samples, on each path of the processor.
            let tries = if target.starts_with("pixel_") { 5 } else { 40 };
            let step = bytes.len().div_ceil(tries).max(1);
            for at in (0..bytes.len()).step_by(step) {
                check(&bytes[..at]);
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x81;
                check(&damaged);
            }
        }
    }
}
