//! Which level each record is compressed at.
//!
//! Levels differ a hundredfold in pace and an eighth in size, so trying them blindly would cost more than
//! it gains. The rule is a model with measured figures, asked anew for each record:
//!
//! 1. *What one level would move.* Original bytes a second are bounded by the line and by the workers:
//!    `min(line x ratio, workers x pace)`. Ratio and pace are measured for each kind of content from the
//!    records made ([`Costs`]); the line's rate from what the receiver says it has while some wait here ([`Line`]).
//!    The level for which this is most is the *base*. It rises only for 3 % and falls for anything, so it
//!    falls at once when the line starves; to no compression at all only for half as much again.
//! 2. *A record that would wait anyway may as well be smaller.* A worker that begins a record may take a
//!    level above the base if the line will not run dry meanwhile: what is ready, and what the other
//!    workers can make at the base level, must last until this record is done. So a full queue raises
//!    levels, an empty one returns to the base, and in between the two are mixed just as far as the
//!    processor has time to spare. On a line where the base is already the best, nothing rises.
//! 3. *Trials* follow rule 2: a level that is unknown, or has not been looked at for long, is given one
//!    record when that costs the line nothing, the next higher one first.
//!
//! The receiver must undo what is done here. At every level decoding takes no longer than encoding, so it
//! keeps up if no more workers here use the level than it has; it says how many that are when it accepts.
//! That is known before the first record, and needs no figures of another machine. (Backpressure would
//! tell, too, but only when its buffers of 32 MiB are full of what takes it a minute to decode.) How busy the
//! receiver is nothing tells, and it decodes what it stores once more to prove it: the slowest level is used
//! only with time in plenty.

mod costs;
mod line;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

use self::costs::Costs;
use self::line::{Line, LineRate};
use crate::codec::{Level, LevelChoice};
use crate::units::{to_f64, to_u64};

/// A higher level must promise this much to be used: it costs processor time, here and there, for ever.
const PAYS: f64 = 1.03;
/// What goes without compression costs processor time as well, here and there: every byte is encrypted, sent,
/// received and decrypted. So none at all must promise this much.
const STORE_PAYS: f64 = 1.5;
/// A level is mixed in only if it can take this share of the records; less is not worth the heat.
const SHARE_MIN: f64 = 0.1;
/// The level for copper saves some 6 % of the bytes for a hundred times the work, at both ends. It is used where both could
/// make all records at it so many times over: what is left is for a processor that others use, too, for reading
/// back what was written, and for the receiver's part of the last records, which nothing hides.
const COPPER_SHARE_MIN: f64 = 2.0;
/// A stored record is made anew only if it becomes this much smaller.
const RECODE: f64 = 1.05;

/// Kinds of content that compress differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Pixels whose shape is known.
    Native,
    /// Pixels that are compressed already, or of unknown shape.
    Encapsulated,
    /// All else.
    Opaque,
}

/// How much a record holds, and how much it takes on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct RecordSize {
    /// Original bytes.
    pub(super) raw_bytes: u64,
    /// Bytes of the record.
    pub(super) bytes: u64,
}

impl std::iter::Sum for RecordSize {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self::default(), |sum, size| Self {
            raw_bytes: sum.raw_bytes + size.raw_bytes,
            bytes: sum.bytes + size.bytes,
        })
    }
}

/// A record being made.
#[derive(Debug)]
pub(super) struct Making {
    number: u64,
    kind: Kind,
    more: bool,
    /// The level to make it at.
    pub(super) level: Level,
    /// A stored record is sent as it is if its ratio is this or better.
    pub(super) recode_below: f64,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    number: u64,
    kind: Kind,
    level: Level,
    done: Instant,
}

#[derive(Debug, Clone)]
struct Class {
    costs: Costs,
    base: Level,
}

/// Chooses levels for one transfer.
#[derive(Debug, Clone)]
pub(super) struct Chooser {
    choice: LevelChoice,
    /// Workers here.
    workers: usize,
    /// Workers at the other end.
    peer_workers: usize,
    line: Line,
    classes: [Class; 3],
    running: Vec<Running>,
    next: u64,
}

impl Chooser {
    /// For `workers` here; until the receiver has spoken, it is taken to have one.
    pub(super) fn new(choice: LevelChoice, workers: usize) -> Self {
        let class = Class { costs: Costs::default(), base: Level::FAST };
        let classes = [class.clone(), class.clone(), class];
        Self {
            choice,
            workers: workers.max(1),
            peer_workers: 1,
            line: Line::default(),
            classes,
            running: Vec::new(),
            next: 0,
        }
    }

