//! The chooser on modelled lines: workers, a few streams, the transport's buffer, a line that changes, and
//! a receiver that decodes. No clock but the model's.

use std::collections::{BinaryHeap, VecDeque};

use super::*;
use crate::units::{to_u64, to_usize};

/// What a codec makes of some content at each level: ratio, MB/s encoding, MB/s decoding, one core.
type Table = [(f64, f64, f64); Level::COUNT];

const CT: Table =
    [(1.0, 4000.0, 4000.0), (5.02, 600.0, 900.0), (5.52, 330.0, 550.0), (5.60, 210.0, 420.0), (5.95, 3.0, 5.0)];
const MR: Table =
    [(1.0, 4000.0, 4000.0), (3.36, 600.0, 900.0), (3.48, 330.0, 550.0), (3.50, 210.0, 420.0), (3.62, 2.0, 4.0)];
/// A time series of small frames: the frame before says half of it.
const FMRI: Table =
    [(1.0, 4000.0, 4000.0), (4.05, 600.0, 850.0), (4.09, 330.0, 550.0), (5.96, 210.0, 400.0), (6.30, 2.5, 5.0)];
/// Without a pixel coder.
const ZSTD: Table =
    [(1.0, 4000.0, 4000.0), (2.83, 340.0, 1000.0), (3.16, 196.0, 860.0), (3.34, 41.0, 800.0), (3.58, 3.0, 740.0)];
/// Compressed already.
const JPEG: Table =
    [(1.0, 4000.0, 4000.0), (1.0, 700.0, 4000.0), (1.0, 500.0, 4000.0), (1.0, 300.0, 4000.0), (1.0, 4.0, 4000.0)];
const TABLES: [(&str, Table); 5] = [("CT", CT), ("MR", MR), ("fMRI", FMRI), ("zstd", ZSTD), ("JPEG", JPEG)];

const RECORD: u64 = 512 << 10;
/// What the transport takes over ahead of the line.
const BUFFER: f64 = 2e6;
/// Round trip, and how often the receiver says what it has.
const RTT: f64 = 0.02;
const REPORT: f64 = 0.05;
/// Streams side by side.
const LANES: usize = 4;
const AHEAD: usize = 6;

/// A transfer to be modelled.
struct Model<'a> {
    workers: usize,
    peer_workers: usize,
    records: usize,
    /// Line in MB/s, by the share of records that were begun.
    line: &'a dyn Fn(f64) -> f64,
    table: &'a dyn Fn(f64) -> &'a Table,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Made(u64),
    Sent,
    Reported,
}

/// Bytes a second that one core encrypts and sends.
const CORE_SENDS: f64 = 400e6;

