//! The index in an SQLite database.
//!
//! One file, in WAL mode with `synchronous=NORMAL`: after loss of power it is as it was at some earlier moment, and
//! [`recover`](super::recover) brings it up to what the packs tell. One connection writes; a few others read beside it, each seeing whole transactions. The
//! schema is in `docs/store-format.md`.

mod arrivals;
mod commit;
mod connection;
mod contents;
mod contradictions;
mod damage;
mod error;
mod known;
mod packs;
mod part;
mod query;
mod refill;
mod refresh;
mod removals;
mod schema;
mod search;
mod stored;
mod within;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::UnixSeconds;
use crate::ids::{InstanceHash, PackId, PageHash, PeerId, SopInstanceUid, StoreId, StudyUid};
use crate::store::search::{Answer, Search};
use crate::store::{
    Arrival, CommitBatch, Held, Index, IndexTotals, InstancesOf, Order, Orders, Publication, RecordAt, Refill, Removal,
    Removed, Scope, Stale, StoreError, StoredInstance, StudyRow,
};
use crate::sync::lock;

use commit::Committed;
use error::{damaged_row, index_error};
use within::Within;

/// An [`Index`] in an SQLite database.
///
/// Any number of threads may use it: writers wait for each other, readers wait for nobody. After a
/// failure of the disk under a write it refuses all further writes, until [`Index::reopen`] has read back from the
/// disk what is there.
pub struct SqliteIndex {
    path: PathBuf,
    /// The store that it is the index of, where it was opened for one.
    store: Option<StoreId>,
    writer: Mutex<Writer>,
    readers: Mutex<Readers>,
    /// The newest place in the order of things.
    newest: AtomicU64,
}

/// Reading connections that wait for the next reader.
#[derive(Default)]
struct Readers {
    /// How often the database was opened anew: connections of before are not used again.
    opened: u64,
    waiting: Vec<Connection>,
}

struct Writer {
    connection: Connection,
    /// Whether the disk failed under a write.
    failed: bool,
}

/// Reading connections kept for the next reader.
const READERS_MAX: usize = 4;

impl fmt::Debug for SqliteIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteIndex").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteIndex {
    /// Opens the database at `path`, makes it when it is not there, and brings an older schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Version`] when a newer program wrote it; [`StoreError::Index`] when it is damaged
    /// or no database, with what to do; [`StoreError::Io`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::new(path, None, connection::open_writer(path)?)
    }

    /// Opens the index of the store `store` at `path`. A file that is damaged, or that is the index of another store,
    /// is set aside under a name that ends in `.damaged-<n>` or `.other-<n>`, and an empty index is made in its place:
    /// [`recover`](super::recover) must fill it from the packs.
    ///
    /// # Errors
    /// As [`SqliteIndex::open`].
    pub fn open_for(path: &Path, store: StoreId) -> Result<Self, StoreError> {
        Self::new(path, Some(store), connection::open_for(path, store)?)
    }

    fn new(path: &Path, store: Option<StoreId>, connection: Connection) -> Result<Self, StoreError> {
        let newest = query::newest(&connection).map_err(|e| index_error("open it", &e))?;
        let writer = Mutex::new(Writer { connection, failed: false });
        let newest = AtomicU64::new(newest.0);
        Ok(Self { path: path.to_owned(), store, writer, readers: Mutex::default(), newest })
    }

    /// Reads through the whole database and compares its structures, as `imgxfer verify --store` does.
    ///
    /// # Errors
    /// [`StoreError::Index`] when it is damaged.
    pub fn check(&self) -> Result<(), StoreError> {
        self.read("check itself", |c| {
            let verdict: String = c.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
            Ok(if verdict == "ok" { Ok(()) } else { Err(damaged_row("check itself")) })
        })?
    }

    /// Runs one transaction that writes.
    fn write<T>(
        &self,
        what: &'static str,
        then: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut writer = lock(&self.writer);
        if writer.failed {
            let detail =
                "the disk failed under an earlier write, and what it holds has not been read back yet".to_owned();
            return Err(StoreError::IndexUnavailable { what, detail });
        }
        let behaviour = rusqlite::TransactionBehavior::Immediate;
        let result = writer.connection.transaction_with_behavior(behaviour).and_then(|tx| {
            let done = then(&tx)?;
            tx.commit()?;
            Ok(done)
        });
        result.map_err(|e| {
            writer.failed |= error::is_disk_failure(&e);
            index_error(what, &e)
        })
    }

    /// Runs one transaction that reads.
    fn read<T>(
        &self,
        what: &'static str,
        then: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let (opened, pooled) = {
            let mut readers = lock(&self.readers);
            (readers.opened, readers.waiting.pop())
        };
        let connection = match pooled {
            Some(connection) => connection,
            None => connection::open_reader(&self.path)?,
        };
        let result = connection.unchecked_transaction().and_then(|tx| then(&tx));
        let value = result.map_err(|e| index_error(what, &e))?;
        let mut readers = lock(&self.readers);
        if readers.opened == opened && readers.waiting.len() < READERS_MAX {
            readers.waiting.push(connection);
        }
        Ok(value)
    }
}

