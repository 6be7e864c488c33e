//! Our congestion controller: fills lossy copper and long fibre, keeps queues short, and yields when told to.
//!
//! A loss says little on copper, so that the window follows what was delivered instead: the best rate of the last
//! rounds times the shortest round trip, and a little more (after BBR, draft-ietf-ccwg-bbr). Loss counts where more
//! of it follows when more is sent ([`loss`]): then a short queue or a policer overflows. Another's queue is met by
//! holding a share of the pipe ([`rival`]). In the background a connection gives way as soon as a queue forms.
//!
//! quinn asks for a window and paces it by itself: 1.25 windows a round trip, in bursts of ten packets or more.
//! All rates here are bytes a second, all times seconds.

mod delivery;
mod first_flight;
mod gauge;
mod loss;
mod rival;

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory};

use self::delivery::{Bunching, Delivery};
use self::first_flight::{Allowed, FIRST_PACKETS, FirstFlight};
pub(super) use self::gauge::{Demand, Gauge};
use self::loss::{Level, LossByLevel};
use self::rival::{Pipe, Rival, Verdict};
use crate::transport::udp::packet_size::MTU_DEFAULT;

/// Rounds over which the best rate counts: fewer than a cycle, so that what a probe found must hold.
const RATE_ROUNDS: usize = 6;
/// Rounds of one cycle: one probes, one lets the queue drain, the others cruise.
const CYCLE: u32 = 8;
const PROBING: u32 = 0;
const DRAINING: u32 = 1;
const CRUISING: u32 = 2;
/// The window above the pipe's content while cruising, and how much more a probe tries.
const HEADROOM: f64 = 0.12;
const PROBE: f64 = 0.25;
const PROBE_MIN: f64 = 0.03;
/// The first probe after a start, which has looked already.
const PROBE_FIRST: f64 = 0.05;
/// A probe that found this part of what it tried, and no queue, is no longer a probe: there is room to grow.
const PROBE_FOUND: f64 = 0.7;
const PROBE_BACKGROUND: f64 = 0.05;
/// The window while the queue drains, and packets on top.
const DRAINED: f64 = 0.94;
/// Part of the pipe by which each flow's window is larger, whatever its share: brings shares together.
const EQUALISER: f64 = 0.05;
/// Packets by which a window is above its share of the pipe: whole packets and late acknowledgements.
const SLACK_PACKETS: f64 = 2.0;
/// A start is over when rounds have not brought this much more.
const START_GROWTH: f64 = 1.25;
const START_FLAT_ROUNDS: u32 = 3;
/// After the first queue the start goes on more slowly, until this little more comes of it.
const SLOW_GROWTH: f64 = 1.05;
const SLOW_FLAT_ROUNDS: u32 = 2;
/// With fewer packets the rate says little: acknowledgements that are held up can end a start, or make its rate too high.
const SMALL_PACKETS: f64 = 24.0;
/// Round trips of so many packets must all show a queue before the start ends: a burst makes its own.
const QUEUE_SAMPLES: u32 = 8;
/// More loss than this in a round, of at least so many packets, is no noise.
const HEAVY_LOSS: f64 = 0.10;
const HEAVY_LOSS_PACKETS: f64 = 8.0;
/// More loss than noise, by this much, without any queue: a policer.
const POLICED_LOSS: f64 = 0.08;
/// What a ceiling grows with each further clean cycle, and when it has outlived its reason.
const CEILING_GROWTH: f64 = 0.002;
const CEILING_GONE: f64 = 1.3;
/// The base round trip is looked for anew when it was not seen for this long, with a half-filled pipe.
const BASE_AGE: f64 = 10.0;
const BASE_PROBE_MIN: f64 = 0.1;
/// The best rate seen is forgotten by this much a round: half of it in 14 s at 20 ms.
const CAPACITY_KEEP: f64 = 0.999;
/// In the background: the queue that is tolerated alone, and beside others, of whom it is known because less is
/// delivered than once was.
const BACKGROUND_QUEUE: f64 = 0.010;
const BACKGROUND_QUEUE_SHARED: f64 = 0.002;
const BACKGROUND_OTHERS: f64 = 0.85;
/// What the machines at both ends take for a turn: where the line is shorter, a window for the line alone would have
/// one wait for the other with a few packets each. Where a switch has no room for that, it is less.
const TURN: f64 = 0.002;
const TURN_LOSS: f64 = 0.02;
const WINDOW_PACKETS_MIN: f64 = 4.0;
const WINDOW_PACKETS_MIN_BACKGROUND: f64 = 2.0;
/// Large enough for 10 Gbit/s at 250 ms; keeps the arithmetic sane whatever a peer acknowledges.
const WINDOW_MAX: f64 = 512e6;