impl Model<'_> {
    /// Bytes a second that get across: what the line carries, and the cores keep up with.
    fn carries(&self, done: f64) -> f64 {
        ((self.line)(done) * 1e6).min(to_f64(to_u64(self.workers)) * CORE_SENDS)
    }

    /// Runs it; the time until all is decoded, and how many records each level had.
    fn run(&self, choice: LevelChoice) -> (f64, [usize; Level::COUNT]) {
        let begin = Instant::now();
        let nanos = |seconds: f64| to_u64(to_usize(Duration::from_secs_f64(seconds).as_nanos().try_into().unwrap()));
        let mut chooser = Chooser::new(choice, self.workers);
        chooser.peer_workers(self.peer_workers);
        // The transport's window grows while at least half of it is used, up to what the line carries.
        let (mut window_rate, mut carried) = (32e3 / RTT, 0.0);
        chooser.transport(window_rate, Duration::from_secs_f64(RTT));
        let mut events: BinaryHeap<std::cmp::Reverse<(u64, What)>> = BinaryHeap::new();
        let (mut begun, mut jobs, mut busy) = (0, 0, 0);
        let mut making: Vec<(u64, Making, f64)> = Vec::new();
        let mut ready: VecDeque<(u64, Level)> = VecDeque::new();
        let (mut on_line, mut line_free, mut now) = (0, 0.0_f64, 0.0_f64);
        let mut in_flight: VecDeque<u64> = VecDeque::new();
        let (mut verified, mut count) = (BinaryHeap::new(), 0);
        events.push(std::cmp::Reverse((nanos(REPORT), What::Reported)));
        let mut counts = [0; Level::COUNT];
        let mut decoders = vec![0.0_f64; self.peer_workers];
        loop {
            let done = f64::from(u32::try_from(begun).unwrap()) / f64::from(u32::try_from(self.records).unwrap());
            let table = (self.table)(done);
            while begun < self.records
                && jobs < self.workers + if chooser.knows_line() { AHEAD } else { 2 }
                && busy < self.workers
            {
                let left = to_u64(self.records - begun - 1) * RECORD;
                let at = begin + Duration::from_secs_f64(now);
                let record = chooser.begin(Kind::Native, RECORD, left, at);
                let level = usize::from(record.level.get());
                let took = to_f64(RECORD) / (table[level].1 * 1e6);
                counts[level] += 1;
                events.push(std::cmp::Reverse((nanos(now + took), What::Made(to_u64(begun)))));
                making.push((to_u64(begun), record, took));
                (begun, jobs, busy) = (begun + 1, jobs + 1, busy + 1);
            }
            // The line carries one after the other; the transport takes a record over a buffer ahead of that.
            while on_line < LANES
                && let Some((bytes, level)) = ready.pop_front()
            {
                let rate = self.carries(done);
                line_free = line_free.max(now) + to_f64(bytes) / rate;
                let taken = (line_free - BUFFER / rate).max(now);
                events.push(std::cmp::Reverse((nanos(taken), What::Sent)));
                in_flight.push_back(bytes);
                on_line += 1;
                carried += to_f64(bytes);
                let decoder = decoders.iter_mut().min_by(|a, b| a.total_cmp(b)).unwrap();
                *decoder = decoder.max(line_free) + to_f64(RECORD) / (table[usize::from(level.get())].2 * 1e6);
                verified.push(std::cmp::Reverse(nanos(*decoder + RTT / 2.0)));
            }
            let Some(std::cmp::Reverse((at, what))) = events.pop() else { break };
            now = to_f64(at) / 1e9;
            let at = begin + Duration::from_nanos(at);
            match what {
                What::Made(number) => {
                    let place = making.iter().position(|(n, ..)| *n == number).unwrap();
                    let (_, record, took) = making.swap_remove(place);
                    let ratio = table[usize::from(record.level.get())].0;
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
                    let bytes = (to_f64(RECORD) / ratio) as u64;
                    ready.push_back((bytes, record.level));
                    busy -= 1;
                    chooser.made(
                        &record,
                        &[RecordSize { raw_bytes: RECORD, bytes }],
                        Some(Duration::from_secs_f64(took)),
                        at,
                    );
                }
                What::Sent => {
                    chooser.taken(in_flight.pop_front().unwrap());
                    (on_line, jobs) = (on_line - 1, jobs - 1);
                }
                What::Reported => {
                    while verified
                        .peek()
                        .is_some_and(|std::cmp::Reverse(time)| begin + Duration::from_nanos(*time) <= at)
                    {
                        verified.pop();
                        count += 1;
                    }
                    if carried >= window_rate * REPORT / 2.0 {
                        window_rate = (window_rate * 2.0).min(self.carries(done)).max(32e3 / RTT);
                    }
                    carried = 0.0;
                    chooser.transport(window_rate, Duration::from_secs_f64(RTT));
                    chooser.received(to_u64(count) * RECORD, at);
                    if count < self.records {
                        events.push(std::cmp::Reverse((nanos(now + REPORT), What::Reported)));
                    }
                }
            }
        }
        (decoders.into_iter().fold(line_free, f64::max), counts)
    }

    /// Time of the best fixed level, by the time of the chooser: 1 is as good, more is better.
    fn score(&self, name: &str) -> f64 {
        let best = Level::all().map(|level| (self.run(LevelChoice::Fixed(level)).0, level.get()));
        let (best, level) = best.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        let (time, counts) = self.run(LevelChoice::Auto);
        println!(
            "{name}: {:.3} of the best fixed level ({level}), {time:.2} s, records by level {counts:?}",
            best / time
        );
        best / time
    }
}

/// Records for about `seconds` of a line at ratio 4, within bounds that make a transfer and a short test.
fn records(line: f64, seconds: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
    let records = (line * 4.0 * seconds * 1e6 / to_f64(RECORD)).clamp(150.0, 4000.0) as usize;
    records
}

