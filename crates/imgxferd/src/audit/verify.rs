//! Checks the chain and its signatures, and says where they break.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use blake3::Hash;
use imgxfer_core::ids::PeerId;

use super::files::CURRENT;
use super::line::{Bad, GENESIS, Lines, Record, parse};
use super::seal::{Seal, read_head};

/// Where something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// The line in it, from 1; `None` where it is about a whole file or its end.
    pub line: Option<u64>,
    /// The record's number as it states it, where it states one.
    pub seq: Option<u64>,
    /// What is wrong.
    pub problem: String,
}

/// A record with its place and time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mark {
    /// The file.
    pub file: PathBuf,
    /// The line in it, from 1.
    pub line: u64,
    /// The record's number.
    pub seq: u64,
    /// Its time, RFC 3339, UTC.
    pub time: String,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Verified {
    /// Records read.
    pub records: u64,
    /// The first of them.
    pub first: Option<Mark>,
    /// The last of them.
    pub last: Option<Mark>,
    /// The last record before the first fault that a signature is about: everything up to it is what the signer wrote.
    pub signed: Option<Mark>,
    /// Whose signatures were found, by the order in which they were.
    pub signers: Vec<PeerId>,
    /// What is wrong, in the order of the files; no more than [`FAULTS_MAX`].
    pub faults: Vec<Fault>,
    /// The line from which on the files are to be doubted, where something is wrong.
    pub doubted_from: Option<Mark>,
    /// What is worth knowing and no fault.
    pub notes: Vec<String>,
}

/// Faults that are told; what lies behind so many is not looked at one by one.
pub const FAULTS_MAX: usize = 100;

struct Check<'a> {
    keys: &'a [PeerId],
    out: Verified,
    link: Option<(u64, Hash)>,
    /// Number and hash of the record before the first; `None` when the chain begins with its first.
    before_first: Option<(u64, Hash)>,
    pruned: Vec<(u64, String)>,
    head: Option<Seal>,
    /// What the signature beside the file is about was met, and was it.
    head_met: Option<bool>,
    /// The record behind the last one that was signed for.
    behind_signed: Option<Mark>,
    place: (PathBuf, u64),
}

/// Checks files in the order in which they are given, which must be that of their records, as [`super::files_in`] gives
/// them. With the folder of the file that is written to, the signature beside it is checked too. Signatures must be by
/// one of `keys`; without keys, by anybody, who is told.
///
/// # Errors
/// When a file cannot be read.
pub fn verify(files: &[PathBuf], head_in: Option<&Path>, keys: &[PeerId]) -> io::Result<Verified> {
    let mut check = Check {
        keys,
        out: Verified::default(),
        link: None,
        before_first: None,
        pruned: Vec::new(),
        head: None,
        head_met: None,
        behind_signed: None,
        place: Default::default(),
    };
    // Before the files: these may grow meanwhile.
    check.read_head(head_in)?;
    for file in files {
        check.file(file)?;
    }
    check.end(head_in.is_some());
    Ok(check.out)
}

