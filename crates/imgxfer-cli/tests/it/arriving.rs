//! Pulls of studies that are not whole where they are.

use std::process::Stdio;

use imgxfer_core::server::Rights;
use imgxfer_core::sim::studies::StudySpec;

use crate::harness::{Site, User, event};

#[test]
fn what_is_not_whole_there_is_no_success() {
    let user = User::with_identity();
    let _site = Site::serving(&user, Rights::all()).known_to(&user, "cloud");
    let study = StudySpec::new(9).with_instances(1, 24).with_size(256, 256);
    study.write_to(&user.path("in")).unwrap();
    let uid = study.study_uid().to_string();
    let mut push = user.command();
    push.args(["push", "in", "--to", "cloud", "--limit", "1", "-q"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut push = push.spawn().unwrap();
    loop {
        let (_, rows) = user.json(&["ls", "--from", "cloud", "--study", &uid]);
        if rows.iter().any(|row| row["instances"].as_u64() > Some(0) && row["arriving"] == true) {
            break;
        }
        assert!(push.try_wait().unwrap().is_none(), "it is there before it has ended");
    }
    let out = user.arg("out");
    let pull = ["pull", &uid, "--from", "cloud", "--out", &out];
    let (code, lines) = user.json(&[&pull[..], &["--now"]].concat());
    let done = event(&lines, "done");
    assert_eq!((code, &done["complete"], &done["shortfall"]["arriving"]), (3, &false.into(), &true.into()), "{done}");
    assert!(done["instances"].as_u64() < Some(24), "{done}");

    push.kill().unwrap();
    push.wait().unwrap();
    // Whether it is still shown as arriving or not: a pull that follows it ends when the line is given up.
    let talk = user.run(&[&pull[..], &["-q"]].concat()).code(3).get_output().stderr.clone();
    let talk = String::from_utf8(talk).unwrap();
    assert!(talk.contains("nobody has said that the study is whole") && talk.contains("send it again"), "{talk}");

    user.run(&["push", "in", "--to", "cloud", "-q"]).success();
    let (code, lines) = user.json(&pull);
    let done = event(&lines, "done");
    assert_eq!((code, &done["complete"], &done["instances"]), (0, &true.into(), &24.into()), "{done}");
}
