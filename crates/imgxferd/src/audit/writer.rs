//! The one thread that writes: takes what waits together, chains it, signs where that is due, and makes it durable at once.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imgxfer_core::clock::{Stopwatch, UnixSeconds};
use imgxfer_core::sync::lock;
use imgxfer_core::transport::Identity;
use imgxfer_core::units::to_u64;

use super::book::{Book, End, Turns};
use super::event::{Actor, Entry, Event};
use super::line;
use super::seal::{Seal, write_head};

/// Most that waits while the file cannot be written: records, and bytes of them.
const WAITING_MAX: usize = 20_000;
const WAITING_BYTES_MAX: usize = 16 << 20;
/// What is written at once.
const BATCH_BYTES: usize = 1 << 20;
/// What nobody waits for is written together with what comes within this time.
const GATHER: Duration = Duration::from_millis(100);
/// A signature follows so many records ...
const SEAL_RECORDS: u64 = 256;
/// ... or so much time after the first that has none.
const SEAL_AFTER: Duration = Duration::from_secs(10);
/// How often old files are looked for.
const PRUNE_EVERY: Duration = Duration::from_hours(1);
/// Pauses between tries while the file cannot be written.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<String>,
    bytes: usize,
    /// Records taken so far, and of those written.
    taken: u64,
    written: u64,
    /// Records that found no room, and are not told of yet.
    lost: u64,
    /// Somebody waits for what is there.
    hurry: bool,
    closing: bool,
    closed: bool,
}

/// What the writer and those who tell it share.
#[derive(Debug, Default)]
pub(super) struct Desk {
    queue: Mutex<Queue>,
    /// Something waits.
    wake: Condvar,
    /// Something was written, or cannot be.
    told: Condvar,
    pub(super) failing: AtomicBool,
    pub(super) lost: AtomicU64,
}

/// The time as records have it.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