    /// The receiver decodes with so many workers.
    pub(super) fn peer_workers(&mut self, workers: usize) {
        self.peer_workers = workers.max(1);
    }

    /// Whether it is time to make as much ahead as there is room for. Until the line is known, records made
    /// ahead are made blindly.
    pub(super) fn knows_line(&self) -> bool {
        self.line.rate().is_some_and(|rate| rate.is_measured)
    }

    /// What the transport holds for the line's rate, in bytes a second, and the round trip.
    pub(super) fn transport(&mut self, rate: f64, rtt: Duration) {
        self.line.transport(rate, rtt);
    }

    /// The transport has taken a record over.
    pub(super) fn taken(&mut self, bytes: u64) {
        self.line.taken(bytes);
    }

    /// The receiver has verified so many original bytes since the start.
    pub(super) fn received(&mut self, raw_bytes: u64, now: Instant) {
        self.line.received(raw_bytes, now);
    }

    /// The receiver asks for something again, since it arrived damaged.
    pub(super) fn again(&mut self, raw_bytes: u64, now: Instant) {
        self.line.again(raw_bytes, now);
    }

    /// A worker begins a record of `raw_bytes`; `queued_bytes` wait for one behind it.
    pub(super) fn begin(&mut self, kind: Kind, raw_bytes: u64, queued_bytes: u64, now: Instant) -> Making {
        let level = match self.choice {
            LevelChoice::Fixed(level) => level,
            LevelChoice::Auto => self.level(kind, raw_bytes, queued_bytes, now),
        };
        let costs = &self.classes[kind as usize].costs;
        let recode_below = match self.choice {
            LevelChoice::Fixed(_) => f64::INFINITY,
            LevelChoice::Auto if costs.is_measured() && costs.is_tried(level) => costs.ratio(level) / RECODE,
            // Nothing is known. While the line has enough to carry, trying costs nothing; before that, only
            // what is stored without compression is.
            LevelChoice::Auto if self.knows_line() => f64::INFINITY,
            LevelChoice::Auto => RECODE,
        };
        let time = if costs.is_measured() { costs.time(level, raw_bytes) } else { 0.0 };
        let number = self.next;
        self.next += 1;
        self.running.push(Running { number, kind, level, done: now + Duration::from_secs_f64(time.min(60.0)) });
        Making { number, kind, level, more: queued_bytes > 0, recode_below }
    }

    /// Records, original bytes and own ones, are made and ready. `took` is for those that were encoded, and
    /// not taken from a store.
    pub(super) fn made(&mut self, making: &Making, records: &[RecordSize], took: Option<Duration>, now: Instant) {
        self.running.retain(|running| running.number != making.number);
        records.iter().for_each(|record| self.line.made(*record, making.more, now));
        let Some(took) = took else { return };
        let Class { costs, base } = &mut self.classes[making.kind as usize];
        let sum: RecordSize = records.iter().copied().sum();
        costs.note(making.level, sum.raw_bytes, sum.bytes, took);
        if making.level > *base {
            if costs.ratio(making.level) >= PAYS * costs.ratio(*base) {
                costs.keep(making.level);
            } else {
                costs.postpone(making.level);
            }
        }
    }

    /// Records that no level was chosen for are ready: headers, which are always made alike.
    pub(super) fn made_aside(&mut self, records: &[RecordSize], now: Instant) {
        records.iter().for_each(|record| self.line.made(*record, false, now));
    }

    fn level(&mut self, kind: Kind, raw_bytes: u64, queued_bytes: u64, now: Instant) -> Level {
        let Some(LineRate { bytes_a_second: line, is_measured }) = self.line.rate() else {
            return self.classes[kind as usize].base;
        };
        if !self.classes[kind as usize].costs.is_measured() {
            return Level::FAST;
        }
        let base = self.settle_base(kind, line);
        let wanted = self.to_try(kind, base, line).or_else(|| self.next_better(kind, base, line));
        // A transport that has just begun thinks little of every line: no more than it costs little to be wrong.
        let wanted = wanted.filter(|level| is_measured || *level < Level::COPPER);
        let costs = &self.classes[kind as usize].costs;
        wanted.filter(|l| self.line_lasts(kind, base, costs.time(*l, raw_bytes), queued_bytes, now)).unwrap_or(base)
    }

