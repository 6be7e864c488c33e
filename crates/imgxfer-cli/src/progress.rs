//! Tells how far a transfer is: one bar for the whole job on a terminal, or JSON lines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use imgxfer_core::clock::Stopwatch;
use imgxfer_core::codec::Level;
use imgxfer_core::progress::{Observer, Progress, Remark, TransferEvent};
use imgxfer_core::sync::lock;
use imgxfer_core::units::mbit_of_bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::meter::{self, Every, Left, Steady};
use crate::output::{Output, safe};
use crate::rates::{Rate, Rates, human_time, time_left};

/// Time between two JSON lines of progress.
const JSON_INTERVAL: Duration = Duration::from_millis(500);

/// Watches one transfer, over all its connections.
#[derive(Debug)]
pub(crate) struct Reporter {
    output: Output,
    bar: ProgressBar,
    clock: Stopwatch,
    state: Mutex<State>,
}

/// What has been told so far.
#[derive(Debug, Default)]
struct State {
    rates: Rates,
    newest: Progress,
    steady: Steady,
    left: Left,
    every: Every,
    told_at: Option<Duration>,
    found: Findings,
    /// What was told in an earlier connection: told once is enough.
    told: BTreeMap<String, String>,
}

/// Files that were left out of the present connection's transfer, by name, with reasons. Each connection
/// looks at every file anew.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    /// Not meant to be sent.
    pub(crate) skipped: BTreeMap<String, String>,
    /// Should have been sent.
    pub(crate) failed: BTreeMap<String, String>,
    /// Sent, with something to be said of it.
    pub(crate) remarks: BTreeSet<(Remark, String)>,
}

impl Findings {
    /// How many files have this remark.
    pub(crate) fn count(&self, remark: Remark) -> usize {
        self.remarks.iter().filter(|(of, _)| *of == remark).count()
    }
}

/// The name of a remark for machines.
const fn name_of(remark: Remark) -> &'static str {
    match remark {
        Remark::Truncated => "truncated",
        Remark::DerivedUid => "derived-uid",
        Remark::Copy => "copy",
        _ => "other",
    }
}

