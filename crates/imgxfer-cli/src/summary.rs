//! What a transfer came to.

use std::time::Duration;

use imgxfer_core::codec::Level;
use imgxfer_core::progress::Progress;
use imgxfer_core::units::{human_bytes, to_f64};
use serde_json::{Value, json};

use crate::output::Output;
use crate::rates::{human_rate, human_time};

/// What went over the line, and how fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    /// Counts of the whole job.
    pub(crate) progress: Progress,
    /// How long it took, interruptions included.
    pub(crate) time: Duration,
}

impl Moved {
    /// Joins counts and time.
    pub(crate) const fn new(progress: Progress, time: Duration) -> Self {
        Self { progress, time }
    }

    /// Original bytes that were not there before.
    pub(crate) const fn bytes_new(&self) -> u64 {
        self.progress.bytes_arrived.saturating_sub(self.progress.bytes_present)
    }

    /// Original bytes that crossed for each byte on the line; `None` when nothing had to cross.
    pub(crate) fn line_multiple(&self) -> Option<f64> {
        let (new, line) = (self.bytes_new(), self.progress.line_bytes);
        (new > 0 && line > 0).then(|| to_f64(new) / to_f64(line))
    }

    /// What carried the newest connection; `None` when nothing had to cross.
    fn carrier(&self) -> Option<&'static str> {
        self.progress.line.map(|line| line.carrier)
    }

    /// Original bits a second.
    pub(crate) fn effective_bps(&self) -> f64 {
        to_f64(self.bytes_new()) * 8.0 / self.time.as_secs_f64().max(0.001)
    }

    /// Original bytes in words.
    pub(crate) fn original(&self, bytes: u64) -> String {
        match self.progress.bytes_present {
            0 => format!("{} of original files", human_bytes(bytes)),
            there => {
                format!("{} of original files, of which {} were already there", human_bytes(bytes), human_bytes(there))
            }
        }
    }

    /// Prints it for people.
    pub(crate) fn tell(&self, output: &Output) -> anyhow::Result<()> {
        let by = if self.carrier() == Some("tls") { ", over TLS, since UDP does not pass" } else { "" };
        output.line(&format!("on the line   {}{by}", human_bytes(self.progress.line_bytes)))?;
        if let Some(multiple) = self.line_multiple() {
            output.line(&format!("line multiple {multiple:.2} (original bytes moved for each byte on the line)"))?;
        }
        if let (Some(coded), Some(ratio)) = (self.progress.coded, self.progress.ratio()) {
            output.line(&format!("compression   {ratio:.2}, {coded} in the end"))?;
        }
        let rate = human_rate(self.effective_bps());
        output.line(&format!("time          {}, {rate} of original bytes", human_time(self.time)))
    }

    /// The same for machines.
    pub(crate) fn object(&self) -> Value {
        json!({
            "bytes_present": self.progress.bytes_present,
            "payload_bytes": self.progress.payload_bytes,
            "line_bytes": self.progress.line_bytes,
            "line_multiple": self.line_multiple(),
            "carrier": self.carrier(),
            "codec": self.progress.coded.map(|coded| coded.codec.to_string()),
            "level": self.progress.coded.and_then(|coded| coded.level).map(Level::get),
            "ratio": self.progress.ratio(),
            "seconds": self.time.as_secs_f64(),
            "effective_bps": self.effective_bps().round(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgxfer_core::progress::LineFigures;

    #[test]
    fn what_was_there_did_not_cross_the_line() {
        let mut progress = Progress { bytes_arrived: 3_000, bytes_present: 1_000, ..Progress::default() };
        progress.line_bytes = 500;
        let moved = Moved::new(progress, Duration::from_secs(2));
        assert!((moved.line_multiple().unwrap() - 4.0).abs() < 1e-9);
        assert!((moved.effective_bps() - 8_000.0).abs() < 1e-9);
        assert!(moved.original(3_000).contains("1.00 kB were already there"));
        assert_eq!(Moved::new(Progress::default(), Duration::ZERO).line_multiple(), None);
    }

    #[test]
    fn what_carried_it_is_told() {
        let line = LineFigures { carrier: "tls", ..LineFigures::default() };
        let moved = Moved::new(Progress { line: Some(line), ..Progress::default() }, Duration::ZERO);
        assert_eq!(moved.object()["carrier"], "tls");
        assert!(Moved::new(Progress::default(), Duration::ZERO).object()["carrier"].is_null());
    }
}
