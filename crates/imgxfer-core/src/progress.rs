//! What a transfer tells while it runs.

use std::fmt;
use std::time::Duration;

use crate::codec::{CodecId, Level};
use crate::ids::{ManifestRoot, TransferId};
use crate::units::to_f64;

/// How far a transfer is. All counts are for the whole job, also over interruptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Instances that are expected; grows if more turn up.
    pub instances_expected: u64,
    /// Original bytes that are expected.
    pub bytes_expected: u64,
    /// Instances committed at the receiver, those it had before included.
    pub instances_committed: u64,
    /// Original bytes of those.
    pub bytes_committed: u64,
    /// Original bytes that are there and verified: sent in this transfer, or found there.
    pub bytes_arrived: u64,
    /// Of those, bytes that the receiver had before: from an interrupted transfer or an earlier one.
    pub bytes_present: u64,
    /// Bytes of records sent or received: the payload of the line.
    pub payload_bytes: u64,
    /// Original bytes in those records.
    pub payload_raw_bytes: u64,
    /// How the newest record of something other than headers was coded.
    pub coded: Option<Coded>,
    /// Bytes of UDP datagrams sent or received, both ways, on this connection.
    pub line_bytes: u64,
    /// How the line of this connection is; `None` before the first look.
    pub line: Option<LineFigures>,
    /// Instances that failed or were left out for an error.
    pub instances_failed: u64,
}

impl Progress {
    /// Adds what an earlier connection of the same job put on the line.
    #[must_use]
    pub const fn with_line_of(mut self, earlier: &Self) -> Self {
        self.payload_bytes += earlier.payload_bytes;
        self.payload_raw_bytes += earlier.payload_raw_bytes;
        self.line_bytes += earlier.line_bytes;
        self
    }

    /// Original bytes for each byte of the records so far; `None` before the first.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        (self.payload_bytes > 0).then(|| to_f64(self.payload_raw_bytes) / to_f64(self.payload_bytes))
    }
}

/// How the line of a transfer is just now, as seen from this end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineFigures {
    /// Round trip, smoothed.
    pub rtt: Duration,
    /// How much of it is waiting in queues on the way.
    pub queue_delay: Duration,
    /// Bytes a second that the congestion controller thinks the line takes; 0 while it does not know.
    pub rate_bytes: u64,
    /// Packets that this side sent in the last seconds.
    pub recent_packets: u64,
    /// Packets that it gave up for lost meanwhile.
    pub recent_lost: u64,
    /// What carries the session: `udp`, or `tls` where a network passes no UDP.
    pub carrier: &'static str,
    /// The limit in force, in bytes of records a second.
    pub limit_bytes: Option<u64>,
}

impl LineFigures {
    /// Packets lost of those sent, from 0 to 1, in the last seconds.
    #[must_use]
    pub fn loss(&self) -> f64 {
        (to_f64(self.recent_lost) / to_f64(self.recent_packets.max(1))).min(1.0)
    }
}

impl fmt::Display for LineFigures {
    /// `RTT 31 ms, queue 4 ms, loss 0.1 %`, and what is out of the ordinary.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| (time.as_secs_f64() * 1e3).round();
        write!(f, "RTT {} ms, queue {} ms, loss {:.1} %", ms(self.rtt), ms(self.queue_delay), self.loss() * 100.0)?;
        if self.carrier == "tls" {
            f.write_str(", over TLS")?;
        }
        if let Some(limit) = self.limit_bytes {
            write!(f, ", limit {} Mbit/s", (to_f64(limit) * 8e-4).round() / 100.0)?;
        }
        Ok(())
    }
}

/// How a record was coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coded {
    /// Its codec.
    pub codec: CodecId,
    /// Its level, where it was made on this side and not taken from a store.
    pub level: Option<Level>,
}

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Some(level) => write!(f, "{} level {}", self.codec, level.get()),
            None => self.codec.fmt(f),
        }
    }
}

/// What is to be said of a file that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Remark {
    /// It ends before its elements do, and is sent as it is.
    Truncated,
    /// Its Study, Series or SOP Instance UID cannot be used, and a derived one stands for it.
    DerivedUid,
    /// It is byte for byte another file that is sent, and is not sent twice.
    Copy,
}

/// Something worth telling a person or a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferEvent {
    /// A transfer began on a connection.
    Started {
        /// Its id.
        transfer: TransferId,
    },
    /// What is asked for is still arriving at the peer: it is followed until it has.
    Following,
    /// Some way along; a few times a second.
    Progress(Progress),
    /// A file was left out because it is not meant to be sent; nothing is wrong.
    Skipped {
        /// The file, as the user named it.
        label: String,
        /// Why.
        reason: String,
    },
    /// A file is sent, and there is something to be said of it.
    Remarked {
        /// The file, as the user named it.
        label: String,
        /// What.
        remark: Remark,
    },
    /// An instance did not arrive; the rest goes on.
    Failed {
        /// The file, as the user named it, or the instance.
        label: String,
        /// Why, and what to do.
        reason: String,
    },
    /// No connection has stood yet; it will be tried again.
    Unreached {
        /// Why, and what to look at.
        reason: String,
        /// After so many milliseconds.
        retry_in_ms: u64,
    },
    /// The connection was lost, or the peer sent this side away for a while; it will be tried again.
    Interrupted {
        /// Why.
        reason: String,
        /// After so many milliseconds.
        retry_in_ms: u64,
    },
    /// Everything is settled and the receipt has been checked.
    Settled {
        /// Root of the manifest.
        root: ManifestRoot,
        /// Whether whole studies are committed.
        complete: bool,
    },
}

/// Is told what happens in a transfer. Calls come from the transfer's task: they must not block.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn on_event(&self, event: &TransferEvent);
}

impl<F: Fn(&TransferEvent) + Send + Sync> Observer for F {
    fn on_event(&self, event: &TransferEvent) {
        self(event);
    }
}