impl Reporter {
    /// Starts the clock, and shows a bar where there is somebody to look at it.
    pub(crate) fn new(output: &Output) -> Self {
        let bar = if output.shows_progress() {
            ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(8))
        } else {
            ProgressBar::hidden()
        };
        // The template is a constant; the line is ours, since it must fit any terminal.
        bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { output: output.clone(), bar, clock: Stopwatch::start(), state: Mutex::default() }
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Takes the bar away. What was left out, in the end.
    pub(crate) fn finish(&self) -> Findings {
        self.bar.finish_and_clear();
        self.state().found.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn progress(&self, progress: &Progress) {
        let mut state = self.state();
        let now = self.clock.elapsed();
        let rate = state.rates.note(now, progress);
        state.newest = *progress;
        let steady = state.steady.note(now, rate);
        let left = state.left.note(now, progress, steady);
        if self.output.shows_progress() {
            // The last place of a line makes some terminals begin the next.
            self.bar.set_message(meter::line(progress, steady, left, meter::talk_width().saturating_sub(1)));
        }
        if self.output.logs_progress() && state.every.is_due(now) {
            self.output.say(&meter::entry(progress, steady, left));
        }
        if self.output.is_json() && state.told_at.is_none_or(|told| now.saturating_sub(told) >= JSON_INTERVAL) {
            state.told_at = Some(now);
            drop(state);
            self.object(&progress_object(progress, rate));
        }
    }

    /// A reader that has gone is noticed when the result is written.
    fn object(&self, value: &serde_json::Value) {
        let _told: anyhow::Result<()> = self.output.object(value);
    }

    fn remark(&self, label: &str, remark: Remark) {
        let news = self.state().found.remarks.insert((remark, label.to_owned()));
        if news {
            self.object(&json!({ "event": "remark", "file": label, "remark": name_of(remark) }));
        }
    }

    fn left_out(&self, event: &'static str, label: &str, reason: &str) {
        let mut state = self.state();
        let list = if event == "failed" { &mut state.found.failed } else { &mut state.found.skipped };
        list.insert(label.to_owned(), reason.to_owned());
        let news = state.told.insert(label.to_owned(), reason.to_owned()).is_none_or(|before| before != reason);
        drop(state);
        if news {
            self.object(&json!({ "event": event, "file": label, "reason": reason }));
        }
    }
}

impl Observer for Reporter {
    fn on_event(&self, event: &TransferEvent) {
        match event {
            TransferEvent::Started { transfer } => {
                self.state().found = Findings::default();
                self.object(&json!({ "event": "started", "transfer": transfer.to_string() }));
            }
            TransferEvent::Progress(progress) => self.progress(progress),
            TransferEvent::Skipped { label, reason } => self.left_out("skipped", label, reason),
            TransferEvent::Failed { label, reason } => self.left_out("failed", label, reason),
            TransferEvent::Remarked { label, remark } => self.remark(label, *remark),
            TransferEvent::Following => {
                let text = "still arriving there: following it until it is whole (--now ends with what is there)";
                self.bar.suspend(|| self.output.say(text));
                self.object(&json!({ "event": "following" }));
            }
            TransferEvent::Interrupted { reason, retry_in_ms } => {
                let wait = human_time(Duration::from_millis(*retry_in_ms));
                let text = format!("interrupted ({}), trying again in {wait}", safe(reason));
                self.bar.suspend(|| self.output.say(&text));
                self.object(&json!({ "event": "interrupted", "reason": reason, "retry_in_ms": retry_in_ms }));
            }
            TransferEvent::Unreached { reason, retry_in_ms } => {
                let wait = human_time(Duration::from_millis(*retry_in_ms));
                self.bar.suspend(|| self.output.say(&format!("{}; trying once more in {wait}", safe(reason))));
                self.object(&json!({ "event": "unreached", "reason": reason, "retry_in_ms": retry_in_ms }));
            }
            _ => {}
        }
    }
}

fn progress_object(progress: &Progress, rate: Rate) -> serde_json::Value {
    json!({
        "event": "progress",
        "instances": progress.instances_committed,
        "instances_expected": progress.instances_expected,
        "bytes": progress.bytes_arrived,
        "bytes_expected": progress.bytes_expected,
        "bytes_present": progress.bytes_present,
        "payload_bytes": progress.payload_bytes,
        "line_bytes": progress.line_bytes,
        "codec": progress.coded.map(|coded| coded.codec.to_string()),
        "level": progress.coded.and_then(|coded| coded.level).map(Level::get),
        "ratio": progress.ratio(),
        "rtt_ms": progress.line.map(|line| line.rtt.as_secs_f64() * 1e3),
        "queue_ms": progress.line.map(|line| line.queue_delay.as_secs_f64() * 1e3),
        "loss_percent": progress.line.map(|line| line.loss() * 100.0),
        "carrier": progress.line.map(|line| line.carrier),
        "limit_mbps": progress.line.and_then(|line| line.limit_bytes).map(mbit_of_bytes),
        "effective_bps": rate.effective_bps.round(),
        "line_bps": rate.line_bps.round(),
        "seconds_left": time_left(progress, rate).map(|time| time.as_secs()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgxfer_core::codec::CodecId;
    use imgxfer_core::progress::{Coded, LineFigures};

    use crate::output::Manner;

    #[test]
    fn a_new_connection_looks_at_every_file_anew() {
        let reporter = Reporter::new(&Output::new(Manner { json: false, quiet: true }));
        let failed = |label: &str| {
            let (label, reason) = (label.to_owned(), "changed".to_owned());
            reporter.on_event(&TransferEvent::Failed { label, reason });
        };
        let transfer = imgxfer_core::ids::TransferId::from_bytes([0; 16]);
        reporter.on_event(&TransferEvent::Started { transfer });
        failed("a");
        failed("a");
        failed("b");
        assert_eq!(reporter.finish().failed.len(), 2);
        reporter.on_event(&TransferEvent::Started { transfer });
        failed("b");
        assert_eq!(reporter.finish().failed.into_keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn machines_are_told_the_same() {
        let mut progress = Progress { instances_expected: 10, bytes_expected: 2_000_000, ..Progress::default() };
        progress.coded = Some(Coded { codec: CodecId::STORE, level: None });
        let (rtt, queue_delay) = (Duration::from_micros(31_400), Duration::from_micros(3_600));
        progress.line = Some(LineFigures { rtt, queue_delay, limit_bytes: Some(500_000), ..LineFigures::default() });
        let object = progress_object(&progress, Rate { effective_bps: 1e6, line_bps: 5e5 });
        assert_eq!((&object["codec"], &object["level"]), (&json!("store"), &json!(null)));
        assert_eq!((&object["rtt_ms"], &object["limit_mbps"]), (&json!(31.4), &json!(4.0)));
    }
}