/// Makes a [`RateControl`] for each path of a connection.
#[derive(Debug)]
pub(super) struct RateControlFactory {
    gauge: Arc<Gauge>,
    packet_most: u16,
}

impl RateControlFactory {
    /// Takes orders from and reports to `gauge`; packets may grow to `packet_most` bytes.
    pub(super) const fn new(gauge: Arc<Gauge>, packet_most: u16) -> Self {
        Self { gauge, packet_most }
    }
}

impl ControllerFactory for RateControlFactory {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(RateControl::new(Arc::clone(&self.gauge), self.packet_most, now, mtu))
    }
}

/// Where a connection is with its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The window doubles each round trip until a queue shows.
    Doubling,
    /// A queue has shown: a quarter more each round, while more comes of it.
    Growing,
    /// The window follows rate and round trip, with probes.
    Cruising,
    /// Somebody else keeps a queue: the window is a share of the pipe.
    Sharing,
}

/// What happened in one round trip.
#[derive(Debug, Clone, Copy)]
struct Round {
    began: Instant,
    /// Best rate of packets that were not held back by the application.
    rate: f64,
    rtt_min: f64,
    rtt_sum: f64,
    rtts: f64,
    acked: f64,
    lost: f64,
    /// Lost of what was sent after the start.
    lost_since_start: f64,
}

impl Round {
    const fn starting(began: Instant) -> Self {
        let rtt_min = f64::INFINITY;
        Self { began, rate: 0.0, rtt_min, rtt_sum: 0.0, rtts: 0.0, acked: 0.0, lost: 0.0, lost_since_start: 0.0 }
    }

    fn loss(&self) -> f64 {
        self.lost / (self.lost + self.acked).max(1.0)
    }

    fn mean_rtt(&self) -> Option<f64> {
        (self.rtts > 0.0).then(|| self.rtt_sum / self.rtts)
    }
}

/// The controller of one path.
#[derive(Debug, Clone)]
pub(super) struct RateControl {
    gauge: Arc<Gauge>,
    background: bool,
    packet: f64,
    /// A probe for larger packets is in flight as they are: while a start has few, it must not be instead of them.
    probe_room: f64,
    window: f64,
    stage: Stage,
    /// Until it is back.
    first_flight: Option<FirstFlight>,
    delivery: Delivery,
    bunching: Bunching,
    loss: LossByLevel,
    rival: Rival,
    /// The line that this was learnt on, as the gauge counts them, and since when packets take it, where that is known.
    line: u64,
    line_since: Option<Instant>,
    /// Whether the transport's shortest round trip is one of this line.
    shortest_holds: bool,
    /// Shortest round trip of late, and when it was last seen.
    base: f64,
    base_seen: Instant,
    /// The shortest round trip that the window allows for.
    turn: f64,
    srtt: f64,
    round: Round,
    round_ends_at: f64,
    rates: VecDeque<f64>,
    rate: f64,
    capacity: f64,
    /// No more than this is sent, since more was lost.
    ceiling: f64,
    clean_cycles: f64,
    policed_until: Instant,
    /// The rate from which the next rounds of the start are judged, and rounds without growth.
    start_rate: f64,
    flat_rounds: u32,
    start_over: Instant,
    queue_samples: u32,
    queue_least: f64,
    phase: u32,
    headroom: f64,
    probe: f64,
    cycle_began: Instant,
    cycle_delivered: f64,
    cycle_rate: f64,
    cycle_queue: f64,
    last_queue: f64,
    last_mean_queue: f64,
    /// Until when the pipe is kept half empty to see the base round trip, and the least seen meanwhile.
    base_probe: Option<(Instant, f64)>,
}

