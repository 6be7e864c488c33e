//! `imgxfer demo`.

use crate::harness::{User, study};

#[test]
fn the_quick_demo_runs_and_verifies() {
    let user = User::new();
    let (code, lines) = user.json(&["demo", "--quick"]);
    assert_eq!(code, 0, "{lines:?}");
    assert_eq!(lines.len(), 4);
    for line in &lines {
        assert_eq!(line["verified"], true, "{line}");
        assert!(line["bytes"].as_u64().unwrap() > 1_000_000, "{line}");
        assert!(line["line_multiple"].as_f64().unwrap() > 1.0, "{line}");
    }
    let again = lines[0]["sent_again_bytes_max"].as_u64().unwrap();
    assert!(again < lines[0]["line_bytes"].as_u64().unwrap() / 2, "most of what was sent before the cut was kept");
}

#[test]
fn the_demo_takes_files_of_the_users() {
    let user = User::new();
    study(&user.path("in"), 1, 40);
    let (code, lines) = user.json(&["demo", "--quick", "--data", "in"]);
    assert_eq!(code, 0, "{lines:?}");
    assert_eq!(lines[3]["instances"], 40);
    user.run(&["demo", "--data", "nowhere"]).code(4);
}
