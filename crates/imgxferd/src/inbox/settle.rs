//! When a study that arrives file by file is whole enough to be sent: a pure function of what was seen, and when.
//!
//! Order of calls, each time the folder was read: [`Settler::observe`] with everything in it;
//! [`Settler::to_classify`], and [`Settler::classify`] for each file it names; [`Settler::ready`], and
//! [`Settler::taken`] for what was put into a job.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use imgxfer_core::ids::StudyUid;

use crate::queue::Stamp;

/// What belongs together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Group {
    /// A study.
    Study(StudyUid),
    /// Files that are not DICOM, in one folder.
    Others(PathBuf),
}

/// What a file turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Part of this.
    In(Group),
    /// DICOM that cannot be taken: nobody knows to which study it belongs.
    Refused,
    /// Nothing that is sent; it may still become something while it grows.
    NotSent,
    /// It could not be read this time.
    Unreadable,
}

#[derive(Debug, Clone)]
struct Seen {
    stamp: Stamp,
    /// When this stamp was first seen.
    since: Duration,
    kind: Option<Kind>,
    /// It may be the beginning of a longer file.
    unfinished: bool,
    /// Some program had it open for writing when that was asked last.
    written: bool,
}

type Files = Vec<(PathBuf, Stamp)>;

/// A group that is ready, with its files.
pub(super) type Ready = (Group, Files);

/// Remembers what is in an inbox and not dealt with.
#[derive(Debug)]
pub(super) struct Settler {
    settle: Duration,
    hold: Duration,
    files: BTreeMap<PathBuf, Seen>,
}

impl Settler {
    /// Files are quiet `settle` after their last change; those that seem not to be written to their end, `hold`.
    pub(super) fn new(settle: Duration, hold: Duration) -> Self {
        Self { settle, hold: hold.max(settle), files: BTreeMap::new() }
    }

    /// Takes in what the folder holds at `now`, without what is known and unchanged.
    pub(super) fn observe(&mut self, now: Duration, listing: Vec<(PathBuf, Stamp)>) {
        let mut before = std::mem::take(&mut self.files);
        for (path, stamp) in listing {
            let seen = match before.remove(&path) {
                Some(seen) if seen.stamp == stamp => seen,
                _ => Seen { stamp, since: now, kind: None, unfinished: false, written: false },
            };
            self.files.insert(path, seen);
        }
    }

    /// Files whose present content has not been looked at. One that could not be read, or was nothing yet,
    /// is looked at again once it is quiet.
    pub(super) fn to_classify(&self) -> Vec<(PathBuf, Stamp)> {
        self.files
            .iter()
            .filter(|(_, seen)| seen.kind.is_none())
            .map(|(path, seen)| (path.clone(), seen.stamp))
            .collect()
    }

    /// Says what a file is, unless it has changed since.
    pub(super) fn classify(&mut self, path: &Path, stamp: Stamp, kind: Kind) {
        if let Some(seen) = self.files.get_mut(path)
            && seen.stamp == stamp
        {
            seen.kind = Some(kind);
        }
    }

    /// Marks a file that may be the beginning of a longer one.
    pub(super) fn unfinished(&mut self, path: &Path) {
        if let Some(seen) = self.files.get_mut(path) {
            seen.unfinished = true;
        }
    }

    /// Marks a file that a program has open for writing.
    pub(super) fn written(&mut self, path: &Path) {
        if let Some(seen) = self.files.get_mut(path) {
            seen.written = true;
        }
    }