impl RateControl {
    fn new(gauge: Arc<Gauge>, packet_most: u16, now: Instant, mtu: u16) -> Self {
        let packet = f64::from(mtu);
        Self {
            line: gauge.lines(),
            line_since: None,
            shortest_holds: true,
            gauge,
            background: false,
            packet,
            probe_room: f64::from(packet_most.saturating_sub(MTU_DEFAULT)),
            window: FIRST_PACKETS * packet,
            stage: Stage::Doubling,
            first_flight: Some(FirstFlight::default()),
            delivery: Delivery::new(now),
            bunching: Bunching::new(now),
            loss: LossByLevel::default(),
            rival: Rival::default(),
            base: f64::INFINITY,
            base_seen: now,
            turn: TURN,
            srtt: 0.1,
            round: Round::starting(now),
            round_ends_at: 0.0,
            rates: VecDeque::with_capacity(RATE_ROUNDS),
            rate: 0.0,
            capacity: 0.0,
            ceiling: f64::INFINITY,
            clean_cycles: 0.0,
            policed_until: now,
            start_rate: 0.0,
            flat_rounds: 0,
            start_over: now,
            queue_samples: 0,
            queue_least: f64::INFINITY,
            phase: CRUISING,
            headroom: HEADROOM,
            probe: PROBE_FIRST,
            cycle_began: now,
            cycle_delivered: 0.0,
            cycle_rate: 0.0,
            cycle_queue: f64::INFINITY,
            last_queue: 0.0,
            last_mean_queue: 0.0,
            base_probe: None,
        }
    }

    fn window_min(&self) -> f64 {
        self.packet * if self.background { WINDOW_PACKETS_MIN_BACKGROUND } else { WINDOW_PACKETS_MIN }
    }

    fn set_window(&mut self, bytes: f64) {
        self.window = bytes.clamp(self.window_min(), WINDOW_MAX);
    }

    /// Bytes that the pipe holds without a queue, of ours.
    fn pipe(&self) -> f64 {
        self.rate.min(self.ceiling) * self.base.max(self.turn)
    }

    /// A queue longer than this is one: an eighth of the round trip, as `HyStart++` has it (RFC 9406).
    fn queue_threshold(&self) -> f64 {
        (self.base / 8.0).clamp(0.004, 0.016)
    }

    fn keep_newest_rates(&mut self) {
        let old = self.rates.len().saturating_sub(2);
        self.rates.drain(..old);
        self.rate = best(&self.rates);
    }

    fn end_round(&mut self, now: Instant) {
        let round = std::mem::replace(&mut self.round, Round::starting(now));
        // A round that the application held back says nothing of the line.
        if round.rate > 0.0 {
            self.rates.push_back(round.rate);
            if self.rates.len() > RATE_ROUNDS {
                self.rates.pop_front();
            }
            self.rate = best(&self.rates);
        }
        self.capacity = (self.capacity * CAPACITY_KEEP).max(self.rate);
        let heavy = round.loss() > HEAVY_LOSS && round.lost >= HEAVY_LOSS_PACKETS * self.packet;
        if heavy {
            self.keep_newest_rates();
        }
        if self.base < self.turn && round.loss() > self.loss.noise() + TURN_LOSS && round.lost >= 3.0 * self.packet {
            self.turn *= 0.7;
        }
        let queue = if round.rtts > 0.0 { (round.rtt_min - self.base).max(0.0) } else { self.last_queue };
        self.cycle_queue = self.cycle_queue.min(queue);
        self.detect_policer(now, &round);
        self.bunching.end_round();
        match self.stage {
            Stage::Doubling => self.doubled(now, heavy),
            Stage::Growing => self.grown(now, queue, heavy),
            Stage::Cruising => self.cruise(now, queue),
            Stage::Sharing => self.share(now, &round, queue),
        }
        self.last_queue = queue;
        // At the start, while little is sent, the rate is the application's.
        let rate = if self.stage == Stage::Doubling { 0.0 } else { self.rate.min(self.ceiling) };
        self.gauge.report(rate, queue);
    }

    /// Much loss, more than there is when little is sent, and no queue: sends no more than got through.
    fn detect_policer(&mut self, now: Instant, round: &Round) {
        let started = matches!(self.stage, Stage::Growing | Stage::Cruising);
        let loss = round.lost_since_start / (round.lost_since_start + round.acked).max(1.0);
        let policed = loss > self.loss.noise() + POLICED_LOSS && round.lost >= HEAVY_LOSS_PACKETS * self.packet;
        // What overflowed may be known as lost only when the queue has gone again.
        let mean = round.mean_rtt().unwrap_or(self.base) - self.base;
        let queued = mean.max(self.last_mean_queue) > self.queue_threshold();
        self.last_mean_queue = mean;
        let took = (now - round.began).as_secs_f64();
        if started && policed && !queued && took > 0.0 && now > self.policed_until {
            self.ceiling = self.ceiling.min(round.acked / took);
            self.clean_cycles = 0.0;
            self.policed_until = now + Duration::from_secs_f64(2.0 * self.srtt);
        }
    }

