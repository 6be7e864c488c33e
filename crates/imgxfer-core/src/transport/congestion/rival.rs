//! Beside somebody who keeps a queue, such as a TCP connection: holds a fair share of the pipe.
//!
//! In a queue that is served in order, each flow gets the part of the line that it has of the bytes in the pipe. How
//! many those are in all is the line's capacity times the round trip. So a window of just under half of that
//! balances one rival, whatever moves it; two of ours that do this beside each other alone hold less than the whole
//! together, so that the queue melts away and both go back to cruising.
//!
//! The capacity is known where the line was once ours alone. Else it is measured: the window is moved up and down
//! by a little, and the round trip follows by that many bytes over the capacity, whatever the rival does meanwhile.

/// What a round found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pipe {
    /// Mean round trip, seconds.
    pub(super) rtt: f64,
    /// Least queue, seconds.
    pub(super) queue: f64,
    /// Share of packets lost.
    pub(super) loss: f64,
    /// Round trip without queue, seconds.
    pub(super) base: f64,
    /// Best rate of the last rounds.
    pub(super) rate: f64,
    /// Best rate ever, fading.
    pub(super) capacity: f64,
}

/// What to do next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict {
    /// Use this window, bytes.
    Share(f64),
    /// The queue is gone.
    Gone,
    /// There is no queue: the path has become longer.
    PathChanged,
}

/// A queue stands that is longer than this part of the base round trip, and this many seconds and packets ...
const QUEUE_OF_BASE: f64 = 0.6;
const QUEUE_MIN: f64 = 0.010;
const QUEUE_MIN_SHORT: f64 = 0.0025;
const QUEUE_PACKETS: f64 = 10.0;
/// ... or longer than this, since a base that was measured in somebody's queue is too long ...
const QUEUE_MAX: f64 = 0.035;
/// ... for so many cycles.
const SUSPICIOUS_CYCLES: u32 = 2;
/// Our part of the pipe, at most: just under half.
const SHARE: f64 = 0.47;
/// The queue overflows: less, as a loss makes TCP take less; then again more, each round.
const SHARE_ON_LOSS: f64 = 0.9;
const SHARE_GROWTH: f64 = 1.03;
const SHARE_MIN: f64 = 0.05;
const OVERFLOW_LOSS: f64 = 0.01;
const OVERFLOW_QUEUE: f64 = 0.7;
/// How far a round brings the window to its share.
const STEP: f64 = 0.3;
/// The window is moved by this much, up for some rounds and down for as many. The first show the change only.
const SWING: f64 = 0.15;
const HALF_ROUNDS: u32 = 4;
const SETTLING_ROUNDS: u32 = 2;
/// How much of what was measured counts from half to half, and how many halves make a measure.
const KEEP: f64 = 0.9;
const HALVES_MIN: f64 = 4.0;
const DEVIATIONS: f64 = 2.0;
/// A measured capacity is between these parts of the best rate seen.
const CAPACITY_LEAST: f64 = 0.7;
const CAPACITY_MOST: f64 = 4.0;
/// Until the capacity is measured the window grows by this, up to twice what it began with, and else by a packet a
/// round as TCP's does: a small window's swings move too little to be measured.
const GROWTH: f64 = 1.04;
const GROWTH_MAX: f64 = 2.0;
/// A round trip that follows the window by less than this part of what it should has no queue in it.
const NO_QUEUE: f64 = 0.1;
const NO_QUEUE_RATE: f64 = 0.35;
/// The queue is gone when it is below this part of the base, or this many seconds, for some rounds.
const GONE_OF_BASE: f64 = 0.2;
const GONE: f64 = 0.003;
const GONE_ROUNDS: u32 = 4;

/// Means over half a swing.
#[derive(Debug, Clone, Copy, Default)]
struct Half {
    window: f64,
    rtt: f64,
    rounds: f64,
    overflowed: bool,
}

/// How the round trip follows the window: a line through changes of both, by least squares.
#[derive(Debug, Clone, Copy, Default)]
struct Response {
    windows: f64,
    both: f64,
    rtts: f64,
    halves: f64,
}

/// By how much a longer window makes the round trip longer.
#[derive(Debug, Clone, Copy)]
struct Slope {
    seconds_a_byte: f64,
    /// How far chance may have moved that.
    error: f64,
}

impl Response {
    fn add(&mut self, window: f64, rtt: f64) {
        self.windows = self.windows * KEEP + window * window;
        self.both = self.both * KEEP + window * rtt;
        self.rtts = self.rtts * KEEP + rtt * rtt;
        self.halves = self.halves * KEEP + 1.0;
    }

    /// How the round trip answers the window; `None` while little is known.
    fn slope(&self) -> Option<Slope> {
        if self.halves < HALVES_MIN || self.windows <= 0.0 {
            return None;
        }
        let seconds_a_byte = self.both / self.windows;
        let left = (self.rtts - seconds_a_byte * self.both).max(0.0);
        Some(Slope { seconds_a_byte, error: (left / (self.halves - 1.0) / self.windows).sqrt() })
    }
}