impl Index for SqliteIndex {
    fn reserve(&self, count: u64) -> Result<Orders, StoreError> {
        let first = self.newest.fetch_add(count, Ordering::Relaxed).saturating_add(1);
        Ok(Orders { first: Order(first) })
    }

    fn commit(&self, batch: &CommitBatch) -> Result<Vec<usize>, StoreError> {
        let newest = batch.instances.iter().map(|instance| instance.order.0).max().unwrap_or(0);
        self.newest.fetch_max(newest, Ordering::Relaxed);
        // A transaction that ends by an error is taken back.
        let mut doomed = None;
        let written = self.write("commit", |tx| match commit::commit(tx, batch)? {
            Committed::Done(contended) => query::tick(tx, newest).map(|()| contended),
            Committed::Doomed(pack) => {
                doomed = Some(pack);
                Err(rusqlite::Error::StatementChangedRows(0))
            }
        });
        doomed.map_or(written, |pack| Err(StoreError::NoSuchPack(pack)))
    }

    fn begin(&self, owner: PeerId, studies: &[StudyUid], at: UnixSeconds) -> Result<(), StoreError> {
        self.write("note a transfer", |tx| commit::begin(tx, owner, studies, at))
    }

    fn end(&self, owner: PeerId, studies: &[StudyUid]) -> Result<(), StoreError> {
        self.write("note the end of a transfer", |tx| commit::end(tx, owner, studies))
    }

    fn forget_running(&self) -> Result<(), StoreError> {
        self.write("forget what was running", packs::forget_running)
    }

