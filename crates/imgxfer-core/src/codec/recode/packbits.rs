//! `PackBits` as PS3.5 annex G.3 has it: packets of literal bytes and of one repeated byte.
//!
//! A packet's first byte says which: up to 127 for that many bytes and one more, from 129 for a byte to be
//! repeated 257 less that many times; 128 is no packet. With the first bytes of all packets and what they
//! unpack to, the packets are known.

use super::cursor::MALFORMED;
use crate::codec::CodecError;

const PACKET_MAX: usize = 128;

/// Bytes that a packet stands for, and bytes that follow its first.
fn meaning(first: u8) -> (usize, usize) {
    match first {
        0..=127 => (usize::from(first) + 1, usize::from(first) + 1),
        128 => (0, 0),
        129.. => (257 - usize::from(first), 1),
    }
}

/// A segment taken apart.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    pub(super) plane: Vec<u8>,
    /// The first bytes of all packets.
    pub(super) firsts: Vec<u8>,
    /// Bytes of the segment that the packets took.
    pub(super) used: usize,
}

/// Bytes that the whole packets of a segment unpack to; 0 when that is more than `max`.
pub(super) fn unpacked_len(segment: &[u8], max: usize) -> usize {
    let (mut at, mut len) = (0, 0);
    while let Some(first) = segment.get(at) {
        let (gives, follow) = meaning(*first);
        at += 1 + follow;
        if at > segment.len() {
            break;
        }
        len += gives;
    }
    if len > max { 0 } else { len }
}

/// Unpacks exactly `len` bytes.
pub(super) fn unpack(segment: &[u8], len: usize) -> Option<Unpacked> {
    let mut out = Unpacked { plane: Vec::with_capacity(len), ..Unpacked::default() };
    while out.plane.len() < len {
        let first = *segment.get(out.used)?;
        let (gives, follow) = meaning(first);
        let body = segment.get(out.used + 1..out.used + 1 + follow)?;
        match body {
            [value] => out.plane.resize(out.plane.len() + gives, *value),
            body => out.plane.extend_from_slice(body),
        }
        out.firsts.push(first);
        out.used += 1 + follow;
    }
    (out.plane.len() == len).then_some(out)
}

/// Appends the packets that begin with `firsts` and unpack to `plane`.
pub(super) fn pack(plane: &[u8], firsts: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut rest = plane;
    for first in firsts {
        let (gives, follow) = meaning(*first);
        let (bytes, behind) = rest.split_at_checked(gives).ok_or(MALFORMED)?;
        out.push(*first);
        out.extend_from_slice(&bytes[..follow]);
        rest = behind;
    }
    if rest.is_empty() { Ok(()) } else { Err(MALFORMED) }
}

/// A usual way of encoding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// Whether packets end with each row, as the standard wants it.
    by_rows: bool,
    /// Equal bytes from which on they are repeated: behind a repeated byte, behind a literal one, and
    /// where they are the last of the row.
    least: [usize; 3],
    /// Whether what a run leaves over after packets of 128 is a packet of its own, however short; else it
    /// is like any run.
    rest_apart: bool,
}

impl Way {
    const fn new(by_rows: bool, least: [usize; 3], rest_apart: bool) -> Self {
        Self { by_rows, least, rest_apart }
    }
}

/// Numbered from 1 in payloads: never changed, only added to. The first is pydicom's, the second DCMTK's.
pub(super) const WAYS: [Way; 12] = [
    Way::new(true, [2, 2, 2], true),
    Way::new(true, [3, 3, 2], true),
    Way::new(true, [2, 3, 2], false),
    Way::new(true, [3, 3, 3], false),
    Way::new(true, [2, 2, 2], false),
    Way::new(true, [2, 3, 3], false),
    Way::new(false, [2, 2, 2], true),
    Way::new(false, [3, 3, 2], true),
    Way::new(false, [2, 3, 2], false),
    Way::new(false, [3, 3, 3], false),
    Way::new(false, [2, 2, 2], false),
    Way::new(false, [2, 3, 3], false),
];

impl Way {
    /// The first bytes of all packets.
    pub(super) fn firsts(&self, plane: &[u8], columns: usize) -> Vec<u8> {
        let mut out = Vec::new();
        self.rows(plane, columns).for_each(|row| self.row(row, &mut out));
        out
    }

    /// Whether these are the first bytes of all packets.
    pub(super) fn gives(&self, plane: &[u8], columns: usize, firsts: &[u8]) -> bool {
        if !self.by_rows && !self.gives_beginning(plane, firsts) {
            return false;
        }
        let mut of_row = Vec::new();
        let mut rest = firsts;
        for row in self.rows(plane, columns) {
            of_row.clear();
            self.row(row, &mut of_row);
            let Some(behind) = rest.strip_prefix(of_row.as_slice()) else { return false };
            rest = behind;
        }
        rest.is_empty()
    }

    /// Whether a little of the plane gives the beginning of these: most ways are ruled out by that. The
    /// last packets of it would be others if it went on.
    fn gives_beginning(&self, plane: &[u8], firsts: &[u8]) -> bool {
        const LITTLE: usize = 4 << 10;
        const LAST_PACKETS: usize = 4;
        let beginning = self.firsts(&plane[..plane.len().min(LITTLE)], LITTLE);
        firsts.starts_with(&beginning[..beginning.len().saturating_sub(LAST_PACKETS)])
    }

    fn rows<'a>(&self, plane: &'a [u8], columns: usize) -> std::slice::Chunks<'a, u8> {
        plane.chunks(if self.by_rows { columns } else { plane.len() }.max(1))
    }

    fn row(&self, row: &[u8], out: &mut Vec<u8>) {
        let mut literal = 0;
        let mut done = 0;
        for run in row.chunk_by(|a, b| a == b) {
            done += run.len();
            let (full, rest) = (run.len() / PACKET_MAX, run.len() % PACKET_MAX);
            if full > 0 {
                put_literal(&mut literal, out);
                out.extend(std::iter::repeat_n(first_of_run(PACKET_MAX), full));
                if self.rest_apart && rest == 1 {
                    put_literal(&mut { rest }, out);
                    continue;
                }
            }
            let [behind_run, behind_literal, last] = self.least;
            let least = match (done == row.len(), literal) {
                _ if self.rest_apart && full > 0 => 2,
                (true, _) => last,
                (false, 0) => behind_run,
                (false, _) => behind_literal,
            };
            if rest < least {
                literal += rest;
            } else {
                put_literal(&mut literal, out);
                out.push(first_of_run(rest));
            }
        }
        put_literal(&mut literal, out);
    }
}

fn first_of_run(len: usize) -> u8 {
    u8::try_from(257 - len).unwrap_or(128)
}

/// Literal packets for `len` bytes, which is 0 then.
fn put_literal(len: &mut usize, out: &mut Vec<u8>) {
    while *len > 0 {
        let packet = (*len).min(PACKET_MAX);
        out.push(u8::try_from(packet - 1).unwrap_or(127));
        *len -= packet;
    }
}

/// Where packets end.
#[derive(Debug)]
pub(super) struct Ends(Vec<bool>);

impl Ends {
    pub(super) fn of(firsts: &[u8], len: usize) -> Self {
        let mut ends = vec![false; len + 1];
        let mut at = 0;
        for first in firsts {
            at += meaning(*first).0;
            if let Some(end) = ends.get_mut(at) {
                *end = true;
            }
        }
        Self(ends)
    }

    pub(super) fn has_all_multiples(&self, n: usize) -> bool {
        self.0.iter().step_by(n).skip(1).all(|end| *end)
    }
}