/// The state of sharing a line.
#[derive(Debug, Clone, Default)]
pub(super) struct Rival {
    suspicious: u32,
    window: f64,
    window_first: f64,
    packet: f64,
    share: f64,
    longest_queue: f64,
    round: u32,
    half: Half,
    before: Option<Half>,
    response: Response,
    capacity: Option<f64>,
    calm: u32,
}

impl Rival {
    /// A cycle has passed, whose least queue is `queue`; a packet takes `packet` seconds. Whether it is time to
    /// hold a share.
    pub(super) fn suspects(&mut self, queue: f64, base: f64, packet: f64) -> bool {
        let least = base.clamp(QUEUE_MIN_SHORT, QUEUE_MIN);
        let threshold = ((QUEUE_OF_BASE * base).max(least) + QUEUE_PACKETS * packet).min(QUEUE_MAX);
        let stands = queue.is_finite() && queue > threshold;
        // A queue of twice that needs no second look.
        let cycles = if queue > 2.0 * threshold { SUSPICIOUS_CYCLES } else { 1 };
        self.suspicious = if stands { self.suspicious + cycles } else { 0 };
        self.suspicious >= SUSPICIOUS_CYCLES
    }

    /// Begins to hold a share, with what is in flight now; a packet has `packet` bytes.
    pub(super) fn begin(&mut self, window: f64, queue: f64, packet: f64) {
        *self = Self { window, window_first: window, packet, share: SHARE, longest_queue: queue, ..Self::default() };
    }

    /// A round has passed with `window`.
    pub(super) fn next_window(&mut self, pipe: &Pipe, window: f64) -> Verdict {
        let overflows = self.overflows(pipe);
        self.round += 1;
        self.measure(pipe.rtt, window, overflows);
        if self.round.is_multiple_of(2 * HALF_ROUNDS)
            && let Some(Slope { seconds_a_byte: slope, error }) = self.response.slope()
        {
            let most = CAPACITY_MOST * pipe.capacity;
            let least = pipe.rate.max(pipe.capacity * CAPACITY_LEAST);
            self.capacity = (slope > DEVIATIONS * error).then(|| (1.0 / slope).min(most).max(least));
            let alone = pipe.rate > NO_QUEUE_RATE * pipe.capacity;
            if alone && slope + DEVIATIONS * error < NO_QUEUE / pipe.capacity {
                return Verdict::PathChanged;
            }
        }
        self.approach(pipe, overflows);
        self.calm = if pipe.queue < (GONE_OF_BASE * pipe.base).max(GONE) { self.calm + 1 } else { 0 };
        if self.calm >= GONE_ROUNDS {
            self.suspicious = 0;
            return Verdict::Gone;
        }
        let up = self.round % (2 * HALF_ROUNDS) < HALF_ROUNDS;
        Verdict::Share(self.window * if up { 1.0 + SWING } else { 1.0 - SWING })
    }

    fn overflows(&mut self, pipe: &Pipe) -> bool {
        self.longest_queue = (self.longest_queue * 0.998).max(pipe.queue);
        let overflows = pipe.loss > OVERFLOW_LOSS && pipe.queue > OVERFLOW_QUEUE * self.longest_queue;
        if overflows {
            self.window *= SHARE_ON_LOSS;
            self.share = (self.share * SHARE_ON_LOSS).max(SHARE_MIN);
        } else {
            self.share = (self.share * SHARE_GROWTH).min(SHARE);
        }
        overflows
    }

    fn measure(&mut self, rtt: f64, window: f64, overflows: bool) {
        self.half.overflowed |= overflows;
        let round = self.round % HALF_ROUNDS;
        if round >= SETTLING_ROUNDS {
            self.half.window += window;
            self.half.rtt += rtt;
            self.half.rounds += 1.0;
        }
        if round == HALF_ROUNDS - 1 {
            let half = std::mem::take(&mut self.half);
            let half = Half { window: half.window / half.rounds, rtt: half.rtt / half.rounds, ..half };
            if let Some(before) = self.before.filter(|_| !half.overflowed) {
                self.response.add(half.window - before.window, half.rtt - before.rtt);
            }
            // A full queue does not follow the window.
            self.before = (!half.overflowed).then_some(half);
        }
    }

    fn approach(&mut self, pipe: &Pipe, overflows: bool) {
        let share = |capacity: f64| capacity * pipe.rtt * self.share;
        match self.capacity {
            Some(capacity) => self.window += STEP * (share(capacity) - self.window),
            None if self.window < share(pipe.capacity) => {
                self.window += STEP * (share(pipe.capacity) - self.window);
            }
            None if !overflows => {
                let grown = (self.window * GROWTH).min(self.window_first * GROWTH_MAX);
                self.window = grown.max(self.window + self.packet);
            }
            None => {}
        }
    }
}