    fn doubled(&mut self, now: Instant, heavy_loss: bool) {
        if self.grows_by(START_GROWTH, START_FLAT_ROUNDS) && !heavy_loss {
            return;
        }
        self.leave_doubling(now);
        self.start_cruising(now);
    }

    /// Whether the rate still grows by `factor`; gives up after some rounds without.
    fn grows_by(&mut self, factor: f64, rounds: u32) -> bool {
        if self.rate >= self.start_rate * factor {
            self.start_rate = self.rate;
            self.flat_rounds = 0;
        } else {
            self.flat_rounds += 1;
        }
        self.flat_rounds < rounds
    }

    fn leave_doubling(&mut self, now: Instant) {
        self.stage = Stage::Growing;
        self.flat_rounds = 0;
        self.start_rate = self.rate;
        self.start_over = now;
        self.base_seen = now;
        // What was sent in the round before the queue filled the pipe: at most half the window.
        let half = if self.background { 0.0 } else { self.window * 0.5 };
        self.set_window(self.pipe().max(half).min(self.window));
    }

    fn grown(&mut self, now: Instant, queue: f64, heavy_loss: bool) {
        let queued = queue > self.queue_threshold();
        if !queued && !heavy_loss && self.window < SMALL_PACKETS * self.packet {
            self.set_window(self.window * 2.0);
            return;
        }
        let more = self.grows_by(SLOW_GROWTH, SLOW_FLAT_ROUNDS);
        if !more || heavy_loss || (self.background && queued) {
            self.start_over = now;
            self.start_cruising(now);
        } else if queued {
            self.set_window((self.pipe() * 1.1).min(self.window * START_GROWTH));
        } else {
            self.set_window(self.window * START_GROWTH);
        }
    }

    fn start_cruising(&mut self, now: Instant) {
        self.stage = Stage::Cruising;
        self.base_probe = None;
        self.start_phase(now, DRAINING);
    }

    /// Sets the window of a round of the cycle.
    fn start_phase(&mut self, now: Instant, phase: u32) {
        self.phase = phase;
        let capped = self.ceiling.is_finite();
        let probe = if self.background { self.probe.min(PROBE_BACKGROUND) } else { self.probe };
        let (level, gain) = match phase {
            PROBING if capped => (Level::High, 1.0 + probe.min(PROBE_BACKGROUND)),
            PROBING => (Level::High, 1.0 + self.headroom + probe),
            DRAINING => (Level::Low, DRAINED),
            _ => (Level::Cruising, 1.0 + self.headroom),
        };
        self.loss.level_from(now, level);
        let slack = match level {
            Level::Low => SLACK_PACKETS * self.packet,
            _ if capped => self.packet,
            _ => self.slack(),
        };
        // What is lost stays in the window until that is known.
        let wanted = (self.pipe() * gain + slack) / (1.0 - self.loss.noise());
        let wanted = if self.background { wanted.min(self.window * 1.25 + self.packet) } else { wanted };
        self.set_window(wanted);
    }

    fn slack(&self) -> f64 {
        let packets = if self.background { 1.0 } else { SLACK_PACKETS };
        let bunched = self.bunching.bytes().min(self.pipe() * 0.1 + 2.0 * self.packet);
        let equaliser = EQUALISER * (self.capacity - self.rate).max(0.0) * self.base;
        bunched.max(packets * self.packet) + equaliser
    }

    fn cruise(&mut self, now: Instant, queue: f64) {
        if let Some((until, least)) = self.base_probe {
            if now >= until {
                self.base = if least.is_finite() { least } else { self.base };
                self.base_seen = now;
                self.base_probe = None;
                self.start_phase(now, CRUISING);
            }
            return;
        }
        let next = (self.phase + 1) % CYCLE;
        if next == CRUISING {
            let found_more = self.found_more(queue);
            self.judge_cycle(now);
            if self.stage == Stage::Sharing {
                return;
            }
            if found_more {
                self.grow_again();
                return;
            }
        }
        self.start_phase(now, next);
        if self.background {
            self.give_way(queue);
        }
        if (now - self.base_seen).as_secs_f64() > BASE_AGE {
            let lasts = (2.0 * self.srtt).max(BASE_PROBE_MIN);
            self.base_probe = Some((now + Duration::from_secs_f64(lasts), f64::INFINITY));
            self.set_window(self.pipe() * 0.5);
            self.loss.level_from(now, Level::Low);
        }
    }

