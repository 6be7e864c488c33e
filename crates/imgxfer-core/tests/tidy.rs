//! Rules of the source that no compiler checks.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the report")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The modules of the core from the top of the layers to the bottom: a module may use those of its own line
/// and of lines above it. See the table in `lib.rs`.
const LAYERS: [&[&str]; 11] = [
    &["ids", "units", "limits", "clock", "priority", "effort", "work", "scratch", "pace", "places", "sync"],
    &["dicom", "codec", "chunk", "wire"],
    &["manifest", "receipt"],
    &["proto", "progress"],
    &["store"],
    &["survey", "depot"],
    &["transport"],
    &["error"],
    &["transfer"],
    &["send", "receive"],
    &["client", "server", "repair", "blocking"],
];

/// Most lines of code in one file, tests at its end not counted.
const LINES_MAX: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn files_below(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            if !["target", ".git", "corpus", "artifacts", "node_modules"].contains(&name.as_str()) {
                files_below(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

/// Every source file of the workspace.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files_below(&root(), &[".rs"], &mut found);
    found.sort();
    found.into_iter().map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap())).collect()
}

fn is_test_file(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "benches" || c.as_os_str() == "fuzz")
        || path.ends_with("tests.rs")
}

/// The file up to the tests at its end.
fn code(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod ").map_or(text, |end| &text[..end])
}

fn no_comment(line: &str) -> &str {
    if line.trim_start().starts_with("//") { "" } else { line.split(" // ").next().unwrap_or(line) }
}

fn report(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn modules_use_only_what_stands_above_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").canonicalize().unwrap();
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Ok(inside) = path.strip_prefix(&source) else { continue };
        let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        let module = first.trim_end_matches(".rs").to_owned();
        let Some(own) = layer(&module).filter(|_| !is_test_file(&path)) else { continue };
        for (number, line) in (1..).zip(code(&text).lines()) {
            for used in no_comment(line).split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let allowed = used == module || layer(&used).is_none_or(|other| other <= own);
                if !allowed {
                    wrong.push(format!("{}:{number}: {module} uses {used}", inside.display()));
                }
            }
        }
    }
    report("modules that use what stands below them", &wrong);
}

#[test]
fn every_module_of_the_core_has_a_layer() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let modules =
        text.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
    let outside = ["sim", "testing"];
    let missing: Vec<_> = modules
        .filter(|module| !outside.contains(module) && !LAYERS.iter().any(|layer| layer.contains(module)))
        .map(str::to_owned)
        .collect();
    report("modules without a place in LAYERS", &missing);
}

#[test]
fn files_are_short() {
    let long = |(path, text): &(PathBuf, String)| {
        let lines = code(text).lines().filter(|line| !no_comment(line).trim().is_empty()).count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines of code", path.display()))
    };
    report("files with a second idea in them", &sources().iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn what_is_to_be_done_has_a_number() {
    // Written apart, so that this file does not find itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in (1..).zip(text.lines()) {
            for mark in marks {
                if let Some((_, behind)) = line.split_once(mark)
                    && !behind.starts_with("(#")
                {
                    found.push(format!("{}:{number}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    report("things to be done without an issue's number", &found);
}

#[test]
fn logs_hold_no_patient() {
    let macros = ["trace!(", "debug!(", "info!(", "warn!(", "error!(", "span!("];
    let secrets = ["patient", "accession", "birth", "study_description"];
    let mut found = Vec::new();
    for (path, text) in sources() {
        if is_test_file(&path) {
            continue;
        }
        let code = code(&text);
        for (at, _) in code.match_indices("tracing::").chain(code.match_indices("#[instrument")) {
            let call = &code[at..];
            let is_log = macros.iter().any(|name| call["tracing::".len()..].starts_with(name)) || call.starts_with('#');
            // To the end of the statement.
            let end = call.find(";\n").or_else(|| call.find(")]")).unwrap_or(call.len()).min(1500);
            let end = (0..=end).rev().find(|end| call.is_char_boundary(*end)).unwrap_or(0);
            let call = call[..end].to_lowercase();
            if is_log && secrets.iter().any(|secret| call.contains(secret)) {
                let line = code[..at].lines().count() + 1;
                found.push(format!("{}:{line}: {}", path.display(), call.lines().next().unwrap_or_default()));
            }
        }
    }
    report("log lines with attributes of a patient", &found);
}

#[test]
fn no_path_of_a_workplace() {
    let mut found = Vec::new();
    let mut files = Vec::new();
    files_below(&root(), &[".rs", ".md", ".toml", ".proto", ".yml", ".yaml", ".sh"], &mut files);
    // Written apart, so that this file does not find itself.
    let places = [concat!("/wo", "rk/"), concat!("/Us", "ers/"), concat!("/ro", "ot/")];
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in (1..).zip(text.lines()) {
            if places.iter().any(|place| line.contains(place)) && !line.contains("http") {
                found.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    report("paths of a workplace", &found);
}

/// Whether something proves what is said: a script that is there, or the name of a test.
fn proves(name: &str, tests: &BTreeSet<String>) -> bool {
    if name.contains('/') { root().join(name).is_file() } else { tests.contains(name) }
}

/// Names of all functions that are tests.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, text) in sources() {
        let mut is_test = false;
        for line in text.lines().map(str::trim_start) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some((_, name)) = line.split_once("fn ").filter(|_| is_test && !line.starts_with("//")) {
                names.insert(name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
                is_test = false;
            }
        }
    }
    names
}

#[test]
fn what_is_said_to_prove_a_control_is_there() {
    let tests = tests();
    assert!(proves("what_is_said_to_prove_a_control_is_there", &tests), "tests are found");
    assert!(!proves("proves", &tests) && !proves("benches/rig/none.py", &tests), "and nothing else");
    let mut found = Vec::new();
    let mut look = |place: String, named: &str| {
        if named.split_whitespace().next().is_none() {
            found.push(format!("{place}: no test is named"));
        }
        let missing = named.split_whitespace().filter(|name| !proves(name, &tests));
        found.extend(missing.map(|name| format!("{place}: there is no {name}")));
    };
    let log = std::fs::read_to_string(root().join("docs/safety/hazard-log.tsv")).unwrap();
    for (number, line) in (1..).zip(log.lines()) {
        let cells: Vec<&str> = line.split('\t').collect();
        assert_eq!(cells.len(), 4, "hazard-log.tsv:{number}: hazard, cause, control, test");
        if number > 1 {
            look(format!("hazard-log.tsv:{number}"), cells[3]);
        }
    }
    let page = std::fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    for (number, line) in (1..).zip(page.lines()).filter(|(_, line)| line.starts_with("| P")) {
        let cells: Vec<&str> = line.split('|').collect();
        assert!(cells.len() == 7, "reliability.md:{number}: number, promise, test, figure, command");
        look(format!("reliability.md:{number}"), &cells[3].replace(['`', ','], " "));
    }
    report("tests that the documents name", &found);
}