    /// Files that are taken as they are because they were held for long enough.
    pub(super) fn held<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) -> usize {
        let held = |path: &&Path| self.files.get(*path).is_some_and(|seen| seen.unfinished || seen.written);
        paths.into_iter().filter(held).count()
    }

    fn rest(&self, seen: &Seen) -> Duration {
        if seen.unfinished || seen.written || seen.kind == Some(Kind::Refused) { self.hold } else { self.settle }
    }

    fn quiet(&self, seen: &Seen, now: Duration) -> bool {
        now.saturating_sub(seen.since) >= self.rest(seen)
    }

    /// Groups none of whose files has changed for the settling time, each file in order of its path. What is DICOM and
    /// cannot be taken belongs to what is beside it: it holds that, and goes with it to fail by name.
    pub(super) fn ready(&self, now: Duration) -> Vec<Ready> {
        let mut groups: HashMap<&Group, (bool, Files)> = HashMap::new();
        let mut alone = Files::new();
        for (path, seen) in &self.files {
            if let Some(Kind::In(group)) = &seen.kind {
                let (quiet, files) = groups.entry(group).or_insert((true, Vec::new()));
                *quiet &= self.quiet(seen, now);
                files.push((path.clone(), seen.stamp));
            }
        }
        for (path, seen) in self.files.iter().filter(|(_, seen)| seen.kind == Some(Kind::Refused)) {
            let folder = path.parent();
            let beside = |(file, _): &(PathBuf, Stamp)| file.parent() == folder;
            let mut beside: Vec<_> = groups.iter_mut().filter(|(_, (_, files))| files.iter().any(beside)).collect();
            beside.sort_by_key(|(group, _)| *group);
            let is_quiet = self.quiet(seen, now);
            beside.iter_mut().for_each(|(_, (quiet, _))| *quiet &= is_quiet);
            match beside.into_iter().next() {
                Some((_, (_, files))) => files.push((path.clone(), seen.stamp)),
                None if is_quiet => alone.push((path.clone(), seen.stamp)),
                None => {}
            }
        }
        let alone = alone
            .into_iter()
            .map(|file| (Group::Others(file.0.parent().unwrap_or_else(|| Path::new("")).to_owned()), vec![file]));
        let mut ready: Vec<Ready> = groups
            .into_iter()
            .filter(|(_, (quiet, _))| *quiet)
            .map(|(group, (_, files))| (group.clone(), files))
            .chain(alone)
            .collect();
        ready.sort();
        ready
    }

    /// Files that wait, those of them that hold their study, and those that cannot be taken.
    pub(super) fn counts(&self) -> [usize; 3] {
        let count = |of: fn(&Seen) -> bool| self.files.values().filter(|seen| of(seen)).count();
        [
            self.files.len(),
            count(|seen| seen.unfinished || seen.written),
            count(|seen| seen.kind == Some(Kind::Refused)),
        ]
    }

    /// Quiet files that are nothing to send.
    pub(super) fn rejected(&self, now: Duration) -> Vec<(PathBuf, Stamp)> {
        let rejected = |seen: &Seen| seen.kind == Some(Kind::NotSent) && self.quiet(seen, now);
        self.files.iter().filter(|(_, seen)| rejected(seen)).map(|(path, seen)| (path.clone(), seen.stamp)).collect()
    }

    /// Files that could not be read are looked at again, and who writes is asked anew.
    pub(super) fn look_again(&mut self) {
        for seen in self.files.values_mut() {
            seen.written = false;
            if seen.kind == Some(Kind::Unreadable) {
                seen.kind = None;
            }
        }
    }

    /// Forgets files that are in a job or set aside.
    pub(super) fn taken<'a>(&mut self, paths: impl IntoIterator<Item = &'a Path>) {
        for path in paths {
            self.files.remove(path);
        }
    }

    /// When, after `now`, something becomes quiet; `None` when nothing waits.
    pub(super) fn next_due(&self, now: Duration) -> Option<Duration> {
        let waits = self.files.values().filter(|seen| seen.kind != Some(Kind::Unreadable));
        waits.map(|seen| (seen.since + self.rest(seen)).saturating_sub(now)).filter(|wait| !wait.is_zero()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder in virtual time: seconds in, ready groups out.
    struct Table {
        settler: Settler,
        files: BTreeMap<PathBuf, (Stamp, Kind)>,
    }

    impl Table {
        fn new() -> Self {
            Self { settler: Settler::new(Duration::from_secs(10), Duration::from_secs(60)), files: BTreeMap::new() }
        }

        fn put(&mut self, path: &str, len: u64, kind: Kind) -> &mut Self {
            self.files.insert(path.into(), (Stamp { len, modified_ns: 0, inode: 0, changed_ns: 0 }, kind));
            self
        }

        fn at(&mut self, seconds: u64) -> Vec<(Group, Vec<String>)> {
            let now = Duration::from_secs(seconds);
            let listing = self.files.iter().map(|(path, (stamp, _))| (path.clone(), *stamp)).collect();
            self.settler.observe(now, listing);
            for (path, stamp) in self.settler.to_classify() {
                let kind = self.files[&path].1.clone();
                self.settler.classify(&path, stamp, kind);
            }
            let text = |files: Vec<(PathBuf, Stamp)>| files.into_iter().map(|(p, _)| p.display().to_string()).collect();
            self.settler.ready(now).into_iter().map(|(group, files)| (group, text(files))).collect()
        }
    }

    fn study(n: u32) -> Kind {
        Kind::In(group(n))
    }

    fn group(n: u32) -> Group {
        Group::Study(StudyUid::new(&format!("1.2.{n}")).unwrap())
    }

    #[test]
    fn a_quiet_study_is_ready_as_a_whole() {
        let mut table = Table::new();
        assert!(table.put("a", 1, study(1)).put("b", 1, study(1)).at(0).is_empty());
        assert!(table.at(9).is_empty());
        let ready = vec![(group(1), vec!["a".to_owned(), "b".to_owned()])];
        assert_eq!(table.at(10), ready);
        assert_eq!(table.at(11), ready, "ready until it is taken");
    }

    #[test]
    fn one_file_that_changes_holds_its_study_and_no_other() {
        let mut table = Table::new();
        table.put("a", 1, study(1)).put("b", 1, study(1)).put("c", 1, study(2)).at(0);
        table.put("b", 2, study(1)).at(5);
        assert_eq!(table.at(10), [(group(2), vec!["c".to_owned()])]);
        table.settler.taken([Path::new("c")]);
        table.files.remove(Path::new("c"));
        assert!(table.at(14).is_empty());
        assert_eq!(table.at(15).len(), 1);
    }

    #[test]
    fn an_unfinished_file_or_an_open_one_holds_its_study_for_so_long() {
        let mut table = Table::new();
        table.put("a", 1, study(1)).put("b", 1, study(1)).at(0);
        table.settler.unfinished(Path::new("b"));
        assert!(table.at(59).is_empty());
        assert_eq!(table.settler.next_due(Duration::from_secs(59)), Some(Duration::from_secs(1)));
        assert_eq!(table.at(60).len(), 1);
        assert_eq!(table.settler.held([Path::new("a"), Path::new("b")]), 1);
        table.put("b", 2, study(1));
        assert!(table.at(61).is_empty());
        assert_eq!(table.at(71).len(), 1, "it has grown, and ends where its elements do");
        table.settler.written(Path::new("a"));
        assert_eq!(table.at(71).len(), 1, "held for so long already");
        table.put("a", 2, study(1)).at(80);
        table.settler.written(Path::new("a"));
        assert!(table.at(100).is_empty());
        table.settler.look_again();
        assert_eq!(table.at(100).len(), 1, "it was closed");
    }

    #[test]
    fn a_file_that_arrives_late_holds_its_study() {
        let mut table = Table::new();
        table.put("a", 1, study(1)).at(0);
        table.put("b", 1, study(1)).at(9);
        assert!(table.at(18).is_empty());
        assert_eq!(table.at(19), [(group(1), vec!["a".to_owned(), "b".to_owned()])]);
        // What comes after the job was made is another job.
        table.settler.taken([Path::new("a"), Path::new("b")]);
        table.files.clear();
        table.put("c", 1, study(1)).at(20);
        assert_eq!(table.at(30), [(group(1), vec!["c".to_owned()])]);
    }

    #[test]
    fn a_file_that_vanishes_holds_nothing() {
        let mut table = Table::new();
        table.put("a", 1, study(1)).put("b", 1, study(1)).at(0);
        table.files.remove(Path::new("b"));
        assert_eq!(table.at(10), [(group(1), vec!["a".to_owned()])]);
    }

    #[test]
    fn what_cannot_be_taken_holds_what_is_beside_it_and_goes_with_it() {
        let mut table = Table::new();
        table.put("x/a", 1, study(1)).put("x/b", 1, Kind::Refused).put("y/c", 1, study(2)).put("z/d", 1, Kind::Refused);
        table.at(0);
        assert_eq!(table.settler.counts(), [4, 0, 2]);
        assert_eq!(table.at(10), [(group(2), vec!["y/c".to_owned()])], "what is beside it waits");
        assert!(table.settler.rejected(Duration::from_secs(59)).is_empty(), "nor is it set aside");
        let both = (group(1), vec!["x/a".to_owned(), "x/b".to_owned()]);
        let alone = (Group::Others("z".into()), vec!["z/d".to_owned()]);
        assert_eq!(table.at(60), [both, (group(2), vec!["y/c".to_owned()]), alone]);
        // Once it is gone, its study goes alone.
        table.files.remove(Path::new("x/b"));
        assert_eq!(table.at(61)[0], (group(1), vec!["x/a".to_owned()]));
    }

    #[test]
    fn what_is_no_dicom_is_set_aside_once_it_is_quiet() {
        let mut table = Table::new();
        table.put("a", 1, Kind::NotSent).at(0);
        assert!(table.settler.rejected(Duration::from_secs(9)).is_empty());
        // It was the beginning of a file that has grown into an instance.
        table.put("a", 9000, study(1)).at(9);
        assert!(table.settler.rejected(Duration::from_secs(19)).is_empty());
        assert_eq!(table.at(19).len(), 1);
        table.put("t", 1, Kind::NotSent).at(20);
        assert_eq!(table.settler.rejected(Duration::from_secs(30)).len(), 1);
        table.settler.taken([Path::new("t")]);
        assert!(table.settler.rejected(Duration::from_secs(30)).is_empty());
    }

    #[test]
    fn the_next_look_is_when_something_becomes_quiet() {
        let mut table = Table::new();
        assert_eq!(table.settler.next_due(Duration::ZERO), None);
        table.put("a", 1, study(1)).at(0);
        table.put("b", 1, study(1)).at(4);
        assert_eq!(table.settler.next_due(Duration::from_secs(4)), Some(Duration::from_secs(6)));
        assert_eq!(table.settler.next_due(Duration::from_secs(12)), Some(Duration::from_secs(2)));
    }

    #[test]
    fn what_cannot_be_read_is_looked_at_again() {
        let mut table = Table::new();
        table.put("a", 1, Kind::Unreadable).at(0);
        assert!(table.settler.to_classify().is_empty());
        assert_eq!(table.settler.next_due(Duration::ZERO), None);
        table.settler.look_again();
        assert_eq!(table.settler.to_classify().len(), 1);
    }
}