    /// Whether the probe of this cycle found nearly all that it tried, and no queue: after a start that ended too
    /// soon, or when others leave.
    fn found_more(&mut self, queue: f64) -> bool {
        let before = std::mem::replace(&mut self.cycle_rate, self.rate);
        let free = !self.background && !self.ceiling.is_finite();
        let empty = queue.max(self.last_queue) < 0.5 * self.queue_threshold();
        free && empty && before > 0.0 && self.rate > before * (1.0 + PROBE_FOUND * self.probe)
    }

    fn grow_again(&mut self) {
        self.stage = Stage::Growing;
        self.flat_rounds = 0;
        self.start_rate = self.rate;
        self.set_window(self.window * START_GROWTH);
    }

    /// A cycle has passed: was there more loss when more was sent, and is there a queue that is not ours?
    fn judge_cycle(&mut self, now: Instant) {
        let delivered = self.delivery.delivered();
        let took = (now - self.cycle_began).as_secs_f64().max(1e-6);
        let average = (delivered - self.cycle_delivered) / took;
        (self.cycle_began, self.cycle_delivered) = (now, delivered);
        if self.loss.more_at(Level::Cruising) {
            self.headroom = (self.headroom - 0.04).max(0.0);
            self.probe = (self.probe * 0.7).max(PROBE_MIN);
            self.ceiling = (average * 0.99).min(self.ceiling * 0.98);
            self.clean_cycles = 0.0;
            self.loss.forget_most(Level::Cruising);
        } else {
            self.clean_cycles += 1.0;
            self.turn = (self.turn * 1.01).min(TURN);
            if self.ceiling.is_finite() {
                self.ceiling *= 1.0 + CEILING_GROWTH * self.clean_cycles;
                if self.ceiling > self.rate * CEILING_GONE {
                    self.ceiling = f64::INFINITY;
                }
            } else {
                self.headroom = (self.headroom + 0.01).min(HEADROOM);
            }
            let factor = if self.loss.more_at(Level::High) { 0.7 } else { 1.0 };
            self.probe = (self.probe * factor + 0.02 * f64::from(factor == 1.0)).clamp(PROBE_MIN, PROBE);
        }
        self.loss.age();
        let queue = std::mem::replace(&mut self.cycle_queue, f64::INFINITY);
        if !self.background && self.rival.suspects(queue, self.base, self.packet / self.capacity.max(1.0)) {
            self.stage = Stage::Sharing;
            self.rival.begin(self.rate * self.srtt, queue, self.packet);
            self.set_window(self.rate * self.srtt);
        }
    }

    /// In the background: a queue, or a rate below what the line can do, is somebody else's.
    fn give_way(&mut self, queue: f64) {
        let others = self.rate < BACKGROUND_OTHERS * self.capacity;
        let target = if others { BACKGROUND_QUEUE_SHARED } else { BACKGROUND_QUEUE };
        if queue > target {
            let factor = (1.0 - 0.5 * (queue - target) / target).max(0.5);
            self.set_window((self.pipe() * factor).min(self.window * factor.max(0.7)));
            self.keep_newest_rates();
        } else if others {
            self.set_window(self.window.min(self.pipe() * DRAINED + self.packet));
        }
    }

    fn share(&mut self, now: Instant, round: &Round, queue: f64) {
        let rtt = round.mean_rtt().unwrap_or(self.srtt);
        let pipe = Pipe { rtt, queue, loss: round.loss(), base: self.base, rate: self.rate, capacity: self.capacity };
        match self.rival.next_window(&pipe, self.window) {
            Verdict::Share(window) => self.set_window(window),
            Verdict::Gone => self.stop_sharing(now),
            Verdict::PathChanged => {
                self.base = round.rtt_min;
                self.stop_sharing(now);
            }
        }
    }

    fn stop_sharing(&mut self, now: Instant) {
        self.base_seen = now;
        self.start_cruising(now);
    }

