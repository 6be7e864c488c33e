//! PackBits as PS3.5 annex G.3 has it: packets of literal bytes and of one repeated byte.
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
    /// Equal bytes from which on they are repeated.
    run_min: usize,
    /// What a run leaves over after packets of 128 that is shorter than `run_min`.
    rest: Rest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// It is a literal packet of its own.
    Alone,
    /// It begins the literal packet that follows.
    Joins,
    /// It is repeated all the same.
    Repeated,
}

/// Numbered from 1 in payloads: never changed, only added to.
pub(super) const WAYS: [Way; 8] = [
    Way { by_rows: true, run_min: 2, rest: Rest::Alone },
    Way { by_rows: true, run_min: 3, rest: Rest::Joins },
    Way { by_rows: true, run_min: 2, rest: Rest::Joins },
    Way { by_rows: true, run_min: 3, rest: Rest::Repeated },
    Way { by_rows: false, run_min: 2, rest: Rest::Alone },
    Way { by_rows: false, run_min: 3, rest: Rest::Joins },
    Way { by_rows: false, run_min: 2, rest: Rest::Joins },
    Way { by_rows: false, run_min: 3, rest: Rest::Repeated },
];

impl Way {
    /// The first bytes of all packets.
    pub(super) fn firsts(&self, plane: &[u8], columns: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(plane.len() / 16);
        let row = if self.by_rows { columns.max(1) } else { plane.len().max(1) };
        plane.chunks(row).for_each(|row| self.row(row, &mut out));
        out
    }

    fn row(&self, row: &[u8], out: &mut Vec<u8>) {
        let mut literal = 0;
        for run in row.chunk_by(|a, b| a == b) {
            if run.len() < self.run_min {
                literal += run.len();
                continue;
            }
            put_literal(&mut literal, out);
            let (full, rest) = (run.len() / PACKET_MAX, run.len() % PACKET_MAX);
            out.extend(std::iter::repeat_n(first_of_run(PACKET_MAX), full));
            match self.rest {
                _ if rest == 0 => {}
                _ if rest >= self.run_min => out.push(first_of_run(rest)),
                Rest::Repeated if rest > 1 => out.push(first_of_run(rest)),
                Rest::Joins => literal = rest,
                Rest::Alone | Rest::Repeated => put_literal(&mut { rest }, out),
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