impl Desk {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Takes a record; returns its number among those taken, `None` when there is no room.
    pub(super) fn put(&self, entry: &Entry, hurry: bool) -> Option<u64> {
        let text = entry.text(&now());
        let mut queue = self.queue();
        if queue.closed && !self.failing.load(Ordering::Relaxed) {
            return None;
        }
        let full = queue.closed || queue.waiting.len() >= WAITING_MAX || queue.bytes + text.len() > WAITING_BYTES_MAX;
        if full {
            queue.lost += 1;
            self.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        queue.bytes += text.len();
        queue.waiting.push_back(text);
        queue.taken += 1;
        queue.hurry |= hurry;
        let number = queue.taken;
        drop(queue);
        self.wake.notify_one();
        Some(number)
    }

    /// Waits until a record is durable; returns whether it is. Gives up when it cannot be written.
    pub(super) fn wait(&self, number: u64, most: Duration) -> bool {
        let since = Stopwatch::start();
        let mut queue = self.queue();
        loop {
            if queue.written >= number {
                return true;
            }
            let left = most.saturating_sub(since.elapsed());
            if left.is_zero() || queue.closed || self.failing.load(Ordering::Relaxed) {
                return false;
            }
            queue = self.told.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes nothing more after what is there.
    pub(super) fn close(&self) {
        self.queue().closing = true;
        self.wake.notify_one();
    }

    /// Nothing is written any more.
    pub(super) fn give_up(&self) {
        self.failing.store(true, Ordering::Relaxed);
        self.queue().closed = true;
        self.told.notify_all();
    }

    fn done(&self, records: u64) {
        self.queue().written += records;
        self.told.notify_all();
    }

    /// Waits for something to do, no longer than `most`; takes what is to be written now.
    fn take(&self, most: Duration, gather: bool) -> Batch {
        let since = Stopwatch::start();
        let mut queue = self.queue();
        loop {
            let ready = if queue.waiting.is_empty() { queue.closing } else { queue.hurry || queue.closing || !gather };
            let most = if queue.waiting.is_empty() { most } else { most.min(GATHER) };
            let left = most.saturating_sub(since.elapsed());
            if ready || left.is_zero() {
                break;
            }
            queue = self.wake.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut batch = Batch { closing: queue.closing, lost: std::mem::take(&mut queue.lost), ..Batch::default() };
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && let Some(text) = queue.waiting.pop_front()
        {
            bytes += text.len();
            batch.texts.push(text);
        }
        queue.bytes -= bytes;
        queue.hurry &= !queue.waiting.is_empty();
        batch.closing &= queue.waiting.is_empty();
        batch
    }

    fn give_back(&self, batch: Batch) {
        let mut queue = self.queue();
        queue.lost += batch.lost;
        for text in batch.texts.into_iter().rev() {
            queue.bytes += text.len();
            queue.waiting.push_front(text);
        }
    }
}

#[derive(Debug, Default)]
struct Batch {
    texts: Vec<String>,
    lost: u64,
    /// Nothing follows.
    closing: bool,
}

/// The writing end.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) desk: std::sync::Arc<Desk>,
    pub(super) folder: PathBuf,
    pub(super) turns: Turns,
    pub(super) identity: Identity,
    book: Option<Book>,
    /// What was found at the start, until it is written.
    found: Vec<Event>,
    /// A signature was made since the start.
    has_sealed: bool,
    /// Records without a signature, and since when there are any.
    unsealed: u64,
    unsealed_since: Stopwatch,
    pruned: Option<Stopwatch>,
    pause: Duration,
}

impl Writer {
    pub(super) fn new(desk: std::sync::Arc<Desk>, folder: PathBuf, turns: Turns, identity: Identity) -> Self {
        Self {
            desk,
            folder,
            turns,
            identity,
            book: None,
            found: Vec::new(),
            has_sealed: false,
            unsealed: 0,
            unsealed_since: Stopwatch::start(),
            pruned: None,
            pause: RETRY_MIN,
        }
    }

    /// Writes until it is closed.
    pub(super) fn run(mut self) {
        loop {
            let failing = self.desk.failing.load(Ordering::Relaxed);
            let wait = if failing { self.pause } else { self.next_look() };
            if failing {
                self.rest(wait);
            }
            let batch = self.desk.take(if failing { Duration::ZERO } else { wait }, true);
            let closing = batch.closing;
            match self.write(&batch) {
                Ok(()) => {
                    self.works_again();
                    self.desk.done(to_u64(batch.texts.len()));
                    if closing {
                        break;
                    }
                }
                Err(error) => {
                    self.desk.give_back(batch);
                    self.fails(&error);
                    if self.desk.queue().closing {
                        break;
                    }
                }
            }
        }
        self.desk.queue().closed = true;
        self.desk.told.notify_all();
    }

    /// When there is something to do without anything new.
    fn next_look(&self) -> Duration {
        if self.book.is_none() {
            return Duration::ZERO;
        }
        if self.unsealed > 0 { SEAL_AFTER.saturating_sub(self.unsealed_since.elapsed()) } else { PRUNE_EVERY }
    }

    /// Waits between two tries, unless everything ends.
    fn rest(&self, pause: Duration) {
        let since = Stopwatch::start();
        let mut queue = self.desk.queue();
        while !queue.closing {
            let left = pause.saturating_sub(since.elapsed());
            if left.is_zero() {
                break;
            }
            queue = self.desk.wake.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn fails(&mut self, error: &io::Error) {
        // What the file holds now is looked at anew.
        self.book = None;
        if self.desk.failing.swap(true, Ordering::Relaxed) {
            self.pause = (self.pause * 2).min(RETRY_MAX);
        } else {
            self.pause = RETRY_MIN;
            tracing::error!(%error, folder = %self.folder.display(), "the audit cannot be written: make room, or look at the disk; what is to be written waits in memory");
        }
        self.desk.told.notify_all();
    }

    fn works_again(&self) {
        if self.desk.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the audit is written again");
        }
    }

    /// Writes a batch. On an error nothing of it is written.
    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let mut book = match self.book.take() {
            Some(book) => book,
            None => {
                let (book, found) = Book::open(&self.folder, self.turns, self.identity.peer_id())?;
                for event in found {
                    // Known already, where it could not be written so far.
                    if self.found.contains(&event) {
                        continue;
                    }
                    match &event {
                        Event::Doubt { about } => {
                            tracing::error!(%about, "the audit is not what this site wrote; a new file is begun");
                        }
                        Event::IdentityChanged { before, .. } => {
                            tracing::warn!(%before, "this site has another key than the one that has signed its audit so far; if nobody has replaced it, the audit before is not this site's");
                        }
                        _ => {}
                    }
                    self.found.push(event);
                }
                book
            }
        };
        let result = self.write_to(&mut book, batch);
        self.book = Some(book);
        let head = result?;
        if let Some(head) = head
            && let Err(error) = write_head(&self.folder, &head)
        {
            // Tried again with the next signature, which is due at once then.
            self.unsealed = SEAL_RECORDS;
            tracing::error!(%error, "the signature beside the audit cannot be written");
        }
        Ok(())
    }

    /// Appends a batch, with what the audit has to say of itself; returns the signature over its end where one is due.
    fn write_to(&mut self, book: &mut Book, batch: &Batch) -> io::Result<Option<Seal>> {
        let now_seconds = UnixSeconds::now().0;
        if book.is_full(now_seconds) {
            book.turn()?;
        }
        let mut own = self.found.clone();
        let mut old = Vec::new();
        if self.pruned.is_none_or(|since| since.elapsed() >= PRUNE_EVERY) {
            self.pruned = Some(Stopwatch::start());
            old = book.old(now_seconds)?;
            own.extend(old.iter().map(|(_, event)| event.clone()));
        }
        if batch.lost > 0 {
            own.push(Event::Lost { records: batch.lost });
        }
        let own: Vec<String> = own.into_iter().map(|event| Entry::new(Actor::Daemon, event).text(&now())).collect();
        let mut lines = Vec::new();
        let mut end = book.end;
        for text in own.iter().chain(&batch.texts) {
            end = chain(&mut lines, end, text);
        }
        if self.unsealed == 0 && end != book.end {
            self.unsealed_since = Stopwatch::start();
        }
        let unsealed = self.unsealed + (end.seq - book.end.seq);
        let late = unsealed >= SEAL_RECORDS || self.unsealed_since.elapsed() >= SEAL_AFTER;
        let mut head = None;
        if unsealed > 0 && (late || batch.closing || !self.has_sealed || !own.is_empty()) {
            let seal = |end: End| Seal::sign(&self.identity, end.seq, &end.hash).map_err(io::Error::other);
            end = chain(&mut lines, end, &Entry::new(Actor::Daemon, Event::Checkpoint(seal(end)?)).text(&now()));
            head = Some(seal(end)?);
        }
        if !lines.is_empty() {
            book.append(&lines, end, now_seconds)?;
        }
        self.found.clear();
        self.has_sealed |= head.is_some();
        self.unsealed = if head.is_some() { 0 } else { unsealed };
        for (path, _) in old {
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(%error, "an old file of the audit could not be removed; it is tried again in an hour");
            }
        }
        Ok(head)
    }
}

fn chain(lines: &mut Vec<u8>, end: End, text: &str) -> End {
    let seq = end.seq + 1;
    End { seq, hash: line::make(lines, &end.hash, seq, text) }
}