    /// A new start, after a line was silent for long.
    fn restart(&mut self) {
        self.stage = Stage::Doubling;
        self.window = FIRST_PACKETS * self.packet;
        self.first_flight = Some(FirstFlight::default());
        (self.start_rate, self.flat_rounds) = (0.0, 0);
        self.rates.clear();
        self.rate = 0.0;
        self.base_probe = None;
        self.loss = LossByLevel::default();
    }

    /// A new start on another line: a round trip that is longer there is no queue.
    fn begin_anew(&mut self) {
        self.restart();
        self.base = f64::INFINITY;
        self.shortest_holds = false;
        (self.capacity, self.ceiling) = (0.0, f64::INFINITY);
        self.rival = Rival::default();
        (self.queue_samples, self.queue_least) = (0, f64::INFINITY);
        (self.last_queue, self.last_mean_queue) = (0.0, 0.0);
    }

    fn follow_line(&mut self, now: Instant) {
        let line = self.gauge.lines();
        if line != self.line {
            (self.line, self.line_since) = (line, Some(now));
            self.begin_anew();
            self.round = Round::starting(now);
        }
    }

    fn acked(&mut self, now: Instant, sent: Instant, bytes: f64, app_limited: bool, shortest: f64) {
        self.follow_line(now);
        let rtt = (now - sent).as_secs_f64();
        self.delivery.acked(now, sent, bytes);
        self.bunching.acked(bytes);
        self.loss.acked(sent);
        self.round.acked += bytes;
        if self.line_since.is_some_and(|since| sent < since) {
            return;
        }
        self.saw_rtt(now, rtt, shortest);
        if self.stage == Stage::Doubling && !app_limited {
            self.double(now, sent, bytes, rtt);
        }
    }

    fn saw_rtt(&mut self, now: Instant, rtt: f64, shortest: f64) {
        if !self.base.is_finite() {
            self.base = if self.shortest_holds { shortest } else { rtt };
            self.base_seen = now;
        }
        if rtt < self.base {
            self.base = rtt;
        }
        if rtt < self.base * 1.03 + 0.0003 {
            self.base_seen = now;
        }
        if let Some((_, least)) = &mut self.base_probe {
            *least = least.min(rtt);
        }
        self.round.rtt_min = self.round.rtt_min.min(rtt);
        self.round.rtt_sum += rtt;
        self.round.rtts += 1.0;
    }

    /// The start ends within a round, as soon as a queue has formed.
    fn double(&mut self, now: Instant, sent: Instant, bytes: f64, rtt: f64) {
        if let Some(first) = &mut self.first_flight {
            match first.acked(sent, bytes, rtt - self.base, self.packet) {
                Allowed::Nothing => return,
                Allowed::Window(window) => self.set_window(window),
                Allowed::Enough => self.leave_doubling(now),
                Allowed::Growth => {}
            }
            self.first_flight = None;
            return;
        }
        self.set_window(self.window + bytes);
        self.queue_least = self.queue_least.min(rtt);
        self.queue_samples += 1;
        if self.queue_samples < QUEUE_SAMPLES {
            return;
        }
        let queue = self.queue_least - self.base;
        (self.queue_samples, self.queue_least) = (0, f64::INFINITY);
        if queue > self.queue_threshold() {
            self.leave_doubling(now);
        }
    }
}

fn best(rates: &VecDeque<f64>) -> f64 {
    rates.iter().copied().fold(0.0, f64::max)
}

#[expect(clippy::cast_precision_loss, reason = "bytes in flight are far below 2^53")]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

impl Controller for RateControl {
    fn on_sent(&mut self, now: Instant, bytes: u64, _last_packet_number: u64) {
        self.follow_line(now);
        self.delivery.sent(now);
        if let Some(first) = &mut self.first_flight {
            first.sent(now, float(bytes), self.packet);
        }
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtts: &RttEstimator) {
        self.srtt = rtts.get().as_secs_f64();
        self.acked(now, sent, float(bytes), app_limited, rtts.min().as_secs_f64());
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, _largest_acked: Option<u64>) {
        let Some(sample) = self.delivery.end_acks(now, float(in_flight), app_limited, self.base * 0.9) else {
            return;
        };
        if let Some(rate) = sample.rate.filter(|rate| !sample.app_limited || *rate > self.rate) {
            self.round.rate = self.round.rate.max(rate);
            self.rate = self.rate.max(rate);
        }
        self.bunching.end_acks(now, self.rate);
        if sample.delivered_before < self.round_ends_at {
            return;
        }
        self.round_ends_at = self.delivery.delivered();
        match self.gauge.demand() {
            // Nothing is learned of the line while almost nothing is sent.
            Demand::Held => self.round = Round::starting(now),
            demand => {
                self.background = demand == Demand::Background;
                self.end_round(now);
            }
        }
    }