impl Check<'_> {
    fn fault(&mut self, line: Option<u64>, seq: Option<u64>, problem: impl Into<String>) {
        if self.out.doubted_from.is_none() && line.is_some() {
            let here =
                Mark { file: self.place.0.clone(), line: self.place.1, seq: seq.unwrap_or(0), time: String::new() };
            // Without a signature nothing before it is proven either.
            let from = self.behind_signed.as_ref().or(self.out.first.as_ref());
            self.out.doubted_from = Some(from.cloned().unwrap_or(here));
        }
        if self.out.faults.len() < FAULTS_MAX {
            self.out.faults.push(Fault { file: self.place.0.clone(), line, seq, problem: problem.into() });
        }
    }

    fn here(&mut self, seq: Option<u64>, problem: impl Into<String>) {
        self.fault(Some(self.place.1), seq, problem);
    }

    fn read_head(&mut self, folder: Option<&Path>) -> io::Result<()> {
        let Some(folder) = folder else { return Ok(()) };
        self.place = (folder.join(super::seal::HEAD), 0);
        match read_head(folder) {
            Ok(Some(head)) => match head.signer() {
                Some(signer) if self.is_known(signer) => self.head = Some(head),
                Some(signer) => self.fault(None, None, foreign(signer)),
                None => self.fault(None, None, "the signature does not hold"),
            },
            Ok(None) => self.fault(None, None, "is missing: whether records were cut off the end cannot be told"),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.fault(None, None, "cannot be read: whether records were cut off the end cannot be told");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// No line was wrong.
    fn holds_so_far(&self) -> bool {
        self.out.faults.iter().all(|fault| fault.line.is_none())
    }

    fn is_known(&self, signer: PeerId) -> bool {
        self.keys.is_empty() || self.keys.contains(&signer)
    }

    fn file(&mut self, path: &Path) -> io::Result<()> {
        self.place = (path.to_owned(), 0);
        let mut lines = Lines::new(BufReader::with_capacity(1 << 16, File::open(path)?));
        while let Some(line) = lines.next_line()? {
            self.place.1 += 1;
            if !line.whole {
                let is_current = path.file_name().is_some_and(|name| name == CURRENT);
                if is_current {
                    let note = "the last line is not whole: it is being written, or was torn by a crash";
                    self.out.notes.push(note.to_owned());
                } else {
                    self.here(None, "the file ends within a line");
                }
                break;
            }
            match parse(&line.bytes) {
                Ok(record) => self.record(&record, true),
                Err(Bad::Changed(record)) => {
                    self.here(Some(record.seq()), "its content was changed: it is not what its hash says");
                    self.record(&record, false);
                }
                Err(Bad::Form) => {
                    self.here(None, "is no record");
                    self.link = None;
                }
            }
        }
        Ok(())
    }

    fn record(&mut self, record: &Record, sound: bool) {
        let seq = record.seq();
        let mark = Mark { file: self.place.0.clone(), line: self.place.1, seq, time: record.text("time").to_owned() };
        self.out.records += 1;
        match self.link {
            Some(link) => self.follows(record, link),
            None if self.out.first.is_none() && (seq != 1 || record.prev != GENESIS) => {
                self.before_first = Some((seq.saturating_sub(1), record.prev));
            }
            None => {}
        }
        self.out.first.get_or_insert_with(|| mark.clone());
        self.link = Some((seq, record.hash));
        if sound {
            self.look_into(record, &mark);
        }
        if self.head.as_ref().is_some_and(|head| head.through == seq) {
            self.head_met = self.head.as_ref().map(|head| head.hash() == Some(record.hash));
            if sound && self.head_met == Some(true) && self.holds_so_far() {
                (self.out.signed, self.behind_signed) = (Some(mark.clone()), Some(mark.clone()));
            }
        }
        self.out.last = Some(mark);
    }

    fn follows(&mut self, record: &Record, (last, hash): (u64, Hash)) {
        let seq = record.seq();
        let follows = record.prev == hash;
        let problem = match (follows, seq) {
            (true, seq) if seq == last + 1 => return,
            (true, _) => format!("its number is {seq} where {} belongs", last + 1),
            (false, seq) if seq == last + 2 => format!("record {} is missing before it", last + 1),
            (false, seq) if seq > last + 2 => format!("records {} to {} are missing before it", last + 1, seq - 1),
            (false, seq) if seq == last + 1 => {
                "it does not follow the line before: one of the two is another".to_owned()
            }
            (false, _) => format!("record {seq} stands behind record {last}: lines were put in, or exchanged"),
        };
        self.here(Some(seq), problem);
    }

    /// Records that the chain is about itself.
    fn look_into(&mut self, record: &Record, mark: &Mark) {
        let at = |words: &str| format!("record {}: {words}", mark.seq);
        match record.text("event") {
            "checkpoint" => self.checkpoint(record, mark),
            "pruned" => {
                let through = record.number("through").unwrap_or(0);
                self.pruned.push((through, record.text("through_hash").to_owned()));
            }
            "torn" => {
                let note = format!("a torn end of {} bytes was set aside", record.number("bytes").unwrap_or(0));
                self.out.notes.push(at(&note));
            }
            "lost" => {
                let note = format!("{} records could not be kept", record.number("records").unwrap_or(0));
                self.out.notes.push(at(&note));
            }
            "identity-changed" => {
                let (before, identity) = (record.text("before"), record.text("identity"));
                let note = format!("the site's key was {before} up to here, and is {identity} from here on");
                self.out.notes.push(at(&note));
            }
            "doubt" => {
                let problem = format!("here the daemon found at its start: {}", record.text("about"));
                self.here(Some(mark.seq), problem);
            }
            _ => {}
        }
    }

    fn checkpoint(&mut self, record: &Record, mark: &Mark) {
        let seal = Seal::of(record).filter(|seal| seal.through + 1 == record.seq() && seal.hash() == Some(record.prev));
        let Some(signer) = seal.as_ref().and_then(Seal::signer) else {
            return self.here(Some(mark.seq), "the signature does not hold");
        };
        if !self.out.signers.contains(&signer) {
            self.out.signers.push(signer);
        }
        if !self.is_known(signer) {
            return self.here(Some(mark.seq), foreign(signer));
        }
        if self.holds_so_far() {
            self.out.signed.clone_from(&self.out.last);
            self.behind_signed = Some(mark.clone());
        }
    }

    /// What only the whole tells.
    fn end(&mut self, whole: bool) {
        let last = self.out.last.as_ref().map_or(0, |mark| mark.seq);
        if let Some((seq, prev)) = self.before_first {
            let is_pruned =
                self.pruned.iter().any(|(through, hash)| *through == seq && *hash == prev.to_hex().as_str());
            if is_pruned {
                self.out.notes.push(format!("records up to {seq} were removed because of their age (keep_days)"));
            } else if whole {
                self.place =
                    self.out.first.as_ref().map_or_else(Default::default, |mark| (mark.file.clone(), mark.line));
                self.here(
                    Some(seq + 1),
                    "records before it are missing: the chain should begin with 1, or say why not",
                );
            } else {
                self.out
                    .notes
                    .push(format!("the first record here is {}; what was before it is not looked at", seq + 1));
            }
        }
        let through = self.head.as_ref().map(|head| head.through);
        if let Some(through) = through {
            self.place.0 = self.out.last.as_ref().map_or_else(|| self.place.0.clone(), |mark| mark.file.clone());
            if through > last {
                let cut = through - last;
                self.fault(
                    None,
                    None,
                    format!("the last {cut} records are missing: the signed head is record {through}"),
                );
            } else if self.head_met != Some(true) && self.out.first.as_ref().is_some_and(|first| first.seq <= through) {
                self.fault(
                    None,
                    Some(through),
                    format!("record {through} is not the one that the signed head is about"),
                );
            }
        }
        if self.out.records > 0 && self.out.signers.is_empty() {
            self.fault(None, None, "there is no signature: nothing shows that a site of yours wrote this");
        }
    }
}

fn foreign(signer: PeerId) -> String {
    format!("signed by another key, {}: if it was this site's, name it with --key", signer.fingerprint())
}
