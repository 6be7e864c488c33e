//! The files as the writer has them: opened and looked over at the start, appended to, begun anew when full, removed when old.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use blake3::Hash;
use imgxfer_core::ids::PeerId;
use imgxfer_core::units::to_u64;

use super::event::Event;
use super::files::{CURRENT, full, last_record, name_of};
use super::line::{Bad, GENESIS, Lines, RawLine, Record, parse};
use super::seal::{Seal, read_head};
use crate::files;

/// When another file is begun, and how long full ones are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turns {
    /// Bytes.
    pub(super) bytes: u64,
    /// Age of the first record, seconds.
    pub(super) age: i64,
    /// Age of the last record, seconds; `None` for ever.
    pub(super) keep: Option<i64>,
}

/// Where the chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) seq: u64,
    pub(super) hash: Hash,
}

impl End {
    const NONE: Self = Self { seq: 0, hash: GENESIS };

    fn of(record: &Record) -> Self {
        Self { seq: record.seq(), hash: record.hash }
    }
}

/// The file that is written to.
#[derive(Debug)]
pub(super) struct Book {
    folder: PathBuf,
    file: File,
    /// Held as long as this lives.
    _lock: File,
    /// Bytes that are durable.
    len: u64,
    /// Number and time, in seconds since 1970, of the first record of this file.
    first: Option<(u64, i64)>,
    pub(super) end: End,
    turns: Turns,
}

/// Seconds since 1970 of a record.
fn seconds_of(record: &Record) -> i64 {
    record.text("time").parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second)
}

/// What a look over the file that was written to last has found.
#[derive(Debug, Default)]
struct Looked {
    first: Option<(u64, i64)>,
    end: Option<End>,
    /// Bytes of sound records at the beginning.
    sound: u64,
    /// The end is torn from here on: nothing behind it is a record.
    torn: bool,
    /// In words, what a loss of power does not explain.
    doubt: Option<String>,
    /// The hash of the record that the signature beside the file is about.
    head_hash: Option<Hash>,
}

impl Looked {
    /// A record as it should be.
    fn take(&mut self, record: &Record, line: &RawLine, head: u64) {
        self.first.get_or_insert_with(|| (record.seq(), seconds_of(record)));
        self.end = Some(End::of(record));
        self.sound = line.offset + to_u64(line.bytes.len()) + 1;
        if record.seq() == head {
            self.head_hash = Some(record.hash);
        }
    }
}

/// Reads a file from end to end. Links to the record before its first are not looked at.
fn look_over(file: &File, head: u64) -> io::Result<Looked> {
    let mut looked = Looked::default();
    let mut lines = Lines::new(BufReader::with_capacity(1 << 16, file));
    while let Some(line) = lines.next_line()? {
        let parsed = if line.whole { parse(&line.bytes) } else { Err(Bad::Form) };
        let broken = looked.torn || looked.doubt.is_some();
        match parsed {
            Ok(record) => {
                let follows = looked.end.is_none_or(|end| record.prev == end.hash && record.seq() == end.seq + 1);
                if looked.torn || (!follows && !broken) {
                    let words = format!("record {} does not follow the one before it", record.seq());
                    (looked.torn, looked.doubt) = (false, Some(words));
                }
                if looked.doubt.is_some() {
                    // The chain goes on behind the last record that holds by itself.
                    looked.end = Some(End::of(&record));
                } else {
                    looked.take(&record, &line, head);
                }
            }
            Err(Bad::Changed(record)) if !broken => {
                looked.doubt = Some(format!("record {} is not what its hash says", record.seq()));
            }
            Err(_) if looked.doubt.is_none() => looked.torn = true,
            Err(_) => {}
        }
    }
    Ok(looked)
}

/// What was found at the start, to be written into the chain.
pub(super) type Found = Vec<Event>;

impl Book {
    /// Opens the folder, and makes it where it is not there. A torn end is set aside; what a loss of power does not
    /// explain is left as it is, and another file begun. `me` is who writes now: where somebody else has signed what is
    /// there, and nothing else is wrong with it, this site has another key than before.
    pub(super) fn open(folder: &Path, turns: Turns, me: PeerId) -> io::Result<(Self, Found)> {
        files::private_folder(folder)?;
        let lock = lock(folder)?;
        let mut found = Found::new();
        let (head, of_head) = head_of(folder)?;
        let (head, signer) = head.unzip();
        let before = match full(folder)?.last() {
            Some((_, path)) => last_record(path)?.as_ref().map(End::of),
            None => None,
        };
        let file = open_current(folder)?;
        let mut looked = look_over(&file, head.as_ref().map_or(0, |head| head.through))?;
        if looked.torn {
            found.push(set_aside(folder, &file, looked.sound, looked.end.or(before).map_or(0, |end| end.seq))?);
        }
        let end = looked.end.or(before).unwrap_or(End::NONE);
        let in_this_file = looked.first.is_some_and(|(first, _)| head.as_ref().is_some_and(|h| h.through >= first));
        if looked.doubt.is_none() {
            looked.doubt = match &head {
                Some(head) if head.through > end.seq => Some(format!(
                    "records {} to {} are missing at the end: the signature beside the file is about them",
                    end.seq + 1,
                    head.through
                )),
                Some(head) if in_this_file && looked.head_hash != head.hash() => {
                    Some(format!("record {} is not the one that the signature beside the file is about", head.through))
                }
                None if end.seq > 0 => Some(of_head),
                _ => None,
            };
        }
        let mut book =
            Self { folder: folder.to_owned(), _lock: lock, len: looked.sound, file, first: looked.first, end, turns };
        if let Some(about) = looked.doubt {
            book.len = book.file.metadata()?.len();
            if book.len > 0 {
                book.turn()?;
            }
            found.push(Event::Doubt { about });
        } else if let Some(before) = signer.filter(|signer| *signer != me) {
            found.push(Event::IdentityChanged { before: before.fingerprint(), identity: me.fingerprint() });
        }
        Ok((book, found))
    }

