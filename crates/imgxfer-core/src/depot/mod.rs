//! A site's store: records and index together, and the packs of them that are in use.

mod backfill;
mod commits;
mod compact;
mod described;
mod frames;
mod held;
mod moving;
mod part;
mod put;
mod read_back;
mod recode;
mod remove;
mod ways;

use std::collections::BTreeSet;
#[cfg(feature = "fs")]
use std::path::Path;
use std::sync::Arc;

use crate::clock::UnixSeconds;
use crate::codec::Registry;
use crate::ids::{PackId, PeerId};
use crate::store::{CollectReport, Index, RecordStore, StoreError, StoredInstance, collect, recover};
#[cfg(feature = "fs")]
use crate::store::{FsOptions, FsRecords, RecoverReport, SqliteIndex};

pub use backfill::{Backfill, BackfillStep};
pub use compact::Compacted;
pub use described::Described;
pub use frames::{FrameParts, FramesError};
pub use held::HeldPack;
pub use part::FrameError;
pub use put::{Aliases, Put, PutError, PutOptions, PutOutcome};
pub use read_back::{Seen, identify, read_back, unproven};
pub use remove::{RemoveError, Unwanted};
pub use ways::Way;

use commits::Commits;
use held::PacksInUse;

/// Name of the index in the store's folder.
#[cfg(feature = "fs")]
const INDEX_FILE: &str = "index.db";

/// Records and index of one site.
#[derive(Debug, Clone)]
pub struct Depot {
    /// The records.
    pub records: Arc<dyn RecordStore>,
    /// The index.
    pub index: Arc<dyn Index>,
    /// The codecs that records may use.
    pub registry: Registry,
    /// Packs that running transfers write to, or found chunks in; how many transfers each.
    in_use: PacksInUse,
    /// Commits of what arrives here otherwise than by a transfer.
    own: Arc<Commits>,
}

impl Depot {
    /// Joins records and index.
    #[must_use]
    pub fn new(records: Arc<dyn RecordStore>, index: Arc<dyn Index>, registry: Registry) -> Self {
        Self { records, index, registry, in_use: PacksInUse::default(), own: Arc::new(Commits::new(PeerId::SELF)) }
    }

    /// Opens the store in `folder`, or makes it: packs, and the index in `index.db`, brought up to what the packs tell
    /// ([`recover`]). An index that is damaged, or that belongs to another store, is set aside under another name and
    /// made anew from the packs; nothing committed depends on it. Blocks.
    ///
    /// # Errors
    /// As [`FsRecords::open`] and [`SqliteIndex::open`].
    #[cfg(feature = "fs")]
    pub fn open(folder: &Path, options: FsOptions, registry: Registry) -> Result<(Self, RecoverReport), StoreError> {
        let records = FsRecords::open(folder, options)?;
        let index = SqliteIndex::open_for(&folder.join(INDEX_FILE), records.store_id())?;
        let report = recover(&records, &index)?;
        Ok((Self::new(Arc::new(records), Arc::new(index), registry), report))
    }

    /// Opens the index anew when its medium failed under a write, and brings it up to what the packs tell. Returns
    /// whether there was anything to mend. Blocks.
    ///
    /// # Errors
    /// [`StoreError`]: the index has still failed, or is still behind; try again later.
    pub fn mend(&self) -> Result<bool, StoreError> {
        if !self.index.has_failed() {
            return Ok(false);
        }
        self.index.reopen()?;
        recover(self.records.as_ref(), self.index.as_ref())?;
        Ok(true)
    }

    /// Removes packs that no committed instance stands in, that no running transfer uses, and that were created
    /// before `older_than`; see [`collect`]. Blocks.
    ///
    /// # Errors
    /// [`StoreError`]; what was removed before stays removed.
    pub fn collect(&self, older_than: UnixSeconds) -> Result<CollectReport, StoreError> {
        let in_use = |pack: &PackId| self.in_use.contains(pack) || self.own.pack() == Some(*pack);
        collect(self.records.as_ref(), self.index.as_ref(), &in_use, older_than)
    }

    /// Keeps a pack from being collected or compacted for as long as what is returned lives. Whoever begins to use a
    /// pack asks [`Index::is_doomed`] behind that.
    #[must_use]
    pub fn hold(&self, pack: PackId) -> HeldPack {
        self.in_use.hold(pack)
    }

    /// The instances that `read` takes from the index, with the packs that they stand in held. They are read again
    /// where one of these went meanwhile.
    ///
    /// # Errors
    /// [`StoreError`], and those of `read`.
    pub fn held(
        &self,
        read: &dyn Fn() -> Result<Vec<StoredInstance>, StoreError>,
    ) -> Result<(Vec<StoredInstance>, Vec<HeldPack>), StoreError> {
        loop {
            let found = read()?;
            let places = found.iter().flat_map(|instance| &instance.chunks);
            let packs: BTreeSet<PackId> = places.map(|chunk| chunk.record.pack).collect();
            let held: Vec<HeldPack> = packs.into_iter().map(|pack| self.hold(pack)).collect();
            let mut gone = false;
            for pack in &held {
                gone |= self.index.is_doomed(pack.pack())?;
            }
            if !gone {
                return Ok((found, held));
            }
        }
    }
}

#[cfg(all(test, feature = "sim", feature = "fs"))]
mod tests;