    /// Original bytes a second that `level` alone would move.
    fn moves(&self, costs: &Costs, level: Level, line: f64) -> f64 {
        (line * costs.ratio(level)).min(to_f64(to_u64(self.workers.min(self.peer_workers))) * costs.pace(level))
    }

    fn settle_base(&mut self, kind: Kind, line: f64) -> Level {
        let Class { costs, base } = &self.classes[kind as usize];
        let mut best = *base;
        let mut moves = self.moves(costs, best, line);
        for level in Level::all().filter(|level| costs.is_tried(*level)) {
            let margin = match level {
                Level::STORE if best > Level::STORE => STORE_PAYS,
                level if best == Level::STORE && level > best => 1.0 / STORE_PAYS,
                level if level > best => PAYS,
                _ => 1.0,
            };
            let candidate = self.moves(costs, level, line);
            if candidate > moves * margin {
                (best, moves) = (level, candidate);
            }
        }
        self.classes[kind as usize].base = best;
        best
    }

    /// The lowest level above the base that should be looked at; one at a time.
    fn to_try(&self, kind: Kind, base: Level, line: f64) -> Option<Level> {
        let costs = &self.classes[kind as usize].costs;
        let level = Level::all().find(|level| *level > base && costs.is_due(*level))?;
        let trying = self.running.iter().any(|r| r.kind == kind && r.level == level);
        (!trying && self.has_room(kind, level, base, line)).then_some(level)
    }

    /// The level above the base that saves the most bytes for a second of work. Only the next in this order
    /// is worth mixing with the base: were there time for more, it would be the base.
    fn next_better(&self, kind: Kind, base: Level, line: f64) -> Option<Level> {
        let costs = &self.classes[kind as usize].costs;
        let saved = |level| {
            let bytes = 1.0 / costs.ratio(base) - 1.0 / costs.ratio(level);
            bytes / (1.0 / costs.pace(level) - 1.0 / costs.pace(base)).max(1e-12)
        };
        Level::all()
            .filter(|level| *level > base && costs.is_tried(*level))
            .filter(|level| costs.ratio(*level) >= PAYS * costs.ratio(base))
            .filter(|level| self.has_room(kind, *level, base, line))
            .max_by(|a, b| saved(*a).total_cmp(&saved(*b)))
    }

    /// Whether the workers at both ends could make enough records at `level`, beside what the base takes.
    fn has_room(&self, kind: Kind, level: Level, base: Level, line: f64) -> bool {
        let costs = &self.classes[kind as usize].costs;
        let moves = self.moves(costs, base, line);
        let share = to_f64(to_u64(self.workers.min(self.peer_workers))) * costs.pace(level) / moves;
        // Workers that the receiver has left beside what it needs for the base.
        let spare = to_f64(to_u64(self.peer_workers)) - moves / costs.pace(base);
        let above = self.running.iter().filter(|r| r.kind == kind && r.level > base).count();
        let share_min = if level == Level::COPPER { COPPER_SHARE_MIN } else { SHARE_MIN };
        share >= share_min && to_f64(to_u64(above)) < spare
    }

    /// Whether the line has enough to carry for the next `seconds` if this worker gives it nothing.
    ///
    /// The others are taken to go on at the base level once they are done with what they have. That is
    /// looked at whenever one of them gets free, and at the end.
    fn line_lasts(&self, kind: Kind, base: Level, seconds: f64, queued_bytes: u64, now: Instant) -> bool {
        let costs = &self.classes[kind as usize].costs;
        let Some(LineRate { bytes_a_second: line, .. }) = self.line.rate() else { return false };
        let ready = self.line.waiting_bytes(now);
        let more = to_f64(queued_bytes) / costs.ratio(base);
        let one = costs.pace(base) / costs.ratio(base);
        let mut free: Vec<f64> =
            self.running.iter().map(|r| r.done.saturating_duration_since(now).as_secs_f64()).collect();
        let idle = self.workers.saturating_sub(1).saturating_sub(free.len());
        free.resize(free.len() + idle, 0.0);
        let supply = |at: f64| ready + free.iter().map(|begin| (at - begin).max(0.0) * one).sum::<f64>().min(more);
        let lasts = |at: f64| supply(at) >= line * at;
        lasts(seconds) && free.iter().filter(|at| **at < seconds).all(|at| lasts(*at))
    }
}
