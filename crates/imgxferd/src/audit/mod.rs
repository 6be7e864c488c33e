//! Who asked for what, got it, sent it or changed it: one hash-chained file that is only ever appended to.
//!
//! Every door of the daemon tells its [`Audit`]; one thread writes. A record is a line of JSON with the hash of the line
//! before and its own ([`line`]); the site signs the chain from time to time ([`seal`]). Files are turned and old ones
//! removed by [`book`]. [`verify`](verify()) is what says whether all of it holds. `docs/audit.md` is the format.

mod book;
mod event;
mod files;
mod line;
mod seal;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use imgxfer_core::clock::Stopwatch;
use imgxfer_core::sync::lock;
use imgxfer_core::transport::Identity;
use imgxfer_core::work::guarded;

use crate::config::AuditConfig;
use book::Turns;
pub(crate) use event::{About, Actor, By, Entry, Event, PeerRow};
pub use files::files_in;
pub use line::Record;
pub use verify::{FAULTS_MAX, Fault, Mark, Verified, verify};
use writer::{Desk, Writer};

/// Name of the file that is written to, in the folder of the audit.
pub const AUDIT_FILE: &str = files::CURRENT;

/// Reads a line of the file, without its end; `None` where it is no record, or not what its hash says.
#[must_use]
pub fn read_line(line: &[u8]) -> Option<Record> {
    line::parse(line).ok()
}

/// Bytes of one file.
const FILE_BYTES: u64 = 64 << 20;
/// How long a file is written to: a month, and a day where old ones are removed.
const FILE_DAYS: i64 = 30;
const DAY: i64 = 86_400;
/// How long what is acknowledged waits for its record.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Connections of strangers that are written down one by one within a minute; the others are counted.
const STRANGERS_A_MINUTE: u64 = 60;
const MINUTE: Duration = Duration::from_mins(1);

/// The doors' end of it. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Audit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None` where no audit is kept.
    desk: Option<Arc<Desk>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    required: bool,
    strangers: Mutex<Strangers>,
    over: AtomicBool,
}

#[derive(Debug)]
struct Strangers {
    since: Stopwatch,
    seen: u64,
}

impl Audit {
    /// Starts the thread. That the file cannot be written is told by [`Audit::is_sound`] and tried again.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start(config: &AuditConfig, identity: &Identity) -> std::io::Result<Self> {
        let keep = config.keep.map(|keep| i64::try_from(keep.as_secs()).unwrap_or(i64::MAX));
        let age = if keep.is_some() { DAY } else { FILE_DAYS * DAY };
        Self::start_with(config, identity, Turns { bytes: FILE_BYTES, age, keep })
    }

    fn start_with(config: &AuditConfig, identity: &Identity, turns: Turns) -> std::io::Result<Self> {
        if !config.enabled {
            return Ok(Self::none());
        }
        let desk = Arc::new(Desk::default());
        let writer = Writer::new(Arc::clone(&desk), config.path.clone(), turns, identity.clone());
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || {
            let desk = Arc::clone(&writer.desk);
            if let Err(error) = guarded("write the audit", move || writer.run()) {
                tracing::error!(%error, "nothing is written to the audit any more until the daemon is started anew");
                desk.give_up();
            }
        })?;
        let thread = Mutex::new(Some(thread));
        Ok(Self::of(Some(desk), thread, config.required))
    }

    /// None is kept.
    pub(crate) fn none() -> Self {
        Self::of(None, Mutex::default(), false)
    }

    fn of(desk: Option<Arc<Desk>>, thread: Mutex<Option<JoinHandle<()>>>, required: bool) -> Self {
        let strangers = Mutex::new(Strangers { since: Stopwatch::start(), seen: 0 });
        Self(Arc::new(Inner { desk, thread, required, strangers, over: AtomicBool::new(false) }))
    }

    /// Writes a record soon. Never waits.
    pub(crate) fn tell(&self, entry: &Entry) {
        if let Some(desk) = &self.0.desk {
            desk.put(entry, false);
        }
    }

    /// Writes a record, and waits until it is durable or cannot be, up to two seconds. Returns whether it is, or none is
    /// kept. Blocks.
    pub(crate) fn tell_and_wait(&self, entry: &Entry) -> bool {
        let Some(desk) = &self.0.desk else { return true };
        desk.put(entry, true).is_some_and(|number| desk.wait(number, WAIT_MAX))
    }

    /// Writes that a stranger was turned away; of more than 60 in a minute only the number.
    pub(crate) fn tell_stranger(&self, entry: &Entry) {
        if self.count_stranger() {
            self.tell(entry);
        }
    }

    /// Whether another stranger is written down by himself.
    fn count_stranger(&self) -> bool {
        let mut strangers = lock(&self.0.strangers);
        let over = strangers.since.elapsed() >= MINUTE;
        let more = strangers.seen.saturating_sub(STRANGERS_A_MINUTE);
        if over {
            *strangers = Strangers { since: Stopwatch::start(), seen: 0 };
        }
        strangers.seen += 1;
        let shown = strangers.seen <= STRANGERS_A_MINUTE;
        drop(strangers);
        if over && more > 0 {
            let entry = Entry::new(Actor::Stranger { key: None }, Event::SessionsRefused { count: more });
            self.tell(&entry.refused("too many to be written down one by one"));
        }
        shown
    }

    /// Whether the file can be written, as far as is known.
    pub(crate) fn is_sound(&self) -> bool {
        self.0.desk.as_ref().is_none_or(|desk| !desk.failing.load(Ordering::Relaxed))
    }

    /// Whether work may be taken: always, unless the configuration wants an audit of everything and it cannot be written.
    pub(crate) fn takes_work(&self) -> bool {
        !self.0.required || self.is_sound()
    }

    /// Records that found no room in memory while the file could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.0.desk.as_ref().map_or(0, |desk| desk.lost.load(Ordering::Relaxed))
    }

    /// Writes what is there, signs it, and ends. Later calls do nothing, and what is told later is not written. Blocks.
    pub(crate) fn close(&self) {
        let Some(desk) = &self.0.desk else { return };
        if !self.0.over.swap(true, Ordering::Relaxed) {
            let more = {
                let strangers = lock(&self.0.strangers);
                strangers.seen.saturating_sub(STRANGERS_A_MINUTE)
            };
            if more > 0 {
                let entry = Entry::new(Actor::Stranger { key: None }, Event::SessionsRefused { count: more });
                self.tell(&entry.refused("too many to be written down one by one"));
            }
            desk.close();
        }
        let thread = lock(&self.0.thread).take();
        if let Some(thread) = thread {
            // It cannot panic: that is caught, and told.
            drop(thread.join());
        }
    }
}
