//! The scanner beside pydicom and DCMTK over odd data sets: what they identify, it identifies.
//!
//! Needs Python with pydicom, and dcmdump: `scripts/compare-readers` installs them and runs this. `IMGXFER_ODD_SEED`
//! and `IMGXFER_ODD_COUNT` choose other files, `IMGXFER_PYTHON` the interpreter.

use std::path::Path;
use std::process::Command;

use imgxfer_core::dicom::{Level, scan};
use imgxfer_core::ids::{InstanceHash, StudyUid};

const SEED: &str = "20261";
const COUNT: &str = "600";

/// What one reader found: SOP Instance UID, Study and Series Instance UID, Patient ID; `None` where there is none.
type Found = [Option<String>; 4];
const WHAT: [&str; 4] = ["SOP Instance UID", "Study Instance UID", "Series Instance UID", "Patient ID"];

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// `=` and percent-encoded text, `-` for nothing.
fn decode(field: &str) -> Option<String> {
    let text = field.strip_prefix('=')?;
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).expect("two hexadecimal digits"));
        bytes.extend(part[2..].bytes());
    }
    let text = String::from_utf8_lossy(&bytes);
    Some(text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0').to_owned())
}

/// What the scanner finds, with `?` for what it derives; nothing where it finds no DICOM.
fn ours(bytes: &[u8]) -> Found {
    let Ok(found) = scan(&bytes) else { return [const { None }; 4] };
    let identity = found.identify(&InstanceHash::from_bytes(*blake3::hash(bytes).as_bytes())).expect("no DICOMDIR");
    let derived: Vec<Level> = found.derived().collect();
    let uid = |level, uid: &str| Some(if derived.contains(&level) { "?".to_owned() } else { uid.to_owned() });
    [
        uid(Level::Instance, identity.sop_instance.as_str()),
        uid(Level::Study, identity.study.as_str()),
        uid(Level::Series, identity.series.as_str()),
        Some(found.attributes.patient_id().to_owned()),
    ]
}

/// Whether a reader has found something: not the beginning of a value that is cut, nor what the file does not hold.
fn is_finding(value: &str, file: &[u8], oddities: &str) -> bool {
    let is_padding = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
    let end = file.iter().rposition(|byte| !is_padding(byte)).map_or(0, |last| last + 1);
    let is_cut = oddities.ends_with(", cut") && file[..end].ends_with(value.as_bytes());
    let is_there =
        || oddities.starts_with("deflated") || file.windows(value.len()).any(|part| part == value.as_bytes());
    !value.is_empty() && !is_cut && is_there()
}

/// Whether what a reader says is what the scanner says: unusable UIDs are derived.
fn agrees(at: usize, theirs: &str, ours: &str) -> bool {
    if at < 3 && StudyUid::new(theirs).is_err() { ours == "?" } else { theirs == ours }
}

#[test]
#[ignore = "needs pydicom and DCMTK: scripts/compare-readers"]
fn what_other_readers_identify_is_identified() {
    let folder = tempfile::tempdir().unwrap();
    let (seed, count) = (setting("IMGXFER_ODD_SEED", SEED), setting("IMGXFER_ODD_COUNT", COUNT));
    println!("IMGXFER_ODD_SEED={seed} IMGXFER_ODD_COUNT={count}");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/odd.py");
    let mut python = Command::new(setting("IMGXFER_PYTHON", "python3"));
    let made = python.arg(script).arg(folder.path()).arg(&seed).arg(&count).status().unwrap();
    assert!(made.success(), "the odd files could not be made");
    let table = std::fs::read_to_string(folder.path().join("readers.tsv")).unwrap();
    let (mut compared, mut wrong) = (0, Vec::new());
    for line in table.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [pydicom, dcmdump]: [Found; 2] = [2, 6].map(|from| std::array::from_fn(|at| decode(fields[from + at])));
        let bytes = std::fs::read(folder.path().join(fields[0])).unwrap();
        let found = ours(&bytes);
        for (at, what) in WHAT.iter().enumerate() {
            let findings = [&pydicom[at], &dcmdump[at]].into_iter().flatten();
            let theirs: Vec<&String> = findings.filter(|value| is_finding(value, &bytes, fields[1])).collect();
            compared += usize::from(!theirs.is_empty());
            let says = found[at].as_deref().unwrap_or_default();
            if !theirs.is_empty() && !theirs.iter().any(|theirs| agrees(at, theirs, says)) {
                wrong.push(format!("{}: {what} is {theirs:?} to them, {says:?} here ({})", fields[0], fields[1]));
            }
        }
    }
    println!("{compared} values compared");
    assert!(compared > table.lines().count() * 2, "too few were identified for a comparison: {compared}");
    if !wrong.is_empty() {
        let kept = folder.keep();
        panic!("{} differ, in {}:\n{}", wrong.len(), kept.display(), wrong.join("\n"));
    }
}
