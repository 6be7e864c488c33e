//! The chain holds, and whatever is done to it is found.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::config::AuditConfig;

const SMALL: Turns = Turns { bytes: 4000, age: 1_000_000, keep: None };
const LARGE: Turns = Turns { bytes: 1 << 20, age: 1_000_000, keep: None };

struct Place {
    folder: tempfile::TempDir,
    identity: Identity,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), identity: Identity::generate().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    fn log(&self) -> PathBuf {
        self.path().join(AUDIT_FILE)
    }

    fn open(&self, turns: Turns) -> Audit {
        Audit::start_with(&AuditConfig::in_folder(self.path()), &self.identity, turns).unwrap()
    }

    /// Writes so many records and ends in order.
    fn write(&self, turns: Turns, records: i64) {
        let audit = self.open(turns);
        for job in 0..records {
            audit.tell(&entry(job));
            // So that batches do not hide what happens between them.
            if job % 5 == 4 {
                assert!(audit.tell_and_wait(&entry(job)));
            }
        }
        audit.close();
    }

    fn check(&self) -> Verified {
        verify(&files_in(&self.path()).unwrap(), Some(&self.path()), &[self.identity.peer_id()]).unwrap()
    }

    fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(self.log()).unwrap().lines().map(str::to_owned).collect()
    }

    fn set(&self, lines: &[String]) {
        std::fs::write(self.log(), lines.join("\n") + "\n").unwrap();
    }
}

fn entry(job: i64) -> Entry {
    Entry::new(Actor::Admin, Event::JobRetried { job })
}

fn events(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| read_line(line.as_bytes()).unwrap().text("event").to_owned()).collect()
}