#[test]
fn on_any_line_it_is_about_as_good_as_the_best_fixed_level_or_better() {
    let mut worst = (f64::INFINITY, String::new());
    for line in [0.1, 1.0, 2.5, 10.0, 12.5, 125.0, 1250.0] {
        for workers in [1, 2, 8] {
            for (name, table) in &TABLES {
                let model = Model {
                    workers,
                    peer_workers: workers,
                    records: records(line, 120.0),
                    line: &|_| line,
                    table: &|_| table,
                };
                let name = format!("{line} MB/s, {workers} workers, {name}");
                let score = model.score(&name);
                if score < worst.0 {
                    worst = (score, name);
                }
            }
        }
    }
    println!("worst: {worst:?}");
    assert!(worst.0 >= 0.9, "{worst:?}");
}

#[test]
fn a_line_that_changes_midway_is_followed() {
    let mut worst = (f64::INFINITY, String::new());
    for (before, after) in [(1.0, 125.0), (125.0, 1.0), (10.0, 1250.0), (1250.0, 10.0), (0.1, 2.5), (2.5, 0.1)] {
        for workers in [1, 2, 8] {
            for (name, table) in TABLES.iter().step_by(2) {
                // As much time on the one line as on the other, about.
                let share: f64 = before / (before + after);
                let share = share.clamp(0.1, 0.9);
                let model = Model {
                    workers,
                    peer_workers: workers,
                    records: records(f64::max(before, after), 60.0),
                    line: &|done| if done < share { before } else { after },
                    table: &|_| table,
                };
                let name = format!("{before} then {after} MB/s, {workers} workers, {name}");
                let score = model.score(&name);
                if score < worst.0 {
                    worst = (score, name);
                }
            }
        }
    }
    println!("worst: {worst:?}");
    assert!(worst.0 >= 0.9, "{worst:?}");
}

#[test]
fn content_that_changes_midway_is_followed() {
    let mut worst = (f64::INFINITY, String::new());
    for line in [0.1, 1.0, 10.0, 125.0, 1250.0] {
        for workers in [1, 2, 8] {
            for ((a, first), (b, second)) in
                [(TABLES[0], TABLES[2]), (TABLES[2], TABLES[1]), (TABLES[4], TABLES[0]), (TABLES[0], TABLES[4])]
            {
                let model = Model {
                    workers,
                    peer_workers: workers,
                    records: records(line, 120.0),
                    line: &|_| line,
                    table: &|done| if done < 0.5 { &first } else { &second },
                };
                let name = format!("{line} MB/s, {workers} workers, {a} then {b}");
                let score = model.score(&name);
                if score < worst.0 {
                    worst = (score, name);
                }
            }
        }
    }
    println!("worst: {worst:?}");
    assert!(worst.0 >= 0.9, "{worst:?}");
}

#[test]
fn a_receiver_with_few_workers_is_not_given_more_than_it_can_undo() {
    for line in [1.0, 2.5, 10.0, 125.0] {
        for peer_workers in [1, 2] {
            let model =
                Model { workers: 8, peer_workers, records: records(line, 60.0), line: &|_| line, table: &|_| &CT };
            let score = model.score(&format!("{line} MB/s, 8 workers here, {peer_workers} there"));
            assert!(score >= 0.9);
        }
    }
}

#[test]
fn the_slowest_level_is_for_lines_that_leave_time_twice_over() {
    let model =
        |line: &'static dyn Fn(f64) -> f64| Model { workers: 2, peer_workers: 2, records: 400, line, table: &|_| &MR };
    let (_, slow) = model(&|_| 0.25).run(LevelChoice::Auto);
    assert!(slow[4] > 300, "{slow:?}");
    let (_, faster) = model(&|_| 1.2).run(LevelChoice::Auto);
    assert!(faster[4] == 0 && faster[2] + faster[3] > 300, "{faster:?}");
}

#[test]
fn a_receiver_whose_processor_others_use_does_not_hold_a_transfer_up() {
    let mut busy = CT;
    busy.iter_mut().for_each(|(_, _, decode)| *decode /= 6.0);
    for line in [0.6, 1.2, 5.0] {
        let model = Model { workers: 2, peer_workers: 2, records: 100, line: &|_| line, table: &|_| &busy };
        let (auto, counts) = model.run(LevelChoice::Auto);
        let (fixed, _) = model.run(LevelChoice::Fixed(Level::STRONG));
        assert!(auto < 1.05 * fixed, "{line} MB/s: {auto:.1} s, {fixed:.1} s at one level, {counts:?}");
    }
}

#[test]
fn a_fixed_level_stays() {
    for level in Level::all() {
        let model = Model { workers: 2, peer_workers: 1, records: 50, line: &|_| 10.0, table: &|_| &CT };
        assert_eq!(model.run(LevelChoice::Fixed(level)).1[usize::from(level.get())], 50);
    }
}
