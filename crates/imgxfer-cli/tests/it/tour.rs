//! docs/tour.md is what the programs print.

use std::path::Path;

use imgxfer_core::sim::studies::StudySpec;

use crate::harness::User;

#[test]
fn the_tour_is_true() {
    let user = User::new();
    let recently = jiff::Zoned::now().date().saturating_sub(jiff::ToSpan::days(3)).strftime("%Y%m%d").to_string();
    for (seed, name, patient) in [
        (1, "studies/doe", "Doe^Jane"),
        (2, "studies/roe", "Roe^Richard"),
        (3, "mistake", "Wrong^Patient"),
        (4, "late", "Late^Comer"),
    ] {
        let spec = StudySpec::new(seed).with_instances(2, 3).with_size(64, 64).with_patient_name(patient);
        spec.with_study_date(&recently).write_to(&user.path("data").join(name)).unwrap();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let bins = Path::new(env!("CARGO_BIN_EXE_imgxfer")).parent().unwrap();
    assert!(bins.join("imgxferd").exists(), "build the daemon first: cargo build -p imgxferd");
    let mut tour = std::process::Command::new("python3");
    tour.arg(root.join("scripts/tour")).arg("--bin").arg(bins).arg("--data").arg(user.path("data"));
    if std::env::var_os("IMGXFER_WRITE_TOUR").is_none() {
        tour.arg("--check");
    }
    let ended = tour.output().expect("python3 runs scripts/tour");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}
