//! What a transfer's progress tells of its line.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::pace::Pace;
use crate::progress::{LineFigures, Progress};
use crate::transport::{Carrier, Session};

/// Loss is that of the last seconds: so many samples, ...
const SAMPLES: usize = 5;
/// ... this far apart.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Watches the line of one session for one transfer.
#[derive(Debug)]
pub(crate) struct LineWatch {
    session: Session,
    bytes_before: u64,
    record_bytes: u64,
    /// When, packets sent, packets lost.
    samples: VecDeque<(Instant, u64, u64)>,
}

impl LineWatch {
    pub(crate) fn new(session: Session) -> Self {
        let bytes_before = session.stats().line_bytes();
        Self { session, bytes_before, record_bytes: 0, samples: VecDeque::new() }
    }

    /// Whether bytes of records have moved since the last call; `record_bytes` is how many by now.
    pub(crate) const fn has_moved(&mut self, record_bytes: u64) -> bool {
        let moved = record_bytes > self.record_bytes;
        self.record_bytes = record_bytes;
        moved
    }

    /// Writes down how the line is now.
    pub(crate) fn look(&mut self, progress: &mut Progress, pace: &Pace) {
        let stats = self.session.stats();
        let now = Instant::now();
        if self.samples.back().is_none_or(|(at, ..)| now.saturating_duration_since(*at) >= SAMPLE_EVERY) {
            self.samples.push_back((now, stats.sent_packets, stats.lost_packets));
            if self.samples.len() > SAMPLES {
                self.samples.pop_front();
            }
        }
        let (sent_then, lost_then) = self.samples.front().map_or((0, 0), |(_, sent, lost)| (*sent, *lost));
        progress.line_bytes = stats.line_bytes().saturating_sub(self.bytes_before);
        progress.line = Some(LineFigures {
            rtt: stats.rtt,
            queue_delay: stats.queue_delay,
            rate_bytes: stats.rate_bytes,
            recent_packets: stats.sent_packets.saturating_sub(sent_then),
            recent_lost: stats.lost_packets.saturating_sub(lost_then),
            carrier: match self.session.carrier() {
                Carrier::Udp => "udp",
                Carrier::Tls => "tls",
            },
            limit_bytes: pace.rate(),
        });
    }
}
