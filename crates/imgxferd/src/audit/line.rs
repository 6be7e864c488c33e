//! The form of a record: one line of JSON, whose last field is the hash of all that stands before it in the line.
//!
//! The first field is the hash of the record before. So each hash covers every record up to its own.

use std::io::{self, BufRead};

use blake3::Hash;
use serde_json::{Map, Value};

/// Longest line that is read, in bytes: a transfer of 50,000 studies has 3.4 MB.
pub(super) const LINE_BYTES_MAX: usize = 8 << 20;

/// What stands between content and hash.
const HASH_FIELD: &str = ",\"hash\":\"";
/// Bytes of the hash and what is around it.
const HASH_BYTES: usize = HASH_FIELD.len() + 64 + 2;

/// What stands before the first record.
pub(super) const GENESIS: Hash = Hash::from_bytes([0; 32]);

/// Makes a line, with its end, of a record's text; returns its hash.
pub(super) fn make(out: &mut Vec<u8>, prev: &Hash, seq: u64, text: &str) -> Hash {
    let start = out.len();
    let inner = text.trim_start_matches('{').strip_suffix('}').unwrap_or_default();
    out.extend_from_slice(format!("{{\"prev\":\"{}\",\"seq\":{seq},{inner}", prev.to_hex()).as_bytes());
    let hash = blake3::hash(&out[start..]);
    out.extend_from_slice(format!("{HASH_FIELD}{}\"}}\n", hash.to_hex()).as_bytes());
    hash
}

/// One record as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    seq: u64,
    pub(super) prev: Hash,
    pub(super) hash: Hash,
    fields: Map<String, Value>,
}

impl Record {
    /// Its number, from 1.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// A field that is a text; empty when there is none.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A field that is a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.fields.get(name).and_then(Value::as_u64)
    }

    /// All fields.
    #[must_use]
    pub const fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }
}

/// Why a line is no record.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Bad {
    /// Not of this form at all.
    Form,
    /// Its content is not what its hash says; what it states all the same.
    Changed(Box<Record>),
}

/// Reads a line without its end.
pub(super) fn parse(line: &[u8]) -> Result<Record, Bad> {
    let (content, rest) = line.len().checked_sub(HASH_BYTES).map(|at| line.split_at(at)).ok_or(Bad::Form)?;
    let hex = rest.strip_prefix(HASH_FIELD.as_bytes()).and_then(|rest| rest.strip_suffix(b"\"}")).ok_or(Bad::Form)?;
    let hash = Hash::from_hex(hex).map_err(|_| Bad::Form)?;
    let fields: Map<String, Value> = serde_json::from_slice(line).map_err(|_| Bad::Form)?;
    let prev = fields.get("prev").and_then(Value::as_str).and_then(|hex| Hash::from_hex(hex).ok()).ok_or(Bad::Form)?;
    let seq = fields.get("seq").and_then(Value::as_u64).ok_or(Bad::Form)?;
    let record = Record { seq, prev, hash, fields };
    if blake3::hash(content) == hash { Ok(record) } else { Err(Bad::Changed(Box::new(record))) }
}

/// Lines of a file with their places.
#[derive(Debug)]
pub(super) struct Lines<R> {
    from: R,
    /// Where the next line begins.
    pub(super) offset: u64,
}

/// One line of a file.
#[derive(Debug, Default)]
pub(super) struct RawLine {
    /// Where it begins.
    pub(super) offset: u64,
    /// Its bytes without its end; no more than [`LINE_BYTES_MAX`].
    pub(super) bytes: Vec<u8>,
    /// Whether its end is there.
    pub(super) whole: bool,
}

impl<R: BufRead> Lines<R> {
    pub(super) const fn new(from: R) -> Self {
        Self { from, offset: 0 }
    }

    /// The next line; `None` at the end.
    pub(super) fn next_line(&mut self) -> io::Result<Option<RawLine>> {
        let mut line = RawLine { offset: self.offset, ..RawLine::default() };
        loop {
            let available = match self.from.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if available.is_empty() {
                return Ok((line.offset < self.offset).then_some(line));
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(available.len(), |end| end + 1);
            let room = LINE_BYTES_MAX.saturating_sub(line.bytes.len());
            line.bytes.extend_from_slice(&available[..end.unwrap_or(taken).min(room)]);
            self.from.consume(taken);
            self.offset += imgxfer_core::units::to_u64(taken);
            if end.is_some() {
                line.whole = true;
                return Ok(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_and_each_flipped_byte_is_found() {
        let mut out = Vec::new();
        let hash = make(&mut out, &GENESIS, 1, "{\"event\":\"x\",\"n\":5}");
        assert_eq!(out.pop(), Some(b'\n'));
        let record = parse(&out).unwrap();
        assert_eq!((record.seq(), record.hash, record.prev, record.text("event")), (1, hash, GENESIS, "x"));
        assert_eq!((record.number("n"), record.number("event")), (Some(5), None));
        for at in 0..out.len() {
            let mut spoilt = out.clone();
            spoilt[at] ^= 1;
            assert!(parse(&spoilt).is_err(), "byte {at}");
        }
        for cut in 0..out.len() {
            assert_eq!(parse(&out[..cut]), Err(Bad::Form));
        }
    }

    #[test]
    fn lines_have_places() {
        let text = b"ab\n\ncd";
        for buffer in [1, 2, 64] {
            let mut lines = Lines::new(io::BufReader::with_capacity(buffer, &text[..]));
            let mut found = Vec::new();
            while let Some(line) = lines.next_line().unwrap() {
                found.push((line.offset, line.bytes, line.whole));
            }
            assert_eq!(found, [(0, b"ab".to_vec(), true), (3, Vec::new(), true), (4, b"cd".to_vec(), false)]);
        }
    }
}