    fn on_congestion_event(&mut self, _now: Instant, sent: Instant, is_persistent_congestion: bool, lost_bytes: u64) {
        let lost = float(lost_bytes);
        self.round.lost += lost;
        if sent > self.start_over {
            self.round.lost_since_start += lost;
        }
        self.loss.lost(sent, (lost / self.packet).ceil());
        if is_persistent_congestion {
            self.restart();
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.packet = f64::from(new_mtu);
        if self.packet > f64::from(MTU_DEFAULT) {
            self.probe_room = 0.0;
        }
        // A window below one packet would never let one go.
        self.set_window(self.window);
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between some packets and WINDOW_MAX")]
    fn window(&self) -> u64 {
        let bytes = match (self.gauge.demand(), self.stage) {
            (Demand::Held, _) => WINDOW_PACKETS_MIN_BACKGROUND * self.packet,
            (_, Stage::Doubling) => self.window + self.probe_room,
            _ => self.window,
        };
        bytes as u64
    }

    /// quinn asks for a copy when the peer's port has changed and its address has not: another line behind the same
    /// router, or the same. It goes back to the original when nobody answers there.
    fn clone_box(&self) -> Box<dyn Controller> {
        let mut copy = self.clone();
        copy.begin_anew();
        Box::new(copy)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some packets")]
    fn initial_window(&self) -> u64 {
        (FIRST_PACKETS * self.packet) as u64
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_lets_a_packet_go_however_large_packets_become() {
        let now = tokio::time::Instant::now().into_std();
        let mut control = RateControl::new(Arc::default(), 8952, now, 1200);
        assert_eq!(control.window(), 4 * 1200 + 7500, "with room for a probe");
        control.on_mtu_update(8952);
        assert_eq!(control.window(), 4 * 8952);
    }

    fn milliseconds(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One that has seen round trips of 20 ms for a second.
    fn on_a_short_line(gauge: &Arc<Gauge>, began: Instant) -> RateControl {
        let mut control = RateControl::new(Arc::clone(gauge), 1452, began, 1452);
        for ms in (20..1000).step_by(20) {
            control.on_sent(began + milliseconds(ms - 20), 1452, 0);
            control.acked(began + milliseconds(ms), began + milliseconds(ms - 20), 1452.0, false, 0.02);
        }
        assert!((control.base - 0.02).abs() < 1e-9);
        control
    }

    /// Lets a packet make a round trip of 150 ms.
    fn long_turn(control: &mut RateControl, at: Instant) {
        control.on_sent(at, 1452, 0);
        control.acked(at + milliseconds(150), at, 1452.0, false, 0.02);
    }

    #[test]
    fn a_longer_line_after_a_move_is_no_queue() {
        let began = tokio::time::Instant::now().into_std();
        let gauge = Arc::new(Gauge::default());
        let mut control = on_a_short_line(&gauge, began);
        let moved = began + milliseconds(1000);
        gauge.line_changed();
        control.on_sent(moved, 1452, 0);
        // Sent on the old line: says nothing of the new one.
        control.acked(moved + milliseconds(5), moved - milliseconds(15), 1452.0, false, 0.02);
        assert!(control.base.is_infinite());
        long_turn(&mut control, moved + milliseconds(10));
        assert!((control.base - 0.15).abs() < 1e-9, "{}", control.base);
        assert_eq!(control.stage, Stage::Doubling);
    }

    #[test]
    fn a_copy_for_another_port_starts_anew_and_the_original_stays() {
        let began = tokio::time::Instant::now().into_std();
        let control = on_a_short_line(&Arc::default(), began);
        let copy = control.clone_box().into_any().downcast::<RateControl>();
        let mut copy = *copy.expect("its own kind");
        long_turn(&mut copy, began + milliseconds(1000));
        assert!((copy.base - 0.15).abs() < 1e-9, "{}", copy.base);
        assert!((control.base - 0.02).abs() < 1e-9);
    }
}