/// Chains records anew, as whoever can write to the file can.
fn chained(lines: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    let mut prev = line::GENESIS;
    for (seq, old) in (1..).zip(lines) {
        let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(old).unwrap();
        for field in ["prev", "seq", "hash"] {
            fields.remove(field);
        }
        prev = line::make(&mut out, &prev, seq, &serde_json::Value::Object(fields).to_string());
    }
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn what_is_written_verifies_and_is_signed_to_its_end() {
    let place = Place::new();
    place.write(LARGE, 20);
    let found = place.check();
    assert_eq!((&found.faults, &found.notes), (&vec![], &vec![]));
    assert_eq!(found.signers, [place.identity.peer_id()]);
    assert_eq!(found.signed, found.last, "to the very end");
    assert_eq!(found.records, found.last.unwrap().seq);
    // A second run goes on where the first ended.
    place.write(LARGE, 3);
    let again = place.check();
    assert!(again.faults.is_empty() && again.records > found.records, "{again:?}");
    let stranger = Identity::generate().unwrap().peer_id();
    let foreign = verify(&[place.log()], None, &[stranger]).unwrap();
    assert!(foreign.faults[0].problem.contains("signed by another key") && foreign.signed.is_none(), "{foreign:?}");
    assert!(verify(&[place.log()], None, &[]).unwrap().faults.is_empty());
}

#[test]
fn each_kind_of_tampering_is_found() {
    let place = Place::new();
    place.write(LARGE, 300);
    let lines = place.lines();
    let middle = lines.len() / 2;
    let jump = |edit: &dyn Fn(&mut Vec<String>)| {
        let mut changed = lines.clone();
        edit(&mut changed);
        place.set(&changed);
        let found = place.check();
        assert!(!found.faults.is_empty());
        found
    };
    let changed = jump(&|lines| lines[middle] = lines[middle].replace("\"job\":1", "\"job\":2"));
    assert_eq!((changed.faults.len(), changed.faults[0].line), (1, Some(middle as u64 + 1)), "{changed:?}");
    assert!(changed.faults[0].problem.contains("changed"));
    assert!(changed.doubted_from.as_ref().unwrap().line <= middle as u64 + 1);
    assert!(changed.signed.unwrap().line <= middle as u64);

    let removed = jump(&|lines| drop(lines.remove(middle)));
    assert_eq!(removed.faults[0].line, Some(middle as u64 + 1));
    assert!(removed.faults[0].problem.contains(&format!("record {} is missing", middle + 1)), "{removed:?}");

    let inserted = jump(&|lines| {
        let before = line::parse(lines[middle].as_bytes()).unwrap();
        let mut out = Vec::new();
        line::make(&mut out, &before.hash, before.seq() + 1, &entry(99).text("2026-01-01T00:00:00.000Z"));
        out.pop();
        lines.insert(middle + 1, String::from_utf8(out).unwrap());
    });
    assert!(inserted.faults[0].problem.contains("put in"), "{inserted:?}");
    assert!(inserted.doubted_from.as_ref().unwrap().line <= middle as u64 + 2, "what was put in is doubted");

    let swapped = jump(&|lines| lines.swap(middle, middle + 1));
    assert_eq!(swapped.faults[0].line, Some(middle as u64 + 1), "{swapped:?}");

    let cut = jump(&|lines| lines.truncate(lines.len() - 3));
    assert!(cut.faults[0].problem.contains("the last 3 records are missing"), "{cut:?}");
    assert!(cut.doubted_from.is_none() && cut.signed.is_some());

    let beheaded = jump(&|lines| drop(lines.drain(..10)));
    assert!(beheaded.faults[0].problem.contains("before it are missing"), "{beheaded:?}");

    // Whoever makes all hashes anew has no key to sign with.
    let forged = jump(&|lines| {
        lines[middle] = lines[middle].replace("\"job\":1", "\"job\":2");
        *lines = chained(lines);
    });
    assert!(forged.faults.iter().any(|fault| fault.problem.contains("signature does not hold")), "{forged:?}");
    let bare = jump(&|lines| {
        lines.retain(|line| !line.contains("\"checkpoint\""));
        *lines = chained(lines);
    });
    assert!(bare.faults.iter().any(|fault| fault.problem.contains("no signature")), "{bare:?}");
    place.set(&lines);
    assert!(place.check().faults.is_empty());
    for text in ["", "{\"through\":1", "nothing"] {
        std::fs::write(place.path().join("head.json"), text).unwrap();
        assert!(place.check().faults[0].problem.contains("cannot be told"), "{text}");
        place.write(LARGE, 1);
        let found = place.check();
        assert!(found.faults[0].problem.contains("cannot be read"), "told of at the start: {found:?}");
    }
    std::fs::remove_file(place.path().join("head.json")).unwrap();
    assert!(place.check().faults[0].problem.contains("cannot be told"));
}

#[test]
fn a_torn_end_is_set_aside_and_the_chain_goes_on() {
    let place = Place::new();
    place.write(LARGE, 7);
    let sound = std::fs::read(place.log()).unwrap();
    let torn: [&[u8]; 4] = [b"{\"prev\":\"00", &[0; 500], b"}\n{\"x", b"\n"];
    for (times, tail) in (1..).zip(torn) {
        let before = std::fs::read(place.log()).unwrap();
        std::fs::write(place.log(), [&before[..], tail].concat()).unwrap();
        place.write(LARGE, 2);
        let found = place.check();
        assert_eq!((&found.faults, found.notes.len()), (&vec![], times), "{found:?}");
        let aside = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
        let aside: Vec<_> = aside.filter(|path| path.to_string_lossy().contains("torn-")).collect();
        assert_eq!(aside.len(), times);
        assert!(aside.iter().any(|path| std::fs::read(path).unwrap() == tail));
    }
    // At every byte of the last record, as long as no signature is about it.
    let place = Place::new();
    place.write(LARGE, 1);
    let head = std::fs::read(place.path().join("head.json")).unwrap();
    let signed = std::fs::read(place.log()).unwrap();
    let audit = place.open(LARGE);
    assert!(audit.tell_and_wait(&entry(1)));
    audit.close();
    let whole = std::fs::read(place.log()).unwrap();
    let record = whole[signed.len()..].iter().position(|byte| *byte == b'\n').unwrap();
    for cut in (0..record).step_by(13) {
        std::fs::write(place.log(), &whole[..signed.len() + cut]).unwrap();
        std::fs::write(place.path().join("head.json"), &head).unwrap();
        place.write(LARGE, 1);
        let found = place.check();
        assert!(found.faults.is_empty(), "cut at {cut}: {found:?}");
    }
    assert!(sound.len() > 100);
}

#[test]
fn what_was_tampered_with_is_left_as_it_is_and_told_of_at_the_next_start() {
    for (cut, words) in [(3, "missing at the end"), (0, "not what its hash says")] {
        let place = Place::new();
        place.write(LARGE, 20);
        let mut lines = place.lines();
        let len = lines.len() - cut;
        lines.truncate(len);
        if cut == 0 {
            lines[4] = lines[4].replace("\"job\"", "\"jab\"");
        }
        place.set(&lines);
        let left = std::fs::read(place.log()).unwrap();
        place.write(LARGE, 2);
        let files = files_in(&place.path()).unwrap();
        assert_eq!(files.len(), 2);
        assert_eq!(std::fs::read(&files[0]).unwrap(), left);
        let found = place.check();
        let doubt = found.faults.iter().find(|fault| fault.problem.contains("the daemon found")).unwrap();
        assert!(doubt.problem.contains(words) && doubt.file == place.log(), "{found:?}");
    }
}

#[test]
fn a_new_key_is_told_of_and_must_be_named() {
    let mut place = Place::new();
    place.write(LARGE, 3);
    let old = std::mem::replace(&mut place.identity, Identity::generate().unwrap());
    place.write(LARGE, 3);
    let files = files_in(&place.path()).unwrap();
    let keys = [old.peer_id(), place.identity.peer_id()];
    assert_eq!(files.len(), 1, "the chain goes on");
    let found = verify(&files, Some(&place.path()), &keys).unwrap();
    assert_eq!(
        (found.signers.as_slice(), &found.faults, &found.signed),
        (&keys[..], &vec![], &found.last),
        "{found:?}"
    );
    let told = |found: &Verified| found.notes.iter().filter(|note| note.contains("the site's key was")).count();
    assert_eq!(told(&found), 1, "{found:?}");
    assert!(keys.iter().all(|key| found.notes[0].contains(&key.fingerprint())), "{found:?}");
    let found = place.check();
    assert_eq!(
        (found.doubted_from.as_ref().unwrap().seq, told(&found)),
        (1, 1),
        "who wrote the beginning is not known"
    );

    // It is told once; and what else is wrong is a doubt, whoever signed.
    place.write(LARGE, 1);
    assert_eq!(told(&verify(&files, Some(&place.path()), &keys).unwrap()), 1);
    let lines = place.lines();
    place.set(&lines[..lines.len() - 3]);
    place.identity = Identity::generate().unwrap();
    place.write(LARGE, 1);
    let found = verify(&files_in(&place.path()).unwrap(), Some(&place.path()), &[]).unwrap();
    assert!(found.faults.iter().any(|fault| fault.problem.contains("missing at the end")), "{found:?}");
    assert_eq!(told(&found), 1, "{found:?}");
}

#[test]
fn two_daemons_do_not_write_to_one_audit() {
    let place = Place::new();
    let first = place.open(LARGE);
    assert!(first.tell_and_wait(&entry(1)));
    let second = place.open(LARGE);
    assert!(!second.tell_and_wait(&entry(2)) && !second.is_sound());
    second.close();
    assert!(first.tell_and_wait(&entry(3)));
    first.close();
    assert_eq!(place.check().faults, []);
}

#[test]
fn files_are_turned_and_old_ones_go_with_a_word() {
    let place = Place::new();
    place.write(SMALL, 100);
    let files = files_in(&place.path()).unwrap();
    assert!(files.len() > 3, "{files:?}");
    let found = place.check();
    assert_eq!((&found.faults, found.notes.len()), (&vec![], 0), "{found:?}");
    let name = files[1].file_name().unwrap().to_str().unwrap();
    let first = read_line(std::fs::read_to_string(&files[1]).unwrap().lines().next().unwrap().as_bytes()).unwrap();
    assert_eq!(name, format!("audit-{:020}.log", first.seq()));
    // One file alone can be looked at, too.
    let alone = verify(&files[1..2], None, &[]).unwrap();
    assert!(alone.faults.iter().all(|fault| fault.problem.contains("no signature")), "{alone:?}");

    let removed = files[2].clone();
    let hidden = removed.with_extension("away");
    std::fs::rename(&removed, &hidden).unwrap();
    assert!(place.check().faults[0].problem.contains("missing before it"));
    std::fs::rename(&hidden, &removed).unwrap();

    // All that is full is old now.
    place.write(Turns { keep: Some(0), ..SMALL }, 1);
    let found = place.check();
    assert_eq!(found.faults, [], "{found:?}");
    assert!(found.first.as_ref().unwrap().seq > 1 && found.notes[0].contains("keep_days"), "{found:?}");
    assert!(files_in(&place.path()).unwrap().len() <= 2);
}

#[test]
fn what_cannot_be_written_waits_and_is_told_of() {
    let place = Place::new();
    // A file where the folder should be.
    std::fs::write(place.path(), "x").unwrap();
    let mut config = AuditConfig::in_folder(place.path());
    config.required = true;
    let audit = Audit::start_with(&config, &place.identity, LARGE).unwrap();
    assert!(!audit.tell_and_wait(&entry(1)));
    assert!(!audit.is_sound() && !audit.takes_work());
    std::fs::remove_file(place.path()).unwrap();
    let since = Stopwatch::start();
    while !audit.is_sound() {
        assert!(since.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(audit.takes_work() && audit.tell_and_wait(&entry(2)));
    audit.close();
    assert_eq!(events(&place.log()), ["job-retried", "checkpoint", "job-retried", "checkpoint"]);
    assert!(!audit.tell_and_wait(&entry(3)), "it is over");
}

#[test]
fn what_finds_no_room_is_counted() {
    let place = Place::new();
    std::fs::write(place.path(), "x").unwrap();
    let audit = place.open(Turns { bytes: 1 << 30, ..LARGE });
    for job in 0..20_010 {
        audit.tell(&entry(job));
    }
    assert_eq!(audit.lost(), 10);
    std::fs::remove_file(place.path()).unwrap();
    while !audit.is_sound() {
        std::thread::sleep(Duration::from_millis(20));
    }
    audit.close();
    let lost = events(&place.log()).iter().filter(|event| *event == "lost").count();
    assert_eq!(lost, 1);
    assert!(place.check().notes[0].contains("10 records could not be kept"));
}

#[test]
fn strangers_are_written_down_up_to_a_number() {
    let place = Place::new();
    let audit = place.open(LARGE);
    let stranger = Entry::new(Actor::Stranger { key: None }, Event::Session { address: "192.0.2.1:5".to_owned() });
    for _ in 0..100 {
        audit.tell_stranger(&stranger.clone().refused("unknown"));
    }
    audit.close();
    let text = std::fs::read_to_string(place.log()).unwrap();
    assert_eq!(text.matches("\"event\":\"session\"").count(), 60);
    assert!(text.contains("\"event\":\"sessions-refused\",\"count\":40"), "{text}");
}

#[test]
fn no_audit_is_kept_where_none_is_wanted() {
    let place = Place::new();
    let mut config = AuditConfig::in_folder(place.path());
    config.enabled = false;
    let audit = Audit::start(&config, &place.identity).unwrap();
    assert!(audit.tell_and_wait(&entry(1)) && audit.takes_work() && audit.is_sound());
    audit.close();
    assert!(!place.path().exists());
}