    /// Appends records, the last of which is `end`: durable when this returns. On an error nothing is appended.
    pub(super) fn append(&mut self, lines: &[u8], end: End, now: i64) -> io::Result<()> {
        let write = || -> io::Result<()> {
            let mut file = &self.file;
            file.seek(SeekFrom::Start(self.len))?;
            file.write_all(lines)?;
            file.sync_data()
        };
        if let Err(error) = write() {
            // What is there in part must not stay; where even that fails, the next look over sets it aside.
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.first.get_or_insert((self.end.seq + 1, now));
        self.len += to_u64(lines.len());
        self.end = end;
        Ok(())
    }

    /// Whether another file is due.
    pub(super) fn is_full(&self, now: i64) -> bool {
        self.first.is_some_and(|(_, time)| self.len >= self.turns.bytes || now.saturating_sub(time) >= self.turns.age)
    }

    /// Begins another file.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        let first = self.first.map_or(self.end.seq, |(first, _)| first);
        let mut to = self.folder.join(name_of(first));
        // Only a file of which something is wrong can have a number that is taken.
        for more in 1.. {
            if !to.try_exists()? {
                break;
            }
            to = self.folder.join(name_of(first + more));
        }
        std::fs::rename(self.folder.join(CURRENT), to)?;
        self.file = open_current(&self.folder)?;
        files::sync_folder(&self.folder)?;
        (self.len, self.first) = (0, None);
        Ok(())
    }

    /// Full files that are older than they are kept, oldest first, with what is to be written down before they go.
    pub(super) fn old(&self, now: i64) -> io::Result<Vec<(PathBuf, Event)>> {
        let Some(keep) = self.turns.keep else { return Ok(Vec::new()) };
        let mut old = Vec::new();
        for (first, path) in full(&self.folder)? {
            let Some(last) = last_record(&path)? else { break };
            if now.saturating_sub(seconds_of(&last)) < keep {
                break;
            }
            let (through, through_hash) = (last.seq(), last.hash.to_hex().to_string());
            old.push((path, Event::Pruned { first, through, through_hash }));
        }
        Ok(old)
    }
}

/// The signature beside the file with who made it, where it holds, and in words what else is there.
fn head_of(folder: &Path) -> io::Result<(Option<(Seal, PeerId)>, String)> {
    let words = match read_head(folder) {
        Ok(Some(head)) => match head.signer() {
            Some(signer) => return Ok((Some((head, signer)), String::new())),
            None => "the signature beside the file does not hold",
        },
        Ok(None) => "the signature beside the file is missing",
        Err(error) if error.kind() == io::ErrorKind::InvalidData => "the signature beside the file cannot be read",
        Err(error) => return Err(error),
    };
    Ok((None, words.to_owned()))
}

/// Keeps a second daemon out.
fn lock(folder: &Path) -> io::Result<File> {
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another process writes this audit")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open_current(folder: &Path) -> io::Result<File> {
    let path = folder.join(CURRENT);
    let is_new = !path.try_exists()?;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if is_new {
        files::sync_folder(folder)?;
    }
    Ok(file)
}

/// Moves what stands behind `sound` to a file of its own.
fn set_aside(folder: &Path, file: &File, sound: u64, seq: u64) -> io::Result<Event> {
    let mut from = file;
    from.seek(SeekFrom::Start(sound))?;
    let mut bytes = Vec::new();
    from.take(TORN_BYTES_MAX).read_to_end(&mut bytes)?;
    let hash = blake3::hash(&bytes).to_hex();
    let name = format!("torn-{:020}-{}", seq + 1, &hash[..8]);
    files::write_private(&folder.join(&name), &bytes)?;
    file.set_len(sound)?;
    file.sync_all()?;
    tracing::warn!(bytes = bytes.len(), file = name, "the end of the audit was torn; it is set aside");
    Ok(Event::Torn { bytes: to_u64(bytes.len()), blake3: hash.to_string(), file: name })
}

/// What is kept of a torn end: a batch of records is smaller.
const TORN_BYTES_MAX: u64 = 64 << 20;
