//! `imgxfer ls` for people, and `imgxfer pull` by the numbers of its lines.

use imgxfer_core::server::Rights;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::Scope;
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;

use crate::harness::{Site, User, event};

fn all() -> Rights {
    Rights::none().with_send(true).with_query(true).with_pull(true).with_scope(Scope::All)
}

#[test]
fn lines_are_pulled_by_their_numbers() {
    let user = User::with_identity();
    let site = Site::serving(&user, all()).known_to(&user, "cloud");
    let other = Site::serving_from(&user, "elsewhere", all()).known_to(&user, "elsewhere");
    user.run(&["pull", "1", "--from", "cloud", "--out", "out"]).code(4).stderr(contains("nothing was listed yet"));
    for seed in 1..=3 {
        let spec = StudySpec::new(seed).with_instances(2, u32::try_from(seed).unwrap()).with_size(32, 32);
        spec.write_to(&user.path("in").join(seed.to_string())).unwrap();
    }
    user.run(&["push", "in", "--to", "cloud"]).success();
    let (_, rows) = user.json(&["ls", "--from", "cloud"]);
    let uid = |at: usize| rows[at]["study"].as_str().unwrap().to_owned();
    user.run(&["ls", "--from", "cloud"]).success().stdout(contains("#  DATE").and(contains("STUDY UID")));
    let (_, receipts) = user.json(&["receipts", &uid(1)]);
    assert_eq!((&receipts[0]["peer"], receipts[0]["studies"].as_array().unwrap().len()), (&"cloud".into(), 3));
    user.run(&["receipts"]).success().stdout(contains("yes").and(contains(receipts[0]["root"].as_str().unwrap())));
    user.run(&["receipts", "1.2.3"]).code(4);
    user.run(&["receipt", receipts[0]["file"].as_str().unwrap()]).success().stdout(contains("the signature holds"));
    // The peer is that of the listing.
    user.run(&["pull", "2", "--out", "one"]).success();
    assert!(user.path("one").join(uid(1)).exists() && !user.path("one").join(uid(0)).exists());
    let (code, lines) = user.json(&["pull", "1,3", "--from", "cloud", "--out", "two"]);
    assert_eq!((code, event(&lines, "done")["studies"].as_array().unwrap().len()), (0, 2));
    assert!(user.path("two").join(uid(0)).exists() && user.path("two").join(uid(2)).exists());
    user.run(&["pull", "4", "--out", "out"]).code(2).stderr(contains("no line 4"));
    user.run(&["pull", "1", "--from", "elsewhere", "--out", "out"]).code(2).stderr(contains("was of cloud"));
    user.run(&["pull", &uid(0), "--out", "out"]).code(2).stderr(contains("--from"));

    // A series by its line.
    user.run(&["ls", "--from", "cloud", "--level", "series", "--study", &uid(0)]).success();
    let (_, lines) = user.json(&["pull", "2", "--out", "series"]);
    assert_eq!(event(&lines, "done")["instances"], rows[0]["instances"].as_u64().unwrap() / 2);
    let kept = std::fs::read_to_string(user.path(".local/state/imgxfer/last-listing.json")).unwrap();
    assert!(kept.contains("\"by\":[\"StudyInstanceUID\"]"), "{kept}");
    drop((site, other));
}

#[test]
fn names_are_found_by_any_of_their_groups_and_dates_by_words() {
    let user = User::with_identity();
    let _site = Site::serving(&user, all()).known_to(&user, "cloud");
    let spec = |seed, name: &str| StudySpec::new(seed).with_size(16, 16).with_patient_name(name);
    let today = jiff::Zoned::now().date().strftime("%Y%m%d").to_string();
    let first = spec(1, "Yamada^Tarou=山田^太郎=やまだ^たろう").with_study_date(&today);
    first.write_to(&user.path("in/a")).unwrap();
    spec(2, "=王^小明").with_study_date("19991231").write_to(&user.path("in/b")).unwrap();
    user.run(&["push", "in", "--to", "cloud"]).success();
    let found = |name: &str| user.json(&["ls", "--from", "cloud", "--patient-name", name]).1.len();
    for name in ["yamada*", "山田*", "やまだ^たろう", "*太郎", "YAMADA^TAROU", "y?mada*"] {
        assert_eq!(found(name), 1, "{name}");
    }
    assert_eq!((found("王*"), found("王小明"), found("nobody*")), (1, 0, 0));
    let shown = user.run(&["ls", "--from", "cloud"]).success();
    shown.stdout(contains("Yamada, Tarou").and(contains("王, 小明")));
    let kept = std::fs::read_to_string(user.path(".local/state/imgxfer/last-listing.json")).unwrap();
    assert!(!kept.contains("amada") && !kept.contains('山'), "{kept}");
    for (date, found) in [("-7d", 1), ("1999-12", 1), ("1950-01-01-", 2), ("-2001-01", 1)] {
        assert_eq!(user.json(&["ls", "--from", "cloud", "--date", date]).1.len(), found, "{date}");
    }
    user.run(&["ls", "--from", "cloud", "--date", "soon"]).code(2).stderr(contains("yesterday"));
}