    fn noted(&self, pack: PackId) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT noted FROM packs WHERE pack = ?1 AND NOT doomed";
        let noted: Option<i64> = self.read("look for a pack", |c| {
            c.prepare_cached(sql)?.query_row([pack.as_bytes()], |row| row.get(0)).optional()
        })?;
        Ok(noted.map(query::unsigned))
    }

    fn note(&self, pack: PackId, end: u64) -> Result<(), StoreError> {
        self.write("record a note", |tx| commit::note(tx, pack, end))
    }

    fn publish(&self, publication: &Publication) -> Result<Vec<u64>, StoreError> {
        self.newest.fetch_max(publication.order.0, Ordering::Relaxed);
        self.write("publish", |tx| {
            query::tick(tx, publication.order.0)?;
            commit::publish(tx, publication)
        })
    }

    fn remove(&self, removal: &Removal) -> Result<Removed, StoreError> {
        self.newest.fetch_max(removal.order.0, Ordering::Relaxed);
        self.write("remove", |tx| {
            query::tick(tx, removal.order.0)?;
            removals::remove(tx, removal)
        })
    }

    fn removals(&self, after: u64, limit: usize) -> Result<Vec<Removal>, StoreError> {
        self.read("list removals", |c| removals::list(c, after, limit))
    }

    fn instances(
        &self,
        scope: &Scope,
        of: &InstancesOf,
        after: Option<&StoredInstance>,
        limit: usize,
    ) -> Result<Vec<StoredInstance>, StoreError> {
        self.read("list instances", |c| query::instances(c, &Within::of(c, scope)?, of, after, limit))
    }

    fn arrivals(&self, instance: &StoredInstance) -> Result<Vec<Arrival>, StoreError> {
        self.read("look how an instance came", |c| arrivals::of(c, instance))
    }

    fn studies_with(&self, scope: &Scope, sop_instance: &SopInstanceUid) -> Result<Vec<StudyUid>, StoreError> {
        self.read("look for an instance", |c| query::studies_with(c, &Within::of(c, scope)?, sop_instance))
    }

    fn has(&self, scope: &Scope, study: &StudyUid, hashes: &[InstanceHash]) -> Result<Vec<Held>, StoreError> {
        self.read("look for instances", |c| query::has(c, &Within::of(c, scope)?, study, hashes))
    }

    fn page(&self, owner: PeerId, page: &PageHash) -> Result<Option<Bytes>, StoreError> {
        let sql = "SELECT encoded FROM pages JOIN owners ON owners.id = pages.owner WHERE peer = ?1 AND hash = ?2";
        let encoded: Option<Vec<u8>> = self.read("read a manifest page", |c| {
            c.prepare_cached(sql)?.query_row(params![owner.as_bytes(), page.as_bytes()], |row| row.get(0)).optional()
        })?;
        Ok(encoded.map(Bytes::from))
    }

    fn study(&self, scope: &Scope, study: &StudyUid) -> Result<Vec<StudyRow>, StoreError> {
        self.read("look for a study", |c| query::study(c, &Within::of(c, scope)?, study))
    }

    fn stale(&self) -> Result<Stale, StoreError> {
        self.read("count what is to be read again", refill::stale)
    }

    fn stale_instances(&self, limit: usize) -> Result<Vec<StoredInstance>, StoreError> {
        self.read("list what is to be read again", |c| refill::instances(c, limit))
    }

    fn refill(&self, refills: &[Refill]) -> Result<(), StoreError> {
        self.write("record what was read again", |tx| refill::refill(tx, refills))
    }

    fn find(&self, scope: &Scope, search: &Search) -> Result<Answer, StoreError> {
        self.read("search", |c| search::find(c, &Within::of(c, scope)?, search))
    }

    fn contradictions(&self, owner: PeerId, study: &StudyUid) -> Result<Vec<&'static str>, StoreError> {
        self.read("compare its rows", |c| contradictions::of_study(c, owner, study))
    }

    fn totals(&self) -> Result<IndexTotals, StoreError> {
        self.read("count what is there", query::totals)
    }

    fn owned_bytes(&self, owner: PeerId) -> Result<u64, StoreError> {
        let bytes: Option<i64> = self.read("look for an owner", |c| {
            let mut find = c.prepare_cached("SELECT owned FROM owners WHERE peer = ?1")?;
            find.query_row([owner.as_bytes()], |row| row.get(0)).optional()
        })?;
        Ok(bytes.map_or(0, query::unsigned))
    }

    fn packs_in_use(&self) -> Result<HashSet<PackId>, StoreError> {
        self.read("list packs", |c| {
            let mut statement = c.prepare_cached("SELECT pack FROM packs WHERE NOT doomed")?;
            let packs = statement.query_map([], |row| row.get(0).map(PackId::from_bytes))?;
            packs.collect()
        })
    }

    fn pack_extent(&self, pack: PackId) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT extent FROM packs WHERE pack = ?1 AND NOT doomed";
        let extent: Option<i64> = self.read("look for a pack", |c| {
            c.prepare_cached(sql)?.query_row([pack.as_bytes()], |row| row.get(0)).optional()
        })?;
        Ok(extent.map(query::unsigned))
    }

    fn doom(&self, pack: PackId) -> Result<bool, StoreError> {
        self.write("mark a pack for removal", |tx| packs::doom(tx, pack))
    }

    fn is_doomed(&self, pack: PackId) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM packs WHERE pack = ?1 AND doomed";
        self.read("look for a pack", |c| c.prepare_cached(sql)?.exists([pack.as_bytes()]))
    }

    fn spare(&self, pack: PackId) -> Result<(), StoreError> {
        self.write("spare a pack", |tx| packs::spare(tx, pack))
    }

    fn forget(&self, pack: PackId) -> Result<(), StoreError> {
        self.write("forget a pack", |tx| packs::forget(tx, pack))
    }

    fn visit_pack(&self, pack: PackId, visit: &mut dyn FnMut(&StoredInstance)) -> Result<(), StoreError> {
        self.read("list what stands in a pack", |c| packs::visit(c, pack, visit))
    }

    fn wasteful(&self, limit: usize) -> Result<Vec<(PackId, u64)>, StoreError> {
        self.read("list packs", |c| packs::wasteful(c, limit))
    }

    fn set_waste(&self, pack: PackId, bytes: u64) -> Result<(), StoreError> {
        self.write("record what a pack wastes", |tx| packs::set_waste(tx, pack, bytes))
    }

    fn slow(&self, limit: usize) -> Result<Vec<(PackId, u64)>, StoreError> {
        self.read("list packs", |c| packs::slow(c, limit))
    }

    fn set_slow(&self, pack: PackId, instances: u64) -> Result<(), StoreError> {
        self.write("record what is slow in a pack", |tx| packs::set_slow(tx, pack, instances))
    }

    fn note_damage(&self, study: &StudyUid, records: &[RecordAt]) -> Result<u64, StoreError> {
        self.write("note damage", |tx| damage::note(tx, study, records))
    }

    fn damage(&self, study: &StudyUid) -> Result<HashSet<RecordAt>, StoreError> {
        self.read("look for damage", |c| damage::of_study(c, study))
    }

    fn damaged(&self, limit: usize) -> Result<Vec<StoredInstance>, StoreError> {
        self.read("list what is damaged", |c| damage::instances(c, limit))
    }

    fn has_failed(&self) -> bool {
        lock(&self.writer).failed
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut writer = lock(&self.writer);
        if !writer.failed {
            return Ok(());
        }
        let fail = |e: rusqlite::Error| index_error("close it", &e);
        // All connections go first: the last one that is closed gives up what SQLite remembers of the file.
        writer.connection = Connection::open_in_memory().map_err(fail)?;
        let mut readers = lock(&self.readers);
        readers.opened += 1;
        readers.waiting.clear();
        drop(readers);
        writer.connection = match self.store {
            Some(store) => connection::open_for(&self.path, store)?,
            None => connection::open_writer(&self.path)?,
        };
        writer.failed = false;
        Ok(())
    }

    fn study_keys(
        &self,
        after: Option<&(PeerId, StudyUid)>,
        limit: usize,
    ) -> Result<Vec<(PeerId, StudyUid)>, StoreError> {
        self.read("list studies", |c| query::study_keys(c, after, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Sample, peer, study};

    #[test]
    fn after_a_failure_of_the_disk_nothing_is_written_until_it_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = StoreId::from_bytes([1; 16]);
        let index = SqliteIndex::open_for(&folder.path().join("index.db"), store).unwrap();
        let batch = |sop| {
            let instances = vec![Sample::new(peer(1), 1, 0, sop, 100).stored()];
            CommitBatch { instances, ..CommitBatch::default() }
        };
        index.commit(&batch(1)).unwrap();
        lock(&index.writer).failed = true;
        assert!(index.has_failed());
        assert!(matches!(index.commit(&batch(2)), Err(StoreError::IndexUnavailable { .. })));
        index.reopen().unwrap();
        assert!(!index.has_failed());
        index.commit(&batch(2)).unwrap();
        assert_eq!(index.study(&Scope::All, &study(1)).unwrap()[0].instances, 2);
    }

    #[test]
    fn the_order_of_things_goes_on_behind_all_that_was_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.db");
        let (owner, studies, at) = (peer(1), vec![study(1)], UnixSeconds(1));
        let root = crate::ids::ManifestRoot::from_bytes([1; 32]);
        let publication = Publication { owner, studies, root, at, order: Order(7), stated: Vec::new() };
        SqliteIndex::open(&path).unwrap().publish(&publication).unwrap();
        let index = SqliteIndex::open(&path).unwrap();
        assert_eq!(index.reserve(1).unwrap().first, Order(8), "also behind a version alone");
    }

    #[test]
    fn a_damaged_database_is_set_aside_when_it_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.db");
        let index = SqliteIndex::open_for(&path, StoreId::from_bytes([1; 16])).unwrap();
        lock(&index.writer).failed = true;
        lock(&index.writer).connection = Connection::open_in_memory().unwrap();
        std::fs::write(&path, vec![0x5a; 9000]).unwrap();
        index.reopen().unwrap();
        assert!(index.study_keys(None, 10).unwrap().is_empty());
        assert!(folder.path().join("index.db.damaged-1").exists(), "kept beside");
    }
}
